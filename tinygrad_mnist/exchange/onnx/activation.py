"""Converters of activations."""

from __future__ import annotations

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.table import converts


@converts("relu")
def relu(build: Builder, x: Value) -> Value:
    """Return max(x, 0)."""
    return build.node("Relu", x)
