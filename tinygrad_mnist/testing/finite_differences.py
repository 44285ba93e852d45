"""Numeric derivatives: differences, extrapolated to step 0, at the step where they are stable.

No gradient code: functions of one number that return an array. Each derivative comes with its uncertainty, so
that whoever compares it knows what the comparison is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Curve = Callable[[float], Array]

LEVELS: Final = 3
"""Central differences at h, h/2 and h/4 leave an error of order h**6; one-sided ones of order h**3."""

SETTLED: Final = 1e-7
"""Relative uncertainty at which no other step is tried."""

NEAR: Final = 2.0**-7
"""The step that is tried first."""

NOTHING: Final = 1e-12
"""A derivative that its uncertainty hides, and is less than this beside the function's values, is 0, ..."""

FAR: Final = 2.0**10
"""... unless the function moves over this distance; larger steps are tried then."""

BENT: Final = 0.45
"""Where the difference between both one-sided slopes shrinks by less than this, as the step shrinks to a
quarter, there may be a kink; of a smooth function a quarter is left."""


JUMP: Final = 2.4
"""... and if it grows by more than this, both sides do not even meet: a pole, or a step."""


SHRINKS: Final = 0.98
"""Slopes whose differences shrink by less, as the step is halved, have no limit that Aitken could find."""


STRAIGHT: Final = 1e-4
"""A slope that is as certain as this, and not bent, is preferred to one across a kink nearby."""


SUSPECT: Final = 1e-2
"""A slope at a much smaller step that differs by this part refutes the estimate."""


OTHERS: Final = (0.73, 0.59)
"""Parts of a large step, no halves, over which its slope ..."""


ALIKE: Final = 0.1
"""... has to be this much the same."""


PERSISTENT: Final = 4
"""So many of the smallest steps have to see a kink."""


SEEN: Final = 1e-9
"""A jump is larger than this, beside the largest value of the function."""


class Difference(NamedTuple):
    """A numeric derivative of an array-valued function; each field is an array of the shape of its value.

    Attributes
    ----------
    derivative, uncertainty : ndarray
        The estimate and its error; where no step gave a finite estimate the uncertainty is inf.
    size : ndarray
        The largest absolute value that the function took nearby.
    step : ndarray
        The step of the estimate.
    bent : ndarray of bool
        Whether left and right seem to have different slopes; :func:`one_sided` tells.
    jumps : ndarray of bool
        Whether the function is discontinuous here, at every step that was tried.
    """

    derivative: Array
    uncertainty: Array
    size: Array
    step: Array
    bent: Array
    jumps: Array


