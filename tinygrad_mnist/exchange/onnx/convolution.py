"""Converters of convolutions, of their transposes, and of windows that slide over an array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import Expression, expressions
from tinygrad_mnist.exchange.onnx.shape import fixed, rank, shape_of, sliced, whole_slice
from tinygrad_mnist.exchange.onnx.sizes import Length
from tinygrad_mnist.exchange.onnx.table import converts

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]


def begins_and_ends(padding: Sides) -> tuple[int, ...]:
    """Return ((top, bottom), (left, right)) as ONNX has it: top, left, bottom, right."""
    return tuple(before for before, _ in padding) + tuple(after for _, after in padding)


def in_frame(x: Expression, padding: Sides, value: float = 0) -> Expression:
    """Return images (N, C, H, W) in a frame of a number."""
    (top, bottom), (left, right) = padding
    amounts = x.build.indices(0, 0, top, left, 0, 0, bottom, right)
    return Expression(x.build, x.build.node("Pad", x.value, amounts, x.like(value).value))


# ---- of images -------------------------------------------------------------------------------------------


@converts("conv2d", "conv2d_with_bias")
def conv2d(
    build: Builder,
    x: Value,
    weight: Value,
    *bias: Value,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    groups: int,
) -> Value:
    """Return the convolution of images with filters."""
    images, *others = expressions(build, x, weight, *bias)
    return images.node(
        "Conv",
        *others,
        kernel_shape=shape_of(weight)[2:],
        strides=stride,
        pads=begins_and_ends(padding),
        dilations=dilation,
        group=groups,
    ).value


def transposed(
    g: Expression, weight: Expression, kernel: Any, count: Any, size: Pair, stride: Pair, padding: Sides,
    dilation: Pair, groups: int,
) -> Expression:  # fmt: skip
    """Return the transpose of a convolution by its images, of the given size.

    Rows and columns that no window reaches are left over behind: ONNX pads the result with zeros there.
    """
    rest = [
        size[i] + sum(padding[i]) - (count[i] - 1) * stride[i] - dilation[i] * (kernel[i] - 1) - 1
        for i in (0, 1)
    ]
    return g.node(
        "ConvTranspose",
        weight,
        kernel_shape=kernel,
        strides=stride,
        pads=begins_and_ends(padding),
        dilations=dilation,
        output_padding=rest,
        group=groups,
    )


@converts("conv2d_by_input")
def conv2d_by_input(
    build: Builder,
    g: Value,
    weight: Value,
    size: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    groups: int,
) -> Value:
    """Return the transposed convolution."""
    kernel, count = shape_of(weight)[2:], shape_of(g)[2:]
    images, filters = expressions(build, g, weight)
    return transposed(images, filters, kernel, count, size, stride, padding, dilation, groups).value


@converts("conv2d_by_weight")
def conv2d_by_weight(
    build: Builder,
    x: Value,
    g: Value,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    groups: int,
) -> Value:
    """Return the transpose of a convolution by its weights.

    It is a convolution of x with g, in which channels and examples change places, and stride and dilation.
    """
    images, filters = expressions(build, x, g)
    if groups > 1:  # the channels of a group become the examples, and the examples its channels
        n, channels, height, width = fixed(build, shape_of(x))
        split = build.reshape(images.value, (n, groups, channels // groups, height, width))
        split = build.node("Transpose", split, perm=(2, 1, 0, 3, 4))
        images = Expression(build, build.reshape(split, (channels // groups, groups * n, height, width)))
    else:
        images = images.node("Transpose", perm=(1, 0, 2, 3))
    filters = filters.node("Transpose", perm=(1, 0, 2, 3))
    out = images.node(
        "Conv", filters, strides=dilation, pads=begins_and_ends(padding), dilations=stride, group=groups
    )
    whole = sliced(build, out.value, (2, 3), (0, 0), kernel, (1, 1))
    return build.node("Transpose", whole, perm=(1, 0, 2, 3))


# ---- of vectors ------------------------------------------------------------------------------------------


@converts("convolve")
def convolve(build: Builder, a: Value, v: Value, mode: str = "full") -> Value:
    """Return the convolution of two vectors: that of one image of one row, with a filter that is turned."""
    n, m = fixed(build, (shape_of(a)[0], shape_of(v)[0]))
    image, filter_ = expressions(build, a, v)
    turned = sliced(build, filter_.value, (0,), (-1,), (np.iinfo(np.int64).min,), (-1,))
    row = Expression(build, build.reshape(image.value, (1, 1, n)))
    out = row.node("Conv", Expression(build, build.reshape(turned, (1, 1, m))), pads=(m - 1, m - 1))
    whole = build.reshape(out.value, (n + m - 1,))
    less, more = min(n, m), max(n, m)
    start, length = {
        "full": (0, n + m - 1),
        "same": ((less - 1) // 2, more),
        "valid": (less - 1, more - less + 1),
    }[mode]
    return whole_slice(whole, build, 0, start, start + length)


# ---- windows ---------------------------------------------------------------------------------------------


@converts("sliding_window_view")
def sliding_window_view(build: Builder, x: Value, window: tuple[int, ...], axes: tuple[int, ...]) -> Value:
    """Return all windows: along each axis the elements of each, by their positions, moved to the end."""
    ndim = rank(x)
    lengths: list[Length] = list(shape_of(x))
    for number, (length, axis) in enumerate(zip(window, axes, strict=True)):
        axis %= ndim
        (whole,) = fixed(build, lengths[axis : axis + 1])
        lengths[axis] = whole - length + 1
        positions = np.arange(whole - length + 1)[:, None] + np.arange(length)
        x = build.node("Gather", x, build.constant(positions, np.int64), axis=axis)
        order = [*range(ndim + number + 1)]
        order.append(order.pop(axis + 1))
        x = build.node("Transpose", x, perm=order)
    return x


@converts("overlap_add")
def overlap_add(
    build: Builder, g: Value, shape: tuple[int, ...], window: tuple[int, ...], axes: tuple[int, ...]
) -> Value:
    """Return the sum of windows, each put back to where it was taken from."""
    shape = fixed(build, build.results[0].shape)
    (windows,) = expressions(build, g)
    numbers = np.arange(math.prod(shape)).reshape(shape)
    places = np.lib.stride_tricks.sliding_window_view(numbers, window, axes).ravel()
    zeros = build.constant(np.zeros(math.prod(shape), windows.dtype))
    flat = build.reshape(windows.value, (places.size,))
    out = build.node(
        "ScatterElements", zeros, build.constant(places, np.int64), flat, axis=0, reduction="add"
    )
    return build.reshape(out, shape)
