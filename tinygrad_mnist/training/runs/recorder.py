"""The files of a run while it is trained: the state to go on from, the best state, and the metrics.

What cannot be written, as on a full disk, does not end training: it is told, and tried again the next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

from tinygrad_mnist.files import LockedError, write_json, write_json_lines
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from tinygrad_mnist.training.checkpoints.checkpointing import Checkpointing
from tinygrad_mnist.training.checkpoints.retries import Retries
from tinygrad_mnist.training.errors import RunError, writing
from tinygrad_mnist.training.loop.callbacks import Callback, CallbackList
from tinygrad_mnist.training.loop.compilation import JitDecision
from tinygrad_mnist.training.loop.course import Training
from tinygrad_mnist.training.loop.history import Record
from tinygrad_mnist.training.loop.result import Fit
from tinygrad_mnist.training.runs.directory import CHECKPOINT, LAST, METRICS, PREVIOUS, SUMMARY, RunDirectory

RUN = "run"
"""The branch of the state in ``last.npz`` that is the run's: what it was trained on, and with."""

SPACING: Final = 5.0
"""Seconds, at least, from one writing of the best state and the metrics to the next at an evaluation.

To write both takes some 4 ms, and some 20 with the waiting for the disk. The recipe ``mlp`` evaluates six
times in 1.6 seconds."""