def differentiate(f: Curve, at: float, step: float | None = None, stretch: float = 1.0) -> Difference:
    """The derivative of an array-valued function of one number, by central differences.

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
    stretch : float
        Multiplies the steps: for a second opinion.

    Returns
    -------
    Difference
        The derivative, its uncertainty, the size of ``f`` nearby, the step, and whether there may be a kink.

    Notes
    -----
    Richardson extrapolation of central differences, with the spread of the extrapolation table as its error
    (Ridders 1982, Advances in Engineering Software 4, 75), and the rounding error of ``f`` added.

    Examples
    --------
    >>> found = differentiate(np.exp, 1.0)
    >>> bool(abs(found.derivative - np.e) < 1e-10), bool(found.uncertainty < 1e-6), bool(found.bent)
    (True, True, False)
    >>> bool(differentiate(np.abs, 0.0).bent)
    True
    """
    middle = np.asarray(f(at))
    moves = _moves_far_away(f, at, middle)  # what does not move at all has derivative 0 for certain
    moves_nearby = np.zeros_like(moves)
    largest = np.abs(middle)
    best: Difference | None = None
    jumps = np.ones_like(moves)
    for h in _steps(at) if step is None else [step]:
        found, moves_here = _extrapolated(f, at, h * stretch, middle)
        if h <= NEAR:
            largest = np.maximum(largest, found.size)
            jumps &= found.jumps
        moves_nearby |= moves_here
        if best is not None:
            better = found.uncertainty < best.uncertainty
            clear = ~best.bent & (np.abs(best.derivative) > 10 * best.uncertainty)
            better &= (
                moves_here | ~clear
            )  # the step is too small to move f, which moves by stairs of roundoff
            straight = best.bent & ~found.bent & (found.uncertainty <= STRAIGHT * np.abs(found.derivative))
            still = best.bent & ~moves_here & (found.size == 0)  # beside a kink, where f is 0
            kept = found.bent & ~best.bent & (best.uncertainty <= STRAIGHT * np.abs(best.derivative))
            better = (better & ~kept) | straight | still
            if h > NEAR:  # a large step sees another part of f: it may only refine a slope, not find another
                refines = np.abs(found.derivative - best.derivative) <= 10 * best.uncertainty
                better &= refines & (np.abs(found.derivative) > 10 * found.uncertainty)
                if np.any(better):
                    better &= _seen_again(f, at, h * stretch, found.derivative)
                better |= np.isinf(best.uncertainty) & np.isfinite(found.uncertainty) & (h <= NEAR * abs(at))
            found = Difference(*(np.where(better, new, old) for new, old in zip(found, best, strict=True)))
        best = found
        settled = best.uncertainty <= SETTLED * np.abs(best.derivative)
        hidden = (np.abs(best.derivative) <= 10 * best.uncertainty) & (best.uncertainty <= NOTHING * largest)
        if np.all((settled | (hidden & ~moves)) & ~best.bent):
            break
    assert best is not None
    if step is None:
        best = best._replace(uncertainty=_confirmed(f, at, best))
    return best._replace(
        uncertainty=np.where(moves | moves_nearby, best.uncertainty, 0.0), size=largest, jumps=jumps
    )


def _confirmed(f: Curve, at: float, best: Difference) -> Array:
    """The uncertainty; where a much smaller step sees another slope, and does so twice, as large as that."""
    h = max(2.0**-24 * (min(abs(at), 1.0) or 0.25), 2.0**8 * np.finfo(float).eps * abs(at))
    with np.errstate(all="ignore"):
        slope, noise = central(f, at, h)
        apart = np.abs(slope - best.derivative)
        other = apart > SUSPECT * np.abs(slope) + 100 * best.uncertainty + 100 * noise
        if not np.any(other):
            return best.uncertainty
        again, _ = central(f, at, 0.37 * h)
        other &= np.abs(again - slope) <= 0.1 * apart
    return np.where(other, np.maximum(best.uncertainty, apart), best.uncertainty)


def _seen_again(f: Curve, at: float, h: float, slope: Array) -> Array:
    """Whether other steps like ``h`` see this slope: rounding repeats itself from a step to its half."""
    with np.errstate(all="ignore"):
        others = np.array([central(f, at, part * h)[0] for part in OTHERS])
        return np.asarray(np.all(np.abs(others - slope) <= ALIKE * np.abs(slope), axis=0))


def central(f: Curve, at: float, h: float) -> tuple[Array, Array]:
    """The slope over a step to both sides, and its rounding error."""
    above, below = at + h, at - h
    high, low = f(above), f(below)
    noise = np.finfo(float).eps * np.maximum(np.abs(high), np.abs(low)) / h
    return (high - low) / (above - below), noise


def smallest_step(at: float, grain: float = 0.0) -> float:
    """The step at which :func:`persists` stops: where a kink is nearer, it cannot be told from one at ``at``.

    Examples
    --------
    >>> 1e-13 < smallest_step(1.0) < 2e-13
    True
    """
    return max(2.0**9 * float(np.finfo(float).eps) * max(abs(at), grain), 2.0**-100)


