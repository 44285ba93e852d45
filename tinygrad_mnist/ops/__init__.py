"""The operations: declarations, a family in each file. Importing this folder fills the registry."""

from tinygrad_mnist.ops import (
    activation,
    calculus,
    convolution,
    elementwise,
    exchange,
    indexing,
    linalg,
    linear,
    loss,
    nondifferentiable,
    normalization,
    norms,
    pooling,
    products,
    rearranging,
    reduction,
    resizing,
    shape,
    softmax,
    statistics,
    windows,
)

# isort: split
from tinygrad_mnist.ops import ufunc_methods  # last, as it asks which ufuncs the others have declared

__all__ = [
    "activation",
    "calculus",
    "convolution",
    "elementwise",
    "exchange",
    "indexing",
    "linalg",
    "linear",
    "loss",
    "nondifferentiable",
    "normalization",
    "norms",
    "pooling",
    "products",
    "rearranging",
    "reduction",
    "resizing",
    "shape",
    "softmax",
    "statistics",
    "ufunc_methods",
    "windows",
]
