"""All converters: importing the families fills the table."""

from tinygrad_mnist.exchange.onnx import (
    activation,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    shape,
    softmax,
)
from tinygrad_mnist.exchange.onnx.table import CONVERTERS, MODULES

__all__ = [
    "CONVERTERS",
    "MODULES",
    "activation",
    "convolution",
    "elementwise",
    "linear",
    "normalization",
    "pooling",
    "shape",
    "softmax",
]
