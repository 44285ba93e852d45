"""NumPy's functions that pass over elements that are no number: the nan- family, and ``nan_to_num``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import implements
from tinygrad_mnist.ops.constant import values_of
from tinygrad_mnist.ops.elementwise import double, root_or_zero

Axis = int | tuple[int, ...] | None


def _filled(a: Any, value: float) -> Any:
    """``a`` with a value in the place of what is no number."""
    return np.where(np.isnan(values_of(a)), value, a) if a.dtype.kind == "f" else a


def _numbers(a: Any, axis: Axis, keepdims: bool) -> Any:
    """How many elements along the axes are numbers, in the dtype of a mean."""
    return np.sum(~np.isnan(values_of(a)), axis=axis, keepdims=keepdims, dtype=_mean_dtype(a))


def _mean_dtype(a: Any) -> Any:
    return a.dtype if a.dtype.kind == "f" else np.dtype(np.float64)


def _warn(message: str, needed: Any) -> None:
    if np.any(needed):
        warnings.warn(message, RuntimeWarning, stacklevel=4)


@implements(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    if not copy:
        raise TypeError("numpy.nan_to_num on a Tensor does not take copy=False; assign its result instead")
    numbers = np.nan_to_num(x.data, posinf=posinf, neginf=neginf)
    return np.where(np.isfinite(x.data), x, np.where(np.isnan(x.data), nan, numbers)).astype(x.dtype)


def _passing_over(function: Callable[..., Any], neutral: float) -> Callable[..., Any]:
    """``function`` of the elements that are numbers, as ``neutral`` adds nothing to it."""

    def reduce(a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None) -> Any:
        return function(_filled(a, neutral), axis=axis, keepdims=keepdims, initial=initial)

    return reduce


implements(np.nansum)(_passing_over(np.sum, 0))
implements(np.nanprod)(_passing_over(np.prod, 1))


@implements(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None) -> Any:
    return np.cumsum(_filled(a, 0), axis=axis)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None) -> Any:
    return np.cumprod(_filled(a, 1), axis=axis)


def _extreme(function: Callable[..., Any], worst: float) -> Callable[..., Any]:
    """``np.max`` or ``np.min`` of the elements that are numbers; NaN, and a warning, where none is."""
    of_numbers = _passing_over(function, worst)

    def reduce(a: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None) -> Any:
        out = of_numbers(a, axis, keepdims=keepdims, initial=initial)
        empty = _numbers(a, axis, keepdims) == 0
        if initial is not None or not np.any(empty):
            return out
        _warn("All-NaN slice encountered", empty)
        return np.where(empty, np.nan, out)

    return reduce


implements(np.nanmax)(_extreme(np.max, -np.inf))
implements(np.nanmin)(_extreme(np.min, np.inf))


@implements(np.nanmean)
def nanmean(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    if a.dtype.kind != "f":
        return np.mean(a, axis=axis, keepdims=keepdims)
    count = _numbers(a, axis, keepdims)
    _warn("Mean of empty slice", count == 0)
    return np.sum(_filled(a, 0), axis=axis, keepdims=keepdims) / np.where(count == 0, np.nan, count)


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
    a = a if values_of(a).dtype.kind == "f" else double(a)
    count = _numbers(a, axis, True)
    freedom = _numbers(a, axis, keepdims) - (ddof if correction is None else correction)
    _warn("Degrees of freedom <= 0 for slice.", freedom <= 0)
    if mean is None:
        mean = np.sum(_filled(a, 0), axis=axis, keepdims=True) / np.maximum(count, 1)
    apart = np.where(np.isnan(values_of(a)), 0, a - mean)
    return np.sum(apart * apart, axis=axis, keepdims=keepdims) / np.where(freedom > 0, freedom, np.nan)


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
    var = nanvar(a, axis, ddof=ddof, correction=correction, keepdims=keepdims, mean=mean)
    return root_or_zero(var)
