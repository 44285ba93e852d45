"""Reductions and accumulations: sums, means, extremes, variances, products, cumsum, cumprod."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.op import DISTINCT, NONZERO, Sample, fused, general, implements, linear
from tinygrad_mnist.ops.half import HALF, in_single, rule_in_single, single
from tinygrad_mnist.ops.norms import direction, power_of_two, root_of_powers, spread
from tinygrad_mnist.ops.shape import as_array
from tinygrad_mnist.ops.values import arrays_of

Axis = int | tuple[int, ...] | None


def _count(out: Any, x: Any) -> float:
    """Return how many elements went into each element of the result."""
    return float(x.size // max(out.size, 1))


sum_ = linear(
    in_single(lambda x, axis, keepdims: np.sum(x, axis=axis, keepdims=keepdims)),
    lambda g, out, x, axis, keepdims: np.broadcast_to(spread(g, x, axis, keepdims), x.shape),
    name="sum",
    label="Σ",
    samples="reduction",
)
mean_ = linear(
    lambda x, axis, keepdims: np.mean(x, axis=axis, keepdims=keepdims),  # of float16, in float32
    lambda g, out, x, axis, keepdims: np.broadcast_to(
        spread(single(g) / _count(out, x), x, axis, keepdims), x.shape
    ),
    name="mean",
    samples="reduction",
)


@rule_in_single
def _extreme(g: Any, out: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """Return the cotangent split evenly among ties: the subgradient of least norm; a NaN counts as chosen."""
    chosen = (x == spread(out, x, axis, keepdims)) | np.isnan(x)
    count = np.maximum(np.sum(chosen.astype(g.dtype), axis=axis, keepdims=True), 1)
    return np.where(chosen, spread(g, x, axis, keepdims) / count, 0)


max_ = general(
    lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims),
    _extreme,
    name="max",
    chooses=True,
    domain=DISTINCT,
    samples="reduction",
)
min_ = general(
    lambda x, axis, keepdims: np.min(x, axis=axis, keepdims=keepdims),
    _extreme,
    name="min",
    chooses=True,
    domain=DISTINCT,
    samples="reduction",
)


def deviations(x: Any, axis: Axis) -> Any:
    """Return the deviations from the mean: exactly 0 for numbers that are all the same.

    The mean is rounded, which shows where the numbers are large beside their deviations. So the mean of the
    deviations is subtracted, too; and of equal numbers all that is left, without a change of the derivative.
    """
    apart = x - np.mean(x, axis=axis, keepdims=True)
    if tracer() is not None:  # a compiled function cannot look at values
        return apart
    apart = apart - np.mean(apart, axis=axis, keepdims=True)
    lowest = np.min(arrays_of(x), axis=axis, keepdims=True, initial=np.inf)
    highest = np.max(arrays_of(x), axis=axis, keepdims=True, initial=-np.inf)
    constant = lowest == highest
    return apart - np.where(constant, arrays_of(apart), 0) if np.any(constant) else apart


@rule_in_single
def _var_rule(g: Any, out: Any, x: Any, axis: Axis, ddof: int, keepdims: bool) -> Any:
    if not x.size:
        return spread(g, x, axis, keepdims) * x
    freedom = _count(out, x) - ddof
    factor = 2 / freedom if freedom > 0 else np.nan
    return spread(g, x, axis, keepdims) * factor * (x - np.mean(x, axis=axis, keepdims=True))


@rule_in_single
def _std_rule(g: Any, out: Any, x: Any, axis: Axis, ddof: int, keepdims: bool) -> Any:
    """Return ``g`` times the direction of the deviations, over the root of the degrees of freedom.

    It is 0 for a constant input: the subgradient of least norm, as the deviation is convex.
    """
    if not x.size:
        return spread(g, x, axis, keepdims) * x
    freedom = _count(out, x) - ddof
    factor = 1 / math.sqrt(freedom) if freedom > 0 else np.nan
    if freedom > 0 and freedom + ddof == 1:  # one number does not deviate, wherever it goes
        return spread(g, x, axis, keepdims) * np.zeros_like(x)
    apart = deviations(x / power_of_two(x, axis), axis)
    return spread(g, x, axis, keepdims) * factor * direction(apart, axis)


var_ = general(
    in_single(lambda x, axis, ddof, keepdims: np.var(x, axis=axis, ddof=ddof, keepdims=keepdims)),
    _var_rule,
    name="var",
    samples=tuple(
        Sample(((3, 4),), {"axis": axis, "ddof": ddof, "keepdims": keepdims})
        for axis in (None, 0, -1, (0, 1))
        for ddof, keepdims in ((0, False), (1, True))
    ),
)
std_ = general(
    in_single(lambda x, axis, ddof, keepdims: np.std(x, axis=axis, ddof=ddof, keepdims=keepdims)),
    _std_rule,
    name="std",
    domain=DISTINCT,
    samples=var_.samples,
)


def _split_axes(x: Any, axis: Axis) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes that stay, and those that are reduced."""
    reduced = tuple(range(x.ndim)) if axis is None or not x.ndim else normalize_axis_tuple(axis, x.ndim)
    return tuple(a for a in range(x.ndim) if a not in reduced), reduced


