"""Batch norm and layer norm: fused operations, each beside its plain formula.

The fastest NumPy expressions were found by measuring: column sums are products with a vector of ones, the
centred values are kept rather than the normalised ones, and arrays that nobody else holds are overwritten.
Large arrays, such as the pixels of a batch of images, are made seldom, as each new one costs more than a pass
over it: the system has to clear its pages first.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.op import POSITIVE, REAL, Sample, fused
from tinygrad_mnist.ops.exchange import mean_over_shards, statistics_over_shards
from tinygrad_mnist.ops.half import HALF, single, stored
from tinygrad_mnist.ops.reduction import deviations

_LARGE = 64_000
"""Elements above which einsum sums products faster than a temporary array of products and its sum."""

_FAR = 4.0
"""Standard deviations between the mean and 0 above which the rounding of the mean is corrected. (Of the
columns of batch norm, the root of the mean square counts: that is one product.)"""


def _promoted(x: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    """Return the arrays in the one floating dtype that NumPy would compute in; usually they have it."""
    dtype = x.dtype
    if weight.dtype is dtype and bias.dtype is dtype and is_float(dtype):
        return x, weight, bias
    dtype = np.result_type(x, weight, bias, np.float16)
    return tuple(array.astype(dtype, copy=False) for array in (x, weight, bias))


@lru_cache(maxsize=32)
def filled(n: int, value: float, dtype: Any) -> Any:
    """Return a constant vector, made once and not writeable: a sum over rows is a product with it."""
    vector = np.full(n, value, dtype)
    vector.flags.writeable = False
    return vector


def column_sums(x: Any) -> Any:
    """Return the sum of each column."""
    return filled(x.shape[0], 1.0, x.dtype).dot(x)


def averaging(x: Any) -> Any:
    """Return the vector of 1 / n for n rows; its product with ``x`` is the mean of each column."""
    n = x.shape[0]
    return filled(n, 1 / n, x.dtype)


def _column_sums_of_product(x: Any, y: Any) -> Any:
    return np.einsum("ij,ij->j", x, y) if x.size > _LARGE else column_sums(x * y)


_WIDE = 512
"""The length of rows from which on a loop over each of them is as fast as one long loop."""


def _is_large(x: Any) -> bool:
    return bool(x.size > 4 * _LARGE)


def _folded(x: Any) -> Any:
    """Return columns as fewer and wider rows, each with all columns several times; a view.

    NumPy runs a loop over each row: for 18,432 rows of 16, which are the pixels of a batch of images, a
    product with a vector takes 1.4 times as long as for rows of 1,024 (measured). The number of pixels is
    usually a multiple of some power of two.
    """
    n, c = x.shape
    times = math.gcd(n, 1 << (_WIDE // c).bit_length()) if x.flags.c_contiguous else 1
    return x.reshape(n // times, times * c)


def _each_row(function: Any, x: Any, vector: Any, out: Any = None) -> Any:
    """Return a ufunc of each row of ``x`` (n, c) and a vector (c,); ``out`` lies in memory as ``x`` does."""
    if not _is_large(x):
        return function(x, vector, out=out)
    wide = _folded(x)
    vector = np.tile(vector, wide.shape[1] // x.shape[1])
    return function(wide, vector, out=None if out is None else out.reshape(wide.shape)).reshape(x.shape)


def _sums_of_large_product(x: Any, y: Any) -> Any:
    """Return the sum of ``x * y`` in each column."""
    wide = _folded(x)
    return np.einsum("ij,ij->j", wide, y.reshape(wide.shape)).reshape(-1, x.shape[1]).sum(axis=0)


def as_rows(x: Any) -> Any:
    """Return ``x`` with all axes but the last joined, even if an axis has length 0."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


# ---- batch norm ------------------------------------------------------------------------------------------


def _batch_norm_forward(x: Any, weight: Any, bias: Any, eps: float, observe: Any = None) -> tuple[Any, Any]:
    """Return ``x`` (n, c) normalised over its rows, and what the gradient needs.

    Ioffe & Szegedy (2015), "Batch normalization", algorithm 1.
    ``observe(mean, var)`` is called with the statistics of the batch, the variance biased, of shape (c,).
    """
    x, weight, bias = _promoted(x, weight, bias)
    if x.dtype == HALF:
        out, saved = _batch_norm_forward(single(x), single(weight), single(bias), eps, observe)
        return out.astype(HALF), saved
    shares = averaging(x)
    mean = shares.dot(x)
    out, mean, var, saved = normalised(
        _each_row(np.subtract, x, mean), mean, shares, weight, bias, eps, columns=x
    )
    if observe is not None:
        observe(mean, var)
    return out, saved


