"""logsumexp, softmax and log_softmax: each the other's derivative, exact for numbers of any size."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.engine.conditions import somewhere
from tinygrad_mnist.engine.op import Sample, general
from tinygrad_mnist.ops.elementwise import floating
from tinygrad_mnist.ops.half import HALF, in_single, rule_in_single, single
from tinygrad_mnist.ops.norms import spread
from tinygrad_mnist.ops.values import values_of

Axis = int | tuple[int, ...] | None


def _less_its_maximum(x: Any, axis: Axis) -> Any:
    """Return rows less their maximum: the softmax is the same, and the exponentials are at most 1."""
    return x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)


# ---- softmax ---------------------------------------------------------------------------------------------


@in_single
def _softmax_forward(x: Any, axis: Axis) -> Any:
    out = np.asarray(_less_its_maximum(floating(x), axis))  # NumPy makes a scalar of a 0-d result
    np.exp(out, out=out)
    out /= np.sum(out, axis=axis, keepdims=True)
    return out


def _softmax_rule(g: Any, out: Any, x: Any, axis: Axis) -> Any:
    if x.dtype == HALF:  # the result is rounded: a sum over many elements needs the whole one
        g, out = single(g), softmax(single(x), axis=axis)
    return out * (g - np.sum(g * out, axis=axis, keepdims=True))


_ALONG = tuple(
    Sample((shape,), {"axis": axis})
    for shape, axis in (((3,), 0), ((2, 3), -1), ((2, 3), 0), ((1, 1), 1), ((2, 2, 2), 1))
)
softmax = general(
    _softmax_forward,
    _softmax_rule,
    name="softmax",
    formula=lambda x, axis: np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True),
    samples=_ALONG,
)

# ---- log_softmax -----------------------------------------------------------------------------------------


@in_single
def _log_softmax_forward(x: Any, axis: Axis) -> Any:
    out = np.asarray(_less_its_maximum(floating(x), axis))
    if not out.size:
        return out
    out -= np.log(np.sum(np.exp(out), axis=axis, keepdims=True))
    return out


def _log_softmax_rule(g: Any, out: Any, x: Any, axis: Axis) -> Any:
    if x.dtype == HALF:
        g, out = single(g), log_softmax(single(x), axis=axis)
    return g - np.exp(out) * np.sum(g, axis=axis, keepdims=True)


log_softmax = general(
    _log_softmax_forward,
    _log_softmax_rule,
    name="log_softmax",
    formula=lambda x, axis: x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True)),
    samples=_ALONG,
)

# ---- logsumexp -------------------------------------------------------------------------------------------


@in_single
def _logsumexp_forward(x: Any, axis: Axis, keepdims: bool) -> Any:
    # a row of -inf alone, or one with an inf, has no maximum to subtract
    x = floating(x)
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore", over="ignore"):  # log(0) is -inf; beside an inf, exp may overflow
        out = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else np.squeeze(out, axis=axis)


@rule_in_single
def _logsumexp_rule(g: Any, out: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """Return ``g`` times the softmax of x, computed from x, so that it sums to 1 whatever its size.

    ``exp(x - out)`` would not: at 1e7 a float32 result is rounded to a whole number. A row of nothing but
    -inf (masked away) has gradient 0. One inf takes all, by continuity. Several would share it in a way that
    depends on how they are approached: their gradient is NaN.
    """
    top = np.max(values_of(x), axis=axis, keepdims=True, initial=-np.inf)
    ordinary = np.isfinite(top)
    some_are_not = somewhere(~ordinary)
    share = softmax(np.where(ordinary, x, 0) if some_are_not else x, axis=axis)
    if some_are_not:
        infinite = values_of(x) == np.inf
        alone = np.sum(infinite, axis=axis, keepdims=True) == 1
        limit = np.where(infinite & ~alone | np.isnan(top), np.nan, infinite)
        share = np.where(ordinary, share, limit.astype(x.dtype))
    return spread(g, x, axis, keepdims) * share


logsumexp = general(
    _logsumexp_forward,
    _logsumexp_rule,
    name="logsumexp",
    formula=lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)),
    samples="reduction",
)
