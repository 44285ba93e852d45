"""Data sets of arrays in files of their own, as ``x_train.npy`` or ``kmnist-train-imgs.npz``.

The second are the NumPy files of KMNIST and Kuzushiji-49.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.labels import as_labels
from tinygrad_mnist.data.npz_sets import NAMES, read_only_array
from tinygrad_mnist.data.parts import Found, Part, as_images, check_pictures, with_validation
from tinygrad_mnist.data.stacks import open_npy

_KMNIST = re.compile(r"(.+)-(train|test)-(imgs|labels)")
_KINDS: Final = {"imgs": "pictures", "labels": "labels"}
_MOST_BYTES_OF_A_LABEL: Final = 1 << 12

Role = tuple[str, str]
"""The part, ``train``, ``test`` or ``validation``, and the kind, ``pictures`` or ``labels``."""


def array_files(paths: Iterable[Path]) -> dict[Role, Path]:
    """Return the files that are the arrays of one data set by their names, by what they hold."""
    found: dict[Role, Path] = {}
    for path in paths:
        if path.suffix.casefold() in (".npy", ".npz") and (role := _role(path.stem.casefold())):
            found.setdefault(role, path)
    return found if ("train", "pictures") in found and ("train", "labels") in found else {}


def _role(stem: str) -> Role | None:
    if match := _KMNIST.fullmatch(stem):
        return match[2], _KINDS[match[3]]
    for names in NAMES:
        for part, pair in (("train", names.train), ("test", names.test), ("validation", names.validation)):
            if stem in pair:
                return part, ("pictures", "labels")[pair.index(stem)]
    return None


def read_array_files(files: dict[Role, Path]) -> Found:
    """Read a data set of arrays in files of their own.

    Raises
    ------
    DataError
        A file is damaged, or its array does not hold pictures or labels.
    """
    parts = [
        part
        for part in ("train", "test", "validation")
        if (part, "pictures") in files and (part, "labels") in files
    ]
    arrays = [(str(files[part, "pictures"]), _read(files[part, "pictures"], True)) for part in parts]
    labels = [as_labels(str(files[part, "labels"]), _read(files[part, "labels"], False)) for part in parts]
    images, notes = as_images(arrays)
    found = {
        part: Part(f"{files[part, 'pictures']} and {files[part, 'labels'].name}", *each)
        for part, each in zip(parts, zip(images, labels, strict=True), strict=True)
    }
    train, test, more = with_validation(found["train"], found.get("test"), found.get("validation"))
    suffix = files["train", "pictures"].suffix.casefold()
    return Found(f"{suffix} files", train, test, notes=(*notes, *more))


def _read(path: Path, holds_pictures: bool) -> NDArray[Any]:
    """Return the array of a file, if its header says that it is one of pictures, or of labels."""
    if path.suffix.casefold() == ".npz":
        return read_only_array(path, holds_pictures)
    with path.open("rb") as file:
        stored = open_npy(path, file)
        if holds_pictures:
            check_pictures(str(path), stored.shape, stored.dtype)
        elif stored.dtype.kind not in "buifUS" or stored.dtype.itemsize > _MOST_BYTES_OF_A_LABEL:
            raise DataError(f"{path} has labels of type {stored.dtype}, where numbers or texts were expected")
        if stored.is_fortran:
            return replace(stored, shape=stored.shape[::-1]).read().T
        return stored.read()
