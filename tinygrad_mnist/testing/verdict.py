"""The verdict on each derivative from the tape: smooth, valid subgradient, wrong or undecided.

For a line through the inputs, :func:`verdicts` takes these steps.

1. Take the numeric derivative; where it disagrees with the tape, take a second one at other steps.
2. Where both still disagree, or the function seems bent, look at both sides: at a kink the one-sided
   derivatives have to bracket the gradient.
3. Where an entry fails by so little that rounding may be the reason, measure that rounding.
4. Where it fails by more, measure the noise of the function: an error that noise explains is undecided, not
   wrong.

The later steps cost more, and are taken only for what the earlier ones leave.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.finite_differences import (
    EPS,
    Curve,
    Difference,
    OneSided,
    central,
    differentiate,
    one_sided,
    persists,
    smallest_step,
    steepness,
)
from tinygrad_mnist.testing.jacobians import Line, Place, Problem, flat
from tinygrad_mnist.testing.noise import noise, roughness
from tinygrad_mnist.testing.report import (
    SMOOTH,
    SUBGRADIENT,
    UNDECIDED,
    WRONG,
    DiscontinuityError,
    Entry,
)
from tinygrad_mnist.testing.tolerances import TOLERANCES

Array = NDArray[Any]


def verdicts(line: Line, columns: dict[str, Array], by: Place, outputs: Sequence[Place]) -> Iterator[Entry]:
    """Yield an entry for each observed number of a line, by each mode.

    Parameters
    ----------
    line : Line
        The input that moves, and the numbers that are observed.
    columns : dict of str to ndarray
        The derivatives along the line from the tape, by mode.
    by, outputs
        The names of the input and of each observed number, for the entries.
    """
    curve = cache(line.values)  # the sides ask for the steps of the middle again
    numeric = _numeric(line, curve, columns.values(), by)
    sides: _Sides | None = None
    for mode, analytic in columns.items():
        agreement = _agreement(line.problem, analytic, numeric)
        if sides is None and (np.any(numeric.bent) or not np.all(agreement.is_smooth)):
            sides = _sides(line, curve)
            numeric = _confirmed_by_sides(line, analytic, numeric, sides)
            agreement = _agreement(line.problem, analytic, numeric)
        compared = _Comparison(line, mode, by, analytic, numeric, agreement, sides)
        entries = [compared.entry(row, output) for row, output in enumerate(outputs)]
        yield from _without_noise(line, mode, entries, numeric)


# ---- the numeric derivative ------------------------------------------------------------------------------


def _numeric(line: Line, curve: Curve, analytic: Iterable[Array], by: Place) -> Difference:
    """Return the numeric derivative along a line.

    Raises
    ------
    DiscontinuityError
        If the function jumps there. A gradient may jump: at order 2 that is a kink of the function.
    """
    problem, at = line.problem, line.at
    found = differentiate(curve, at, problem.eps)
    if problem.order == 1 and np.any(found.jumps):
        raise DiscontinuityError(
            f"gradcheck's function jumps where {by[0]} {by[1]} is {at:.6g}, so it has no derivative there; "
            "choose another point"
        )
    if all(np.all(_agreement(problem, each, found).is_smooth) for each in analytic):
        return found
    second = differentiate(curve, at, problem.eps, stretch=TOLERANCES.second_opinion_stretch)
    return _less_certain(found, second)


def _less_certain(first: Difference, second: Difference) -> Difference:
    """Return the first estimate with the larger uncertainty: its own, or its distance to the second.

    Where a function is noisy, two estimates from other steps differ, however certain each of them seems.
    """
    with np.errstate(invalid="ignore"):
        apart = np.abs(first.derivative - second.derivative)
    counts = np.isfinite(second.uncertainty) & (second.step <= TOLERANCES.second_opinion_step)
    doubt = np.where(counts, np.maximum(first.uncertainty, apart), first.uncertainty)
    return first._replace(uncertainty=doubt)


class _Agreement(NamedTuple):
    """Two masks: both derivatives agree and that decides; they agree as far as can be told."""

    is_smooth: Array
    agrees: Array


def _agreement(problem: Problem, analytic: Array, numeric: Difference) -> _Agreement:
    """Return where the derivative from the tape agrees with the numeric one."""
    analytic = analytic.astype(float)
    finite = np.isfinite(analytic)
    derivative, doubt = numeric.derivative, TOLERANCES.safety * numeric.uncertainty
    larger = np.maximum(np.where(finite, np.abs(analytic), 0.0), np.abs(derivative))
    scale = np.maximum(numeric.size, np.abs(derivative))
    # The largest number of the whole column. Entries share intermediate results, and so roundings of that
    # size.
    steepest = np.max(larger, initial=0.0)
    block = np.maximum(np.max(scale, initial=0.0), steepest)
    # An absolute error that is always accepted: asked for, of a narrow dtype, and of a 0 that is computed.
    floor = problem.atol + problem.narrow * block + TOLERANCES.rounded_zero[problem.order] * steepest
    # A numeric derivative that its doubt hides is rounding of the largest number.
    hidden = np.abs(derivative) <= doubt
    rounding = np.where(hidden, TOLERANCES.zero_rounding * EPS * block, 0.0)
    with np.errstate(invalid="ignore"):
        apart = np.abs(analytic - derivative)
        agrees = finite & (apart <= problem.rtol * larger + floor + doubt + rounding)
    # The doubt widens what agrees, so it must not be too large: of the derivative, of the values where both
    # derivatives are 0 for all that is known, or of the rounding of the values.
    is_zero = (larger <= doubt + floor + rounding) & (doubt <= TOLERANCES.negligible * block)
    decided = doubt <= TOLERANCES.decisive * larger + floor
    decided = decided | is_zero | (doubt <= TOLERANCES.resolved * scale)
    return _Agreement(agrees & decided, agrees)


# ---- both sides ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sides:
    """The derivatives from the left and from the right along a line."""

    curve: Curve
    at: float
    left: OneSided
    right: OneSided
    steep: Array
    """Sign of the slope where it grows beyond all bounds, else 0."""
    grain: float
    """Size of the inputs, but at most 1: what f adds to the moving input rounds it as coarsely as that."""

    @cached_property
    def persist(self) -> Array:
        """Mask of where the sides differ at every step. It is slow, so it is computed at kinks only."""
        gap = self.right.derivative - self.left.derivative
        return persists(self.curve, self.at, gap, self.grain)

    @property
    def within(self) -> float:
        """Distance below which a kink cannot be told from one at the point."""
        return smallest_step(self.at, self.grain)


def _sides(line: Line, curve: Curve) -> _Sides:
    """Return the derivatives from both sides."""
    left, right = one_sided(curve, line.at, -1), one_sided(curve, line.at, 1)
    largest = float(np.max(np.abs(flat(line.problem.shadow)), initial=0.0))
    return _Sides(curve, line.at, left, right, steepness(curve, line.at), min(1.0, largest))


def _confirmed_by_sides(line: Line, analytic: Array, numeric: Difference, sides: _Sides) -> Difference:
    """Return the numeric derivative; where it decides nothing, the slope of both sides if they agree.

    Of ``x * abs(x)`` at 0 the sides alone converge: the error of central differences is of order h there,
    which their extrapolation does not expect. What moves in stairs has such slopes too, but of one stair.
    """
    left, right = sides.left, sides.right
    is_smooth, agrees = _agreement(line.problem, analytic, numeric)
    apart = np.abs(right.derivative - left.derivative)
    doubt = np.maximum(np.maximum(left.uncertainty, right.uncertainty), apart)
    mean = numeric._replace(derivative=(left.derivative + right.derivative) / 2, uncertainty=doubt)
    better = agrees & ~is_smooth & (apart <= TOLERANCES.safety * (left.uncertainty + right.uncertainty))
    better &= _agreement(line.problem, analytic, mean).is_smooth
    if np.any(better):
        better &= roughness(line.values, line.at, _ordinary_noise(line, mean), EPS)[0] == 0
    return numeric.replaced(mean, better)


class _Side(NamedTuple):
    """A one-sided derivative of one observed number."""

    derivative: float
    uncertainty: float
    size: float


class _Kink(NamedTuple):
    """The verdict at a kink, how far the gradient is outside, and the one-sided derivatives."""

    verdict: str
    error: float
    left: float
    right: float


def _kink(problem: Problem, analytic: float, left: _Side, right: _Side, steep: float) -> _Kink | None:
    """Return the verdict where both sides differ, or where there is only one; None where there is no kink."""
    # The slope of sqrt at 0 is infinite, as a limit, and so is its gradient.
    if math.isinf(analytic) and math.copysign(1.0, analytic) == steep:
        return _Kink(SUBGRADIENT, 0.0, analytic, analytic)
    if math.isinf(left.uncertainty) != math.isinf(right.uncertainty):
        # The edge of the domain: the side that exists is the derivative, if it is certain enough to decide.
        inside = right if math.isinf(left.uncertainty) else left
        doubt = TOLERANCES.safety * inside.uncertainty
        largest = max(abs(inside.derivative), abs(analytic))
        resolved = TOLERANCES.resolved * max(left.size, right.size)
        if doubt > max(TOLERANCES.decisive * largest, resolved):
            return None
        return _bracketed(problem, analytic, inside.derivative, inside.derivative, doubt)
    doubt = TOLERANCES.safety * (left.uncertainty + right.uncertainty)
    larger = max(abs(left.derivative), abs(right.derivative))
    # Written so that a doubt of inf, or NaN, is no kink.
    if not abs(left.derivative - right.derivative) > doubt + TOLERANCES.decisive * larger:
        return None
    return _bracketed(problem, analytic, left.derivative, right.derivative, doubt)


def _bracketed(problem: Problem, analytic: float, left: float, right: float, doubt: float) -> _Kink:
    """Return whether a gradient lies between the one-sided derivatives: any number there is a subgradient.

    Of a convex function these are all subgradients (Rockafellar 1970, section 23); of others, Clarke's.
    """
    low, high = min(left, right), max(left, right)
    slack = problem.rtol * max(abs(low), abs(high)) * TOLERANCES.one_sided_slack + doubt
    slack = slack + problem.atol + problem.narrow * abs(high)
    outside = max(low - analytic, analytic - high, 0.0)
    if outside <= slack:
        return _Kink(SUBGRADIENT, 0.0, left, right)
    # A gradient that is not a number arrives here too, since NaN is not within the slack.
    error = outside / max(abs(low), abs(high), abs(analytic)) if math.isfinite(analytic) else math.inf
    return _Kink(WRONG, error, left, right)


# ---- entries ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Comparison:
    """The derivatives of all observed numbers of a line, from the tape in one mode and from differences."""

    line: Line
    mode: str
    by: Place
    analytic: Array
    numeric: Difference
    agreement: _Agreement
    sides: _Sides | None

    def entry(self, row: int, output: Place) -> Entry:
        """Return the entry of one observed number, with the verdict of the differences and of both sides."""
        analytic, numeric = float(self.analytic[row]), float(self.numeric.derivative[row])
        uncertainty = TOLERANCES.safety * float(self.numeric.uncertainty[row])
        verdict = WRONG
        if self.agreement.is_smooth[row]:
            verdict = SMOOTH
        elif self.agreement.agrees[row]:
            verdict = UNDECIDED
        error = _relative_error(analytic, numeric, uncertainty)
        if verdict == SMOOTH and error > self.line.problem.rtol:
            error = 0.0  # an absolute tolerance has accepted it, so that it is rounding
        entry = Entry(
            self.line.problem.order, self.mode, *self.by, *output, analytic, numeric, uncertainty, error,
            float(self.numeric.step[row]), verdict,
        )  # fmt: skip
        if self.sides is not None and (self.numeric.bent[row] or verdict != SMOOTH):
            return self._at_kink(entry, row, self.sides)
        return entry

    def _at_kink(self, entry: Entry, row: int, sides: _Sides) -> Entry:
        """Return an entry with the verdict of both sides, if they see a kink."""
        left, right = (_Side(*(float(number[row]) for number in side)) for side in (sides.left, sides.right))
        kink = _kink(self.line.problem, entry.analytic, left, right, float(sides.steep[row]))
        if kink is None:
            return entry
        has_both = math.isfinite(left.uncertainty) and math.isfinite(right.uncertainty)
        has_both = has_both and not math.isinf(entry.analytic)
        if has_both and not sides.persist[row]:
            # It lies beside the point, or is an oscillation. A slope that is bent is then not to be trusted;
            # an error beside a straight slope stays an error.
            verdict = UNDECIDED if self.numeric.bent[row] else entry.verdict
            return replace(entry, verdict=verdict, left=kink.left, right=kink.right)
        within = sides.within if has_both else None
        return replace(entry, **kink._asdict(), within=within)


def _relative_error(analytic: float, numeric: float, uncertainty: float) -> float:
    """Return the difference relative to the larger number; 0 where the uncertainty hides both."""
    larger = max(abs(analytic), abs(numeric))
    if larger <= uncertainty:
        return 0.0
    return abs(analytic - numeric) / larger if math.isfinite(analytic) else math.inf


def _apart(entries: Sequence[Entry]) -> Array:
    """Return the difference of both derivatives, of each entry."""
    return np.array([abs(entry.analytic - entry.numeric) for entry in entries])


def _larger(entries: Sequence[Entry]) -> Array:
    """Return the size of the larger derivative, of each entry."""
    return np.array([max(abs(entry.analytic), abs(entry.numeric)) for entry in entries])


# ---- rounding and noise ----------------------------------------------------------------------------------


def _without_noise(line: Line, mode: str, entries: list[Entry], numeric: Difference) -> list[Entry]:
    """Return the entries with a milder verdict where a failure has another reason than a wrong gradient.

    An entry that fails by no more than its rounding is smooth; one that the noise of the function explains
    is undecided.
    """
    if all(entry.passed for entry in entries):
        return entries
    entries = _accept_rounding(line, mode, entries, numeric)
    failed = np.array([not entry.passed for entry in entries])
    if not np.any(failed):
        return entries
    values_noise = _noise_of_values(line, numeric)
    is_noisy = values_noise > _ordinary_noise(line, numeric)
    explained = _is_explained(line, mode, entries, numeric, values_noise, failed & is_noisy)
    # What shows no noise may move in stairs, and the step may have been on one of them.
    is_short = numeric.step <= TOLERANCES.stair_reach * max(abs(line.at), 1.0)
    if np.any(failed & ~is_noisy & is_short):
        stairs, is_stair = _stairs(line, entries, numeric)
        is_stair &= ~is_noisy & is_short
        values_noise = np.where(is_stair, stairs, values_noise)
        explained |= is_stair
    return [
        replace(entry, verdict=UNDECIDED, noise=float(size), left=None, right=None, within=None)
        if is_noise
        else entry
        for entry, size, is_noise in zip(entries, values_noise, failed & explained, strict=True)
    ]


def _ordinary_noise(line: Line, numeric: Difference) -> Array:
    """Return the noise that the rounding of argument and value explains: no function has less."""
    scale = abs(line.at) or 1.0
    size = numeric.size + np.abs(numeric.derivative) * scale
    return TOLERANCES.ordinary_noise * line.problem.precision * size


def _noise_of_values(line: Line, numeric: Difference) -> Array:
    """Return the noise of the observed numbers, in the dtype of the tape."""
    found = noise(line.computed, line.at, numeric.step, line.problem.precision)
    return np.maximum(found, line.nonlinearity()) if line.problem.order == 2 else found


def _is_explained(
    line: Line, mode: str, entries: Sequence[Entry], numeric: Difference, values_noise: Array, noisy: Array
) -> Array:
    """Return which of the noisy entries fail by no more than the noise explains.

    Parameters
    ----------
    line, mode, entries, numeric
        As elsewhere.
    values_noise : ndarray
        The noise of the observed numbers.
    noisy : ndarray of bool
        The entries in question.
    """
    apart = _apart(entries)
    explained = _slope_noise(values_noise, numeric.step)
    # Some agree, and only seem bent by the noise: they differ by no more than is accepted of all.
    undecided = np.array([entry.verdict == UNDECIDED for entry in entries])
    accepted = line.problem.rtol * _larger(entries)
    explained = np.where(undecided, np.maximum(explained, accepted), explained)
    # The gradient may be noisy too. Its noise costs a walk a point, so it is measured only of what is left.
    asked = noisy & ~(apart <= explained)
    if np.any(asked):
        slopes = partial(line.only(asked).derivative, mode)
        of_slopes = noise(slopes, line.at, numeric.step[asked], line.problem.precision)
        explained[asked] += TOLERANCES.safety * of_slopes
    return np.asarray(noisy & (apart <= explained))


def _slope_noise(values_noise: Array, step: Array | float) -> Array:
    """Return the noise of a slope: that of the values, divided by the smallest step of the extrapolation."""
    return TOLERANCES.safety * 2.0**TOLERANCES.richardson_levels * values_noise / step


def _stairs(line: Line, entries: Sequence[Entry], numeric: Difference) -> tuple[Array, Array]:
    """Return the height of the stairs that the observed numbers move in, and which entries they explain."""
    ordinary = _ordinary_noise(line, numeric)
    height, steepest = roughness(line.computed, line.at, ordinary, line.problem.precision)
    return height, (height > 0) & (_apart(entries) <= _slope_noise(steepest, 1.0))


def _accept_rounding(line: Line, mode: str, entries: list[Entry], numeric: Difference) -> list[Entry]:
    """Return the entries; one that fails by no more than the rounding of both derivatives becomes smooth.

    What cancels to 0 in one formula leaves a rounding in another, which the differences see: another one
    wherever the inputs are a little to the side. What is detached or forgotten stays as it is, or moves as
    smoothly as the inputs do. Right are, too, those that differ in their last digits alone, by no more than
    the rounding of the function's values.
    """
    larger, apart = _larger(entries), _apart(entries)
    tiny = TOLERANCES.tiny * max(np.max(numeric.size), np.max(larger))
    # Outside of both slopes of a kink a derivative is wrong however small the error is.
    failed = np.array([entry.verdict == WRONG and entry.left is None for entry in entries])
    asked = failed & (apart <= tiny)
    if not np.any(asked):
        return entries
    is_rounded = apart * max(abs(line.at), 1.0) <= TOLERANCES.ordinary_noise * EPS * numeric.size
    is_rounded &= asked & (apart <= TOLERANCES.decisive * larger)
    asked &= ~is_rounded
    if np.any(asked):
        scatter = _scatter(line.only(asked), mode, numeric.step[asked])
        is_rounded[asked] = apart[asked] <= TOLERANCES.safety * scatter
    return [
        replace(entry, verdict=SMOOTH, error=0.0) if rounded else entry
        for entry, rounded in zip(entries, is_rounded, strict=True)
    ]


def _scatter(line: Line, mode: str, steps: Array) -> Array:
    """Return how far both derivatives lie off a smooth curve while the inputs move by some roundings."""
    # All inputs, each in its own proportion: roundings that cancel at the point itself do so nowhere else.
    direction = np.random.default_rng(0).uniform(-1, 1, 1 + line.origin.size)
    along = np.linspace(-1, 1, TOLERANCES.nudges)
    analytic, numeric = [], []
    for t in along:
        nudge = 1 + t * TOLERANCES.nudge * line.problem.precision * direction
        nudged, at = replace(line, origin=line.origin * nudge[1:]), line.at * nudge[0]
        analytic.append(nudged.derivative(mode, at))
        slopes = {step: central(nudged.values, at, step)[0] for step in set(steps)}
        numeric.append([slopes[step][row] for row, step in enumerate(steps)])
    # A least-squares fit of a polynomial by an orthonormal basis of its values; what it leaves is the
    # scatter.
    basis = np.linalg.qr(np.vander(along, TOLERANCES.nudge_degree + 1))[0]
    both = (np.array(derivatives) for derivatives in (analytic, numeric))
    return np.asarray(sum(np.ptp(some - basis @ (basis.T @ some), axis=0) for some in both))
