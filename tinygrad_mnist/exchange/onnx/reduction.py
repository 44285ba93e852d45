"""Converters of reductions, norms and accumulations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import (
    Expression,
    absolute,
    exp,
    expressions,
    log,
    maximum,
    mod,
    power,
    sqrt,
    where,
)
from tinygrad_mnist.exchange.onnx.shape import rank, shape_of, whole_slice
from tinygrad_mnist.exchange.onnx.sizes import Size
from tinygrad_mnist.exchange.onnx.table import CONVERTERS, converts

Axis = int | tuple[int, ...] | None


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return the axes that are reduced, from 0 on, in their order."""
    if axis is None or not ndim:
        return tuple(range(ndim))
    return tuple(sorted(each % ndim for each in (axis if isinstance(axis, tuple) else (axis,))))


def reduced(kind: str, x: Expression, axes: tuple[int, ...], keepdims: bool) -> Expression:
    """Return a reduction by an operator; over no axis, the values themselves."""
    if not axes:
        return x
    build = x.build
    return Expression(build, build.node(kind, x.value, build.indices(*axes), keepdims=int(keepdims)))


def count_of(x: Expression, shape: Any, axes: tuple[int, ...]) -> Expression:
    """Return how many numbers are reduced to one."""
    lengths = [shape[axis] for axis in axes]
    fixed = math.prod(length for length in lengths if not isinstance(length, Size))
    count = x.like(fixed)
    for length in lengths:
        if isinstance(length, Size):
            along = x.build.node("Squeeze", x.build.length(length), x.build.indices(0))
            count = count * Expression(x.build, along).cast(x.dtype)
    return count


REDUCTIONS: Final = {"mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin"}


def _summands(build: Builder, x: Value) -> Expression:
    """Return values in the dtype of the result; for uint64 in int64, whose sums have the same bits."""
    (values,) = expressions(build, x)
    return values.cast(np.int64) if values.dtype == np.uint64 else values


def ordered(x: Expression) -> Expression:
    """Return uint64 as int64 in the same order, 2**63 less each; any other numbers as they are.

    onnxruntime has few operators for uint64. The sum of the bits wraps around: once more leads back.
    """
    return x.cast(np.int64) + int(np.iinfo(np.int64).min) if x.dtype == np.uint64 else x


def _reduction(kind: str) -> Callable[..., Value]:
    """Return the converter of a reduction that is one operator."""

    def convert(build: Builder, x: Value, axis: Axis, keepdims: bool) -> Value:
        (values,) = expressions(build, x)
        out = reduced(kind, ordered(values), axes_of(axis, rank(x)), keepdims)
        if values.dtype == np.uint64:
            out = (out + int(np.iinfo(np.int64).min)).cast(np.uint64)
        return out.value

    return convert


CONVERTERS.update({name: _reduction(kind) for name, kind in REDUCTIONS.items()})


@converts("sum")
def total(build: Builder, x: Value, axis: Axis, keepdims: bool) -> Value:
    """Return the sum. onnxruntime adds int64 as float64, so wide integers are added in two halves."""
    values, axes = _summands(build, x), axes_of(axis, rank(x))
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8:
        return reduced("ReduceSum", values, axes, keepdims).value
    low = mod(values, 1 << 32)
    high = (values - low) / (1 << 32)
    return (
        reduced("ReduceSum", high, axes, keepdims) * (1 << 32) + reduced("ReduceSum", low, axes, keepdims)
    ).value


@converts("prod")
def prod(build: Builder, x: Value, axis: Axis, keepdims: bool) -> Value:
    """Return the product. onnxruntime multiplies int64 as float64, so integers are multiplied one by one.

    That is, the first half of the elements by the second half, until one is left.
    """
    values, axes = _summands(build, x), axes_of(axis, rank(x))
    lengths = [shape_of(x)[each] for each in axes]
    if values.dtype.kind == "f" or not axes or 0 in lengths:
        return reduced("ReduceProd", values, axes, keepdims).value
    for along, length in zip(axes, lengths, strict=True):
        if isinstance(length, Size):
            raise build.refuse("ONNX has no exact product of integers along an axis of open length")
        while length > 1:
            half, odd = divmod(length, 2)
            parts = [
                Expression(build, whole_slice(values.value, build, along, start, start + half))
                for start in (0, half)
            ]
            both = (parts[0] * parts[1]).value
            rest = [whole_slice(values.value, build, along, 2 * half, length)] if odd else []
            values = Expression(build, build.node("Concat", both, *rest, axis=along) if rest else both)
            length = half + odd
    return values.value if keepdims else build.node("Squeeze", values.value, build.indices(*axes))