def normalised(
    centred: Any, mean: Any, shares: Any, weight: Any, bias: Any, eps: float, columns: Any = None
) -> tuple[Any, Any, Any, tuple[Any, Any, Any, Any]]:
    """Return columns less their mean scaled to variance 1 and by ``weight``, and shifted.

    Behind these come the mean and the variance, and what the gradient needs. Where the columns themselves are
    given, and large, they are kept for it, and the result takes the memory of ``centred``.
    """
    if not _is_large(centred):  # the array of squares is still in the cache, and takes the result
        out = centred * centred
        var = shares.dot(out)
    else:
        out = np.empty_like(centred) if columns is None else centred
        var = _sums_of_large_product(centred, centred) / centred.shape[0]
    scale = var + eps
    np.reciprocal(np.sqrt(scale, scale), scale)  # in one array: measured, a fifth faster
    distance, subtracted = mean * scale, mean
    if distance.dot(distance) > _FAR * _FAR * distance.size:  # then the rounding of the mean would show
        mean = mean + np.mean(centred, axis=0)
        centred = deviations(centred, 0)
        var = np.mean(centred * centred, axis=0)
        scale = 1 / np.sqrt(var + eps)
    kept = (columns, subtracted) if out is centred else (centred, None)
    weight_scale = weight * scale
    _each_row(np.multiply, centred, weight_scale, out=out)
    _each_row(np.add, out, bias, out=out)
    return out, mean, var, (*kept, scale, weight_scale)


def batch_norm_joint(
    g: Any, needed: Any, out: Any, saved: Any, x: Any, weight: Any, bias: Any, eps: float, observe: Any = None
) -> tuple[Any, ...]:
    # With the normalised values z = centred * scale and the cotangent h = g * weight of z, that of x is
    # scale * (h - mean(h) - z * mean(h * z)); both means are parts of the gradients of bias and weight.
    kept, mean, scale, weight_scale = saved
    centred = kept if mean is None else _each_row(np.subtract, kept, mean)
    g = single(g)
    n = x.shape[0]
    ones = filled(n, 1.0, g.dtype)
    if _is_large(g):
        weight_part = scale * _sums_of_large_product(centred, g)
    else:
        weight_part = scale * _column_sums_of_product(g, centred)
    bias_part = ones.dot(g)
    if not needed[0]:
        return None, weight_part, bias_part
    slope = weight_part * scale * (-1 / n)
    part = _each_row(np.multiply, centred, slope, out=None if mean is None else centred)
    part += g
    _each_row(np.subtract, part, bias_part * (1 / n), out=part)
    _each_row(np.multiply, part, weight_scale, out=part)
    return part, weight_part, bias_part


def batch_norm_formula(x: Any, weight: Any, bias: Any, eps: float, observe: Any = None) -> Any:
    centred = deviations(single(x), 0)
    out = centred * (weight / np.sqrt(np.mean(centred**2, axis=0) + eps)) + bias
    return stored(out, np.result_type(x.dtype, weight.dtype, bias.dtype))


batch_norm = fused(
    _batch_norm_forward,
    batch_norm_joint,
    batch_norm_formula,
    name="batch_norm",
    domain=(REAL, POSITIVE, REAL),
    samples=(Sample(((4, 3), (3,), (3,)), {"eps": 1e-5}), Sample(((3, 1), (1,), (1,)), {"eps": 0.1})),
)

# ---- batch norm of a batch that several processes share --------------------------------------------------


def synchronized(x: Any, weight: Any, bias: Any, eps: float, shard: Any = None) -> tuple[Any, Any, Any]:
    """Return the rows of a shard, normalised by the mean and variance of all rows; and these two.

    It is the plain formula of batch norm on several processes. Each takes the statistics of its own rows.
    What joins them is `statistics_over_shards`, in float64: one exchange, and one more in the gradient.
    """
    rows = single(x)
    mean = np.mean(rows, axis=0)
    centred = deviations(rows, 0)
    own = np.stack([mean, np.mean(centred**2, axis=0)]).astype(np.float64)
    if tracer() is None:  # where numbers are far from 0, the rounding of their mean shows
        own = own + np.stack([np.mean(rows - mean, axis=0), np.zeros(mean.shape)])
    joined = statistics_over_shards(own, shard=shard, rows=len(rows), eps=eps)
    shift, var = joined[0].astype(rows.dtype), joined[1].astype(rows.dtype)
    out = (centred + shift) * (weight / np.sqrt(var + eps)) + bias
    dtype = np.result_type(x.dtype, weight.dtype, bias.dtype)
    return stored(out, dtype), joined[2].astype(rows.dtype), var


