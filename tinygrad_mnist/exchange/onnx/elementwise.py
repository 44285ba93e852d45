"""Converters of elementwise operations: those of one operator in a table, the others as formulae.

Each formula is within 1e-5 of NumPy's function over the whole domain, relative to each single result; so
``log(1 + x)`` is not written for log1p.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.polynomial import Polynomial

from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import (
    Expression,
    absolute,
    atan,
    ceil,
    erf,
    exp,
    expressions,
    floor,
    fmod,
    is_inf,
    is_nan,
    log,
    log1p,
    maximum,
    minimum,
    mod,
    power,
    reciprocal,
    round_,
    sign,
    sin,
    sqrt,
    tanh,
    where,
)
from tinygrad_mnist.exchange.onnx.table import CONVERTERS, converts

Formula = Callable[..., Expression]

# ---- arithmetic ------------------------------------------------------------------------------------------


def _signbit(x: Expression) -> Expression:
    """Return where a number is negative; -0 is, too, and 1 / -0 is -inf."""
    return (x < 0) | (1 / x < 0) if x.dtype.kind == "f" else x < 0


def _opposite(x: Expression, y: Expression) -> Expression:
    """Return where two numbers have opposite signs, and none is 0."""
    return (sign(x) * sign(y)) < 0


def _unless_zero(function: Formula) -> Formula:
    """Return a function of integers that is 0 where its second argument is 0, as NumPy's divisions are.

    A division of integers by 0 is undefined in ONNX, and ends the process of onnxruntime.
    """

    def guarded(x: Expression, y: Expression) -> Expression:
        if y.value.array is not None and np.all(y.value.array):
            return function(x, y)
        zero = y.equals(0)
        return where(zero, 0, function(x, where(zero, 1, y)))

    return guarded


def _remainder(x: Expression, y: Expression) -> Expression:
    """Return the remainder with the sign of y; ONNX has that of integers, and C's for floats."""
    if x.dtype.kind != "f":
        return _unless_zero(mod)(x, y)
    rest = fmod(x, y)
    return where(_opposite(rest, y), rest + y, rest)


def _fmod(x: Expression, y: Expression) -> Expression:
    return fmod(x, y) if x.dtype.kind == "f" else _unless_zero(fmod)(x, y)


def _floor_divide(x: Expression, y: Expression) -> Expression:
    """Return the quotient rounded down: what the remainder leaves is a multiple of y."""
    if x.dtype.kind != "f":
        return _unless_zero(lambda x, y: (x - mod(x, y)) / y)(x, y)
    rest = fmod(x, y)
    quotient = round_((x - rest) / y - where(_opposite(rest, y), x.like(1), 0))
    return where(y.equals(0), x / y, quotient)


def _power(x: Expression, y: Expression) -> Expression:
    """Return x to the power of y; for a small whole y as a product, which is exact for integers."""
    exponent = y.value.array
    if exponent is not None and not exponent.ndim and exponent in (1, 2, 3):
        return (x, x * x, x * x * x)[int(exponent) - 1] if exponent != 1 else x
    return power(x, y)


def _legs(x: Expression, y: Expression) -> tuple[Expression, Expression]:
    """Return the larger of two sizes, and what both are divided by: the same, but neither 0 nor infinite."""
    larger = maximum(absolute(x), absolute(y))
    return larger, where(larger.equals(0) | is_inf(x) | is_inf(y), 1, larger)


def _hypot(x: Expression, y: Expression) -> Expression:
    """Return the hypotenuse, which is infinite beside an infinite leg, even if the other one is NaN."""
    larger, scale = _legs(x, y)
    ratio = minimum(absolute(x), absolute(y)) / scale
    return where(is_inf(x) | is_inf(y), math.inf, larger * sqrt(1 + ratio * ratio))


def _direction(x: Expression, y: Expression) -> Expression:
    """Return x / hypot(x, y), and 0 at the origin."""
    larger, scale = _legs(x, y)
    x, y = x / scale, y / scale
    return x / where(larger.equals(0), 1, sqrt(x * x + y * y))


