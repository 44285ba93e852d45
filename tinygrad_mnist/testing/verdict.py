"""Whether a derivative from the tape is right, by what differences, both sides and noise say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.finite_differences import (
    LEVELS,
    Difference,
    central,
    differentiate,
    one_sided,
    persists,
    smallest_step,
    steepness,
)
from tinygrad_mnist.testing.jacobians import Line, Place, Problem, flat
from tinygrad_mnist.testing.noise import ORDINARY, noise, roughness
from tinygrad_mnist.testing.report import (
    SMOOTH,
    SUBGRADIENT,
    UNDECIDED,
    WRONG,
    DiscontinuityError,
    Entry,
)

Array = NDArray[Any]
Sides = tuple[Array, Array, Array]

EPS: Final = float(np.finfo(float).eps)

SAFETY: Final = 10.0
"""How many times the estimated uncertainty of a numeric derivative is believed."""

DECISIVE: Final = 3e-3
"""A verdict needs a numeric derivative that is certain to this part of its value ..."""

NEGLIGIBLE: Final = 1e-6
"""... or, where both derivatives are 0, to this part of the function's values, ..."""

RESOLVED: Final = 1e-8
"""... or, where they agree, to this part of them."""


NARROW: Final = 2.0**-6
"""A step of no more than this part of the argument, or of 1, may have seen one stair of many."""


ROUNDING: Final = {1: 1.5e-17, 2: 1e-13}
"""By order: what is less than this part of the steepest derivative by the same input is a rounded 0."""


NUDGES: Final = 12
"""So many times the inputs are moved along a line ..."""


NUDGE: Final = 2.0**10
"""... by up to so many roundings, that every sum of them is rounded anew; ..."""


CURVED: Final = 3
"""... what is left of the derivatives beside a polynomial of this degree is rounding, to see ..."""


TINY: Final = 1e-10
"""... whether an error that is so small a part of the function's values, or of its steepest, is rounding."""


def judged(line: Line, columns: dict[str, Array], by: Place, outputs: Sequence[Place]) -> Iterator[Entry]:
    """An entry for each row of a line, by each mode, whose derivatives along the line are ``columns``."""
    problem, curve, at = line.problem, cache(line.values), line.at  # both sides are seen at the same steps
    found = differentiate(curve, at, problem.eps)
    if problem.order == 1 and np.any(found.jumps):
        raise DiscontinuityError(
            f"gradcheck's function jumps where {by[0]} {by[1]} is {at:.6g}, so it has no derivative there; "
            "choose another point"
        )
    if not all(np.all(_is_smooth(problem, analytic, found)[0]) for analytic in columns.values()):
        found = _second_opinion(found, differentiate(curve, at, problem.eps, stretch=1.37))
    sides: tuple[Array, ...] | None = None
    for mode, analytic in columns.items():
        smooth = _is_smooth(problem, analytic, found)
        if sides is None and (np.any(found.bent) or not np.all(smooth[0])):
            left_side, right_side = one_sided(curve, at, -1), one_sided(curve, at, 1)
            sides = (*left_side, *right_side, steepness(curve, at))
            found = _agreed(line, analytic, found, left_side, right_side)
            smooth = _is_smooth(problem, analytic, found)
            grain = min(1.0, float(np.max(np.abs(flat(problem.shadow)), initial=0.0)))
            is_there = cache(partial(persists, curve, at, right_side[0] - left_side[0], grain))  # where asked
        uncertainty = SAFETY * found.uncertainty
        entries = []
        for row, (name, index) in enumerate(outputs):
            a, n, doubt = float(analytic[row]), float(found.derivative[row]), float(uncertainty[row])
            verdict = SMOOTH if smooth[0][row] else UNDECIDED if smooth[1][row] else WRONG
            larger = max(abs(a), abs(n))
            error = 0.0 if larger <= doubt else abs(a - n) / larger if math.isfinite(a) else math.inf
            if verdict == SMOOTH and error > problem.rtol:
                error = 0.0  # nothing but rounding
            left = right = within = None
            if sides is not None and (found.bent[row] or verdict != SMOOTH):
                kink = _at_kink(problem, a, *(float(side[row]) for side in sides))
                both = np.isfinite(sides[1][row]) and np.isfinite(sides[4][row]) and not math.isinf(a)
                if kink is not None and both and not is_there()[row]:  # beside the point, or an oscillation
                    left, right = kink[2:]
                    if found.bent[row]:
                        verdict = UNDECIDED
                    elif verdict == SMOOTH:
                        left = right = None
                elif kink is not None:
                    verdict, error, left, right = kink
                    within = smallest_step(at, grain) if both else None
            entries.append(Entry(
                problem.order, mode, *by, name, index, a, n, doubt, error, float(found.step[row]), verdict,
                left, right, within,
            ))  # fmt: skip
        yield from _less_noisy(line, mode, entries, found)


