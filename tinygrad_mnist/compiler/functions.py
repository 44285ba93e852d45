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
PI: Final = Fraction("3.14159265358979323846264338327950288419716939937510582097494459230781640628621")
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

    def __init__(self, form: Format, within: Body | None = None) -> None:
        self.form = form
        self.lines: list[str] = within.lines if within else []
        self.needs: dict[str, None] = within.needs if within else {}

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
        """Call one of LLVM's functions on numbers of the format. (They need no declaration.)"""
        type_, suffix = self.form.real, self.form.suffix
        values = ", ".join(f"{type_} {argument.text}" for argument in arguments)
        return self.emit(type_, f"call {type_} @llvm.{intrinsic}.{suffix}({values})")


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

    def __xor__(self, other: Number) -> Expression:
        return self._binary("", "xor", other)

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

    def is_whole(self) -> Expression:
        """Compare with its floor: integers and infinities are equal."""
        return self.body.call("floor", self).equals(self)

    def __invert__(self) -> Expression:
        return self ^ 1

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

    def convert(self, instruction: str, type_: str, body: Body) -> Expression:
        """Convert to another type by an instruction of LLVM."""
        return body.emit(type_, f"{instruction} {self.type} {self.text} to {type_}")


Number = Expression | float | Fraction


def fma(x: Expression, y: Number, z: Number) -> Expression:
    """Return ``x * y + z``, rounded once where the processor can."""
    return x.body.call("fmuladd", x, x.constant(y), x.constant(z))


def exact_fma(x: Expression, y: Number, z: Number) -> Expression:
    """Return ``x * y + z``, rounded once everywhere: where the processor cannot, slowly."""
    return x.body.call("fma", x, x.constant(y), x.constant(z))


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
    """Return a polynomial by Horner's rule, even and odd powers apart: two chains that do not wait for each other."""
    square = x * x
    even, odd = (horner(square, coefficients[start::2]) for start in (0, 1))
    return fma(odd, x, even)