def _joined_last(x: Any, kept: tuple[int, ...], reduced: tuple[int, ...]) -> Any:
    """Return ``x`` with its reduced axes moved to the end and joined into one."""
    moved = np.transpose(x, kept + reduced)
    return np.reshape(moved, (*moved.shape[: len(kept)], math.prod(moved.shape[len(kept) :])))


_prod = in_single(np.prod)


def _prod_joint(
    g: Any, needed: Any, out: Any, saved: Any, x: Any, axis: Axis, keepdims: bool
) -> tuple[Any, ...]:
    """Return ``g`` times the product of all other elements, without a division: exact for zeros, too.

    The others are those before an element and those after it: two accumulated products, shifted by one.
    """
    kept, reduced = _split_axes(x, axis)
    x, g = single(x), single(g)
    last = _joined_last(x, kept, reduced)
    before, after = np.ones_like(last), np.ones_like(last)
    np.cumprod(last[..., :-1], axis=-1, out=before[..., 1:])
    np.cumprod(last[..., :0:-1], axis=-1, out=after[..., -2::-1])
    others = (before * after).reshape([x.shape[a] for a in kept + reduced])
    return (others.transpose(np.argsort(kept + reduced)) * spread(g, x, axis, keepdims),)


@in_single
def _prod_formula(x: Any, axis: Axis, keepdims: bool) -> Any:
    """Return the product by multiplying one half by the other until one element is left.

    Nothing is divided by, so the derivatives of every order are exact, for zeros too.
    """
    kept, reduced = _split_axes(x, axis)
    last = _joined_last(x, kept, reduced)
    while (n := last.shape[-1]) > 1:
        product = last[..., : n // 2] * last[..., n // 2 : 2 * (n // 2)]
        last = np.concatenate([product, last[..., -1:]], axis=-1) if n % 2 else product
    out = np.reshape(last, last.shape[:-1]) if n else 1 + np.sum(last, axis=-1)  # 1, of no elements
    return np.expand_dims(out, reduced) if keepdims else out


prod_ = fused(
    lambda x, axis, keepdims: (_prod(x, axis=axis, keepdims=keepdims), None),
    _prod_joint,
    _prod_formula,
    name="prod",
    label="Π",
    domain=NONZERO,
    samples="reduction",
)


@rule_in_single
def _cumsum_rule(g: Any, out: Any, x: Any, axis: int | None) -> Any:
    if axis is None or not x.ndim:
        return np.reshape(np.flip(np.cumsum(np.flip(g, 0), axis=0), 0), x.shape)
    return np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)


cumsum_ = linear(
    in_single(lambda x, axis: np.cumsum(x, axis=axis)),
    _cumsum_rule,
    name="cumsum",
    samples=tuple(
        Sample((shape,), {"axis": axis})
        for shape, axis in (((2, 3), None), ((2, 3), 0), ((2, 3), 1), ((2, 3), -1), ((4,), 0), ((1, 1), -1))
    ),
)


_cumprod_forward = in_single(np.cumprod)


def _cumprod_joint(g: Any, needed: Any, out: Any, saved: Any, x: Any, axis: int) -> tuple[Any, ...]:
    """Return the cotangent without a division, which fails at zeros.

    An element is a factor of its own product and of all later ones. So its gradient is the product of what
    stands before it, times a sum over what stands behind it, by Horner's rule from the end.
    """
    shape = x.shape
    if x.dtype == HALF:
        x, g = single(x), single(g)
        out = np.cumprod(x, axis=axis)
    x, g, out = (np.moveaxis(np.atleast_1d(a), axis, 0) for a in (x, g, out))
    part = np.empty_like(g)
    behind = np.zeros_like(g[0]) if len(g) else None
    for i in reversed(range(len(g))):
        behind = g[i] + x[i + 1] * behind if i + 1 < len(g) else g[i]
        part[i] = behind * out[i - 1] if i else behind
    return (np.moveaxis(part, 0, axis).copy().reshape(shape),)