def _variance(build: Builder, x: Value, axis: Axis, ddof: int, keepdims: bool) -> Expression:
    (values,) = expressions(build, x)
    axes = axes_of(axis, rank(x))
    apart = values - reduced("ReduceMean", values, axes, True)
    squares = reduced("ReduceSum", apart * apart, axes, keepdims)
    return squares / maximum(count_of(values, x.shape, axes) - ddof, 0)


@converts("var")
def var(build: Builder, x: Value, axis: Axis, ddof: int, keepdims: bool) -> Value:
    """Return the variance."""
    return _variance(build, x, axis, ddof, keepdims).value


@converts("std")
def std(build: Builder, x: Value, axis: Axis, ddof: int, keepdims: bool) -> Value:
    """Return the standard deviation."""
    return sqrt(_variance(build, x, axis, ddof, keepdims)).value


@converts("norm")
def norm(build: Builder, x: Value, order: float, axis: Axis, keepdims: bool) -> Value:
    """Return the root of a sum of powers: the norm of a vector."""
    (values,) = expressions(build, x)
    axes = axes_of(axis, rank(x))
    if order == 2:
        return sqrt(reduced("ReduceSum", values * values, axes, keepdims)).value
    total = reduced("ReduceSum", power(absolute(values), order), axes, keepdims)
    return power(total, 1 / order).value


@converts("logsumexp")
def logsumexp(build: Builder, x: Value, axis: Axis, keepdims: bool) -> Value:
    """Return the logarithm of a sum of exponentials, in which none overflows."""
    (values,) = expressions(build, x)
    axes = axes_of(axis, rank(x))
    top = reduced("ReduceMax", values, axes, True)
    top = where(absolute(top) < np.inf, top, 0)
    out = log(reduced("ReduceSum", exp(values - top), axes, True)) + top
    return out.value if keepdims or not axes else build.node("Squeeze", out.value, build.indices(*axes))


# ---- accumulations ---------------------------------------------------------------------------------------


@converts("cumsum")
def cumsum(build: Builder, x: Value, axis: int | None) -> Value:
    """Return the sums of all elements up to each; of no axis, of the flat array."""
    values = _summands(build, x)
    flat = (
        values.value
        if rank(x) and axis is not None
        else build.node("Reshape", values.value, build.indices(-1))
    )
    along = 0 if axis is None or not rank(x) else axis % rank(x)
    return build.node("CumSum", flat, build.constant(along, np.int64))


@converts("cumprod")
def cumprod(build: Builder, x: Value, axis: int) -> Value:
    """Return the products of all elements up to each: of 2, of 4, of 8 ..., so that few nodes do.

    In each step an element is multiplied by the one that is ``step`` places before it.
    """
    (values,) = expressions(build, x)
    if not rank(x):
        return build.node("Reshape", values.value, build.indices(1))
    axis %= rank(x)
    length = build.results[0].shape[axis]
    if isinstance(length, Size):
        raise build.refuse("ONNX has no product of all elements up to each, along an axis of open length")
    step = 1
    while step < length:
        first = whole_slice(values.value, build, axis, 0, step)
        rest = whole_slice(values.value, build, axis, step, None)
        before = whole_slice(values.value, build, axis, 0, -step)
        both = Expression(build, rest) * Expression(build, before)
        values = Expression(build, build.node("Concat", first, both.value, axis=axis))
        step *= 2
    return values.value


# ---- softmax ---------------------------------------------------------------------------------------------


def _less_its_maximum(x: Expression, axes: tuple[int, ...]) -> Expression:
    return x - reduced("ReduceMax", x, axes, True)


@converts("softmax")
def softmax(build: Builder, x: Value, axis: Axis) -> Value:
    """Return the softmax along an axis, by ONNX's operator; along several as its formula."""
    (values,) = expressions(build, x)
    axes = axes_of(axis, rank(x))
    if len(axes) == 1:
        return values.node("Softmax", axis=axes[0]).value
    powers = exp(_less_its_maximum(values, axes))
    return (powers / reduced("ReduceSum", powers, axes, True)).value


def log_softmax_of(x: Expression, axes: tuple[int, ...]) -> Expression:
    """Return the logarithm of the softmax.

    ONNX's LogSoftmax is the same in onnxruntime. In ``onnx.reference`` it is the logarithm of the softmax,
    which is 0 for a logit of 104 less than the largest.
    """
    shifted = _less_its_maximum(x, axes)
    return shifted - log(reduced("ReduceSum", exp(shifted), axes, True))


@converts("log_softmax")
def log_softmax(build: Builder, x: Value, axis: Axis) -> Value:
    """Return the logarithm of the softmax."""
    (values,) = expressions(build, x)
    return log_softmax_of(values, axes_of(axis, rank(x))).value
