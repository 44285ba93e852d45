"""The file of state that `fit` writes for a training of the user's own, apart from any run."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_mnist.files import Lock, LockedError, PathLike, require_writable, target_of
from tinygrad_mnist.training.checkpoints.checkpoint import save_state
from tinygrad_mnist.training.checkpoints.checkpointing import EVERY, Checkpointing
from tinygrad_mnist.training.checkpoints.retries import Retries
from tinygrad_mnist.training.errors import RunError, writing

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training


class StateFile(Checkpointing):
    """A callback that saves the state of a training in one file, which no other training writes meanwhile.

    A file that was there, and is not what training goes on from, stays until the first step is done. Then it
    is kept beside the new one: ``last.previous.npz`` for ``last.npz``. Later a full disk ends nothing.

    Parameters
    ----------
    path : path-like
        The file.
    every : str
        How often it is written, as "500 steps" or "30 seconds".
    resumed : path-like, optional
        The file that training goes on from; it may be the same.
    """

    def __init__(self, path: PathLike, every: str = EVERY, resumed: PathLike | None = None) -> None:
        super().__init__(self._write, every)
        self.path = Path(path)
        self._is_resumed = resumed is not None and os.path.realpath(resumed) == os.path.realpath(path)
        self._is_anothers = False  # whether the file that is there is another training's
        self._lock: Lock | None = None

    def on_train_begin(self, training: Training) -> None:
        """Save, where that replaces nothing of another training's; else once a step is done."""
        self._retries = Retries(training.warn)
        with writing(self.path):
            require_writable(self.path)
            target = target_of(self.path)
            if target.is_file() or not target.exists():  # no device, no pipe
                self._take(target)
                self._is_anothers = not self._is_resumed and target.exists() and target.stat().st_size > 0
        super().on_train_begin(training)

    def _take(self, target: Path) -> None:
        try:
            self._lock = Lock(target.with_name(f".{target.name}.lock"))
        except LockedError as error:
            raise RunError(
                f"another training is writing {self.path} ({error}); wait until it has ended, or name "
                "another file"
            ) from error

    def on_interrupt(self, training: Training) -> None:
        """Save, if the interrupt came between two steps; what cannot be written now is lost."""
        self._retries.then = ""
        super().on_interrupt(training)

    def on_train_end(self, training: Training) -> None:
        """Save; what cannot be written now is lost."""
        self._retries.then = ""
        super().on_train_end(training)

    def on_exit(self, training: Training) -> None:
        """Save, where an error ended training, and let others write the file."""
        try:
            if hasattr(self, "_retries"):
                self._retries.then = ""
            super().on_exit(training)
        finally:
            if self._lock is not None:
                self._lock.release()

    def _next(self, training: Training) -> float:
        return -math.inf if self._is_anothers else super()._next(training)

    def _write(self, training: Training) -> None:
        if training.step == 0:  # a disk that takes nothing is found out before training
            if not self._is_anothers:
                save_state(self.path, training.state_dict())
            return
        with self._retries.at(self.path):
            state = training.state_dict()
            if not self._is_anothers:
                save_state(self.path, state)
                return
            target = target_of(self.path)
            previous = target.with_name(f"{target.stem}.previous{target.suffix}")
            save_state(self.path, state, previous=previous)
            self._is_anothers = False
            training.notify(f"{self.path} was there before: it is kept as {previous.name}")