def _inverse_power(x: Expression, y: Expression, n: int, imaginary: bool) -> Expression:
    """Return a part of ``(x + iy)**-n``: the direction to the power of n, over the length to that power."""
    length, cosine, sine = _hypot(x, y), _direction(x, y), _direction(y, x)
    real, part = cosine, -sine
    for _ in range(n - 1):
        real, part = real * cosine + part * sine, part * cosine - real * sine
    if n == 2:  # the difference of two squares, which are nearly equal, would be inexact
        real = (cosine - sine) * (cosine + sine)
    out = part if imaginary else real
    for _ in range(n):
        out = out / length
    return out


def _power_term(build: Builder, factor: Value, x: Value, y: Value, shift: int, logs: int) -> Value:
    """Return ``factor x**(y - shift) log(x)**logs`` in float64; at 0 as our operation has it."""
    times, base, exponent = expressions(build, factor, x, y, dtype=np.float64)
    reduced = exponent - shift
    out = times * power(base, reduced)
    for _ in range(logs):
        out = out * log(base)
    if logs:
        vanishes = reduced >= 0
    else:
        vanishes = (exponent >= 0) & (reduced < 0) & round_(exponent).equals(exponent)
    return where(base.equals(0) & vanishes, 0, out).value


# ---- exponentials and logarithms -------------------------------------------------------------------------


def _expm1(x: Expression) -> Expression:
    """Return exp(x) - 1 = tanh(x / 2) (exp(x) + 1), in which nothing cancels."""
    return tanh(0.5 * x) * (exp(x) + 1)


def _cbrt(x: Expression) -> Expression:
    return sign(x) * power(absolute(x), 1 / 3)


def _logaddexp(exponential: Formula, unit: float) -> Formula:
    """Return log(b**x + b**y) as the larger, plus log(1 + b**-d) for their distance d, in units of b."""

    def formula(x: Expression, y: Expression) -> Expression:
        rest = log1p(exponential(-absolute(x - y))) * unit
        return where(x.equals(y), x + math.log(2) * unit, maximum(x, y) + rest)

    return formula


def _exp2(x: Expression) -> Expression:
    return power(x.like(2), x)


def _softplus(x: Expression) -> Expression:
    """Return log(1 + exp(x)); ONNX's Softplus loses the digits of small results, or overflows."""
    return maximum(x, 0) + log1p(exp(-absolute(x)))


def _logistic(x: Expression) -> Expression:
    small = exp(-absolute(x))
    whole = 1 + small
    return small / whole / whole


def _share(x: Expression, y: Expression, base: int) -> Expression:
    """Return ``b**x / (b**x + b**y)``, and 0 where both are -inf."""
    difference = x - where(x.equals(-math.inf) & y.equals(-math.inf), 0, y)
    small = exp(-absolute(difference) * (math.log(2) if base else 1))
    return where(difference >= 0, 1, small) / (1 + small)


def _xlogy(x: Expression, y: Expression) -> Expression:
    return x * log(where(x.equals(0) & ~is_nan(y), 1, y))


# ---- trigonometric and hyperbolic ------------------------------------------------------------------------


def _arctan2(y: Expression, x: Expression) -> Expression:
    """Return the angle of the point (x, y): that of y / x, or half a turn from it on the left."""
    both = is_inf(x) & is_inf(y)
    ratio = where(both, sign(x) * sign(y), where(x.equals(0) & y.equals(0), y, y / x))
    turn = where(_signbit(y), x.like(-math.pi), math.pi)
    return where(_signbit(x), turn, 0) + atan(ratio)


def _sech_squared(x: Expression) -> Expression:
    out = reciprocal(x.node("Cosh"))
    return out * out


def _sinc(x: Expression, order: int) -> Expression:
    """Return sin(pi x) / (pi x)."""
    if order:
        raise x.build.refuse("a derivative of sinc is a series, and ONNX has no operator for it")
    turned = where(x.equals(0), 1, x * math.pi)
    return where(x.equals(0), 1, sin(turned) / turned)


# ---- the error function ----------------------------------------------------------------------------------