def persists(f: Curve, at: float, gap: Array, grain: float = 0.0) -> Array:
    """Whether the slopes from the right and from the left stay ``gap`` apart however small the step is.

    Both sides are asked at the same steps, down to where rounding hides the gap: what oscillates has another
    one at each step, and a kink beside the point none at the smallest.

    Parameters
    ----------
    f, at
        As in :func:`differentiate`.
    gap : ndarray
        The right derivative minus the left one.
    grain : float
        The size of other numbers that ``f`` adds to its argument, whose rounding it shares.

    Examples
    --------
    >>> bool(persists(np.abs, 0.0, np.array(2.0))), bool(persists(np.abs, 1e-10, np.array(2.0)))
    (True, False)
    """
    eps = float(np.finfo(float).eps)
    smallest = smallest_step(at, grain)
    h = smallest * 4.0 ** (int(np.log2(max(NEAR, NEAR * abs(at)) / smallest)) // 2)
    middle = np.asarray(f(at))
    told: list[Array] = []
    holds: list[Array] = []
    while h >= smallest:
        with np.errstate(all="ignore"):
            above, below = at + h, at - h
            high, low = f(above), f(below)
            found = (high - middle) / (above - at) - (middle - low) / (at - below)
            size = np.maximum(np.maximum(np.abs(high), np.abs(low)), np.abs(middle))
            noise = 8 * eps * size / h
            told.append(np.isfinite(found) & (noise <= 0.05 * np.abs(gap)))
            holds.append(np.abs(found - gap) <= 0.1 * np.abs(gap) + noise)
        h /= 4
    count, result = np.zeros(np.shape(gap), int), np.ones(np.shape(gap), bool)
    for is_told, does_hold in zip(reversed(told), reversed(holds), strict=True):
        result &= does_hold | ~is_told | (count >= PERSISTENT)
        count += is_told
    return np.asarray(result & (count >= PERSISTENT))


def _moves_far_away(f: Curve, at: float, middle: Array) -> Array:
    with np.errstate(all="ignore"):
        moved = f(at + FAR) - middle
    return np.asarray(np.isfinite(moved) & (moved != 0))


def _steps(at: float) -> Iterator[float]:
    """Steps from the likeliest to the least likely: near 1/128, smaller, in proportion to ``at``, large."""
    yield from (NEAR, 2.0**-11, 2.0**-15)
    if at and not 0.1 < abs(at) < 10:
        yield from (abs(at) * factor for factor in (2.0**-7, 2.0**-11, 2.0**-15))
    yield 2.0**-20
    if abs(at) >= 0.1:
        yield 2.0**-26
    yield from (1.0, 2.0**7, 2.0**14, 2.0**20)


def _extrapolated(f: Curve, at: float, step: float, middle: Array) -> tuple[Difference, Array]:
    """The derivative from ``step``, its half and its quarter; and whether ``f`` moves."""
    with np.errstate(all="ignore"):
        table: list[Array] = []
        for level in range(LEVELS):
            above, below = at + step / 2**level, at - step / 2**level
            high, low = f(above), f(below)
            row = [(high - low) / (above - below)]
            bend = np.abs(high - 2 * middle + low) * 2**level
            if level == 0:
                size = np.maximum(np.abs(high), np.abs(low))
                moves = high != low
                first_bend = bend
            for order, before in enumerate(table):
                row.append(row[order] + (row[order] - before) / (4.0 ** (order + 1) - 1))
            previous, table = table, row
        spread = np.maximum(np.abs(table[-1] - table[-2]), np.abs(table[-1] - previous[-1]))
        rounding = np.finfo(float).eps * size * 2**LEVELS / step
        uncertainty = spread + rounding
        finite = np.isfinite(table[-1]) & np.isfinite(uncertainty)
        bends = bend > 100 * (rounding + np.finfo(float).eps * np.abs(middle) * 2**LEVELS / step) * step
        jumps = bends & (bend > JUMP * first_bend) & (bend > np.abs(high - low) / 4)
        jumps &= bend > SEEN * np.max(size, initial=0.0)  # what is less is the rounding of a 0
        bent = bends & (bend > BENT * first_bend) & ~jumps
        finite &= ~jumps
    found = Difference(
        np.where(finite, table[-1], 0.0),
        np.where(finite, uncertainty, np.inf),
        np.where(finite, size, 0.0),
        np.full(np.shape(finite), step),
        np.asarray(bent),
        np.asarray(jumps),
    )
    return found, np.asarray(moves)


def one_sided(f: Curve, at: float, side: int) -> tuple[Array, Array, Array]:
    """The derivative from one side, its uncertainty, and the function's size nearby.

    Parameters
    ----------
    f : callable
        As in :func:`differentiate`; it may be undefined on the other side.
    at : float
        Where.
    side : {-1, 1}
        Left or right.

    Returns
    -------
    derivative, uncertainty, size : ndarray
        Where no step gives a finite estimate the uncertainty is inf.

    Notes
    -----
    Slopes are extrapolated twice: by Richardson, which needs a Taylor series on this side, and by Aitken, who
    needs none (Aitken 1926, Proc. R. Soc. Edinburgh 46, 289): at the edge of a domain the error may be of any
    order, of 1/2 for ``x ** 1.5`` at 0. The more certain estimate is kept.

    Examples
    --------
    >>> [float(one_sided(np.abs, 0.0, side)[0]) for side in (-1, 1)]
    [-1.0, 1.0]
    >>> bool(abs(one_sided(lambda x: np.float64(x) ** 1.5 if x >= 0 else np.nan, 0.0, 1)[0]) < 1e-12)
    True
    """
    middle = np.asarray(f(at))
    best = np.zeros_like(middle), np.full_like(middle, np.inf), np.abs(middle)
    for h in _steps(at):
        if h > NEAR:
            continue
        with np.errstate(all="ignore"):
            table: list[Array] = []
            slopes: list[Array] = []
            for level in range(LEVELS + 1):
                there = at + side * h / 2**level
                beside = f(there)
                row = [(beside - middle) / (there - at)]
                slopes.append(row[0])
                size = np.maximum(np.abs(middle), np.abs(beside))
                for order, before in enumerate(table):
                    row.append(row[order] + (row[order] - before) / (2.0 ** (order + 1) - 1))
                previous, table = table, row
            spread = np.maximum(np.abs(table[-1] - table[-2]), np.abs(table[-1] - previous[-1]))
            rounding = np.finfo(float).eps * size * 2 ** (LEVELS + 2) / h
            limit, apart = _aitken(slopes)
            for estimate, doubt in ((table[-1], spread + rounding), (limit, apart + 8 * rounding)):
                better = np.isfinite(estimate) & np.isfinite(doubt) & (doubt < best[1])
                best = np.where(better, estimate, best[0]), np.where(better, doubt, best[1]), best[2]
            nearby = np.where(np.isfinite(size), np.maximum(best[2], size), best[2])
        best = best[0], best[1], nearby
        if np.all(best[1] <= SETTLED * np.abs(best[0])):
            break
    return best


def _aitken(slopes: Sequence[Array]) -> tuple[Array, Array]:
    """The limit of four slopes whose differences shrink by a factor, whichever; and how far off it may be."""
    first, second, third = (later - earlier for earlier, later in pairwise(slopes))
    before = slopes[2] - second**2 / (second - first)
    limit = slopes[3] - third**2 / (third - second)
    shrinks = (np.abs(second) < SHRINKS * np.abs(first)) & (np.abs(third) < SHRINKS * np.abs(second))
    return limit, np.where(shrinks, np.abs(limit - before), np.inf)


def steepness(f: Curve, at: float) -> Array:
    """Where the slope from a side grows beyond all bounds, its sign; elsewhere 0.

    Examples
    --------
    >>> float(steepness(np.sqrt, 0.0)), float(steepness(np.exp, 0.0))
    (1.0, 0.0)
    """
    middle = np.asarray(f(at))
    sign = np.zeros_like(middle)
    for side in (-1, 1):
        with np.errstate(all="ignore"):
            slopes = [(f(at + side * h) - middle) / (side * h) for h in (2.0**-7, 2.0**-15, 2.0**-23)]
            grows = [np.abs(b) > 2 * np.abs(a) for a, b in pairwise(slopes)]
        sign = np.where(grows[0] & grows[1], np.sign(slopes[-1]), sign)
    return np.asarray(sign)
