"""Convolutions and pools of images as functions, with PyTorch's arguments; part of `nn.functional`.

Images are (N, C, H, W), or one image (C, H, W). A number for an option holds for height and width.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.inputs import TensorLike, as_input
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.ops import convolution, pooling, resizing
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


def _integer(name: str, value: Any) -> int:
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
            f"weight of shape {weight.shape} was given; expected (out, C / groups, kernel height, kernel "
            "width)"
        )
    kernel, steps, spread = weight.shape[2:], pair("stride", stride), pair("dilation", dilation)
    options = {
        "stride": steps,
        "padding": sides(padding, (kernel[0], kernel[1]), steps, spread),
        "dilation": spread,
        "groups": _integer("groups", groups),
    }
    if bias is None:
        return _on_batch(lambda images: convolution.conv2d(images, weight, **options), input)  # type: ignore[no-any-return]
    bias = as_input(bias)
    out: Tensor = _on_batch(
        lambda images: convolution.conv2d_with_bias(images, weight, bias, **options), input
    )
    return out


def conv1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | tuple[int] = 1,
    padding: int | str | tuple[Any, ...] = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution of sequences with filters: `conv2d` of images that are one pixel high.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, L) or (C, L).
    weight : Tensor or ndarray
        Shape (O, C / groups, k).
    bias : Tensor or ndarray, optional
        Shape (O,).
    stride, dilation : int
        Elements from one window to the next, and from one weight of a filter to the next.
    padding : int, ((left, right),) or str
        Zeros around the sequences; ``valid`` for none, ``same`` for as many as leave the length as it is.
    groups : int
        Groups of channels that are convolved each by itself.

    Returns
    -------
    Tensor
        Shape (N, O, L') with L' = (L + padding - dilation (k - 1) - 1) // stride + 1.

    Raises
    ------
    TypeError, ValueError
        If shapes or options do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> conv1d(np.arange(5.0).reshape(1, 1, 5), np.array([[[-1.0, 1.0]]]), stride=2)
    array([[[1., 1.]]])
    """
    input, weight = as_input(input), as_input(weight)
    if weight.ndim != 3 or input.ndim not in (2, 3):
        raise ValueError(
            f"input of shape {input.shape} and weight of shape {weight.shape} were given; expected (N, C, L) "
            "and (out, C / groups, kernel length)"
        )
    around: Any = padding
    if not isinstance(padding, str):
        (around,) = padding if isinstance(padding, (tuple, list)) else (padding,)
        around = ((0, 0), around if isinstance(around, (tuple, list)) else (around, around))
    out = conv2d(
        input[..., None, :], weight[..., None, :], bias, _across("stride", stride), around,
        _across("dilation", dilation), groups,
    )  # fmt: skip
    return out[..., 0, :]


def _across(name: str, value: Any) -> Pair:
    """Return an option of sequences as one of images."""
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise TypeError(f"{name}={value!r} was given; expected an integer")
        (value,) = value
    return 1, pair(name, value)[1]


def conv_transpose2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """Return the transpose of a convolution: each pixel of the input adds a filter to the output.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, H, W) or (C, H, W).
    weight : Tensor or ndarray
        Shape (C, O / groups, kh, kw).
    bias : Tensor or ndarray, optional
        Shape (O,).
    stride : int or pair of int
        Pixels of the output from one pixel of the input to the next.
    padding : int, pair of int or pair of pairs
        Pixels that are cut off each side of the output: the padding of the convolution.
    output_padding : int or pair of int
        Pixels that are added at the bottom and the right, fewer than the stride or the dilation: of the sizes
        from which a convolution comes to the size of the input, this chooses one.
    groups : int
        Groups of channels, each by itself.
    dilation : int or pair of int
        Pixels from one weight of a filter to the next.

    Returns
    -------
    Tensor
        Shape (N, O, H', W') with H' = (H - 1) stride - padding + dilation (kh - 1) + output_padding + 1.

    Raises
    ------
    TypeError, ValueError
        If shapes or options do not fit.

    References
    ----------
    Dumoulin & Visin (2016), "A guide to convolution arithmetic for deep learning", section 4.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d(np.ones((1, 1, 1, 2)), np.array([[[[1.0, 2.0, 3.0]]]]), stride=2)
    array([[[[1., 2., 4., 2., 3.]]]])
    """
    input, weight = as_input(input), as_input(weight)
    if weight.ndim != 4 or input.ndim not in (3, 4):
        raise ValueError(
            f"input of shape {input.shape} and weight of shape {weight.shape} were given; expected "
            "(N, C, H, W) and (C, out / groups, kernel height, kernel width)"
        )
    if input.shape[-3] != weight.shape[0]:
        raise ValueError(
            f"input of shape {input.shape} has {count_text(input.shape[-3], 'channel')}; weight of shape "
            f"{weight.shape} expects {weight.shape[0]}"
        )
    if isinstance(padding, str):
        raise TypeError(f"padding={padding!r} was given to a transposed convolution; expected numbers")
    kernel = (weight.shape[2], weight.shape[3])
    steps, spread = pair("stride", stride), pair("dilation", dilation)
    added, around = pair("output_padding", output_padding, 0), sides(padding, kernel, steps, spread)
    if any(more >= max(both) for more, *both in zip(added, steps, spread, strict=True)):
        raise ValueError(
            f"output_padding={output_padding!r} was given with stride={stride!r} and dilation={dilation!r}; "
            "expected less than one of them"
        )
    whole = [
        (n - 1) * step + d * (k - 1) + 1 + more
        for n, step, d, k, more in zip(input.shape[-2:], steps, spread, kernel, added, strict=True)
    ]
    size = [length - sum(both) for length, both in zip(whole, around, strict=True)]
    if min(size) < 1:
        raise ValueError(
            f"a padding of {padding!r} was given for an output of {whole[0]} x {whole[1]} pixels, from which "
            f"it is cut off: the output would be {size[0]} x {size[1]}; expected a smaller padding"
        )
    # As many pixels as a stride and more, which only a dilation allows, would fit one window more. So they
    # are added as zeros to a whole output, from which the padding is cut.
    fits = all(more < step for more, step in zip(added, steps, strict=True))
    options = {"stride": steps, "dilation": spread, "groups": _integer("groups", groups)}

    def transposed(images: Any) -> Any:
        if fits:
            return convolution.conv2d_by_input(images, weight, size=tuple(size), padding=around, **options)
        least = tuple(length - more for length, more in zip(whole, added, strict=True))
        none = ((0, 0), (0, 0))
        out = convolution.conv2d_by_input(images, weight, size=least, padding=none, **options)
        out = np.pad(out, (*none, (0, added[0]), (0, added[1])))
        (top, _), (left, _) = around
        return out[:, :, top : top + size[0], left : left + size[1]]

    out: Tensor = _on_batch(transposed, input)
    return out if bias is None else out + _by_channel(bias, weight.shape[1] * groups)


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
    if divisor_override is not None and _integer("divisor_override", divisor_override) == 0:
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


