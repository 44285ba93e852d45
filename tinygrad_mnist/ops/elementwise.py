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

from tinygrad_mnist.engine.dtypes import has_nan, is_float, is_integer
from tinygrad_mnist.engine.errors import plain_array
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
from tinygrad_mnist.ops.values import values_of

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
    singular=True,
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
reciprocal = elementwise(np.reciprocal, lambda g, out, x: -g * out * out, domain=NONZERO, singular=True)
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


def _power_term_forward(factor: Any, x: Any, y: Any, shift: int, logs: int) -> Any:
    """Return ``factor x**(y - shift) log(x)**logs``: every derivative of a power is a sum of such.

    At x = 0 it is the limit, but two conventions hold: ``0**0 log(0)`` is 0, and so is the power that a
    derivative of x**0, x**1 ... multiplies by 0.
    """
    dtype = np.result_type(factor, x, y, np.float16)
    factor, x, y = double(factor), double(x), double(y)
    exponent = y - shift
    # What the subtraction rounded off, exactly (Knuth 1969, 4.2.2, theorem B): the power of a tiny or huge x
    # would show it.
    back = exponent - y
    rest = (y - (exponent - back)) - (shift + back)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        half = np.abs(x) ** (exponent / 2)  # the whole power may overflow where its product does not
        if logs:
            factor = factor * np.log(x) ** logs
        out = np.where(x > 0, factor * half * half, factor * x**exponent)
        out = np.where(half == 0, 0, out)  # a factor of inf is no match for that
        usual = (rest != 0) & (x > 0) & np.isfinite(x) & np.isfinite(out) & (out != 0)
        if np.any(usual):
            out = out * np.where(usual, np.exp(rest * np.log(np.where(usual, x, 1))), 1)
    if logs:
        vanishing = (x == 0) & (exponent >= 0)
    else:
        vanishing = (x == 0) & (y >= 0) & (y < shift) & (np.rint(y) == y)
    return np.where(vanishing, 0, out).astype(dtype, copy=False)


power_term: Op = elementwise(
    _power_term_forward,
    lambda g, out, factor, x, y, shift, logs: g * power_term(1.0, x, y, shift=shift, logs=logs),
    lambda g, out, factor, x, y, shift, logs: g * _power_term_by_base(factor, x, y, shift, logs),
    lambda g, out, factor, x, y, shift, logs: g * power_term(factor, x, y, shift=shift, logs=logs + 1),
    name="power_term",
    domain=(REAL, POSITIVE, REAL),
    samples=tuple(
        Sample(((2,), (2, 2), (2, 2)), {"shift": shift, "logs": logs})
        for shift, logs in ((1, 0), (0, 1), (1, 1))
    ),
    singular=True,
)


def _power_term_by_base(factor: Any, x: Any, y: Any, shift: int, logs: int) -> Any:
    slope = power_term(factor * (y - shift), x, y, shift=shift + 1, logs=logs)
    return slope + logs * power_term(factor, x, y, shift=shift + 1, logs=logs - 1) if logs else slope


