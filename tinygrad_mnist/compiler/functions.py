"""Mathematical functions as LLVM IR: each without a branch, so that a loop over one becomes vector code.

:func:`definitions` returns the text of ``@tg_<name>_<f32|f64>``, one function for each name and dtype that a
program asks for. A loop calls it for each element; LLVM inlines it and vectorises the loop. The names are
those of NumPy's ufuncs, and so are the results for NaN, infinities, zeros and arguments outside the domain. What
LLVM has an instruction for is that instruction; the others are within 2 units in the last place of the true
value, subnormal results included.

A function is written as mathematics on :class:`Expression`, whose operators write the instructions. The
polynomials are those of :mod:`.polynomials`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final

from . import polynomials

LN2: Final = Fraction("0.69314718055994530941723212145817656807550013436025525412068")
LN10: Final = Fraction("2.30258509299404568401799145468436420760110148862877297603333")


@dataclass(frozen=True)
class Format:
    """A floating-point format of IEEE 754 and what LLVM calls it.

    Attributes
    ----------
    dtype, suffix : str
        NumPy's name of it, and ours at the end of a function's name.
    real, integer : str
        LLVM's types: of the number, and of an integer with as many bits.
    fraction : int
        The number of bits after the point of a number in [1, 2).
    bias : int
        The largest exponent, and what is added to an exponent where it is stored.
    code : str
        How `struct` calls it.
    """

    dtype: str
    suffix: str
    real: str
    integer: str
    fraction: int
    bias: int
    code: str

    def round(self, number: float | Fraction) -> float:
        """Return the number of this format that is nearest."""
        return float(struct.unpack(self.code, struct.pack(self.code, float(number)))[0])

    def split(self, number: Fraction) -> tuple[float, float]:
        """Return two numbers with this sum; the first leaves bits free for an exact product with an exponent."""
        bits = 2 ** (self.fraction - self.exponent_bits)
        high = Fraction(round(number * bits), bits)
        return float(high), self.round(number - high)

    @property
    def exponent_bits(self) -> int:
        """The number of bits that an exponent has, with its sign."""
        return self.bias.bit_length() + 1

    @property
    def least_exponent(self) -> int:
        """An exponent so small that 2 to it, and anything smaller, is rounded to 0."""
        return -(self.bias + self.fraction + 1)

    @property
    def overflowing_exponent(self) -> float:
        """An exponent so large that 2 to it is infinite; half of 2 to it is not."""
        return self.bias + 1.4


FORMATS: Final = {
    "float32": Format("float32", "f32", "float", "i32", 23, 127, "<f"),
    "float64": Format("float64", "f64", "double", "i64", 52, 1023, "<d"),
}


# ---- writing instructions --------------------------------------------------------------------------------


class Body:
    """The instructions of a function that is being written, and what they need beside themselves."""

    def __init__(self, form: Format) -> None:
        self.form = form
        self.lines: list[str] = []
        self.needs: dict[str, None] = {}

    def number(self, value: float | Fraction) -> Expression:
        """Return a constant, rounded to the format. (LLVM writes all by the bits of a double.)"""
        (bits,) = struct.unpack("<Q", struct.pack("<d", self.form.round(value)))
        return Expression(self, self.form.real, f"0x{bits:016X}")

    def emit(self, type_: str, instruction: str) -> Expression:
        """Write an instruction and return its result, of the given type."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return Expression(self, type_, name)

    def call(self, intrinsic: str, *arguments: Expression) -> Expression:
        """Call one of LLVM's functions on numbers of one type, and declare it."""
        type_ = arguments[0].type
        name = f"@llvm.{intrinsic}.{'f32' if type_ == 'float' else 'f64' if type_ == 'double' else type_}"
        self.needs[f"declare {type_} {name}({', '.join([type_] * len(arguments))})"] = None
        return self.emit(type_, f"call {type_} {name}({', '.join(f'{type_} {a.text}' for a in arguments)})")


