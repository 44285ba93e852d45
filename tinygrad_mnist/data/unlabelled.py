"""Pictures to recognise, from a file or a folder: each with the number or the name that it has there.

They need no labels. Where they have some, these are kept apart, so that predictions can be held against them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.csv_sets import UNNAMED_COLUMNS, read_csv
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.idx import GZIP_MAGIC, open_idx
from tinygrad_mnist.data.idx_sets import idx_sets
from tinygrad_mnist.data.known_sets import emnist_names, emnist_split, known_by_name
from tinygrad_mnist.data.labels import Labels, names_beside
from tinygrad_mnist.data.parts import MOST_BYTES, as_images, check_pictures
from tinygrad_mnist.data.picture_folders import (
    class_folders,
    is_picture_name,
    pictures_in,
    read_pictures,
    visible,
)

TAKEN: Final = "a CSV file with a picture in each row, an IDX file of pictures, or a folder of pictures"
"""What pictures to recognise are read from, as a part of a sentence."""

NUMBERED: Final = "ImageId"
"""The heading of ids that are numbers from 1, as Kaggle has it."""
FILES: Final = "file"
"""The heading of ids that are names of files."""

_ARRAY_STARTS = (b"PK", b"\x93NUM")
"""The first bytes of files of NumPy."""


@dataclass(frozen=True, eq=False)
class PicturesToPredict:
    """Pictures to recognise, and what their file or folder says of each.

    Parameters
    ----------
    images : ndarray
        uint8, shape (n, h, w).
    ids : tuple of str
        What tells them apart: the ids in a CSV file, the names of files, else numbers from 1.
    id_heading : str
        The heading of the ids in a table.
    labels : tuple of str, optional
        The name of the class of each, where labels are there; empty for a picture without one.
    """

    images: NDArray[np.uint8]
    ids: tuple[str, ...]
    id_heading: str = NUMBERED
    labels: tuple[str, ...] | None = None


def read_unlabelled(
    path: str | os.PathLike[str], image_shape: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    r"""Read pictures without labels, as those of Kaggle's ``test.csv``.

    Parameters
    ----------
    path : path-like
        A CSV file with a picture in each row (a column of labels is left out), an IDX file of pictures, or a
        folder of pictures, which are taken in natural order.
    image_shape : tuple of int, optional
        Height and width to scale the pictures of a folder to; by default the size that most of them have.

    Returns
    -------
    ndarray
        uint8, shape (n, h, w).

    Raises
    ------
    DataError
        It is none of these, or something in it is wrong.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "test.csv")
    ...     _ = path.write_text("pixel0,pixel1,pixel2,pixel3\n0,64,128,255\n")
    ...     read_unlabelled(path)
    array([[[  0,  64],
            [128, 255]]], dtype=uint8)
    """
    return read_to_predict(path, image_shape).images


def read_to_predict(
    path: str | os.PathLike[str], image_shape: tuple[int, int] | None = None
) -> PicturesToPredict:
    """Read pictures as `read_unlabelled` does, with their ids, and with their labels if there are any."""
    path = Path(os.path.expanduser(path))
    try:
        if path.is_dir():
            return _folder(path, image_shape)
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is neither a file nor a directory, where {TAKEN} was expected")
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    if start.startswith((GZIP_MAGIC, b"\0\0")):
        with open_idx(path, most_unzipped=MOST_BYTES) as stored:
            check_pictures(str(path), stored.shape, stored.dtype)
            images = _as_images(path, stored.read())
        return PicturesToPredict(images, _numbers(images))
    if start.startswith(_ARRAY_STARTS):
        raise DataError(f"{path} is a file of NumPy or an archive, where {TAKEN} was expected")
    if is_picture_name(path.name):
        raise DataError(f"{path} is a single picture, where {TAKEN} was expected; name it without --data")
    return _table(path)


def _table(path: Path) -> PicturesToPredict:
    table = read_csv(path)
    images = _as_images(path, table.pixels)
    labels = None if table.labels is None else _named(path, table.labels)
    if table.ids is None:
        return PicturesToPredict(images, _numbers(images), labels=labels)
    heading = "id" if table.id_heading.casefold() in UNNAMED_COLUMNS else table.id_heading
    return PicturesToPredict(images, table.ids, heading, labels)


def _as_images(path: Path, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the pictures of a file as bytes, upright."""
    ((images,), _) = as_images([(str(path), array)])
    return images if emnist_split(path.name) is None else np.ascontiguousarray(images.transpose(0, 2, 1))


def _numbers(images: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(map(str, range(1, len(images) + 1)))


def _named(path: Path, labels: Labels) -> tuple[str, ...]:
    """Return the names of the classes that labels stand for, where they are known; else the labels."""
    names: Mapping[int, str] | None = None
    if labels.dtype.kind == "i":
        split = emnist_split(path.name)
        with suppress(DataError):  # a list that names no classes is no hindrance to predictions
            names = emnist_names(path.parent, split) if split else names_beside(path.parent)
        if names is None and (known := known_by_name(path.resolve(), labels)) is not None:
            names = known.names
    return tuple((names or {}).get(label, str(label)) for label in labels.tolist())


def _folder(directory: Path, image_shape: tuple[int, int] | None) -> PicturesToPredict:
    paths, _ = pictures_in(directory)
    if not paths:
        raise DataError(f"{directory} has no pictures, where {TAKEN} was expected{_hint(directory)}")
    images, _ = read_pictures(paths, directory, image_shape)
    ids = tuple(path.relative_to(directory).as_posix() for path in paths)
    return PicturesToPredict(images, ids, FILES, _folder_labels(directory, paths))


def _hint(directory: Path) -> str:
    """Return which file of a directory to name instead, as the end of a sentence."""
    for sets in idx_sets(directory).values():
        for part in ("test", "train"):
            if (part, "images") in sets.files:
                return f"; name {sets.files[part, 'images']}"
    names = [entry.name for entry in visible(directory) if entry.is_file()]
    tables = [name for name in names if re.search(r"^(?!.*submission).*[.]csv$", name, re.IGNORECASE)]
    tables.sort(key=lambda name: "test" not in name.casefold())
    return f"; name {directory / tables[0]}" if tables else ""


def _folder_labels(directory: Path, paths: Sequence[Path]) -> tuple[str, ...] | None:
    """Return the class of each picture by the folder that it is in; None if there are no such folders."""
    found = class_folders(directory)
    if found is None:
        return None
    folders = {folder for part in found.values() for folder in part}
    return tuple(next((parent.name for parent in path.parents if parent in folders), "") for path in paths)
