"""Numeric derivatives: differences, extrapolated to step 0, at the step where they are stable.

No gradient code: functions of one number that return an array. Each derivative comes with its uncertainty, so
that whoever compares it knows what the comparison is worth.

The step. A large one sees the curvature of the function, a small one its rounding. Extrapolation (Richardson
1911, Phil. Trans. R. Soc. A 210, 307) removes the curvature, so that the range of good steps is wide; the
spread of the extrapolation says how good each step is (Ridders 1982). As the elements of an array may differ
in size and speed, several steps are tried, and each element keeps the one at which it is most certain.

Kinks. From each step to its quarter, the gap between the slopes of both sides shrinks to a quarter if the
function is smooth, stays if it has a kink, and grows if it jumps. That is a suspicion: whether the kink is at
the point is decided by ever smaller steps, and the derivatives of both sides are taken by differences of
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.tolerances import TOLERANCES

Array = NDArray[Any]
Curve = Callable[[float], Array]

EPS: Final = float(np.finfo(float).eps)


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
        True where left and right seem to have different slopes; :func:`one_sided` tells.
    jumps : ndarray of bool
        True where the function is discontinuous here, at every step that was tried.
    """

    derivative: Array
    uncertainty: Array
    size: Array
    step: Array
    bent: Array
    jumps: Array

    def replaced(self, by: Difference, chosen: Array) -> Difference:
        """Return this estimate with the chosen elements taken from another one."""
        return Difference(*(np.where(chosen, new, old) for new, old in zip(by, self, strict=True)))

    @property
    def is_clear(self) -> Array:
        """Mask of the derivatives that are not hidden by their uncertainty."""
        return np.abs(self.derivative) > TOLERANCES.safety * self.uncertainty

    @property
    def is_straight(self) -> Array:
        """Mask of the slopes that are certain, with no kink at this step."""
        return ~self.bent & (self.uncertainty <= TOLERANCES.straight * np.abs(self.derivative))


class OneSided(NamedTuple):
    """A derivative from one side, its uncertainty (inf where there is none), and the size of f nearby."""

    derivative: Array
    uncertainty: Array
    size: Array


# ---- from both sides -------------------------------------------------------------------------------------


def differentiate(f: Curve, at: float, step: float | None = None, stretch: float = 1.0) -> Difference:
    """Return the derivative of an array-valued function of one number, by central differences.

    Parameters
    ----------
    f : callable
        Takes a float, returns an array of float64, always of one shape. It may be undefined (not finite) away
        from ``at``; smaller steps are tried then.
    at : float
        The point.
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
    (Ridders 1982, Advances in Engineering Software 4, 75), and the rounding error of ``f`` added. Complex
    steps would have no rounding error (Squire and Trapp 1998, SIAM Review 40, 110), but few functions here
    take complex numbers.

    Examples
    --------
    >>> found = differentiate(np.exp, 1.0)
    >>> bool(abs(found.derivative - np.e) < 1e-10), bool(found.uncertainty < 1e-6), bool(found.bent)
    (True, True, False)
    >>> bool(differentiate(np.abs, 0.0).bent)
    True
    """
    middle = np.asarray(f(at))
    moves_far = _moves_far_away(f, at, middle)
    moves_nearby = np.zeros_like(moves_far)
    largest = np.abs(middle)
    best: Difference | None = None
    jumps = np.ones_like(moves_far)
    for h in _steps(at) if step is None else [step]:
        found, moves = _extrapolated(f, at, h * stretch, middle)
        # A large step sees distant values and jumps, which say nothing about this point.
        if h <= TOLERANCES.first_step:
            largest = np.maximum(largest, found.size)
            jumps &= found.jumps
        moves_nearby |= moves
        if best is not None:
            better = _is_better(found, best, moves)
            if h > TOLERANCES.first_step:
                better = _is_believed(f, at, h, stretch, better, found, best)
            found = best.replaced(found, better)
        best = found
        if np.all(_is_settled(best, largest, moves_far)):
            break
    assert best is not None
    if step is None:
        best = best._replace(uncertainty=_confirmed(f, at, best))
    # What moves neither here nor far away is constant: its derivative 0 is certain, whatever rounding says.
    moves = moves_far | moves_nearby
    return best._replace(uncertainty=np.where(moves, best.uncertainty, 0.0), size=largest, jumps=jumps)


def _steps(at: float) -> Iterator[float]:
    """Yield steps from the likeliest to the least likely: near 1/128, smaller, as parts of ``at``, large."""
    yield from TOLERANCES.close_steps
    least, most = TOLERANCES.ordinary_arguments
    if at and not least < abs(at) < most:
        yield from (abs(at) * factor for factor in TOLERANCES.close_steps)
    small, smallest = TOLERANCES.small_steps
    yield small
    if abs(at) >= least:
        yield smallest
    yield from TOLERANCES.large_steps


