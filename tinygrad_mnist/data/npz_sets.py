"""Data sets in an ``.npz`` file: Keras's ``mnist.npz``, and every other one with such names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.labels import Labels, as_labels
from tinygrad_mnist.data.parts import MOST_BYTES, Found, Part, as_images, check_pictures, with_validation
from tinygrad_mnist.npz import NpzReader, Purpose, open_npz
from tinygrad_mnist.numbers import printable

_AGAIN: Final = "fetch it again"
_DATA: Final = Purpose(
    error=DataError,
    kind=".npz file with a data set",
    instead="write one by numpy.savez, with the arrays x_train, y_train, x_test and y_test",
    again=_AGAIN,
    pickled="has an array of objects; save numbers or texts",
    always_unpacked=MOST_BYTES,
    largest_ratio=2,
    too_large="save the pictures as bytes (uint8), or fewer of them",
)


@dataclass(frozen=True)
class Names:
    """The names of arrays that belong together: pictures and labels of three parts.

    Parameters
    ----------
    train, test, validation : tuple of str
        The pictures and the labels of a part; `test` and `validation` may be missing in the file.
    """

    train: tuple[str, str]
    test: tuple[str, str]
    validation: tuple[str, str]


NAMES: Final = (
    Names(("x_train", "y_train"), ("x_test", "y_test"), ("x_val", "y_val")),
    Names(("train_images", "train_labels"), ("test_images", "test_labels"), ("val_images", "val_labels")),
    Names(("images", "labels"), ("test_images", "test_labels"), ("val_images", "val_labels")),
    Names(("x", "y"), ("x_test", "y_test"), ("x_val", "y_val")),
)
"""The names that are looked for, in this order; small letters stand for capitals, too."""


def read_npz_set(path: Path) -> Found:
    """Read a data set from an ``.npz`` file.

    Raises
    ------
    DataError
        It is no such file, damaged, would take too much memory, or its arrays are not pictures and labels.
    """
    with open_npz(path, _DATA) as file:
        given = {name.casefold(): name for name in file.names}
        names = next((names for names in NAMES if set(names.train) <= set(given)), None)
        if names is None:
            shown = ", ".join(printable(name[:40]) for name in file.names[:6]) + ", ..." * (
                len(file.names) > 6
            )
            raise DataError(
                f"{path} has the arrays {shown}, where x_train, y_train, x_test and y_test were expected (or "
                "train_images, train_labels, test_images and test_labels)"
            )
        pairs = {
            part: (given[pictures], given[labels])
            for part, (pictures, labels) in {
                "train": names.train,
                "test": names.test,
                "validation": names.validation,
            }.items()
            if pictures in given and labels in given
        }
        file.require_moderate([name for pair in pairs.values() for name in pair])
        arrays = [(f"{path}, {pictures}", _pictures(file, pictures)) for pictures, _ in pairs.values()]
        labels = [_labels(file, name) for _, name in pairs.values()]
    images, notes = as_images(arrays)
    parts = {
        part: Part(f"{path}, {pair[0]} and {pair[1]}", *each)
        for (part, pair), each in zip(pairs.items(), zip(images, labels, strict=True), strict=True)
    }
    train, test, more = with_validation(parts["train"], parts.get("test"), parts.get("validation"))
    return Found("an .npz file", train, test, notes=(*notes, *more))


def _pictures(file: NpzReader, name: str) -> NDArray[Any]:
    entry = file.entry(name)
    check_pictures(f"{file.path}, {name}", entry.shape, entry.dtype)
    return file.read(name, entry)


def _labels(file: NpzReader, name: str) -> Labels:
    return as_labels(f"{file.path}, {name}", _label_values(file, name))


def _label_values(file: NpzReader, name: str) -> NDArray[Any]:
    entry, where = file.entry(name), f"{file.path}, {name}"
    if entry.dtype.kind not in "buifUS" or entry.dtype.itemsize > 1 << 12:
        raise DataError(f"{where} has labels of type {entry.dtype}, where numbers or texts were expected")
    return file.read(name, entry)


def read_only_array(path: Path, holds_pictures: bool) -> NDArray[Any]:
    """Return the array of a file that has one alone, of pictures or of labels.

    Raises
    ------
    DataError
        The file is no ``.npz`` file, is damaged, would take too much memory, or has several arrays.
    """
    with open_npz(path, _DATA) as file:
        if len(file.names) != 1:
            raise DataError(f"{path} has {len(file.names)} arrays, where one alone was expected")
        file.require_moderate(list(file.names))
        (name,) = file.names
        return _pictures(file, name) if holds_pictures else _label_values(file, name)