class Recorder(Callback):
    """A callback that writes the files of a run as they come, and can tell the other callbacks something.

    The best state and the metrics are in the state to go on from, too. They are written with it, at the end,
    and at an evaluation if they were not for some seconds.

    Where several processes train together, each has a recorder. The one whose directory is another process's
    hears nothing of the training, and writes nothing: until that process is lost, and this one is told to
    begin.

    In a directory with an earlier run it writes nothing before a step is done. Then its first file is the
    state to go on from; once that is whole, the files of the earlier run go, and not before.

    Parameters
    ----------
    callbacks : sequence of Callback
        The other callbacks.
    directory : RunDirectory
        Receives the files.
    checkpoint : Checkpoint
        The model that is trained in place, and what is known of it.
    facts : mapping
        Plain data about the run, which is saved with its state.
    every : str
        How often the state is saved, as "500 steps" or "30 seconds".
    """

    on_every_rank = False

    def __init__(
        self,
        callbacks: Sequence[Callback],
        directory: RunDirectory,
        checkpoint: Checkpoint,
        facts: Mapping[str, Any],
        every: str,
    ) -> None:
        self.others = CallbackList(callbacks, is_writer=directory.is_ours)
        self.directory, self.checkpoint, self.facts = directory, checkpoint, facts
        # last, so that a saved state has what the others heard of the step
        self.all = [*callbacks, self, Checkpointing(self._save_last, every)]
        self.training: Training | None = None
        self.notices: list[str] = []
        self._retries = Retries(self.notify)
        self.unwritten = self._retries.unwritten  # what the disk lacks now, and why
        self.keeps_previous = True
        self.best: Record | None = None  # whose state is on the disk
        self.is_owner = not directory.replaces  # whether the files in the directory are this run's
        self._records = 0  # that are on the disk
        self._due = 0.0  # when an evaluation is written
        self._is_over = False

    @property
    def is_writer(self) -> bool:
        """True in the process that writes."""
        return self.directory.is_ours

    # ---- what is heard -------------------------------------------------------------------------------------

    def on_train_begin(self, training: Training) -> None:
        """Note how the steps are going to be done, which stands in every file."""
        if not self.is_writer:
            self._take_over()
        self.training = training
        self._due = monotonic() + SPACING
        self.on_compile(training, training.decision)

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        """Note the decision, which stands in every file."""
        origin = {**self.checkpoint.origin, "jit": decision.jit, "compiled": decision.compiled}
        self.checkpoint = replace(self.checkpoint, origin=origin)

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Write the best state and the metrics, if it is time; in an earlier run's place all, at once."""
        if not self.is_owner:
            self._save_last(training)
        elif monotonic() >= self._due:
            self._write_best(training)

    def on_train_end(self, training: Training) -> None:
        """Note that what cannot be written from now on is lost."""
        self._retries.then = ""

    def on_exit(self, training: Training) -> None:
        """Write what is not written yet, as where an error ended training."""
        self._is_over = True
        if self.is_owner:
            self._write_best(training)

    def on_notice(self, training: Training | None, sentence: str) -> None:
        """Keep the sentence for the summary, once; not that there is nothing left to train."""
        if sentence not in self.notices and (training is None or not training.complete):
            self.notices.append(sentence)

    def state_dict(self) -> dict[str, Any]:
        """Return the notices."""
        return {"notices": list(self.notices)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the notices of the run until now before those of this process."""
        self.notices = list(dict.fromkeys([*state["notices"], *self.notices]))

    # ---- what is told --------------------------------------------------------------------------------------

    def tell(self, event: str, *details: Any) -> None:
        """Call a method of the other callbacks."""
        for method in self.others.methods[event]:
            method(self.training, *details)

    def notify(self, sentence: str) -> None:
        """Give the other callbacks a sentence for the user."""
        self.on_notice(None, sentence)
        self.tell("on_notice", sentence)

    # ---- what is written -----------------------------------------------------------------------------------

    def complete(self, result: Fit) -> None:
        """Write what the disk lacks after training; the model has the best state."""
        if not self.is_writer:
            self._take_over()
        self._require_directory()
        if not self.is_owner:
            path = self.directory.file(CHECKPOINT)
            with self._retried(path):
                save_checkpoint(path, self.checkpoint)
                self.directory.clear(CHECKPOINT)
                self.best, self.is_owner = result.best, True
        if self.is_owner:
            self._write(result.history.records, result.best)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, unless an earlier run's is there because nothing could be written."""
        path = self.directory.file(SUMMARY)
        self._require_directory()
        if self.is_owner:
            with self._retried(path), writing(path):
                write_json(path, summary)

    def _write_best(self, training: Training) -> None:
        """Write the best state so far and the metrics, as far as the disk lacks them."""
        self._require_directory()
        self._write(training.history.records, training.best, training.best_state)
        self._due = monotonic() + SPACING

    def _write(
        self, records: Sequence[Record], best: Record | None, state: Mapping[str, Any] | None = None
    ) -> None:
        """Write a state of the model (by default its own), if it is not on the disk, and the metrics."""
        if best is not None and best is not self.best:
            path = self.directory.file(CHECKPOINT)
            with self._retried(path):
                save_checkpoint(path, self.checkpoint, state=state)
                self.best = best
        metrics = self.directory.file(METRICS)
        if len(records) > self._records or metrics in self.unwritten:
            with self._retried(metrics), writing(metrics):
                write_json_lines(metrics, [record.to_dict() for record in records])
                self._records = len(records)

    def _save_last(self, training: Training) -> None:
        """Write the state to go on from, and then what else is new: so no file is older than that state."""
        self._require_directory()
        if self.is_owner and training.step == 0:  # a disk that takes nothing is found out before training
            self._write_last(training)
        elif self.is_owner:
            with self._retried(self.directory.file(LAST)):
                self._write_last(training)
        elif training.step and not self._is_over:  # an error is no reason to give an earlier run up
            self._replace_earlier(training)
        if self.is_owner:
            self._write_best(training)

    def _replace_earlier(self, training: Training) -> None:
        """Take the place of the earlier run. If it is killed in between, whoever goes on clears the rest."""
        self.keeps_previous = False
        with self._retried(self.directory.file(LAST)):
            self._write_last(training, replaces=True)
            self.directory.clear(LAST)
            self.is_owner = True
            self._write_last(training)

    def _write_last(self, training: Training, replaces: bool = False) -> None:
        state = {**training.state_dict(), RUN: {**self.facts, "replaces": replaces}}
        previous = self.directory.file(PREVIOUS) if self.keeps_previous else None
        save_checkpoint(
            self.directory.file(LAST), replace(self.checkpoint, training=state), previous=previous
        )
        self.keeps_previous = not replaces

    def _take_over(self) -> None:
        """Write from now on, in the place of a process that is lost: all that is known of the run, anew.

        Raises
        ------
        RunError
            If the directory cannot be written to.
        """
        path = self.directory.path
        is_here = path.is_dir()
        try:
            self.directory.make_again()
        except (OSError, LockedError) as error:
            raise RunError(f"{path} cannot be taken over from the process that is lost ({error})") from error
        self.others.tell_all()
        if not is_here:
            self.notify(f"{path} is not on this machine, and is made here: the process that wrote it is lost")

    def _require_directory(self) -> None:
        """Make the directory again if somebody has removed it: what is known of the run is written anew."""
        if self.directory.path.is_dir():
            return
        self.best, self._records = None, 0
        try:
            self.directory.make_again()
        except (OSError, LockedError):
            return  # whoever writes next is told why
        self.unwritten.clear()
        self.is_owner = True
        self.notify(f"{self.directory.path} was removed, and is made again")

    @contextmanager
    def _retried(self, path: Path) -> Iterator[None]:
        """Note that a file could not be written, where training goes on; say so once."""
        with self._retries.at(path):
            try:
                yield
            except (RunError, OSError) as error:
                if self.directory.path.is_dir():
                    raise
                gone = f"{self.directory.path} was removed, and cannot be made again"  # once for all files
                raise RunError(gone) from error
