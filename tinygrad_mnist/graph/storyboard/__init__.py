"""Storyboards: the backward pass of a small computation, one operation at a time."""
