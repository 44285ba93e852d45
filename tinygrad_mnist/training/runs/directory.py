"""Run directories: their place, their files, who may write into one, and when an old run may be replaced."""

from __future__ import annotations

import json
import os
import re
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from tinygrad_mnist.files import Lock, LockedError
from tinygrad_mnist.training.errors import RunError

SUMMARY: Final = "summary.json"
METRICS: Final = "metrics.jsonl"
CHECKPOINT: Final = "checkpoint.npz"
LAST: Final = "last.npz"
PREVIOUS: Final = "previous.npz"
PREDICTIONS: Final = "predictions.png"
TRAINING: Final = "training.png"
GRAPH_PICTURE: Final = "graph.svg"
GRAPH_PAGE: Final = "graph.html"
REPORT: Final = "report.html"
PICTURES: Final = (PREDICTIONS, TRAINING, GRAPH_PICTURE, GRAPH_PAGE)
TENSORBOARD: Final = "tensorboard"
"""A folder with event files, and nothing else."""
FILES: Final = (SUMMARY, METRICS, CHECKPOINT, LAST, PREVIOUS, *PICTURES, REPORT)
PICTURE_FOLDER: Final = "pictures"
PICTURE_NAMES: Final = (
    *("curves", "learning_rate", "gradients", "confusion", "class_accuracy", "samples", "mistakes"),
    *("weights", "saliency", "calibration"),
)
"""The pictures of the report, which are in that folder as ``.svg`` and ``.png``."""
KEPT: Final = (SUMMARY, METRICS, CHECKPOINT, LAST, PREVIOUS)
"""The files that nothing can make again."""
LOCK: Final = ".training.lock"
PARENT: Final = Path("runs")

_claiming = threading.Lock()
"""Held until a directory is made and locked: who makes it removes it, so the same thread has to do both."""


