"""Jacobians from the tape, by either mode, and their comparison with numeric ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.differences import Difference, differentiate, one_sided, persists, steepness
from tinygrad_mnist.testing.report import (
    SMOOTH,
    SUBGRADIENT,
    UNDECIDED,
    WRONG,
    DiscontinuityError,
    Entry,
)
from tinygrad_mnist.transforms import jvp, vjp

Array = NDArray[Any]
Function = Callable[..., tuple[Any, ...]]
"""Of arrays or Tensors; returns a tuple of such."""

SAFETY: Final = 10.0
"""How many times the estimated uncertainty of a numeric derivative is believed."""

DECISIVE: Final = 3e-3
"""A verdict needs a numeric derivative that is certain to this part of its value ..."""

NEGLIGIBLE: Final = 1e-6
"""... or, where both derivatives are 0, to this part of the function's values, ..."""

RESOLVED: Final = 1e-8
"""... or, where they agree, to this part of them."""


SIZED: Final = 4
"""Along so many directions the size of the rows is measured."""


ROUNDING: Final = {1: 1.5e-17, 2: 1e-13}
"""By order: what is less than this part of the steepest derivative by the same input is a rounded 0."""


@dataclass(frozen=True)
class Problem:
    """A function at a point, and how closely its derivatives are to agree.

    ``shadow`` are the primals in float64, which the differences are taken at; ``narrow`` is the largest
    rounding error, beside the largest entry, that is accepted of the dtype that the tape computes in.
    """

    order: int
    function: Function
    primals: tuple[Array, ...]
    shadow: tuple[Array, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    rtol: float
    atol: float
    narrow: float = 0.0
    eps: float | None = None
    kinked: frozenset[tuple[str, tuple[int, ...]]] = frozenset()
    """At order 2: inputs that the function has a kink by, and the gradients by them; they are left out."""

    @property
    def rows(self) -> int:
        """Number of all outputs."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def columns(self) -> int:
        """Number of all inputs."""
        return sum(primal.size for primal in self.primals)


def flat(arrays: Sequence[Any]) -> Array:
    """All of them in one vector."""
    return np.concatenate([np.ravel(np.asarray(getattr(array, "data", array))) for array in arrays])


def split(vector: Array, like: Sequence[Any]) -> tuple[Array, ...]:
    """The inverse of `flat`, in the shapes and dtypes of ``like``."""
    parts, start = [], 0
    for array in like:
        parts.append(vector[start : start + array.size].reshape(array.shape).astype(array.dtype))
        start += array.size
    return tuple(parts)


def pulled(problem: Problem, cotangents: Array) -> Array:
    """Reverse mode: a row of input derivatives for each row of cotangents."""
    outs, pullback = vjp(problem.function, *problem.primals)
    return np.array([flat(pullback(split(row, outs))) for row in cotangents])


def pushed(problem: Problem, tangents: Array) -> Array:
    """Forward mode: a column of output derivatives for each row of tangents."""
    columns = [
        flat(jvp(problem.function, problem.primals, split(row, problem.primals))[1]) for row in tangents
    ]
    return np.array(columns).T


def compare_all(problem: Problem, modes: Sequence[str]) -> Iterator[Entry]:
    """Every entry of the Jacobian."""
    if not problem.rows or not problem.columns:
        return
    analytic = {
        mode: pulled(problem, np.eye(problem.rows))
        if mode == "reverse"
        else pushed(problem, np.eye(problem.columns))
        for mode in modes
    }
    point = flat(problem.shadow)
    outputs = [(n, i) for n, s in zip(problem.outputs, problem.shapes, strict=True) for i in np.ndindex(s)]
    gradients_by = [(n.replace("gradient", "input"), i) for n, i in outputs]
    rows = np.array([k for k, by in enumerate(gradients_by) if by not in problem.kinked], dtype=int)
    outputs = [outputs[k] for k in rows]
    if not outputs:
        return
    column = 0
    for name, primal in zip(problem.inputs, problem.shadow, strict=True):
        for index in np.ndindex(primal.shape):
            if (name, index) not in problem.kinked:
                curve = partial(_moved, problem, point, column, rows)
                at = float(point[column])
                columns = {mode: jacobian[rows, column] for mode, jacobian in analytic.items()}
                yield from _judged(problem, curve, at, columns, (name, index), outputs)
            column += 1


def compare_along(problem: Problem, modes: Sequence[str], count: int, seed: int) -> Iterator[Entry]:
    """Products with random signs from both sides: ``count`` of them; columns with a kink one by one.

    Inputs move in proportion to themselves, and each row is divided by its size, so that small ones count.
    """
    rng = np.random.default_rng(seed)
    point = flat(problem.shadow)
    inputs = [
        (n, i) for n, p in zip(problem.inputs, problem.shadow, strict=True) for i in np.ndindex(p.shape)
    ]
    if problem.kinked:
        kinked = [k for k, by in enumerate(inputs) if by in problem.kinked]
    else:
        kinked = _columns_with_kinks(problem, point)
        yield from _some_columns(problem, modes, point, kinked)
    scale = np.where(point == 0, 1.0, np.abs(point))
    scale[kinked] = 0.0
    tangents = rng.choice([-1.0, 1.0], (count, problem.columns)) * scale
    cotangents = rng.choice([-1.0, 1.0], (count, problem.rows)) / _sizes(problem, point, tangents[:SIZED])
    if problem.kinked:  # the gradients by them come first to last, as the inputs do
        cotangents[:, [k for k in kinked if k < problem.rows]] = 0.0
    analytic = {}
    for mode in modes:
        if mode == "reverse":
            analytic[mode] = np.sum(pulled(problem, cotangents).astype(float) * tangents, axis=1)
        else:
            analytic[mode] = np.sum(cotangents.T * pushed(problem, tangents), axis=0)
    for k in range(count):

        def curve(t: float, k: int = k) -> Array:
            return np.asarray(_values(problem, point + t * tangents[k]) @ cotangents[k : k + 1].T)

        columns = {mode: products[k : k + 1] for mode, products in analytic.items()}
        yield from _judged(problem, curve, 0.0, columns, ("direction", (k,)), [("signs", (k,))])


def _columns_with_kinks(problem: Problem, point: Array) -> list[int]:
    """The inputs that the function seems to have a kink by; looked for only where a direction sees one."""
    if problem.order != 1:
        return []
    rng = np.random.default_rng(1)
    scale = np.where(point == 0, 1.0, np.abs(point))
    every = np.arange(problem.rows)
    for _ in range(2):
        tangent = rng.choice([-1.0, 1.0], problem.columns) * scale
        if np.any(_bends(partial(_along, problem, point, tangent), 0.0)):
            break
    else:
        return []
    return [
        column
        for column in range(problem.columns)
        if np.any(_bends(partial(_moved, problem, point, column, every), float(point[column])))
    ]


def _bends(curve: Callable[[float], Array], at: float) -> Array:
    """Where the slopes from both sides differ as much at a step as at a much smaller one."""
    middle = curve(at)
    gaps = []
    for h in (2.0**-16 * (abs(at) or 1.0), 2.0**-21 * (abs(at) or 1.0)):
        with np.errstate(all="ignore"):
            high, low = curve(at + h), curve(at - h)
            gap = np.abs(high - 2 * middle + low) / h
            noise = 16 * np.finfo(float).eps * np.maximum(np.abs(high), np.abs(middle)) / h
            gaps.append(np.where(np.isfinite(gap), np.maximum(gap - noise, 0.0), np.inf))
    return np.asarray((gaps[1] > 0.5 * gaps[0]) & (gaps[1] > 0))


def _some_columns(
    problem: Problem, modes: Sequence[str], point: Array, chosen: Sequence[int]
) -> Iterator[Entry]:
    """The columns of the Jacobian that are chosen; in reverse mode a row at a time makes them."""
    if not chosen:
        return
    tangents = (np.arange(problem.columns) == np.array(chosen)[:, None]).astype(float)
    analytic = {}
    for mode in modes:
        if mode == "forward":
            analytic[mode] = pushed(problem, tangents)
        else:
            _, pullback = vjp(problem.function, *problem.primals)
            outs = tuple(np.empty(s, problem.primals[0].dtype) for s in problem.shapes)
            rows = (np.arange(problem.rows) == row for row in range(problem.rows))
            analytic[mode] = np.array(
                [flat(pullback(split(row.astype(float), outs)))[list(chosen)] for row in rows]
            )
    every = np.arange(problem.rows)
    inputs = [
        (n, i) for n, p in zip(problem.inputs, problem.shadow, strict=True) for i in np.ndindex(p.shape)
    ]
    outputs = [(n, i) for n, s in zip(problem.outputs, problem.shapes, strict=True) for i in np.ndindex(s)]
    for k, column in enumerate(chosen):
        curve = partial(_moved, problem, point, column, every)
        columns = {mode: jacobian[:, k] for mode, jacobian in analytic.items()}
        yield from _judged(problem, curve, float(point[column]), columns, inputs[column], outputs)


def _sizes(problem: Problem, point: Array, tangents: Array) -> Array:
    """Of each row of the Jacobian, from differences, a power of 2; no less than rounding lets be seen."""
    values = np.abs(_values(problem, point))
    largest = np.zeros(problem.rows)
    for tangent in tangents:
        with np.errstate(all="ignore"):
            high, low = (_values(problem, point + t * tangent) for t in (2.0**-20, -(2.0**-20)))
            slope = np.abs(high - low) * 2.0**19
        largest = np.maximum(largest, np.where(np.isfinite(slope), slope, 0.0))
    largest = np.maximum(largest, 2.0**-10 * values)
    known = np.clip(np.where(largest > 0, largest, 1.0), 2.0**-100, 2.0**100)
    return np.asarray(2.0 ** np.round(np.log2(known)))


def _moved(problem: Problem, point: Array, column: int, rows: Array, value: float) -> Array:
    moved = point.copy()
    moved[column] = value
    return np.asarray(_values(problem, moved)[rows])


def _along(problem: Problem, point: Array, tangent: Array, t: float) -> Array:
    return _values(problem, point + t * tangent)


def _values(problem: Problem, point: Array) -> Array:
    try:
        outs = problem.function(*split(point, problem.shadow))
    except (ArithmeticError, ValueError, np.linalg.LinAlgError):  # not defined there
        return np.full(problem.rows, np.nan)
    return flat(outs)


def _judged(
    problem: Problem,
    curve: Callable[[float], Array],
    at: float,
    columns: dict[str, Array],
    by: tuple[str, tuple[int, ...]],
    outputs: Sequence[tuple[str, tuple[int, ...]]],
) -> Iterator[Entry]:
    """Entries for one column of the Jacobian, by each mode."""
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
            grain = min(1.0, float(np.max(np.abs(flat(problem.shadow)), initial=0.0)))
            is_there = persists(curve, at, right_side[0] - left_side[0], grain)
        uncertainty = SAFETY * found.uncertainty
        for row, (name, index) in enumerate(outputs):
            a, n, doubt = float(analytic[row]), float(found.derivative[row]), float(uncertainty[row])
            verdict = SMOOTH if smooth[0][row] else UNDECIDED if smooth[1][row] else WRONG
            larger = max(abs(a), abs(n))
            error = 0.0 if larger <= doubt else abs(a - n) / larger if math.isfinite(a) else math.inf
            if verdict == SMOOTH and error > problem.rtol:
                error = 0.0  # nothing but rounding
            left = right = None
            if sides is not None and (found.bent[row] or verdict != SMOOTH):
                kink = _at_kink(problem, a, *(float(side[row]) for side in sides))
                both = np.isfinite(sides[1][row]) and np.isfinite(sides[4][row]) and not math.isinf(a)
                if kink is not None and both and not is_there[row]:  # beside the point, or an oscillation
                    left, right = kink[2:]
                    if found.bent[row]:
                        verdict = UNDECIDED
                    elif verdict == SMOOTH:
                        left = right = None
                elif kink is not None:
                    verdict, error, left, right = kink
            yield Entry(
                problem.order, mode, *by, name, index, a, n, doubt, error, float(found.step[row]), verdict,
                left, right,
            )  # fmt: skip


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
