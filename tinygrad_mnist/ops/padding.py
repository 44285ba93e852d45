"""``np.pad`` in its modes: an axis at a time, what stands before and what stands behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_mnist.engine.op import Sample, implements, linear

pad_ = linear(
    lambda x, pad_width, constant_values: np.pad(x, pad_width, constant_values=constant_values),
    lambda g, out, x, pad_width, constant_values: g[
        tuple(slice(before, before + n) for (before, _), n in zip(pad_width, x.shape, strict=True))
    ],
    name="pad",
    jvp=lambda tangents, out, x, pad_width, constant_values: np.pad(tangents[0], pad_width),
    samples=(
        Sample(((2, 3),), {"pad_width": [(1, 0), (0, 2)], "constant_values": 0}),
        Sample(((3,),), {"pad_width": [(2, 1)], "constant_values": 1.5}),
    ),
)

REPEATING: Final = ("edge", "reflect", "symmetric", "wrap")
"""Modes that repeat elements."""

STATISTICS: Final[dict[str, Callable[..., Any]]] = {
    "mean": np.mean, "median": np.median, "maximum": np.max, "minimum": np.min,
}  # fmt: skip
"""Modes that repeat a statistic of the elements that are nearest."""


@implements(np.pad)
def pad(
    array: Any,
    pad_width: Any,
    mode: Any = "constant",
    *,
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
) -> Any:
    widths = _widths(array, pad_width)
    if not array.ndim:
        return np.copy(array)
    if mode == "constant" and not hasattr(constant_values, "__apply_op__"):
        return pad_(array, pad_width=widths, constant_values=constant_values)
    if mode in REPEATING:
        # pad the positions, and index by them
        positions = [np.pad(np.arange(n), w, mode=mode) for n, w in zip(array.shape, widths, strict=True)]
        return array[np.ix_(*positions)]
    if mode == "constant":
        values = _pairs(array, constant_values)
        return _framed(array, widths, lambda x, axis, side, width: values[axis, side])
    if mode == "linear_ramp":
        ends = _pairs(array, end_values)
        return _framed(
            array, widths, lambda x, axis, side, width: _ramp(x, ends[axis, side], axis, side, width)
        )
    if mode in STATISTICS:
        lengths = _pairs(array, np.inf if stat_length is None else stat_length)

        def statistic(x: Any, axis: int, side: int, width: int) -> Any:
            nearest = _nearest(x, axis, side, int(min(lengths[axis, side], x.shape[axis])))
            return STATISTICS[mode](nearest, axis=axis, keepdims=True)

        return _framed(array, widths, statistic)
    raise TypeError(
        f"pad: mode {mode!r} has no gradient rule; use 'constant', 'linear_ramp', "
        f"{', '.join(map(repr, REPEATING + tuple(STATISTICS)))}"
    )


def _widths(array: Any, pad_width: Any) -> list[list[int]]:
    """How many elements to add before and behind each axis."""
    if isinstance(pad_width, dict):  # of axes
        axes = {normalize_axis_index(axis, array.ndim): width for axis, width in pad_width.items()}
        pad_width = [np.broadcast_to(axes.get(i, 0), 2).tolist() for i in range(array.ndim)]
    try:
        widths: list[list[int]] = _pairs(array, pad_width).tolist()
    except ValueError as error:
        raise ValueError(
            f"pad: pad_width={pad_width} was given for shape {array.shape}; expected a number, one pair "
            "(before, after), or a pair for each axis"
        ) from error
    if np.min(widths, initial=0) < 0:
        raise ValueError(f"pad: pad_width={pad_width} was given; expected no negative widths")
    return widths


def _pairs(array: Any, values: Any) -> Any:
    """A number, a pair, or a pair for each axis, as the last."""
    if np.size(values) <= 2 and np.shape(values) != (2, 1):
        values = np.ravel(values)
    return np.broadcast_to(values, (array.ndim, 2))


def _framed(x: Any, widths: list[list[int]], frame: Callable[..., Any]) -> Any:
    """``x`` with what ``frame(x, axis, side, width)`` gives (or broadcasts to) on both sides of each axis."""
    for axis, pair in enumerate(widths):
        if not x.shape[axis] and any(pair):
            raise ValueError(f"pad: axis {axis} of shape {x.shape} has no elements to be continued")
        slabs = [
            np.broadcast_to(frame(x, axis, side, width), (*x.shape[:axis], width, *x.shape[axis + 1 :]))
            for side, width in enumerate(pair)
        ]
        before, behind = (_in_dtype(slab, x.dtype) for slab in slabs)
        x = np.concatenate([before, x, behind], axis=axis)
    return x


def _in_dtype(x: Any, dtype: Any) -> Any:
    """Rounded, where integers are padded."""
    return (np.rint(x) if dtype.kind in "iu" else x).astype(dtype)


def _nearest(x: Any, axis: int, side: int, count: int) -> Any:
    """The elements next to one end of an axis."""
    n = x.shape[axis]
    return x[(slice(None),) * axis + (slice(n - count, n) if side else slice(count),)]


def _ramp(x: Any, end: Any, axis: int, side: int, width: int) -> Any:
    """From ``end`` outside towards the element at the edge, which is left out."""
    edge = np.squeeze(_nearest(x, axis, side, 1), axis)
    ramp = np.linspace(end, edge, width, endpoint=False, axis=axis)
    ramp = np.floor(ramp) if x.dtype.kind in "iu" else ramp
    return np.flip(ramp, axis) if side else ramp