def _less_noisy(line: Line, mode: str, entries: list[Entry], found: Difference) -> list[Entry]:
    """The entries; those that fail by less than what the noise of the function explains are undecided."""
    entries = _rounded(line, mode, entries, found)
    if all(entry.passed for entry in entries):
        return entries
    eps = line.problem.precision
    reach, ordinary = found.step, _ordinary(line, found)
    of_values = noise(line.computed, line.at, reach, eps)
    if line.problem.order == 2:
        of_values = np.maximum(of_values, line.nonlinearity())
    apart = np.array([abs(entry.analytic - entry.numeric) for entry in entries])
    explained = SAFETY * 2.0**LEVELS * of_values / found.step
    agreeing = line.problem.rtol * np.array(
        [max(abs(entry.analytic), abs(entry.numeric)) for entry in entries]
    )
    undecided = np.array([entry.verdict == UNDECIDED for entry in entries])  # some agree, and only seem bent
    explained = np.where(undecided, np.maximum(explained, agreeing), explained)
    noisy = (of_values > ordinary) & np.array([not entry.passed for entry in entries])
    asked = noisy & ~(apart <= explained)  # the noise of slopes is dear, and what is explained needs no more
    if np.any(asked):
        slopes = partial(line.only(asked).derivative, mode)
        explained[asked] += SAFETY * noise(slopes, line.at, reach[asked], eps)
    is_noise = noisy & (apart <= explained)
    left = (of_values <= ordinary) & (found.step <= NARROW * max(abs(line.at), 1.0))
    if any(still and not entry.passed for still, entry in zip(left, entries, strict=True)):
        of_stairs, steepest = roughness(line.computed, line.at, ordinary, eps)
        on_stair = left & (of_stairs > 0) & (apart <= SAFETY * 2.0**LEVELS * steepest)
        of_values = np.where(on_stair, of_stairs, of_values)
        is_noise |= on_stair
    return [
        replace(entry, verdict=UNDECIDED, noise=float(values), left=None, right=None, within=None)
        if not entry.passed and explains
        else entry
        for entry, values, explains in zip(entries, of_values, is_noise, strict=True)
    ]


def _rounded(line: Line, mode: str, entries: list[Entry], found: Difference) -> list[Entry]:
    """The entries; those are smooth that fail by less than what rounding makes of both derivatives.

    What cancels to 0 in one formula leaves a rounding in another, which the differences see: another one
    wherever the inputs are a little to the side. What is detached or forgotten stays as it is, or moves as
    smoothly as the inputs do. Right are, too, those that differ in their last digits alone, by no more than
    the rounding of the function's values.
    """
    larger = np.array([max(abs(entry.analytic), abs(entry.numeric)) for entry in entries])
    apart = np.array([abs(entry.analytic - entry.numeric) for entry in entries])
    tiny = TINY * max(np.max(found.size), np.max(larger))
    failed = np.array([entry.verdict == WRONG and entry.left is None for entry in entries])  # and no kink
    asked = failed & (apart <= tiny)
    if not np.any(asked):
        return entries
    is_rounded = apart * max(abs(line.at), 1.0) <= ORDINARY * EPS * found.size
    is_rounded &= asked & (apart <= DECISIVE * larger)
    asked &= ~is_rounded
    if np.any(asked):
        is_rounded[asked] = apart[asked] <= SAFETY * _scatter(line.only(asked), mode, found.step[asked])
    return [
        replace(entry, verdict=SMOOTH, error=0.0) if rounded else entry
        for entry, rounded in zip(entries, is_rounded, strict=True)
    ]


def _scatter(line: Line, mode: str, steps: Array) -> Array:
    """How far both derivatives lie off a smooth curve while the inputs move by some roundings."""
    direction = np.random.default_rng(0).uniform(-1, 1, 1 + line.origin.size)
    along = np.linspace(-1, 1, NUDGES)
    analytic, numeric = [], []
    for t in along:
        nudge = 1 + t * NUDGE * line.problem.precision * direction
        nudged, at = replace(line, origin=line.origin * nudge[1:]), line.at * nudge[0]
        analytic.append(nudged.derivative(mode, at))
        slopes = {step: central(nudged.values, at, step)[0] for step in set(steps)}
        numeric.append([slopes[step][row] for row, step in enumerate(steps)])
    smooth = np.linalg.qr(np.vander(along, CURVED + 1))[0]
    both = (np.array(derivatives) for derivatives in (analytic, numeric))
    return np.asarray(sum(np.ptp(some - smooth @ (smooth.T @ some), axis=0) for some in both))