def _synchronized_formula(
    x: Any, weight: Any, bias: Any, eps: float, shard: Any = None, observe: Any = None
) -> Any:
    return synchronized(x, weight, bias, eps, shard)[0]


def _synchronized_forward(
    x: Any, weight: Any, bias: Any, eps: float, shard: Any = None, observe: Any = None
) -> tuple[Any, Any]:
    """Return the rows of a shard, normalised by all rows, and what the gradient needs.

    ``observe(mean, var)`` is called with the statistics of all rows, the variance biased, of shape (c,).
    """
    x, weight, bias = _promoted(x, weight, bias)
    if x.dtype == HALF:
        out, saved = _synchronized_forward(single(x), single(weight), single(bias), eps, shard, observe)
        return out.astype(HALF), saved
    centred, mean, own, out = _own_statistics(x, eps)
    shift, spread, joined = statistics_over_shards(own, shard=shard, rows=len(x), eps=eps)
    scale = 1 / np.sqrt(spread + eps)
    # The values less the mean of all rows are `centred + shift`, which is never made: the shift goes into
    # what is added in each column.
    weight_scale = weight * scale
    kept = (x, mean) if out is centred else (centred, None)
    _each_row(np.multiply, centred, weight_scale.astype(x.dtype), out=out)
    _each_row(np.add, out, (bias + shift * weight_scale).astype(x.dtype), out=out)
    if observe is not None:
        observe(joined.astype(x.dtype), spread.astype(x.dtype))
    return out, (*kept, shift, scale, weight_scale)


def _own_statistics(x: Any, eps: float) -> tuple[Any, Any, Any, Any]:
    """Return the statistics of the columns of a shard, and arrays for what is computed with them.

    These are the columns less their mean; that mean; mean and variance in float64, shape (2, c); and an array
    for the result. It is that of the columns less their mean if these are large: the gradient subtracts anew.
    """
    shares = averaging(x)
    own = np.empty((2, x.shape[1]))
    own[0] = mean = shares.dot(x)
    centred = _each_row(np.subtract, x, mean)
    if not _is_large(x):
        out = centred * centred
        own[1] = shares.dot(out)
    else:
        out = centred
        own[1] = _sums_of_large_product(centred, centred) / len(x)
    distance = own[0] / np.sqrt(own[1] + eps)
    if distance.dot(distance) > _FAR * _FAR * distance.size:  # then the rounding of the mean would show
        own[0] += np.mean(centred, axis=0, dtype=np.float64)
        centred = deviations(centred, 0)
        own[1] = np.mean(centred * centred, axis=0, dtype=np.float64)
    return centred, mean, own, out


def _synchronized_joint(
    g: Any, needed: Any, out: Any, saved: Any, x: Any, weight: Any, bias: Any, eps: float,
    shard: Any = None, observe: Any = None,
) -> tuple[Any, ...]:  # fmt: skip
    # As `batch_norm_joint`: with the normalised values z and the cotangent h = g * weight of z, that of x is
    # scale * (h - mean(h) - z * mean(h * z)). The two means are those of all rows; as all processes have the
    # same weight, it is multiplied by at the end.
    kept, mean, shift, scale, weight_scale = saved
    centred = kept if mean is None else _each_row(np.subtract, kept, mean)
    g = single(g)
    n = len(g)
    product = _sums_of_large_product(centred, g) if _is_large(g) else _column_sums_of_product(g, centred)
    sums = np.stack([filled(n, 1.0, g.dtype).dot(g), product]).astype(np.float64)
    sums[1] += shift * sums[0]  # of g times the values less the mean of all rows
    weight_part, bias_part = (scale * sums[1]).astype(g.dtype), sums[0].astype(g.dtype)
    if not needed[0]:
        return None, weight_part, bias_part
    means = mean_over_shards(sums, shard=shard) / n
    slope = -means[1] * scale * scale
    part = _each_row(np.multiply, centred, slope.astype(g.dtype), out=None if mean is None else centred)
    part += g
    _each_row(np.add, part, (shift * slope - means[0]).astype(g.dtype), out=part)
    _each_row(np.multiply, part, weight_scale.astype(g.dtype), out=part)
    return part, weight_part, bias_part


