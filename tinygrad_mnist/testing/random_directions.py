"""The Jacobian from the tape beside the numeric one: entry by entry, or along random directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.jacobians import (
    Line,
    Problem,
    flat,
    line_of_column,
    pulled,
    pushed,
    split,
    values_at,
)
from tinygrad_mnist.testing.report import ALL_OUTPUTS, WRONG, Entry
from tinygrad_mnist.testing.verdict import judged
from tinygrad_mnist.transforms import vjp

Array = NDArray[Any]

SIZED: Final = 4
"""Along so many directions the size of the rows is measured."""


LARGE: Final = 1e3
"""About the size of cotangents of all outputs at once; those of one output are 1/2."""

ROUNDED: Final = 1e-10
"""By this part of the largest value or derivative, times the cotangents, sums of them may differ."""


NOISY: Final = 0.01
"""By this part of the sum of their sizes, too: a right rule may cancel."""


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
    outputs = problem.every_output
    gradients_by = [(name.replace("gradient", "input"), index) for name, index in outputs]
    rows = np.array([k for k, by in enumerate(gradients_by) if by not in problem.kinked], dtype=int)
    if not rows.size:
        return
    passed = True
    for column, by in enumerate(problem.every_input):
        if by not in problem.kinked:
            line = line_of_column(problem, point, column, rows)
            columns = {mode: jacobian[rows, column] for mode, jacobian in analytic.items()}
            for entry in judged(line, columns, by, [outputs[k] for k in rows]):
                passed = passed and entry.passed
                yield entry
    if passed and "reverse" in analytic:
        yield from _not_linear(problem, analytic["reverse"], point, rows)


def _not_linear(problem: Problem, jacobian: Array, point: Array, rows: Array) -> Iterator[Entry]:
    """The entries of which all outputs at once make something else than each of them alone, added up."""
    rng = np.random.default_rng(0)
    cotangent = np.zeros(problem.rows)
    cotangent[rows] = LARGE * rng.uniform(0.5, 1.5, rows.size) * rng.choice([-1.0, 1.0], rows.size)
    with np.errstate(all="ignore"):
        jacobian = np.where(cotangent[:, None] == 0, 0.0, jacobian.astype(float))
        sums, sizes = cotangent @ jacobian, np.abs(cotangent) @ np.abs(jacobian)
        largest = np.max(np.abs(jacobian), initial=np.max(np.abs(values_at(problem, point)[rows])))
        if not LARGE**2 * largest < min(float(np.finfo(primal.dtype).max) for primal in problem.primals):
            return  # it would overflow
        together = pulled(problem, cotangent[None])[0].astype(float)
    slack = max(problem.rtol, NOISY) * sizes + LARGE * (problem.atol + max(ROUNDED, problem.narrow) * largest)
    for column, by in enumerate(problem.every_input):
        found, expected = float(together[column]), float(sums[column])
        if by in problem.kinked or not np.isfinite(sizes[column]):
            continue
        if not abs(found - expected) <= slack[column]:
            error = abs(found - expected) / max(abs(found), abs(expected))
            yield Entry(
                problem.order,
                "reverse",
                *by,
                ALL_OUTPUTS,
                (),
                found,
                expected,
                float(slack[column]),
                error,
                0.0,
                WRONG,
            )


def compare_along(problem: Problem, modes: Sequence[str], count: int, seed: int) -> Iterator[Entry]:
    """Products with random signs from both sides, ``count`` a stratum; columns with a kink one by one.

    Inputs move in proportion to themselves, and each row is divided by its size, so that small ones count;
    and a product takes in only what the tape says is of like size, so that small entries are not lost
    beside large ones.
    """
    rng = np.random.default_rng(seed)
    point = flat(problem.shadow)
    if problem.kinked:
        kinked = [k for k, by in enumerate(problem.every_input) if by in problem.kinked]
    else:
        kinked = _columns_with_kinks(problem, point)
        yield from _some_columns(problem, modes, point, kinked)
    scale = np.where(point == 0, 1.0, np.abs(point))
    scale[kinked] = 0.0
    sizes = _sizes(problem, point, rng.choice([-1.0, 1.0], (SIZED, problem.columns)) * scale)
    weight = 1 / sizes
    if problem.kinked:  # the gradients by them come first to last, as the inputs do
        weight[[k for k in kinked if k < problem.rows]] = 0.0
    number = 0
    for rows, columns in strata(problem, weight, scale, rng):
        for _ in range(count):
            tangent = rng.choice([-1.0, 1.0], problem.columns) * scale * columns
            cotangent = (rng.choice([-1.0, 1.0], problem.rows) * weight)[rows]
            line = Line(problem, point, tangent, 0.0, np.flatnonzero(rows), cotangent[None])
            products = {mode: line.derivative(mode, 0.0) for mode in modes}
            yield from judged(line, products, ("direction", (number,)), [("signs", (number,))])
            number += 1


def _columns_with_kinks(problem: Problem, point: Array) -> list[int]:
    """The inputs that the function seems to have a kink by; looked for only where a direction sees one."""
    if problem.order != 1:
        return []
    rng = np.random.default_rng(1)
    scale = np.where(point == 0, 1.0, np.abs(point))
    every = np.arange(problem.rows)
    for _ in range(2):
        tangent = rng.choice([-1.0, 1.0], problem.columns) * scale
        if np.any(_bends(Line(problem, point, tangent, 0.0, every))):
            break
    else:
        return []
    lines = (line_of_column(problem, point, column, every) for column in range(problem.columns))
    return [column for column, line in enumerate(lines) if np.any(_bends(line))]


def _bends(line: Line) -> Array:
    """Where the slopes from both sides differ as much at a step as at a much smaller one."""
    curve, at = line.values, line.at
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
    inputs, outputs = problem.every_input, problem.every_output
    for k, column in enumerate(chosen):
        columns = {mode: jacobian[:, k] for mode, jacobian in analytic.items()}
        yield from judged(line_of_column(problem, point, column, every), columns, inputs[column], outputs)


def _sizes(problem: Problem, point: Array, tangents: Array) -> Array:
    """Of each row of the Jacobian, from differences, a power of 2; no less than rounding lets be seen."""
    values = np.abs(values_at(problem, point))
    largest = np.zeros(problem.rows)
    for tangent in tangents:
        with np.errstate(all="ignore"):
            high, low = (values_at(problem, point + t * tangent) for t in (2.0**-20, -(2.0**-20)))
            slope = np.abs(high - low) * 2.0**19
        largest = np.maximum(largest, np.where(np.isfinite(slope), slope, 0.0))
    largest = np.maximum(largest, 2.0**-10 * values)
    known = np.clip(np.where(largest > 0, largest, 1.0), 2.0**-100, 2.0**100)
    return np.asarray(2.0 ** np.round(np.log2(known)))


FEW: Final = 8
"""So many rows, or columns, are each looked at by itself."""

WIDTH: Final = 7
"""Sizes in one stratum differ by less than this power of 2."""

LEAST: Final = 1e-40
"""What is less than this part of the largest size is with the zeros."""

PROBES: Final = 4
"""Sums with so many random weights show a size, so that it does not hide where terms cancel."""


def strata(
    problem: Problem, weight: Array, scale: Array, rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Rows and columns of each stratum, as masks; all together they cover the Jacobian, each entry once.

    Rows are grouped by their size, or each stands alone where they are few, and the columns of each group by
    theirs in it; the other way round where there are fewer columns than rows.

    Parameters
    ----------
    problem : Problem
        A function at a point.
    weight, scale : ndarray
        What each row, and each column, is multiplied by before sizes are compared.
    rng : numpy.random.Generator
        Weighs the sums.
    """

    def rows_of(columns: Array) -> Array:
        return _largest(
            lambda probes: pushed(problem, probes).T * weight, problem.columns, scale * columns, rng
        )

    def columns_of(rows: Array) -> Array:
        return _largest(lambda probes: pulled(problem, probes) * scale, problem.rows, weight * rows, rng)

    if problem.rows <= problem.columns:
        for rows in _alike(rows_of(np.ones(problem.columns))):
            for columns in _alike(columns_of(rows)):
                yield rows, columns
    else:
        for columns in _alike(columns_of(np.ones(problem.rows))):
            for rows in _alike(rows_of(columns)):
                yield rows, columns


