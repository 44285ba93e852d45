"""Sorting, and what is read off a sorted axis: median, quantiles, percentiles.

A sort is a choice of elements, so its gradient is that of indexing; ties keep their order (a stable sort).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.op import implements
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


def _order_statistic(function: Callable[..., Any], probability: bool) -> Callable[..., Any]:
    """A median, quantile or percentile, by what NumPy's function says of the ranks 0, 1, ..., n - 1.

    Of the ranks it returns the rank to read, possibly between two; the result lies between the elements of
    these ranks in the same way, whatever the method. A rank is no number where the element is none, so that
    the two families (``median`` and ``nanmedian``) treat such elements as they do.
    """

    def of_sorted(a: Any, given: tuple[Any, ...], axis: Axis, keepdims: bool, **options: Any) -> Any:
        reduced = tuple(range(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim)
        kept = tuple(i for i in range(a.ndim) if i not in reduced)
        shape = tuple(a.shape[i] for i in kept)
        ordered = sort(np.reshape(np.transpose(a, kept + reduced), (*shape, -1)))
        if not ordered.shape[-1]:
            raise ValueError(f"{function.__name__}: no elements along axis {axis} of shape {a.shape}")
        ranks = np.where(np.isnan(ordered.data), np.nan, np.arange(ordered.shape[-1], dtype=np.float64))
        rank = np.asarray(function(ranks, *given, axis=-1, **options))
        expected = function(np.zeros(1, a.dtype), *given, **options).dtype
        leading = rank.shape[: rank.ndim - len(shape)]  # those of the probabilities
        rank = np.moveaxis(rank.reshape(-1, *shape), 0, -1)
        low = np.floor(np.nan_to_num(rank)).astype(np.intp)
        high = np.minimum(low + 1, ordered.shape[-1] - 1)
        part = (rank - low).astype(expected)
        lower = np.take_along_axis(ordered, low, axis=-1)
        upper = np.where(part == 0, 0, np.take_along_axis(ordered, high, axis=-1))  # 0 times inf is nan
        out = np.where(np.isnan(rank), np.nan, (1 - part) * lower + part * upper).astype(expected)
        out = np.reshape(np.moveaxis(out, -1, 0), (*leading, *shape))
        return np.expand_dims(out, tuple(len(leading) + i for i in reduced)) if keepdims else out

    if not probability:

        def middle(
            a: Any, axis: Axis = None, *, overwrite_input: bool = False, keepdims: bool = False
        ) -> Any:
            return of_sorted(a, (), axis, bool(keepdims))

        return middle

    def at(
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
        if not hasattr(a, "__apply_op__"):
            return function(a, values_of(q), axis=axis, method=method, keepdims=keepdims)
        return of_sorted(a, (values_of(q),), axis, bool(keepdims), method=method)

    return at


for _function in (np.median, np.nanmedian):
    implements(_function)(_order_statistic(_function, probability=False))
for _function in (np.quantile, np.percentile, np.nanquantile, np.nanpercentile):
    implements(_function)(_order_statistic(_function, probability=True))
