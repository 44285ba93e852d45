"""How noisy a function is where it is evaluated: what rounding leaves of its values, seen in their scatter.

No gradient code, as in `differences`: functions of one number that return an array.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

POINTS: Final = 9
"""Values in a difference table, ..."""

ALIKE: Final = 4.0
"""... whose noise shows in three orders of differences that agree up to this factor."""

SPACINGS: Final = tuple(2.0**k for k in range(-4, -48, -4))
"""Distances of the points, beside the argument: rounding may repeat itself over many neighbouring numbers."""

ORDINARY: Final = 8.0
"""So many roundings of the value are usual."""


def noise(f: Callable[[float], Array], at: float, reach: Array, eps: float) -> Array:
    """The size of the noise in the values of ``f`` near ``at``; 0 where no noise is seen.

    Parameters
    ----------
    f : callable
        Takes a float, returns an array, always of one shape.
    at : float
        Where.
    reach : ndarray
        Over which distance each element is known to be smooth but for noise.
    eps : float
        The precision of the arguments: points lie no closer than can be told apart.

    Returns
    -------
    ndarray
        For each element the largest noise of all spacings; of both sides of ``at`` the lesser, so that a kink
        on one side is none.

    Notes
    -----
    The k-th differences of a smooth function vanish as k grows, those of noise do not; divided by what they
    are for independent errors of size 1 they are the noise (Hamming 1973; Moré and Wild 2011, SIAM J. Sci.
    Comput. 33, 1292, algorithm ECnoise).

    Examples
    --------
    >>> def cancels(x):
    ...     return np.asarray((1 - np.cos(x)) / x**2)
    >>> 1e-9 < noise(cancels, 1e-4, np.array(1.0), 2.0**-52) < 1e-7
    np.True_
    >>> noise(np.exp, 1.0, np.array(1.0), 2.0**-52) < 1e-15
    np.True_
    """
    scale = abs(at) or float(np.max(reach, initial=0.0)) or 1.0
    largest = np.zeros(np.shape(reach))
    for spacing in (scale * part for part in SPACINGS if part >= 8 * eps):
        sides = []
        for side in (-spacing, spacing):
            with np.errstate(all="ignore"):
                sides.append(_noise_of_table(np.array([f(at + k * side) for k in range(POINTS)])))
        seen = np.where(spacing * POINTS <= reach, np.minimum(*sides), 0.0)
        largest = np.maximum(largest, seen)
    return largest


def _noise_of_table(values: Array) -> Array:
    """The noise of values at equally spaced points, along axis 0."""
    levels: list[Array] = []
    turns: list[Array] = []
    differences = values
    for order in range(1, POINTS - 1):
        differences = np.diff(differences, axis=0)
        levels.append(np.sqrt(np.mean(differences**2, axis=0) / comb(2 * order, order)))
        turns.append(np.any(differences > 0, axis=0) & np.any(differences < 0, axis=0))
    found = np.zeros(values.shape[1:])
    for k in reversed(range(len(levels) - 2)):
        three = np.array(levels[k : k + 3])
        is_noise = turns[k] & (np.max(three, axis=0) <= ALIKE * np.min(three, axis=0))
        found = np.where(is_noise & np.all(np.isfinite(three), axis=0), levels[k], found)
    return found


def roughness(f: Callable[[float], Array], at: float, usual: Array, eps: float) -> tuple[Array, Array]:
    """The noise of a function that is smooth between steps, and how uncertain a slope across them is.

    What is rounded before it is divided by a small number moves in steps, and is smooth from one to the next:
    the narrowest differences see the slope of one stair, and no noise. Over a wider distance there is noise,
    and it is no oscillation: halving the way across one of its jumps leads to neighbouring numbers.

    Parameters
    ----------
    f, at, eps
        As in :func:`noise`.
    usual : ndarray
        For each element the noise that rounding the argument and the value explains.

    Returns
    -------
    noise, slope : ndarray
        Both 0 where nothing jumps.

    Examples
    --------
    >>> def cancels(x):
    ...     return np.array([(1 - np.cos(x)) / x**2])
    >>> found, slope = roughness(cancels, 1e-7, np.array([1e-15]), 2.0**-52)
    >>> 1e-3 < found[0] < 1e-1, slope[0] > 1e4
    (np.True_, np.True_)
    >>> roughness(lambda x: np.array([np.sin(1e6 * x)]), 1.0, np.array([1e-9]), 2.0**-52)[0]
    array([0.])
    """
    scales = {0.9 * abs(at) or 0.9, 0.9 if abs(at) < 0.1 else 0.9 * abs(at)}  # no powers of 2: they are exact
    largest, steepest = np.zeros(np.shape(usual)), np.zeros(np.shape(usual))
    for spacing in (scale * part for scale in scales for part in SPACINGS[::2] if part >= 8 * eps):
        points = at + spacing * np.arange(1 - POINTS, POINTS)
        with np.errstate(all="ignore"):
            values = np.array([f(point) for point in points])
            found = np.minimum(_noise_of_table(values[:POINTS]), _noise_of_table(values[POINTS - 1 :]))
            rounding = ORDINARY * eps * np.max(np.abs(values), axis=0)
            for row in np.flatnonzero(found > np.maximum(np.maximum(usual, rounding), largest)):
                if _jumps(lambda t, row=row: float(f(t)[row]), points, values[:, row], found[row], eps):  # type: ignore[misc]
                    largest[row] = found[row]
                    steepest[row] = max(steepest[row], found[row] / spacing)
    return largest, steepest


def _jumps(f: Callable[[float], float], points: Array, values: Array, size: float, eps: float) -> bool:
    """Whether half the way across the largest of the differences is no less of a jump, and so on."""
    k = int(np.argmax(np.abs(np.diff(values))))
    (low, high), (below, above) = points[k : k + 2], values[k : k + 2]
    while high - low > 4 * eps * max(abs(low), abs(high)):
        middle = (low + high) / 2
        between = f(middle)
        if abs(between - below) > abs(above - between):
            high, above = middle, between
        else:
            low, below = middle, between
    return bool(abs(above - below) >= size / 2)