def _agreed(line: Line, analytic: Array, found: Difference, left: Sides, right: Sides) -> Difference:
    """Where nothing else is decided, the slopes of both sides, if all three are one and the same.

    Of ``x * abs(x)`` at 0 they alone converge. What moves in stairs has such slopes too, but of one stair.
    """
    problem = line.problem
    decided, agrees = _is_smooth(problem, analytic, found)
    apart = np.abs(right[0] - left[0])
    doubt = np.maximum(np.maximum(left[1], right[1]), apart)
    beside = found._replace(derivative=(left[0] + right[0]) / 2, uncertainty=doubt)
    better = agrees & ~decided & (apart <= SAFETY * (left[1] + right[1]))
    better &= _is_smooth(problem, analytic, beside)[0]
    if np.any(better):
        better &= roughness(line.values, line.at, _ordinary(line, beside), EPS)[0] == 0
    return Difference(*(np.where(better, new, old) for new, old in zip(beside, found, strict=True)))


def _ordinary(line: Line, found: Difference) -> Array:
    """The noise that rounding of argument and value explains."""
    scale = abs(line.at) or 1.0
    return ORDINARY * line.problem.precision * (found.size + np.abs(found.derivative) * scale)


def _second_opinion(first: Difference, second: Difference) -> Difference:
    """The first, and no more certain than both are together: what is noise is another number each time."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(first.derivative - second.derivative)
    told = np.isfinite(second.uncertainty) & (second.step <= 2)
    doubt = np.where(told, np.maximum(first.uncertainty, apart), first.uncertainty)
    return first._replace(uncertainty=doubt)


def _is_smooth(problem: Problem, analytic: Array, found: Difference) -> tuple[Array, Array]:
    """Where the derivatives agree; and where they do, as far as can be told, but that is not far enough."""
    analytic = analytic.astype(float)
    finite = np.isfinite(analytic)
    numeric, doubt = found.derivative, SAFETY * found.uncertainty
    larger = np.maximum(np.where(finite, np.abs(analytic), 0.0), np.abs(numeric))
    scale = np.maximum(found.size, np.abs(numeric))
    block = np.maximum(np.max(scale, initial=0.0), np.max(larger, initial=0.0))
    steepest = np.max(larger, initial=0.0)
    floor = problem.atol + problem.narrow * block + ROUNDING[problem.order] * steepest
    rounding = np.where(np.abs(numeric) <= doubt, 64 * np.finfo(float).eps * block, 0.0)
    with np.errstate(invalid="ignore"):
        agrees = finite & (np.abs(analytic - numeric) <= problem.rtol * larger + floor + doubt + rounding)
    nothing = (larger <= doubt + floor + rounding) & (doubt <= NEGLIGIBLE * block)
    decided = (doubt <= DECISIVE * larger + floor) | nothing | (doubt <= RESOLVED * scale)
    return agrees & decided, agrees


def _at_kink(
    problem: Problem, analytic: float, left: float, left_doubt: float, left_size: float,
    right: float, right_doubt: float, right_size: float, steep: float,
) -> tuple[str, float, float, float] | None:  # fmt: skip
    """The verdict where both sides differ, or where there is only one; None where there is no kink."""
    if math.isinf(analytic) and math.copysign(1.0, analytic) == steep:  # a limit by continuity
        return SUBGRADIENT, 0.0, analytic, analytic
    doubt = SAFETY * (left_doubt + right_doubt)
    if math.isinf(left_doubt) != math.isinf(right_doubt):  # the edge of the domain
        left, right = (right, right) if math.isinf(left_doubt) else (left, left)
        doubt = SAFETY * min(left_doubt, right_doubt)
        nothing = RESOLVED * max(left_size, right_size)
        if doubt > max(DECISIVE * max(abs(left), abs(analytic)), nothing):
            return None
    elif not abs(left - right) > doubt + DECISIVE * max(abs(left), abs(right)):
        return None
    low, high = min(left, right), max(left, right)
    slack = problem.rtol * max(abs(low), abs(high)) * 10 + doubt + problem.atol + problem.narrow * abs(high)
    outside = max(low - analytic, analytic - high, 0.0)
    if outside <= slack:
        return SUBGRADIENT, 0.0, left, right
    error = outside / max(abs(low), abs(high), abs(analytic)) if math.isfinite(analytic) else math.inf
    return WRONG, error, left, right
