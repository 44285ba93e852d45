"""The noise of a function: what rounding leaves of its values, seen in their scatter.

Two cases. Where roundings differ from point to point, the values scatter, and the higher differences of a
table of them do not vanish (:func:`noise`). Where many neighbouring points share a rounding, the values move
in stairs, and are smooth on each of them (:func:`roughness`).

No gradient code, as in `finite_differences`: functions of one number that return an array.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.tolerances import TOLERANCES

Array = NDArray[Any]


def noise(f: Callable[[float], Array], at: float, reach: Array, eps: float) -> Array:
    """Return the size of the noise in the values of ``f`` near ``at``; 0 where no noise is seen.

    Parameters
    ----------
    f : callable
        Takes a float, returns an array, always of one shape.
    at : float
        The point.
    reach : ndarray
        The distance over which each element is known to be smooth but for noise.
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
    count = TOLERANCES.noise_points
    scale = abs(at) or float(np.max(reach, initial=0.0)) or 1.0
    largest = np.zeros(np.shape(reach))
    for spacing in _spacings(scale, eps):
        sides = []
        for side in (-spacing, spacing):
            with np.errstate(all="ignore"):
                sides.append(_noise_of_table(np.array([f(at + k * side) for k in range(count)])))
        # A kink or a jump looks like noise to the table that crosses it; only one of both sides does.
        seen = np.where(spacing * count <= reach, np.minimum(*sides), 0.0)
        largest = np.maximum(largest, seen)
    return largest


def _spacings(scale: float, eps: float, every: int = 1) -> list[float]:
    """Return distances of points, those left out at which points would share an argument."""
    least = TOLERANCES.noise_resolution * eps
    return [scale * part for part in TOLERANCES.noise_spacings[::every] if part >= least]


def _noise_of_table(values: Array) -> Array:
    """Return the noise of values at equally spaced points, along axis 0."""
    levels: list[Array] = []
    changes_sign: list[Array] = []
    differences = values
    for order in range(1, TOLERANCES.noise_points - 1):
        differences = np.diff(differences, axis=0)
        # Independent errors of variance 1 have k-th differences of variance C(2k, k) (Hamming 1973).
        levels.append(np.sqrt(np.mean(differences**2, axis=0) / comb(2 * order, order)))
        changes_sign.append(np.any(differences > 0, axis=0) & np.any(differences < 0, axis=0))
    found = np.zeros(values.shape[1:])
    # As in ECnoise: the lowest order from which three agree, and whose differences have both signs. Of a
    # smooth function they shrink from order to order, and have one sign.
    for k in reversed(range(len(levels) - 2)):
        three = np.array(levels[k : k + 3])
        alike = np.max(three, axis=0) <= TOLERANCES.noise_alike * np.min(three, axis=0)
        is_noise = changes_sign[k] & alike & np.all(np.isfinite(three), axis=0)
        found = np.where(is_noise, levels[k], found)
    return found


def roughness(f: Callable[[float], Array], at: float, usual: Array, eps: float) -> tuple[Array, Array]:
    """Return the noise of a function that moves in stairs, and the uncertainty of a slope across them.

    A value that is rounded and then divided by a small number moves in stairs, and is smooth on each of them.
    The narrowest differences see the slope of one stair, and no noise. Over a wider distance there is noise;
    it is no oscillation if the way across one of its jumps can be halved down to neighbouring numbers.

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
    off = TOLERANCES.stair_spacing
    count = TOLERANCES.noise_points
    # Stairs may be as wide as a part of the argument, or, beside a number that f adds to it, of 1.
    scales = {off * abs(at) or off, off if abs(at) < TOLERANCES.ordinary_arguments[0] else off * abs(at)}
    largest, steepest = np.zeros(np.shape(usual)), np.zeros(np.shape(usual))
    for spacing in (spacing for scale in scales for spacing in _spacings(scale, eps, every=2)):
        points = at + spacing * np.arange(1 - count, count)
        with np.errstate(all="ignore"):
            values = np.array([f(point) for point in points])
            found = np.minimum(_noise_of_table(values[:count]), _noise_of_table(values[count - 1 :]))
            rounding = TOLERANCES.ordinary_noise * eps * np.max(np.abs(values), axis=0)
            for row in np.flatnonzero(found > np.maximum(np.maximum(usual, rounding), largest)):
                if _is_jump(lambda t, row=row: float(f(t)[row]), points, values[:, row], found[row], eps):  # type: ignore[misc]
                    largest[row] = found[row]
                    # A slope over this distance is off by the height of a stair, divided by the distance.
                    steepest[row] = max(steepest[row], found[row] / spacing)
    return largest, steepest


def _is_jump(f: Callable[[float], float], points: Array, values: Array, size: float, eps: float) -> bool:
    """Return whether the largest difference of some values is a jump between two neighbouring numbers.

    Bisection: the half of the way that holds the larger part of the difference is halved again.
    """
    k = int(np.argmax(np.abs(np.diff(values))))
    (low, high), (below, above) = points[k : k + 2], values[k : k + 2]
    while high - low > TOLERANCES.stair_resolution * eps * max(abs(low), abs(high)):
        middle = (low + high) / 2
        between = f(middle)
        if abs(between - below) > abs(above - between):
            high, above = middle, between
        else:
            low, below = middle, between
    return bool(abs(above - below) >= TOLERANCES.stair_share * size)
