"""Convolution of images: three multilinear operations, each the derivative of the others.

For images x, weights w and a cotangent g of the result, all three sum the same products g * w * x: over w and
x it is the forward pass, over g and w the gradient by the images, and over x and g that by the weights. So
they are closed under differentiation, and derivatives of every order follow.

Shapes are (N, C, H, W), as in PyTorch; in memory the results lie channels-last, as a transposed view.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import Op, Sample, fused, multilinear
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.ops.half import HALF, single, stored
from tinygrad_mnist.ops.normalization import as_rows, column_sums
from tinygrad_mnist.ops.windows import (
    NO_PADDING,
    Pair,
    Sides,
    framed,
    image_windows,
    output_size,
    padded_images,
    places,
    spans,
    strided_windows,
    told,
    unframed,
)

_CACHED = 3 << 18
"""Bytes of windows that are copied out before they are multiplied: they are still in the cache then.

Measured on a core with 2 MiB of second-level cache: from half of this to twice this takes the same time."""

_LARGEST_KEPT = (32 << 20) - 8192
"""The largest array, in bytes, whose size glibc remembers when it is freed, with its header."""

_NEARLY = 1.2
"""Times as many pixels in images as in results up to which the transpose by input is a convolution, too."""

_FEW = 16
"""Numbers side by side, of a window, below which windows are copied out as planes rather than as rows."""


def conv2d_formula(x: Any, weight: Any, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> Any:
    """Return the convolution as its definition: the sum over each window times the weights."""
    windows = image_windows(padded_images(x, padding), weight.shape[2:], stride, dilation)
    n, channels, *rest = windows.shape
    windows = np.reshape(windows, (n, groups, channels // groups, *rest))
    filters = np.reshape(weight, (groups, weight.shape[0] // groups, *weight.shape[1:]))
    out = np.einsum("ngchwij,gocij->ngohw", windows, filters)
    return np.reshape(out, (n, weight.shape[0], *out.shape[3:]))


def _check(
    x: tuple[int, ...], weight: tuple[int, ...], stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Pair:
    """Return the size of the result; raise a ValueError if shapes and options do not fit."""
    if len(x) != 4 or len(weight) != 4:
        raise ValueError(
            f"input of shape {x} and weight of shape {weight} were given; expected (N, C, H, W) and "
            "(out, C / groups, kernel height, kernel width)"
        )
    if groups < 1 or x[1] % groups or weight[0] % groups:
        raise ValueError(
            f"groups={groups} was given for {count_text(x[1], 'channel')} in and {weight[0]} out; expected a "
            "divisor of both"
        )
    if x[1] != weight[1] * groups:
        raise ValueError(
            f"input of shape {x} has {count_text(x[1], 'channel')}; weight of shape {weight} with "
            f"groups={groups} expects {weight[1] * groups}"
        )
    return output_size(x[2:], (weight[2], weight[3]), stride, padding, dilation)


def _check_result(g: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if g != expected:
        raise ValueError(f"a cotangent of shape {g} was given; the result of the convolution has {expected}")


def _dtypes(*arrays: Any) -> tuple[Any, Any]:
    """Return the dtype of a product, and the one that it is computed in."""
    dtype = np.result_type(*arrays)
    return dtype, np.dtype(np.float32) if dtype == HALF else dtype


# ---- windows as matrices ---------------------------------------------------------------------------------

# A convolution is a matrix product: each row holds a window, and each column of the other matrix a filter.
# The rows are copied out for a few images at a time, in one of two orders. Where a window has many channels,
# its numbers lie side by side in images that are channels-last. Where it has few (grey images), the numbers
# of one place in all windows lie side by side in images that are planes: then the transposed matrix is copied
# out. Measured for 5 x 5 windows of one channel, the whole product takes half of the time then.


def _is_planar(channels: int, kernel: Pair, groups: int) -> bool:
    return channels * kernel[1] < (_FEW if groups == 1 else 2 * _FEW)


def _matrices(weight: Any, groups: int, dtype: Any, planar: bool) -> Any:
    """Return weights (O, C / groups, kh, kw) as matrices (groups, numbers of a window, O / groups)."""
    outputs, channels, kh, kw = weight.shape
    split = weight.reshape(groups, outputs // groups, channels, kh, kw)
    split = split.transpose((0, 2, 3, 4, 1) if planar else (0, 3, 4, 2, 1))
    return np.ascontiguousarray(split, dtype).reshape(groups, channels * kh * kw, outputs // groups)


def _weights(matrices: Any, channels: int, kernel: Pair, planar: bool) -> Any:
    """Return such matrices as weights (O, C / groups, kh, kw) again."""
    groups, _, outputs = matrices.shape
    if planar:
        split = matrices.reshape(groups, channels, *kernel, outputs).transpose(0, 4, 1, 2, 3)
    else:
        split = matrices.reshape(groups, *kernel, channels, outputs).transpose(0, 4, 3, 1, 2)
    return np.ascontiguousarray(split).reshape(groups * outputs, channels, *kernel)


def _pixels(g: Any, groups: int) -> Any:
    """Return the numbers (n, H, W, O) of each pixel as rows of matrices (groups, n H W, O / groups)."""
    n, height, width, outputs = g.shape
    return g.reshape(n * height * width, groups, outputs // groups).transpose(1, 0, 2)


def _in_groups(n: int, bytes_each: int) -> Iterator[slice]:
    """Yield slices of images of which the windows fit into the cache."""
    step = max(1, _CACHED // max(bytes_each, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _windows(
    x: Any, size: Pair, kernel: Pair, dtype: Any, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Iterator[tuple[slice, Any]]:
    """Yield slices of images, and all windows in them as matrices (groups, windows, numbers of a window).

    The memory of the matrices is used again for the next images.
    """
    channels = x.shape[1] // groups
    planar = _is_planar(channels, kernel, groups)
    if planar:
        view = strided_windows(framed(x, padding, 2, dtype), 2, size, kernel, stride, dilation)
        split = view.reshape(view.shape[0], groups, channels, *view.shape[2:])
        view = split.transpose(0, 1, 2, 5, 6, 3, 4)
    else:
        images = framed(x.transpose(0, 2, 3, 1), padding, 1, dtype)
        if kernel == stride == (1, 1) and groups == 1:  # the images are the matrix
            yield slice(None), images.reshape(1, math.prod(images.shape[:3]), channels)
            return
        view = strided_windows(images, 1, size, kernel, stride, dilation)
        view = view.reshape(*view.shape[:5], groups, channels).transpose(0, 5, 1, 2, 3, 4, 6)
    count, length = math.prod(size), channels * math.prod(kernel)
    memory: Any = None
    for part in _in_groups(x.shape[0], groups * count * length * dtype.itemsize):
        # the images stand behind the numbers of a window in one order, and before them in the other
        here = np.moveaxis(view[part], 0, 4 if planar else 1)
        if memory is None or memory.size < here.size:
            memory = np.empty(here.size, dtype)
        copied = memory[: here.size].reshape(here.shape)
        np.copyto(copied, here)
        rows = (part.stop - part.start) * count
        if planar:
            yield part, copied.reshape(groups, length, rows).transpose(0, 2, 1)
        else:
            yield part, copied.reshape(groups, rows, length)


# ---- forward ---------------------------------------------------------------------------------------------


def _convolved(
    x: Any, weight: Any, bias: Any, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Any:
    """Return the convolution plus a bias (O,), or None."""
    size = _check(x.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias of shape {bias.shape} was given; expected {weight.shape[:1]}")
    _keep_freed_memory()
    dtype, computed = _dtypes(x, weight, *([] if bias is None else [bias]))
    if _has_one_filter_a_channel(weight.shape, groups):
        out = _by_channel(x, weight, computed, size, stride, padding, dilation)
        out = out if bias is None else out + bias
        return stored(out, dtype).transpose(0, 3, 1, 2)
    outputs, kernel = weight.shape[0], weight.shape[2:]
    matrices = _matrices(weight, groups, computed, _is_planar(weight.shape[1], kernel, groups))
    out = np.empty((x.shape[0], *size, outputs), computed)
    for part, windows in _windows(x, size, kernel, computed, stride, padding, dilation, groups):
        rows = out[part].reshape(windows.shape[1], outputs)
        if groups == 1:
            np.matmul(windows[0], matrices[0], out=rows)
        else:
            _pixels(out[part], groups)[...] = windows @ matrices
        if bias is not None:
            rows += bias
    return stored(out, dtype).transpose(0, 3, 1, 2)


@cache
def _keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next arrays, rather than return it to the system.

    The results of convolutions are large, and pages that come back from the system are filled with zeros
    first: measured, a third of the time of a training step. glibc keeps about twice the size of the largest
    array that was freed, up to this one. No page of it is touched.
    """
    np.empty(_LARGEST_KEPT, np.uint8)


