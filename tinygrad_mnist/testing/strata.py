"""Which entries of a large Jacobian are looked at together: such as the tape says are of like size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.jacobians import Problem, pulled, pushed

Array = NDArray[Any]

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
