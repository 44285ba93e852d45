"""Norms of vectors and matrices, and the condition number: formulae.

All are convex, and where one is not smooth its gradient is the subgradient of least norm: 0 at the origin, an
even split among elements, rows or singular values that share the maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.op import implements
from tinygrad_mnist.ops.elementwise import root_or_zero
from tinygrad_mnist.ops.linalg import inverse_or_nan, square

Axes = tuple[int, ...]


def _largest(x: Any, axis: Any, keepdims: bool = False) -> Any:
    """The maximum of numbers that are not negative: 0 where there is none."""
    return (np.max if x.size else np.sum)(x, axis=axis, keepdims=keepdims)


def _root_of_squares(x: Any, axes: Axes, keepdims: bool) -> Any:
    return root_or_zero(np.sum(x * x, axis=axes, keepdims=keepdims))


def _root_of_powers(x: Any, order: float, axes: Axes, keepdims: bool) -> Any:
    """An element that is 0 has gradient 0, also where ``order`` is less than 1 (as in PyTorch)."""
    zero = x == 0
    powers = np.where(zero, 0.0 if order > 0 else np.inf, np.abs(np.where(zero, 1, x)) ** order)
    total = np.sum(powers, axis=axes, keepdims=keepdims)
    unbounded = total == (0.0 if order > 0 else np.inf)
    return np.where(unbounded, 0, np.where(unbounded, 1, total) ** (1 / order))


def _vector_norm(x: Any, order: Any, axes: Axes, keepdims: bool) -> Any:
    if isinstance(order, str):
        raise ValueError(f"norm: invalid norm order {order!r} for vectors; expected a number or np.inf")
    if order is None or order == 2:
        return _root_of_squares(x, axes, keepdims)
    if order == np.inf:
        return _largest(np.abs(x), axes, keepdims)
    if order == -np.inf:
        return np.min(np.abs(x), axis=axes, keepdims=keepdims)
    if order == 0:
        return np.sum((x != 0).astype(x.dtype), axis=axes, keepdims=keepdims)
    if order == 1:
        return np.sum(np.abs(x), axis=axes, keepdims=keepdims)
    return _root_of_powers(x, order, axes, keepdims)


def _matrix_norm(x: Any, order: Any, axes: Axes, keepdims: bool) -> Any:
    rows, columns = axes
    if order in (None, "fro", "f"):
        return _root_of_squares(x, axes, keepdims)
    if order in (1, -1, np.inf, -np.inf):
        sums = np.sum(np.abs(x), axis=rows if abs(order) == 1 else columns, keepdims=True)
        return (_largest if order > 0 else np.min)(sums, axis=axes, keepdims=keepdims)
    reductions: dict[Any, Callable[..., Any]] = {2: _largest, -2: np.min, "nuc": np.sum}
    if order not in reductions:
        raise ValueError(
            f"norm: invalid norm order {order!r} for matrices; expected 'fro', 'nuc', 1, -1, 2, -2, np.inf "
            "or -np.inf"
        )
    values = reductions[order](np.linalg.svdvals(np.moveaxis(x, axes, (-2, -1))), axis=-1)
    return np.expand_dims(values, axes) if keepdims else values


def _floats(x: Any) -> Any:
    return x if x.dtype.kind == "f" else x.astype(np.float64)


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = _floats(x)
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim, "norm: axis")
    if axis is None and ord is None:
        return _root_of_squares(x, axes, keepdims)
    if len(axes) == 1:
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes, keepdims)
    raise ValueError(
        f"norm: ord={ord!r} over {len(axes)} axes was given for shape {x.shape}; expected one axis (a vector "
        "norm) or two (a matrix norm)"
    )


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    x = _floats(x)
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim, "vector_norm: axis")
    return _vector_norm(x, ord, axes, keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return norm(x, ord, (-2, -1), keepdims)


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    x = _floats(x)
    if 0 in x.shape[-2:]:
        raise np.linalg.LinAlgError(f"cond: a matrix of shape {x.shape} has no condition; expected elements")
    with np.errstate(divide="ignore", invalid="ignore"):
        if p is None or p in (2, -2):
            values = np.linalg.svdvals(x)
            largest, smallest = values[..., 0], values[..., -1]
            condition = smallest / largest if p == -2 else largest / smallest
        else:
            square("cond", x)
            condition = norm(x, p, (-2, -1)) * norm(inverse_or_nan(x), p, (-2, -1))
    singular = np.isnan(condition) & ~np.any(np.isnan(x), axis=(-2, -1))
    return np.where(singular, np.inf, condition)
