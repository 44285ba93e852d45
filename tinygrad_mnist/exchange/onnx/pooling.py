"""Converters of pools of images."""

from __future__ import annotations

from typing import Any

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.convolution import Pair, begins_and_ends
from tinygrad_mnist.exchange.onnx.table import converts


@converts("max_pool2d")
def max_pool2d(build: Builder, x: Value, kernel: Pair, stride: Pair, padding: Any, dilation: Pair) -> Value:
    """Return the maximum of each window."""
    return build.node(
        "MaxPool",
        x,
        kernel_shape=kernel,
        strides=stride,
        pads=begins_and_ends(padding),
        dilations=dilation,
    )
