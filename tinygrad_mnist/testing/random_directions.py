"""The check of a large Jacobian: products with random signs instead of every entry.

If a Jacobian J is wrong, ``u @ J @ v`` of random signs u and v shows it with a probability of at least 1/4
(Freivalds 1977): J v differs in some row with a probability of at least 1/2, and then so does u J v. Some
such products find a wrong Jacobian almost certainly. Two things would hide an error from them:

- A small entry is lost beside large ones. So the Jacobian is cut into strata of entries of like size, and
  each stratum gets the full number of products.
- A function with a kink by one input has no derivative along a direction that moves it. So columns with a
  kink are compared entry by entry, and directions leave them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.finite_differences import EPS
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
from tinygrad_mnist.testing.report import Entry
from tinygrad_mnist.testing.tolerances import TOLERANCES
from tinygrad_mnist.testing.verdict import verdicts
from tinygrad_mnist.transforms import vjp

Array = NDArray[Any]


def compare_along(problem: Problem, modes: Sequence[str], count: int, seed: int) -> Iterator[Entry]:
    """Yield an entry for each of ``count`` products a stratum, and for each entry of a column with a kink.

    Inputs move in proportion to themselves, and each row is divided by its size, so that small ones count.
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
    directions = rng.choice([-1.0, 1.0], (TOLERANCES.size_directions, problem.columns)) * scale
    weight = 1 / _sizes(problem, point, directions)
    if problem.kinked:  # the gradients by them come first to last, as the inputs do
        weight[[k for k in kinked if k < problem.rows]] = 0.0
    number = 0
    for rows, columns in _strata(problem, weight, scale, rng):
        for _ in range(count):
            tangent = rng.choice([-1.0, 1.0], problem.columns) * scale * columns
            cotangent = (rng.choice([-1.0, 1.0], problem.rows) * weight)[rows]
            line = Line(problem, point, tangent, 0.0, np.flatnonzero(rows), cotangent[None])
            products = {mode: line.derivative(mode, 0.0) for mode in modes}
            yield from verdicts(line, products, ("direction", (number,)), [("signs", (number,))])
            number += 1


def _sizes(problem: Problem, point: Array, tangents: Array) -> Array:
    """Return the size of each row of the Jacobian, as a power of 2.

    From differences, not from the tape, since a row that the tape has lost is 0 there.
    """
    values = np.abs(values_at(problem, point))
    largest = np.zeros(problem.rows)
    h = TOLERANCES.size_step
    for tangent in tangents:
        with np.errstate(all="ignore"):
            high, low = (values_at(problem, point + t * tangent) for t in (h, -h))
            slope = np.abs(high - low) / (2 * h)
        largest = np.maximum(largest, np.where(np.isfinite(slope), slope, 0.0))
    # A slope that is small beside the value is rounding: divided by itself it would drown the other rows.
    largest = np.maximum(largest, TOLERANCES.size_floor * values)
    most = TOLERANCES.size_range
    known = np.clip(np.where(largest > 0, largest, 1.0), 1 / most, most)
    # Weights that are powers of 2 round nothing.
    return np.asarray(2.0 ** np.round(np.log2(known)))


# ---- columns with a kink ---------------------------------------------------------------------------------


def _columns_with_kinks(problem: Problem, point: Array) -> list[int]:
    """Return the inputs that the function seems to have a kink by, if a direction sees one at all."""
    if problem.order != 1:
        return []  # the first order has found them
    rng = np.random.default_rng(1)
    scale = np.where(point == 0, 1.0, np.abs(point))
    every = np.arange(problem.rows)
    for _ in range(TOLERANCES.kink_search):
        tangent = rng.choice([-1.0, 1.0], problem.columns) * scale
        if np.any(_is_bent(Line(problem, point, tangent, 0.0, every))):
            break
    else:
        return []
    lines = (line_of_column(problem, point, column, every) for column in range(problem.columns))
    return [column for column, line in enumerate(lines) if np.any(_is_bent(line))]


