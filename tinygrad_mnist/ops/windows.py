"""Windows that slide over an array: a view of all of them, its transpose, and the sizes that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.stride_tricks import as_strided

from tinygrad_mnist.engine.op import Op, Sample, implements, linear
from tinygrad_mnist.ops.half import single, stored

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]
"""Pixels ((top, bottom), (left, right))."""

NO_PADDING: Final[Sides] = ((0, 0), (0, 0))

# ---- NumPy's function ------------------------------------------------------------------------------------


def _overlap_add_forward(
    g: Any, shape: tuple[int, ...], window: tuple[int, ...], axes: tuple[int, ...]
) -> Any:
    out = np.zeros(shape, single(g).dtype)
    for offset in np.ndindex(*window):
        slices = [slice(None)] * len(shape)
        for axis in set(axes):  # windows may slide along one axis twice
            start = sum(o for o, along in zip(offset, axes, strict=True) if along == axis)
            slices[axis] = slice(start, start + g.shape[axis])
        out[tuple(slices)] += g[(..., *offset)]
    return stored(out, g.dtype)


sliding_window_view_ = linear(
    lambda x, window, axes: np.lib.stride_tricks.sliding_window_view(x, window, axes),
    lambda g, out, x, window, axes: overlap_add(g, shape=x.shape, window=window, axes=axes),
    name="sliding_window_view",
    label="windows",
    samples=tuple(
        Sample((shape,), {"window": window, "axes": axes})
        for shape, window, axes in (
            ((4,), (2,), (0,)),
            ((3, 4), (2, 3), (0, 1)),
            ((2, 3, 3), (2,), (-1,)),
            ((5,), (2, 3), (0, 0)),
            ((2, 2), (1, 2), (1, 0)),
        )
    ),
)
overlap_add: Op = linear(
    lambda g, shape, window, axes: _overlap_add_forward(
        g, shape, window, normalize_axis_tuple(axes, len(shape), allow_duplicate=True)
    ),
    lambda v, out, g, shape, window, axes: sliding_window_view_(v, window=window, axes=axes),
    name="overlap_add",
    samples=(
        Sample(((3, 2),), {"shape": (4,), "window": (2,), "axes": (0,)}),
        Sample(((2, 2, 2, 3),), {"shape": (3, 4), "window": (2, 3), "axes": (0, 1)}),
    ),
)
"""The sum of windows, each put back where it was taken from: the transpose of the view of all windows."""


@implements(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(x: Any, window_shape: Any, axis: Any = None) -> Any:
    window = (window_shape,) if isinstance(window_shape, (int, np.integer)) else tuple(window_shape)
    axes = tuple(range(x.ndim)) if axis is None else axis
    axes = normalize_axis_tuple(axes, x.ndim, "axis", allow_duplicate=True)
    if len(window) != len(axes):
        raise ValueError(
            f"sliding_window_view: window_shape={window_shape} was given for {len(axes)} axes; expected a "
            "length for each"
        )
    return sliding_window_view_(x, window=tuple(int(n) for n in window), axes=axes)


# ---- windows of images -----------------------------------------------------------------------------------


def spans(kernel: Pair, dilation: Pair) -> Pair:
    """Return the pixels from the first to the last that a kernel covers, down and across."""
    return dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1


def output_size(size: Sequence[int], kernel: Pair, stride: Pair, padding: Sides, dilation: Pair) -> Pair:
    """Return how many windows there are, down and across.

    Raises
    ------
    ValueError
        If an option is out of its range, or not one window fits into the image.
    """
    if min(kernel) < 1 or min(stride) < 1 or min(dilation) < 1 or min(min(pair) for pair in padding) < 0:
        raise ValueError(
            f"kernel {kernel}, stride {stride}, dilation {dilation} and padding {padding} were given; "
            "expected positive numbers, and a padding of 0 or more"
        )
    covered = spans(kernel, dilation)
    padded = [size[i] + sum(padding[i]) for i in (0, 1)]
    height, width = ((padded[i] - covered[i]) // stride[i] + 1 for i in (0, 1))
    if height < 1 or width < 1:
        around = f", {padded[0]} x {padded[1]} with their padding" if padded != [*size] else ""
        raise ValueError(
            f"a kernel that covers {covered[0]} x {covered[1]} pixels was given for images of {size[0]} x "
            f"{size[1]}{around}: the output would be {height} x {width}; "
            "expected a smaller kernel or more padding"
        )
    return height, width


def padded_images(x: Any, padding: Sides, value: float = 0) -> Any:
    """Return images (N, C, H, W) in a frame of a value."""
    if padding == NO_PADDING:
        return x
    return np.pad(x, ((0, 0), (0, 0), *padding), constant_values=value)


def image_windows(x: Any, kernel: Pair, stride: Pair, dilation: Pair) -> Any:
    """Return the windows (N, C, H', W', kh, kw) of images (N, C, H, W)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, spans(kernel, dilation), axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def told(kernel: Pair | None = None, **options: Any) -> str:
    """Return the options of windows as a drawing writes them; usual ones are left out.

    Examples
    --------
    >>> told((5, 5), stride=(2, 2), padding=((2, 2), (2, 2)), dilation=(1, 1), groups=1)
    'kernel 5×5, stride 2×2, padding 2'
    """
    parts = [f"kernel {_times(kernel)}"] if kernel else []
    for name, value in options.items():
        if name in ("stride", "dilation", "size") and value != (1, 1):
            parts.append(f"{name} {_times(value)}")
        elif name == "padding" and value != NO_PADDING:
            ((top, bottom), (left, right)) = value
            even = top == bottom == left == right
            parts.append(f"padding {top}" if even else f"padding {top}, {bottom} × {left}, {right}")
        elif name == "groups" and value != 1:
            parts.append(f"{value} groups")
        elif name == "mode":
            parts.append(f"{value}, corners aligned" if options.get("align_corners") else value)
    return ", ".join(parts)