class Expression:
    """A number in a function that is being written: an operator on it writes an instruction.

    Python numbers beside it are constants of its type. Comparisons are false for NaN.
    """

    def __init__(self, body: Body, type_: str, text: str) -> None:
        self.body, self.type, self.text = body, type_, text

    @property
    def form(self) -> Format:
        """The format that the function is written for."""
        return self.body.form

    @property
    def is_real(self) -> bool:
        """Whether it is a floating-point number."""
        return self.type in ("float", "double")

    def constant(self, number: Number) -> Expression:
        """Return a number as an expression of this one's type."""
        if isinstance(number, Expression):
            return number
        if self.is_real:
            return self.body.number(number)
        return Expression(self.body, self.type, str(int(number)))

    def _binary(self, real: str, integer: str, other: Number) -> Expression:
        name = real if self.is_real else integer
        return self.body.emit(self.type, f"{name} {self.type} {self.text}, {self.constant(other).text}")

    def _compare(self, predicate: str, other: Number) -> Expression:
        name = f"fcmp o{predicate}" if self.is_real else f"icmp {'' if predicate == 'eq' else 's'}{predicate}"
        return self.body.emit("i1", f"{name} {self.type} {self.text}, {self.constant(other).text}")

    def __add__(self, other: Number) -> Expression:
        return self._binary("fadd", "add", other)

    def __sub__(self, other: Number) -> Expression:
        return self._binary("fsub", "sub", other)

    def __mul__(self, other: Number) -> Expression:
        return self._binary("fmul", "mul", other)

    def __truediv__(self, other: Number) -> Expression:
        return self._binary("fdiv", "sdiv", other)

    def __radd__(self, other: float) -> Expression:
        return self + other

    def __rsub__(self, other: float) -> Expression:
        return self.constant(other) - self

    def __rmul__(self, other: float) -> Expression:
        return self * other

    def __rtruediv__(self, other: float) -> Expression:
        return self.constant(other) / self

    def __and__(self, other: Number) -> Expression:
        return self._binary("", "and", other)

    def __or__(self, other: Number) -> Expression:
        return self._binary("", "or", other)

    def __lshift__(self, other: Number) -> Expression:
        return self._binary("", "shl", other)

    def __rshift__(self, other: Number) -> Expression:
        return self._binary("", "ashr", other)

    def __lt__(self, other: Number) -> Expression:
        return self._compare("lt", other)

    def __gt__(self, other: Number) -> Expression:
        return self._compare("gt", other)

    def __le__(self, other: Number) -> Expression:
        return self._compare("le", other)

    def equals(self, other: Number) -> Expression:
        """Compare for equality."""
        return self._compare("eq", other)

    def is_nan(self) -> Expression:
        """Compare with itself: only NaN differs."""
        return self.body.emit("i1", f"fcmp uno {self.type} {self.text}, {self.text}")

    def __neg__(self) -> Expression:
        return self.body.emit(self.type, f"fneg {self.type} {self.text}") if self.is_real else 0 - self

    def __abs__(self) -> Expression:
        return self.body.call("fabs", self)

    def bits(self) -> Expression:
        """Return the integer that has the same bits."""
        return self.body.emit(self.form.integer, f"bitcast {self.type} {self.text} to {self.form.integer}")

    def from_bits(self) -> Expression:
        """Return the floating-point number that has the same bits."""
        return self.body.emit(self.form.real, f"bitcast {self.type} {self.text} to {self.form.real}")

    def convert(self, instruction: str, type_: str) -> Expression:
        """Convert to another type by an instruction of LLVM."""
        return self.body.emit(type_, f"{instruction} {self.type} {self.text} to {type_}")


Number = Expression | float | Fraction


def fma(x: Expression, y: Number, z: Number) -> Expression:
    """Return ``x * y + z``, rounded once where the processor can."""
    return x.body.call("fmuladd", x, x.constant(y), x.constant(z))


def copysign(magnitude: Expression, sign: Expression) -> Expression:
    """Return a number with the sign of another."""
    return magnitude.body.call("copysign", magnitude, sign)


def select(condition: Expression, x: Number, y: Number) -> Expression:
    """Return `x` where the condition holds and `y` elsewhere."""
    like = x if isinstance(x, Expression) else y
    assert isinstance(like, Expression)
    x, y = like.constant(x), like.constant(y)
    return x.body.emit(x.type, f"select i1 {condition.text}, {x.type} {x.text}, {y.type} {y.text}")


