"""From an exception to one sentence and an exit status, for whatever a user can put right."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
MISUSED: Final = 2


def explain(error: Exception) -> tuple[str, int] | None:
    """The sentence and the exit status for an error; None for a fault of ours, which needs its traceback."""
    from tinygrad_mnist.training.errors import RecipeError, TrainingError

    if isinstance(error, TrainingError):
        return _one_line(str(error)), MISUSED if isinstance(error, RecipeError) else FAILED
    from tinygrad_mnist.data import DataError  # with NumPy

    if isinstance(error, DataError):
        return _one_line(str(error)), FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}", FAILED
    if isinstance(error, ImportError) and "tinygrad_mnist[" in str(error):  # an extra that is not installed
        return _one_line(str(error)), FAILED
    if isinstance(error, MemoryError):
        return "there is not enough memory; take a smaller --batch-size or a smaller model", FAILED
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())
