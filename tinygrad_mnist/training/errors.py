"""Errors of training that a user can put right; each message is one sentence that says how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad_mnist.files import PathLike, write_error


class TrainingError(ValueError):
    """A recipe, a checkpoint or a run is not as it has to be; base of the others."""


class RecipeError(TrainingError):
    """An unknown recipe, or a value of a recipe that is out of range.

    Parameters
    ----------
    message : str
        The sentence. Where it is about a value of a recipe, it begins with the value's name.
    field : str, optional
        That name.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class CheckpointError(TrainingError):
    """A file that is no checkpoint, is damaged, or holds another model."""


class ModelFileError(TrainingError):
    """A file of the user's that builds no model: it is not there, has changed, or has an error."""


class RunError(TrainingError):
    """A run directory that cannot be used, or a file that cannot be written."""


class DivergedError(TrainingError):
    """A loss that is no longer finite, so that going on would be pointless."""


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether an error is Ctrl-C, or came of it."""
    return interrupt_of(error) is not None


def interrupt_of(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interrupt that an error is, or came of: what imports modules may turn it into another."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Raise a `RunError` that names the file, where the system raises an `OSError` inside."""
    try:
        yield
    except OSError as error:
        raise RunError(write_error(path, error)) from error
