"""Special functions that models need: sigmoid, softplus, log_sigmoid, xlogy, erf, sinc, i0; no SciPy."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import POSITIVE, REAL, Op, Sample, elementwise, implements


def floating(x: Any) -> Any:
    """An array in the floating dtype in which NumPy's ``exp`` would compute: float16 of uint8, say."""
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.result_type(x.dtype, np.float16))


# ---- the logistic family ---------------------------------------------------------------------------------


def _sigmoid_forward(x: Any) -> Any:
    x = floating(x)
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1, small) / (1 + small)


def _softplus_forward(x: Any) -> Any:
    x = floating(x)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _log_sigmoid_forward(x: Any) -> Any:
    x = floating(x)
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


sigmoid = elementwise(
    _sigmoid_forward,
    lambda g, out, x: g * out * (1 - out),
    name="sigmoid",
    formula=lambda x: 1 / (1 + np.exp(-x)),
    label="σ",
)
softplus = elementwise(
    _softplus_forward,
    lambda g, out, x: g * sigmoid(x),
    name="softplus",
    formula=lambda x: np.log(1 + np.exp(x)),
)
log_sigmoid = elementwise(
    _log_sigmoid_forward,
    lambda g, out, x: g * sigmoid(-x),
    name="log_sigmoid",
    formula=lambda x: -np.log(1 + np.exp(-x)),
)


def _xlogy_forward(x: Any, y: Any) -> Any:
    return x * np.log(np.where((x == 0) & ~np.isnan(y), 1, y))


xlogy = elementwise(
    _xlogy_forward,
    lambda g, out, x, y: g * np.log(y),
    lambda g, out, x, y: g * (x / y),
    name="xlogy",
    formula=lambda x, y: x * np.log(y),
    domain=(REAL, POSITIVE),
    singular=True,
)
"""``x log(y)``, and 0 where x is 0, whatever y: an entropy's summand."""

# ---- the error function ----------------------------------------------------------------------------------

_STEPS, _EDGE, _TERMS = 16, 6, 11


@cache
def _erf_table() -> Any:
    """Taylor coefficients of erf about the points -6, -6 + 1/16, ..., 6, a row an order.

    The derivatives are Hermite polynomials (Abramowitz & Stegun 1964, 7.1.19):
    erf^(k+1)(x) = (-1)^k 2/sqrt(pi) H_k(x) exp(-x^2).
    """
    points = np.arange(-_EDGE * _STEPS, _EDGE * _STEPS + 1) / _STEPS
    scale = 2 / math.sqrt(math.pi) * np.exp(-points * points)
    rows, before, hermite = (
        [np.array([math.erf(x) for x in points])],
        np.zeros_like(points),
        np.ones_like(points),
    )
    for k in range(_TERMS - 1):
        rows.append((-1) ** k * scale * hermite / math.factorial(k + 1))
        before, hermite = hermite, 2 * points * hermite - 2 * k * before
    return np.array(rows)


def _erf_forward(x: Any) -> Any:
    """The error function from a table: the nearest of 193 points, and ten Taylor terms."""
    x = floating(x)
    table = _erf_table().astype(x.dtype, copy=False)
    inside = np.clip(np.nan_to_num(x), -_EDGE, _EDGE)  # erf(6) is 1 in float64
    nearest = np.rint(inside * _STEPS)
    offset = inside - nearest / _STEPS
    position = nearest.astype(np.intp) + _EDGE * _STEPS
    out = table[-1].take(position)
    for row in table[-2::-1]:
        out = out * offset + row.take(position)
    return np.where(np.isnan(x), x, out)


erf = elementwise(
    _erf_forward,
    lambda g, out, x: g * (2 / math.sqrt(math.pi)) * np.exp(-x * x),
    name="erf",
)

# ---- functions whose derivatives of every order have one form --------------------------------------------

_SINC_SERIES = [0.0 if k % 2 else (-1) ** (k // 2) * math.pi**k / math.factorial(k + 1) for k in range(48)]


def _sinc_forward(x: Any, order: int) -> Any:
    """The ``order``-th derivative of sin(pi x) / (pi x): by its series within 1, beyond by the recurrence.

    ``x f^(n) + n f^(n-1) = pi^(n-1) sin(pi x + n pi / 2)``, Leibniz's rule on ``x f(x) = sin(pi x) / pi``.
    """
    if order == 0:
        return np.sinc(x)
    from numpy.polynomial import Polynomial  # here, as it takes a tenth of the time of NumPy's own import

    near = np.abs(x) < 1
    far = np.where(near, 1, x).astype(np.float64)
    out = np.sinc(far)
    for n in range(1, order + 1):
        out = (math.pi ** (n - 1) * np.sin(math.pi * far + n * math.pi / 2) - n * out) / far
    series = Polynomial(_SINC_SERIES).deriv(order)(np.where(near, x, 0).astype(np.float64))
    return np.where(near, series, out).astype(x.dtype)


sinc_derivative: Op = elementwise(
    _sinc_forward,
    lambda g, out, x, order: g * sinc_derivative(x, order=order + 1),
    name="sinc",
    samples=tuple(Sample((shape,), {"order": n}) for shape in ((), (2, 3), (4,)) for n in (0, 1, 2)),
)


@implements(np.sinc)
def sinc(x: Any) -> Any:
    return sinc_derivative(_float(x), order=0)


def _i0_forward(x: Any, order: int) -> Any:
    """The ``order``-th derivative of the modified Bessel function I0: the mean of cos^n(t) exp(x cos t).

    The mean over a period by the midpoint rule, which converges exponentially (Abramowitz & Stegun 1964,
    9.6.16, differentiated; Trefethen & Weideman 2014, *The exponentially convergent trapezoidal rule*); t and
    pi - t are taken together, so that nothing cancels.
    """
    if order == 0:
        return np.i0(x).astype(x.dtype)
    wide = x.astype(np.float64)
    nodes = 8 + int(3 * math.sqrt(min(np.max(np.abs(wide), initial=0), 720)))
    both = np.sinh if order % 2 else np.cosh
    out = np.zeros_like(wide)
    for c in np.cos(math.pi * (np.arange(nodes) + 0.5) / (2 * nodes)).tolist():
        out = out + c**order * both(c * wide)
    return (out / nodes).astype(x.dtype)


i0_derivative: Op = elementwise(
    _i0_forward,
    lambda g, out, x, order: g * i0_derivative(x, order=order + 1),
    name="i0",
    singular=True,
    samples=tuple(Sample((shape,), {"order": n}) for shape in ((), (2, 3), (4,)) for n in (0, 1, 2)),
)


@implements(np.i0)
def i0(x: Any) -> Any:
    return i0_derivative(_float(x), order=0)


def _float(x: Any) -> Any:
    return x if x.dtype.kind == "f" else x.astype(np.float64)
