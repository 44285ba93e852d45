"""Pooling of images: the maximum or the mean of each window."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import DISTINCT, Op, Sample, fused, linear
from tinygrad_mnist.ops.elementwise import floating
from tinygrad_mnist.ops.half import single, stored
from tinygrad_mnist.ops.windows import (
    Pair,
    Sides,
    channels_last,
    image_windows,
    output_size,
    padded_images,
    windows_last,
)

_NO_PADDING: Sides = ((0, 0), (0, 0))


def _check(x: Any, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair) -> Pair:
    """Return the size of the result; raise a ValueError if shape and options do not fit."""
    if x.ndim != 4:
        raise ValueError(f"input of shape {x.shape} was given; expected (N, C, H, W)")
    return output_size(x.shape[2:], kernel, stride, padding, dilation)


# ---- maximum ---------------------------------------------------------------------------------------------


def _lowest(dtype: Any) -> Any:
    """Return what a padded maximum never takes: -inf, or the smallest integer."""
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def max_pool2d_formula(x: Any, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair) -> Any:
    """Return the maximum of each window, as its definition."""
    windows = image_windows(padded_images(x, padding, _lowest(x.dtype)), kernel, stride, dilation)
    return np.max(windows, axis=(-2, -1))


def _max_pool2d_forward(
    x: Any, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair
) -> tuple[Any, Any]:
    size = _check(x, kernel, stride, padding, dilation)
    images = channels_last(x, padding, x.dtype, _lowest(x.dtype))
    windows = windows_last(images, size, kernel, stride, dilation)
    out = windows[:, :, :, 0, 0].copy()
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            if i or j:
                np.maximum(out, windows[:, :, :, i, j], out=out)
    return out.transpose(0, 3, 1, 2), images


def _max_pool2d_joint(
    g: Any,
    needed: Any,
    out: Any,
    images: Any,
    x: Any,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
) -> tuple[Any, ...]:
    top, g = out.transpose(0, 2, 3, 1), single(g).transpose(0, 2, 3, 1)
    size = out.shape[2:]
    windows = windows_last(images, size, kernel, stride, dilation)
    chosen = {}
    count = np.zeros(top.shape, g.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            here = windows[:, :, :, i, j]
            chosen[i, j] = (here == top) | (here != here)  # as of np.max, a NaN counts as chosen
            count += chosen[i, j]
    share = g / count
    part = np.zeros(images.shape, g.dtype)
    for (i, j), here in chosen.items():
        down = slice(i * dilation[0], i * dilation[0] + stride[0] * (size[0] - 1) + 1, stride[0])
        across = slice(j * dilation[1], j * dilation[1] + stride[1] * (size[1] - 1) + 1, stride[1])
        part[:, down, across] += np.where(here, share, 0)
    (above, _), (left, _) = padding
    part = part[:, above : above + x.shape[2], left : left + x.shape[3]]
    return (stored(np.ascontiguousarray(part), x.dtype).transpose(0, 3, 1, 2),)


def _pool(kernel: Pair, stride: Pair, padding: Sides = _NO_PADDING, **options: Any) -> dict[str, Any]:
    return {"kernel": kernel, "stride": stride, "padding": padding, **options}


max_pool2d = fused(
    _max_pool2d_forward,
    _max_pool2d_joint,
    max_pool2d_formula,
    name="max_pool2d",
    label="max pool",
    chooses=True,
    domain=DISTINCT,
    samples=(
        Sample(((1, 2, 4, 4),), _pool((2, 2), (2, 2), dilation=(1, 1))),
        Sample(((1, 2, 3, 4),), _pool((2, 3), (1, 1), dilation=(1, 1))),
        Sample(((1, 1, 5, 4),), _pool((2, 2), (2, 1), ((1, 0), (0, 1)), dilation=(2, 1))),
        Sample(((1, 1, 3, 3),), _pool((3, 3), (3, 3), dilation=(1, 1))),
        Sample(((1, 1, 5, 5),), _pool((2, 2), (2, 2), dilation=(1, 1))),
    ),
)
"""The maximum of each window of images (N, C, H, W); the padding is -inf, and ties share evenly."""

# ---- mean ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _divisors(
    size: Pair, kernel: Pair, stride: Pair, padding: Sides, counted: Sides, divisor: int | None
) -> Any:
    """Return the number that the sum of each window is divided by: (H', W', 1), or a number."""
    if divisor is not None:
        return divisor
    counts = []
    for i, (count, length) in enumerate(
        zip(output_size(size, kernel, stride, padding, (1, 1)), size, strict=True)
    ):
        first = np.arange(count) * stride[i] - padding[i][0]
        begin, end = np.maximum(first, -counted[i][0]), np.minimum(first + kernel[i], length + counted[i][1])
        counts.append(end - begin)
    table = counts[0][:, None, None] * counts[1][None, :, None]
    return int(table.flat[0]) if np.all(table == table.flat[0]) else table


def _avg_pool2d_forward(
    x: Any, kernel: Pair, stride: Pair, padding: Sides, counted: Sides, divisor: int | None
) -> Any:
    size = _check(x, kernel, stride, padding, (1, 1))
    dtype, x = floating(x).dtype, single(floating(x))
    windows = windows_last(channels_last(x, padding, x.dtype), size, kernel, stride, (1, 1))
    out = windows[:, :, :, 0, 0].copy()
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            if i or j:
                out += windows[:, :, :, i, j]
    out /= np.asarray(_divisors(x.shape[2:], kernel, stride, padding, counted, divisor), out.dtype)
    return stored(out, dtype).transpose(0, 3, 1, 2)


def _avg_pool2d_by_input_forward(
    g: Any, size: Pair, kernel: Pair, stride: Pair, padding: Sides, counted: Sides, divisor: int | None
) -> Any:
    dtype, g = g.dtype, single(g)
    share = g.transpose(0, 2, 3, 1)
    share = share / np.asarray(_divisors(size, kernel, stride, padding, counted, divisor), g.dtype)
    (top, bottom), (left, right) = padding
    n, height, width, channels = share.shape
    out = np.zeros((n, size[0] + top + bottom, size[1] + left + right, channels), g.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            down = slice(i, i + stride[0] * (height - 1) + 1, stride[0])
            across = slice(j, j + stride[1] * (width - 1) + 1, stride[1])
            out[:, down, across] += share
    out = np.ascontiguousarray(out[:, top : top + size[0], left : left + size[1]])
    return stored(out, dtype).transpose(0, 3, 1, 2)


def avg_pool2d_formula(
    x: Any, kernel: Pair, stride: Pair, padding: Sides, counted: Sides, divisor: int | None
) -> Any:
    """Return the mean of each window, as its definition: a sum divided by a count."""
    windows = image_windows(padded_images(x, padding), kernel, stride, (1, 1))
    divisors = _divisors(x.shape[2:], kernel, stride, padding, counted, divisor)
    return np.sum(windows, axis=(-2, -1)) / (divisors if np.ndim(divisors) == 0 else divisors[:, :, 0])


_MEANS = (
    ((1, 2, 4, 4), (1, 2, 2, 2), _pool((2, 2), (2, 2), counted=_NO_PADDING, divisor=None)),
    ((2, 1, 3, 4), (2, 1, 2, 2), _pool((2, 3), (1, 1), counted=_NO_PADDING, divisor=None)),
    ((1, 1, 3, 3), (1, 1, 2, 2), _pool((2, 2), (2, 2), ((1, 0), (1, 0)), counted=_NO_PADDING, divisor=None)),
    (
        (1, 1, 3, 3),
        (1, 1, 2, 2),
        _pool((2, 2), (2, 2), ((1, 0), (0, 1)), counted=((1, 0), (0, 0)), divisor=3),
    ),
)


avg_pool2d: Op = linear(
    _avg_pool2d_forward,
    lambda g, out, x, **options: avg_pool2d_by_input(g, size=x.shape[2:], **options),
    name="avg_pool2d",
    label="average pool",
    formula=avg_pool2d_formula,
    samples=tuple(Sample((x,), options) for x, _, options in _MEANS),
)
"""The mean of each window of images (N, C, H, W). Of the padding, which is 0, ``counted`` is a part of it."""

avg_pool2d_by_input: Op = linear(
    _avg_pool2d_by_input_forward,
    lambda v, out, g, size, **options: avg_pool2d(v, **options),
    name="avg_pool2d_by_input",
    samples=tuple(Sample((g,), {"size": x[2:], **options}) for x, g, options in _MEANS),
)
"""The transpose of `avg_pool2d`: each number of g (N, C, H', W') in even shares over its window."""