synchronized_batch_norm = fused(
    _synchronized_forward,
    _synchronized_joint,
    _synchronized_formula,
    name="synchronized_batch_norm",
    exchanges=True,
    domain=(REAL, POSITIVE, REAL),
    samples=(Sample(((4, 3), (3,), (3,)), {"eps": 1e-5}), Sample(((3, 1), (1,), (1,)), {"eps": 0.1})),
)
"""Batch norm by the mean and the variance of all rows of a batch, of which each process has a shard."""

# ---- batch norm by running statistics ---------------------------------------------------------------------


def _scale_and_shift_forward(x: Any, scale: Any, shift: Any) -> tuple[Any, None]:
    x, scale, shift = _promoted(x, scale, shift)
    out = _each_row(np.multiply, x, scale)
    return _each_row(np.add, out, shift, out=out), None


def _scale_and_shift_joint(
    g: Any, needed: Any, out: Any, saved: None, x: Any, scale: Any, shift: Any
) -> tuple[Any, ...]:
    g = single(g)
    return (
        _each_row(np.multiply, g, single(scale)) if needed[0] else None,
        _column_sums_of_product(g, single(x).astype(g.dtype, copy=False)) if needed[1] else None,
        column_sums(g) if needed[2] else None,
    )


def _scale_and_shift_formula(x: Any, scale: Any, shift: Any) -> Any:
    return x * scale + shift


scale_and_shift = fused(
    # measured: of the pixels of 128 images of 12 x 12 and 16 channels half the time of two operations
    _scale_and_shift_forward,
    _scale_and_shift_joint,
    _scale_and_shift_formula,
    name="scale_and_shift",
    label="scale, shift",
    samples=(Sample(((4, 3), (3,), (3,))), Sample(((1, 2), (2,), (2,)))),
)
"""Columns (n, c) times a scale (c,) plus a shift (c,)."""

# ---- layer norm ------------------------------------------------------------------------------------------


def _row_means(x: Any) -> Any:
    """Return the mean along the last axis, kept: a third of the time of ``np.mean`` for short rows."""
    return np.add.reduce(x, axis=-1, keepdims=True) / x.shape[-1]


def _layer_norm_forward(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any]:
    """Return ``x`` normalised over its last axis, and what the gradient needs.

    Ba, Kiros & Hinton (2016), "Layer normalization", equation 3.
    """
    x, weight, bias = _promoted(x, weight, bias)
    if not x.size:
        return x.copy(), (x, None)
    if x.dtype == HALF:
        out, saved = _layer_norm_forward(single(x), single(weight), single(bias), eps)
        return out.astype(HALF), saved
    mean = _row_means(x)
    centred = x - mean
    scale = 1 / np.sqrt(_row_means(centred * centred) + eps)
    mean *= scale
    if np.maximum.reduce(mean, axis=None) > _FAR or np.minimum.reduce(mean, axis=None) < -_FAR:
        centred = deviations(centred, -1)
        scale = 1 / np.sqrt(_row_means(centred * centred) + eps)
    centred *= scale  # from here on, normalised
    out = centred * weight
    out += bias
    return out, (centred, scale)


def _layer_norm_joint(
    g: Any, needed: Any, out: Any, saved: Any, x: Any, weight: Any, bias: Any, eps: float
) -> tuple[Any, ...]:
    normalised, scale = saved
    g, weight = single(g), single(weight)
    if not x.size:
        return np.zeros_like(x), np.zeros_like(weight), np.zeros_like(bias)
    g_rows = as_rows(g)
    weight_part = _column_sums_of_product(g_rows, as_rows(normalised)) if needed[1] else None
    bias_part = column_sums(g_rows) if needed[2] else None
    if not needed[0]:
        return None, weight_part, bias_part
    part = g * weight
    slope = _row_means(part * normalised)
    part -= _row_means(part)
    part -= normalised * slope
    part *= scale
    return part, weight_part, bias_part


def _layer_norm_formula(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    centred = deviations(single(x), -1)
    out = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + eps) * weight + bias
    return stored(out, np.result_type(x.dtype, weight.dtype, bias.dtype))


layer_norm = fused(
    _layer_norm_forward,
    _layer_norm_joint,
    _layer_norm_formula,
    name="layer_norm",
    domain=(REAL, POSITIVE, REAL),
    samples=tuple(Sample((shape, (3,), (3,)), {"eps": 1e-5}) for shape in ((2, 3), (3,), (2, 2, 3))),
)
