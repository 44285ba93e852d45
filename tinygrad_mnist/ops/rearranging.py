"""NumPy functions that move, repeat or drop elements and leave them as they are.

None of them needs a rule: what the function does to the positions of the elements tells where each element of
the result comes from, and indexing has a gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.engine.dispatch import raise_unsupported_option
from tinygrad_mnist.engine.op import FUNCTIONS, implements
from tinygrad_mnist.engine.tensor import apply
from tinygrad_mnist.ops.constant import values_of
from tinygrad_mnist.ops.indexing import getitem


def _positions(a: Any) -> Any:
    """Each element's position in ``ravel(a)``, in the shape of ``a``."""
    return np.arange(np.size(a)).reshape(np.shape(a))


def _pick(a: Any, index: Any) -> Any:
    """``a[index]`` as a Tensor, also where ``a`` is an array and only the index was a Tensor."""
    return apply(getitem, (a,), {"index": index})


def by_positions(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(a, ...)``, which only moves elements of ``a``, by what it does to their positions."""
    signature = inspect.signature(function)
    first = next(iter(signature.parameters))

    def move(*args: Any, **kwargs: Any) -> Any:
        a, *args = args or (kwargs.pop(first),)  # type: ignore[assignment]
        moved = function(
            _positions(a), *map(values_of, args), **{key: values_of(value) for key, value in kwargs.items()}
        )
        return _pick(np.ravel(a), moved)

    move.__qualname__ = function.__name__
    move.__signature__ = signature  # type: ignore[attr-defined]
    return move


for _function in (np.roll, np.repeat, np.tile, np.delete, np.resize):
    FUNCTIONS[_function] = by_positions(_function)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    return by_positions(np.rot90)(m, k, axes)[...]  # a view, as in NumPy: it is not assigned to


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
    moved = np.insert(_positions(arr), values_of(obj), arr.size + _positions(values), axis)
    return _pick(np.concatenate([np.ravel(arr), np.ravel(values)]), moved)


@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return np.concatenate([arr, values], axis=axis)


@implements(np.block)
def block(arrays: Any) -> Any:
    parts: list[Any] = []
    count = 0

    def positions(nested: Any) -> Any:
        nonlocal count
        if isinstance(nested, list):
            return [positions(part) for part in nested]
        parts.append(np.ravel(nested))
        count += np.size(nested)
        return count - np.size(nested) + _positions(nested)

    moved = np.block(positions(arrays))
    return _pick(np.concatenate(parts), moved)


@implements(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb") -> Any:
    if filt.ndim != 1:
        raise TypeError(
            f"trim_zeros: expected one axis on a Tensor, got shape {filt.shape}; slice it instead"
        )
    kept = np.flatnonzero(filt.data)
    if not kept.size:
        return filt[:0]
    lower = trim.lower()
    return filt[kept[0] if "f" in lower else 0 : kept[-1] + 1 if "b" in lower else filt.size]


# ---- choosing elements -----------------------------------------------------------------------------------


@implements(np.take)
def take(a: Any, indices: Any, axis: int | None = None, *, mode: str = "raise") -> Any:
    if axis is not None:
        axis = np.lib.array_utils.normalize_axis_index(axis, np.ndim(a), "take")
    positions = np.arange(a.size if axis is None else a.shape[axis])
    chosen = np.take(positions, values_of(indices), mode=mode)  # type: ignore[call-overload]
    return _pick(np.ravel(a), chosen) if axis is None else _pick(a, (*_before(axis, np.ndim(a)), chosen))


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    where = values_of(indices)
    return _pick(np.ravel(arr), where) if axis is None else _pick(arr, _along(arr, where, axis))


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    where = values_of(indices)
    if axis is None:
        arr[np.unravel_index(np.arange(arr.size)[where], arr.shape)] = values
    else:
        arr[_along(arr, where, axis)] = values


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
    return _pick(np.ravel(a), chosen) if axis is None else _pick(a, (*_before(axis, np.ndim(a)), chosen))


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return _pick(np.ravel(arr), np.flatnonzero(values_of(condition)))


@implements(np.choose)
def choose(a: Any, choices: Any, *, mode: str = "raise") -> Any:
    choices = list(choices)
    dtype = np.result_type(
        *(c if type(c) in (bool, int, float) else np.asarray(values_of(c)).dtype for c in choices)
    )
    choices = [np.asarray(c, dtype) if type(c) in (bool, int, float) else c for c in choices]
    sizes = [np.size(choice) for choice in choices]
    starts = np.cumsum([0, *sizes[:-1]])
    positions = [start + _positions(choice) for start, choice in zip(starts, choices, strict=True)]
    moved = np.choose(values_of(a), positions, mode=mode)  # type: ignore[call-overload]
    return _pick(np.concatenate([np.ravel(choice) for choice in choices]), moved)


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
            of_all = np.cumsum(condition).reshape(x.shape) - 1  # which of the chosen elements; -1 before
            out = np.where(condition, function(x[condition], *args, **kw)[of_all], out)
    return out.astype(x.dtype)


def _before(axis: int, ndim: int) -> tuple[slice, ...]:
    """Full slices for the axes before this one."""
    return (slice(None),) * np.lib.array_utils.normalize_axis_index(axis, ndim)


def _along(arr: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """The index of ``take_along_axis``: these positions along one axis, the same place along the others."""
    axis = np.lib.array_utils.normalize_axis_index(axis, arr.ndim)
    if indices.ndim != arr.ndim:
        raise ValueError(
            f"indices of shape {indices.shape} for an array of shape {arr.shape}: give as many axes"
        )
    places = np.ix_(*(range(n) for n in arr.shape))
    return (*places[:axis], indices, *places[axis + 1 :])


def _cycled(values: Any, count: int) -> Any:
    """``count`` values, these over and over."""
    flat = np.ravel(values if hasattr(values, "shape") else np.asarray(values))
    return np.resize(flat, (count,)) if flat.size != count else flat