@in_single
def _cumprod_formula(x: Any, axis: int) -> Any:
    rows: list[Any] = []
    for row in np.moveaxis(np.atleast_1d(x), axis, 0):
        rows.append(rows[-1] * row if rows else row)
    return np.stack(rows, axis=axis) if rows else x


cumprod_ = fused(
    lambda x, axis: (_cumprod_forward(x, axis=axis), None),
    _cumprod_joint,
    _cumprod_formula,
    name="cumprod",
    domain=NONZERO,
    samples=tuple(
        Sample((shape,), {"axis": axis})
        for shape, axis in (((2, 3), 0), ((2, 3), -1), ((4,), 0), ((1, 1), 1))
    ),
)

# ---- NumPy's names ---------------------------------------------------------------------------------------


def _with_initial(reduce: Callable[..., Any], a: Any, axis: Axis, keepdims: bool, initial: Any) -> Any:
    """Return a reduction of one element more, ``initial``, which may be a Tensor."""
    a = as_array(a)
    kept, reduced = _split_axes(a, axis)
    dtype = reduce(np.ones(1, a.dtype), axis=None, keepdims=False).dtype
    rest = _joined_last(a, kept, reduced)
    first = np.broadcast_to(initial, (*rest.shape[:-1], 1))
    out = reduce(np.concatenate([first.astype(dtype), rest.astype(dtype)], axis=-1), axis=-1, keepdims=False)
    return np.expand_dims(out, reduced) if keepdims else out


def _reduction(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Return NumPy's function with its option ``initial``, by an operation without it."""

    def run(a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None) -> Any:
        if initial is None:
            return reduce(a, axis=axis, keepdims=keepdims)
        return _with_initial(reduce, a, axis, keepdims, initial)

    return run


implements(np.sum)(_reduction(sum_))
implements(np.prod)(_reduction(prod_))
implements(np.max, np.amax)(_reduction(max_))
implements(np.min, np.amin)(_reduction(min_))


@implements(np.mean)
def _mean(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return mean_(a, axis=axis, keepdims=keepdims)


@implements(np.var)
def _var(
    a: Any,
    axis: Axis = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
    mean: Any = None,
) -> Any:
    ddof = ddof if correction is None else correction
    if mean is None:
        return var_(a, axis=axis, ddof=ddof, keepdims=keepdims)
    return _var_about(a - mean, axis, ddof, keepdims)


@in_single
def _var_about(apart: Any, axis: Axis, ddof: float, keepdims: bool) -> Any:
    total = np.sum(apart * apart, axis=axis, keepdims=keepdims)
    return total / max(_count(total, apart) - ddof, 0)


@implements(np.std)
def _std(
    a: Any,
    axis: Axis = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
    mean: Any = None,
) -> Any:
    ddof = ddof if correction is None else correction
    if mean is None:
        return std_(a, axis=axis, ddof=ddof, keepdims=keepdims)
    apart = a - mean
    size = root_of_powers(apart, order=2, axis=axis, keepdims=keepdims)
    return size / math.sqrt(max(_count(size, apart) - ddof, 0))


@implements(np.cumsum)
def _cumsum(a: Any, axis: int | None = None) -> Any:
    return cumsum_(a, axis=axis)


@implements(np.cumprod)
def _cumprod(a: Any, axis: int | None = None) -> Any:
    return cumprod_(np.ravel(a), axis=0) if axis is None else cumprod_(a, axis=axis)


def _cumulative(function: Any, first: float) -> Any:
    """Return ``cumulative_sum`` or ``cumulative_prod``, by ``cumsum`` or ``cumprod`` along one axis."""

    def accumulate(x: Any, /, *, axis: int | None = None, include_initial: bool = False) -> Any:
        if axis is None and x.ndim > 1:
            raise ValueError(f"for an array of shape {x.shape}, axis must be given")
        x = np.atleast_1d(x)
        (axis,) = normalize_axis_tuple(0 if axis is None else axis, x.ndim)
        out = function(x, axis=axis)
        if not include_initial:
            return out
        start = np.full([1 if i == axis else n for i, n in enumerate(x.shape)], first, x.dtype)
        return np.concatenate([start, out], axis=axis)

    return accumulate


implements(np.cumulative_sum)(_cumulative(np.cumsum, 0.0))
implements(np.cumulative_prod)(_cumulative(np.cumprod, 1.0))