def _gelu(x: Expression, approximate: str | None = None) -> Expression:
    """Return x times its share, which is 0 at -inf; the least float stands for that, as 0 * inf is NaN."""
    return maximum(x, float(np.finfo(x.dtype).min)).node("Gelu", approximate=approximate)


def _gelu_derivative(x: Expression, order: int) -> Expression:
    """Return a derivative of gelu: from the second on the density times a polynomial, p' - x p."""
    if order == 0:
        return _gelu(x)
    density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    if order == 1:
        return 0.5 * (1 + erf(x * math.sqrt(0.5))) + x * density
    line, polynomial = Polynomial([0, 1]), Polynomial([2, 0, -1])
    for _ in range(order - 2):
        polynomial = polynomial.deriv() - line * polynomial
    factor = x.like(polynomial.coef[-1])
    for coefficient in polynomial.coef[-2::-1].tolist():  # Horner's scheme
        factor = factor * x + coefficient
    return factor * density


# ---- choosing --------------------------------------------------------------------------------------------


def _but_nan(choose: Formula) -> Formula:
    """Return the choice of two numbers that takes the other one of a NaN."""

    def formula(x: Expression, y: Expression) -> Expression:
        chosen = choose(x, y)
        return where(is_nan(x), y, where(is_nan(y), x, chosen)) if x.dtype.kind == "f" else chosen

    return formula


def _trunc(x: Expression) -> Expression:
    return where(x < 0, ceil(x), floor(x))


def _rectified(x: Expression, negative_slope: float) -> Expression:
    if negative_slope == 0:
        return x.node("Relu")
    if x.dtype == np.float32:
        return x.node("LeakyRelu", alpha=float(negative_slope))
    return where(x > 0, x, negative_slope * x)  # alpha is a float32


# ---- the tables ------------------------------------------------------------------------------------------

OPERATORS: Final[dict[str, str]] = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div",
    "absolute": "Abs", "fabs": "Abs", "sqrt": "Sqrt", "exp": "Exp", "log": "Log",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan",
    "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "arcsinh": "Asinh", "arccosh": "Acosh",
    "arctanh": "Atanh", "sigmoid": "Sigmoid", "erf": "Erf", "maximum": "Max", "minimum": "Min",
}  # fmt: skip
"""Operations that are one operator, in the dtype of the result."""

FORMULAE: Final[dict[str, Formula]] = {
    "identity": lambda x: x,
    "positive": lambda x: x,
    "conjugate": lambda x: x,
    "negative": lambda x: 0 - x if x.dtype.kind == "u" else -x,
    "reciprocal": lambda x: (
        reciprocal(x) if x.dtype.kind == "f" else _unless_zero(Expression.__truediv__)(x.like(1), x)
    ),
    "square": lambda x: x * x,
    "remainder": _remainder,
    "fmod": _fmod,
    "floor_divide": _floor_divide,
    "copysign": lambda x, y: where(_signbit(y), -absolute(x), absolute(x)),
    "deg2rad": lambda x: x * (math.pi / 180),
    "rad2deg": lambda x: x * (180 / math.pi),
    "power": _power,
    "expm1": _expm1,
    "log1p": log1p,
    "exp2": _exp2,
    "log2": lambda x: log(x) * (1 / math.log(2)),
    "log10": lambda x: log(x) * (1 / math.log(10)),
    "cbrt": _cbrt,
    "logaddexp": _logaddexp(exp, 1.0),
    "logaddexp2": _logaddexp(_exp2, 1 / math.log(2)),
    "hypot": _hypot,
    "direction": _direction,
    "arctan2": _arctan2,
    "arcsin_derivative": lambda x: 1 / (sqrt(1 - x) * sqrt(1 + x)),
    "arccosh_derivative": lambda x: 1 / (sqrt(x - 1) * sqrt(x + 1)),
    "arctanh_derivative": lambda x: 1 / ((1 - x) * (1 + x)),
    "arctan_derivative": lambda x: 1 / (1 + x * x),
    "inverse_power": _inverse_power,
    "share": _share,
    "sech_squared": _sech_squared,
    "logistic": _logistic,
    "softplus": _softplus,
    "log_sigmoid": lambda x: -_softplus(-x),
    "xlogy": _xlogy,
    "multiply_no_nan": lambda x, y: where(y.equals(0), 0, x) * y,
    "erf_derivative": lambda x: exp(-(x * x)) * (2 / math.sqrt(math.pi)),
    "gelu_derivative": _gelu_derivative,
    "gelu": _gelu,
    "sinc": _sinc,
    "fmax": _but_nan(maximum),
    "fmin": _but_nan(minimum),
    "sign": lambda x: where(is_nan(x), x, sign(x)) if x.dtype.kind == "f" else sign(x),
    "floor": lambda x: floor(x) if x.dtype.kind == "f" else x,
    "ceil": lambda x: ceil(x) if x.dtype.kind == "f" else x,
    "trunc": lambda x: _trunc(x) if x.dtype.kind == "f" else x,
    "rint": round_,
    "rectifier": _rectified,
    "leaky_relu": _rectified,
    "relu": lambda x: x.node("Relu") if x.dtype.kind == "f" else maximum(x, 0),
}
"""Operations that are formulae of several operators, in the dtype of the result."""

