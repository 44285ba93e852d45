"""All converters: importing the families fills the table."""

from tinygrad_mnist.exchange.onnx import (
    convolution,
    elementwise,
    indexing,
    losses,
    nondifferentiable,
    normalization,
    pooling,
    products,
    reduction,
    shape,
)
from tinygrad_mnist.exchange.onnx.table import CONVERTERS, MODULES

__all__ = [
    "CONVERTERS",
    "MODULES",
    "convolution",
    "elementwise",
    "indexing",
    "losses",
    "nondifferentiable",
    "normalization",
    "pooling",
    "products",
    "reduction",
    "shape",
]
