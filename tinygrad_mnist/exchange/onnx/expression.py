"""Formulae of nodes: `Expression` writes a node for each operation of Python on it.

A converter of several nodes so reads like the mathematics: ``log(1 + exp(x))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_mnist.exchange.onnx.builder import Builder, Value

__all__ = [
    "Expression", "absolute", "atan", "carried", "ceil", "cos", "erf", "exp", "expressions", "fmod", "floor",
    "is_inf", "is_nan", "log", "log1p", "maximum", "minimum", "mod", "power", "reciprocal", "round_", "sign",
    "sin", "sqrt", "tanh", "where",
]  # fmt: skip

CARRIERS: Final[dict[str, np.dtype[Any]]] = {
    "float16": np.dtype(np.float32),
    "bool": np.dtype(np.int32),
    "int8": np.dtype(np.int32),
    "int16": np.dtype(np.int32),
    "uint8": np.dtype(np.int32),
    "uint16": np.dtype(np.int32),
    "uint32": np.dtype(np.int64),
}
"""The dtype that a narrow one is computed in.

onnxruntime computes most operators in float32, float64, int32 and int64 alone. A cast back takes the low
bits, as arithmetic in the narrow dtype does, and rounds float16 once, as NumPy does.
"""


def carried(build: Builder, value: Value) -> Value:
    """Return a value in the dtype that it is computed in."""
    return build.cast(value, CARRIERS.get(value.dtype.name, value.dtype))


def expressions(build: Builder, *values: Value, dtype: DTypeLike | None = None) -> tuple[Expression, ...]:
    """Return values as expressions in one dtype, by default that of the result, or its carrier."""
    wanted = build.results[0].dtype if dtype is None else np.dtype(dtype)
    wanted = CARRIERS.get(wanted.name, wanted)
    return tuple(Expression(build, build.cast(value, wanted)) for value in values)


class Expression:
    """A value, with Python's operators: each writes a node.

    A Python number beside it is a constant in its dtype.
    """

    def __init__(self, build: Builder, value: Value) -> None:
        self.build, self.value = build, value

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the elements."""
        return self.value.dtype

    def node(self, kind: str, *others: Any, dtype: DTypeLike | None = None, **attributes: Any) -> Expression:
        """Return the result of an operator of this and others."""
        inputs = (self.value, *(self.like(other).value for other in others))
        return Expression(self.build, self.build.node(kind, *inputs, dtype=dtype, **attributes))

    def like(self, other: Any) -> Expression:
        """Return a number as a constant in the dtype of this, and an expression as it is."""
        if isinstance(other, Expression):
            return other
        return Expression(self.build, self.build.constant(other, self.dtype))

    def cast(self, dtype: DTypeLike) -> Expression:
        """Return this in another dtype."""
        return Expression(self.build, self.build.cast(self.value, dtype))

    def __add__(self, other: Any) -> Expression:
        return self.node("Add", other)

    def __radd__(self, other: Any) -> Expression:
        return self.like(other) + self

    def __sub__(self, other: Any) -> Expression:
        return self.node("Sub", other)

    def __rsub__(self, other: Any) -> Expression:
        return self.like(other) - self

    def __mul__(self, other: Any) -> Expression:
        return self.node("Mul", other)

    def __rmul__(self, other: Any) -> Expression:
        return self.like(other) * self

    def __truediv__(self, other: Any) -> Expression:
        return self.node("Div", other)

    def __rtruediv__(self, other: Any) -> Expression:
        return self.like(other) / self

    def __neg__(self) -> Expression:
        return self.node("Neg")

    def __lt__(self, other: Any) -> Expression:
        return self.node("Less", other, dtype=np.bool_)

    def __gt__(self, other: Any) -> Expression:
        return self.node("Greater", other, dtype=np.bool_)

    def __le__(self, other: Any) -> Expression:
        return self.node("LessOrEqual", other, dtype=np.bool_)

    def __ge__(self, other: Any) -> Expression:
        return self.node("GreaterOrEqual", other, dtype=np.bool_)

    def equals(self, other: Any) -> Expression:
        """Return where this and another are equal; ``==`` is Python's."""
        return self.node("Equal", other, dtype=np.bool_)

    def __and__(self, other: Expression) -> Expression:
        return self.node("And", other)

    def __or__(self, other: Expression) -> Expression:
        return self.node("Or", other)

    def __xor__(self, other: Expression) -> Expression:
        return self.node("Xor", other)

    def __invert__(self) -> Expression:
        return self.node("Not")


# ---- operators of one argument ---------------------------------------------------------------------------


def _operator(kind: str) -> Callable[[Expression], Expression]:
    return lambda x: x.node(kind)


absolute = _operator("Abs")
atan = _operator("Atan")
ceil = _operator("Ceil")
cos = _operator("Cos")
erf = _operator("Erf")
exp = _operator("Exp")
floor = _operator("Floor")
log = _operator("Log")
reciprocal = _operator("Reciprocal")
round_ = _operator("Round")
sign = _operator("Sign")
sin = _operator("Sin")
sqrt = _operator("Sqrt")
tanh = _operator("Tanh")


def is_nan(x: Expression) -> Expression:
    """Return where a float is NaN."""
    return x.node("IsNaN", dtype=np.bool_)


def is_inf(x: Expression) -> Expression:
    """Return where a float is infinite."""
    return x.node("IsInf", dtype=np.bool_)


# ---- operators of several --------------------------------------------------------------------------------


def maximum(x: Expression, y: Any) -> Expression:
    """Return the larger of two numbers."""
    return x.node("Max", y)


def minimum(x: Expression, y: Any) -> Expression:
    """Return the smaller of two numbers."""
    return x.node("Min", y)


def power(x: Expression, y: Any) -> Expression:
    """Return x to the power of y."""
    return x.node("Pow", y)


def fmod(x: Expression, y: Any) -> Expression:
    """Return the remainder of a division that is truncated, as C's ``fmod``."""
    return x.node("Mod", y, fmod=1)


def mod(x: Expression, y: Any) -> Expression:
    """Return the remainder of integers, with the sign of y."""
    return x.node("Mod", y)


def where(condition: Expression, x: Any, y: Any) -> Expression:
    """Return x where a condition holds, and y elsewhere; one of both is an expression."""
    one = x if isinstance(x, Expression) else y.like(x)
    other = y if isinstance(y, Expression) else x.like(y)
    if one.dtype == np.uint64:  # onnxruntime chooses among the bits of int64, and not of these
        return where(condition, one.cast(np.int64), other.cast(np.int64)).cast(np.uint64)
    return condition.node("Where", one, other, dtype=one.dtype)


def log1p(x: Expression) -> Expression:
    """Return log(1 + x), exact where x is small.

    The rounding of 1 + x is in both factors, and cancels (Kahan; Goldberg 1991, theorem 4).
    """
    whole = 1 + x
    quotient = log(whole) * (x / (whole - 1))
    return where(whole.equals(1), x, where(whole.equals(math.inf), whole, quotient))