def horner(x: Expression, coefficients: Sequence[float]) -> Expression:
    """Return a polynomial by Horner's rule."""
    result = x.constant(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = fma(result, x, coefficient)
    return result


def at_most(x: Expression, bound: Number) -> Expression:
    """Return `x`, or the bound where it is larger; NaN stays NaN."""
    return select(x > bound, bound, x)


def clamp(x: Expression, low: Number, high: Number) -> Expression:
    """Return `x` within bounds; NaN stays NaN."""
    return at_most(select(x < low, low, x), high)


# ---- exponentials ----------------------------------------------------------------------------------------


def nearest_integer(x: Expression, scale: Number = 1) -> tuple[Expression, Expression]:
    """Return the integer nearest to ``scale * x``, as a number and as an integer; below 2**fraction / 4.

    The sum with 1.5 * 2**fraction has no bits after the point, and the integer is in its last bits. NaN stays
    NaN, and its integer is some integer (LLVM's conversion is undefined for it).
    """
    large = x.constant(1.5 * 2.0**x.form.fraction)
    shifted = fma(x, scale, large)
    return shifted - large, shifted.bits() - large.bits()


def as_number(k: Expression) -> Expression:
    """Return an integer as a number, the way back: AVX2 has no instruction for integers of 64 bits."""
    large = k.body.number(1.5 * 2.0**k.form.fraction)
    return (k + large.bits()).from_bits() - large


def power_of_two(k: Expression) -> Expression:
    """Return 2 to an integer, where the result is a normal number."""
    return ((k + k.form.bias) << k.form.fraction).from_bits()


def without_multiples(x: Expression, period: Fraction) -> tuple[Expression, Expression, Expression]:
    """Return ``(k, r, missing)``, an integer, a small rest and its rounding: ``x = k * period + r + missing``."""
    number, k = nearest_integer(x, 1 / period)
    high, low = x.form.split(period)
    exact = fma(number, -high, x)
    r = fma(number, -low, exact)
    return k, r, fma(number, -low, exact - r)


def exp(x: Expression) -> Expression:
    """Return ``2**k * exp(r) * 2**k``: for the largest and smallest results 2**(2 * k) is out of range."""
    limited = clamp(x, x.form.least_exponent * LN2, x.form.overflowing_exponent * LN2)
    k, r, _ = without_multiples(limited, 2 * LN2)
    half = power_of_two(k)
    return (1 + fma(r * r, polynomial(r, polynomials.EXP[x.form.dtype]), r)) * half * half


def exp2(x: Expression) -> Expression:
    """Return ``2**k * 2**r * 2**k``, as `exp`."""
    limited = clamp(x, x.form.least_exponent, x.form.overflowing_exponent)
    number, k = nearest_integer(limited, 0.5)
    half = power_of_two(k)
    return exp2_of_rest(fma(number, -2, limited), x.form.dtype) * half * half


def exp2_of_rest(r: Expression, dtype: str) -> Expression:
    """Return ``2**r`` for ``abs(r) <= 1``, by a polynomial that is as precise as a dtype."""
    return fma(r, polynomial(r, polynomials.EXP2[dtype]), 1)


def expm1(x: Expression) -> Expression:
    """Return ``2**k * (exp(r) - 1) + (2**k - 1)``, from its half, as 2**k may be too large; near 0 it is x."""
    form = x.form
    limited = clamp(x, -(form.fraction + 3) * LN2, form.overflowing_exponent * LN2)
    k, r, missing = without_multiples(limited, LN2)
    half = power_of_two(k - 1)
    curved = fma(r * r, polynomial(r, polynomials.EXPM1[form.dtype]), missing)
    large = 2 * fma(half, curved, fma(half, r, half - 0.5))
    return select(abs(x) < 2.0 ** -(form.fraction + 2), x, large)


def tanh(x: Expression) -> Expression:
    """Return ``x + x**3 * P(x**2)`` up to 0.55, where tanh is 1/2, and then ``1 - 2 / (exp(2 * abs(x)) + 1)``."""
    dtype, size, square = x.form.dtype, abs(x), x * x
    small = fma(size, square * polynomial(square, polynomials.TANH[dtype]), size)
    # from there an error of the exponential counts for three eighths of itself, and soon for nothing
    limited = at_most(size, (x.form.fraction + 6) * LN2 / 2)
    number, k = nearest_integer(limited, 2 / LN2)
    r = fma(number, -LN2 / 2, limited)
    power = fma(r, polynomial(r, polynomials.EXP_TWICE[dtype]), 1)
    large = 1 - 2 / fma(power, power_of_two(k), 1)
    return copysign(select(size < 0.55, small, large), x)


ERF_IS_ONE: Final = {"float32": 4.0, "float64": 6.0}
"""Where erf has long been rounded to 1: up to there go the polynomials of `erf`."""


def erf(x: Expression) -> Expression:
    """Return ``x + x * P(x**2)`` up to 1, and from there ``1 - erfc(x)``, with erfc as 2 to a polynomial."""
    dtype, size = x.form.dtype, abs(x)
    small = fma(x, polynomial(x * x, polynomials.ERF[dtype]), x)
    exponent = polynomial(at_most(size, ERF_IS_ONE[dtype]) - 1, polynomials.ERFC[dtype])
    number, k = nearest_integer(exponent)
    large = 1 - exp2_of_rest(exponent - number, dtype) * power_of_two(k)
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
    outside = select(x.equals(bound), x.constant(-math.inf), math.nan)
    return select(x > bound, where_finite(x, inside), outside)


def where_finite(x: Expression, value: Expression) -> Expression:
    """Return the value, but x where it is infinite or NaN."""
    return select(x < math.inf, value, x)


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


# ---- sine and cosine -------------------------------------------------------------------------------------

NEAR: Final = 2.0**40
"""Up to this size sine and cosine are computed here; beyond, which is rare, by the system's library."""


def sin(x: Expression) -> Expression:
    """Return the sine; near 0 it is x."""
    near = select(abs(x) < 2.0 ** -(x.form.fraction // 2 + 3), x, sine_of_turned(x, 0))
    return by_library_where_far("sin", x, near)


def cos(x: Expression) -> Expression:
    """Return the cosine: the sine a quarter of a turn later."""
    return by_library_where_far("cos", x, sine_of_turned(x, 1))


def sine_of_turned(x: Expression, quarters: int) -> Expression:
    """Return ``sin(x + quarters * pi / 2)`` of a number below `NEAR`; of a float32 in double precision."""
    dtype = x.form.dtype
    if dtype == "float64":
        k, r = quarter_turns(x)
        return sine(k + quarters, r, dtype)
    k, r = quarter_turns_of_float32(widened(x))
    return sine(k + quarters, r, dtype).convert("fptrunc", x.type, x.body)


def quarter_turns(x: Expression) -> tuple[Expression, Expression]:
    """Return ``(k, r)`` with ``x = k * pi / 2 + r`` (Cody and Waite 1980).

    Pi / 2 is cut into three doubles, of 159 bits in all. Its products with k are exact as two doubles each, and
    what the subtractions round away is kept: r is as precise where x is the double nearest to a multiple.
    """
    number, k = nearest_integer(x, 2 / PI)
    r, lost, left = x, x.constant(0), PI / 2
    for _ in range(2):
        part = float(left)
        left -= Fraction(part)
        product = number * part
        r, rounded = difference(r, product)
        lost = lost + (rounded - exact_fma(number, part, -product))
    return k, r + fma(number, -left, lost)


def quarter_turns_of_float32(x: Expression) -> tuple[Expression, Expression]:
    """Return the same of a double that is a float32: no multiple is nearer to one than 1e-11."""
    number, k = nearest_integer(x, 2 / PI)
    part = float(PI / 2)
    return k, exact_fma(number, Fraction(part) - PI / 2, exact_fma(number, -part, x))


def difference(x: Expression, y: Expression) -> tuple[Expression, Expression]:
    """Return ``x - y`` and what its rounding took away (Knuth's TwoSum)."""
    total = x - y
    back = total - x
    return total, (x - (total - back)) - (y + back)


def sine(k: Expression, r: Expression, dtype: str) -> Expression:
    """Return ``sin(k * pi / 2 + r)``, by polynomials that are as precise as a dtype."""
    square = r * r
    sin = fma(square * r, polynomial(square, polynomials.SIN[dtype]), r)
    cos = fma(square * square, polynomial(square, polynomials.COS[dtype]), fma(square, -0.5, 1))
    size = select((k & 1).equals(0), sin, cos)
    # the second bit of k says in which half of the turn: it goes to the place of the sign
    return (size.bits() ^ ((k & 2) << 62)).from_bits()


def widened(x: Expression) -> Expression:
    """Return a float32 as a float64."""
    wide = Body(FORMATS["float64"], x.body)
    return x.convert("fpext", "double", wide)


def by_library_where_far(name: str, x: Expression, near: Expression) -> Expression:
    """Return `near`, but what the system's library says where x is large: the one branch among the functions.

    LLVM vectorises no loop with a call in a branch, unless it knows a function that does the same to a vector
    and a mask. So there is one for each length of vector: it calls the library if any element is far.
    """
    body, type_, suffix = x.body, x.type, x.form.suffix
    far = f"tg_far_{name}_{suffix}"
    body.needs[FAR_SCALAR.format(name=name, suffix=suffix, type=type_)] = None
    for length in VECTOR_LENGTHS:
        body.needs[FAR_VECTOR.format(name=name, suffix=suffix, type=type_, length=length)] = None
    variants = ",".join(f"_ZGV_LLVM_M{length}v_{far}({far}_{length})" for length in VECTOR_LENGTHS)
    is_far = abs(x) > NEAR
    body.lines += ["  br label %start", "start:", f"  br i1 {is_far.text}, label %library, label %done", "library:"]
    call = f'call {type_} @{far}({type_} {x.text}) "vector-function-abi-variant"="{variants}"'
    called = body.emit(type_, call)
    body.lines += ["  br label %done", "done:"]
    return body.emit(type_, f"phi {type_} [{near.text}, %start], [{called.text}, %library]")


VECTOR_LENGTHS: Final = (2, 4, 8, 16)

# Neither may be inlined, lest LLVM calls the library for all elements at once; nor may those for vectors be
# dropped before a loop is vectorised, which is why they are not internal.
FAR_SCALAR: Final = """\
define internal {type} @tg_far_{name}_{suffix}({type} %x) noinline nounwind willreturn memory(none) {{
  %y = call {type} @llvm.{name}.{suffix}({type} %x)
  ret {type} %y
}}"""
FAR_VECTOR: Final = """\
define weak_odr hidden <{length} x {type}> @tg_far_{name}_{suffix}_{length}(<{length} x {type}> %x, <{length} x i1> %far)
    noinline nounwind willreturn memory(none) {{
  %any = call i1 @llvm.vector.reduce.or.v{length}i1(<{length} x i1> %far)
  br i1 %any, label %some, label %done
some:
  %safe = select <{length} x i1> %far, <{length} x {type}> %x, <{length} x {type}> zeroinitializer
  %y = call <{length} x {type}> @llvm.{name}.v{length}{suffix}(<{length} x {type}> %safe)
  br label %done
done:
  %result = phi <{length} x {type}> [zeroinitializer, %0], [%y, %some]
  ret <{length} x {type}> %result
}}"""


# ---- powers ----------------------------------------------------------------------------------------------


def power(x: Expression, y: Expression) -> Expression:
    """Return ``x**y``: of float32 in double precision, of float64 by the system's library."""
    if x.form.dtype == "float64":
        return x.body.call("pow", x, y)
    size = abs(x)
    whole, odd = y.is_whole(), ~(0.5 * y).is_whole()
    result = power_of_positive(widened(size), widened(y)).convert("fptrunc", x.type, x.body)
    result = select(whole & odd, copysign(result, x), result)
    result = select((x < 0) & (size < math.inf) & ~whole, math.nan, result)
    return select(x.equals(1) | y.equals(0), 1, result)


def power_of_positive(x: Expression, y: Expression) -> Expression:
    """Return ``2**(y * log2(x))`` of doubles that are float32 and not negative."""
    k, z = exponent_and_significand(x)
    log2 = select(x.equals(0), -math.inf, where_finite(x, log_of_parts(k, z - 1, LN2)))
    # infinite powers of 1 are 1; any other number gives 0 or infinity to a power of 1e300
    exponent = clamp(clamp(y, -1e300, 1e300) * log2, -200, 200)
    number, k = nearest_integer(exponent)
    return exp2_of_rest(exponent - number, "float32") * power_of_two(k)


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
    "sin": sin,
    "cos": cos,
    "power": power,
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
