"""The inputs of layers and losses: Tensors, or anything that NumPy makes an array of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.engine.dtypes import REAL
from tinygrad_mnist.engine.errors import as_array, check_dtype
from tinygrad_mnist.engine.tensor import Tensor

Array = NDArray[Any]
TensorLike = Tensor | Array


def as_input(value: Tensor | ArrayLike) -> TensorLike:
    """Return a Tensor as it is and anything else as an array, so that it has a shape and a dtype.

    Raises
    ------
    TypeError
        For a masked array, whose mask would be lost, for a matrix, and for what holds no real numbers.
    """
    if isinstance(value, Tensor):
        return value
    array: Array = value if type(value) is np.ndarray else as_array(value)
    return array if array.dtype.kind in REAL else check_dtype(array, "a layer or loss")


def values_of(value: TensorLike) -> Array:
    """Return the array of a Tensor, and an array as it is."""
    return value.data if isinstance(value, Tensor) else value


def detached(value: TensorLike) -> TensorLike:
    """Return a Tensor without its tape, and an array as it is."""
    return value.detach() if isinstance(value, Tensor) else value
