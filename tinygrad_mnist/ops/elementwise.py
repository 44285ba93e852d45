"""Operations on each element: arithmetic, powers, exponentials, trigonometry, maxima, sigmoid, erf, Bessel.

Each line is a function and its derivatives, one for each argument: ``rule(g, out, x, y)`` is the cotangent of
that argument, given the cotangent ``g`` of the result ``out``. Rules hold for arrays and for Tensors. Nothing
here needs SciPy.
"""

from __future__ import annotations

import math
import operator
from functools import cache
from typing import Any

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float, is_integer
from tinygrad_mnist.engine.op import (
    DISTINCT,
    INSIDE_UNIT,
    NONZERO,
    POSITIVE,
    REAL,
    UFUNCS,
    Domain,
    Op,
    Sample,
    elementwise,
    implements,
    linear,
)
from tinygrad_mnist.engine.tensor import Tensor

# ---- dtypes: other files use these, too ------------------------------------------------------------------


def floating(x: Any) -> Any:
    """Return an array in the floating dtype that NumPy's ``exp`` would compute in: float16 for uint8, say."""
    x = np.asarray(x)
    return x if is_float(x) else x.astype(np.result_type(x.dtype, np.float16))


def as_float(x: Any) -> Any:
    """Return a Tensor or array of floats as it is, and any other one in float64."""
    return x if is_float(x) else x.astype(np.float64)


def double(x: Any) -> Any:
    """Return a Tensor, array or number in float64, or in its own dtype if that is wider."""
    x = x if hasattr(x, "astype") else np.asarray(x)
    return x.astype(np.result_type(x.dtype, np.float64))


astype = linear(
    lambda x, dtype: x.astype(dtype),
    lambda g, out, x, dtype: g,  # the walk brings it back into the dtype of x
    name="astype",
    samples=(Sample(((2, 3),), {"dtype": np.dtype(np.float64)}),),
)

# ---- arithmetic ------------------------------------------------------------------------------------------

positive = elementwise(np.positive, lambda g, out, x: g)
conjugate = linear(np.conjugate, lambda g, out, x: g, samples="broadcast", broadcasts=True)  # all is real
UFUNCS[np.conjugate] = conjugate
negative = elementwise(np.negative, lambda g, out, x: -g, label="-")
add = elementwise(np.add, lambda g, out, x, y: g, lambda g, out, x, y: g, label="+")
subtract = elementwise(np.subtract, lambda g, out, x, y: g, lambda g, out, x, y: -g, label="-")
multiply = elementwise(np.multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x, label="×")
divide = elementwise(
    np.divide,
    lambda g, out, x, y: g / y,
    lambda g, out, x, y: -g * out / y,
    domain=(REAL, NONZERO),
    label="÷",
)
STEP = (Domain(2.2, 2.6), Domain(0.9, 1.05))  # between two steps of the quotient
# x % y is x - floor(x / y) y, and the floor is constant between its jumps; fmod truncates instead
remainder = elementwise(
    np.remainder,
    lambda g, out, x, y: g,
    lambda g, out, x, y: -g * np.floor_divide(x, y),
    domain=STEP,
    label="%",
)
fmod = elementwise(
    np.fmod, lambda g, out, x, y: g, lambda g, out, x, y: -g * np.rint((x - out) / y), domain=STEP
)
# 1 / x has the slope -1 / x**2 = -out**2
reciprocal = elementwise(np.reciprocal, lambda g, out, x: -g * out * out, domain=NONZERO)
square = elementwise(np.square, lambda g, out, x: 2 * g * x, label="²")
absolute = elementwise(np.absolute, lambda g, out, x: g * np.sign(x), domain=NONZERO, label="|x|")
fabs = elementwise(np.fabs, lambda g, out, x: g * np.sign(x), domain=NONZERO, label="|x|")
copysign = elementwise(
    np.copysign, lambda g, out, x, y: g * np.sign(x) * np.copysign(1, y), None, domain=(NONZERO, NONZERO)
)
ldexp = elementwise(
    np.ldexp,
    lambda g, out, x, n: np.ldexp(g, n),
    None,
    samples=(
        Sample(((2, 3), (3,)), constants={1: np.array([-2, 0, 3])}),
        Sample(((1,), (2,)), constants={1: np.array([1, 4])}),
        Sample(((), ()), constants={1: np.array(-1)}),
    ),
)
deg2rad = elementwise(np.deg2rad, lambda g, out, x: np.deg2rad(g))
rad2deg = elementwise(np.rad2deg, lambda g, out, x: np.rad2deg(g))
UFUNCS[np.radians], UFUNCS[np.degrees] = deg2rad, rad2deg


