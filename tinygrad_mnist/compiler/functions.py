"""Mathematical functions as LLVM IR: each without a branch, so that a loop over one becomes vector code.

:func:`definitions` returns the text of ``@tg_<name>_<f32|f64>``, one function for each name and dtype that a
program asks for. A loop calls it for each element; LLVM inlines it and vectorises the loop. The names are
those of NumPy's ufuncs, and so are the results for NaN, infinities, zeros and arguments outside the domain.
What LLVM has an instruction for is that instruction. The others are within 2 units in the last place of the
true value, subnormal results included.

The formulae are the usual ones (Muller, Elementary Functions, 2016): an argument is reduced to a short
interval around 0, where a polynomial of :mod:`.polynomials` stands for the function, and what was taken away
is put back. Their operators are those of :class:`.expression.Expression`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from typing import Final

from tinygrad_mnist.compiler import polynomials
from tinygrad_mnist.compiler.expression import (
    FORMATS,
    Body,
    Expression,
    Format,
    Number,
    at_most,
    clamp,
    copysign,
    exact_fma,
    fma,
    polynomial,
    select,
)

LN2: Final = Fraction("0.69314718055994530941723212145817656807550013436025525412068")
PI: Final = Fraction("3.14159265358979323846264338327950288419716939937510582097494459230781640628621")
LN10: Final = Fraction("2.30258509299404568401799145468436420760110148862877297603333")


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
    """Return an integer k, a rest r of at most half a period, and the rounding error of r."""
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
    return exp_of_rest(r, x.form.dtype) * half * half


def exp2(x: Expression) -> Expression:
    """Return ``2**k * exp(r * ln(2)) * 2**k``, as `exp`."""
    limited = clamp(x, x.form.least_exponent, x.form.overflowing_exponent)
    number, k = nearest_integer(limited, 0.5)
    half = power_of_two(k)
    return exp_of_rest(fma(number, -2, limited) * LN2, x.form.dtype) * half * half


def exp2_in_range(x: Expression, dtype: str) -> Expression:
    """Return 2**x where it is a normal number, as precise as a dtype."""
    number, k = nearest_integer(x)
    return exp_of_rest((x - number) * LN2, dtype) * power_of_two(k)


def exp_of_rest(r: Expression, dtype: str) -> Expression:
    """Return ``exp(r)`` for ``abs(r) <= ln(2)``, by a polynomial that is as precise as a dtype."""
    return 1 + fma(r * r, polynomial(r, polynomials.EXP[dtype]), r)


def expm1(x: Expression) -> Expression:
    """Return ``2**k * (exp(r) - 1) + (2**k - 1)``, by its half, as 2**k may be too large; near 0 it is x."""
    form = x.form
    limited = clamp(x, -(form.fraction + 3) * LN2, form.overflowing_exponent * LN2)
    k, r, missing = without_multiples(limited, LN2)
    half = power_of_two(k - 1)
    curved = fma(r * r, polynomial(r, polynomials.EXPM1[form.dtype]), missing)
    large = 2 * fma(half, curved, fma(half, r, half - 0.5))
    return select(abs(x) < 2.0 ** -(form.fraction + 2), x, large)


def tanh(x: Expression) -> Expression:
    """Return ``x + x**3 * P(x**2)`` up to 0.55, where tanh is 1/2, then ``1 - 2 / (exp(2 * abs(x)) + 1)``."""
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
    large = 1 - exp2_in_range(exponent, dtype)
    return select(size < 1, small, copysign(large, x))


# ---- logarithms ------------------------------------------------------------------------------------------


def exponent_and_significand(x: Expression) -> tuple[Expression, Expression]:
    """Return ``(k, z)`` with ``x = 2**k * z``, z between the roots of 1/2 and of 2, for a normal number x."""
    bits = x.bits()
    k = (bits - x.constant(0.5**0.5).bits()) >> x.form.fraction
    return k, (bits - (k << x.form.fraction)).from_bits()


def log_of_parts(k: Expression, f: Expression, base: Fraction | None) -> Expression:
    """Return the logarithm of ``2**k * (1 + f)``: ``k * log(2) + f + f**2 * P(f)``, the largest added last.

    `base` is the natural logarithm of the base; None of e. It divides all constants.
    """
    scale = 1 / base if base else Fraction(1)
    first, number = f.form.round(scale), as_number(k)
    high, low = f.form.split(LN2 * scale)
    curved = polynomial(f, [float(Fraction(c) * scale) for c in polynomials.LOG[f.form.dtype]])
    rest = fma(number, low, f * f * curved)
    if base:
        rest = fma(f, scale - Fraction(first), rest)
    return fma(number, high, fma(f, first, rest))


def where_logarithm(x: Expression, inside: Expression, bound: float) -> Expression:
    """Return a logarithm that is -inf at its bound and NaN below; infinity and NaN are their own."""
    outside = select(x.equals(bound), x.constant(-math.inf), math.nan)
    return select(x > bound, where_finite(x, inside), outside)


def log_of_zero_and_infinity(x: Expression, inside: Expression) -> Expression:
    """Return a logarithm of a number that is not negative, with those of zero, infinity and NaN."""
    return select(x.equals(0), -math.inf, where_finite(x, inside))


def where_finite(x: Expression, value: Expression) -> Expression:
    """Return the value, but x where it is infinite or NaN."""
    return select(x < math.inf, value, x)


def exponent_and_significand_of_any(x: Expression) -> tuple[Expression, Expression]:
    """Return the same; a subnormal number is made normal first."""
    form = x.form
    subnormal = x < 2.0 ** (1 - form.bias)
    k, z = exponent_and_significand(select(subnormal, x * 2.0**form.fraction, x))
    return select(subnormal, k - form.fraction, k), z


def log(x: Expression, base: Fraction | None = None) -> Expression:
    """Return the logarithm of a number."""
    k, z = exponent_and_significand_of_any(x)
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

    Pi / 2 is cut into three doubles, of 159 bits in all. Its products with k are exact as two doubles each,
    and what the subtractions round away is kept: r is as precise where x is the double nearest to a multiple.
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
    body.helpers[FAR_SCALAR.format(name=name, suffix=suffix, type=type_)] = None
    for length in VECTOR_LENGTHS:
        body.helpers[FAR_VECTOR.format(name=name, suffix=suffix, type=type_, length=length)] = None
    variants = ",".join(f"_ZGV_LLVM_M{length}v_{far}({far}_{length})" for length in VECTOR_LENGTHS)
    is_far = abs(x) > NEAR
    body.lines += ["  br label %start", "start:", f"  br i1 {is_far.text}, label %library, label %done"]
    body.lines += ["library:"]
    call = f'call {type_} @{far}({type_} {x.text}) "vector-function-abi-variant"="{variants}"'
    called = body.emit(type_, call)
    body.lines += ["  br label %done", "done:"]
    return body.emit(type_, f"phi {type_} [{near.text}, %start], [{called.text}, %library]")


VECTOR_LENGTHS: Final = (2, 4, 8, 16)
"""The numbers of elements of a vector that LLVM may choose."""

# Neither may be inlined, lest LLVM calls the library for all elements at once; nor may those for vectors be
# dropped before a loop is vectorised, which is why they are not internal.
FAR_SCALAR: Final = """\
define internal {type} @tg_far_{name}_{suffix}({type} %x) noinline nounwind willreturn memory(none) {{
  %y = call {type} @llvm.{name}.{suffix}({type} %x)
  ret {type} %y
}}"""
FAR_VECTOR: Final = """\
define weak_odr hidden <{length} x {type}>
    @tg_far_{name}_{suffix}_{length}(<{length} x {type}> %x, <{length} x i1> %far)
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
    """Return ``x**y`` from that of the size of x: odd powers have its sign, roots of a negative x are NaN."""
    size = abs(x)
    whole, odd = y.is_whole(), ~(0.5 * y).is_whole()
    result = power_of_float32(size, y) if x.form.dtype == "float32" else power_of_float64(size, y)
    result = select(whole & odd, copysign(result, x), result)
    result = select((x < 0) & (size < math.inf) & ~whole, math.nan, result)
    return select(x.equals(1) | y.equals(0), 1, result)


