"""Checkpoints: the whole state of a training in one file, and back to the same bits."""