COMPARISONS: Final[dict[str, Formula]] = {
    "equal": Expression.equals,
    "not_equal": lambda x, y: ~x.equals(y),
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "isnan": lambda x: is_nan(x) if x.dtype.kind == "f" else ~x.equals(x),
    "isinf": lambda x: is_inf(x) if x.dtype.kind == "f" else ~x.equals(x),
    "isfinite": lambda x: ~(is_nan(x) | is_inf(x)) if x.dtype.kind == "f" else x.equals(x),
    "signbit": _signbit,
}
"""Operations whose result is true or false, in the dtype that NumPy compares in."""

LOGICAL: Final[dict[str, Formula]] = {
    "logical_and": Expression.__and__,
    "logical_or": Expression.__or__,
    "logical_xor": Expression.__xor__,
    "logical_not": Expression.__invert__,
}
"""Operations on truth values."""

ON_BOOLEANS: Final[dict[str, Formula]] = {
    "bitwise_and": Expression.__and__,
    "bitwise_or": Expression.__or__,
    "bitwise_xor": Expression.__xor__,
    "invert": Expression.__invert__,
}
"""What an operation on bits is of truth values."""

BITWISE: Final[dict[str, str]] = {
    "bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor",
    "invert": "BitwiseNot",
}  # fmt: skip
"""Operations on the bits of integers."""


def _of_operator(kind: str) -> Formula:
    return lambda x, *others: x.node(kind, *others)


def _computed(formula: Formula) -> Callable[..., Value]:
    """Return the converter of a formula in the dtype of the result."""

    def convert(build: Builder, *arguments: Value, **static: Any) -> Value:
        return formula(*expressions(build, *arguments), **static).value

    return convert


def _compared(name: str, formula: Formula) -> Callable[..., Value]:
    """Return the converter of a test, in the dtype that NumPy finds for its arguments."""
    ufunc: Any = REGISTRY[name].forward

    def convert(build: Builder, *arguments: Value) -> Value:
        # NumPy finds a dtype for Python's numbers by their type
        kinds: list[Any] = [
            {"b": bool, "i": int, "f": float}[each.dtype.kind] if each.is_number else each.dtype
            for each in arguments
        ]
        dtypes = set(ufunc.resolve_dtypes((*kinds, None))[:-1])
        if len(dtypes) > 1:
            raise build.refuse(f"{' and '.join(map(str, kinds))} have no dtype that holds both")
        return formula(*expressions(build, *arguments, dtype=dtypes.pop())).value

    return convert


def _on_truth(formula: Formula) -> Callable[..., Value]:
    """Return the converter of a logical operation: every number but 0 is true."""

    def convert(build: Builder, *arguments: Value) -> Value:
        return formula(*(Expression(build, build.cast(each, np.bool_)) for each in arguments)).value

    return convert


