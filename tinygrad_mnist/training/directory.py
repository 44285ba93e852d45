"""Run directories: their place, their files, who may write into one, and when an old run may be replaced."""

from __future__ import annotations

import json
import os
import re
import threading
import zipfile
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
PICTURES: Final = (PREDICTIONS, TRAINING, GRAPH_PICTURE, GRAPH_PAGE)
FILES: Final = (SUMMARY, METRICS, CHECKPOINT, *PICTURES)
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
        self._made: list[Path] = []  # the parents first
        self._lock: Lock | None = None
        self.path = Path() if out is None else Path(os.path.expanduser(out))
        self.replaces = False
        try:
            with _claiming:
                if out is None:
                    self._make_new(recipe)
                else:
                    self._claim()
                self._lock = Lock(self.file(LOCK))
            self.replaces = any(entry.name != LOCK for entry in self.path.iterdir())
        except LockedError as error:
            raise RunError(
                f"another run is writing into {self.path} ({error}); wait until it has ended, or name "
                "another directory"
            ) from error
        except OSError as error:
            self.release()
            raise RunError(
                f"{self.path} cannot be written to ({error.strerror or error}); name another directory"
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

    def clear(self, *keep: str) -> None:
        """Remove what an earlier run left, except the files that are named: the new run has replaced them."""
        # the summary goes first: a machine that stops in between leaves none beside the files of another run
        for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name != SUMMARY):
            if (entry.name in FILES and entry.name not in keep) or _PART.fullmatch(entry.name):
                entry.unlink(missing_ok=True)

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
    r"\.{1,2}(summary|metrics|checkpoint|predictions|training|graph|probe)(\.[0-9a-f]+\.part)+(\.\w+)?"
    r"(\.[0-9a-f]{32}\.tmp)?"
)
"""The names of files that were being written when a run was killed."""


def _foreign(directory: Path) -> list[str]:
    """Return the names of the entries of a directory that no run wrote, by their names and contents.

    A picture beside none of a run's other files is somebody's picture.
    """
    run, pictures, others = [], [], []
    for entry in directory.iterdir():
        if entry.name in _RECOGNISED and entry.is_file() and _RECOGNISED[entry.name](entry):
            run.append(entry.name)
        elif entry.name in PICTURES and entry.is_file():
            pictures.append(entry.name)
        elif entry.name != LOCK and not _PART.fullmatch(entry.name):
            others.append(entry.name)
    return sorted(others if run else others + pictures)


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


_RECOGNISED: Final = {SUMMARY: _is_summary, METRICS: _is_metrics, CHECKPOINT: _is_checkpoint}
"""The files that make a directory a run, and how each is told from somebody's file of the same name."""
