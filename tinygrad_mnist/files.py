"""Files that are written whole or not at all: under another name first, and renamed when they are complete.

This module is below all others. What cannot be written is an `OSError` here; `write_error` words it.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike[str]


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` at the end, unless an error came between.

    A link stays, and the file that it points to is replaced. A device or a pipe is written to, not replaced.

    Parameters
    ----------
    path : path-like
        The file to write.

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
    # The suffix stays last, as NumPy and matplotlib choose the format by it. The process number keeps two
    # processes that write the same file apart.
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield unfinished
        # Renaming a file whose contents are not on the disk yet could leave an empty file after a power cut.
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
    """Return the file that a path leads to, through links; raise an OSError where no file can be."""
    target = Path(os.path.realpath(path))
    if target.is_dir() or os.fspath(path).endswith(os.sep):
        raise IsADirectoryError(errno.EISDIR, "that is a directory; name a file", os.fspath(path))
    if not target.parent.is_dir():
        missing = os.path.dirname(os.fspath(path)) or os.curdir
        raise FileNotFoundError(
            errno.ENOENT, f"there is no directory {missing!r}; make it first", os.fspath(path)
        )
    return target


def require_writable(path: PathLike) -> None:
    """Raise an OSError if a file cannot be written at this path, before any work is done for it."""
    from tempfile import TemporaryFile  # here, as the command line starts without it

    target = target_of(path)
    if not target.exists() or target.is_file():
        TemporaryFile(dir=target.parent).close()  # permissions alone do not tell: the disk may be read-only


def write_error(path: PathLike, error: OSError) -> str:
    """Return the sentence that says that a file cannot be written, and why.

    Examples
    --------
    >>> write_error("a.txt", OSError(28, "No space left on device"))
    'a.txt cannot be written (No space left on device)'
    """
    return f"{os.fspath(path)} cannot be written ({error.strerror or error})"


def write(path: PathLike, content: str | bytes) -> Path:
    """Write a file, whole or not at all; return its path."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def write_json(path: PathLike, value: Mapping[str, Any]) -> Path:
    """Write a value as indented JSON; a number that is not finite becomes null."""
    text = json.dumps(_without_nan(value), indent=2, allow_nan=False, ensure_ascii=False)
    return write(path, text + "\n")


def write_json_lines(path: PathLike, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a line of JSON for each row; a number that is not finite becomes null."""
    lines = [json.dumps(_without_nan(row), allow_nan=False, ensure_ascii=False) + "\n" for row in rows]
    return write(path, "".join(lines))


def _without_nan(value: Any) -> Any:
    """Return plain data with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
