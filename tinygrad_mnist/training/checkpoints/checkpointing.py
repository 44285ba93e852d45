"""When the state of a training is saved: every so many steps or seconds, on an interrupt, and at the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from tinygrad_mnist.training.errors import DivergedError, TrainingError
from tinygrad_mnist.training.loop.callbacks import Callback

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training

EVERY: Final = "30 seconds"
"""How often a state is saved, where nobody says it."""

_SECONDS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0}


class Interval(NamedTuple):
    """A number of steps, or of seconds; the other one is None."""

    steps: int | None
    seconds: float | None


def interval(text: str) -> Interval:
    """Return the steps or seconds that a text such as "500 steps", "2 minutes" or "30 seconds" means.

    Raises
    ------
    TrainingError
        If it is no such text, or the number is not above 0.

    Examples
    --------
    >>> interval("2 minutes").seconds
    120.0
    >>> interval("every step")
    Traceback (most recent call last):
    tinygrad_mnist.training.errors.TrainingError: a checkpoint is written every '500 steps', ...
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(step|second|minute|hour)s?\s*", str(text))
    number = float(match[1]) if match else 0.0
    if match is None or not number or (match[2] == "step" and number != int(number)):
        raise TrainingError(
            "a checkpoint is written every '500 steps', '30 seconds', '2 minutes' or the like, not every "
            f"{text!r}"
        )
    if match[2] == "step":
        return Interval(int(number), None)
    return Interval(None, number * _SECONDS[match[2]])


class Checkpointing(Callback):
    """A callback that saves the state of a training before its first step, as it goes on, and at its end.

    It has to be the last of the callbacks, so that the others have heard of a step before it is saved.

    Parameters
    ----------
    save : callable
        Writes the state: it is given the training, whose ``state_dict()`` it is.
    every : str
        How often, as "500 steps" or "30 seconds".
    """

    on_every_rank = False

    def __init__(self, save: Callable[[Training], None], every: str = EVERY) -> None:
        self.save = save
        self.every = interval(every)

    def on_train_begin(self, training: Training) -> None:
        """Save, unless training goes on from what is saved already."""
        self._due = self._next(training)
        self._saved = training.step
        if training.step == 0:
            self._save(training)

    def on_step_end(self, training: Training) -> None:
        """Save, if it is time."""
        now = monotonic() if self.every.seconds is not None else training.step
        if now >= self._due:
            self._save(training)

    def on_interrupt(self, training: Training) -> None:
        """Save, if the interrupt came between two steps."""
        if training.is_whole:
            self._save(training)

    def on_train_end(self, training: Training) -> None:
        """Save, unless an interrupt has already."""
        if not training.interrupted:
            self._save(training)

    def on_exit(self, training: Training) -> None:
        """Save the last whole step where an error ended training, as one of a callback."""
        error = sys.exception()
        if not isinstance(error, Exception) or isinstance(error, DivergedError) or not training.is_whole:
            return
        if training.step > getattr(self, "_saved", training.step):  # without it, training had not begun
            self._save(training)

    def _save(self, training: Training) -> None:
        with training.untimed():
            self.save(training)
        self._saved = training.step
        self._due = self._next(training)

    def _next(self, training: Training) -> float:
        if self.every.seconds is not None:
            return monotonic() + self.every.seconds
        assert self.every.steps is not None
        return training.step + self.every.steps
