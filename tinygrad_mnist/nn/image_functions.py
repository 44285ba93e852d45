"""Convolutions and pools of images as functions, with PyTorch's arguments; part of `nn.functional`.

Images are (N, C, H, W), or one image (C, H, W). A number for an option holds for height and width.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.inputs import TensorLike, as_input
from tinygrad_mnist.ops import convolution, pooling
from tinygrad_mnist.ops.windows import Pair, Sides

Size = int | tuple[int, int] | list[int]
Padding = int | str | tuple[Any, ...] | list[Any]

# ---- options ---------------------------------------------------------------------------------------------


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


def _on_batch(function: Callable[[Any], Any], input: TensorLike, ndim: int = 4) -> Any:
    """Return a function of a batch of images; of one image, without the axis of the batch."""
    if input.ndim == ndim - 1:
        return function(input[None])[0]
    return function(input)


# ---- convolution -----------------------------------------------------------------------------------------


def conv2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution of images with filters (as in PyTorch, a correlation: no filter is turned).

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, H, W) or (C, H, W).
    weight : Tensor or ndarray
        Shape (O, C / groups, kh, kw).
    bias : Tensor or ndarray, optional
        Shape (O,).
    stride : int or pair of int
        Pixels from one window to the next.
    padding : int, pair of int, pair of pairs or str
        Zeros around the images: a number, (height, width), ((top, bottom), (left, right)), ``valid`` for none
        or ``same`` for as many as leave the size as it is.
    dilation : int or pair of int
        Pixels from one weight of a filter to the next.
    groups : int
        Groups of channels that are convolved each by itself.

    Returns
    -------
    Tensor
        Shape (N, O, H', W') with H' = (H + padding - dilation (kh - 1) - 1) // stride + 1.

    Raises
    ------
    TypeError, ValueError
        If shapes or options do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d(image, np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    >>> conv2d(image, np.ones((1, 1, 3, 3)), padding="same").shape
    (1, 1, 3, 3)
    """
    input, weight = as_input(input), as_input(weight)
    if weight.ndim != 4:
        raise ValueError(
            f"weight of shape {weight.shape} was given; expected (out, C / groups, kernel height, kernel width)"
        )
    kernel, steps, spread = weight.shape[2:], pair("stride", stride), pair("dilation", dilation)
    options = {
        "stride": steps,
        "padding": sides(padding, (kernel[0], kernel[1]), steps, spread),
        "dilation": spread,
        "groups": operator.index(groups),
    }
    out: Tensor = _on_batch(lambda images: convolution.conv2d(images, weight, **options), input)
    return out if bias is None else out + _by_channel(bias, weight.shape[0])


def _by_channel(bias: TensorLike, channels: int) -> Any:
    """Return a bias in a shape that is added to images."""
    bias = as_input(bias)
    if bias.shape != (channels,):
        raise ValueError(f"bias of shape {bias.shape} was given; expected ({channels},)")
    return bias.reshape(channels, 1, 1)


# ---- pools -----------------------------------------------------------------------------------------------


def max_pool2d(
    input: TensorLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the maximum of each window of images; its gradient is shared evenly where several are largest.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, H, W) or (C, H, W).
    kernel_size : int or pair of int
        The size of a window.
    stride : int or pair of int, optional
        Pixels from one window to the next; by default the size of a window.
    padding : int, pair of int or pair of pairs
        Pixels around the images, which are never the largest; at most half of the window.
    dilation : int or pair of int
        Pixels from one element of a window to the next.
    ceil_mode : bool
        Whether a last window may reach beyond the edge.

    Returns
    -------
    Tensor
        Shape (N, C, H', W').

    Raises
    ------
    TypeError, ValueError
        If shapes or options do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    input = as_input(input)
    kernel, steps, around = pool_options(kernel_size, stride, padding)
    spread = pair("dilation", dilation)
    if ceil_mode:
        around = _to_the_last_window(input.shape[-2:], kernel, steps, around, spread)
    options = {"kernel": kernel, "stride": steps, "padding": around, "dilation": spread}
    out: Tensor = _on_batch(lambda images: pooling.max_pool2d(images, **options), input)
    return out


def avg_pool2d(
    input: TensorLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of each window of images.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, H, W) or (C, H, W).
    kernel_size : int or pair of int
        The size of a window.
    stride : int or pair of int, optional
        Pixels from one window to the next; by default the size of a window.
    padding : int, pair of int or pair of pairs
        Zeros around the images; at most half of the window.
    ceil_mode : bool
        Whether a last window may reach beyond the edge; what is there is not counted.
    count_include_pad : bool
        Whether the padding counts in the mean.
    divisor_override : int, optional
        A number to divide each sum by, instead of the count.

    Returns
    -------
    Tensor
        Shape (N, C, H', W').

    Raises
    ------
    TypeError, ValueError
        If shapes or options do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    input = as_input(input)
    if divisor_override is not None and operator.index(divisor_override) == 0:
        raise ValueError("divisor_override=0 was given; expected another integer, or None")
    kernel, steps, around = pool_options(kernel_size, stride, padding)
    counted = around if count_include_pad else ((0, 0), (0, 0))
    if ceil_mode:
        around = _to_the_last_window(input.shape[-2:], kernel, steps, around, (1, 1))
    options = {
        "kernel": kernel, "stride": steps, "padding": around, "counted": counted, "divisor": divisor_override
    }  # fmt: skip
    out: Tensor = _on_batch(lambda images: pooling.avg_pool2d(images, **options), input)
    return out


def pool_options(kernel_size: Size, stride: Size | None, padding: Padding) -> tuple[Pair, Pair, Sides]:
    kernel = pair("kernel_size", kernel_size)
    steps = kernel if stride is None else pair("stride", stride)
    if isinstance(padding, str):
        raise TypeError(f"padding={padding!r} was given to a pool; expected numbers")
    around = sides(padding, kernel, steps, (1, 1))
    if any(2 * max(both) > length for both, length in zip(around, kernel, strict=True)):
        raise ValueError(
            f"padding={padding!r} was given with kernel_size={kernel_size!r}; expected at most half of it"
        )
    return kernel, steps, around


def _to_the_last_window(size: Any, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair) -> Sides:
    """Return a padding with as much more at the bottom and the right as a last window needs.

    A window that would begin in the padding beyond the image is left out, as in PyTorch.
    """
    ends = []
    for length, k, step, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True):
        covered = d * (k - 1) + 1
        count = -(-(length + before + after - covered) // step) + 1
        if (count - 1) * step >= length + before:
            count -= 1
        ends.append((before, max(after, (count - 1) * step + covered - length - before)))
    return ends[0], ends[1]
