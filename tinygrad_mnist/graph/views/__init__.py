"""From a graph to a drawing: what is open, what is folded, and what each box says."""