def _extrapolated(f: Curve, at: float, step: float, middle: Array) -> tuple[Difference, Array]:
    """Return the derivative from ``step``, its half and its quarter, and a mask of where ``f`` moves."""
    levels = TOLERANCES.richardson_levels
    with np.errstate(all="ignore"):
        row: list[Array] = []
        for level in range(levels):
            # Divided by the distance of the numbers that were used: adding a step to ``at`` rounds it.
            above, below = at + step / 2**level, at - step / 2**level
            high, low = f(above), f(below)
            # The gap between both one-sided slopes, times ``step``.
            bend = np.abs(high - 2 * middle + low) * 2**level
            if level == 0:
                size = np.maximum(np.abs(high), np.abs(low))
                moves = high != low
                first_bend = bend
            # The error of a central difference has even powers of h alone, so that each column of the table
            # removes two orders: by a quarter of the error at half the step (Richardson 1911).
            previous, row = row, _extrapolation((high - low) / (above - below), row, base=4.0)
        uncertainty = _spread(previous, row) + EPS * size * 2**levels / step
        bent, jumps = _bends(bend, first_bend, high - low, size, middle, step)
        finite = np.isfinite(row[-1]) & np.isfinite(uncertainty) & ~jumps
    found = Difference(
        derivative=np.where(finite, row[-1], 0.0),
        uncertainty=np.where(finite, uncertainty, np.inf),
        size=np.where(finite, size, 0.0),
        step=np.full(np.shape(finite), step),
        bent=np.asarray(bent),
        jumps=np.asarray(jumps),
    )
    return found, np.asarray(moves)


def _extrapolation(slope: Array, before: Sequence[Array], base: float) -> list[Array]:
    """Return the next row of a Richardson table, from the slope at half the step and the row before.

    Halving the step divides the error that column ``k`` removes by ``base ** (k + 1)``.
    """
    row = [slope]
    for order, coarser in enumerate(before):
        row.append(row[order] + (row[order] - coarser) / (base ** (order + 1) - 1))
    return row


def _spread(previous: Sequence[Array], row: Sequence[Array]) -> Array:
    """Return the error of the last entry of a Richardson table: how far its neighbours lie (Ridders 1982)."""
    spread: Array = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - previous[-1]))
    return spread


def _bends(
    bend: Array, first_bend: Array, rise: Array, size: Array, middle: Array, step: float
) -> tuple[Array, Array]:
    """Return where there may be a kink, and where there is a jump, from the gaps at a step and its quarter.

    The gap between the slopes of both sides shrinks with the step if the function is smooth, stays at a kink,
    and grows at a jump.
    """
    scale = 2**TOLERANCES.richardson_levels
    rounding = EPS * size * scale / step
    seen = bend > TOLERANCES.bend_noise * (rounding + EPS * np.abs(middle) * scale / step) * step
    jumps = seen & (bend > TOLERANCES.jump_growth * first_bend)
    jumps &= bend > TOLERANCES.jump_share * np.abs(rise)
    jumps &= bend > TOLERANCES.jump_size * np.max(size, initial=0.0)
    bent = seen & (bend > TOLERANCES.kink_bend * first_bend) & ~jumps
    return bent, jumps


def _is_better(found: Difference, best: Difference, moves: Array) -> Array:
    """Return where a new estimate is better than the best one so far: more certain, with three exceptions."""
    better = found.uncertainty < best.uncertainty
    # A step that is too small to move f sees one stair of its rounding: it does not refute a clear slope.
    better &= moves | ~(~best.bent & best.is_clear)
    # A kink that only larger steps saw lies beside the point ...
    straight = best.bent & found.is_straight
    # ... also where f is 0 on this side of it, and no relative certainty is to be had.
    still = best.bent & ~moves & (found.size == 0)
    # And one that only this step sees is rounding, or lies beside it too.
    kept = found.bent & best.is_straight
    return np.asarray((better & ~kept) | straight | still)


def _is_believed(
    f: Curve, at: float, h: float, stretch: float, better: Array, found: Difference, best: Difference
) -> Array:
    """Return where an estimate of a large step replaces the best one.

    A large step sees another part of ``f``: it may only refine a slope, not find another.
    """
    refines = np.abs(found.derivative - best.derivative) <= TOLERANCES.safety * best.uncertainty
    better = better & refines & found.is_clear
    if np.any(better):
        better &= _seen_again(f, at, h * stretch, found.derivative)
    # Beside a large argument the step is not large, and any estimate is better than none.
    is_close = h <= TOLERANCES.first_step * abs(at)
    better |= np.isinf(best.uncertainty) & np.isfinite(found.uncertainty) & is_close
    return better


