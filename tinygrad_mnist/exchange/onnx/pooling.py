"""Converters of pools of images, and of images in another size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.convolution import Pair, Sides, begins_and_ends, in_frame, transposed
from tinygrad_mnist.exchange.onnx.expression import Expression, expressions
from tinygrad_mnist.exchange.onnx.shape import fixed, shape_of
from tinygrad_mnist.exchange.onnx.table import converts
from tinygrad_mnist.ops.pooling import window_divisors
from tinygrad_mnist.ops.resizing import resizing_matrix
from tinygrad_mnist.ops.windows import NO_PADDING


def _size(build: Builder, images: Value) -> Pair:
    height, width = fixed(build, shape_of(images)[2:])
    return height, width


# ---- pools -----------------------------------------------------------------------------------------------


def _is_wide(padding: Sides, kernel: Pair) -> bool:
    """Return whether a padding is as long as the window: onnxruntime takes shorter ones alone."""
    return any(max(padding[i]) >= kernel[i] for i in (0, 1))


@converts("max_pool2d")
def max_pool2d(build: Builder, x: Value, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair) -> Value:
    """Return the maximum of each window; that of integers by way of float64, which holds them."""
    (images,) = expressions(build, x)
    if images.dtype.kind != "f":
        images = images.cast(np.float64)
    if _is_wide(padding, kernel):
        images, padding = in_frame(images, padding, -math.inf), NO_PADDING
    return images.node(
        "MaxPool",
        kernel_shape=kernel,
        strides=stride,
        pads=begins_and_ends(padding),
        dilations=dilation,
    ).value


def _divided(build: Builder, sums: Expression, by: Any) -> Expression:
    """Return the sums of windows over their divisors: a number, or a table (H', W', 1)."""
    table = np.asarray(by, np.float64)
    table = table[..., 0] if table.ndim else table
    return sums * sums.like(1 / table) if np.any(table != 1) else sums


@converts("avg_pool2d")
def avg_pool2d(
    build: Builder, x: Value, kernel: Pair, stride: Pair, padding: Sides, counted: Sides, divisor: int | None
) -> Value:
    """Return the sum of each window over its divisor: ONNX's mean, corrected where ours counts otherwise."""
    size = _size(build, x)
    (images,) = expressions(build, x)
    by = window_divisors(size, kernel, stride, padding, counted, divisor)
    if _is_wide(padding, kernel):
        images, padding, counted = in_frame(images, padding), NO_PADDING, padding
    counts_images_alone = counted == NO_PADDING and divisor is None
    out = images.node(
        "AveragePool",
        kernel_shape=kernel,
        strides=stride,
        pads=begins_and_ends(padding),
        count_include_pad=0 if counts_images_alone else 1,
    )
    return out.value if counts_images_alone else _divided(build, out, by / math.prod(kernel)).value


@converts("avg_pool2d_by_input")
def avg_pool2d_by_input(
    build: Builder, g: Value, size: Pair, kernel: Pair, stride: Pair, padding: Sides, counted: Sides,
    divisor: int | None,
) -> Value:  # fmt: skip
    """Return the transpose of the mean of windows: that of a convolution of each channel with ones."""
    channels, *count = fixed(build, shape_of(g)[1:])
    by = window_divisors(size, kernel, stride, padding, counted, divisor)
    share = _divided(build, expressions(build, g)[0], by)
    ones = share.like(np.ones((channels, 1, *kernel)))
    return transposed(share, ones, kernel, count, size, stride, padding, (1, 1), channels).value


# ---- images in another size ------------------------------------------------------------------------------

# ONNX's Resize finds the places of pixels in float32, which is not exact enough in large images, and shares
# them out otherwise. So the rows of our own matrices are written: of one 1 each as positions.


def _times(images: Expression, rows: Any, axis: int) -> Expression:
    """Return the product of a matrix and the height (axis 2) or the width (3) of images."""
    columns = np.argmax(rows, axis=1)
    if np.array_equal(rows, np.eye(rows.shape[1])[columns]):
        positions = images.build.constant(columns, np.int64)
        return Expression(images.build, images.build.node("Gather", images.value, positions, axis=axis))
    if axis == 2:
        return images.like(rows).node("MatMul", images)
    return images.node("MatMul", rows.T)


def _resized(
    build: Builder,
    x: Value,
    before: Pair,
    after: Pair,
    is_transposed: bool,
    mode: str,
    align_corners: bool,
    scale: Any,
) -> Value:
    (images,) = expressions(build, x)
    for i in (0, 1):
        rows = resizing_matrix(before[i], after[i], mode, align_corners, scale[i])
        images = _times(images, rows.T if is_transposed else rows, i + 2)
    return images.value


@converts("interpolate2d")
def interpolate2d(build: Builder, x: Value, size: Pair, **options: Any) -> Value:
    """Return images in another size."""
    return _resized(build, x, _size(build, x), size, False, **options)


@converts("interpolate2d_by_input")
def interpolate2d_by_input(build: Builder, g: Value, size: Pair, **options: Any) -> Value:
    """Return the transpose of images in another size."""
    return _resized(build, g, size, _size(build, g), True, **options)