def power_of_float32(x: Expression, y: Expression) -> Expression:
    """Return ``2**(y * log2(x))`` for ``x >= 0``, computed in double precision."""
    base, exponent = widened(x), widened(y)
    k, z = exponent_and_significand(base)
    log2 = log_of_zero_and_infinity(base, log_of_parts(k, z - 1, LN2))
    # infinite powers of 1 are 1; any other number gives 0 or infinity to a power of 1e300
    product = clamp(clamp(exponent, -1e300, 1e300) * log2, -200, 200)
    return exp2_in_range(product, "float64").convert("fptrunc", x.type, x.body)


def power_of_float64(x: Expression, y: Expression) -> Expression:
    """Return ``2**(y * log2(x))`` for ``x >= 0``, with logarithm and product as sums of two doubles.

    An error of the exponent is one of the result, relative to it, and the exponent may be 1000.
    """
    high, low = log2_of_two_parts(x)
    high = log_of_zero_and_infinity(x, high)
    y = clamp(y, -(2.0**80), 2.0**80)
    product = y * high
    rest = fma(y, low, exact_fma(y, high, -product))
    rest = select(abs(product) < 1100, rest, 0)
    product = clamp(product, -1100, 1100)
    number, k = nearest_integer(product, 0.5)
    exponent = sum_of_two_parts((fma(number, -2, product), x.constant(0)), rest)
    return exp2_of_two_parts(*exponent) * power_of_two(k) * power_of_two(k)


