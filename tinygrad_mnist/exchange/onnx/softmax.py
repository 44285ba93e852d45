"""Converters of softmax and its kin."""

from __future__ import annotations

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.table import converts


@converts("softmax")
def softmax(build: Builder, x: Value, axis: int) -> Value:
    """Return the softmax along an axis."""
    return build.node("Softmax", build.cast(x, build.results[0].dtype), axis=axis)


@converts("log_softmax")
def log_softmax(build: Builder, x: Value, axis: int) -> Value:
    """Return the logarithm of the softmax along an axis."""
    return build.node("LogSoftmax", build.cast(x, build.results[0].dtype), axis=axis)
