"""The page without a server: a folder with the weights in it, for any static host or opened as a file.

The page is the same as that of the service. In the place of the script that asks the service there are four
others: the network as data, and the JavaScript that computes with it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.files import PathLike, target_of, write
from tinygrad_mnist.serve.headers import POLICY
from tinygrad_mnist.serve.network_data import network_data
from tinygrad_mnist.serve.page_files import INDEX, KINDS
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint
from tinygrad_mnist.training.errors import RunError, writing

MODEL: Final = "model.js"
SCRIPTS: Final = (MODEL, "network.js", "preparation.js", "local.js")
"""What stands in the place of the script that asks the service, in the order in which they are run."""

_SERVER: Final = "server.js"
_MARK: Final = "// The network of a page by tinygrad_mnist, see network.js. All files of the page: "
"""The beginning of an exported model. By it an earlier export is known, and by the names behind it what is
of that export: other versions may have had other files."""
_NOTE: Final = "The network runs in your browser: nothing that you draw leaves it."
_PLACE: Final = '<meta charset="utf-8">\n'


def write_page(checkpoint: Checkpoint, directory: PathLike, *, threshold: float = 0.7) -> dict[str, int]:
    """Write the page with a model in it to a directory, all of it or nothing.

    The answers, the picture that the model sees, the saliency and the first layer are computed in JavaScript,
    and equal to those of `Recogniser` within 1e-4.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    directory : path-like
        A directory that does not exist, though the one that it is to be in does; or that is empty, or holds
        an earlier export and nothing else, which is replaced.
    threshold : float
        The probability from which a prediction is sure, 0 to 1.

    Returns
    -------
    dict
        The size in bytes of each file that was written, by its name.

    Raises
    ------
    CheckpointError
        If the model has a layer that the JavaScript does not compute, or pictures cannot be prepared for it.
    RunError
        If the directory holds other things, or cannot be written.
    """
    require_page_directory(directory)
    contents = static_files(checkpoint, threshold=threshold)
    with writing(directory):
        _write_whole(_target(directory), contents)
    return {name: len(content) for name, content in contents.items()}


def static_files(checkpoint: Checkpoint, *, threshold: float = 0.7) -> dict[str, bytes]:
    """Return the files of the page with a model in it: their contents by their names."""
    description = Recogniser(checkpoint, threshold=threshold).describe()
    description["note"] = (
        _NOTE if description["note"] is None else f"{_NOTE} {_sentence(description['note'])}"
    )
    network = network_data(checkpoint.model, checkpoint.image_shape, checkpoint.standardizer)
    shared = _files("page")
    del shared[_SERVER]
    index = _without_server(shared[INDEX].decode("utf-8"))
    files = {**shared, **_files("page_local"), INDEX: index.encode("utf-8")}
    names = sorted({*files, MODEL})
    files[MODEL] = _script({"description": description, "network": network}, names)
    return {name: files[name] for name in names}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _script(model: Mapping[str, Any], names: list[str]) -> bytes:
    """Return the model as a script; JSON is JavaScript, too."""
    text = json.dumps(model, allow_nan=False, separators=(",", ":"))
    return f'{_MARK}{" ".join(names)}\n"use strict";\nglobalThis.model = {text};\n'.encode("ascii")


def _names_of_export(directory: Path) -> set[str]:
    """Return the names of the files that an earlier export wrote to a directory; none if there was none."""
    model = directory / MODEL
    if not model.is_file():
        return set()
    with model.open("rb") as file:
        first = file.readline(1 << 16).decode("ascii", "replace")
    return set(first.removeprefix(_MARK).split()) if first.startswith(_MARK) else set()


def _files(folder: str) -> dict[str, bytes]:
    """Return the files in a folder of the package."""
    found = resources.files("tinygrad_mnist.serve") / folder
    return {file.name: file.read_bytes() for file in found.iterdir() if Path(file.name).suffix in KINDS}


def _without_server(index: str) -> str:
    """Return the page with the scripts that compute, and with what it may load in the place of headers."""
    rules = "; ".join(rule for rule in POLICY.split("; ") if not rule.startswith(_FOR_HEADERS))
    own = rules.replace("'self'", "'self' file:")  # browsers differ on whether a file is another's self
    policy = f'<meta http-equiv="Content-Security-Policy" content="{own}">\n'
    scripts = "\n".join(f'<script defer src="{name}"></script>' for name in SCRIPTS)
    for old, new in (
        (_PLACE, f'{_PLACE}{policy}<meta name="referrer" content="no-referrer">\n'),
        (f'<script defer src="{_SERVER}"></script>', scripts),
    ):
        if index.count(old) != 1:
            raise AssertionError(f"the page has {old!r} {index.count(old)} times, where once is expected")
        index = index.replace(old, new)
    return index


_FOR_HEADERS: Final = ("frame-ancestors", "connect-src")
"""Rules that the folder leaves out: a browser takes the first from headers alone, and it asks for nothing."""


# ---- the directory -----------------------------------------------------------------------------------------


def require_page_directory(given: PathLike) -> None:
    """Raise a RunError if a directory cannot be made, holds other things, or is where one works."""
    target = _target(given)
    if not os.path.lexists(target):
        if not target.parent.is_dir():  # as for a file: a parent that is not there may be a slip
            with writing(given):
                target_of(os.path.normpath(os.path.expanduser(given)))
        return
    if not target.is_dir():
        raise RunError(f"{os.fspath(given)} is a file, where a directory for the page was expected")
    with writing(given):
        others = sorted({entry.name for entry in target.iterdir()} - _names_of_export(target))
    if others:
        raise RunError(
            f"{os.fspath(given)} holds {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}, "
            "where nothing or an earlier page was expected; name another directory"
        )
    here = Path.cwd()
    if target in (here, *here.parents):
        raise RunError(f"{os.fspath(given)} is the directory that you are in; name another, such as 'page'")


def _target(directory: PathLike) -> Path:
    """Return the directory that a path leads to, through links."""
    return Path(os.path.realpath(os.path.expanduser(directory)))


def _write_whole(target: Path, contents: Mapping[str, bytes]) -> None:
    """Write a directory beside its place, and then move it there; an earlier one goes when it is complete."""
    number = os.urandom(8).hex()
    unfinished, earlier = (target.with_name(f".{target.name}.{number}.{end}") for end in ("part", "old"))
    try:
        unfinished.mkdir()
        for name, content in contents.items():
            write(unfinished / name, content)
        if target.exists():
            target.rename(earlier)
        unfinished.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(error.errno or errno.EIO, reason, os.fspath(target)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        with suppress(OSError):
            if earlier.exists() and not target.exists():  # something came between the two
                earlier.rename(target)
        if target.exists():
            shutil.rmtree(earlier, ignore_errors=True)
