"""Change the shape of arrays: reshape, transpose, broadcast, join and split, grids and copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_mnist.engine.errors import plain_array
from tinygrad_mnist.engine.op import EachArgument, Sample, implements, linear
from tinygrad_mnist.engine.tensor import apply

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
    # argsort inverts a permutation
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


def _part(position: int, g: Any, out: Any, *arrays: Any, axis: int) -> Any:
    """Return the part of ``g`` that belongs to one of the joined arrays."""
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

# ---- NumPy's names: formulae of the operations above -----------------------------------------------------


@implements(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    if copy is False:
        raise TypeError(
            "numpy.reshape on a Tensor does not take copy=False: Tensors promise no layout in memory, so "
            "leave it out"
        )
    if _is_fortran("reshape", order):  # Fortran's order is C's with all axes reversed, before and after
        backwards = shape if isinstance(shape, (int, np.integer)) else tuple(shape)[::-1]
        out = np.transpose(reshape_(np.transpose(a), shape=backwards))
    else:
        out = reshape_(a, shape=shape)
    return np.copy(out) if copy else out


def _is_fortran(name: str, order: str | None) -> bool:
    if order not in ("C", "F", None):
        raise TypeError(
            f"numpy.{name} on a Tensor does not take order={order!r}: Tensors promise no layout in memory; "
            "use 'C' or 'F'"
        )
    return order == "F"


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    return reshape_(np.transpose(a) if _is_fortran("ravel", order) else a, shape=(-1,))


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    if axis is None or (not a.ndim and axis in (0, -1)):  # NumPy takes these of a number, too
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
    if isinstance(axes, (int, np.integer)):
        axes = (axes,)
    return transpose_(a, axes=None if axes is None else tuple(axes))


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    axes = list(range(a.ndim))
    first, second = normalize_axis_index(axis1, a.ndim), normalize_axis_index(axis2, a.ndim)
    axes[first], axes[second] = second, first
    return transpose_(a, axes=tuple(axes))


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    # Axis i of this empty array has length i: NumPy moves its axes, and the shape says where each has gone.
    moved = np.moveaxis(np.empty(range(a.ndim), dtype=bool), source, destination)
    return transpose_(a, axes=moved.shape)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    return transpose_(a, axes=np.rollaxis(np.empty(range(a.ndim), dtype=bool), axis, start).shape)


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose: shape {x.shape} was given; expected at least two axes")
    return swapaxes(x, -1, -2)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any) -> Any:
    return broadcast_to_(array, shape=shape)


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
    if not shapes:
        raise ValueError("stack: no arrays were given; expected at least one")
    axis = normalize_axis_index(axis, len(shapes.pop()) + 1, "stack")
    return concatenate_(*(np.expand_dims(as_array(array), axis) for array in arrays), axis=axis)


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    _check_sections("array_split", indices_or_sections)
    before = (slice(None),) * normalize_axis_index(axis, ary.ndim, "array_split")
    pieces = np.array_split(np.arange(ary.shape[axis]), indices_or_sections)
    return [ary[(*before, slice(p[0], p[-1] + 1) if p.size else slice(0, 0))] for p in pieces]


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    _check_sections("split", indices_or_sections)
    axis = normalize_axis_index(axis, ary.ndim, "split")
    if isinstance(indices_or_sections, (int, np.integer)) and ary.shape[axis] % indices_or_sections:
        raise ValueError(
            f"split: axis {axis} of shape {ary.shape} does not divide into {indices_or_sections} "
            "equal parts; use np.array_split"
        )
    pieces: list[Any] = array_split(ary, indices_or_sections, axis)
    return pieces


def _check_sections(name: str, sections: Any) -> None:
    if isinstance(sections, (int, np.integer)) and sections <= 0:
        raise ValueError(f"{name}: {sections} sections were asked for; expected at least one")


# ---- more names: at least so many axes, stacks, splits, grids --------------------------------------------


def _at_least(ndim: int, expand: Any) -> Any:
    """Return ``atleast_1d`` or one of its kind, which gives one array, or a tuple of several."""

    def widen(*arys: Any) -> Any:
        wide = tuple(as_array(a) if np.ndim(a) >= ndim else expand(as_array(a)) for a in arys)
        return wide[0] if len(wide) == 1 else wide

    return widen


def as_array(a: Any) -> Any:
    """Return what NumPy takes for an array as an array; a Tensor stays as it is."""
    return a if hasattr(a, "astype") else plain_array(a)


atleast_1d = implements(np.atleast_1d)(_at_least(1, lambda a: np.reshape(a, (1,))))
atleast_2d = implements(np.atleast_2d)(_at_least(2, lambda a: np.reshape(a, (1, -1))))
atleast_3d = implements(np.atleast_3d)(
    _at_least(3, lambda a: np.reshape(a, (*a.shape, 1) if a.ndim == 2 else (1, -1, 1)))
)


@implements(np.vstack)
def vstack(tup: Sequence[Any]) -> Any:
    return np.concatenate([np.atleast_2d(a) for a in tup], axis=0)


@implements(np.hstack)
def hstack(tup: Sequence[Any]) -> Any:
    arrays = [np.atleast_1d(a) for a in tup]
    return np.concatenate(arrays, axis=0 if arrays and arrays[0].ndim == 1 else 1)


@implements(np.dstack)
def dstack(tup: Sequence[Any]) -> Any:
    return np.concatenate([np.atleast_3d(a) for a in tup], axis=2)


@implements(np.column_stack)
def column_stack(tup: Sequence[Any]) -> Any:
    return np.concatenate([np.reshape(a, (-1, 1)) if np.ndim(a) < 2 else a for a in tup], axis=1)


def _split_along(function: Any, axis: int, least: int) -> None:
    """Declare ``hsplit`` or one of its kind: split along a fixed axis, of an array with enough axes."""

    def split_(ary: Any, indices_or_sections: Any) -> Any:
        if ary.ndim < least:
            raise ValueError(f"{function.__name__} only works on arrays of {least} or more dimensions")
        return np.split(ary, indices_or_sections, axis=min(axis, ary.ndim - 1))

    implements(function)(split_)


_split_along(np.vsplit, 0, 2)
_split_along(np.hsplit, 1, 1)
_split_along(np.dsplit, 2, 3)


@implements(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(np.moveaxis(x, axis, 0))


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*(np.shape(a) for a in args))
    return tuple(apply(broadcast_to_, (a,), {"shape": shape}) for a in args)


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing={indexing!r} was given; expected 'xy' or 'ij'")
    order = list(range(len(xi)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    grids = tuple(
        np.reshape(x, tuple(-1 if place == i else 1 for place in range(len(xi))))
        for i, x in zip(order, xi, strict=True)
    )
    grids = grids if sparse else broadcast_arrays(*grids)
    return tuple(map(np.copy, grids)) if copy else grids


@implements(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    axis = normalize_axis_index(axis, arr.ndim)
    last = np.moveaxis(arr, axis, -1)
    outs = [func1d(last[i], *args, **kwargs) for i in np.ndindex(*last.shape[:-1])]
    if not outs:
        raise ValueError("apply_along_axis: cannot apply a function when an axis besides it has length 0")
    out = np.reshape(np.stack(outs), (*last.shape[:-1], *np.shape(outs[0])))
    added = range(arr.ndim - 1, out.ndim)
    return np.moveaxis(out, tuple(added), tuple(range(axis, axis + len(added))))


@implements(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    for axis in np.atleast_1d(axes).tolist():
        out = func(a, axis if axis >= 0 else a.ndim + axis)
        a = out if np.ndim(out) == np.ndim(a) else np.expand_dims(out, axis)
    return a


# ---- copies and the like ---------------------------------------------------------------------------------


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return a.astype(a.dtype)


@implements(np.real)
def real(val: Any) -> Any:
    return val[...]  # marked as a view, as in NumPy: it is not assigned to


@implements(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    return a[...]


@implements(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return x.astype(dtype, copy=copy)


@implements(np.full_like)
def full_like(a: Any, fill_value: Any, *, shape: Any = None) -> Any:
    return np.where(True, as_array(fill_value).astype(a.dtype), np.zeros_like(a, shape=shape))