def _times(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


# ---- the same on arrays alone, for fast forward functions ------------------------------------------------

# Images may lie in memory as planes (N, C, H, W), or channels-last (N, H, W, C); ``axis`` is the one of H.


def framed(x: Any, padding: Sides, axis: int, dtype: Any, value: float = 0) -> Any:
    """Return images in a frame of a value, as a contiguous array; without a frame maybe the array itself."""
    if padding == NO_PADDING:
        return np.ascontiguousarray(x, dtype)
    shape = list(x.shape)
    inside = [slice(None)] * x.ndim
    for i, (before, after) in enumerate(padding, axis):
        inside[i] = slice(before, before + shape[i])
        shape[i] += before + after
    out = np.full(shape, value, dtype) if value else np.zeros(shape, dtype)
    out[tuple(inside)] = x
    return out


def unframed(x: Any, padding: Sides, axis: int) -> Any:
    """Return images without their frame: the transpose of `framed`."""
    if padding == NO_PADDING:
        return x
    inside = [slice(before, x.shape[i] - after) for i, (before, after) in enumerate(padding, axis)]
    return np.ascontiguousarray(x[(slice(None),) * axis + tuple(inside)])


def strided_windows(x: Any, axis: int, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Any:
    """Return the windows as a view: axes (H', W', kh, kw) are in the place of height and width."""
    down, across = x.strides[axis : axis + 2]
    steps = (stride[0] * down, stride[1] * across, dilation[0] * down, dilation[1] * across)
    return as_strided(
        x,
        x.shape[:axis] + size + kernel + x.shape[axis + 2 :],
        x.strides[:axis] + steps + x.strides[axis + 2 :],
        writeable=False,
    )


def places(count: int, length: int, stride: int, dilation: int) -> list[slice]:
    """Return, for each element of a window along an axis, the places of it in all ``count`` windows."""
    return [slice(k * dilation, k * dilation + stride * (count - 1) + 1, stride) for k in range(length)]