def _is_bent(line: Line) -> Array:
    """Return where the slopes from both sides differ as much at a step as at a much smaller one."""
    curve, at = line.values, line.at
    middle = curve(at)
    gaps = []
    for step in TOLERANCES.kink_search_steps:
        h = step * (abs(at) or 1.0)
        with np.errstate(all="ignore"):
            high, low = curve(at + h), curve(at - h)
            gap = np.abs(high - 2 * middle + low) / h
            noise = TOLERANCES.kink_search_noise * EPS * np.maximum(np.abs(high), np.abs(middle)) / h
            gaps.append(np.where(np.isfinite(gap), np.maximum(gap - noise, 0.0), np.inf))
    return np.asarray((gaps[1] > TOLERANCES.kink_search_kept * gaps[0]) & (gaps[1] > 0))


def _some_columns(
    problem: Problem, modes: Sequence[str], point: Array, chosen: Sequence[int]
) -> Iterator[Entry]:
    """Yield the entries of the chosen columns of the Jacobian."""
    if not chosen:
        return
    analytic = {mode: _columns_by(mode, problem, chosen) for mode in modes}
    every = np.arange(problem.rows)
    inputs, outputs = problem.every_input, problem.every_output
    for k, column in enumerate(chosen):
        columns = {mode: jacobian[:, k] for mode, jacobian in analytic.items()}
        yield from verdicts(line_of_column(problem, point, column, every), columns, inputs[column], outputs)


def _columns_by(mode: str, problem: Problem, chosen: Sequence[int]) -> Array:
    """Return the chosen columns of the Jacobian from the tape."""
    if mode == "forward":
        return pushed(problem, (np.arange(problem.columns) == np.array(chosen)[:, None]).astype(float))
    # A row at a time, of which the chosen elements alone are kept: the whole Jacobian may not fit into
    # memory.
    _, pullback = vjp(problem.function, *problem.primals)
    outs = tuple(np.empty(s, problem.primals[0].dtype) for s in problem.shapes)
    rows = (np.arange(problem.rows) == row for row in range(problem.rows))
    return np.array([flat(pullback(split(row.astype(float), outs)))[list(chosen)] for row in rows])


# ---- strata of entries of like size ----------------------------------------------------------------------


def _strata(
    problem: Problem, weight: Array, scale: Array, rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Yield rows and columns of each stratum, as masks; together they cover the Jacobian, each entry once.

    Rows are grouped by their size, or each stands alone where they are few, and the columns of each group by
    theirs in it; the other way round where there are fewer columns than rows.

    Parameters
    ----------
    problem : Problem
        A function at a point.
    weight, scale : ndarray
        Factors of each row, and of each column, by which it is multiplied before sizes are compared.
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
    """Return the largest of some random sums over the other axis of the Jacobian, for each row or column.

    By the tape: an entry that it has wrong may be in the wrong stratum, but is in one. Weights differ by up
    to 2, since signs alone let two equal terms cancel half of the time.
    """
    shape = (TOLERANCES.probes, length)
    signs = rng.choice([-1.0, 1.0], shape)
    found = np.abs(products(signs * rng.uniform(0.5, 1.0, shape) * weight).astype(float))
    return np.asarray(np.max(np.where(np.isfinite(found), found, np.inf), axis=0))


def _alike(sizes: Array) -> list[Array]:
    """Return masks of elements of like size, from the largest to the zeros.

    Examples
    --------
    >>> [np.flatnonzero(mask).tolist() for mask in _alike(np.array([1.0, 0.0, 0.9, *[1e-8] * 6]))]
    [[0, 2], [3, 4, 5, 6, 7, 8], [1]]
    """
    if len(sizes) <= TOLERANCES.few:
        return list(np.eye(len(sizes), dtype=bool))
    finite = sizes[np.isfinite(sizes)]
    largest = np.max(finite, initial=0.0)
    is_zero = sizes <= TOLERANCES.least_size * largest
    with np.errstate(all="ignore"):
        depth = np.maximum(np.floor(np.log2(largest / sizes) / TOLERANCES.stratum), 0.0)
    # Zeros stand alone: an entry that the tape has lost is among them, and no larger one hides it.
    depth = np.where(is_zero, np.inf, depth)
    depth = np.where(np.isfinite(sizes), depth, 0.0)
    return [depth == one for one in np.unique(depth)]
