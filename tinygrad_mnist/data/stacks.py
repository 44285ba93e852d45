"""One picture of the array in an NPY or IDX file, without the others in memory.

The header says what there is, so what cannot be a picture is refused before anything is read. The file is
then read once, a megabyte at a time: the levels of all pictures are on one scale, as one of them may be
nearly black.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.idx import StoredArray, size_of
from tinygrad_mnist.data.levels import as_bytes, black_and_white
from tinygrad_mnist.numbers import count_text

MAX_PIXELS = 64_000_000
"""The most pixels of a picture that is read: a phone's camera makes fewer, a decompression bomb more."""
MAX_BYTES = 1 << 27
"""The most memory that one picture may take while it is read."""

_HIGHEST = 65535
"""The greatest grey value, of 16 bits."""
_NUMBERS = "buif"
"""The kinds of dtypes that grey values may have: booleans, integers and floats."""
_LONGEST_HEADER = 1 << 16
"""The most bytes of an NPY file's header: its shape and dtype take less than a hundred."""


def open_npy(path: Path | str, file: BinaryIO) -> StoredArray:
    """Read the header of an NPY file, and compare what it promises with the file's size.

    Parameters
    ----------
    path : Path or str
        Its name in errors.
    file : binary file
        The open file, at its beginning.

    Returns
    -------
    StoredArray

    Raises
    ------
    DataError
        The header is damaged, or the file is too short for it.
    """
    start = io.BytesIO(file.read(_LONGEST_HEADER))  # a header may say that it is four gigabytes long
    try:
        version = np.lib.format.read_magic(start)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read_header(start)
    except Exception as error:  # the parser of a damaged header raises anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{path} cannot be read as an NPY file of numbers ({reason[0].rstrip('. ')})"
        ) from error
    stored = StoredArray(path, dtype, shape, file, is_fortran, is_whole=False)
    file.seek(start.tell())
    size = size_of(file)
    if stored.dtype.kind in _NUMBERS and size is not None and size - start.tell() < stored.nbytes:
        raise stored.truncated(size - start.tell())
    return stored


def read_picture(stored: StoredArray, index: int | None) -> NDArray[np.uint8]:
    """Read one picture of those that a file holds.

    Parameters
    ----------
    stored : StoredArray
        A picture (h, w) or a stack (n, h, w).
    index : int or None
        The number of a picture in a stack; None for a single picture.

    Returns
    -------
    ndarray, shape (h, w), uint8

    Raises
    ------
    DataError
        The array is no picture or stack, too large, or out of range, the index does not fit, or the file is
        damaged.
    """
    _check(stored, index)
    height, width = stored.shape[-2:]
    size = height * width
    # the picture's elements in the file: from the first, each that is `step` further
    first, step = 0, 1
    if index is not None:
        first, step = (index, stored.shape[0]) if stored.is_fortran else (index * size, 1)
    elements = np.empty(size, stored.dtype)
    low, high = np.float64(np.inf), np.float64(-np.inf)
    begin = 0
    for chunk in stored.chunks():
        # np.minimum, as min() loses NaN
        low, high = np.minimum(low, chunk.min()), np.maximum(high, chunk.max())
        end = begin + len(chunk)
        done, last = (min(max(-((first - edge) // step), 0), size) for edge in (begin, end))
        if last > done:
            elements[done:last] = chunk[first + done * step - begin :: step][: last - done]
        begin = end
    picture = elements.reshape(width, height).T if stored.is_fortran else elements.reshape(height, width)
    return grey_levels(stored.path, picture, float(low), float(high))


def grey_levels(path: Path | str, pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return pixels as bytes; raise if `low` and `high`, of these and others like them, are out of range."""
    check_range(path, low, high)
    black, white = black_and_white(low, high, pixels.dtype)
    if pixels.dtype == np.uint8 and white == 255:
        return np.ascontiguousarray(pixels)
    return as_bytes(pixels, black, white)


def check_range(path: Path | str, low: float, high: float) -> None:
    """Raise if the least or the greatest value cannot be a grey level, or is not a number."""
    if not (low >= 0 and high <= _HIGHEST):
        raise DataError(
            f"{path} holds values from {low:g} to {high:g}, where 0 to 255 (or 0 to 1, or to 65535) was "
            "expected; scale them"
        )


def _check(stored: StoredArray, index: int | None) -> None:
    """Raise if the header promises no picture, none of this index, or one that takes too much memory."""
    path, shape, dtype = stored.path, stored.shape, stored.dtype
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise DataError(
            f"{path} holds an array of shape {shape}, where a picture (h, w) or a stack of pictures "
            "(n, h, w) was expected"
        )
    if len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[1] > 4:
        raise DataError(
            f"{path} holds a colour picture (h, w, channels), to judge by its shape {shape}, where grey "
            "values were expected, (h, w), or (n, h, w) for a stack; save it as those, or as a PNG"
        )
    check_index(path, None if len(shape) == 2 else shape[0], index)
    check_pixels(path, shape[-2] * shape[-1], dtype)


def check_pixels(path: Path | str, pixels: int, dtype: np.dtype[Any]) -> None:
    """Raise if so many values of this type are no grey values of a picture, or take too much memory."""
    if dtype.kind not in _NUMBERS:
        raise DataError(f"{path} holds values of type {dtype}, where grey values were expected")
    if pixels > MAX_PIXELS:
        raise DataError(f"{path} has pictures of more than {MAX_PIXELS:,} pixels each; scale them down")
    if pixels * dtype.itemsize > MAX_BYTES:
        raise DataError(
            f"{path} has pictures of {pixels * dtype.itemsize:,} bytes each, and at most {MAX_BYTES:,} are "
            "read; save them as bytes, or scale them down"
        )


def check_index(path: Path | str, pictures: int | None, index: int | None) -> None:
    """Raise if an index does not fit a stack of so many pictures; None stands for a single picture."""
    if pictures is None:
        if index is not None:
            raise DataError(
                f"{path} holds a single picture, which takes no index, but index {index} was given"
            )
        return
    if index is None:
        held = count_text(pictures, "picture")
        raise DataError(f"{path} holds {held}; choose one by an index from 0 to {pictures - 1}")
    if not 0 <= index < pictures:
        held = count_text(pictures, "picture")
        raise DataError(f"{path} holds {held}, counted from 0; it has none of index {index}")
