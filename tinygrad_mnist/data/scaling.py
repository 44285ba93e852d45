"""Pictures scaled to another size: by areas to shrink them, linearly to enlarge them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
    return np.rint(rows @ picture @ columns.T).astype(np.uint8)