def polynomial(x: Expression, coefficients: Sequence[float]) -> Expression:
    """Return a polynomial by Estrin's scheme: halves that do not wait for each other, and few roundings."""
    powers = [x]
    terms = [x.constant(c) for c in coefficients]
    while len(terms) > 1:
        pairs = [fma(powers[-1], high, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + ([terms[-1]] if len(terms) % 2 else [])
        powers.append(powers[-1] * powers[-1])
    return terms[0]


def at_most(x: Expression, bound: Number) -> Expression:
    """Return `x`, or the bound where it is larger; NaN stays NaN."""
    return select(x > bound, bound, x)


def clamp(x: Expression, low: Number, high: Number) -> Expression:
    """Return `x` within bounds; NaN stays NaN."""
    return at_most(select(x < low, low, x), high)


# ---- exponentials ----------------------------------------------------------------------------------------


def nearest_integer(x: Expression) -> tuple[Expression, Expression]:
    """Return the nearest integer, as a number and as an integer, of a number below a quarter of 2**fraction.

    The sum with 1.5 * 2**fraction has no bits after the point, and the integer is in its last bits. NaN stays
    NaN, and its integer is some integer (LLVM's conversion is undefined for it).
    """
    large = x.constant(1.5 * 2.0**x.form.fraction)
    shifted = x + large
    return shifted - large, shifted.bits() - large.bits()


def as_number(k: Expression) -> Expression:
    """Return an integer as a number, the way back: AVX2 has no instruction for integers of 64 bits."""
    large = k.body.number(1.5 * 2.0**k.form.fraction)
    return (k + large.bits()).from_bits() - large


def power_of_two(k: Expression) -> Expression:
    """Return 2 to an integer, where the result is a normal number."""
    return ((k + k.form.bias) << k.form.fraction).from_bits()


def times_power_of_two(x: Expression, k: Expression) -> Expression:
    """Return ``x * 2**k`` with one rounding, in two steps: 2**k itself may be too large or too small."""
    half = k >> 1
    return x * power_of_two(half) * power_of_two(k - half)


def without_multiples_of_ln2(x: Expression) -> tuple[Expression, Expression]:
    """Return ``(k, r)`` with ``x = k * ln(2) + r``, an integer and a small rest."""
    number, k = nearest_integer(x * (1 / LN2))
    high, low = x.form.split(LN2)
    return k, fma(number, -low, fma(number, -high, x))


def expm1_of_rest(r: Expression) -> Expression:
    """Return ``exp(r) - 1`` for ``abs(r) <= ln(2) / 2``."""
    return fma(r * r, polynomial(r, polynomials.EXP[r.form.dtype]), r)


def exp2_of_rest(r: Expression) -> Expression:
    """Return ``2**r`` for ``abs(r) <= 1/2``."""
    return fma(r, polynomial(r, polynomials.EXP2[r.form.dtype]), 1)


def half_of_expm1(x: Expression) -> Expression:
    """Return half of ``exp(x) - 1 = 2**k * (exp(r) - 1) + (2**k - 1)``; half, as 2**k may be too large."""
    k, r = without_multiples_of_ln2(x)
    half = power_of_two(k - 1)
    return fma(half, expm1_of_rest(r), half - 0.5)


def exp(x: Expression) -> Expression:
    """Return ``2**k * exp(r)``."""
    x = clamp(x, x.form.least_exponent * LN2, x.form.overflowing_exponent * LN2)
    k, r = without_multiples_of_ln2(x)
    return times_power_of_two(1 + expm1_of_rest(r), k)


def exp2(x: Expression) -> Expression:
    """Return ``2**k * 2**r``."""
    x = clamp(x, x.form.least_exponent, x.form.overflowing_exponent)
    number, k = nearest_integer(x)
    return times_power_of_two(exp2_of_rest(x - number), k)


def expm1(x: Expression) -> Expression:
    """Return -1 where exp(x) is too small to count, and x where its square is."""
    form = x.form
    limited = clamp(x, -(form.fraction + 3) * LN2, form.overflowing_exponent * LN2)
    return select(abs(x) < 2.0 ** -(form.fraction + 2), x, 2 * half_of_expm1(limited))


def tanh(x: Expression) -> Expression:
    """Return ``e / (e + 2)`` with ``e = exp(2 * abs(x)) - 1``: nothing cancels. Near 0 it is x."""
    form = x.form
    half = half_of_expm1(at_most(2 * abs(x), (form.fraction + 3) * LN2))
    return select(abs(x) < 2.0 ** -(form.fraction // 2 + 3), x, copysign(half / (half + 1), x))


ERF_IS_ONE: Final = {"float32": 4.0, "float64": 6.0}
"""Where erf has long been rounded to 1: up to there go the polynomials of `erf`."""


def erf(x: Expression) -> Expression:
    """Return ``x + x * P(x**2)`` up to 1, and from there ``1 - erfc(x)``, with erfc as 2 to a polynomial."""
    dtype, size = x.form.dtype, abs(x)
    small = fma(x, polynomial(x * x, polynomials.ERF[dtype]), x)
    exponent = polynomial(at_most(size, ERF_IS_ONE[dtype]) - 1, polynomials.ERFC[dtype])
    number, k = nearest_integer(exponent)
    large = 1 - exp2_of_rest(exponent - number) * power_of_two(k)
    return select(size < 1, small, copysign(large, x))


# ---- logarithms ------------------------------------------------------------------------------------------


def exponent_and_significand(x: Expression) -> tuple[Expression, Expression]:
    """Return ``(k, z)`` with ``x = 2**k * z``, z between the roots of 1/2 and of 2, for a normal number x."""
    bits = x.bits()
    k = (bits - x.constant(0.5**0.5).bits()) >> x.form.fraction
    return k, (bits - (k << x.form.fraction)).from_bits()


def log_of_parts(k: Expression, f: Expression, base: Fraction | None) -> Expression:
    """Return the logarithm of ``2**k * (1 + f)``: ``k * log(2) + log(1 + f)``, whose terms of f are added last.

    `base` is the natural logarithm of the base; None of e.
    """
    scale = 1 / base if base else Fraction(1)
    power, number = [f.form.round(scale), as_number(k)]
    high, low = f.form.split(LN2 * scale)
    terms = polynomial(f, [float(Fraction(c) * scale) for c in polynomials.LOG[f.form.dtype]])
    rest = fma(number, low, f * f * terms)
    if base:
        rest = fma(f, scale - Fraction(power), rest)
    return fma(number, high, fma(f, power, rest))


def where_logarithm(x: Expression, inside: Expression, bound: float) -> Expression:
    """Return a logarithm that is -inf at its bound and NaN below; infinity and NaN are their own."""
    inside = select(x < math.inf, inside, x)
    outside = select(x < bound, math.nan, select(x.equals(bound), x.constant(-math.inf), x))
    return select(x > bound, inside, outside)


def log(x: Expression, base: Fraction | None = None) -> Expression:
    """Return the logarithm of a number; a subnormal one is made normal first."""
    form = x.form
    subnormal = x < 2.0 ** (1 - form.bias)
    k, z = exponent_and_significand(select(subnormal, x * 2.0**form.fraction, x))
    k = select(subnormal, k - form.fraction, k)
    return where_logarithm(x, log_of_parts(k, z - 1, base), 0.0)


def log1p(x: Expression) -> Expression:
    """Return the logarithm of ``1 + x``, with what its rounding took away (Knuth's TwoSum)."""
    total = 1 + x
    back = total - 1
    missing = (1 - (total - back)) + (x - back)
    k, z = exponent_and_significand(total)
    # where k is large nothing that counts is missing, and the largest k has no 2**-k
    f = (z - 1) + missing * power_of_two(0 - select(k > 64, 64, k))
    return copysign(where_logarithm(x, log_of_parts(k, f, None), -1.0), x)


# ---- choosing --------------------------------------------------------------------------------------------


def maximum(x: Expression, y: Expression) -> Expression:
    """Return the larger, NaN if one is NaN. (The first choice is a single instruction on x86.)"""
    return select(y.is_nan(), y, select(y > x, y, x))


def minimum(x: Expression, y: Expression) -> Expression:
    """Return the smaller, NaN if one is NaN."""
    return select(y.is_nan(), y, select(y < x, y, x))


def fmax(x: Expression, y: Expression) -> Expression:
    """Return the larger, NaN if both are NaN."""
    return select(x.is_nan(), y, select(y > x, y, x))


def fmin(x: Expression, y: Expression) -> Expression:
    """Return the smaller, NaN if both are NaN."""
    return select(x.is_nan(), y, select(y < x, y, x))


def sign(x: Expression) -> Expression:
    """Return -1, 0 or 1; NaN of NaN."""
    return select(x > 0, 1, select(x < 0, x.constant(-1), select(x.is_nan(), x, 0)))


def intrinsic(name: str) -> Callable[..., Expression]:
    """Return the function that LLVM has under a name."""
    return lambda *arguments: arguments[0].body.call(name, *arguments)


# ---- the table -------------------------------------------------------------------------------------------

FUNCTIONS: Final[dict[str, Callable[..., Expression]]] = {
    "exp": exp,
    "exp2": exp2,
    "expm1": expm1,
    "log": log,
    "log2": lambda x: log(x, LN2),
    "log10": lambda x: log(x, LN10),
    "log1p": log1p,
    "tanh": tanh,
    "erf": erf,
    "sqrt": intrinsic("sqrt"),
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    "negative": lambda x: -x,
    "absolute": abs,
    "sign": sign,
    "floor": intrinsic("floor"),
    "ceil": intrinsic("ceil"),
    "trunc": intrinsic("trunc"),
    "rint": intrinsic("rint"),
    "isnan": lambda x: x.is_nan(),
    "isinf": lambda x: abs(x).equals(math.inf),
    "isfinite": lambda x: abs(x) < math.inf,
    "maximum": maximum,
    "minimum": minimum,
    "fmax": fmax,
    "fmin": fmin,
    "copysign": copysign,
}
"""The functions, by NumPy's names: each writes its instructions on its arguments and returns the result.

Those with two parameters take two numbers. ``isnan``, ``isinf`` and ``isfinite`` return an ``i1``.
"""

TWO_ARGUMENTS: Final = frozenset(["power", "maximum", "minimum", "fmax", "fmin", "copysign"])
"""The functions of two numbers; all others take one."""


def definition(name: str, dtype: str) -> str:
    """Return the IR text of one function, without the declarations that it needs.

    Parameters
    ----------
    name : str
        One of `FUNCTIONS`.
    dtype : str
        ``"float32"`` or ``"float64"``.

    Examples
    --------
    >>> print(definition("reciprocal", "float32"))
    define internal float @tg_reciprocal_f32(float %x) alwaysinline nounwind willreturn memory(none) {
      %v0 = fdiv float 0x3FF0000000000000, %x
      ret float %v0
    }
    """
    return _write(name, FORMATS[dtype])[0]


def definitions(functions: Iterable[tuple[str, str]]) -> str:
    """Return the IR text of functions and of all that they need, each once and in order.

    Parameters
    ----------
    functions : iterable of (str, str)
        Names and dtypes, as `definition` takes them.
    """
    texts, needs = [], dict[str, None]()
    for name, dtype in dict.fromkeys(functions):
        text, needed = _write(name, FORMATS[dtype])
        texts.append(text)
        needs.update(needed)
    return "\n".join([*needs, *texts])


@cache
def _write(name: str, form: Format) -> tuple[str, dict[str, None]]:
    """Return a function's text and the declarations that it needs."""
    body = Body(form)
    arguments = [Expression(body, form.real, text) for text in ("%x", "%y")[: 1 + (name in TWO_ARGUMENTS)]]
    result = FUNCTIONS[name](*arguments)
    parameters = ", ".join(f"{form.real} {argument.text}" for argument in arguments)
    head = f"define internal {result.type} @tg_{name}_{form.suffix}({parameters})"
    lines = [f"{head} {ATTRIBUTES} {{", *body.lines, f"  ret {result.type} {result.text}", "}"]
    return "\n".join(lines), body.needs


ATTRIBUTES: Final = "alwaysinline nounwind willreturn memory(none)"
"""What LLVM may know of each function."""
