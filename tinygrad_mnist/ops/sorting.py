"""Sorting, and what is read off a sorted axis: median, quantiles, percentiles.

A sort is a choice of elements, so its gradient is that of indexing; ties keep their order (a stable sort).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.op import implements
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.ops.constant import values_of

Axis = int | tuple[int, ...] | None


@implements(np.sort)
def sort(a: Any, axis: int | None = -1, kind: str | None = None, *, stable: bool | None = None) -> Any:
    if axis is None:
        a, axis = np.ravel(a), -1
    return np.take_along_axis(a, np.argsort(a.data, axis=axis, kind="stable"), axis)


@implements(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect") -> Any:
    if axis is None:
        a, axis = np.ravel(a), -1
    return np.take_along_axis(a, np.argpartition(a.data, values_of(kth), axis=axis), axis)


def _at_rank(
    function: Callable[..., Any], a: Any, given: tuple[Any, ...], axis: Axis, keepdims: bool, **options: Any
) -> Any:
    """A median, quantile or percentile, by what NumPy's function says of the ranks 0, 1, ..., n - 1.

    Of the ranks it returns the rank to read, possibly between two; the result lies between the elements of
    these ranks in the same way, whatever the method. A rank is no number where the element is none, so that
    the two families (``median`` and ``nanmedian``) treat such elements as they do.
    """
    reduced = tuple(range(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim)
    kept = tuple(i for i in range(a.ndim) if i not in reduced)
    shape = tuple(a.shape[i] for i in kept)
    ordered = sort(
        np.reshape(np.transpose(a, kept + reduced), (*shape, math.prod(a.shape[i] for i in reduced)))
    )
    if not ordered.shape[-1]:
        return _of_nothing(function, a, given, axis, keepdims, options)
    ranks = np.where(np.isnan(ordered.data), np.nan, np.arange(ordered.shape[-1], dtype=np.float64))
    rank = np.asarray(function(ranks, *given, axis=-1, **options))
    dtype = function(np.zeros(1, a.dtype), *given, **options).dtype
    leading = rank.shape[: rank.ndim - len(shape)]  # those of the probabilities
    rank = np.moveaxis(rank.reshape(math.prod(leading), *shape), 0, -1)
    known = ~np.isnan(rank)
    rank = np.where(known, rank, 0)
    low = np.floor(rank).astype(np.intp)
    high = np.minimum(low + 1, ordered.shape[-1] - 1)
    part = (rank - low).astype(dtype)
    lower = np.take_along_axis(ordered, low, axis=-1)
    upper = np.where(part == 0, 0, np.take_along_axis(ordered, high, axis=-1))  # 0 times inf is nan
    out = (1 - part) * lower + part * upper
    if not np.all(known):
        out = np.where(known, out, _of_holes(function, ordered))
    if np.any(np.isinf(ordered.data)):  # between infinities NumPy sees no number
        with np.errstate(invalid="ignore"):
            theirs = np.asarray(function(ordered.data, *given, axis=-1, **options))
        theirs = np.moveaxis(theirs.reshape(math.prod(leading), *shape), 0, -1)
        out = out * np.where(np.isnan(theirs), np.nan, 1.0).astype(dtype)
    out = out.astype(dtype)
    out = np.reshape(np.moveaxis(out, -1, 0), (*leading, *shape))
    return np.expand_dims(out, tuple(len(leading) + i for i in reduced)) if keepdims else out


def _of_nothing(
    function: Callable[..., Any], a: Any, given: tuple[Any, ...], axis: Axis, keepdims: bool, options: Any
) -> Any:
    """What NumPy says of no elements: an error, or no number and a warning."""
    try:
        value = function(a.data, *given, axis=axis, keepdims=keepdims, **options)
    except IndexError:
        raise ValueError(f"{function.__name__}: no elements along axis {axis} of shape {a.shape}") from None
    return np.sum(a, axis=axis, keepdims=keepdims) + value


def _of_holes(function: Callable[..., Any], ordered: Any) -> Any:
    """The result where it is no number: it comes from the elements that are none, evenly, as in ``np.max``.

    Of the nan- family only a row of nothing else has such a result, and no gradient, as in ``np.nanmax``.
    """
    if function.__name__.startswith("nan"):
        return np.nan
    holes = np.isnan(ordered.data)
    share = holes / np.maximum(np.sum(holes, axis=-1, keepdims=True), 1)
    return np.sum(np.where(holes, ordered, 0) * share, axis=-1, keepdims=True)


def _median(function: Callable[..., Any]) -> Callable[..., Any]:
    def median(a: Any, axis: Axis = None, *, overwrite_input: bool = False, keepdims: bool = False) -> Any:
        return _at_rank(function, a, (), axis, keepdims)

    return median


def _quantile(function: Callable[..., Any]) -> Callable[..., Any]:
    """``quantile`` or ``percentile``; linear in ``a``, and piecewise so in ``q``, by which it is refused."""

    def quantile(
        a: Any,
        q: Any,
        axis: Axis = None,
        *,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
        weights: Any = None,
    ) -> Any:
        if weights is not None:
            raise TypeError(
                f"{function.__name__} on a Tensor takes no weights=; sort with np.argsort and interpolate "
                "(np.interp) in the cumulated weights"
            )
        if getattr(q, "requires_grad", False):
            raise TypeError(
                f"{function.__name__} has no gradient by its probabilities; interpolate in np.sort(a) with "
                "np.interp, or detach them"
            )
        return _at_rank(function, _tensor(a), (values_of(q),), axis, keepdims, method=method)

    return quantile


def _tensor(a: Any) -> Tensor:
    return a if isinstance(a, Tensor) else Tensor(a)


for _name in ("median", "nanmedian"):
    implements(getattr(np, _name))(_median(getattr(np, _name)))
for _name in ("quantile", "percentile", "nanquantile", "nanpercentile"):
    implements(getattr(np, _name))(_quantile(getattr(np, _name)))
