"""The errors of this room: what a user can put right, each message one sentence that says how."""

from __future__ import annotations


class TrainingError(ValueError):
    """Something about a recipe, a checkpoint or a run is not what it has to be; base of the others."""


class RecipeError(TrainingError):
    """There is no such recipe, or a value in it is out of range."""


class CheckpointError(TrainingError):
    """A file is no checkpoint, is damaged, or holds another model."""


class RunError(TrainingError):
    """A run directory cannot be used."""


class DivergedError(TrainingError):
    """The loss is no longer finite, so that going on would be pointless."""