class RunDirectory:
    """A directory that one run writes into, and no other at the same time.

    It exists, and is locked, once this is made. In a ``with`` statement it is released at the end. What an
    earlier run left there is removed by `clear`, when the new run has a file that is whole, and not before.

    Parameters
    ----------
    out : path-like or None
        A directory that does not exist, is empty, or holds an earlier run and nothing else. None for
        ``runs/<recipe>-<time>``.
    recipe : str
        The recipe's name.

    Attributes
    ----------
    path : Path
        Its path.
    replaces : bool
        Whether an earlier run is there.

    Raises
    ------
    RunError
        If the directory holds other things, cannot be made or written to, or another run writes into it.
    """

    def __init__(self, out: str | os.PathLike[str] | None, recipe: str) -> None:
        self.path = Path() if out is None else Path(os.path.expanduser(out))
        self._take(self._claim if out is not None else lambda: self._make_new(recipe))

    @classmethod
    def of_run(cls, path: str | os.PathLike[str]) -> Self:
        """Return the directory of a run that goes on; whatever else is in it stays.

        Raises
        ------
        RunError
            If there is none, it cannot be written to, or another run writes into it.
        """
        directory = cls.__new__(cls)
        directory.path = Path(os.path.expanduser(path))
        directory._take(directory._require_run, is_new=False)
        directory.replaces = False
        return directory

    @classmethod
    def of_another(cls, path: str | os.PathLike[str], replaces: bool) -> Self:
        """Return a directory that another process writes into: this one locks and removes nothing."""
        directory = cls.__new__(cls)
        directory.path = Path(path)
        directory._made, directory._lock, directory._earlier_events = [], None, set()
        directory.replaces = replaces
        return directory

    @property
    def is_ours(self) -> bool:
        """True in the process that writes; others that train with it know the directory, too."""
        return self._lock is not None

    def _require_run(self) -> None:
        """Raise an error if there is no directory with the files of a run."""
        if not self.path.is_dir():
            raise RunError(f"there is no run directory {self.path}; name one that has a {LAST}")
        if not any(self.file(name).exists() for name in (LAST, PREVIOUS, CHECKPOINT)):
            raise RunError(f"{self.path} holds no run: it has no {LAST}; name another directory")

    def _take(self, claim: Callable[[], None], is_new: bool = True) -> None:
        """Claim the directory, and lock it; where a run goes on, no other directory is advised."""
        self._made: list[Path] = []  # the parents first
        self._lock: Lock | None = None
        try:
            with _claiming:
                claim()
                self._lock = Lock(self.file(LOCK))
            self._earlier_events = set(_events(self.path))
            self.replaces = any(entry.name != LOCK for entry in self.path.iterdir())
        except LockedError as error:
            raise RunError(
                f"another run is writing into {self.path} ({error}); wait until it has ended"
                f"{', or name another directory' if is_new else ''}"
            ) from error
        except OSError as error:
            self.release()
            advice = "name another directory" if is_new else "see to that first"
            raise RunError(
                f"{self.path} cannot be written to ({error.strerror or error}); {advice}"
            ) from error

    def _make_new(self, recipe: str) -> None:
        """Make ``runs/<recipe>-<time>``, with a number if another run has that already."""
        stem = f"{recipe}-{datetime.now():%Y%m%d-%H%M%S}"
        self.path, number = PARENT / stem, 1
        self._make(PARENT)
        while True:
            try:
                self.path.mkdir()
            except FileExistsError:
                number += 1
                self.path = PARENT / f"{stem}-{number}"
            else:
                self._made.append(self.path)
                return

    def _claim(self) -> None:
        """Make the directory, if it is not there; otherwise see that it holds nothing but a run."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; name a directory")
        if self.path.is_dir():
            others = _foreign(self.path)
            if others:
                more = f" and {len(others) - 3} more" if len(others) > 3 else ""
                raise RunError(
                    f"{self.path} holds other things than an earlier run ({', '.join(others[:3])}{more}); "
                    "name a new directory"
                )
        self._make(self.path)

    def _make(self, directory: Path) -> None:
        """Make a directory and its parents, those that are not there."""
        for path in [*reversed(directory.parents), directory]:
            if not path.exists():
                path.mkdir(exist_ok=True)
                self._made.append(path)

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.path / name

    @property
    def has_events(self) -> bool:
        """True if event files for TensorBoard are there."""
        return bool(_events(self.path))

    def make_again(self) -> None:
        """Make the directory once more, which somebody has removed, and lock it.

        Raises
        ------
        OSError
            If it cannot be made.
        LockedError
            If another run was quicker.
        """
        with _claiming:
            self.path.mkdir(parents=True, exist_ok=True)
            if self._lock is not None:
                self._lock.release()
            self._lock = Lock(self.file(LOCK))

    def clear(self, *keep: str) -> None:
        """Remove what an earlier run left, except the files that are named: the new run has replaced them."""
        # the summary goes first: a machine that stops in between leaves none beside the files of another run
        for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name != SUMMARY):
            if (entry.name in FILES and entry.name not in keep) or _PART.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        self._remove_picture_folder()
        for events in self._earlier_events:  # of an earlier run: this one has begun files of its own
            events.unlink(missing_ok=True)

    def clear_drawn(self) -> None:
        """Remove pictures and report, which are those of an earlier state when a run has gone on."""
        for name in (*PICTURES, REPORT):
            self.file(name).unlink(missing_ok=True)
        self._remove_picture_folder()

    def _remove_picture_folder(self) -> None:
        folder = self.file(PICTURE_FOLDER)
        if _is_picture_folder(folder):
            for picture in folder.iterdir():
                picture.unlink(missing_ok=True)
            folder.rmdir()

    def withdraw(self) -> None:
        """Remove what this run has written, which has learned nothing, and release the directory."""
        if not self.is_ours:
            return
        if not self.replaces:
            for name in (LAST, PREVIOUS):
                self.file(name).unlink(missing_ok=True)
        for events in set(_events(self.path)) - self._earlier_events:
            events.unlink(missing_ok=True)
        with suppress(OSError):
            self.file(TENSORBOARD).rmdir()
        self.release()

    def release(self) -> None:
        """Let others write here, and remove the directory and the parents that were made for nothing."""
        if self._lock is not None:
            self._lock.release()
        with suppress(OSError):
            for path in reversed(self._made):
                path.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


# ---- which files are a run's -----------------------------------------------------------------------------

_PART: Final = re.compile(
    r"\.{1,2}(summary|metrics|checkpoint|last|previous|predictions|training|graph|report|probe)(\.[0-9a-f]+\.part)+(\.\w+)?"
    r"(\.[0-9a-f]{32}\.tmp)?"
)
"""The names of files that were being written when a run was killed."""


def _foreign(directory: Path) -> list[str]:
    """Return the names of the entries of a directory that no run wrote, by their names and contents.

    A picture, or a folder of event files, beside none of a run's other files is somebody's.
    """
    run, pictures, others = [], [], []
    for entry in directory.iterdir():
        if entry.name in _RECOGNISED and entry.is_file() and _RECOGNISED[entry.name](entry):
            run.append(entry.name)
        elif (entry.name in (*PICTURES, REPORT) and entry.is_file()) or (
            (entry.name == PICTURE_FOLDER and _is_picture_folder(entry)) or _is_of_events(entry)
        ):
            pictures.append(entry.name)
        elif entry.name != LOCK and not _PART.fullmatch(entry.name):
            others.append(entry.name)
    return sorted(others if run else others + pictures)


_PICTURE: Final = re.compile(rf"\.?({'|'.join(PICTURE_NAMES)})(\.[0-9a-f]+\.part)*\.(svg|png)")
"""The names of the files in the folder of pictures, and of those that were being written."""


def _is_picture_folder(path: Path) -> bool:
    """Return whether a folder holds pictures of a report and nothing else."""
    return path.is_dir() and all(
        _PICTURE.fullmatch(entry.name) and entry.is_file() for entry in path.iterdir()
    )


_EVENTS: Final = "events.out.tfevents.*"


def _events(directory: Path) -> list[Path]:
    """Return the event files of a run directory."""
    return list((directory / TENSORBOARD).glob(_EVENTS))


def _is_of_events(path: Path) -> bool:
    return path.name == TENSORBOARD and path.is_dir() and all(file.match(_EVENTS) for file in path.iterdir())


def _is_summary(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            content = json.loads(file.read(1 << 22))
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"recipe", "config", "test_accuracy"} <= content.keys()


def _is_metrics(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            first = json.loads(file.readline(1 << 16))
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and {"step", "train_loss"} <= first.keys()


def _is_checkpoint(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "checkpoint.npy" in archive.namelist()
    except OSError:
        raise
    except Exception:  # zipfile raises all sorts of errors for damaged bytes
        return False


_RECOGNISED: Final = {
    SUMMARY: _is_summary,
    METRICS: _is_metrics,
    CHECKPOINT: _is_checkpoint,
    LAST: _is_checkpoint,
    PREVIOUS: _is_checkpoint,
}
"""The files that make a directory a run, and how each is told from somebody's file of the same name."""
