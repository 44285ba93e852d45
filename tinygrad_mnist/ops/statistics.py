"""Statistics: averages, covariances, counts, medians and quantiles, and the nan- family, which skips NaN.

Each is a formula of other functions. Plain sums, means, variances and extremes are operations, in reduction.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.conditions import found, somewhere
from tinygrad_mnist.engine.dtypes import float_dtype, is_float
from tinygrad_mnist.engine.op import implements
from tinygrad_mnist.engine.tensor import Tensor, apply
from tinygrad_mnist.ops.elementwise import double
from tinygrad_mnist.ops.half import single, stored
from tinygrad_mnist.ops.indexing import scatter_add
from tinygrad_mnist.ops.norms import root_of_powers
from tinygrad_mnist.ops.rearranging import sort
from tinygrad_mnist.ops.shape import as_array
from tinygrad_mnist.ops.values import arrays_of, values_of

Axis = int | tuple[int, ...] | None


@implements(np.average)
def average(
    a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    keepdims = keepdims is True
    a = as_array(a)
    if weights is None:
        mean = np.mean(a, axis=axis, keepdims=keepdims)
        if not mean.size:
            raise ZeroDivisionError(
                f"average: of shape {a.shape} along axis {axis} there is nothing to average; use np.mean "
                "for an empty result"
            )
        return (mean, np.full_like(mean, a.size / mean.size)) if returned else mean
    if np.shape(weights) != a.shape:
        if axis is None:
            raise TypeError("average: axis must be given when the shapes of a and weights differ")
        axes = normalize_axis_tuple(axis, a.ndim)
        if np.shape(weights) != tuple(a.shape[i] for i in axes):
            raise ValueError(
                f"average: weights of shape {np.shape(weights)} for axis {axis} of shape {a.shape}; expected "
                "the shape of a along these axes"
            )
        weights = np.transpose(weights, tuple(int(i) for i in np.argsort(axes)))
        weights = np.reshape(weights, tuple(n if i in axes else 1 for i, n in enumerate(a.shape)))
    weights = double(weights) if a.dtype.kind in "iub" else as_array(weights)
    dtype = np.result_type(a.dtype, weights.dtype)
    weights = single(weights)
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    if found(total == 0):
        raise ZeroDivisionError("average: the weights sum to zero")
    mean = stored(np.sum(np.multiply(single(a), weights), axis=axis, keepdims=keepdims) / total, dtype)
    return (mean, np.broadcast_to(stored(total, dtype), mean.shape)) if returned else mean


@implements(np.ptp)
def ptp(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


def _variables(m: Any, rowvar: bool) -> Any:
    """Return observations as a matrix with one row for each variable."""
    if np.ndim(m) > 2:
        raise ValueError(f"cov: expected one or two axes, got shape {np.shape(m)}")
    matrix = double(np.atleast_2d(m))
    return matrix if rowvar or np.ndim(m) == 1 else np.transpose(matrix)


@implements(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    x = _variables(m, rowvar)
    if y is not None:
        x = np.concatenate([x, _variables(y, rowvar)], axis=0)
    if ddof is None:
        ddof = 0 if bias else 1
    for kind, given in (("fweights", fweights), ("aweights", aweights)):
        if given is not None and (np.shape(given) != x.shape[1:] or found(np.less(arrays_of(given), 0))):
            raise ValueError(
                f"cov: {kind}={given!r} was given for {x.shape[1]} observations; expected as many numbers, "
                "none of them negative"
            )
    weights = 1.0 if aweights is None else double(aweights)
    if fweights is not None:  # how often each observation was made
        weights = np.multiply(fweights, weights)
    if fweights is None and aweights is None:
        total, freedom = x.shape[1], x.shape[1] - ddof
        mean = np.mean(x, axis=1, keepdims=True)
    else:
        total = np.sum(weights)
        if total == 0:
            raise ZeroDivisionError("cov: the weights sum to zero")
        mean = np.sum(x * weights, axis=1, keepdims=True) / total
        # weights that are no counts take more degrees of freedom, by the formula in NumPy's documentation
        freedom = total - (
            ddof if aweights is None or not ddof else ddof * np.sum(weights * double(aweights)) / total
        )
    if found(freedom <= 0):
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=4)
        freedom = 0.0
    apart = x - mean
    return np.squeeze((apart * weights) @ np.transpose(apart) / freedom)


@implements(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    deviation = np.sqrt(c[np.arange(len(c)), np.arange(len(c))])
    return np.clip(c / deviation[:, None] / deviation, -1, 1)  # rounding may lead a little beyond


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    bins = values_of(x)
    count = np.bincount(bins, weights=arrays_of(weights), minlength=minlength)
    if weights is None:
        return Tensor(count)
    return apply(scatter_add, (double(weights),), {"index": bins, "shape": count.shape})


# ---- medians and quantiles -------------------------------------------------------------------------------


def _at_rank(
    function: Callable[..., Any], a: Any, given: tuple[Any, ...], axis: Axis, keepdims: bool, **options: Any
) -> Any:
    """Return a median, quantile or percentile, by what NumPy's function says of the ranks 0, 1, ..., n - 1.

    Of the ranks it returns the rank to read, possibly between two; the result lies between the elements of
    these ranks in the same way, for every method. The rank of a NaN is NaN, so that both families (``median``
    and ``nanmedian``) treat it in their own way.
    """
    reduced = tuple(range(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim)
    kept = tuple(i for i in range(a.ndim) if i not in reduced)
    shape = tuple(a.shape[i] for i in kept)
    ordered = sort(
        np.reshape(np.transpose(a, kept + reduced), (*shape, math.prod(a.shape[i] for i in reduced)))
    )
    if not ordered.shape[-1]:
        return _of_nothing(function, a, given, axis, keepdims, options)
    values = values_of(ordered)
    ranks = np.where(np.isnan(values), np.nan, np.arange(ordered.shape[-1], dtype=np.float64))
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
    upper = np.where(part == 0, 0, np.take_along_axis(ordered, high, axis=-1))  # 0 times inf would be NaN
    out = (1 - part) * lower + part * upper
    if not np.all(known):
        out = np.where(known, out, _of_nans(function, ordered))
    if np.any(np.isinf(values)):  # NumPy's result is NaN in some cases: take these from it
        with np.errstate(invalid="ignore"):
            theirs = np.asarray(function(values, *given, axis=-1, **options))
        theirs = np.moveaxis(theirs.reshape(math.prod(leading), *shape), 0, -1)
        out = out * np.where(np.isnan(theirs), np.nan, 1.0).astype(dtype)
    out = out.astype(dtype)
    out = np.reshape(np.moveaxis(out, -1, 0), (*leading, *shape))
    return np.expand_dims(out, tuple(len(leading) + i for i in reduced)) if keepdims else out


def _of_nothing(
    function: Callable[..., Any], a: Any, given: tuple[Any, ...], axis: Axis, keepdims: bool, options: Any
) -> Any:
    """Return NumPy's result for no elements, which is NaN with a warning, or raise its error."""
    try:
        value = function(values_of(a), *given, axis=axis, keepdims=keepdims, **options)
    except IndexError:
        raise ValueError(f"{function.__name__}: no elements along axis {axis} of shape {a.shape}") from None
    return np.sum(a, axis=axis, keepdims=keepdims) + value


