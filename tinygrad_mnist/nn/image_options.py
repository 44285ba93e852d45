"""The options of convolutions and pools: numbers or pairs, paddings, one image or a batch."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.nn.inputs import TensorLike
from tinygrad_mnist.ops.windows import Pair, Sides

Size = int | tuple[int, int] | list[int]
Padding = int | str | tuple[Any, ...] | list[Any]


def pair(name: str, value: Any, least: int = 1) -> Pair:
    """Return an option as (height, width); a number holds for both.

    Raises
    ------
    TypeError
        If it is neither an integer nor a pair of them.
    ValueError
        If a number is too small.
    """
    try:
        numbers = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
        height, width = map(operator.index, numbers)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}={value!r} was given; expected an integer, or a pair of them (height, width)"
        ) from error
    if min(height, width) < least:
        raise ValueError(f"{name}={value!r} was given; expected {least} or more")
    return height, width


def integer(name: str, value: Any) -> int:
    """Return an option that has to be an integer; raise a TypeError if it is none."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name}={value!r} was given; expected an integer") from error


def sides(value: Padding, kernel: Pair, stride: Pair, dilation: Pair) -> Sides:
    """Return a padding as ((top, bottom), (left, right)).

    Parameters
    ----------
    value : int, pair, pair of pairs or str
        One number, (height, width), ((top, bottom), (left, right)); ``valid`` for none, ``same`` for as much
        as leaves the size as it is (the larger half of an odd number at the bottom and the right).
    kernel, stride, dilation : pairs of int
        What ``same`` depends on.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it is negative, another word, or ``same`` with a stride.
    """
    if isinstance(value, str):
        if value == "valid":
            return (0, 0), (0, 0)
        if value != "same":
            raise ValueError(f"padding={value!r} was given; expected 'same', 'valid' or numbers")
        if stride != (1, 1):
            raise ValueError(f"padding='same' was given with stride {stride}; expected a stride of 1")
        total = tuple(d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
        return (total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2)
    if isinstance(value, (tuple, list)) and any(isinstance(side, (tuple, list)) for side in value):
        if len(value) != 2:
            raise TypeError(f"padding={value!r} was given; expected ((top, bottom), (left, right))")
        return pair("padding", value[0], 0), pair("padding", value[1], 0)
    height, width = pair("padding", value, 0)
    return (height, height), (width, width)


def on_batch(function: Callable[[Any], Any], input: TensorLike, ndim: int = 4) -> Any:
    """Return a function of a batch of images; of one image, without the axis of the batch."""
    if input.ndim == ndim - 1:
        return function(input[None])[0]
    return function(input)


def size_of(input: TensorLike) -> Pair:
    """Return height and width of images."""
    if input.ndim not in (3, 4):
        raise ValueError(f"input of shape {input.shape} was given; expected (N, C, H, W)")
    return input.shape[-2], input.shape[-1]
