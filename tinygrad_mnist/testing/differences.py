"""Numeric derivatives: central differences, extrapolated to step 0, at the step where they are stable.

No gradient code: functions of one number that return an array. Each derivative comes with its uncertainty, so
that whoever compares it knows what the comparison is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEVELS: Final = 3
"""Differences at h, h/2 and h/4 leave an error of order h**6."""

SETTLED: Final = 1e-7
"""Relative uncertainty at which no other step is tried."""

NEAR: Final = 2.0**-7
"""The step that is tried first."""

NOTHING: Final = 1e-12
"""A derivative that its uncertainty hides, and is less than this beside the function's values, is 0, ..."""

FAR: Final = 2.0**10
"""... unless the function moves over this distance; larger steps are tried then."""


def differentiate(
    f: Callable[[float], Array], at: float, step: float | None = None
) -> tuple[Array, Array, Array]:
    """The derivative of an array-valued function of one number, its uncertainty, and the function's size.

    Parameters
    ----------
    f : callable
        Takes a float, returns an array of float64, always of one shape. It may be undefined (not finite) away
        from ``at``; smaller steps are tried then.
    at : float
        Where.
    step : float, optional
        The one step to take; by default several are tried, and for each element of the result the one with
        the least uncertainty is kept.

    Returns
    -------
    derivative, uncertainty, size : ndarray
        Of the shape that ``f`` returns. Where no step gives a finite estimate the uncertainty is inf. The
        size is the largest absolute value that ``f`` took near ``at``.

    Notes
    -----
    Richardson extrapolation of central differences, with the spread of the extrapolation table as its error
    (Ridders 1982, Advances in Engineering Software 4, 75), and the rounding error of ``f`` added.

    Examples
    --------
    >>> derivative, uncertainty, size = differentiate(np.exp, 1.0)
    >>> bool(abs(derivative - np.e) < 1e-10), bool(uncertainty < 1e-6)
    (True, True)
    """
    moves = _moves_far_away(f, at)  # an element that does not move at all has derivative 0 for certain
    moves_nearby = np.zeros_like(moves)
    center = f(at)
    largest = np.abs(center)
    best: tuple[Array, Array] | None = None
    for h in _steps(at) if step is None else [step]:
        derivative, uncertainty, size, moves_here = _extrapolated(f, at, h, center)
        if h <= NEAR:
            largest = np.maximum(largest, size)
        moves_nearby |= moves_here
        if best is not None:
            better = _doubt(derivative, uncertainty) < _doubt(*best)
            if h > NEAR:  # a large step sees another part of f: it may only refine a slope, not find another
                refines = np.abs(derivative - best[0]) <= 10 * best[1]
                better &= refines & (np.abs(derivative) > 10 * uncertainty)
            derivative = np.where(better, derivative, best[0])
            uncertainty = np.where(better, uncertainty, best[1])
        best = derivative, uncertainty
        settled = uncertainty <= SETTLED * np.abs(derivative)
        hidden = (np.abs(derivative) <= 10 * uncertainty) & (uncertainty <= NOTHING * size)
        if np.all(settled | (hidden & ~moves)):
            break
    assert best is not None
    return best[0], np.where(moves | moves_nearby, best[1], 0.0), largest


def _doubt(derivative: Array, uncertainty: Array) -> Array:
    """What ranks estimates: their relative uncertainty; after these, the absolute one of what may be 0."""
    known = uncertainty < 1e-3 * np.abs(derivative)
    return np.where(known, uncertainty / np.where(known, np.abs(derivative), 1), 1 + uncertainty)


def _moves_far_away(f: Callable[[float], Array], at: float) -> Array:
    with np.errstate(all="ignore"):
        moved = f(at + FAR) - f(at)
    return np.asarray(np.isfinite(moved) & (moved != 0))


def _steps(at: float) -> Iterator[float]:
    """Steps from the likeliest to the least likely: near 1/128, smaller, in proportion to ``at``, large."""
    yield from (NEAR, 2.0**-11, 2.0**-15)
    if at and not 0.1 < abs(at) < 10:
        yield from (abs(at) * factor for factor in (2.0**-7, 2.0**-11, 2.0**-15))
    yield from (2.0**-20, 1.0, 2.0**7, 2.0**14, 2.0**20)


def _extrapolated(
    f: Callable[[float], Array], at: float, step: float, center: Array
) -> tuple[Array, Array, Array, Array]:
    """Derivative, uncertainty and size of ``f`` at ``step`` and its halves; and whether it moves."""
    with np.errstate(all="ignore"):
        table: list[Array] = []
        for level in range(LEVELS):
            above, below = at + step / 2**level, at - step / 2**level
            high, low = f(above), f(below)
            row = [(high - low) / (above - below)]
            if level == 0:
                size = np.maximum(np.abs(high), np.abs(low))
                moves = (high != low) | (high != center)
            for order, before in enumerate(table):
                row.append(row[order] + (row[order] - before) / (4.0 ** (order + 1) - 1))
            previous, table = table, row
        spread = np.maximum(np.abs(table[-1] - table[-2]), np.abs(table[-1] - previous[-1]))
        rounding = np.finfo(float).eps * size * 2**LEVELS / step
        uncertainty = spread + rounding
        finite = np.isfinite(table[-1]) & np.isfinite(uncertainty)
    return (
        np.where(finite, table[-1], 0.0),
        np.where(finite, uncertainty, np.inf),
        np.where(finite, size, 0.0),
        moves,
    )
