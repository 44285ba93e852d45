"""NumPy's functions that pass over elements that are no number: the nan- family, and ``nan_to_num``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tinygrad_mnist.op import implements

Axis = int | tuple[int, ...] | None


def _filled(a: Any, value: float) -> Any:
    """``a`` with a value in the place of what is no number."""
    return np.where(np.isnan(a.data), value, a) if a.dtype.kind == "f" else a


def _numbers(a: Any, axis: Axis, keepdims: bool) -> Any:
    """How many elements along the axes are numbers, in the dtype of a mean."""
    return np.sum(~np.isnan(a.data), axis=axis, keepdims=keepdims, dtype=_mean_dtype(a))


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


@implements(np.nansum)
def nansum(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.sum(_filled(a, 0), axis=axis, keepdims=keepdims)


@implements(np.nanprod)
def nanprod(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.prod(_filled(a, 1), axis=axis, keepdims=keepdims)


@implements(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None) -> Any:
    return np.cumsum(_filled(a, 0), axis=axis)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None) -> Any:
    return np.cumprod(_filled(a, 1), axis=axis)


@implements(np.nanmax)
def nanmax(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return _extreme(np.max, a, -np.inf, axis, keepdims)


@implements(np.nanmin)
def nanmin(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return _extreme(np.min, a, np.inf, axis, keepdims)


def _extreme(function: Any, a: Any, worst: float, axis: Axis, keepdims: bool) -> Any:
    out = function(_filled(a, worst), axis=axis, keepdims=keepdims)
    empty = _numbers(a, axis, keepdims) == 0
    _warn("All-NaN slice encountered", empty)
    return np.where(empty, np.nan, out) if np.any(empty) else out


@implements(np.nanmean)
def nanmean(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    count = _numbers(a, axis, keepdims)
    _warn("Mean of empty slice", count == 0)
    return np.sum(_filled(a, 0), axis=axis, keepdims=keepdims) / np.where(count == 0, np.nan, count)


@implements(np.nanvar)
def nanvar(
    a: Any, axis: Axis = None, *, ddof: int = 0, correction: int | None = None, keepdims: bool = False
) -> Any:
    count = _numbers(a, axis, True)
    freedom = _numbers(a, axis, keepdims) - (ddof if correction is None else correction)
    _warn("Degrees of freedom <= 0 for slice.", freedom <= 0)
    mean = np.sum(_filled(a, 0), axis=axis, keepdims=True) / np.maximum(count, 1)
    apart = np.where(np.isnan(a.data), 0, a - mean)
    return np.sum(apart * apart, axis=axis, keepdims=keepdims) / np.where(freedom > 0, freedom, np.nan)


@implements(np.nanstd)
def nanstd(
    a: Any, axis: Axis = None, *, ddof: int = 0, correction: int | None = None, keepdims: bool = False
) -> Any:
    var = nanvar(a, axis, ddof=ddof, correction=correction, keepdims=keepdims)
    # of a constant the subgradient of least norm, as np.std
    return np.where(var == 0, 0, np.sqrt(np.where(var == 0, 1, var)))