def _of_nans(function: Callable[..., Any], ordered: Any) -> Any:
    """Return the result that is NaN: the mean of the NaN among the elements, so its gradient is split evenly.

    So it is in ``np.max``. The nan- family has such a result only for a row of nothing but NaN, and then, as
    ``np.nanmax``, no gradient.
    """
    if function.__name__.startswith("nan"):
        return np.nan
    nans = np.isnan(values_of(ordered))
    share = nans / np.maximum(np.sum(nans, axis=-1, keepdims=True), 1)
    return np.sum(np.where(nans, ordered, 0) * share, axis=-1, keepdims=True)


def _median(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``median`` or ``nanmedian``."""

    def median(a: Any, axis: Axis = None, *, overwrite_input: bool = False, keepdims: bool = False) -> Any:
        return _at_rank(function, a, (), axis, keepdims)

    return median


def _quantile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``quantile`` or one of its kind; a gradient by the probabilities ``q`` is refused."""

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

# ---- the nan- family -------------------------------------------------------------------------------------


def _filled(a: Any, value: float) -> Any:
    """Return ``a`` with a value in the place of each NaN."""
    return np.where(np.isnan(a), value, a) if is_float(a) else a


def _count(a: Any, axis: Axis, keepdims: bool) -> Any:
    """Return how many elements along the axes are not NaN, in the dtype in which a mean is computed."""
    dtype = float_dtype(single(a).dtype)
    return np.sum((~np.isnan(a)).astype(dtype), axis=axis, keepdims=keepdims)


def _warn(message: str, needed: Any) -> None:
    if found(needed):
        warnings.warn(message, RuntimeWarning, stacklevel=4)


@implements(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    if not copy:
        raise TypeError("numpy.nan_to_num on a Tensor does not take copy=False; assign its result instead")
    if not is_float(x):
        return np.copy(x)
    largest = np.finfo(x.dtype).max
    out = np.where(x == np.inf, largest if posinf is None else posinf, x)
    out = np.where(x == -np.inf, -largest if neginf is None else neginf, out)
    return np.where(np.isnan(x), nan, out).astype(x.dtype)


def _skipping(function: Callable[..., Any], neutral: float) -> Callable[..., Any]:
    """Return a reduction without the NaN: these become ``neutral``, which does not change its result."""

    def reduce(a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None) -> Any:
        return function(_filled(a, neutral), axis=axis, keepdims=keepdims, initial=initial)

    return reduce


implements(np.nansum)(_skipping(np.sum, 0))
implements(np.nanprod)(_skipping(np.prod, 1))


@implements(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None) -> Any:
    return np.cumsum(_filled(a, 0), axis=axis)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None) -> Any:
    return np.cumprod(_filled(a, 1), axis=axis)


def _extreme(function: Callable[..., Any], worst: float) -> Callable[..., Any]:
    """Return ``np.max`` or ``np.min`` without the NaN; a row of nothing but NaN gives NaN, and a warning."""
    of_numbers = _skipping(function, worst)

    def reduce(a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None) -> Any:
        out = of_numbers(a, axis, keepdims=keepdims, initial=initial)
        empty = _count(a, axis, keepdims) == 0
        if initial is not None or not somewhere(empty):
            return out
        _warn("All-NaN slice encountered", empty)
        return np.where(empty, np.nan, out)

    return reduce


implements(np.nanmax)(_extreme(np.max, -np.inf))
implements(np.nanmin)(_extreme(np.min, np.inf))


@implements(np.nanmean)
def nanmean(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    if not is_float(a):
        return np.mean(a, axis=axis, keepdims=keepdims)
    count = _count(a, axis, keepdims)
    _warn("Mean of empty slice", count == 0)
    total = np.sum(_filled(single(a), 0), axis=axis, keepdims=keepdims)
    return stored(total / np.where(count == 0, np.nan, count), a.dtype)


def _deviations(a: Any, axis: Axis, mean: Any) -> Any:
    """Return the deviations from a mean of what is not NaN, and 0 in the place of each NaN."""
    out = np.isnan(a)
    if mean is None:
        count = _count(a, axis, True)
        mean = np.sum(_filled(a, 0), axis=axis, keepdims=True) / np.maximum(count, 1)
        # one number does not deviate, wherever it goes
        out = out | ((count == 1) & np.isfinite(a))
    return np.where(out, 0, a - mean)  # not _filled(a - mean): an inf - inf must show


def _freedom(a: Any, axis: Axis, ddof: float, correction: float | None, keepdims: bool) -> Any:
    """Return the degrees of freedom, and NaN in the place of none."""
    freedom = _count(a, axis, keepdims) - (ddof if correction is None else correction)
    _warn("Degrees of freedom <= 0 for slice.", freedom <= 0)
    return np.where(freedom > 0, freedom, np.nan)


@implements(np.nanvar)
def nanvar(
    a: Any,
    axis: Axis = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
    mean: Any = None,
) -> Any:
    a = a if is_float(arrays_of(a)) else double(a)
    apart = _deviations(single(a), axis, mean)
    total = np.sum(apart * apart, axis=axis, keepdims=keepdims)
    return stored(total / _freedom(a, axis, ddof, correction, keepdims), a.dtype)


@implements(np.nanstd)
def nanstd(
    a: Any,
    axis: Axis = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
    mean: Any = None,
) -> Any:
    a = a if is_float(arrays_of(a)) else double(a)
    size = root_of_powers(_deviations(single(a), axis, mean), order=2, axis=axis, keepdims=keepdims)
    return stored(size / np.sqrt(_freedom(a, axis, ddof, correction, keepdims)), a.dtype)
