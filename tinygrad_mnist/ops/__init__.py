"""The operations, declared: a family a file. Importing this room fills the registry."""

from tinygrad_mnist.ops import (
    activation,
    assignment,
    constant,
    diagonal,
    einsum,
    elementwise,
    factorization,
    indexing,
    linalg,
    loss,
    norm,
    normalization,
    products,
    reduction,
    shape,
)

__all__ = [
    "activation",
    "assignment",
    "constant",
    "diagonal",
    "einsum",
    "elementwise",
    "factorization",
    "indexing",
    "linalg",
    "loss",
    "norm",
    "normalization",
    "products",
    "reduction",
    "shape",
]
