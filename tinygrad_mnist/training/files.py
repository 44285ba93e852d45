"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinygrad_mnist import files
from tinygrad_mnist.training.errors import RunError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` at the end, unless an error came between.

    Parameters
    ----------
    path : Path
        The file to be; its directory exists.

    Yields
    ------
    Path
        A new file's path in the same directory, with the same suffix.

    Raises
    ------
    RunError
        If it cannot be written; the system says why.
    """
    try:
        with files.replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a value as indented JSON; a number that is not finite becomes null."""
    with files.replacing(path) as temporary:
        temporary.write_text(
            json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one line of JSON for each row; a number that is not finite becomes null."""
    lines = [json.dumps(_plain(row), allow_nan=False, ensure_ascii=False) + "\n" for row in rows]
    with files.replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
