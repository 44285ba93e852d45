"""Operations that move elements and leave them as they are: reshape, transpose, join, split, pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_mnist.op import EachArgument, Sample, implements, linear

reshape_ = linear(
    lambda x, shape: np.reshape(x, shape),
    lambda g, out, x, shape: np.reshape(g, x.shape),
    name="reshape",
    samples=(
        Sample(((2, 3),), {"shape": (3, 2)}),
        Sample(((2, 3),), {"shape": (-1,)}),
        Sample(((1,),), {"shape": ()}),
        Sample(((),), {"shape": (1, 1)}),
    ),
)


def _untranspose(g: Any, out: Any, x: Any, axes: tuple[int, ...] | None) -> Any:
    return np.transpose(g, None if axes is None else np.argsort(normalize_axis_tuple(axes, x.ndim)).tolist())


transpose_ = linear(
    lambda x, axes: np.transpose(x, axes),
    _untranspose,
    name="transpose",
    label="ᵀ",
    samples=(
        Sample(((2, 3),), {"axes": None}),
        Sample(((2, 3, 4),), {"axes": (2, 0, 1)}),
        Sample(((2, 1, 3),), {"axes": (0, -1, 1)}),
        Sample(((),), {"axes": None}),
    ),
)
broadcast_to_ = linear(
    lambda x, shape: np.broadcast_to(x, shape),
    lambda g, out, x, shape: g,  # the walk sums it down
    name="broadcast_to",
    broadcasts=True,
    samples=(
        Sample(((3,),), {"shape": (2, 3)}),
        Sample(((2, 1),), {"shape": (2, 3)}),
        Sample(((),), {"shape": (2, 1)}),
    ),
)
flip_ = linear(
    lambda x, axis: np.flip(x, axis),
    lambda g, out, x, axis: np.flip(g, axis),
    name="flip",
    samples=tuple(Sample(((2, 3),), {"axis": axis}) for axis in (None, 0, -1, (0, 1))),
)


def _part(position: int, g: Any, out: Any, *arrays: Any, axis: int) -> Any:
    """The part of ``g`` that came from one of the joined arrays."""
    axis = normalize_axis_index(axis, g.ndim)
    start = sum(array.shape[axis] for array in arrays[:position])
    return g[(slice(None),) * axis + (slice(start, start + arrays[position].shape[axis]),)]


concatenate_ = linear(
    lambda *arrays, axis: np.concatenate(arrays, axis=axis),
    name="concatenate",
    samples=(
        Sample(((2, 3), (1, 3)), {"axis": 0}),
        Sample(((2, 1), (2, 3), (2, 2)), {"axis": -1}),
        Sample(((2,),), {"axis": 0}),
    ),
    rules=EachArgument(_part),
)
pad_ = linear(
    lambda x, pad_width, constant_values: np.pad(x, pad_width, constant_values=constant_values),
    lambda g, out, x, pad_width, constant_values: g[
        tuple(slice(before, before + n) for (before, _), n in zip(pad_width, x.shape, strict=True))
    ],
    name="pad",
    samples=(
        Sample(((2, 3),), {"pad_width": [(1, 0), (0, 2)], "constant_values": 0}),
        Sample(((3,),), {"pad_width": [(2, 1)], "constant_values": 1.5}),
    ),
)

# ---- NumPy's names: the same moves under other names are formulae of those above -------------------------


@implements(np.reshape)
def reshape(a: Any, /, shape: Any) -> Any:
    return reshape_(a, shape=shape)


@implements(np.ravel)
def ravel(a: Any) -> Any:
    return reshape_(a, shape=(-1,))


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    if axis is None:
        return reshape_(a, shape=tuple(n for n in a.shape if n != 1))
    axes = normalize_axis_tuple(axis, a.ndim)
    if any(a.shape[i] != 1 for i in axes):
        raise ValueError(f"squeeze: cannot squeeze axis {axis} of shape {a.shape}; only axes of length 1")
    return reshape_(a, shape=tuple(n for i, n in enumerate(a.shape) if i not in axes))


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    ndim = a.ndim + (1 if isinstance(axis, (int, np.integer)) else len(axis))
    axes = normalize_axis_tuple(axis, ndim)
    lengths = iter(a.shape)
    return reshape_(a, shape=tuple(1 if i in axes else next(lengths) for i in range(ndim)))


@implements(np.transpose)
def transpose(a: Any, axes: Any = None) -> Any:
    return transpose_(a, axes=None if axes is None else tuple(axes))


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    axes = list(range(a.ndim))
    first, second = normalize_axis_index(axis1, a.ndim), normalize_axis_index(axis2, a.ndim)
    axes[first], axes[second] = second, first
    return transpose_(a, axes=tuple(axes))


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    # what NumPy does to the shape, it does to the axes
    moved = np.moveaxis(np.empty(range(a.ndim), dtype=bool), source, destination)
    return transpose_(a, axes=moved.shape)


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    return swapaxes(x, -1, -2)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any) -> Any:
    return broadcast_to_(array, shape=shape)


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    return flip_(m, axis=axis)


@implements(np.concatenate)
def concatenate(arrays: Sequence[Any], /, axis: int | None = 0) -> Any:
    if axis is None:
        return concatenate_(*(np.ravel(array) for array in arrays), axis=0)
    return concatenate_(*arrays, axis=axis)


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"stack: all arrays must have one shape; got {sorted(shapes)}")
    return concatenate_(*(np.expand_dims(array, axis) for array in arrays), axis=axis)


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    before = (slice(None),) * normalize_axis_index(axis, ary.ndim)
    pieces = np.array_split(np.arange(ary.shape[axis]), indices_or_sections)
    return [ary[(*before, slice(p[0], p[-1] + 1) if p.size else slice(0, 0))] for p in pieces]


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    if isinstance(indices_or_sections, (int, np.integer)) and ary.shape[axis] % indices_or_sections:
        raise ValueError(
            f"split: axis {axis} of shape {ary.shape} does not divide into {indices_or_sections} "
            "equal parts; use np.array_split"
        )
    pieces: list[Any] = array_split(ary, indices_or_sections, axis)
    return pieces


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", *, constant_values: float = 0) -> Any:
    widths = np.broadcast_to(pad_width, (array.ndim, 2)).tolist()
    if mode == "constant":
        return pad_(array, pad_width=widths, constant_values=constant_values)
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        # each of these repeats elements: pad the positions, and index by them
        positions = [np.pad(np.arange(n), w, mode=mode) for n, w in zip(array.shape, widths, strict=True)]
        return array[np.ix_(*positions)]
    raise TypeError(
        f"pad: mode {mode!r} has no gradient rule; use 'constant', 'edge', 'reflect', 'symmetric' or 'wrap'"
    )
