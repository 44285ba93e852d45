"""Diagonals and triangles of matrices: diagonal, trace, diag, diagflat, tril, triu."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import implements
from tinygrad_mnist.ops.indexing import scatter_add


def _positions(rows: int, columns: int, offset: int) -> tuple[Any, Any]:
    """Rows and columns of the elements of a diagonal; ``offset`` counts to the right."""
    above, below = max(offset, 0), max(-offset, 0)
    along = np.arange(max(min(rows - below, columns - above), 0))
    return along + below, along + above


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    if a.ndim < 2:
        raise ValueError(f"diagonal: shape {a.shape} was given; expected at least two axes")
    matrices = np.moveaxis(a, (axis1, axis2), (-2, -1))
    *_, rows, columns = matrices.shape
    return matrices[(..., *_positions(rows, columns, offset))][...]  # a view, as in NumPy


@implements(np.linalg.diagonal)
def linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return diagonal(x, offset, -2, -1)


@implements(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    if a.ndim < 2:
        raise ValueError(f"trace: shape {a.shape} was given; expected at least two axes")
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1)


@implements(np.linalg.trace)
def linalg_trace(x: Any, /, *, offset: int = 0) -> Any:
    return trace(x, offset, -2, -1)


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 1:
        n = len(v) + abs(k)
        return scatter_add(v, index=_positions(n, n, k), shape=(n, n))
    if v.ndim == 2:
        return diagonal(v, k)
    raise ValueError(f"diag: shape {v.shape} was given; expected a vector or a matrix")


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    return diag(np.ravel(v), k)


def _below(m: Any, k: int) -> Any:
    """Where a matrix lies on or below its k-th diagonal; of a vector, a square matrix of its rows."""
    return np.tri(m.shape[-2] if m.ndim > 1 else m.shape[-1], m.shape[-1], k, dtype=np.bool_)


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    return np.where(_below(m, k), m, np.zeros((), m.dtype))


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    return np.where(_below(m, k - 1), np.zeros((), m.dtype), m)
