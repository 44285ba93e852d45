"""Files that are written while training goes on: what the disk does not take ends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tinygrad_mnist.training.errors import RunError

GOES_ON: Final = "training goes on, and it is tried again"


class Retries:
    """The files that could not be written, as on a full disk; each is told once, and when it is there again.

    Parameters
    ----------
    tell : callable
        Receives the sentences for the user.

    Attributes
    ----------
    unwritten : dict
        What the disk lacks now, and why.
    then : str
        What follows after a failure, as the end of a sentence; empty where nothing does.

    Examples
    --------
    >>> retries = Retries(print)
    >>> for attempt in range(3):
    ...     with retries.at(Path("a.npz")):
    ...         if attempt < 2:
    ...             raise RunError("a.npz cannot be written (No space left on device)")
    a.npz cannot be written (No space left on device); training goes on, and it is tried again
    a.npz is written again
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.unwritten: dict[Path, str] = {}
        self.then = GOES_ON

    @contextmanager
    def at(self, path: Path) -> Iterator[None]:
        """Note that a file could not be written inside, and go on; say so once."""
        try:
            yield
        except (RunError, OSError) as error:
            sentence = f"{error}; {self.then}" if self.then else str(error)
            if sentence not in self.unwritten.values():  # several files may share one
                self.tell(sentence)
            self.unwritten[path] = sentence
        else:
            if self.unwritten.pop(path, None):
                self.tell(f"{path} is written again")
