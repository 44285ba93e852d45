"""Converters of operations that change the shape, and move elements along whole axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import CARRIERS, carried
from tinygrad_mnist.exchange.onnx.sizes import Length, Shape, Size
from tinygrad_mnist.exchange.onnx.table import converts

FIRST: Final = int(np.iinfo(np.int64).min)
"""An end of a slice before the first element."""

LAST: Final = int(np.iinfo(np.int64).max)
"""An end of a slice behind the last element, however many there are."""


def shape_of(value: Value) -> Shape:
    """Return the shape of an argument, which is known."""
    assert value.shape is not None, "an argument without a shape"
    return value.shape


def fixed(build: Builder, lengths: Iterable[Length]) -> tuple[int, ...]:
    """Return lengths that have to be numbers when the file is written; refuse the operation if one is not."""
    known = tuple(lengths)
    if any(isinstance(length, Size) for length in known):
        raise build.refuse(
            "an axis whose length follows from the batch size stands where ONNX wants a number"
        )
    return tuple(int(length) for length in known if not isinstance(length, Size))


def rank(value: Value) -> int:
    """Return the number of axes of an argument."""
    return len(shape_of(value))


def sliced(
    build: Builder,
    value: Value,
    axes: Iterable[int],
    starts: Iterable[Any],
    stops: Iterable[Any],
    steps: Iterable[int],
) -> Value:
    """Return a slice along each of some axes; its ends may follow from the batch."""
    ends = (build.lengths(tuple(starts)), build.lengths(tuple(stops)))
    return build.node("Slice", value, *ends, build.indices(*axes), build.indices(*steps))


def whole_slice(value: Value, build: Builder, axis: int, start: int, stop: int | None) -> Value:
    """Return the elements from one to another along an axis; None is the end."""
    return sliced(build, value, (axis,), (start,), (LAST if stop is None else stop,), (1,))


@converts("reshape")
def reshape(build: Builder, x: Value, shape: Any) -> Value:
    """Return the values in the shape of the result, which has no -1 any more."""
    return build.reshape(x, build.results[0].shape)


@converts("transpose")
def transpose(build: Builder, x: Value, axes: tuple[int, ...] | None) -> Value:
    """Return the values with the axes in another order; by default in the reverse."""
    ndim = rank(x)
    if ndim < 2:
        return x
    order = range(ndim)[::-1] if axes is None else (axis % ndim for axis in axes)
    return build.node("Transpose", x, perm=tuple(order))


@converts("broadcast_to")
def broadcast_to(build: Builder, x: Value, shape: Any) -> Value:
    """Return the values repeated along the axes that are new, or had length 1."""
    return build.expand(x, build.results[0].shape)


@converts("concatenate")
def concatenate(build: Builder, *arrays: Value, axis: int) -> Value:
    """Return arrays joined along an axis."""
    result = build.results[0]
    parts = [build.cast(each, result.dtype) for each in arrays]
    return build.node("Concat", *parts, axis=axis % len(result.shape))


@converts("flip")
def flip(build: Builder, x: Value, axis: int | tuple[int, ...] | None) -> Value:
    """Return the elements in the reverse order along some axes."""
    ndim = rank(x)
    if axis is None:
        axis = tuple(range(ndim))
    axes = [each % ndim for each in (axis if isinstance(axis, tuple) else (axis,))]
    if not axes:
        return x
    n = len(axes)
    return sliced(build, x, axes, (-1,) * n, (FIRST,) * n, (-1,) * n)


@converts("pad")
def pad(build: Builder, x: Value, pad_width: Any, constant_values: Any) -> Value:
    """Return the values in a frame: of one number at once, of several side by side, axis after axis."""
    dtype = build.results[0].dtype
    out = carried(build, x)
    widths = [tuple(pair) for pair in pad_width]
    if np.ndim(constant_values) == 0:
        fills = [(constant_values, widths)]
    else:
        numbers = np.broadcast_to(constant_values, (len(widths), 2))
        fills = [
            (
                numbers[axis, side],
                [
                    tuple(n if (i, s) == (axis, side) else 0 for s, n in enumerate(pair))
                    for i, pair in enumerate(widths)
                ],
            )
            for axis in range(len(widths))
            for side in (0, 1)
        ]
    for number, pairs in fills:
        amounts = build.lengths([before for before, _ in pairs] + [after for _, after in pairs])
        filling = build.constant(np.asarray(number).astype(dtype), CARRIERS.get(dtype.name, dtype))
        if any(any(pair) for pair in pairs):
            out = build.node("Pad", out, amounts, filling)
    return out
