"""Functions that flip, roll, repeat, insert, drop, sort or pad elements, and leave their values as they are.

Few of them need a rule of their own. NumPy's function is run on the positions of the elements, and its result
is an index: it tells which element stands at each place. Indexing has a gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_mnist.engine.dtypes import is_integer
from tinygrad_mnist.engine.op import FUNCTIONS, Sample, implements, linear
from tinygrad_mnist.ops.indexing import pick, positions
from tinygrad_mnist.ops.values import values_of


def by_positions(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a NumPy function that only moves elements of its first argument, as a function of Tensors."""
    signature = inspect.signature(function)
    first = next(iter(signature.parameters))

    def move(*args: Any, **kwargs: Any) -> Any:
        a, *args = args or (kwargs.pop(first),)  # type: ignore[assignment]
        moved = function(
            positions(a), *map(values_of, args), **{key: values_of(value) for key, value in kwargs.items()}
        )
        return pick(np.ravel(a), moved)

    move.__qualname__ = function.__name__
    move.__signature__ = signature  # type: ignore[attr-defined]
    return move


for _function in (np.roll, np.repeat, np.tile, np.delete):
    FUNCTIONS[_function] = by_positions(_function)


_resized, _turned = by_positions(np.resize), by_positions(np.rot90)


@implements(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    return _resized(a, new_shape) if np.size(a) else np.zeros_like(a, shape=new_shape)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    return _turned(m, k, axes)[...]  # marked as a view, as in NumPy: it is not assigned to


flip_ = linear(
    lambda x, axis: np.flip(x, axis),
    lambda g, out, x, axis: np.flip(g, axis),
    name="flip",
    samples=tuple(Sample(((2, 3),), {"axis": axis}) for axis in (None, 0, -1, (0, 1))),
)


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    return flip_(m, axis=axis)


@implements(np.fliplr)
def fliplr(m: Any) -> Any:
    return np.flip(m, 1)


@implements(np.flipud)
def flipud(m: Any) -> Any:
    return np.flip(m, 0)


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    if not hasattr(values, "__apply_op__"):
        values = np.asarray(values)
    values = values.astype(arr.dtype)
    # the values stand behind the array's own elements, so their positions begin at its size
    moved = np.insert(positions(arr), values_of(obj), arr.size + positions(values), axis)
    return pick(np.concatenate([np.ravel(arr), np.ravel(values)]), moved)


@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return np.concatenate([arr, values], axis=axis)


@implements(np.block)
def block(arrays: Any) -> Any:
    parts: list[Any] = []
    count = 0

    def numbered(nested: Any) -> Any:
        """Return nested lists with the positions in all arrays joined, in the place of each array."""
        nonlocal count
        if isinstance(nested, list):
            return [numbered(part) for part in nested]
        parts.append(np.ravel(nested))
        count += np.size(nested)
        return count - np.size(nested) + positions(nested)

    moved = np.block(numbered(arrays))
    return pick(np.concatenate(parts), moved)


@implements(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb") -> Any:
    if filt.ndim != 1:
        raise TypeError(
            f"trim_zeros: expected one axis on a Tensor, got shape {filt.shape}; slice it instead"
        )
    kept = np.flatnonzero(values_of(filt))
    if not kept.size:
        return filt[:0]
    lower = trim.lower()
    return filt[kept[0] if "f" in lower else 0 : kept[-1] + 1 if "b" in lower else filt.size]


# ---- sorting ---------------------------------------------------------------------------------------------

# A sort is a choice of elements, so its gradient is that of indexing. It is stable: ties keep their order.


@implements(np.sort)
def sort(a: Any, axis: int | None = -1, kind: str | None = None, *, stable: bool | None = None) -> Any:
    if axis is None:
        a, axis = np.ravel(a), -1
    return np.take_along_axis(a, np.argsort(a, axis=axis, kind="stable"), axis)


@implements(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect") -> Any:
    if axis is None:
        a, axis = np.ravel(a), -1
    return np.take_along_axis(a, np.argpartition(a, kth, axis=axis), axis)


# ---- padding ---------------------------------------------------------------------------------------------

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
"""Modes of ``np.pad`` that repeat elements."""

STATISTICS: Final[dict[str, Callable[..., Any]]] = {
    "mean": np.mean, "median": np.median, "maximum": np.max, "minimum": np.min,
}  # fmt: skip
"""Modes of ``np.pad`` that repeat a statistic of the nearest elements, and the function that computes it."""


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
        # pad the positions along each axis, and index by them
        along = [np.pad(np.arange(n), w, mode=mode) for n, w in zip(array.shape, widths, strict=True)]
        return array[np.ix_(*along)]
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
    """Return how many elements to add before and behind each axis."""
    if isinstance(pad_width, dict):  # NumPy 2.2: from axes to widths
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
    """Return a number, a pair, or a pair for each axis as a pair for each axis."""
    if np.size(values) <= 2 and np.shape(values) != (2, 1):
        values = np.ravel(values)
    return np.broadcast_to(values, (array.ndim, 2))


def _framed(x: Any, widths: list[list[int]], frame: Callable[..., Any]) -> Any:
    """Return ``x`` with ``frame(x, axis, side, width)``, broadcast, before (side 0) and behind it (1)."""
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
    """Return ``x`` in a dtype, rounded if that is one of integers."""
    return (np.rint(x) if is_integer(dtype) else x).astype(dtype)


def _nearest(x: Any, axis: int, side: int, count: int) -> Any:
    """Return the ``count`` elements next to one end of an axis."""
    n = x.shape[axis]
    return x[(slice(None),) * axis + (slice(n - count, n) if side else slice(count),)]


def _ramp(x: Any, end: Any, axis: int, side: int, width: int) -> Any:
    """Return even steps from ``end``, the outermost, towards the element at the edge, which is left out."""
    edge = np.squeeze(_nearest(x, axis, side, 1), axis)
    ramp = np.linspace(end, edge, width, endpoint=False, axis=axis)
    ramp = np.floor(ramp) if is_integer(x) else ramp
    return np.flip(ramp, axis) if side else ramp
