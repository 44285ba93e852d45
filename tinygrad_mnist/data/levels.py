"""Grey levels of any dtype and range as bytes: 0 for black, 255 for white."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike, NDArray

_FEW = 32
"""Levels of 255 between the darkest and the lightest pixel; a picture with fewer has little contrast."""
_FINEST = 2.0**-10
"""The least contrast, as a share of the lightest pixel; what is less is rounding and noise."""
_LEAST = 1e-9
"""The least contrast at all."""
_BLOCK = 1 << 20


def black_and_white(low: float, high: float, dtype: DTypeLike) -> tuple[float, float]:
    """Return the values that stand for black and for white in pictures of this dtype and range.

    Whole numbers up to 255 are bytes, and larger ones fill the least number of bits that holds them: a camera
    of 10 bits writes 0 to 1023 into files of 16 bits. So do those below 8, unless they are bytes, of which
    such dark ones are noise. Numbers up to 1 are shares of white, so whole ones are black and white. Where
    there is more than a byte can tell, little contrast is stretched, as it would be lost by rounding.

    Parameters
    ----------
    low, high : float
        The least and the greatest value, of one picture or of all that belong together.
    dtype : dtype
        Of booleans, integers or floats.

    Returns
    -------
    black, white : float
        ``white`` is greater than ``black``.

    Examples
    --------
    >>> black_and_white(0, 1023, "uint16"), black_and_white(0, 1, "int64"), black_and_white(0.5, 0.51, "f4")
    ((0.0, 1023.0), (0.0, 1.0), (0.5, 0.51))
    """
    kind, is_byte = np.dtype(dtype).kind, np.dtype(dtype) == np.uint8
    white = 255.0
    if kind == "b" or high == 1 or (kind == "f" and high <= 1):
        white = 1.0
    elif high > 255 or (high < 8 and kind in "iu" and not is_byte):
        white = 2.0 ** max(int(np.ceil(high)).bit_length(), 1) - 1
    contrast = high - low
    is_fine = kind == "f" or white > 255  # finer than a byte
    if contrast > max(_FINEST * max(abs(low), abs(high)), _LEAST) and (
        low < 0 or (is_fine and 255 * contrast < _FEW * white)
    ):
        return float(low), float(high)
    return 0.0, white


def as_bytes(pixels: NDArray[np.generic], black: float, white: float) -> NDArray[np.uint8]:
    """Return grey levels as bytes, `black` as 0 and `white` as 255; a new array."""
    content = np.empty(pixels.shape, np.uint8)
    rows = max(
        1, _BLOCK // max(1, math.prod(pixels.shape[1:]))
    )  # at a time, as floats take eight times the room
    for start in range(0, len(pixels), rows):
        levels = (pixels[start : start + rows].astype(np.float64) - black) * (255 / (white - black))
        content[start : start + rows] = np.rint(levels)
    return content


def luma(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma (...) of colours (..., 3) in bytes, by ITU-R BT.601, rounded as Pillow rounds it.

    Examples
    --------
    >>> luma(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8))
    array([ 76, 150,  29], dtype=uint8)
    """
    red, green, blue = (colours[..., k].astype(np.uint32) for k in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)