# ---- other sizes -----------------------------------------------------------------------------------------


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
    before = _size_of("adaptive_avg_pool2d", input)
    if isinstance(output_size, (tuple, list)) and len(output_size) == 2:
        output_size = [n if wanted is None else wanted for n, wanted in zip(before, output_size, strict=True)]
    size = before if output_size is None else pair("output_size", output_size)
    if all(n % m == 0 for n, m in zip(before, size, strict=True)):
        kernel = (before[0] // size[0], before[1] // size[1])
        return avg_pool2d(input, kernel)
    options = {"size": size, "mode": "area", "align_corners": False, "scale": (None, None)}
    out: Tensor = _on_batch(lambda images: resizing.interpolate2d(images, **options), input)
    return out


def _size_of(name: str, input: TensorLike) -> Pair:
    """Return height and width of images."""
    if input.ndim not in (3, 4):
        raise ValueError(f"{name}: input of shape {input.shape} was given; expected (N, C, H, W)")
    return input.shape[-2], input.shape[-1]


def interpolate(
    input: TensorLike,
    size: Size | None = None,
    scale_factor: float | tuple[float, float] | list[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """Return images in another size.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, H, W).
    size : int or pair of int, optional
        The new height and width.
    scale_factor : float or pair of float, optional
        Or the factors by which height and width become larger; the size is rounded down.
    mode : str
        ``nearest`` (the pixel above and to the left), ``nearest-exact``, ``bilinear``, or ``area``, which is
        `adaptive_avg_pool2d`.
    align_corners : bool, optional
        Of ``bilinear``, whether the centres of the corner pixels stay in their places; by default the edges
        of the images do.
    recompute_scale_factor : bool, optional
        Whether the places of pixels follow from both sizes, as with ``size``, and not from ``scale_factor``.

    Returns
    -------
    Tensor
        Shape (N, C, H', W').

    Raises
    ------
    TypeError, ValueError
        If the mode is another, or shape or options do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[[1.0, 3.0]]]])
    >>> interpolate(image, scale_factor=2)
    array([[[[1., 1., 3., 3.],
             [1., 1., 3., 3.]]]])
    >>> interpolate(image, size=(1, 4), mode="bilinear")
    array([[[[1. , 1.5, 2.5, 3. ]]]])
    """
    input = as_input(input)
    if mode not in resizing.MODES:
        raise ValueError(f"mode={mode!r} was given; expected one of {', '.join(resizing.MODES)}")
    if input.ndim != 4:
        raise ValueError(f"input of shape {input.shape} was given; expected (N, C, H, W)")
    if align_corners is not None and mode != "bilinear":
        raise ValueError(f"align_corners was given with mode={mode!r}; it belongs to 'bilinear'")
    if (size is None) == (scale_factor is None):
        raise ValueError("expected either size or scale_factor, and not both")
    scale: resizing.Scale = (None, None)
    if scale_factor is None:
        if recompute_scale_factor:
            raise ValueError("recompute_scale_factor was given without a scale_factor; leave it out")
        after = pair("size", size)
    else:
        factors = _factors(scale_factor)
        after = (math.floor(input.shape[2] * factors[0]), math.floor(input.shape[3] * factors[1]))
        if not recompute_scale_factor:
            scale = (1 / factors[0], 1 / factors[1])
    if mode == "area":
        return adaptive_avg_pool2d(input, after)
    out: Tensor = resizing.interpolate2d(
        input, size=after, mode=mode, align_corners=bool(align_corners), scale=scale
    )
    return out


def _factors(scale_factor: Any) -> tuple[float, float]:
    """Return the factors of height and width."""
    both = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
    if len(both) != 2 or not all(isinstance(one, (int, float, np.number)) for one in both):
        raise TypeError(f"scale_factor={scale_factor!r} was given; expected a number, or a pair of them")
    if not all(one > 0 and math.isfinite(one) for one in both):
        raise ValueError(f"scale_factor={scale_factor!r} was given; expected positive numbers")
    return float(both[0]), float(both[1])
