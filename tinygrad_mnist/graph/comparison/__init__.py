"""What was added, removed and changed between two graphs."""
