"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path


def write(path: str | PathLike[str], content: str | bytes) -> Path:
    """Write a file under another name and put it in its place when it is whole; return its path.

    Raises
    ------
    FileNotFoundError
        If there is no such directory.
    OSError
        If it cannot be written; what was there before stays.
    """
    path = with_directory(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def with_directory(path: str | PathLike[str]) -> Path:
    """The path, if there is a directory to put it in; otherwise FileNotFoundError."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no directory {str(path.parent)!r} to save {path.name!r} in; make it first"
        )
    return path
