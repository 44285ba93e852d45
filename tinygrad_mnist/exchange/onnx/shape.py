"""Converters of operations that change the shape."""

from __future__ import annotations

from typing import Any

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.table import converts


@converts("reshape")
def reshape(build: Builder, x: Value, shape: Any) -> Value:
    """Return the values in the shape of the result, which has no -1 any more."""
    return build.reshape(x, build.results[0].shape)


@converts("transpose")
def transpose(build: Builder, x: Value, axes: tuple[int, ...] | None) -> Value:
    """Return the values with the axes in another order; by default in the reverse."""
    ndim = len(build.results[0].shape)
    order = range(ndim)[::-1] if axes is None else (axis % ndim for axis in axes)
    return build.node("Transpose", x, perm=tuple(order))
