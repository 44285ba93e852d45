"""Indexing: read elements, write elements, and NumPy's functions that choose, take, put or read diagonals.

Three operations carry all of it. Reading is ``getitem``, and its transpose is ``scatter_add``. Writing is
``set_at``, which returns a copy with some elements replaced. An index may be of every kind that NumPy has:
slices, None, Ellipsis, integer and boolean arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_mnist.engine.dispatch import raise_unsupported_option
from tinygrad_mnist.engine.op import Op, Sample, implements, linear
from tinygrad_mnist.engine.tensor import apply
from tinygrad_mnist.ops.half import single, stored
from tinygrad_mnist.ops.shape import as_array
from tinygrad_mnist.ops.values import arrays_of, values_of


def _may_repeat(index: Any) -> bool:
    """Return whether an index can name one element twice: only integer arrays and lists can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(
        isinstance(part, list) or (isinstance(part, np.ndarray) and part.dtype != bool and part.ndim > 0)
        for part in parts
    )


def _scatter(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    if _may_repeat(index):
        out = np.zeros(shape, dtype=single(g).dtype)
        np.add.at(out, index, g)  # adds once for each repeat
        return stored(out, g.dtype)
    out = np.zeros(shape, dtype=g.dtype)
    out[index] = g  # the same, and many times faster
    return out


getitem = linear(
    lambda x, index: x[index],
    lambda g, out, x, index: scatter_add(g, index=index, shape=x.shape),
    name="getitem",
    label="[ ]",
    samples="index",
)
scatter_add: Op = linear(
    _scatter,
    lambda g, out, x, index, shape: g[index],
    name="scatter_add",
    samples=(
        Sample(((3,),), {"index": np.array([0, 0, 2]), "shape": (4,)}),
        Sample(((2, 2),), {"index": (slice(None), [1, -1]), "shape": (2, 3)}),
        Sample(((2,),), {"index": np.array([True, False, True]), "shape": (3,)}),
        Sample(((),), {"index": (0, 1), "shape": (2, 2)}),
    ),
)
"""Zeros of ``shape`` with ``x`` added at ``index``, where repeats add up: the transpose of indexing."""


def _replaced(x: Any, value: Any, index: Any) -> Any:
    """Return a copy of an array with some elements replaced: those that ``index`` names, by ``value``."""
    if not np.can_cast(np.result_type(value), x.dtype, "same_kind"):
        raise TypeError(
            f"an element of dtype {x.dtype} was assigned {np.result_type(value)}, which it cannot hold; "
            "convert one with .astype"
        )
    out = x.copy()
    out[index] = value
    return out


def _by_value(g: Any, out: Any, x: Any, value: Any, index: Any) -> Any:
    """Return the cotangent of the values: the elements that they were assigned to.

    If an index names an element twice, only the last value arrived, and the others have gradient 0.
    """
    part = g[index]
    if _may_repeat(index):
        # assign the numbers 0, 1, ... in the same way: each element keeps the number of its last value
        order = np.arange(part.size).reshape(part.shape)
        last = np.zeros(x.shape, order.dtype)
        last[index] = order
        part = part * (last[index] == order)
    return np.reshape(part, (1,) * (value.ndim - part.ndim) + part.shape)  # NumPy drops leading ones


set_at: Op = linear(
    _replaced,
    lambda g, out, x, value, index: set_at(g, 0, index=index),  # what was replaced has no gradient
    _by_value,
    name="set_at",
    label="[ ] =",
    broadcasts=True,
    samples=(
        Sample(((3,), ()), {"index": 1}),
        Sample(((2, 3), (3,)), {"index": (slice(None), slice(None, None, -1))}),
        Sample(((4,), (2,)), {"index": np.array([3, 0])}),
        Sample(((3,), (4,)), {"index": np.array([0, 2, 0, 0])}),
        Sample(((2, 3), (1, 2)), {"index": (slice(None), [0, -1])}),
        Sample(((2, 2), (3,)), {"index": np.array([[True, False], [True, True]])}),
        Sample(((2, 3), ()), {"index": (None, Ellipsis, 0)}),
    ),
)
"""A copy of ``x`` with ``value`` at ``index``."""


# ---- choose, take and put --------------------------------------------------------------------------------


def positions(a: Any) -> Any:
    """Return the position of each element in ``ravel(a)``, in the shape of ``a``."""
    return np.arange(np.size(a)).reshape(np.shape(a))


def pick(a: Any, index: Any) -> Any:
    """Return ``a[index]`` as a Tensor, even if ``a`` is an array and only the index was a Tensor."""
    return apply(getitem, (a,), {"index": index})


@implements(np.take)
def take(a: Any, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Any:
    if axis is not None:
        a = np.atleast_1d(a)  # an axis of a number is one of length 1, as in NumPy
        axis = normalize_axis_index(axis, np.ndim(a), "take")
    along = np.arange(a.size if axis is None else a.shape[axis])
    chosen = np.take(along, values_of(indices), mode=mode)  # type: ignore[call-overload]
    return pick(np.ravel(a), chosen) if axis is None else pick(a, (*_before(axis, np.ndim(a)), chosen))


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    where = arrays_of(indices)
    return pick(np.ravel(arr), where) if axis is None else pick(arr, _along(arr, where, axis))


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    if axis is None:
        arr[np.unravel_index(np.arange(arr.size)[values_of(indices)], arr.shape)] = values
    else:
        arr[_along(arr, arrays_of(indices), axis)] = values


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    where = np.ravel(np.take(np.arange(a.size), values_of(ind), mode=mode))  # type: ignore[call-overload]
    a[np.unravel_index(where, a.shape)] = _cycled(v, where.size)


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    chosen = np.reshape(values_of(mask), arr.shape).astype(bool)
    arr[chosen] = _cycled(vals, int(np.count_nonzero(chosen)))


@implements(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    chosen = np.reshape(values_of(mask), a.shape).astype(bool)
    a[chosen] = np.ravel(_cycled(values, a.size))[np.ravel(chosen)]


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    chosen = np.zeros(a.shape, bool)
    np.fill_diagonal(chosen, True, wrap=wrap)
    a[chosen] = _cycled(val, int(np.count_nonzero(chosen)))


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind") -> None:
    if isinstance(dst, np.ndarray):
        if getattr(src, "requires_grad", False):
            raise TypeError(
                "numpy.copyto: an ndarray would lose the gradient of the Tensor that it is given; make it "
                "a Tensor first, as in np.full_like(Tensor(a), t), or give it t.detach().numpy()"
            )
        np.copyto(dst, values_of(src), casting=casting)
    elif casting != "same_kind":
        raise_unsupported_option("copyto", "casting")
    else:
        dst[...] = src


@implements(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    chosen = np.flatnonzero(values_of(condition))
    a = np.ravel(a) if axis is None else np.atleast_1d(a)
    return pick(a, (*_before(0 if axis is None else axis, np.ndim(a)), chosen))


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return pick(np.ravel(arr), np.flatnonzero(values_of(condition)))


@implements(np.choose)
def choose(a: Any, choices: Any, *, mode: str = "raise") -> Any:
    choices = list(choices)
    dtype = np.result_type(
        *(c if type(c) in (bool, int, float) else np.asarray(arrays_of(c)).dtype for c in choices)
    )
    choices = [np.asarray(c, dtype) if type(c) in (bool, int, float) else c for c in choices]
    sizes = [np.size(choice) for choice in choices]
    starts = np.cumsum([0, *sizes[:-1]])
    # positions in all choices joined, chosen as NumPy chooses elements
    places = [start + positions(choice) for start, choice in zip(starts, choices, strict=True)]
    moved = np.choose(values_of(a), places, mode=mode)  # type: ignore[call-overload]
    return pick(np.concatenate([np.ravel(choice) for choice in choices]), moved)


@implements(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(f"select: {len(condlist)} conditions were given for {len(choicelist)} choices")
    out = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        out = np.where(condition, choice, out)
    return out


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    conditions = list(np.reshape(np.asarray(values_of(condlist), dtype=bool), (-1, *x.shape)))
    if len(conditions) == len(funclist) - 1:
        conditions.append(~np.any(conditions, axis=0))
    if len(conditions) != len(funclist):
        raise ValueError(
            f"piecewise: with {len(conditions)} conditions, as many functions or one more are expected; got "
            f"{len(funclist)}"
        )
    out = np.zeros(x.shape, x.dtype)
    for condition, function in zip(conditions, funclist, strict=True):
        if not callable(function):
            out = np.where(condition, function, out)
        elif np.any(condition):
            # The function gets the chosen elements alone. Each of these then reads its own result by its
            # number; the other elements read any, which np.where drops.
            number = np.cumsum(condition).reshape(x.shape) - 1
            out = np.where(condition, function(x[condition], *args, **kw)[number], out)
    return out.astype(x.dtype)


def _before(axis: int, ndim: int) -> tuple[slice, ...]:
    """Return a full slice for each axis before this one."""
    return (slice(None),) * normalize_axis_index(axis, ndim)


def _along(arr: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """Return the index of ``take_along_axis``: positions along one axis, the own place along the others."""
    axis = normalize_axis_index(axis, arr.ndim)
    if indices.ndim != arr.ndim:
        raise ValueError(
            f"indices of shape {indices.shape} for an array of shape {arr.shape}: give as many axes"
        )
    places = np.ix_(*(range(n) for n in arr.shape))
    return (*places[:axis], indices, *places[axis + 1 :])


def _cycled(values: Any, count: int) -> Any:
    """Return ``count`` values: the given ones, repeated from the start as often as needed."""
    flat = np.ravel(as_array(values))
    return np.resize(flat, (count,)) if flat.size != count else flat


# ---- diagonals and triangles -----------------------------------------------------------------------------


def _on_diagonal(rows: int, columns: int, offset: int) -> tuple[Any, Any]:
    """Return the rows and the columns of the elements of a diagonal; ``offset`` counts to the right."""
    above, below = max(offset, 0), max(-offset, 0)
    along = np.arange(max(min(rows - below, columns - above), 0))
    return along + below, along + above


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    if a.ndim < 2:
        raise ValueError(f"diagonal: shape {a.shape} was given; expected at least two axes")
    matrices = np.moveaxis(a, (axis1, axis2), (-2, -1))
    *_, rows, columns = matrices.shape
    return matrices[(..., *_on_diagonal(rows, columns, offset))][...]  # a view, as in NumPy


@implements(np.linalg.diagonal)
def linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return diagonal(x, offset, -2, -1)


@implements(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    if a.ndim < 2:
        raise ValueError(f"trace: shape {a.shape} was given; expected at least two axes")
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1)


@implements(np.linalg.trace)
def linalg_trace(x: Any, /, *, offset: int = 0) -> Any:
    return trace(x, offset, -2, -1)


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 1:
        n = len(v) + abs(k)
        return scatter_add(v, index=_on_diagonal(n, n, k), shape=(n, n))
    if v.ndim == 2:
        return diagonal(v, k)
    raise ValueError(f"diag: shape {v.shape} was given; expected a vector or a matrix")


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    return diag(np.ravel(v), k)


def _below(m: Any, k: int) -> Any:
    """Return the mask of the elements on or below the k-th diagonal of a matrix.

    NumPy makes a square matrix of a vector, each of its rows the vector.
    """
    return np.tri(m.shape[-2] if m.ndim > 1 else m.shape[-1], m.shape[-1], k, dtype=np.bool_)


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    return np.where(_below(m, k), m, np.zeros((), m.dtype))


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    return np.where(_below(m, k - 1), np.zeros((), m.dtype), m)
