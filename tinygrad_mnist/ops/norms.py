"""Norms of vectors and matrices, and the direction of a vector: ``x / norm(x)``, whatever the size of ``x``.

All norms are convex. Where one is not smooth, its gradient is the subgradient of least norm: 0 at the origin,
and an even split among elements, rows or singular values that share the maximum. At the origin the gradient
jumps, so the second derivative is NaN there. At its other kinks a norm of order 1 or inf is straight on both
sides, as the absolute value and the maximum that it is made of: second derivative 0.

Values are NumPy's, which are 0 or inf where squares underflow or overflow. Gradients are computed from the
vector divided by a power of two near its largest element, so they are right there too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.conditions import somewhere
from tinygrad_mnist.engine.op import NONZERO, Sample, elementwise, general, implements
from tinygrad_mnist.ops.elementwise import as_float
from tinygrad_mnist.ops.half import in_single, rule_in_single
from tinygrad_mnist.ops.values import arrays_of, values_of

Axes = tuple[int, ...]
Axis = int | Axes | None


def spread(g: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """Return a cotangent with the reduced axes of ``x`` back as length 1, so that it broadcasts to ``x``."""
    return g if keepdims or axis is None or not x.ndim else np.expand_dims(g, axis)


_NOWHERE = (
    Sample(((2, 3), ()), constants={1: np.array(False)}),
    Sample(((2, 2), (2, 1)), constants={1: np.zeros((2, 1), bool)}),
)
slope_undefined = elementwise(
    lambda x, at: np.positive(x),
    lambda g, out, x, at: np.where(at, np.nan, g),
    None,
    name="slope_undefined",
    samples=_NOWHERE,
)
"""The same numbers, whose derivative is NaN where ``at`` is true. A gradient is a convention at the kink of a
function, so it has no slope there; 0 would be wrong."""

kink = elementwise(
    lambda x, at: np.positive(x),
    lambda g, out, x, at: g * (1 + slope_undefined(np.where(at, x, 0), at)),
    None,
    name="kink",
    samples=_NOWHERE,
)
"""The same numbers, whose second derivative is NaN where ``at`` is true: ``x`` is 0 there."""

# ---- the direction of a vector ---------------------------------------------------------------------------


def power_of_two(x: Any, axis: Axis, smallest: bool = False) -> Any:
    """Return the power of two below the largest (or smallest) size along an axis, or 1 if that is 0 or inf.

    A number is divided by it without rounding.
    """
    size = np.abs(values_of(x))
    if smallest:
        size = np.min(size, axis=axis, keepdims=True, initial=np.inf)
    else:
        size = np.max(size, axis=axis, keepdims=True, initial=0)
    exponent = np.frexp(np.where((size > 0) & np.isfinite(size), size, 1))[1] - 1
    return np.ldexp(np.ones_like(size), exponent)


def direction(x: Any, axis: Axis) -> Any:
    """Return vectors along an axis divided by their length; 0 for a vector of zeros, without a slope."""
    x = x / power_of_two(x, axis)
    squares = np.sum(x * x, axis=axis, keepdims=True)
    zero = values_of(squares) == 0
    parts = x / np.sqrt(np.where(zero, 1, squares))
    if not somewhere(zero):
        return parts
    # The sum, which is 0, makes each part depend on all of the vector, as it does elsewhere.
    return slope_undefined(parts + np.where(zero, np.sum(x, axis=axis, keepdims=True), 0), zero)


def _slope(x: Any, order: float, axis: Axis) -> Any:
    """Return the gradient of the norm of any other order: ``sign(x) (|x| / norm(x)) ** (order - 1)``.

    An element that is 0 has gradient 0, whatever the order. So it is in PyTorch, for orders less than 1 too,
    where the slope at 0 is infinite.
    """
    zero = values_of(x) == 0
    size = np.where(zero, 1, np.abs(x) / power_of_two(np.where(zero, 1, values_of(x)), axis, order < 0))
    total = np.sum(np.where(zero, 0 if order > 0 else np.inf, size**order), axis=axis, keepdims=True)
    none = values_of(total) == (0 if order > 0 else np.inf)
    part = np.sign(x) * (size / np.where(none, 1, total) ** (1 / order)) ** (order - 1)
    undefined = zero if order < 2 else zero & none
    part = np.where(zero | none, 0, part)
    if not somewhere(undefined):
        return part
    zeros = np.where(zero, x, 0)
    zeros = np.where(none, np.sum(zeros, axis=axis, keepdims=True), zeros)  # as in `direction`
    return np.where(undefined, slope_undefined(zeros, undefined), part)


# ---- norms of vectors ------------------------------------------------------------------------------------


@in_single
def _norm_forward(x: Any, order: float, axis: Axis, keepdims: bool) -> Any:
    if order == 2:
        return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    with np.errstate(divide="ignore"):  # a negative order of 0 is inf, and that of inf is 0
        return np.sum(np.abs(x) ** order, axis=axis, keepdims=keepdims) ** (1 / order)


@rule_in_single
def _norm_rule(g: Any, out: Any, x: Any, order: float, axis: Axis, keepdims: bool) -> Any:
    return spread(g, x, axis, keepdims) * (direction(x, axis) if order == 2 else _slope(x, order, axis))


root_of_powers = general(
    _norm_forward,
    _norm_rule,
    name="norm",
    label="‖x‖",
    domain=NONZERO,
    samples=tuple(
        Sample((shape,), {"order": order, "axis": axis, "keepdims": keepdims})
        for shape, axis, keepdims in (((2, 3), None, False), ((2, 3), 0, True), ((2, 1, 3), (0, 2), False))
        for order in (2, 3, 1.5, 0.5, -2)
    ),
)


def _largest(x: Any, axis: Any, keepdims: bool = False) -> Any:
    """Return the maximum of numbers that are not negative, and 0 if there are none."""
    return (np.max if x.size else np.sum)(x, axis=axis, keepdims=keepdims)


def _kink_at_origin(x: Any, axes: Axes) -> Any:
    return kink(x, np.all(arrays_of(x) == 0, axis=axes, keepdims=True))


def _vector_norm(x: Any, order: Any, axes: Axes, keepdims: bool) -> Any:
    if isinstance(order, str):
        raise ValueError(f"norm: invalid norm order {order!r} for vectors; expected a number or np.inf")
    if order == 0:
        return np.sum((x != 0).astype(x.dtype), axis=axes, keepdims=keepdims)
    straight: dict[float, Callable[..., Any]] = {1: np.sum, np.inf: _largest, -np.inf: np.min}
    if order in straight:
        return straight[order](np.abs(_kink_at_origin(x, axes)), axis=axes, keepdims=keepdims)
    return root_of_powers(x, order=2 if order is None else order, axis=axes, keepdims=keepdims)


# ---- norms of matrices -----------------------------------------------------------------------------------


def _matrix_norm(x: Any, order: Any, axes: Axes, keepdims: bool) -> Any:
    rows, columns = axes
    if order in (None, "fro", "f"):
        return root_of_powers(x, order=2, axis=axes, keepdims=keepdims)
    if order in (1, -1, np.inf, -np.inf):
        size = np.abs(_kink_at_origin(x, axes))
        sums = np.sum(size, axis=rows if abs(order) == 1 else columns, keepdims=True)
        return (_largest if order > 0 else np.min)(sums, axis=axes, keepdims=keepdims)
    reductions: dict[Any, Callable[..., Any]] = {2: _largest, -2: np.min, "nuc": np.sum}
    if order not in reductions:
        raise ValueError(
            f"norm: invalid norm order {order!r} for matrices; expected 'fro', 'nuc', 1, -1, 2, -2, np.inf "
            "or -np.inf"
        )
    values = np.linalg.svdvals(np.moveaxis(x, axes, (-2, -1)))
    largest = np.max(arrays_of(values), axis=-1, keepdims=True, initial=0)
    # a matrix of lower rank: by rounding, its singular values are almost 0
    smallest = max(x.shape[rows], x.shape[columns]) * np.finfo(values.dtype).eps * largest
    values = kink(values, largest == 0 if order == 2 else arrays_of(values) <= smallest)
    out = reductions[order](values, axis=-1)
    return np.expand_dims(out, axes) if keepdims else out


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = as_float(x)
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim, "norm: axis")
    if axis is None and ord is None:
        return root_of_powers(x, order=2, axis=axes, keepdims=keepdims)
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
    x = as_float(x)
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim, "vector_norm: axis")
    return _vector_norm(x, ord, axes, keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return norm(x, ord, (-2, -1), keepdims)
