"""Convolution of images: three multilinear operations, each the derivative of the others.

For images x, weights w and a cotangent g of the result, all three sum the same products g * w * x: over w and
x it is the forward pass, over g and w the gradient by the images, and over x and g that by the weights. So
they are closed under differentiation, and derivatives of every order follow.

Shapes are (N, C, H, W), as in PyTorch; in memory the results lie channels-last, as a transposed view.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import Op, Sample, multilinear
from tinygrad_mnist.ops.half import HALF, stored
from tinygrad_mnist.ops.windows import (
    Pair,
    Sides,
    channels_last,
    image_windows,
    output_size,
    padded_images,
    windows_last,
)

_CACHED = 1 << 19
"""Bytes of windows that are copied out before they are multiplied: they are still in the cache then."""


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
            f"groups={groups} was given for {x[1]} channels in and {weight[0]} out; expected a divisor "
            "of both"
        )
    if x[1] != weight[1] * groups:
        raise ValueError(
            f"input of shape {x} has {x[1]} channels; weight of shape {weight} with groups={groups} expects "
            f"{weight[1] * groups}"
        )
    return output_size(x[2:], (weight[2], weight[3]), stride, padding, dilation)


def _check_result(g: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if g != expected:
        raise ValueError(f"a cotangent of shape {g} was given; the result of the convolution has {expected}")


def _dtypes(x: Any, y: Any) -> tuple[Any, Any]:
    """Return the dtype of a product, and the one that it is computed in."""
    dtype = np.result_type(x, y)
    return dtype, np.dtype(np.float32) if dtype == HALF else dtype


def _filters(weight: Any, groups: int, dtype: Any) -> Any:
    """Return weights (O, C / groups, kh, kw) as matrices (groups, kh kw C / groups, O / groups)."""
    out, channels, height, width = weight.shape
    split = weight.reshape(groups, out // groups, channels, height, width).transpose(0, 3, 4, 2, 1)
    return np.ascontiguousarray(split, dtype).reshape(groups, height * width * channels, out // groups)


def _in_groups(n: int, bytes_each: int) -> Iterator[slice]:
    """Yield slices of images of which the windows fit into the cache."""
    step = max(1, _CACHED // max(bytes_each, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _rows(windows: Any, groups: int) -> Any:
    """Return windows (n, H', W', kh, kw, C) copied out as matrices (groups, n H' W', kh kw C / groups)."""
    n, height, width, kh, kw, channels = windows.shape
    rows, each = n * height * width, channels // groups
    if groups == 1:
        return np.ascontiguousarray(windows).reshape(1, rows, kh * kw * channels)
    split = windows.reshape(n, height, width, kh, kw, groups, each) if windows.flags.c_contiguous else windows
    split = np.ascontiguousarray(split).reshape(rows, kh * kw, groups, each).transpose(2, 0, 1, 3)
    return split.reshape(groups, rows, kh * kw * each)


# ---- forward ---------------------------------------------------------------------------------------------


def _conv2d_forward(x: Any, weight: Any, stride: Pair, padding: Sides, dilation: Pair, groups: int) -> Any:
    size = _check(x.shape, weight.shape, stride, padding, dilation, groups)
    dtype, computed = _dtypes(x, weight)
    images, filters = channels_last(x, padding, computed), _filters(weight, groups, computed)
    windows = windows_last(images, size, weight.shape[2:], stride, dilation)
    n, outputs = x.shape[0], weight.shape[0]
    out = np.empty((n, *size, outputs), computed)
    for part in _in_groups(n, windows[:1].nbytes):
        product = _rows(windows[part], groups) @ filters  # (groups, rows, outputs / groups)
        out[part] = product.transpose(1, 0, 2).reshape(out[part].shape)
    return stored(out, dtype).transpose(0, 3, 1, 2)


# ---- by input --------------------------------------------------------------------------------------------


def _conv2d_by_input_forward(
    g: Any, weight: Any, size: Pair, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Any:
    n, channels = g.shape[0], weight.shape[1] * groups
    height, width = _check((n, channels, *size), weight.shape, stride, padding, dilation, groups)
    _check_result(g.shape, (n, weight.shape[0], height, width))
    dtype, computed = _dtypes(g, weight)
    (kh, kw), ((top, bottom), (left, right)) = weight.shape[2:], padding
    filters = _filters(weight, groups, computed).transpose(0, 2, 1)
    rows = channels_last(g, ((0, 0), (0, 0)), computed)
    out = np.zeros((n, size[0] + top + bottom, size[1] + left + right, channels), computed)
    for part in _in_groups(n, height * width * kh * kw * channels * computed.itemsize):
        here = rows[part]
        split = here.reshape(-1, groups, weight.shape[0] // groups).transpose(1, 0, 2)
        windows = split @ filters  # (groups, rows, kh kw C / groups)
        windows = windows.reshape(groups, len(here), height, width, kh, kw, -1)
        images = out[part].reshape(len(here), *out.shape[1:3], groups, -1)
        for i in range(kh):
            down = slice(i * dilation[0], i * dilation[0] + stride[0] * (height - 1) + 1, stride[0])
            for j in range(kw):
                across = slice(j * dilation[1], j * dilation[1] + stride[1] * (width - 1) + 1, stride[1])
                images[:, down, across] += windows[:, :, :, :, i, j].transpose(1, 2, 3, 0, 4)
    out = out[:, top : top + size[0], left : left + size[1]]
    return stored(np.ascontiguousarray(out), dtype).transpose(0, 3, 1, 2)


# ---- by weight -------------------------------------------------------------------------------------------


def _conv2d_by_weight_forward(
    x: Any, g: Any, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Any:
    if g.ndim != 4 or x.ndim != 4:
        raise ValueError(f"arrays of shapes {x.shape} and {g.shape} were given; expected four axes each")
    n, outputs = x.shape[0], g.shape[1]
    each = x.shape[1] // max(groups, 1)
    size = _check(x.shape, (outputs, each, *kernel), stride, padding, dilation, groups)
    _check_result(g.shape, (n, outputs, *size))
    dtype, computed = _dtypes(x, g)
    images = channels_last(x, padding, computed)
    rows = channels_last(g, ((0, 0), (0, 0)), computed)
    windows = windows_last(images, size, kernel, stride, dilation)
    out = np.zeros((groups, kernel[0] * kernel[1] * each, outputs // groups), computed)
    for part in _in_groups(n, windows[:1].nbytes):
        split = rows[part].reshape(-1, groups, outputs // groups).transpose(1, 0, 2)
        out += _rows(windows[part], groups).transpose(0, 2, 1) @ split
    out = out.reshape(groups, *kernel, each, outputs // groups).transpose(0, 4, 3, 1, 2)
    return stored(np.ascontiguousarray(out), dtype).reshape(outputs, each, *kernel)


# ---- the operations --------------------------------------------------------------------------------------

_CASES = (
    # x (N, C, H, W), weight (O, C / groups, kh, kw), result, and the options
    ((2, 2, 3, 4), (2, 2, 2, 3), (2, 2, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 1, 4, 3), (2, 1, 3, 2), (1, 2, 2, 2), (2, 1), ((1, 0), (0, 0)), (1, 1), 1),
    ((1, 2, 3, 3), (2, 1, 2, 2), (1, 2, 2, 2), (1, 2), ((0, 0), (0, 1)), (1, 1), 2),
    ((1, 1, 5, 4), (1, 1, 2, 2), (1, 1, 3, 2), (1, 1), ((0, 0), (0, 0)), (2, 2), 1),
    ((2, 2, 2, 2), (1, 2, 1, 1), (2, 1, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
)  # fmt: skip


def _options(case: Any) -> dict[str, Any]:
    return dict(zip(("stride", "padding", "dilation", "groups"), case[3:], strict=True))


conv2d: Op = multilinear(
    _conv2d_forward,
    (
        lambda g, out, x, weight, **options: conv2d_by_input(g, weight, size=x.shape[2:], **options),
        lambda g, out, x, weight, **options: conv2d_by_weight(x, g, kernel=weight.shape[2:], **options),
    ),
    name="conv2d",
    formula=conv2d_formula,
    samples=tuple(Sample((case[0], case[1]), _options(case)) for case in _CASES),
)
"""Images (N, C, H, W) and weights (O, C / groups, kh, kw) give (N, O, H', W')."""

conv2d_by_input: Op = multilinear(
    _conv2d_by_input_forward,
    (
        lambda v, out, g, weight, size, **options: conv2d(v, weight, **options),
        lambda v, out, g, weight, size, **options: conv2d_by_weight(v, g, kernel=weight.shape[2:], **options),
    ),
    name="conv2d_by_input",
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
    samples=tuple(Sample((case[0], case[2]), {"kernel": case[1][2:], **_options(case)}) for case in _CASES),
)
"""The transpose of a convolution by its weights: x and g (N, O, H', W') give (O, C / groups, kh, kw)."""
