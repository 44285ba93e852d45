"""Formulae that write LLVM IR: a number is an :class:`Expression`, whose operators write the instructions.

With ``x`` an expression, ``fma(x, x, 1) / (x + 2)`` appends three instructions to the :class:`Body` of the
function that is being written, and is the expression of its result.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final


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
        """Return two numbers with this sum; the product of the first with an exponent is exact."""
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


class Body:
    """The instructions of a function that is being written.

    Parameters
    ----------
    form : Format
        The format of its numbers.
    within : Body, optional
        Where the instructions go, of a part that is computed in another format.

    Attributes
    ----------
    lines : list of str
        The instructions.
    helpers : dict of str to None
        Definitions of functions that they call, in order.
    """

    def __init__(self, form: Format, within: Body | None = None) -> None:
        self.form = form
        self.lines: list[str] = within.lines if within else []
        self.helpers: dict[str, None] = within.helpers if within else {}

    def number(self, value: float | Fraction) -> Expression:
        """Return a constant, rounded to the format; LLVM writes all of them by the bits of a double."""
        (bits,) = struct.unpack("<Q", struct.pack("<d", self.form.round(value)))
        return Expression(self, self.form.real, f"0x{bits:016X}")

    def emit(self, type_: str, instruction: str) -> Expression:
        """Write an instruction and return its result, of the given type."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return Expression(self, type_, name)

    def call(self, intrinsic: str, *arguments: Expression) -> Expression:
        """Call one of LLVM's own functions on numbers of the format; they need no declaration."""
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
        """True of a floating-point number, False of an integer or a truth value."""
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
    """Return a polynomial by Horner's rule, even and odd powers apart, as neither waits for the other."""
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
