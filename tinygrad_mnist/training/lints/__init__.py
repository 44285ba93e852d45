"""Lints: what is wrong with a training, said once, in plain words."""