# ---- by input --------------------------------------------------------------------------------------------


def _conv2d_by_input_forward(
    g: Any, weight: Any, size: Pair, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Any:
    n, channels = g.shape[0], weight.shape[1] * groups
    count = _check((n, channels, *size), weight.shape, stride, padding, dilation, groups)
    _check_result(g.shape, (n, weight.shape[0], *count))
    dtype, computed = _dtypes(g, weight)
    if _has_one_filter_a_channel(weight.shape, groups):
        images = _by_channel_by_input(g, weight, computed, size, stride, padding, dilation)
        return stored(images, dtype)
    rest = _rest_of_padding(weight.shape[2:], padding, dilation)
    is_nearly_as_large = math.prod(size) <= _NEARLY * math.prod(count)
    if stride == (1, 1) and weight.shape[1] >= _FEW and is_nearly_as_large and min(map(min, rest)) >= 0:
        # It is itself a convolution, with turned filters. Measured for 3 x 3 filters and 28 x 28 pixels, that
        # takes three quarters of the time of sums.
        turned = weight.reshape(groups, -1, *weight.shape[1:])[..., ::-1, ::-1].transpose(0, 2, 1, 3, 4)
        turned = turned.reshape(channels, -1, *weight.shape[2:])
        return _convolved(g, turned, None, stride, rest, dilation, groups)
    add = _add_planes if _is_planar(weight.shape[1], weight.shape[2:], groups) else _add_rows
    rows = framed(g.transpose(0, 2, 3, 1), NO_PADDING, 1, computed)
    images = add(rows, weight, computed, size, stride, padding, dilation, groups)
    return stored(images, dtype)


def _rest_of_padding(kernel: Pair, padding: Sides, dilation: Pair) -> Sides:
    """Return what is left of a padding in which a filter overlaps the images by one pixel at least."""
    height, width = spans(kernel, dilation)
    (top, bottom), (left, right) = padding
    return (height - 1 - top, height - 1 - bottom), (width - 1 - left, width - 1 - right)


# Each number of g adds a filter to the images. So the filters are multiplied by all numbers of a few images,
# and then one place of all windows is added after the other. In which order they lie is as above.


def _add_rows(
    g: Any, weight: Any, dtype: Any, size: Pair, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Any:
    """Return the sum of the filters that g (N, H', W', O) multiplies, computed channels-last."""
    n, *count, outputs = g.shape
    channels, kernel = weight.shape[1], weight.shape[2:]
    filters = weight.reshape(groups, outputs // groups, channels, *kernel).transpose(0, 3, 4, 1, 2)
    filters = np.ascontiguousarray(filters, dtype).reshape(
        groups, math.prod(kernel), outputs // groups, channels
    )
    height, width = (length + sum(both) for length, both in zip(size, padding, strict=True))
    out = np.zeros((n, height, width, groups, channels), dtype)
    at = _places(count, kernel, stride, dilation)
    for part in _in_groups(n, math.prod(count) * groups * channels * math.prod(kernel) * dtype.itemsize // 2):
        pixels, images = _pixels(g[part], groups), out[part]
        products = pixels[:, None] @ filters  # (groups, places of a window, pixels, channels)
        products = products.reshape(groups, len(at), len(images), *count, channels)
        for group in range(groups):
            for (down, across), product in zip(at, products[group], strict=True):
                target = images[:, down, across, group]
                np.add(target, product, out=target)
    out = out.reshape(n, height, width, groups * channels)
    return unframed(out, padding, 1).transpose(0, 3, 1, 2)


def _add_planes(
    g: Any, weight: Any, dtype: Any, size: Pair, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Any:
    """Return the sum of the filters that g (N, H', W', O) multiplies, computed as planes."""
    n, *count, _ = g.shape
    channels, kernel = weight.shape[1] * groups, weight.shape[2:]
    filters = _matrices(weight, groups, dtype, True)
    height, width = (length + sum(both) for length, both in zip(size, padding, strict=True))
    out = np.zeros((n, channels, height, width), dtype)
    at = _places(count, kernel, stride, dilation)
    for part in _in_groups(n, math.prod(count) * channels * math.prod(kernel) * dtype.itemsize):
        images = out[part]
        products = filters @ _pixels(g[part], groups).transpose(0, 2, 1)
        products = products.reshape(channels, len(at), len(images), *count)
        for k, (down, across) in enumerate(at):
            target = images[:, :, down, across].transpose(1, 0, 2, 3)
            np.add(target, products[:, k], out=target)
    return unframed(out, padding, 2)


def _places(count: Any, kernel: Pair, stride: Pair, dilation: Pair) -> list[tuple[slice, slice]]:
    """Return, for each number of a window, the places of it in all windows, down and across."""
    down = places(count[0], kernel[0], stride[0], dilation[0])
    across = places(count[1], kernel[1], stride[1], dilation[1])
    return [(i, j) for i in down for j in across]


# ---- by weight -------------------------------------------------------------------------------------------


def _conv2d_by_weight_forward(
    x: Any, g: Any, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Any:
    if g.ndim != 4 or x.ndim != 4:
        raise ValueError(f"arrays of shapes {x.shape} and {g.shape} were given; expected four axes each")
    channels = x.shape[1] // max(groups, 1)
    size = _check(x.shape, (g.shape[1], channels, *kernel), stride, padding, dilation, groups)
    _check_result(g.shape, (x.shape[0], g.shape[1], *size))
    dtype, computed = _dtypes(x, g)
    if _has_one_filter_a_channel((g.shape[1], channels), groups):
        return stored(_by_channel_by_weight(x, g, computed, kernel, stride, padding, dilation), dtype)
    rows = framed(g.transpose(0, 2, 3, 1), NO_PADDING, 1, computed)
    out = np.zeros((groups, channels * math.prod(kernel), g.shape[1] // groups), computed)
    for part, windows in _windows(x, size, kernel, computed, stride, padding, dilation, groups):
        out += windows.transpose(0, 2, 1) @ _pixels(rows[part], groups)
    return stored(_weights(out, channels, kernel, _is_planar(channels, kernel, groups)), dtype)


# ---- one filter a channel --------------------------------------------------------------------------------

# With as many groups as channels nothing is summed over channels, so that there is no matrix product. One
# place of all windows after the other is multiplied by one weight a channel, repeated along a row of windows:
# NumPy multiplies long rows faster than short ones.


def _has_one_filter_a_channel(weight: tuple[int, ...], groups: int) -> bool:
    return groups > 1 and weight[:2] == (groups, 1)


def _repeated(weight: Any, count: int, dtype: Any) -> Any:
    """Return weights (C, 1, kh, kw) as rows (kh kw, count, C)."""
    rows = weight.reshape(weight.shape[0], -1).T.astype(dtype)
    return np.repeat(rows[:, None], count, axis=1)


def _by_channel(
    x: Any, weight: Any, dtype: Any, size: Pair, stride: Pair, padding: Sides, dilation: Pair
) -> Any:
    """Return the convolution, (N, H', W', C)."""
    images = framed(x.transpose(0, 2, 3, 1), padding, 1, dtype)
    at = _places(size, weight.shape[2:], stride, dilation)
    rows = _repeated(weight, size[1], dtype)
    out = np.zeros((len(images), *size, images.shape[3]), dtype)
    for part in _in_groups(len(images), 2 * images[:1].nbytes):
        here, sums = images[part], out[part]
        for (down, across), row in zip(at, rows, strict=True):
            sums += here[:, down, across] * row
    return out


def _by_channel_by_input(
    g: Any, weight: Any, dtype: Any, size: Pair, stride: Pair, padding: Sides, dilation: Pair
) -> Any:
    g = framed(g.transpose(0, 2, 3, 1), NO_PADDING, 1, dtype)
    at = _places(g.shape[1:3], weight.shape[2:], stride, dilation)
    rows = _repeated(weight, g.shape[2], dtype)
    height, width = (length + sum(both) for length, both in zip(size, padding, strict=True))
    out = np.zeros((len(g), height, width, g.shape[3]), dtype)
    for part in _in_groups(len(g), 2 * out[:1].nbytes):
        here, images = g[part], out[part]
        for (down, across), row in zip(at, rows, strict=True):
            target = images[:, down, across]
            np.add(target, here * row, out=target)
    return unframed(out, padding, 1).transpose(0, 3, 1, 2)


def _by_channel_by_weight(
    x: Any, g: Any, dtype: Any, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair
) -> Any:
    images = framed(x.transpose(0, 2, 3, 1), padding, 1, dtype)
    g = framed(g.transpose(0, 2, 3, 1), NO_PADDING, 1, dtype)
    at = _places(g.shape[1:3], kernel, stride, dilation)
    sums = np.zeros((len(at), g.shape[3]), dtype)
    for part in _in_groups(len(g), 2 * images[:1].nbytes):
        here, factors = images[part], g[part]
        for k, (down, across) in enumerate(at):
            sums[k] += column_sums(as_rows(here[:, down, across] * factors))
    return np.ascontiguousarray(sums.T).reshape(g.shape[3], 1, *kernel)


# ---- the operations --------------------------------------------------------------------------------------

_CASES = (
    # x (N, C, H, W), weight (O, C / groups, kh, kw), result, and the options
    ((2, 2, 2, 3), (2, 2, 2, 2), (2, 2, 1, 2), (1, 1), NO_PADDING, (1, 1), 1),
    ((1, 1, 4, 3), (1, 1, 3, 2), (1, 1, 2, 2), (2, 1), ((1, 0), (0, 0)), (1, 1), 1),
    ((1, 2, 2, 2), (2, 1, 2, 2), (1, 2, 1, 1), (1, 2), ((0, 0), (0, 1)), (1, 1), 2),
    ((1, 1, 3, 4), (1, 1, 2, 2), (1, 1, 1, 1), (1, 1), NO_PADDING, (2, 3), 1),
    ((1, 2, 2, 3), (1, 2, 1, 1), (1, 1, 1, 2), (2, 2), NO_PADDING, (1, 1), 1),
)


def _options(case: Any) -> dict[str, Any]:
    return dict(zip(("stride", "padding", "dilation", "groups"), case[3:], strict=True))


def _told(arrays: Any, static: Any) -> str:
    """Return the kernel, which is the weight's, and the options."""
    return told(arrays[1].shape[2:], **static)


def _flops(result: Any, weight: Any) -> int:
    """Return two operations for each number of the result and each weight of its filter."""
    return int(2 * result.size * math.prod(weight.shape[1:]))


conv2d: Op = multilinear(
    lambda x, weight, **options: _convolved(x, weight, None, **options),
    (
        lambda g, out, x, weight, **options: conv2d_by_input(g, weight, size=x.shape[2:], **options),
        lambda g, out, x, weight, **options: conv2d_by_weight(x, g, kernel=weight.shape[2:], **options),
    ),
    name="conv2d",
    formula=conv2d_formula,
    told=_told,
    flops=lambda out, x, weight: _flops(out, weight),
    samples=tuple(Sample((case[0], case[1]), _options(case)) for case in _CASES),
)
"""Images (N, C, H, W) and weights (O, C / groups, kh, kw) give (N, O, H', W')."""


def _with_bias_joint(
    g: Any, needed: Any, out: Any, saved: None, x: Any, weight: Any, bias: Any, **options: Any
) -> tuple[Any, ...]:
    rows = framed(g.transpose(0, 2, 3, 1), NO_PADDING, 1, g.dtype)
    g = rows.transpose(0, 3, 1, 2)
    return (
        conv2d_by_input(g, weight, size=x.shape[2:], **options) if needed[0] else None,
        conv2d_by_weight(x, g, kernel=weight.shape[2:], **options) if needed[1] else None,
        stored(column_sums(as_rows(single(rows))), bias.dtype) if needed[2] else None,
    )


conv2d_with_bias = fused(
    # measured: the sum in the cache takes a tenth of that of a result and a bias
    lambda x, weight, bias, **options: (_convolved(x, weight, bias, **options), None),
    _with_bias_joint,
    lambda x, weight, bias, **options: conv2d(x, weight, **options) + np.reshape(bias, (-1, 1, 1)),
    name="conv2d_with_bias",
    label="conv2d",
    told=_told,
    flops=lambda out, x, weight, bias: _flops(out, weight),
    samples=tuple(Sample((case[0], case[1], case[1][:1]), _options(case)) for case in _CASES[1:3]),
)
"""A convolution plus one number for each channel of the result: weight (O, C / groups, kh, kw), bias (O,)."""

conv2d_by_input: Op = multilinear(
    _conv2d_by_input_forward,
    (
        lambda v, out, g, weight, size, **options: conv2d(v, weight, **options),
        lambda v, out, g, weight, size, **options: conv2d_by_weight(v, g, kernel=weight.shape[2:], **options),
    ),
    name="conv2d_by_input",
    told=_told,
    flops=lambda out, g, weight: _flops(g, weight),
    samples=tuple(Sample((case[2], case[1]), {"size": case[0][2:], **_options(case)}) for case in _CASES),
)
"""The transpose of a convolution by its images: g (N, O, H', W') and weights give (N, C, H, W)."""

conv2d_by_weight: Op = multilinear(
    _conv2d_by_weight_forward,
    (
        lambda v, out, x, g, kernel, **options: conv2d_by_input(g, v, size=x.shape[2:], **options),
        lambda v, out, x, g, kernel, **options: conv2d(x, v, **options),
    ),
    name="conv2d_by_weight",
    told=lambda arrays, static: told(**static),
    flops=lambda out, x, g: _flops(g, out),
    samples=tuple(Sample((case[0], case[2]), {"kernel": case[1][2:], **_options(case)}) for case in _CASES),
)
"""The transpose of a convolution by its weights: x and g (N, O, H', W') give (O, C / groups, kh, kw)."""
