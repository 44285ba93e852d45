"""The place of a digit in its picture: the middle cut out, and the picture shifted by one pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError


def cropped(images: NDArray[Any], pixels: int) -> NDArray[Any]:
    """Return the middle of images: what is left when some pixels are cut off each side.

    Parameters
    ----------
    images : ndarray
        Shape (..., height, width).
    pixels : int
        Pixels to cut off each side, at least 0.

    Returns
    -------
    ndarray
        A view, of shape (..., height - 2 * pixels, width - 2 * pixels).

    Raises
    ------
    DataError
        The number is negative, or nothing would be left.

    Examples
    --------
    >>> cropped(np.zeros((5, 28, 28)), 2).shape
    (5, 24, 24)
    """
    height, width = images.shape[-2:]
    if not 0 <= 2 * pixels < min(height, width):
        most = (min(height, width) - 1) // 2
        raise DataError(
            f"of images of {height} x {width} pixels, 0 to {most} can be cut off each side, not {pixels}"
        )
    return images[..., pixels : height - pixels, pixels : width - pixels]


def shifted(images: NDArray[Any], background: float = 0) -> NDArray[Any]:
    """Return images, and copies of them shifted by one pixel up, down, left and right; background comes in.

    The mean of a model's probabilities over the five is often better than those of the image alone. Shift
    before you standardise, as the background has another value afterwards.

    Parameters
    ----------
    images : ndarray
        Shape (n, height, width).
    background : float, optional
        The value of the pixels that come in; by default 0, as for light on dark.

    Returns
    -------
    ndarray
        Shape (5, n, height, width), of the same dtype; the first of the five are the images themselves.

    Examples
    --------
    >>> shifted(np.array([[[1, 2], [3, 4]]]))[:, 0].tolist()
    [[[1, 2], [3, 4]], [[3, 4], [0, 0]], [[0, 0], [1, 2]], [[2, 0], [4, 0]], [[0, 1], [0, 3]]]
    """
    copies = np.full((5, *images.shape), background, images.dtype)
    copies[0] = images
    copies[1, :, :-1] = images[:, 1:]
    copies[2, :, 1:] = images[:, :-1]
    copies[3, :, :, :-1] = images[:, :, 1:]
    copies[4, :, :, 1:] = images[:, :, :-1]
    return copies
