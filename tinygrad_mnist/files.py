"""Whole files or none: write under another name in the same folder, and rename when all is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PathLike = str | os.PathLike[str]


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Give a path to write to; the file takes the place of ``path`` at the end, unless an error came between.

    A link stays, and what it points to is replaced. A device or a pipe is written to, not replaced.

    Parameters
    ----------
    path : path-like
        The file to be.

    Yields
    ------
    Path
        A new file's path in the same directory, with the same suffix.

    Raises
    ------
    OSError
        If there is no directory to put it in, ``path`` is a directory itself, or it cannot be written. Its
        ``filename`` is the path that was given; what was there before stays.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "a.txt")) as unfinished:
    ...         count = unfinished.write_text("whole")
    ...     Path(folder, "a.txt").read_text()
    'whole'
    """
    target = target_of(path)
    if target.exists() and not target.is_file():
        yield target
        return
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except OSError as error:
        if error.strerror is not None and error.filename in (None, str(unfinished)):
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def target_of(path: PathLike) -> Path:
    """Return the file that a path means, through links; raise an OSError where none can be."""
    target = Path(os.path.realpath(path))
    if target.is_dir() or os.fspath(path).endswith(os.sep):
        raise IsADirectoryError(errno.EISDIR, "that is a directory; name a file", os.fspath(path))
    if not target.parent.is_dir():
        missing = os.path.dirname(os.fspath(path)) or os.curdir
        raise FileNotFoundError(
            errno.ENOENT, f"there is no directory {missing!r}; make it first", os.fspath(path)
        )
    return target


def write(path: PathLike, content: str | bytes) -> Path:
    """Write a file, whole or not at all; return its path."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)
