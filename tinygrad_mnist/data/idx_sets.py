"""Data sets of four IDX files: MNIST, and all that took over its format."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.idx import open_idx
from tinygrad_mnist.data.known_sets import emnist_names, emnist_split
from tinygrad_mnist.data.labels import as_labels
from tinygrad_mnist.data.parts import MOST_BYTES, Found, Part, as_images, check_pictures

_NAME = re.compile(
    r"(?P<set>(?:.+-)?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.]idx[0-9]-(?:u?byte|int)(?:\.gz)?",
    re.IGNORECASE,
)
_PARTS = {"train": "train", "t10k": "test", "test": "test"}


@dataclass
class IdxSet:
    """The files of a set, by part and kind.

    Parameters
    ----------
    prefix : str
        The beginning that the names of its files share; empty for MNIST.
    files : dict
        The paths, by ``("train" or "test", "images" or "labels")``.
    """

    prefix: str
    files: dict[tuple[str, str], Path] = field(default_factory=dict)


def idx_sets(directory: Path) -> dict[str, IdxSet]:
    """Return the sets of IDX files in a directory, by the beginning of their names.

    Of a file with and one without ``.gz``, the one without is taken.
    """
    found: dict[str, IdxSet] = {}
    for name in sorted(os.listdir(directory), key=lambda name: (name.endswith(".gz"), name)):
        match = _NAME.fullmatch(name)
        if match and (directory / name).is_file():
            prefix = match["set"].casefold()
            role = _PARTS[match["part"].casefold()], match["kind"].casefold()
            found.setdefault(prefix, IdxSet(prefix)).files.setdefault(role, directory / name)
    return found


def read_idx_directory(directory: Path) -> Found:
    """Read the one set in a directory.

    Raises
    ------
    DataError
        There are several, a file is missing, or one is not what it should be.
    """
    sets = idx_sets(directory)
    if len(sets) > 1:
        names = ", ".join(prefix.rstrip("-") or "files without a name before 'train'" for prefix in sets)
        example = next(iter(sets.values())).files
        raise DataError(
            f"{directory} has {len(sets)} data sets: {names}; choose one by the name of one of its files, as "
            f"in {next(iter(example.values()))}"
        )
    (only,) = sets.values()
    return _read(directory, only)


def read_idx_file(path: Path) -> Found:
    """Read the set that a file belongs to."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise DataError(
            f"{path} is an IDX file, but not called as one of a set is, such as train-images-idx3-ubyte; "
            "name the directory that has the four files"
        )
    return _read(path.parent, idx_sets(path.parent)[match["set"].casefold()])


def _read(directory: Path, found: IdxSet) -> Found:
    parts = _parts_of(directory, found)
    split = emnist_split(found.prefix)
    paths = {part: found.files[part, "images"] for part in parts}
    images, notes = as_images([(str(path), _read_pictures(path)) for path in paths.values()])
    if split is not None:
        images = [np.ascontiguousarray(part.transpose(0, 2, 1)) for part in images]
        notes = ("the pictures, which EMNIST has transposed, are set upright", *notes)
    read = {
        part: Part(f"{directory} ({paths[part].name})", each, _read_labels(found.files[part, "labels"]))
        for part, each in zip(parts, images, strict=True)
    }
    return Found(
        form=f"the IDX files of EMNIST, split {split}" if split else "IDX files",
        train=read["train"],
        test=read.get("test"),
        names=emnist_names(directory, split) if split else None,
        notes=notes,
        is_centred=True if split else None,
    )


def _parts_of(directory: Path, found: IdxSet) -> list[str]:
    """Return the parts of a set, training first; raise if a file of one is missing."""
    parts = ["train", "test"] if any(part == "test" for part, _ in found.files) else ["train"]
    roles = [(part, kind) for part in parts for kind in ("images", "labels")]
    missing = [" ".join(role) for role in roles if role not in found.files]
    if missing:
        there = ", ".join(path.name for path in found.files.values())
        raise DataError(
            f"{directory} lacks a file with the {' and the '.join(missing)} of a set of IDX files, of which "
            f"it has {there}; put it there, as it is or with .gz, or name another directory"
        )
    return parts


def _read_pictures(path: Path) -> NDArray[Any]:
    with open_idx(path, most_unzipped=MOST_BYTES) as stored:
        check_pictures(str(path), stored.shape, stored.dtype)
        return stored.read()


def _read_labels(path: Path) -> Any:
    with open_idx(path) as stored:
        if len(stored.shape) != 1 and not (len(stored.shape) == 2 and stored.shape[1] == 1):
            raise DataError(
                f"{path} has values of shape {stored.shape}, where labels of shape (n,) were expected; put "
                "the right file there"
            )
        return as_labels(str(path), stored.read())
