"""Weighted averages, ranges, covariances and counts with weights; each a formula of other functions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.op import implements
from tinygrad_mnist.engine.tensor import Tensor, apply
from tinygrad_mnist.ops.constant import values_of
from tinygrad_mnist.ops.elementwise import double
from tinygrad_mnist.ops.indexing import scatter_add
from tinygrad_mnist.ops.shape import as_array

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
    if a.dtype.kind in "iub":
        weights = double(weights)
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    if np.any(total == 0):
        raise ZeroDivisionError("average: the weights sum to zero")
    mean = np.sum(np.multiply(a, weights), axis=axis, keepdims=keepdims) / total
    return (mean, np.broadcast_to(total, mean.shape)) if returned else mean


@implements(np.ptp)
def ptp(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


def _variables(m: Any, rowvar: bool) -> Any:
    """Observations as a matrix with a row a variable."""
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
        if given is not None and (np.shape(given) != x.shape[1:] or np.any(np.less(values_of(given), 0))):
            raise ValueError(
                f"cov: {kind}={given!r} was given for {x.shape[1]} observations; expected as many numbers, "
                "none of them negative"
            )
    weights = 1.0 if aweights is None else double(aweights)
    if fweights is not None:
        weights = np.multiply(fweights, weights)
    if fweights is None and aweights is None:
        total, freedom = x.shape[1], x.shape[1] - ddof
        mean = np.mean(x, axis=1, keepdims=True)
    else:
        total = np.sum(weights)
        if total == 0:
            raise ZeroDivisionError("cov: the weights sum to zero")
        mean = np.sum(x * weights, axis=1, keepdims=True) / total
        freedom = total - (
            ddof if aweights is None or not ddof else ddof * np.sum(weights * double(aweights)) / total
        )
    if np.any(freedom <= 0):
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
    return np.clip(c / deviation[:, None] / deviation, -1, 1)


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    bins = values_of(x)
    count = np.bincount(bins, weights=values_of(weights), minlength=minlength)
    if weights is None:
        return Tensor(count)
    return apply(scatter_add, (double(weights),), {"index": bins, "shape": count.shape})