def exp2_of_two_parts(r: Expression, rest: Expression) -> Expression:
    """Return ``2**(r + rest)`` for a double r of at most 1, and a rest of its rounding error."""
    high = float(LN2)
    scaled = r * high
    missing = fma(rest, high, fma(r, LN2 - Fraction(high), exact_fma(r, high, -scaled)))
    curved = fma(scaled * scaled, polynomial(scaled, polynomials.EXP["float64"]), missing)
    return 1 + (scaled + curved)


def log2_of_two_parts(x: Expression) -> tuple[Expression, Expression]:
    """Return two doubles whose sum is ``log2(x)``, with an error of 1e-20 of it, for ``x > 0``.

    With ``x = 2**k * z`` and ``s = (z - 1) / (z + 1)`` it is ``k + s * (c1 + s**2 * (c3 + s**2 * Q(s**2)))``,
    the series of the inverse hyperbolic tangent; the last term is so small that one double is enough for it.
    """
    k, z = exponent_and_significand_of_any(x)
    s = quotient(z - 1, z + 1, (z - 1) - ((z + 1) - 2))
    square = product_of_two_parts(s, s)
    last = square[0] * polynomial(square[0], polynomials.LOG2_OF_QUOTIENT["float64"])
    inner = product_of_two_parts(square, sum_of_two_parts(in_two_parts(x, 2 / (3 * LN2)), last))
    scale = sum_of_two_parts(in_two_parts(x, 2 / LN2), *inner)
    high, low = product_of_two_parts(s, scale)
    return sum_of_two_parts((as_number(k), x.constant(0)), high, low)


Parts = tuple[Expression, Expression]
"""Two doubles that stand for their sum; the second is about the rounding error of the first (Dekker 1971)."""


def in_two_parts(x: Expression, number: Fraction) -> Parts:
    """Return a constant as two doubles."""
    return x.constant(number), x.constant(number - Fraction(float(number)))


def quotient(x: Expression, y: Expression, missing: Expression) -> Parts:
    """Return ``x / (y + missing)``."""
    inverse = 1 / y
    high = x * inverse
    return high, inverse * fma(-high, missing, exact_fma(-high, y, x))


def product_of_two_parts(x: Parts, y: Parts) -> Parts:
    """Return the product of two sums, less that of their second parts."""
    high = x[0] * y[0]
    return high, fma(x[0], y[1], fma(x[1], y[0], exact_fma(x[0], y[0], -high)))


def sum_of_two_parts(x: Parts, high: Expression, low: Number = 0) -> Parts:
    """Return the sum of x and ``high + low``, which is smaller, or x is 0."""
    total = x[0] + high
    return total, ((x[0] - total) + high) + (x[1] + low)


# ---- choosing --------------------------------------------------------------------------------------------


# The inner choice is one instruction on x86: its `max` returns the second number where one is NaN.


def maximum(x: Expression, y: Expression) -> Expression:
    """Return the larger, NaN if one is NaN."""
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
    """Return the IR text of one function, without the functions that it calls.

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
    texts: dict[str, None] = {}
    for name, dtype in functions:
        text, helpers = _write(name, FORMATS[dtype])
        texts |= {**helpers, text: None}
    return "\n".join(texts)


@cache
def _write(name: str, form: Format) -> tuple[str, dict[str, None]]:
    """Return a function's text and those of the functions that it calls."""
    body = Body(form)
    arguments = [Expression(body, form.real, text) for text in ("%x", "%y")[: 1 + (name in TWO_ARGUMENTS)]]
    result = FUNCTIONS[name](*arguments)
    parameters = ", ".join(f"{form.real} {argument.text}" for argument in arguments)
    head = f"define internal {result.type} @tg_{name}_{form.suffix}({parameters})"
    lines = [f"{head} {ATTRIBUTES} {{", *body.lines, f"  ret {result.type} {result.text}", "}"]
    return "\n".join(lines), body.helpers


ATTRIBUTES: Final = "alwaysinline nounwind willreturn memory(none)"
"""What LLVM may know of each function."""
