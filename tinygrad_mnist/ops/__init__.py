"""The operations: declarations, a family in each file. Importing this folder fills the registry."""

from tinygrad_mnist.ops import (
    activation,
    calculus,
    elementwise,
    indexing,
    linalg,
    linear,
    loss,
    nondifferentiable,
    normalization,
    norms,
    products,
    rearranging,
    reduction,
    shape,
    softmax,
    statistics,
)

# isort: split
from tinygrad_mnist.ops import ufunc_methods  # last, as it asks which ufuncs the others have declared

__all__ = [
    "activation",
    "calculus",
    "elementwise",
    "indexing",
    "linalg",
    "linear",
    "loss",
    "nondifferentiable",
    "normalization",
    "norms",
    "products",
    "rearranging",
    "reduction",
    "shape",
    "softmax",
    "statistics",
    "ufunc_methods",
]