def _power_by_base(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return ``g y x**(y - 1)``; for y = 0 it is 0 at x = 0 too, where the factor x**-1 is infinite."""
    if isinstance(y, (int, float)) and (y - 1) + 1 == y:  # as in x ** 2: no array is made of the exponent
        return g * y * x ** (y - 1) if y != 0 else g * 0
    return g * power_term(y, x, y, shift=1, logs=0)


def _power_by_exponent(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return ``g x**y log(x)``; 0 at x = 0 if y is not negative, as x**y log(x) tends to 0 there."""
    return g * power_term(1.0, x, y, shift=0, logs=1)


power = elementwise(
    operator.pow,
    _power_by_base,
    _power_by_exponent,
    name="power",
    domain=(POSITIVE, REAL),
    label="**",
    singular=True,
)
UFUNCS[np.power] = power

# ---- exponentials and logarithms -------------------------------------------------------------------------

exp = elementwise(np.exp, lambda g, out, x: g * out, singular=True)
expm1 = elementwise(np.expm1, lambda g, out, x: g * np.exp(x), singular=True)
log = elementwise(np.log, lambda g, out, x: g / x, domain=POSITIVE, singular=True)
log1p = elementwise(np.log1p, lambda g, out, x: g / (1 + x), domain=Domain(-0.8, 3.0), singular=True)
exp2 = elementwise(np.exp2, lambda g, out, x: g * out * math.log(2), singular=True)
log2 = elementwise(np.log2, lambda g, out, x: g * (1 / math.log(2)) / x, domain=POSITIVE, singular=True)
log10 = elementwise(np.log10, lambda g, out, x: g * (1 / math.log(10)) / x, domain=POSITIVE, singular=True)
cbrt = elementwise(np.cbrt, lambda g, out, x: g / (3 * out * out), domain=NONZERO, label="∛", singular=True)


def _share_forward(x: Any, y: Any, base: int) -> Any:
    """Return ``b**x / (b**x + b**y)``, where the base b is 2, or e if 0 is given.

    Divided by the larger of the two powers, above and below, it does not overflow. It is 0 where both are
    -inf, as a masked row contributes nothing.
    """
    dtype = np.result_type(x, y, np.float16)
    x, y = double(x), double(y)
    power, logarithm = (np.exp2, math.log(2)) if base else (np.exp, 1.0)
    with np.errstate(invalid="ignore"):
        difference = x - np.where((x == -np.inf) & (y == -np.inf), 0, y)
        # what the subtraction rounded off, exactly (Knuth 1969, 4.2.2, theorem B): a power shows it
        back = difference - x
        rest = (x - (difference - back)) - (y + back)
        small = power(-np.abs(difference))
        out, other = (np.where(first, 1, small) / (1 + small) for first in (difference >= 0, difference < 0))
        out = out * (1 + np.where(np.isfinite(difference), rest * logarithm * other, 0))
        return np.where(np.isnan(difference), np.nan, out).astype(dtype)


share = elementwise(
    _share_forward,
    lambda g, out, x, y, base: g * _share_slope(x, y, base),
    lambda g, out, x, y, base: -g * _share_slope(x, y, base),
    name="share",
    samples=tuple(Sample(((2, 3), (3,)), {"base": base}) for base in (0, 2)),
)


def _share_slope(x: Any, y: Any, base: int) -> Any:
    slope = share(x, y, base=base) * share(y, x, base=base)
    return slope * math.log(2) if base else slope


logaddexp = elementwise(
    np.logaddexp, lambda g, out, x, y: g * share(x, y, base=0), lambda g, out, x, y: g * share(y, x, base=0)
)
logaddexp2 = elementwise(
    np.logaddexp2, lambda g, out, x, y: g * share(x, y, base=2), lambda g, out, x, y: g * share(y, x, base=2)
)
sqrt = elementwise(np.sqrt, lambda g, out, x: g * 0.5 / out, domain=POSITIVE, label="√", singular=True)

# ---- trigonometric and hyperbolic ------------------------------------------------------------------------

sin = elementwise(np.sin, lambda g, out, x: g * np.cos(x))
cos = elementwise(np.cos, lambda g, out, x: -g * np.sin(x))
tan = elementwise(np.tan, lambda g, out, x: g * (1 + out * out), domain=Domain(-1.2, 1.2))
# Below, the derivative is an operation where its formula in other operations would lose digits when it is
# differentiated once more: 1 - x * x loses them near 1, and the derivative of (1 - x) * (1 + x) near 0.
arcsin_derivative = elementwise(
    lambda x: 1 / (np.sqrt(1 - x) * np.sqrt(1 + x)),
    lambda g, out, x: g * ((x * out) * (out * out)),
    name="arcsin_derivative",
    domain=INSIDE_UNIT,
    singular=True,
)
arccosh_derivative = elementwise(
    lambda x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1)),
    lambda g, out, x: -g * ((x * out) * out * out),
    name="arccosh_derivative",
    domain=Domain(1.2, 4.0),
    singular=True,
)
arctanh_derivative = elementwise(
    lambda x: 1 / ((1 - x) * (1 + x)),
    lambda g, out, x: g * (2 * (x * out) * out),
    name="arctanh_derivative",
    domain=INSIDE_UNIT,
    singular=True,
)


