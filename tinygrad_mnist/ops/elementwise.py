"""Operations on each element: arithmetic, powers, exponentials, trigonometry, comparison.

Each line is a function and its derivatives, one an argument: ``rule(g, out, x, y)`` is the cotangent of that
argument, given the cotangent ``g`` of the result ``out``. Rules hold for arrays and for Tensors.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import (
    DISTINCT,
    INSIDE_UNIT,
    NONZERO,
    POSITIVE,
    REAL,
    UFUNCS,
    Domain,
    Sample,
    elementwise,
    implements,
    linear,
)
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.ops.special import sigmoid

# ---- arithmetic ------------------------------------------------------------------------------------------

positive = elementwise(np.positive, lambda g, out, x: g)
conjugate = linear(np.conjugate, lambda g, out, x: g, samples="broadcast", broadcasts=True)  # of real numbers
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
    singular=True,
    label="÷",
)
STEP = (Domain(2.2, 2.6), Domain(0.9, 1.05))  # between two steps of the quotient
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


def _power_by_base(g: Any, out: Any, x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)):
        return g * y * x ** (y - 1) if y != 0 else g * 0
    return g * y * x ** np.where((x == 0) & (y == 0), 1, y - 1)  # the derivative of x ** 0 is 0 at x = 0 too


def _power_by_exponent(g: Any, out: Any, x: Any, y: Any) -> Any:
    return np.where((x == 0) & (y >= 0), 0, g * out * np.log(np.where((x == 0) & (y >= 0), 1, x)))


power = elementwise(
    operator.pow,
    _power_by_base,
    _power_by_exponent,
    name="power",
    domain=(POSITIVE, REAL),
    singular=True,
    label="**",
)
UFUNCS[np.power] = power

# ---- exponentials and logarithms -------------------------------------------------------------------------

# singular where they overflow: the branch of an ELU that was not chosen
exp = elementwise(np.exp, lambda g, out, x: g * out, singular=True)
expm1 = elementwise(np.expm1, lambda g, out, x: g * (out + 1), singular=True)
log = elementwise(np.log, lambda g, out, x: g / x, domain=POSITIVE, singular=True)
log1p = elementwise(np.log1p, lambda g, out, x: g / (1 + x), domain=Domain(-0.8, 3.0), singular=True)
exp2 = elementwise(np.exp2, lambda g, out, x: g * out * math.log(2), singular=True)
log2 = elementwise(np.log2, lambda g, out, x: g / x / math.log(2), domain=POSITIVE, singular=True)
log10 = elementwise(np.log10, lambda g, out, x: g / x / math.log(10), domain=POSITIVE, singular=True)
cbrt = elementwise(np.cbrt, lambda g, out, x: g / (3 * out * out), domain=NONZERO, singular=True, label="∛")


def _share(x: Any, y: Any, scale: float) -> Any:
    """``exp(x) / (exp(x) + exp(y))``; 0 where both are -inf, as a masked row contributes nothing."""
    return sigmoid(scale * (x - np.where((x == -np.inf) & (y == -np.inf), 0, y)))


logaddexp = elementwise(
    np.logaddexp, lambda g, out, x, y: g * _share(x, y, 1), lambda g, out, x, y: g * _share(y, x, 1)
)
logaddexp2 = elementwise(
    np.logaddexp2,
    lambda g, out, x, y: g * _share(x, y, math.log(2)),
    lambda g, out, x, y: g * _share(y, x, math.log(2)),
)
sqrt = elementwise(np.sqrt, lambda g, out, x: g * 0.5 / out, domain=POSITIVE, singular=True, label="√")

# ---- trigonometric and hyperbolic ------------------------------------------------------------------------

sin = elementwise(np.sin, lambda g, out, x: g * np.cos(x))
cos = elementwise(np.cos, lambda g, out, x: -g * np.sin(x))
tan = elementwise(np.tan, lambda g, out, x: g * (1 + out * out), domain=Domain(-1.2, 1.2))
arcsin = elementwise(np.arcsin, lambda g, out, x: g / np.sqrt(1 - x * x), domain=INSIDE_UNIT, singular=True)
arccos = elementwise(np.arccos, lambda g, out, x: -g / np.sqrt(1 - x * x), domain=INSIDE_UNIT, singular=True)
arctan = elementwise(np.arctan, lambda g, out, x: g / (1 + x * x))
sinh = elementwise(np.sinh, lambda g, out, x: g * np.cosh(x), singular=True)
cosh = elementwise(np.cosh, lambda g, out, x: g * np.sinh(x), singular=True)
tanh = elementwise(np.tanh, lambda g, out, x: g * (1 - out * out))
arcsinh = elementwise(np.arcsinh, lambda g, out, x: g / np.hypot(1, x))
arccosh = elementwise(
    np.arccosh,
    lambda g, out, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)),
    domain=Domain(1.2, 4.0),
    singular=True,
)
arctanh = elementwise(
    np.arctanh, lambda g, out, x: g / ((1 - x) * (1 + x)), domain=INSIDE_UNIT, singular=True
)
hypot = elementwise(  # at (0, 0) the subgradient of least norm
    np.hypot,
    lambda g, out, x, y: g * (x / np.where(out == 0, 1, out)),
    lambda g, out, x, y: g * (y / np.where(out == 0, 1, out)),
    domain=(NONZERO, REAL),
)
arctan2 = elementwise(
    np.arctan2,
    lambda g, out, y, x: g * (x / np.hypot(x, y) / np.hypot(x, y)),
    lambda g, out, y, x: -g * (y / np.hypot(x, y) / np.hypot(x, y)),
    domain=(NONZERO, NONZERO),
    singular=True,
)

# ---- choosing --------------------------------------------------------------------------------------------


def _where_larger(g: Any, x: Any, y: Any) -> Any:
    """``g`` where x > y, half of it where they are equal: the subgradient of least norm of a maximum."""
    return np.where(x == y, 0.5 * g, np.where(x > y, g, 0))


maximum = elementwise(
    np.maximum,
    lambda g, out, x, y: _where_larger(g, x, y),
    lambda g, out, x, y: _where_larger(g, y, x),
    domain=DISTINCT,
)
minimum = elementwise(
    np.minimum,
    lambda g, out, x, y: _where_larger(g, y, x),
    lambda g, out, x, y: _where_larger(g, x, y),
    domain=DISTINCT,
)


def _where_chosen(g: Any, x: Any, y: Any) -> Any:
    """The same, and ``g`` where y is no number."""
    return np.where(np.isnan(y), g, _where_larger(g, x, y))


fmax = elementwise(
    np.fmax,
    lambda g, out, x, y: _where_chosen(g, x, y),
    lambda g, out, x, y: np.where(np.isnan(y), 0, _where_chosen(g, y, x)),
    domain=DISTINCT,
)
fmin = elementwise(
    np.fmin,
    lambda g, out, x, y: _where_chosen(g, -x, -y),
    lambda g, out, x, y: np.where(np.isnan(y), 0, _where_chosen(g, -y, -x)),
    domain=DISTINCT,
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
    """The least and the greatest value, as weak numbers that leave the dtype as it is."""
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return (False, True) if dtype.kind == "b" else (-math.inf, math.inf)


# ---- dtype -----------------------------------------------------------------------------------------------

astype = linear(
    lambda x, dtype: x.astype(dtype),
    lambda g, out, x, dtype: g,  # the walk brings it back into the dtype of x
    name="astype",
    samples=(Sample(((2, 3),), {"dtype": np.dtype(np.float64)}),),
)

# ---- formulae --------------------------------------------------------------------------------------------


@implements(np.float_power)
def float_power(x: Any, y: Any) -> Any:
    return np.power(double(x), double(y))


def double(x: Any) -> Any:
    """A Tensor, array or number in float64, or in what is wider."""
    x = x if hasattr(x, "astype") else np.asarray(x)
    return x.astype(np.result_type(x.dtype, np.float64))


def root_or_zero(x: Any) -> Any:
    """The square root of squares: at 0 with the subgradient of least norm of what was squared, 0."""
    return np.where(x == 0, 0, np.sqrt(np.where(x == 0, 1, x)))


@implements(np.divmod)
def divmod_(x: Any, y: Any) -> tuple[Any, Any]:
    return np.floor_divide(x, y), np.remainder(x, y)


@implements(np.modf)
def modf(x: Any) -> tuple[Any, Any]:
    x = x if x.dtype.kind == "f" else x.astype(np.modf(np.zeros(1, x.dtype))[0].dtype)
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
