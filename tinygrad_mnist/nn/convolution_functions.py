"""Convolutions as functions, with PyTorch's arguments; part of `nn.functional`.

Images are (N, C, H, W), or one image (C, H, W). A number for an option holds for height and width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.image_options import Padding, Size, integer, on_batch, pair, sides
from tinygrad_mnist.nn.inputs import TensorLike, as_input
from tinygrad_mnist.ops import convolution
from tinygrad_mnist.ops.windows import Pair


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
        "groups": integer("groups", groups),
    }
    if bias is None:
        return on_batch(lambda images: convolution.conv2d(images, weight, **options), input)  # type: ignore[no-any-return]
    bias = as_input(bias)
    out: Tensor = on_batch(
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
            f"input of shape {input.shape} has {input.shape[-3]} channels; weight of shape {weight.shape} "
            f"expects {weight.shape[0]}"
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
    options = {"stride": steps, "dilation": spread, "groups": integer("groups", groups)}

    def transposed(images: Any) -> Any:
        if fits:
            return convolution.conv2d_by_input(images, weight, size=tuple(size), padding=around, **options)
        least = tuple(length - more for length, more in zip(whole, added, strict=True))
        none = ((0, 0), (0, 0))
        out = convolution.conv2d_by_input(images, weight, size=least, padding=none, **options)
        out = np.pad(out, (*none, (0, added[0]), (0, added[1])))
        (top, _), (left, _) = around
        return out[:, :, top : top + size[0], left : left + size[1]]

    out: Tensor = on_batch(transposed, input)
    return out if bias is None else out + _by_channel(bias, weight.shape[1] * groups)


def _by_channel(bias: TensorLike, channels: int) -> Any:
    """Return a bias in a shape that is added to images."""
    bias = as_input(bias)
    if bias.shape != (channels,):
        raise ValueError(f"bias of shape {bias.shape} was given; expected ({channels},)")
    return bias.reshape(channels, 1, 1)
