"""Files that a command reads, which it may not write over."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from tinygrad_mnist.files import PathLike

_DRAWINGS: Final = (".png", ".svg", ".pdf", ".html", ".dot", ".mmd")
"""The endings of what commands draw: directly in a directory that they read, they may draw it anew."""


def require_no_input(option: str, path: PathLike, *inputs: PathLike | None) -> None:
    """Raise an error if a file to write is one that the command reads, before any work is done for it.

    Parameters
    ----------
    option : str
        The option that names the file to write, in the error.
    path : path-like
        That file.
    inputs : path-like or None
        The files and directories that are read; names of other things are no paths that exist, and ignored.

    Raises
    ------
    RecipeError
        It is one of those files, by whatever name or link, or lies in one of those directories.
    """
    from tinygrad_mnist.training.errors import RecipeError

    if not os.path.isfile(path):
        return
    for given in inputs:
        if given is not None and _is_of(Path(path), Path(os.path.expanduser(given))):
            raise RecipeError(
                f"{option} {os.fspath(path)} is, or is in, {os.fspath(given)}, which this command reads, and "
                "would be lost; name another file"
            )


def files_of_run(run: str) -> list[str]:
    """Return the files of a run directory that no command may replace, or the checkpoint that was named."""
    from tinygrad_mnist.training.runs.directory import KEPT

    return [os.path.join(run, name) for name in KEPT] if os.path.isdir(run) else [run]


def _is_of(path: Path, given: Path) -> bool:
    """Return whether a file is another one, or a file of a directory that is no drawing beside the data."""
    with suppress(OSError):  # it is not there
        if os.path.samefile(path, given):
            return True
    target, directory = Path(os.path.realpath(path)), Path(os.path.realpath(given))
    if target.parent == directory:
        return target.suffix.casefold() not in _DRAWINGS
    return directory in target.parents