def _arctan_derivative_forward(x: Any) -> Any:
    """Return ``1 / (1 + x**2)``, by the hypotenuse, as x * x overflows for large numbers."""
    hypotenuse = np.hypot(1, x)
    return 1 / hypotenuse / hypotenuse


arctan_derivative = elementwise(
    _arctan_derivative_forward,
    lambda g, out, x: g * (-2 * (x * out) * out),  # x * out first: out * out underflows too early
    name="arctan_derivative",
)
arcsin = elementwise(np.arcsin, lambda g, out, x: g * arcsin_derivative(x), domain=INSIDE_UNIT, singular=True)
arccos = elementwise(
    np.arccos, lambda g, out, x: -g * arcsin_derivative(x), domain=INSIDE_UNIT, singular=True
)
arctan = elementwise(np.arctan, lambda g, out, x: g * arctan_derivative(x))
sinh = elementwise(np.sinh, lambda g, out, x: g * np.cosh(x), singular=True)
cosh = elementwise(np.cosh, lambda g, out, x: g * np.sinh(x), singular=True)


def _sech_squared_forward(x: Any) -> Any:
    """Return ``1 / cosh(x)**2``, which 1 - tanh(x)**2 is too, but with no digit left where tanh is near 1."""
    with np.errstate(over="ignore"):  # 1 / inf is 0, rightly
        out = np.asarray(np.cosh(x))
    np.reciprocal(out, out=out)
    out *= out
    return out


sech_squared = elementwise(
    _sech_squared_forward, lambda g, out, x: g * (-2 * out * np.tanh(x)), name="sech_squared", label="sech²"
)
tanh = elementwise(np.tanh, lambda g, out, x: g * sech_squared(x))
arcsinh = elementwise(np.arcsinh, lambda g, out, x: g / np.hypot(1, x))
arccosh = elementwise(
    np.arccosh, lambda g, out, x: g * arccosh_derivative(x), domain=Domain(1.2, 4.0), singular=True
)
arctanh = elementwise(
    np.arctanh, lambda g, out, x: g * arctanh_derivative(x), domain=INSIDE_UNIT, singular=True
)


