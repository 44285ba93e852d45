"""What the functions here take: Tensors and arrays, and nested lists as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.engine.tensor import Tensor

TensorLike = Tensor | NDArray[Any]


def as_input(value: Tensor | ArrayLike) -> TensorLike:
    """A Tensor as it is, anything else as an array, for those who ask for its shape or dtype."""
    return value if isinstance(value, Tensor) else np.asarray(value)