def _is_settled(best: Difference, largest: Array, moves_far: Array) -> Array:
    """Return where no other step is needed: the slope is certain, or it is 0 as far as can be told."""
    settled = best.uncertainty <= TOLERANCES.settled * np.abs(best.derivative)
    hidden = ~best.is_clear & (best.uncertainty <= TOLERANCES.no_slope * largest)
    # A slope that is hidden here may be seen over a large step, if the function moves over such a distance.
    return (settled | (hidden & ~moves_far)) & ~best.bent


def _moves_far_away(f: Curve, at: float, middle: Array) -> Array:
    """Return where the function has another value far away."""
    with np.errstate(all="ignore"):
        moved = f(at + TOLERANCES.far) - middle
    return np.asarray(np.isfinite(moved) & (moved != 0))


def _seen_again(f: Curve, at: float, h: float, slope: Array) -> Array:
    """Return where other steps like ``h`` see this slope: rounding repeats itself from a step to its half."""
    with np.errstate(all="ignore"):
        others = np.array([central(f, at, part * h)[0] for part in TOLERANCES.other_steps])
        apart = np.abs(others - slope)
        return np.asarray(np.all(apart <= TOLERANCES.seen_again * np.abs(slope), axis=0))


def _confirmed(f: Curve, at: float, best: Difference) -> Array:
    """Return the uncertainty: the distance to the slope of a much smaller step, where that refutes this one.

    An oscillation that is slow at the smaller step and fast at the larger ones looks smooth at both.
    """
    scale = min(abs(at), 1.0) or TOLERANCES.confirming_at_zero
    h = max(TOLERANCES.confirming_step * scale, TOLERANCES.confirming_roundings * EPS * abs(at))
    with np.errstate(all="ignore"):
        slope, noise = central(f, at, h)
        apart = np.abs(slope - best.derivative)
        doubt = TOLERANCES.refuting_doubt
        other = apart > TOLERANCES.refuted * np.abs(slope) + doubt * best.uncertainty + doubt * noise
        if not np.any(other):
            return best.uncertainty
        again, _ = central(f, at, TOLERANCES.confirming_again * h)
        other &= np.abs(again - slope) <= TOLERANCES.seen_again * apart
    return np.where(other, np.maximum(best.uncertainty, apart), best.uncertainty)


def central(f: Curve, at: float, h: float) -> tuple[Array, Array]:
    """Return the slope over a step to both sides, and its rounding error."""
    above, below = at + h, at - h
    high, low = f(above), f(below)
    noise = EPS * np.maximum(np.abs(high), np.abs(low)) / h
    return (high - low) / (above - below), noise


# ---- whether a kink is at the point ----------------------------------------------------------------------


def smallest_step(at: float, grain: float = 0.0) -> float:
    """Return the step at which :func:`persists` stops: a nearer kink cannot be told from one at ``at``.

    Examples
    --------
    >>> 1e-13 < smallest_step(1.0) < 2e-13
    True
    """
    return max(TOLERANCES.kink_step * EPS * max(abs(at), grain), TOLERANCES.kink_step_at_zero)


