"""The inputs of layers and losses: Tensors, or anything that NumPy makes an array of."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.engine.errors import as_array, check_dtype
from tinygrad_mnist.engine.tensor import Tensor

Array = NDArray[Any]
TensorLike = Tensor | Array


def as_input(value: Tensor | ArrayLike) -> TensorLike:
    """Return a Tensor as it is and anything else as an array, so that it has a shape and a dtype.

    Raises
    ------
    TypeError
        For what is no array, such as None or a text; for a masked array, whose mask would be lost, and for a
        matrix.
    """
    if isinstance(value, Tensor) or type(value) is np.ndarray:
        return value
    array: Array = as_array(value)
    if type(array) is np.ndarray and not array.ndim and array.dtype.kind in "OSU":
        given: Any = value
        text = reprlib.repr(given) if isinstance(given, (str, NoneType)) else f"a {type(given).__name__}"
        raise TypeError(f"{text} was given as input; expected a Tensor or an array of numbers")
    return array


def real_input(value: Tensor | ArrayLike) -> TensorLike:
    """Return what `as_input` does; raise a TypeError for what holds no real numbers, too."""
    value = as_input(value)
    return value if isinstance(value, Tensor) else check_dtype(value, "a loss")


def require_integers(call: str, *numbers: Any) -> None:
    """Raise a TypeError unless all numbers that a layer was made with are integers.

    Parameters
    ----------
    call : str
        What was asked for, for the error.
    *numbers : object
        What was given.

    Examples
    --------
    >>> require_integers("Linear(3.5, 2)", 3.5, 2)
    Traceback (most recent call last):
    ...
    TypeError: Linear(3.5, 2) was asked for; expected integers
    """
    if not all(isinstance(number, (int, np.integer)) and type(number) is not bool for number in numbers):
        raise TypeError(f"{call} was asked for; expected integers")


def shape_of(layer: str, lengths: Any) -> tuple[int, ...]:
    """Return the length, or the lengths, that a layer normalises over as a shape.

    Raises
    ------
    TypeError
        If one is no integer.
    ValueError
        If there is none, or one is not positive.
    """
    shape = tuple(lengths) if isinstance(lengths, Iterable) else (lengths,)
    require_integers(f"{layer}({lengths!r})", *shape)
    if not shape or min(shape) < 1:
        raise ValueError(f"{layer}({lengths}) was asked for; expected positive lengths")
    return shape


def values_of(value: TensorLike) -> Array:
    """Return the array of a Tensor, and an array as it is."""
    return value.data if isinstance(value, Tensor) else value


def element(values: TensorLike, *index: Any) -> Any:
    """Return ``values[index]``, as a Tensor if it or a part of the index is one.

    It is an operation then, so that a recorder can tell where the index comes from.

    Examples
    --------
    >>> element(np.array([[1.0, 2.0], [3.0, 4.0]]), np.arange(2), Tensor([1, 0]))
    Tensor([2., 3.])
    """
    place = index[0] if len(index) == 1 else index
    if isinstance(values, np.ndarray) and any(isinstance(part, Tensor) for part in index):
        return Tensor(values)[place]
    return values[place]


def detached(value: TensorLike) -> TensorLike:
    """Return a Tensor without its tape, and an array as it is."""
    return value.detach() if isinstance(value, Tensor) else value