def _on_bits(name: str) -> Callable[..., Value]:
    """Return the converter of an operation on the bits of integers, or on truth values."""

    def convert(build: Builder, *arguments: Value) -> Value:
        dtype = build.results[0].dtype
        if dtype == np.bool_:
            return _on_truth(ON_BOOLEANS[name])(build, *arguments)
        first, *others = expressions(build, *arguments)
        return first.node(BITWISE[name], *others).value

    return convert


CONVERTERS.update({name: _computed(_of_operator(kind)) for name, kind in OPERATORS.items()})
CONVERTERS.update({name: _computed(formula) for name, formula in FORMULAE.items()})
CONVERTERS.update({name: _compared(name, formula) for name, formula in COMPARISONS.items()})
CONVERTERS.update({name: _on_truth(formula) for name, formula in LOGICAL.items()})
CONVERTERS.update({name: _on_bits(name) for name in BITWISE})

# ---- those that are more than a formula ------------------------------------------------------------------


@converts("slope_undefined", "kink")
def unchanged(build: Builder, x: Value, at: Value) -> Value:
    """Return the same numbers: what these operations change is their derivative."""
    return x


@converts("astype")
def astype(build: Builder, x: Value, dtype: Any) -> Value:
    """Return a cast."""
    return build.cast(x, build.results[0].dtype)


@converts("ldexp")
def ldexp(build: Builder, x: Value, n: Value) -> Value:
    """Return x times 2**n: in float64, and in two factors, as 2**n alone may overflow."""
    number, count = expressions(build, x, n, dtype=np.float64)
    half = floor(count * 0.5)
    two = count.like(2)
    return (number * power(two, half) * power(two, count - half)).value


@converts("where")
def choose(build: Builder, condition: Value, x: Value, y: Value) -> Value:
    """Return x where the condition is true, and y elsewhere."""
    chosen = Expression(build, build.cast(condition, np.bool_))
    return where(chosen, *expressions(build, x, y)).value


@converts("clip")
def clip(build: Builder, x: Value, low: Value, high: Value) -> Value:
    """Return x within bounds; one that no number of the dtype exceeds is left out.

    ONNX's Clip takes two numbers: without one of them it takes the largest finite number, even of infinity.
    """
    out, lowest, highest = expressions(build, x, low, high)
    least, greatest = _range(build.results[0].dtype)
    has_low = not (low.is_number and low.array is not None and low.array <= least)
    has_high = not (high.is_number and high.array is not None and high.array >= greatest)
    if low.shape == high.shape == () and has_low and has_high:
        return build.node("Clip", out.value, lowest.value, highest.value)
    out = maximum(out, lowest) if has_low else out
    return (minimum(out, highest) if has_high else out).value


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return (0, 1) if dtype.kind == "b" else (-math.inf, math.inf)


def _shifted(name: str, direction: str) -> Callable[..., Value]:
    """Return the converter that moves bits; ONNX moves those of unsigned integers."""

    def convert(build: Builder, x: Value, count: Value) -> Value:
        dtype = build.results[0].dtype
        bits = 8 * dtype.itemsize
        if count.array is None or np.any(count.array < 0) or np.any(count.array >= bits):
            raise build.refuse(
                f"ONNX says nothing of a count that may be {bits} or more; give it as a constant"
            )
        unsigned = np.dtype(f"uint{bits}")
        places = Expression(build, build.cast(count, unsigned))

        def moved(number: Expression) -> Expression:
            return number.cast(unsigned).node("BitShift", places, direction=direction).cast(number.dtype)

        (number,) = expressions(build, x)
        if name == "left_shift" or dtype.kind == "u":
            return moved(number.cast(dtype)).value
        inverted = number.node("BitwiseNot")  # a negative number keeps its sign: ones come in from the left
        return where(number < 0, moved(inverted).node("BitwiseNot"), moved(number)).value

    return convert


CONVERTERS["power_term"] = _power_term
CONVERTERS["left_shift"] = _shifted("left_shift", "LEFT")
CONVERTERS["right_shift"] = _shifted("right_shift", "RIGHT")