def _power_by_base(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return ``g y x**(y - 1)``; for y = 0 it is 0 at x = 0 too, where the factor x**-1 is infinite."""
    if isinstance(y, (int, float)):  # the usual case, x ** 2: no array is made of the exponent
        return g * y * x ** (y - 1) if y != 0 else g * 0
    return g * y * x ** np.where((x == 0) & (y == 0), 1, y - 1)


def _power_by_exponent(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return ``g x**y log(x)``; 0 at x = 0 if y is not negative, as x**y log(x) tends to 0 there."""
    return np.where((x == 0) & (y >= 0), 0, g * out * np.log(np.where((x == 0) & (y >= 0), 1, x)))


power = elementwise(
    operator.pow,
    _power_by_base,
    _power_by_exponent,
    name="power",
    domain=(POSITIVE, REAL),
    label="**",
)
UFUNCS[np.power] = power

# ---- exponentials and logarithms -------------------------------------------------------------------------

exp = elementwise(np.exp, lambda g, out, x: g * out)
expm1 = elementwise(np.expm1, lambda g, out, x: g * (out + 1))
log = elementwise(np.log, lambda g, out, x: g / x, domain=POSITIVE)
log1p = elementwise(np.log1p, lambda g, out, x: g / (1 + x), domain=Domain(-0.8, 3.0))
exp2 = elementwise(np.exp2, lambda g, out, x: g * out * math.log(2))
log2 = elementwise(np.log2, lambda g, out, x: g / x / math.log(2), domain=POSITIVE)
log10 = elementwise(np.log10, lambda g, out, x: g / x / math.log(10), domain=POSITIVE)
cbrt = elementwise(np.cbrt, lambda g, out, x: g / (3 * out * out), domain=NONZERO, label="∛")


def _share(x: Any, y: Any, scale: float) -> Any:
    """Return ``exp(x) / (exp(x) + exp(y))``; 0 where both are -inf, as a masked row contributes nothing.

    Divided by ``exp(x)`` above and below, it is the sigmoid of x - y, which does not overflow.
    """
    return sigmoid(scale * (x - np.where((x == -np.inf) & (y == -np.inf), 0, y)))


logaddexp = elementwise(
    np.logaddexp, lambda g, out, x, y: g * _share(x, y, 1), lambda g, out, x, y: g * _share(y, x, 1)
)
logaddexp2 = elementwise(
    np.logaddexp2,
    lambda g, out, x, y: g * _share(x, y, math.log(2)),
    lambda g, out, x, y: g * _share(y, x, math.log(2)),
)
sqrt = elementwise(np.sqrt, lambda g, out, x: g * 0.5 / out, domain=POSITIVE, label="√")

# ---- trigonometric and hyperbolic ------------------------------------------------------------------------

sin = elementwise(np.sin, lambda g, out, x: g * np.cos(x))
cos = elementwise(np.cos, lambda g, out, x: -g * np.sin(x))
tan = elementwise(np.tan, lambda g, out, x: g * (1 + out * out), domain=Domain(-1.2, 1.2))
arcsin = elementwise(np.arcsin, lambda g, out, x: g / np.sqrt(1 - x * x), domain=INSIDE_UNIT)
arccos = elementwise(np.arccos, lambda g, out, x: -g / np.sqrt(1 - x * x), domain=INSIDE_UNIT)
arctan = elementwise(np.arctan, lambda g, out, x: g / (1 + x * x))
sinh = elementwise(np.sinh, lambda g, out, x: g * np.cosh(x))
cosh = elementwise(np.cosh, lambda g, out, x: g * np.sinh(x))
tanh = elementwise(np.tanh, lambda g, out, x: g * (1 - out * out))
arcsinh = elementwise(np.arcsinh, lambda g, out, x: g / np.hypot(1, x))
arccosh = elementwise(
    np.arccosh,
    lambda g, out, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)),  # x * x - 1 would cancel near 1
    domain=Domain(1.2, 4.0),
)
arctanh = elementwise(  # 1 - x * x would cancel near 1
    np.arctanh, lambda g, out, x: g / ((1 - x) * (1 + x)), domain=INSIDE_UNIT
)
hypot = elementwise(  # at (0, 0) the subgradient of least norm
    np.hypot,
    lambda g, out, x, y: g * (x / np.where(out == 0, 1, out)),
    lambda g, out, x, y: g * (y / np.where(out == 0, 1, out)),
    domain=(NONZERO, REAL),
)
arctan2 = elementwise(  # divided by hypot twice, as x * x + y * y overflows for large numbers
    np.arctan2,
    lambda g, out, y, x: g * (x / np.hypot(x, y) / np.hypot(x, y)),
    lambda g, out, y, x: -g * (y / np.hypot(x, y) / np.hypot(x, y)),
    domain=(NONZERO, NONZERO),
)

