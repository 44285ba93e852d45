"""Runs: a training by a recipe, its directory and its files, gone on with after an interruption."""
