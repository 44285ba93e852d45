"""Training by several processes on one batch: exchanges, shares, and what happens when one fails."""
