"""Benchmarks: `make bench` runs them all, `make bench-quick` looks for regressions."""

SUBJECTS = (
    "training_step",
    "parts",
    "without_batch_norm",
    "lenet",
    "recipe",
    "bookkeeping",
    "operations",
    "chain",
    "inference",
    "compiling",
    "memory",
    "importing",
    "threads",
    "scale",
    "service",
)
"""The subjects, a file each, in the order in which they run."""
