"""Pooling of images: the maximum or the mean of each window."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_mnist.engine.dtypes import has_nan
from tinygrad_mnist.engine.op import DISTINCT, Op, Sample, fused, linear
from tinygrad_mnist.ops.activation import BITS
from tinygrad_mnist.ops.elementwise import floating
from tinygrad_mnist.ops.half import single, stored
from tinygrad_mnist.ops.windows import (
    NO_PADDING,
    Pair,
    Sides,
    framed,
    image_windows,
    output_size,
    padded_images,
    places,
    told,
    unframed,
)


def _check(x: Any, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair) -> Pair:
    """Return the size of the result; raise a ValueError if shape and options do not fit."""
    if x.ndim != 4:
        raise ValueError(f"input of shape {x.shape} was given; expected (N, C, H, W)")
    return output_size(x.shape[2:], kernel, stride, padding, dilation)


_CACHED = 1 << 18
"""Bytes of images that are worked on together, with what belongs to them."""

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
    images = framed(x.transpose(0, 2, 3, 1), padding, 1, x.dtype, _lowest(x.dtype))
    out = _over_windows(np.maximum, images, size, kernel, stride, dilation)
    return out.transpose(0, 3, 1, 2), images


def _over_windows(combine: Any, images: Any, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Any:
    """Return each window of images (N, H, W, C) combined by a ufunc: first along columns, then along rows.

    So the first and larger part of the work is done on whole rows of images, which lie side by side.
    """
    for axis in (1, 2):
        along = places(size[axis - 1], kernel[axis - 1], stride[axis - 1], dilation[axis - 1])
        before = (slice(None),) * axis
        parts = [images[(*before, place)] for place in along]
        images = combine(parts[0], parts[1]) if len(parts) > 1 else parts[0].copy()
        for part in parts[2:]:
            combine(images, part, out=images)
    return images


def _max_pool2d_joint(
    g: Any, needed: Any, out: Any, images: Any, x: Any, kernel: Pair, stride: Pair, padding: Sides,
    dilation: Pair,
) -> tuple[Any, ...]:  # fmt: skip
    top, share = out.transpose(0, 2, 3, 1), single(g).transpose(0, 2, 3, 1)
    is_nan = has_nan(out)
    apart = kernel == stride and dilation == (1, 1)
    covered = (top.shape[1] * kernel[0], top.shape[2] * kernel[1])
    part = (np.empty if apart and images.shape[1:3] == covered else np.zeros)(images.shape, share.dtype)
    if apart:
        # A pixel is in one window at most. A few images at a time, so that all stays in the cache.
        step = max(1, _CACHED // (images[:1].nbytes + 1))
        for start in range(0, len(images), step):
            few = slice(start, start + step)
            _share_apart(share[few], top[few], images[few], kernel, is_nan, part[few])
    else:
        _share_overlapping(share, top, images, kernel, stride, dilation, is_nan, part)
    return (stored(unframed(part, padding, 1), x.dtype).transpose(0, 3, 1, 2),)


def _share_apart(share: Any, top: Any, images: Any, kernel: Pair, is_nan: bool, part: Any) -> None:
    """Write the shares of what is largest in windows side by side, row by row of the windows."""
    _, height, width, _ = top.shape
    across = slice(0, width * kernel[1])
    top, share = np.repeat(top, kernel[1], axis=2), np.repeat(share, kernel[1], axis=2)
    downs = places(height, kernel[0], kernel[0], 1)
    chosen = [_is_largest(images[:, down, across], top, is_nan) for down in downs]
    if sum(map(np.count_nonzero, chosen)) * kernel[1] != top.size:  # several are largest, and share
        count = _total(chosen)
        count = np.add.reduceat(count, np.arange(0, across.stop, kernel[1]), axis=2)
        share = share / np.repeat(count, kernel[1], axis=2).astype(share.dtype)
    for down, mask in zip(downs, chosen, strict=True):
        part[:, down, across] = _where(mask, share)


def _share_overlapping(
    share: Any, top: Any, images: Any, kernel: Pair, stride: Pair, dilation: Pair, is_nan: bool, part: Any
) -> None:
    """Add the shares of what is largest in windows, one place of all windows after the other."""
    downs = places(top.shape[1], kernel[0], stride[0], dilation[0])
    acrosses = places(top.shape[2], kernel[1], stride[1], dilation[1])
    at = [(slice(None), down, across) for down in downs for across in acrosses]
    chosen = [_is_largest(images[place], top, is_nan) for place in at]
    share = np.ascontiguousarray(share)
    if sum(map(np.count_nonzero, chosen)) != top.size:
        share = share / _total(chosen).astype(share.dtype)
    for place, mask in zip(at, chosen, strict=True):
        target = part[place]
        np.add(target, _where(mask, share), out=target)


def _is_largest(here: Any, top: Any, is_nan: bool) -> Any:
    """Return where an element is the largest of its window; as of ``np.max``, a NaN counts as that."""
    return (here == top) | np.isnan(here) if is_nan else here == top


def _total(masks: list[Any]) -> Any:
    """Return how many of the masks are true, element by element."""
    count = masks[0].astype(np.int32)
    for mask in masks[1:]:
        count += mask
    return count


def _where(mask: Any, x: Any) -> Any:
    """Return ``x`` where a mask is true, and 0 elsewhere.

    The bits of floats are multiplied by 0 or 1, as integers: 0 times inf would be NaN. Measured, that takes a
    tenth of the time of ``np.where``, which is slow where no pattern is in the mask.
    """
    bits = BITS.get(x.dtype.char)
    return np.where(mask, x, 0) if bits is None else np.multiply(x.view(bits), mask).view(x.dtype)


def _pool(kernel: Pair, stride: Pair, padding: Sides = NO_PADDING, **options: Any) -> dict[str, Any]:
    return {"kernel": kernel, "stride": stride, "padding": padding, **options}


max_pool2d = fused(
    _max_pool2d_forward,
    _max_pool2d_joint,
    max_pool2d_formula,
    name="max_pool2d",
    told=lambda arrays, static: told(**static),
    label="max pool",
    chooses=True,
    domain=DISTINCT,
    samples=(
        Sample(((1, 2, 2, 4),), _pool((2, 2), (2, 2), dilation=(1, 1))),
        Sample(((1, 1, 3, 4),), _pool((2, 3), (1, 1), dilation=(1, 1))),
        Sample(((1, 1, 4, 3),), _pool((2, 2), (2, 1), ((1, 0), (0, 1)), dilation=(2, 1))),
        Sample(((1, 1, 3, 3),), _pool((3, 3), (3, 3), dilation=(1, 1))),
        Sample(((1, 1, 3, 5),), _pool((2, 2), (2, 2), dilation=(1, 1))),
    ),
)
"""The maximum of each window of images (N, C, H, W); the padding is -inf, and ties share evenly."""

# ---- mean ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def window_divisors(
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
    out = _over_windows(
        np.add, framed(x.transpose(0, 2, 3, 1), padding, 1, x.dtype), size, kernel, stride, (1, 1)
    )
    out /= np.asarray(window_divisors(x.shape[2:], kernel, stride, padding, counted, divisor), out.dtype)
    return stored(out, dtype).transpose(0, 3, 1, 2)


def _avg_pool2d_by_input_forward(
    g: Any, size: Pair, kernel: Pair, stride: Pair, padding: Sides, counted: Sides, divisor: int | None
) -> Any:
    dtype, share = g.dtype, single(g).transpose(0, 2, 3, 1)
    share = share / np.asarray(window_divisors(size, kernel, stride, padding, counted, divisor), share.dtype)
    for axis in (2, 1):  # along rows first: then the larger part of the work is done on whole rows
        shape = list(share.shape)
        shape[axis] = size[axis - 1] + sum(padding[axis - 1])
        out = np.zeros(shape, share.dtype)
        for place in places(share.shape[axis], kernel[axis - 1], stride[axis - 1], 1):
            out[(slice(None),) * axis + (place,)] += share
        share = out
    return stored(unframed(share, padding, 1), dtype).transpose(0, 3, 1, 2)


def avg_pool2d_formula(
    x: Any, kernel: Pair, stride: Pair, padding: Sides, counted: Sides, divisor: int | None
) -> Any:
    """Return the mean of each window, as its definition: a sum divided by a count."""
    windows = image_windows(padded_images(x, padding), kernel, stride, (1, 1))
    divisors = window_divisors(x.shape[2:], kernel, stride, padding, counted, divisor)
    return np.sum(windows, axis=(-2, -1)) / (divisors if np.ndim(divisors) == 0 else divisors[:, :, 0])


_MEANS = (
    ((1, 2, 2, 4), (1, 2, 1, 2), _pool((2, 2), (2, 2), counted=NO_PADDING, divisor=None)),
    ((2, 1, 3, 4), (2, 1, 2, 2), _pool((2, 3), (1, 1), counted=NO_PADDING, divisor=None)),
    ((1, 1, 3, 3), (1, 1, 2, 2), _pool((2, 2), (2, 2), ((1, 0), (1, 0)), counted=NO_PADDING, divisor=None)),
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
    told=lambda arrays, static: told(**static),
    label="average pool",
    formula=avg_pool2d_formula,
    samples=tuple(Sample((x,), options) for x, _, options in _MEANS),
)
"""The mean of each window of images (N, C, H, W). Of the padding, which is 0, ``counted`` is a part of it."""

avg_pool2d_by_input: Op = linear(
    _avg_pool2d_by_input_forward,
    lambda v, out, g, size, **options: avg_pool2d(v, **options),
    name="avg_pool2d_by_input",
    told=lambda arrays, static: told(**static),
    samples=tuple(Sample((g,), {"size": x[2:], **options}) for x, g, options in _MEANS),
)
"""The transpose of `avg_pool2d`: each number of g (N, C, H', W') in even shares over its window."""