def persists(f: Curve, at: float, gap: Array, grain: float = 0.0) -> Array:
    """Return where the slopes from the right and from the left stay ``gap`` apart however small the step is.

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
    smallest = smallest_step(at, grain)
    largest = max(TOLERANCES.first_step, TOLERANCES.first_step * abs(at))
    # A power of the factor above the smallest step, so that the smallest one is met exactly.
    factor = TOLERANCES.kink_step_factor
    h = smallest * factor ** (int(np.log2(largest / smallest)) // int(np.log2(factor)))
    middle = np.asarray(f(at))
    told: list[Array] = []
    holds: list[Array] = []
    while h >= smallest:
        with np.errstate(all="ignore"):
            above, below = at + h, at - h
            high, low = f(above), f(below)
            found = (high - middle) / (above - at) - (middle - low) / (at - below)
            size = np.maximum(np.maximum(np.abs(high), np.abs(low)), np.abs(middle))
            noise = TOLERANCES.gap_noise * EPS * size / h
            told.append(np.isfinite(found) & (noise <= TOLERANCES.gap_told * np.abs(gap)))
            holds.append(np.abs(found - gap) <= TOLERANCES.gap_kept * np.abs(gap) + noise)
        h /= factor
    # From the smallest step up: larger steps may see other kinks, or the curvature.
    count, result = np.zeros(np.shape(gap), int), np.ones(np.shape(gap), bool)
    for is_told, does_hold in zip(reversed(told), reversed(holds), strict=True):
        result &= does_hold | ~is_told | (count >= TOLERANCES.gap_steps)
        count += is_told
    return np.asarray(result & (count >= TOLERANCES.gap_steps))


# ---- from one side ---------------------------------------------------------------------------------------


def one_sided(f: Curve, at: float, side: int) -> OneSided:
    """Return the derivative from one side, its uncertainty, and the function's size nearby.

    Parameters
    ----------
    f : callable
        As in :func:`differentiate`; it may be undefined on the other side.
    at : float
        The point.
    side : {-1, 1}
        Left or right.

    Returns
    -------
    OneSided
        Where no step gives a finite estimate the uncertainty is inf.

    Notes
    -----
    Slopes are extrapolated twice: by Richardson, which needs a Taylor series on this side, and by Aitken, who
    needs none (Aitken 1926, Proc. R. Soc. Edinburgh 46, 289): at the edge of a domain the error may be of any
    order, of 1/2 for ``x ** 1.5`` at 0. The more certain estimate is kept.

    Examples
    --------
    >>> [float(one_sided(np.abs, 0.0, side).derivative) for side in (-1, 1)]
    [-1.0, 1.0]
    >>> bool(abs(one_sided(lambda x: np.float64(x) ** 1.5 if x >= 0 else np.nan, 0.0, 1).derivative) < 1e-12)
    True
    """
    middle = np.asarray(f(at))
    best = OneSided(np.zeros_like(middle), np.full_like(middle, np.inf), np.abs(middle))
    for h in _steps(at):
        if h > TOLERANCES.first_step:
            continue
        with np.errstate(all="ignore"):
            row: list[Array] = []
            slopes: list[Array] = []
            # One level more than from both sides: Aitken's rule needs four slopes to judge itself.
            for level in range(TOLERANCES.richardson_levels + 1):
                there = at + side * h / 2**level
                beside = f(there)
                slopes.append((beside - middle) / (there - at))
                # From one side the error has odd powers of h too: each column removes one order.
                previous, row = row, _extrapolation(slopes[-1], row, base=2.0)
            size = np.maximum(np.abs(middle), np.abs(beside))
            rounding = EPS * size * 2 ** (TOLERANCES.richardson_levels + 2) / h
            limit, apart = _aitken(slopes)
            best = _more_certain(best, row[-1], _spread(previous, row) + rounding)
            best = _more_certain(best, limit, apart + TOLERANCES.aitken_rounding * rounding)
            best = best._replace(size=np.where(np.isfinite(size), np.maximum(best.size, size), best.size))
        if np.all(best.uncertainty <= TOLERANCES.settled * np.abs(best.derivative)):
            break
    return best


def _more_certain(best: OneSided, estimate: Array, doubt: Array) -> OneSided:
    """Return the best estimate, replaced where another one is finite and more certain."""
    better = np.isfinite(estimate) & np.isfinite(doubt) & (doubt < best.uncertainty)
    return best._replace(
        derivative=np.where(better, estimate, best.derivative),
        uncertainty=np.where(better, doubt, best.uncertainty),
    )


def _aitken(slopes: Sequence[Array]) -> tuple[Array, Array]:
    """Return the limit of four slopes whose differences shrink by a constant factor, and its uncertainty.

    Aitken's delta-squared rule: ``x - (dx) ** 2 / (d dx)`` removes a geometric error, whatever its factor.
    The limits from the first three and from the last three slopes show how geometric it is.
    """
    first, second, third = (later - earlier for earlier, later in pairwise(slopes))
    before = slopes[2] - second**2 / (second - first)
    limit = slopes[3] - third**2 / (third - second)
    most = TOLERANCES.aitken_shrink
    shrinks = (np.abs(second) < most * np.abs(first)) & (np.abs(third) < most * np.abs(second))
    return limit, np.where(shrinks, np.abs(limit - before), np.inf)


def steepness(f: Curve, at: float) -> Array:
    """Return the sign of the slope where it grows beyond all bounds from a side; elsewhere 0.

    Examples
    --------
    >>> float(steepness(np.sqrt, 0.0)), float(steepness(np.exp, 0.0))
    (1.0, 0.0)
    """
    middle = np.asarray(f(at))
    sign = np.zeros_like(middle)
    for side in (-1, 1):
        with np.errstate(all="ignore"):
            slopes = [(f(at + side * h) - middle) / (side * h) for h in TOLERANCES.steep_steps]
            grows = [np.abs(b) > TOLERANCES.steep_growth * np.abs(a) for a, b in pairwise(slopes)]
        sign = np.where(grows[0] & grows[1], np.sign(slopes[-1]), sign)
    return np.asarray(sign)