# ---- choosing --------------------------------------------------------------------------------------------


def _where_larger(g: Any, x: Any, y: Any) -> Any:
    """Return ``g`` where x > y, half of it where they are equal: a maximum's subgradient of least norm."""
    return np.where(x == y, 0.5 * g, np.where(x > y, g, 0))


maximum = elementwise(
    np.maximum,
    lambda g, out, x, y: _where_larger(g, x, y),
    lambda g, out, x, y: _where_larger(g, y, x),
    domain=DISTINCT,
    chooses=True,
)
minimum = elementwise(
    np.minimum,
    lambda g, out, x, y: _where_larger(g, y, x),
    lambda g, out, x, y: _where_larger(g, x, y),
    domain=DISTINCT,
    chooses=True,
)


def _where_chosen(g: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of x in fmax: as in a maximum, and ``g`` where y is NaN and so x was taken."""
    return np.where(np.isnan(y), g, _where_larger(g, x, y))


fmax = elementwise(
    np.fmax,
    lambda g, out, x, y: _where_chosen(g, x, y),
    lambda g, out, x, y: np.where(np.isnan(y), 0, _where_chosen(g, y, x)),
    domain=DISTINCT,
    chooses=True,
)
fmin = elementwise(
    np.fmin,
    lambda g, out, x, y: _where_chosen(g, -x, -y),
    lambda g, out, x, y: np.where(np.isnan(y), 0, _where_chosen(g, -y, -x)),
    domain=DISTINCT,
    chooses=True,
)
where = linear(
    np.where,
    None,
    lambda g, out, condition, x, y: np.where(condition, g, 0),
    lambda g, out, condition, x, y: np.where(condition, 0, g),
    broadcasts=True,
    samples=(
        Sample(((3,), (3,), (3,)), constants={0: np.array([True, False, True])}),
        Sample(((2, 3), (3,), (2, 1)), constants={0: np.array([[True, False, True], [False, False, True]])}),
        Sample(((), (2,), ()), constants={0: np.array(True)}),
    ),
)
between = elementwise(
    lambda x, low, high: np.clip(x, low, high),
    lambda g, out, x, low, high: np.where((x > low) & (x < high), g, 0),
    None,
    None,
    name="clip",
    chooses=True,
    domain=Domain(kinks=(-1.0, 1.5)),
    samples=tuple(Sample((shape, (), ()), constants={1: -1.0, 2: 1.5}) for shape in ((4,), (2, 3), ())),
)


@implements(np.where)
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    return np.nonzero(condition) if x is None and y is None else where(condition, x, y)


@implements(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    if any(getattr(bound, "requires_grad", False) for bound in (low, high)):
        raised = a if low is None else np.maximum(a, low)
        return raised if high is None else np.minimum(raised, high)
    lowest, highest = _range(a.dtype if hasattr(a, "dtype") else np.asarray(a).dtype)
    return between(a, lowest if low is None else low, highest if high is None else high)


def _range(dtype: Any) -> tuple[float, float]:
    """Return the least and the greatest value, as Python numbers, which leave the dtype as it is."""
    if is_integer(dtype):
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return (False, True) if dtype.kind == "b" else (-math.inf, math.inf)


# ---- formulae --------------------------------------------------------------------------------------------


@implements(np.float_power)
def float_power(x: Any, y: Any) -> Any:
    return np.power(double(x), double(y))


def root_or_zero(x: Any) -> Any:
    """Return the square root of a sum of squares, with gradient 0 at 0: the subgradient of least norm.

    The square root alone has an infinite slope there, which times the 0 of the squares is NaN.
    """
    return np.where(x == 0, 0, np.sqrt(np.where(x == 0, 1, x)))


@implements(np.divmod)
def divmod_(x: Any, y: Any) -> tuple[Any, Any]:
    return np.floor_divide(x, y), np.remainder(x, y)


@implements(np.modf)
def modf(x: Any) -> tuple[Any, Any]:
    x = x if is_float(x) else x.astype(np.modf(np.zeros(1, x.dtype))[0].dtype)
    return np.fmod(np.where(np.isinf(x), 0, x), 1), np.trunc(x)


@implements(np.frexp)
def frexp(x: Any) -> tuple[Any, Any]:
    exponent = np.frexp(x.data)[1]
    return np.ldexp(x, -exponent), Tensor(exponent)


@implements(np.heaviside)
def heaviside(x: Any, y: Any) -> Any:
    out = np.where(x == 0, y, np.where(np.isnan(x), x, x > 0))
    zero = np.zeros(1, out.dtype)
    return out.astype(np.heaviside(zero, zero).dtype)


# ---- the logistic family ---------------------------------------------------------------------------------

# Each forward uses exp(-|x|), which never overflows: 1 / (1 + exp(-x)) is also exp(x) / (1 + exp(x)), and
# log(1 + exp(x)) is max(x, 0) + log(1 + exp(-|x|)).


def _sigmoid_forward(x: Any) -> Any:
    x = floating(x)
    small = np.exp(-np.abs(x))
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
)
"""``x log(y)``, and 0 where x is 0, for every y that is a number: a term of an entropy."""

# ---- the error function ----------------------------------------------------------------------------------

_STEPS, _EDGE, _TERMS = 16, 6, 11
"""Points of the table between two integers; its last point; the Taylor terms of each point."""


@cache
def _erf_table() -> Any:
    """Return the Taylor coefficients of erf about the points -6, -6 + 1/16, ..., 6, one row for each order.

    The derivatives are Hermite polynomials (Abramowitz & Stegun 1964, 7.1.19):
    erf^(k+1)(x) = (-1)^k 2/sqrt(pi) H_k(x) exp(-x^2).
    """
    points = np.arange(-_EDGE * _STEPS, _EDGE * _STEPS + 1) / _STEPS
    scale = 2 / math.sqrt(math.pi) * np.exp(-points * points)
    rows = [np.array([math.erf(x) for x in points])]
    before, hermite = np.zeros_like(points), np.ones_like(points)
    for k in range(_TERMS - 1):
        rows.append((-1) ** k * scale * hermite / math.factorial(k + 1))
        before, hermite = hermite, 2 * points * hermite - 2 * k * before  # H_k+1 = 2x H_k - 2k H_k-1
    return np.array(rows)


def _erf_forward(x: Any) -> Any:
    """Return the error function from a table: by the Taylor series about the nearest of 193 points.

    No point is farther away than 1/32, so the terms that are left out are less than the rounding of float64.
    """
    x = floating(x)
    table = _erf_table().astype(x.dtype, copy=False)
    inside = np.clip(np.nan_to_num(x), -_EDGE, _EDGE)  # erf(6) rounds to 1 in float64
    nearest = np.rint(inside * _STEPS)
    offset = inside - nearest / _STEPS
    position = nearest.astype(np.intp) + _EDGE * _STEPS
    out = table[-1].take(position)
    for row in table[-2::-1]:  # Horner's scheme
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
    """Return the ``order``-th derivative of sin(pi x) / (pi x).

    Within 1 it is that of the power series. Beyond, a recurrence leads to it, which divides by x:
    ``x f^(n) + n f^(n-1) = pi^(n-1) sin(pi x + n pi / 2)``, Leibniz's rule on ``x f(x) = sin(pi x) / pi``.
    """
    if order == 0:
        return np.sinc(x)
    # imported here, as it takes a tenth of the time of NumPy's own import, and few need it
    from numpy.polynomial import Polynomial

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
    return sinc_derivative(as_float(x), order=0)


def _i0_forward(x: Any, order: int) -> Any:
    """Return the ``order``-th derivative of the modified Bessel function I0.

    Of order n it is the mean of cos^n(t) exp(x cos t): Abramowitz & Stegun 1964, 9.6.16, differentiated. The
    mean over a period is taken by the midpoint rule, which converges exponentially (Trefethen & Weideman
    2014, "The exponentially convergent trapezoidal rule"). The points t and pi - t are taken together as sinh
    or cosh, so that nothing cancels.
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
    samples=tuple(Sample((shape,), {"order": n}) for shape in ((), (2, 3), (4,)) for n in (0, 1, 2)),
)


@implements(np.i0)
def i0(x: Any) -> Any:
    return i0_derivative(as_float(x), order=0)
