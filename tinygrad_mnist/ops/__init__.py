"""The operations, declared: a family a file. Importing this room fills the registry."""

from tinygrad_mnist.ops import (
    activation,
    constant,
    elementwise,
    indexing,
    linalg,
    loss,
    normalization,
    reduction,
    shape,
)

__all__ = [
    "activation",
    "constant",
    "elementwise",
    "indexing",
    "linalg",
    "loss",
    "normalization",
    "reduction",
    "shape",
]
