"""The grey values of a picture in an array: grey or in colour, perhaps with transparent parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.levels import as_bytes, black_and_white, luma
from tinygrad_mnist.data.stacks import check_index, check_pixels, check_range, grey_levels
from tinygrad_mnist.data.transparency import on_page

Grey = NDArray[np.uint8]

EXPECTED = "a path, an array, an image of Pillow or a binary file"
"""What a picture may be given as, as a part of a sentence."""

_STRIP = 1 << 20
"""Pixels of which the luma is computed at a time."""


def values_of_array(array: Any, name: str, index: int | None) -> Grey:
    """Return the grey values of a picture in an array.

    Parameters
    ----------
    array : array_like
        Shape (h, w), (h, w, 1), in colour (h, w, 3), with transparent parts (h, w, 4); or a stack (n, h, w).
        Booleans, integers or floats; see `tinygrad_mnist.data.levels.black_and_white`. Tensors are taken.
    name : str
        What it is called in errors.
    index : int or None
        The number of a picture in a stack; None for a single picture.

    Returns
    -------
    ndarray, shape (h, w), uint8
        A new array.

    Raises
    ------
    DataError
        It is no picture, or too large, or the index does not fit.
    TypeError
        It cannot be made an array, or is a single thing.

    Examples
    --------
    >>> values_of_array([[0.0, 0.5, 1.0]], "the list", None)
    array([[  0, 128, 255]], dtype=uint8)
    """
    pixels = _as_array(array, name)
    shape = pixels.shape
    if pixels.ndim == 0:
        raise TypeError(f"a picture was given as {type(array).__name__}; expected {EXPECTED}")
    if pixels.ndim not in (2, 3) or 0 in shape:
        raise DataError(
            f"{name} has the shape {shape}, where a picture was expected, (h, w), or in colour (h, w, 3) or "
            "(h, w, 4)"
        )
    # with an index, a last axis of 3 may be the width of small pictures
    is_single = pixels.ndim == 2 or (shape[2] in (1, 3, 4) and (index is None or shape[1] > 4))
    check_index(name, None if is_single else shape[0], index)
    check_pixels(name, shape[0] * shape[1] if is_single else shape[1] * shape[2], pixels.dtype)
    if is_single and pixels.ndim == 3 and shape[2] > 1:
        return _of_colours(pixels, name)
    low, high = float(pixels.min()), float(pixels.max())  # of a stack, as all are on one scale
    picture = pixels[index] if index is not None else pixels.reshape(shape[:2])
    grey = grey_levels(name, picture, low, high)
    return grey.copy() if np.may_share_memory(grey, pixels) else grey


def _as_array(array: Any, name: str) -> NDArray[Any]:
    """Return anything that can be an array as one; a Tensor may need a gradient, here or in PyTorch."""
    detach = getattr(array, "detach", None)
    values = detach() if callable(detach) else array
    # by its name, as NumPy takes some of these and PyTorch refuses them in words of its own
    dtype = str(getattr(values, "dtype", "")).removeprefix("torch.")
    if dtype.startswith(("bfloat16", "float8", "float4")):
        raise TypeError(
            f"{name} is of dtype {dtype}, which NumPy does not have; convert it first, as in "
            f"{'x.float()' if hasattr(values, 'float') else 'x.astype(np.float32)'}"
        )
    try:
        return np.asarray(values)
    except Exception as error:  # whatever an object of somebody else's raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        if isinstance(array, list | tuple):
            raise DataError(
                f"{name} is no picture: its rows are not equally long lists of numbers ({reason[0]})"
            ) from error
        raise TypeError(f"{name} cannot be made an array ({reason[0]})") from error


def _of_colours(pixels: NDArray[Any], name: str) -> Grey:
    """Return the grey values of a picture in colour (h, w, 3 or 4), its transparent parts laid on a page."""
    check_range(name, float(pixels.min()), float(pixels.max()))
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    if pixels.dtype != np.uint8:
        black, white = black_and_white(float(colours.min()), float(colours.max()), pixels.dtype)
        colours = as_bytes(colours, black, white)
    grey = np.empty(pixels.shape[:2], np.uint8)
    height = max(1, _STRIP // pixels.shape[1])
    for top in range(0, len(grey), height):
        grey[top : top + height] = luma(colours[top : top + height])
    if not alpha.size:
        return grey_levels(name, grey, int(grey.min()), int(grey.max()))
    if pixels.dtype != np.uint8:
        alpha = as_bytes(alpha, *black_and_white(0.0, float(alpha.max()), pixels.dtype))
    return on_page(grey, alpha[..., 0])
