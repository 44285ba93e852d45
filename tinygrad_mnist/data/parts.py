"""Pictures and labels as a file has them, and the way from arrays of any usual shape and dtype to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.labels import Labels, join_labels
from tinygrad_mnist.data.levels import as_bytes, black_and_white, luma
from tinygrad_mnist.numbers import count_text

MOST_BYTES = 1 << 30
"""The most bytes that the pictures of one file may take in memory, unless the file itself is as large."""

_HIGHEST = 65535
_BLOCK = 1 << 12
"""Pictures that are made grey at a time."""
_NUMBERS = "buif"
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Part:
    """The pictures of a training or a test part, and their labels as the file has them.

    Parameters
    ----------
    where : str
        The file or folder, in errors.
    images : ndarray
        uint8, shape (n, h, w).
    labels : ndarray
        Shape (n,), see `tinygrad_mnist.data.labels.Labels`.
    """

    where: str
    images: NDArray[np.uint8]
    labels: Labels

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            counts = f"{count_text(len(self.images), 'picture')} and {count_text(len(self.labels), 'label')}"
            raise DataError(f"{self.where}: there are {counts}; the two must agree")


@dataclass(frozen=True, eq=False)
class Found:
    """A data set as it was found on the disk.

    Parameters
    ----------
    form : str
        The format, in a few words.
    train, test : Part
        The parts; `test` is None where there is none.
    names : mapping, optional
        The name of each label, where the data has such a list.
    notes : tuple of str
        What was done to it, each a part of a sentence.
    is_centred : bool, optional
        As in `Dataset`; None if that is not known.
    """

    form: str
    train: Part
    test: Part | None
    names: Mapping[int, str] | None = None
    notes: tuple[str, ...] = ()
    is_centred: bool | None = None

    def __post_init__(self) -> None:
        if self.test is not None:
            check_same_size(self.train, self.test)


def check_same_size(train: Part, other: Part) -> None:
    """Raise if the pictures of another part have another size than those of the training part."""
    if other.images.shape[1:] != train.images.shape[1:]:
        raise DataError(
            f"{other.where}: the pictures have height and width {other.images.shape[1:]}, and those of the "
            f"training part {train.images.shape[1:]}; they must be the same"
        )


def with_validation(
    train: Part, test: Part | None, validation: Part | None
) -> tuple[Part, Part | None, tuple[str, ...]]:
    """Return training and test part, where a data set may have a validation part besides.

    Training takes a validation part of its own choice off the training part, so the given one joins that; or
    it is the test part, if there is none.

    Raises
    ------
    DataError
        The pictures of the validation part have another size.
    """
    if validation is None:
        return train, test, ()
    if test is None:
        return train, validation, ("its validation part is the test part, as it has no other",)
    check_same_size(train, validation)
    images = np.concatenate([train.images, validation.images])
    joined = Part(train.where, images, join_labels(train.labels, validation.labels))
    return joined, test, ("its validation part joins the training part",)


def as_images(arrays: Sequence[tuple[str, NDArray[Any]]]) -> tuple[list[NDArray[np.uint8]], tuple[str, ...]]:
    """Return arrays of pictures that belong together as bytes, on one scale.

    Parameters
    ----------
    arrays : sequence of (str, ndarray)
        Each with the place it is from. Shapes (n, h, w), (n, h, w, 1), (n, 1, h, w), (n, h * w) if that is a
        square, and (n, h, w, 3) or (n, 3, h, w) in colour; of booleans, whole numbers or floats.

    Returns
    -------
    images : list of ndarray
        uint8, shape (n, h, w).
    notes : tuple of str
        What was done, each a part of a sentence.

    Raises
    ------
    DataError
        A shape, dtype or value is not as above.
    """
    notes = []
    grey = []
    for where, array in arrays:
        check_pictures(where, array.shape, array.dtype)
        array = _without_channels(array)
        if array.ndim == 4:
            notes.append("colour is made grey")
            array = _grey(array)
        grey.append(array)
    ranges = [_range(where, array) for (where, _), array in zip(arrays, grey, strict=True)]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    dtype = np.result_type(*(array.dtype for array in grey))
    black, white = black_and_white(low, high, dtype)
    if (black, white) != (0, 255):
        notes.append(f"values from {black:g} to {white:g} are scaled to 0 to 255")
    return [_as_bytes(array, black, white) for array in grey], tuple(dict.fromkeys(notes))


def check_pictures(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise unless arrays of this shape and dtype are pictures; nothing need be read for that."""
    if dtype.kind not in _NUMBERS:
        raise DataError(f"{where} has pictures of type {dtype}, where numbers were expected")
    shown = " x ".join(map(str, shape)) or "a single number"
    if not shape or 0 in shape:
        raise DataError(f"{where} holds no pictures: its shape is {shown}")
    is_taken = (
        len(shape) == 3
        or (len(shape) == 2 and isqrt(shape[1]) ** 2 == shape[1])
        or (len(shape) == 4 and (shape[3] in (1, 3) or shape[1] in (1, 3)))
    )
    if not is_taken:
        raise DataError(
            f"{where} has pictures of shape {shown}, where (n, h, w), (n, h, w, 1), colour (n, h, w, 3), or "
            "(n, h * w) with a square of pixels was expected"
        )


def _without_channels(array: NDArray[Any]) -> NDArray[Any]:
    """Return grey pictures in shape (n, h, w), and those in colour in (n, h, w, 3)."""
    if array.ndim == 2:
        side = isqrt(array.shape[1])
        return array.reshape(-1, side, side)
    if array.ndim == 3:
        return array
    if array.shape[3] not in (1, 3):
        array = np.moveaxis(array, 1, 3)
    return array[..., 0] if array.shape[3] == 1 else array


def _grey(colour: NDArray[Any]) -> NDArray[Any]:
    """Return the luma of pictures in colour (ITU-R BT.601), of bytes as Pillow rounds it."""
    is_byte = colour.dtype == np.uint8
    grey = np.empty(colour.shape[:3], np.uint8 if is_byte else np.float32)
    for start in range(0, len(colour), _BLOCK):
        block = colour[start : start + _BLOCK]
        grey[start : start + _BLOCK] = luma(block) if is_byte else block.astype(np.float32) @ _LUMA
    return grey


def _range(where: str, array: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the greatest value; raise if one of them is no grey value."""
    if array.dtype == np.uint8 and array[:_BLOCK].max() > 1:
        return 0.0, 255.0  # bytes are taken as they are, so that not all of them need be looked at
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        broken = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))
        raise DataError(
            f"{where} has pixels that are no finite numbers (NaN or infinite) in {len(broken):,} of "
            f"{len(array):,} pictures, the first of them number {int(broken[0])}, counted from 0"
        )
    if low < 0 or high > _HIGHEST:
        raise DataError(
            f"{where} holds values from {low:g} to {high:g}, where 0 to 255 (or 0 to 1, or to 65535) was "
            "expected; scale them"
        )
    return low, high


def _as_bytes(array: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    if array.dtype == np.uint8 and (black, white) == (0, 255):
        return np.ascontiguousarray(array)
    return as_bytes(array.reshape(len(array), -1), black, white).reshape(array.shape)
