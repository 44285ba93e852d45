"""Placement: the point of a picture that was given, for each point of the picture that is made of it.

A placement is a matrix (2, 3), ``[[a, b, c], [d, e, f]]``. It takes the point (x, y) of what was made to the
point ``(a x + b y + c, d x + e y + f)`` of what was given. Points are in pixels from the left and from the
top: (0, 0) is the upper left corner of the first pixel, and (0.5, 0.5) its middle.

Each step of a preparation has a placement of its own. `after` joins those of two steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Placement = NDArray[np.float64]


def affine(
    x: float = 1.0, y: float = 1.0, *, lean: float = 0.0, right: float = 0.0, down: float = 0.0
) -> Placement:
    """Return the placement ``[[x, lean, right], [0, y, down]]``; without arguments all points stay.

    Parameters
    ----------
    x, y : float
        The width and the height of what one pixel of the result stands for.
    lean : float
        How far to the right the point of what was given moves from one row of the result to the next.
    right, down : float
        The point of what was given that the upper left corner of the result lies on.

    Examples
    --------
    >>> affine(2, 3, right=5)
    array([[2., 0., 5.],
           [0., 3., 0.]])
    """
    return np.array([[x, lean, right], [0.0, y, down]])


def after(second: Placement, first: Placement) -> Placement:
    """Return the placement of two steps: `second` was made of the result of `first`.

    Examples
    --------
    A picture is cut 10 pixels from the left, then scaled to a half; its first pixel is the eleventh and
    twelfth of what was given:

    >>> after(affine(2, 2), affine(right=10))
    array([[ 2.,  0., 10.],
           [ 0.,  2.,  0.]])
    """
    placed = first[:, :2] @ second
    placed[:, 2] += first[:, 2]
    return placed


def resized(old: tuple[int, int], new: tuple[int, int]) -> Placement:
    """Return the placement of a picture that is scaled from one height and width to another.

    Examples
    --------
    >>> resized((56, 28), (28, 28))
    array([[1., 0., 0.],
           [0., 2., 0.]])
    """
    return affine(old[1] / new[1], old[0] / new[0])
