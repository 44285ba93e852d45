"""Notices to the user: sentences, tables, and one sentence for each error that the user can put right.

All that the commands print comes through here, and through `printable`: names of files and classes may hold
signs that a terminal acts on.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from tinygrad_mnist.cli.start import keep, speaks
from tinygrad_mnist.numbers import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, TextIO

FAILED = 1
MISUSED = 2


def show(*lines: str) -> None:
    """Print lines on standard output."""
    print(*map(printable, lines), sep="\n", flush=True)


def notify(sentence: str) -> None:
    """Print a notice on standard error, after all that was printed before it on standard output.

    Of several processes, the first one does; the others `keep` theirs.
    """
    if not speaks():
        keep(printable(sentence))
        return
    sys.stdout.flush()
    print(f"tinygrad-mnist: {printable(sentence)}", file=sys.stderr, flush=True)


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a heading, each column as wide as its widest entry.

    Examples
    --------
    >>> print_table(("a", "b"), [("1", "2"), ("333", "4")])
    a    b
    1    2
    333  4
    """
    lines = [[printable(entry) for entry in row] for row in (heading, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        print("  ".join(f"{entry:{width}}" for entry, width in zip(row, widths, strict=True)).rstrip())


def drop(stream: TextIO) -> None:
    """Let what is still to be written to a stream go nowhere, so that not even the last flush fails."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):  # no file behind it, as under a test
        return


class _Outlasting:
    """A stream whose writes go nowhere from the first one that fails; all else is that of the stream."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return len(text) if self.error else self.stream.write(text)
        except OSError as error:
            return self._end(error, len(text))

    def flush(self) -> None:
        try:
            if self.error is None:
                self.stream.flush()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError, written: int = 0) -> int:
        self.error = error
        drop(self.stream)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def outlasting_readers() -> Iterator[None]:
    """Let work go on inside when its output cannot be written any longer, as its reader or terminal is gone.

    Raises
    ------
    OSError
        At the end: the error of the first write to standard output that failed.
    """
    before = sys.stdout, sys.stderr
    output, errors = map(_Outlasting, before)
    sys.stdout, sys.stderr = output, errors
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
    output.flush()
    if output.error is not None:
        raise output.error


def class_heading(names: Iterable[str]) -> str:
    """Return the heading of a column of classes: ``digit`` if all of them are.

    Examples
    --------
    >>> class_heading("0123456789"), class_heading(["Bag", "Coat"])
    ('digit', 'class')
    """
    return "digit" if all(name in tuple("0123456789") for name in names) else "class"


def explain(error: Exception) -> tuple[str, int] | None:
    """Return sentence and exit status for an error; None for a fault of ours, which needs its traceback."""
    from tinygrad_mnist.training.errors import RecipeError, TrainingError

    if isinstance(error, TrainingError):
        return _one_line(str(error)), MISUSED if isinstance(error, RecipeError) else FAILED
    from tinygrad_mnist.data import DataError  # not before, as it loads NumPy

    if isinstance(error, DataError):
        return _one_line(str(error)), FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}", FAILED
    if isinstance(error, ImportError) and "tinygrad_mnist[" in str(error):  # an extra that is not installed
        return _one_line(str(error)), FAILED
    if isinstance(error, MemoryError):
        return "there is not enough memory; take a smaller --batch-size or a smaller model", FAILED
    from tinygrad_mnist.training.recipe import model_file

    sentence = model_file.explain(error)  # an error in a model of the user's
    return None if sentence is None else (_one_line(sentence), FAILED)


def _one_line(text: str) -> str:
    return " ".join(text.split())
