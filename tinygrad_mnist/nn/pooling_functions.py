"""Pools as functions, with PyTorch's arguments; part of `nn.functional`.

Images are (N, C, H, W), or one image (C, H, W). A number for an option holds for height and width.
"""

from __future__ import annotations

from typing import Any

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.image_options import Padding, Size, integer, on_batch, pair, sides, size_of
from tinygrad_mnist.nn.inputs import TensorLike, as_input
from tinygrad_mnist.ops import pooling, resizing
from tinygrad_mnist.ops.windows import Pair, Sides


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
    out: Tensor = on_batch(lambda images: pooling.max_pool2d(images, **options), input)
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
    check_divisor(divisor_override)
    kernel, steps, around = pool_options(kernel_size, stride, padding)
    counted = around if count_include_pad else ((0, 0), (0, 0))
    if ceil_mode:
        around = _to_the_last_window(input.shape[-2:], kernel, steps, around, (1, 1))
    options = {
        "kernel": kernel, "stride": steps, "padding": around, "counted": counted, "divisor": divisor_override
    }  # fmt: skip
    out: Tensor = on_batch(lambda images: pooling.avg_pool2d(images, **options), input)
    return out


def check_divisor(divisor_override: int | None) -> None:
    """Raise unless a number to divide the sums of windows by is an integer other than 0, or None."""
    if divisor_override is not None and integer("divisor_override", divisor_override) == 0:
        raise ValueError("divisor_override=0 was given; expected another integer, or None")


def pool_options(kernel_size: Size, stride: Size | None, padding: Padding) -> tuple[Pair, Pair, Sides]:
    """Return the window, the step and the padding of a pool as pairs; raise if one is none, or too large."""
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


def adaptive_avg_pool2d(input: TensorLike, output_size: Any) -> Tensor:
    """Return images of a given size: each pixel is the mean of the pixels that it lies over.

    Pixel i of an axis is the mean of those from floor(i n / m) to ceil((i + 1) n / m), of n pixels that
    become m. These areas overlap where m is no divisor of n.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, H, W) or (C, H, W).
    output_size : int or pair of (int or None)
        The size of the result; None leaves the height or the width as it is.

    Returns
    -------
    Tensor
        Shape (N, C, H', W').

    Raises
    ------
    TypeError, ValueError
        If shape or size do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 1)
    array([[[[7.5]]]])
    """
    input = as_input(input)
    before = size_of(input)
    if isinstance(output_size, (tuple, list)) and len(output_size) == 2:
        output_size = [n if wanted is None else wanted for n, wanted in zip(before, output_size, strict=True)]
    size = before if output_size is None else pair("output_size", output_size)
    if all(n % m == 0 for n, m in zip(before, size, strict=True)):
        kernel = (before[0] // size[0], before[1] // size[1])
        return avg_pool2d(input, kernel)
    options = {"size": size, "mode": "area", "align_corners": False, "scale": (None, None)}
    out: Tensor = on_batch(lambda images: resizing.interpolate2d(images, **options), input)
    return out