def _largest(
    products: Callable[[Array], Array], length: int, weight: Array, rng: np.random.Generator
) -> Array:
    """The largest of some random sums over the other axis of the Jacobian, for each row or column."""
    signs = rng.choice([-1.0, 1.0], (PROBES, length))
    found = np.abs(products(signs * rng.uniform(0.5, 1.0, (PROBES, length)) * weight).astype(float))
    return np.asarray(np.max(np.where(np.isfinite(found), found, np.inf), axis=0))


def _alike(sizes: Array) -> list[Array]:
    """Masks of what is of like size, from the largest to the zeros.

    Examples
    --------
    >>> [np.flatnonzero(mask).tolist() for mask in _alike(np.array([1.0, 0.0, 0.9, *[1e-8] * 6]))]
    [[0, 2], [3, 4, 5, 6, 7, 8], [1]]
    """
    if len(sizes) <= FEW:
        return list(np.eye(len(sizes), dtype=bool))
    finite = sizes[np.isfinite(sizes)]
    largest = np.max(finite, initial=0.0)
    is_zero = sizes <= LEAST * largest
    with np.errstate(all="ignore"):
        depth = np.where(is_zero, np.inf, np.maximum(np.floor(np.log2(largest / sizes) / WIDTH), 0.0))
    depth = np.where(np.isfinite(sizes), depth, 0.0)
    return [depth == one for one in np.unique(depth)]
