"""Pictures scaled to another size, by areas to shrink and linearly to enlarge them; and their borders."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_DIGITS = 9
"""Decimal digits of a grey level that rounding errors do not reach."""


@functools.lru_cache(maxsize=64)  # pictures of a folder have few sizes
def resampling(old: int, new: int) -> NDArray[np.float64]:
    """Return the matrix (new, old) that resamples an axis; each row has the sum 1."""
    if new <= old:
        edges = np.arange(new + 1) * (old / new)
        left = np.maximum(edges[:-1, None], np.arange(old))
        right = np.minimum(edges[1:, None], np.arange(1, old + 1))
        weights = np.maximum(right - left, 0)
    else:
        centres = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
        weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(old)), 0)
    matrix: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    matrix.flags.writeable = False
    return matrix


def scaled(picture: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture scaled as a whole to height and width `shape`; itself, if it has them already.

    Examples
    --------
    >>> scaled(np.array([[0, 100], [200, 100]], np.uint8), (1, 2))
    array([[100, 100]], dtype=uint8)
    """
    if picture.shape == shape:
        return picture
    rows, columns = (resampling(old, new) for old, new in zip(picture.shape, shape, strict=True))
    return as_levels(rows @ picture @ columns.T)


def as_levels(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return numbers in 0..255 as whole grey levels; a half goes to the even one.

    Means of pixels often lie halfway between two levels, up to the rounding errors of their sums, which
    differ between machines. They are taken off first, so that the same picture is the same everywhere.

    Examples
    --------
    >>> as_levels(np.array([2.5, 3.5, 3.5 - 1e-14]))
    array([2, 4, 4], dtype=uint8)
    """
    return np.rint(np.round(values, _DIGITS)).astype(np.uint8)


PAGES = ("dark", "light")
"""The pages that pictures may be on, by the grey values of their borders."""


def page_of(images: NDArray[np.uint8]) -> str | None:
    """Return whether the borders of nearly all pictures (n, h, w) are ``"dark"`` or ``"light"``, or None.

    Examples
    --------
    >>> page_of(np.zeros((3, 8, 8), np.uint8)), page_of(np.full((3, 8, 8), 128, np.uint8))
    ('dark', None)
    """
    levels = _border_levels(images)
    for page, share in zip(PAGES, (np.mean(levels < 64), np.mean(levels >= 192)), strict=True):
        if share >= 0.95:
            return page
    return None


def background_of(images: NDArray[np.uint8]) -> int:
    """Return the grey value that goes on beyond the borders of pictures (n, h, w).

    It is 0 (black), except where the borders of nearly all pictures are light. There it is their median.

    Examples
    --------
    >>> background_of(np.zeros((3, 8, 8), np.uint8)), background_of(np.full((3, 8, 8), 240, np.uint8))
    (0, 240)
    """
    if page_of(images) != "light":
        return 0
    return round(float(np.median(_border_levels(images))))


def _border_levels(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the median of the border of each picture."""
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    levels: NDArray[np.float64] = np.median(border, axis=1)
    return levels
