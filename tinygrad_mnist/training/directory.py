"""Run directories: their place, their files, and when an old one may be replaced."""

from __future__ import annotations

import json
import os
import re
import zipfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from tinygrad_mnist.training.errors import RunError

SUMMARY: Final = "summary.json"
METRICS: Final = "metrics.jsonl"
CHECKPOINT: Final = "checkpoint.npz"
PREDICTIONS: Final = "predictions.png"
TRAINING: Final = "training.png"
GRAPH_PICTURE: Final = "graph.svg"
GRAPH_PAGE: Final = "graph.html"
PICTURES: Final = (PREDICTIONS, TRAINING, GRAPH_PICTURE, GRAPH_PAGE)
FILES: Final = (SUMMARY, METRICS, CHECKPOINT, *PICTURES)
PARENT: Final = Path("runs")


class RunDirectory:
    """A directory that one run writes into.

    It exists once this is made. What an earlier run left there is removed by `clear`, when there is something
    new to write, and not before.

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
        If the directory holds other things, or cannot be made or written to.
    """

    def __init__(self, out: str | os.PathLike[str] | None, recipe: str) -> None:
        self._made: list[Path] = []  # the parents first
        self.path = _unused(recipe) if out is None else Path(os.path.expanduser(out))
        self.replaces = False
        try:
            self._claim()
        except OSError as error:
            self.release()
            raise RunError(
                f"{self.path} cannot be written to ({error.strerror or error}); name another directory"
            ) from error

    def _claim(self) -> None:
        """Make the directory, if it is not there, and see that files can be written in it."""
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
            self.replaces = any(self.path.iterdir())
        for path in [*reversed(self.path.parents), self.path]:
            if not path.exists():
                path.mkdir(exist_ok=True)
                self._made.append(path)
        probe = self.path / f".probe.{os.getpid()}.part"
        probe.touch()
        probe.unlink()

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.path / name

    def clear(self) -> None:
        """Remove what an earlier run left."""
        for entry in list(self.path.iterdir()):
            if entry.name in FILES or _PART.fullmatch(entry.name):
                entry.unlink(missing_ok=True)

    def release(self) -> None:
        """Remove the directory and the parents that were made for it, if there is nothing in them."""
        with suppress(OSError):
            for path in reversed(self._made):
                path.rmdir()


# ---- which files are a run's -----------------------------------------------------------------------------

_PART: Final = re.compile(
    r"\.{1,2}(summary|metrics|checkpoint|predictions|training|graph|probe)\.\d+\.part(\.\w+)?(\.[0-9a-f]{32}\.tmp)?"
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
        elif not _PART.fullmatch(entry.name):
            others.append(entry.name)
    return sorted(others if run else others + pictures)


def _is_summary(path: Path) -> bool:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and {"recipe", "config", "test_accuracy"} <= content.keys()


def _is_metrics(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            first = json.loads(file.readline(1 << 16))
    except ValueError:
        return False
    return isinstance(first, dict) and {"step", "train_loss"} <= first.keys()


def _is_checkpoint(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "checkpoint.npy" in archive.namelist()
    except zipfile.BadZipFile:
        return False


_RECOGNISED: Final = {SUMMARY: _is_summary, METRICS: _is_metrics, CHECKPOINT: _is_checkpoint}
"""The files that make a directory a run, and how each is told from somebody's file of the same name."""


def _unused(recipe: str) -> Path:
    """Return ``runs/<recipe>-<time>``, with a number if that is taken."""
    stem = f"{recipe}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = PARENT / stem, 1
    while path.exists():
        number += 1
        path = PARENT / f"{stem}-{number}"
    return path