def _scaled(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Return two numbers, at least in float64, divided by a power of 2 that brings the larger one near 1.

    The third result is that power. So squares neither overflow nor underflow, and nothing is rounded.
    """
    x, y = double(x), double(y)
    exponent = np.frexp(np.maximum(np.abs(x), np.abs(y)))[1]
    return np.ldexp(x, -exponent), np.ldexp(y, -exponent), exponent


def _direction_forward(x: Any, y: Any) -> Any:
    dtype = np.result_type(x, y, np.float16)
    x, y, _ = _scaled(x, y)
    length = np.hypot(x, y)
    return (x / np.where(length == 0, 1, length)).astype(dtype)


def _direction_by_x(g: Any, out: Any, x: Any, y: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return g * (direction(y, x) / np.hypot(x, y) * direction(y, x))


def _direction_by_y(g: Any, out: Any, x: Any, y: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -g * (out * direction(y, x) / np.hypot(x, y))


direction: Op = elementwise(
    _direction_forward, _direction_by_x, _direction_by_y, name="direction", domain=(NONZERO, NONZERO)
)
"""``x / hypot(x, y)``, the cosine of the angle of a point; 0 at (0, 0), where its own derivative is NaN."""

hypot = elementwise(  # at (0, 0) the subgradient of least norm
    np.hypot,
    lambda g, out, x, y: g * direction(x, y),
    lambda g, out, x, y: g * direction(y, x),
    domain=(NONZERO, REAL),
)


def _inverse_power_forward(x: Any, y: Any, n: int, imaginary: bool) -> Any:
    """Return the real or the imaginary part of ``(x + iy)**-n``."""
    dtype = np.result_type(x, y, np.float16)
    x, y, exponent = _scaled(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        length = np.hypot(x, y)
        cosine, sine = x / length, y / length
        if n == 1:
            part = -sine if imaginary else cosine
        elif n == 2:  # x - y is exact where it is small, and the difference of two squares is not
            part = -2 * sine * cosine if imaginary else (x - y) / length * ((x + y) / length)
        else:
            turned = (cosine - 1j * sine) ** n
            part = turned.imag if imaginary else turned.real
        return np.ldexp(part / length**n, -n * exponent).astype(dtype)


# The derivative of z**-n by x is -n z**-(n + 1), by y it is i times that.
inverse_power: Op = elementwise(
    _inverse_power_forward,
    lambda g, out, x, y, n, imaginary: g * (-n * inverse_power(x, y, n=n + 1, imaginary=imaginary)),
    lambda g, out, x, y, n, imaginary: (
        g * ((-n if imaginary else n) * inverse_power(x, y, n=n + 1, imaginary=not imaginary))
    ),
    name="inverse_power",
    domain=(NONZERO, NONZERO),
    samples=tuple(
        Sample(((2, 3), (2, 1)), {"n": n, "imaginary": part}) for n in (1, 2) for part in (False, True)
    ),
    singular=True,
)
arctan2 = elementwise(  # the imaginary part of log(x + iy), whose derivative is 1 / (x + iy)
    np.arctan2,
    lambda g, out, y, x: g * inverse_power(x, y, n=1, imaginary=False),
    lambda g, out, y, x: g * inverse_power(x, y, n=1, imaginary=True),
    domain=(NONZERO, NONZERO),
    singular=True,
)

# ---- choosing --------------------------------------------------------------------------------------------


def _unchosen(out: Any) -> Any:
    """Return what a choosing operation passes to the argument not chosen: 0; but NaN where it gave NaN."""
    out = out.data if isinstance(out, Tensor) else plain_array(out)
    return np.where(np.isnan(out), out, out.dtype.type(0)) if has_nan(out) else 0


def _where_larger(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return ``g`` where x > y, half of it where they are equal: a maximum's subgradient of least norm."""
    return np.where(x == y, 0.5 * g, np.where(x > y, g, _unchosen(out)))


maximum = elementwise(
    np.maximum,
    lambda g, out, x, y: _where_larger(g, out, x, y),
    lambda g, out, x, y: _where_larger(g, out, y, x),
    domain=DISTINCT,
    chooses=True,
)
minimum = elementwise(
    np.minimum,
    lambda g, out, x, y: _where_larger(g, out, y, x),
    lambda g, out, x, y: _where_larger(g, out, x, y),
    domain=DISTINCT,
    chooses=True,
)


def _where_chosen(g: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the cotangent of x in fmax: as in a maximum, and ``g`` where y is NaN and so x was taken."""
    unchosen = _unchosen(out)
    larger = np.where(x == y, 0.5 * g, np.where(x > y, g, unchosen))
    return np.where(np.isnan(y), g + unchosen, np.where(np.isnan(x), unchosen, larger))


fmax = elementwise(
    np.fmax,
    lambda g, out, x, y: _where_chosen(g, out, x, y),
    lambda g, out, x, y: _where_chosen(g, out, y, x),
    domain=DISTINCT,
    chooses=True,
)
fmin = elementwise(
    np.fmin,
    lambda g, out, x, y: _where_chosen(g, out, -x, -y),
    lambda g, out, x, y: _where_chosen(g, out, -y, -x),
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
    lambda g, out, x, low, high: np.where((x > low) & (x < high), g, _unchosen(out)),
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


@implements(np.divmod)
def divmod_(x: Any, y: Any) -> tuple[Any, Any]:
    return np.floor_divide(x, y), np.remainder(x, y)


@implements(np.modf)
def modf(x: Any) -> tuple[Any, Any]:
    x = x if is_float(x) else x.astype(np.modf(np.zeros(1, x.dtype))[0].dtype)
    return np.fmod(np.where(np.isinf(x), 0, x), 1), np.trunc(x)


@implements(np.frexp)
def frexp(x: Any) -> tuple[Any, Any]:
    exponent = np.frexp(values_of(x))[1]
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
    out = np.maximum(small, x >= 0)  # 1 or small; measured: np.where takes ten times as long
    out /= 1 + small
    return out


def _logistic_forward(x: Any) -> Any:
    """Return ``exp(-x) / (1 + exp(-x))**2``, the same for -x: sigmoid(x) (1 - sigmoid(x)) without loss."""
    out = np.exp(-np.abs(floating(x)))
    whole = 1 + out
    out /= whole
    out /= whole
    return out


def _softplus_forward(x: Any) -> Any:
    x = floating(x)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _log_sigmoid_forward(x: Any) -> Any:
    x = floating(x)
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


logistic = elementwise(_logistic_forward, lambda g, out, x: g * (-out * np.tanh(0.5 * x)), name="logistic")
sigmoid = elementwise(
    _sigmoid_forward,
    lambda g, out, x: g * logistic(x),
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


def exp_of_square(x: Any, factor: float) -> Any:
    """Return ``exp(factor * x**2)`` of an array, for a factor of -1 or -1/2.

    The rounding of x**2 would be seen in the exponential of a large number. In float64 x is the sum of a
    float32, whose square is exact, and a rest; what is narrower is computed in float64.
    """
    if x.dtype.itemsize < 8:
        wide = np.asarray(x, np.float64)  # its square is exact
        out = np.asarray(wide * factor)
        out *= wide
        return np.exp(out, out=out).astype(x.dtype)
    wide = np.minimum(np.abs(x), 50)  # beyond, it is 0, and the square would overflow
    head = wide.astype(np.float32).astype(wide.dtype)
    return np.exp(factor * head * head) * np.exp(factor * (wide - head) * (wide + head))


erf_derivative = elementwise(
    lambda x: exp_of_square(floating(x), -1) * (2 / math.sqrt(math.pi)),
    lambda g, out, x: g * (-2 * (np.clip(x, -50, 50) * out)),  # at infinity 0, not inf * 0
    name="erf_derivative",
)
erf = elementwise(_erf_forward, lambda g, out, x: g * erf_derivative(x), name="erf")

# ---- functions whose derivatives of every order have one form --------------------------------------------

_SINC_SERIES = [0.0 if k % 2 else (-1) ** (k // 2) * math.pi**k / math.factorial(k + 1) for k in range(48)]


def _sin_of_pi(x: Any) -> Any:
    """Return sin(pi x), exact where it is small: the periods are taken off before pi, which is rounded."""
    rest = x - 2 * np.rint(x / 2)
    return np.sin(math.pi * np.where(np.abs(rest) > 0.5, np.copysign(1, rest) - rest, rest))


def _cos_of_pi(x: Any) -> Any:
    return np.sin(math.pi * (0.5 - np.abs(x - 2 * np.rint(x / 2))))


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
    sine, cosine = _sin_of_pi(far), _cos_of_pi(far)
    turned = (sine, cosine, -sine, -cosine)  # sin(pi x + n pi / 2)
    out = sine / (math.pi * far)
    for n in range(1, order + 1):
        out = (math.pi ** (n - 1) * turned[n % 4] - n * out) / far
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
    or cosh, so that nothing cancels, and all are divided by exp(x), so that their exponents are exact.
    """
    if order == 0:
        return np.i0(x).astype(x.dtype)
    wide = np.abs(x.astype(np.float64))
    inside = np.where(np.isnan(wide), 0, np.minimum(wide, 1e3))  # beyond, all is infinite
    nodes = 8 + int(3 * math.sqrt(min(np.max(inside, initial=0), 720)))
    out = np.zeros_like(wide)
    for t in (math.pi * (np.arange(nodes)[::-1] + 0.5) / (2 * nodes)).tolist():  # the small terms first
        # exp(-x) times sinh or cosh of x cos t; 1 - cos t is 2 sin^2(t / 2)
        c, scaled = math.cos(t), np.exp(-2 * math.sin(t / 2) ** 2 * inside)
        both = -np.expm1(-2 * c * inside) if order % 2 else 1 + np.exp(-2 * c * inside)
        out = out + c**order * scaled * both
    half = np.exp(inside / 2)  # exp(x) overflows a little before the result does
    out = out / (2 * nodes) * half * half
    out = np.where(np.isnan(wide), wide, out)
    return (np.copysign(out, x) if order % 2 else out).astype(x.dtype)


i0_derivative: Op = elementwise(
    _i0_forward,
    lambda g, out, x, order: g * i0_derivative(x, order=order + 1),
    name="i0",
    singular=True,
    samples=tuple(Sample((shape,), {"order": n}) for shape in ((), (2, 3), (4,)) for n in (0, 1, 2)),
)


@implements(np.i0)
def i0(x: Any) -> Any:
    return i0_derivative(as_float(x), order=0)
