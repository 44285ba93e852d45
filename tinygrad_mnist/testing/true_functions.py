"""The true elementwise functions and their derivatives, in mpmath: what accuracy is measured by.

Each is written so that nothing cancels, however near a bound or a zero. mpmath is imported by the functions
that use it; it comes with ``pip install mpmath``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np

Function = Callable[..., Any]

DIGITS: Final = 80
"""Decimal digits of the true values: enough for the difference of any two numbers of one size."""


@dataclass(frozen=True)
class Reference:
    """The true value and derivatives of an operation, in mpmath, and where they are compared.

    Parameters
    ----------
    value : callable
        The function, of numbers of mpmath.
    first : tuple of callables
        Its derivative by each argument; None for an argument that has none.
    second : tuple of callables
        ``(xx,)`` for one argument, ``(xx, xy, yy)`` for two; empty where all are 0.
    within : callable
        Whether arrays of arguments are inside the domain, element by element.
    near : tuple of float
        Points close to which many more are taken: bounds of the domain, zeros, branch points.
    static : mapping
        Keyword arguments of the operation.
    fixed : mapping
        Arguments that are given as they are, by position.
    exempt : callable, optional
        Of an exception: whether arguments are where the error may be larger than the bounds.
    """

    value: Function
    first: tuple[Function | None, ...]
    second: tuple[Function, ...] = ()
    within: Function = lambda *arguments: np.full(np.shape(arguments[0]), True)
    near: tuple[float, ...] = ()
    static: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[int, Any] = field(default_factory=dict)
    exempt: Function | None = None


@cache
def multiprecision() -> Any:
    """Return a context of mpmath for our number of digits, which leaves the user's own as it is."""
    try:
        import mpmath  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the accuracy of derivatives is measured with mpmath, which is not installed: pip install mpmath",
            name="mpmath",
        ) from error
    context = mpmath.MPContext()
    context.dps = DIGITS
    return context


@cache
def references() -> dict[str, tuple[Reference, ...]]:
    """Return the references of each operation by its name; several for one with static arguments.

    Raises
    ------
    ModuleNotFoundError
        If mpmath is not installed.

    Examples
    --------
    >>> reference = references()["tanh"][0]
    >>> float(reference.first[0](0))
    1.0
    """
    families = (
        _arithmetic, _powers, _choosing, _exponentials, _logistic, _trigonometric, _hyperbolic, _of_the_plane,
        _special, _activations,
    )  # fmt: skip
    return {name: found for family in families for name, found in family().items()}


def _zero(*arguments: Any) -> int:
    return 0


def _one(*arguments: Any) -> int:
    return 1


def _sign(x: Any) -> int:
    return int(x > 0) - int(x < 0)


def _nonzero(*arguments: Any) -> Any:
    return np.all([x != 0 for x in arguments], axis=0)


def _inside_unit(x: Any) -> Any:
    return np.abs(x) < 1


def _arithmetic() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    floor = mp.floor
    return {
        "positive": (Reference(lambda x: x, (_one,)),),
        # where they have a derivative
        "slope_undefined": (Reference(lambda x, at: x, (_one, None), fixed={1: False}),),
        "kink": (Reference(lambda x, at: x, (_one, None), fixed={1: False}),),
        "negative": (Reference(lambda x: -x, (lambda x: -1,)),),
        "add": (Reference(lambda x, y: x + y, (_one, _one)),),
        "subtract": (Reference(lambda x, y: x - y, (_one, lambda x, y: -1)),),
        "multiply": (Reference(lambda x, y: x * y, (lambda x, y: y, lambda x, y: x), (_zero, _one, _zero)),),
        "multiply_no_nan": (
            Reference(
                lambda x, y: x * y,
                (lambda x, y: y, lambda x, y: x),
                (_zero, _one, _zero),
                within=lambda x, y: (x != 0) & (y != 0),
            ),
        ),
        "divide": (
            Reference(
                lambda x, y: x / y,
                (lambda x, y: 1 / y, lambda x, y: -x / y**2),
                (_zero, lambda x, y: -1 / y**2, lambda x, y: 2 * x / y**3),
                within=lambda x, y: _normal(x) & _normal(y),
            ),
        ),
        # the quotient is an integer that a float holds: beyond, one cannot say which one is meant
        "remainder": (
            Reference(
                lambda x, y: x - floor(x / y) * y, (_one, lambda x, y: -floor(x / y)), within=_small_quotient
            ),
        ),
        "fmod": (
            Reference(
                lambda x, y: x - _truncated(x / y) * y,
                (_one, lambda x, y: -_truncated(x / y)),
                within=_small_quotient,
            ),
        ),
        "reciprocal": (
            Reference(lambda x: 1 / x, (lambda x: -1 / x**2,), (lambda x: 2 / x**3,), within=_nonzero),
        ),
    }


def _powers() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    absolute = Reference(abs, (_sign,), within=_nonzero)
    return {
        "square": (Reference(lambda x: x * x, (lambda x: 2 * x,), (lambda x: 2,)),),
        "absolute": (absolute,),
        "fabs": (absolute,),
        "copysign": (
            Reference(
                lambda x, y: abs(x) * _sign(y), (lambda x, y: _sign(x) * _sign(y), None), within=_nonzero
            ),
        ),
        "ldexp": (
            Reference(lambda x, n: x * mp.mpf(2) ** n, (lambda x, n: mp.mpf(2) ** n, None), fixed={1: -3}),
        ),
        "deg2rad": (Reference(lambda x: x * mp.pi / 180, (lambda x: mp.pi / 180,)),),
        "rad2deg": (Reference(lambda x: x * 180 / mp.pi, (lambda x: 180 / mp.pi,)),),
        "power": (
            Reference(
                lambda x, y: x**y,
                (lambda x, y: y * x ** (y - 1), lambda x, y: x**y * mp.log(x)),
                (
                    lambda x, y: y * (y - 1) * x ** (y - 2),
                    lambda x, y: x ** (y - 1) * (1 + y * mp.log(x)),
                    lambda x, y: x**y * mp.log(x) ** 2,
                ),
                within=lambda x, y: (x > 0) & _normal(x) & _normal(y),
                near=(1.0,),
                exempt=lambda x, y: np.abs(1 + y * np.log(x)) < 0.25,
            ),
        ),
    }


def _truncated(x: Any) -> Any:
    return int(x)


def _small_quotient(x: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):
        return (y != 0) & (np.abs(np.divide(x, y)) < 1 / np.finfo(np.asarray(x).dtype).eps)


def _normal(x: Any) -> Any:
    """Return whether numbers are neither 0 nor subnormal."""
    return np.abs(x) >= np.finfo(np.asarray(x).dtype).tiny


def _choosing() -> dict[str, tuple[Reference, ...]]:
    larger, smaller = (
        (lambda x, y: int(x > y), lambda x, y: int(y > x)),
        (lambda x, y: int(x < y), lambda x, y: int(y < x)),
    )

    def apart(x: Any, y: Any) -> Any:
        return x != y

    maximum, minimum = Reference(max, larger, within=apart), Reference(min, smaller, within=apart)
    return {
        "maximum": (maximum,),
        "fmax": (maximum,),
        "minimum": (minimum,),
        "fmin": (minimum,),
        "clip": (
            Reference(
                lambda x, low, high: min(max(x, low), high),
                (lambda x, low, high: int(low < x < high), None, None),
                within=lambda x: (x != -1) & (x != 1.5),
                fixed={1: -1.0, 2: 1.5},
            ),
        ),
    }


def _exponentials() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    exp, log = mp.exp, mp.log

    def positive(x: Any) -> Any:
        return x > 0

    def logarithm(base: Any) -> Reference:
        return Reference(
            lambda x: log(x) / log(base),
            (lambda x: 1 / x / log(base),),
            (lambda x: -1 / x**2 / log(base),),
            within=positive,
            near=(1.0,),
        )

    return {
        "exp": (Reference(exp, (exp,), (exp,)),),
        "expm1": (Reference(mp.expm1, (exp,), (exp,)),),
        "exp2": (
            Reference(
                lambda x: exp(x * log(2)),
                (lambda x: exp(x * log(2)) * log(2),),
                (lambda x: exp(x * log(2)) * log(2) ** 2,),
            ),
        ),
        "log": (logarithm(mp.e),),
        "log2": (logarithm(2),),
        "log10": (logarithm(10),),
        "log1p": (
            Reference(
                mp.log1p,
                (lambda x: 1 / (1 + x),),
                (lambda x: -1 / (1 + x) ** 2,),
                within=lambda x: x > -1,
                near=(-1.0,),
            ),
        ),
        "sqrt": (
            Reference(
                mp.sqrt,
                (lambda x: 1 / mp.sqrt(x) / 2,),
                (lambda x: -1 / mp.sqrt(x) / x / 4,),
                within=positive,
            ),
        ),
        "cbrt": (
            Reference(
                lambda x: _sign(x) * mp.cbrt(abs(x)),
                (lambda x: 1 / (3 * mp.cbrt(abs(x)) ** 2),),
                (lambda x: -2 / (9 * x * mp.cbrt(abs(x)) ** 2),),
                within=_nonzero,
            ),
        ),
    }


def _logistic() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    exp, log = mp.exp, mp.log

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + exp(-x))

    def bell(x: Any) -> Any:
        return sigmoid(x) * sigmoid(-x)

    def log_of_sum(base: Any) -> Reference:
        scale = log(base)
        return Reference(
            lambda x, y: max(x, y) + mp.log1p(exp(-abs(x - y) * scale)) / scale,
            (lambda x, y: sigmoid((x - y) * scale), lambda x, y: sigmoid((y - x) * scale)),
            (
                lambda x, y: scale * bell((x - y) * scale),
                lambda x, y: -scale * bell((x - y) * scale),
                lambda x, y: scale * bell((x - y) * scale),
            ),
        )

    return {
        "logaddexp": (log_of_sum(mp.e),),
        "logaddexp2": (log_of_sum(mp.mpf(2)),),
        "sigmoid": (Reference(sigmoid, (bell,), (lambda x: -bell(x) * mp.tanh(x / 2),)),),
        "softplus": (Reference(lambda x: max(x, 0) + mp.log1p(exp(-abs(x))), (sigmoid,), (bell,)),),
        "log_sigmoid": (
            Reference(
                lambda x: min(x, 0) - mp.log1p(exp(-abs(x))),
                (lambda x: sigmoid(-x),),
                (lambda x: -bell(x),),
            ),
        ),
        "xlogy": (
            Reference(
                lambda x, y: x * log(y),
                (lambda x, y: log(y), lambda x, y: x / y),
                (_zero, lambda x, y: 1 / y, lambda x, y: -x / y**2),
                within=lambda x, y: (y > 0) & _normal(x) & _normal(y),
                near=(1.0,),
            ),
        ),
    }


def _trigonometric() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    sin, cos = mp.sin, mp.cos
    quarters = tuple(n * math.pi / 2 for n in (1, 2, 3, 4, 100))

    def arcsin_slope(x: Any) -> Any:
        return 1 / mp.sqrt((1 - x) * (1 + x))

    return {
        "sin": (Reference(sin, (cos,), (lambda x: -sin(x),), near=quarters),),
        "cos": (Reference(cos, (lambda x: -sin(x),), (lambda x: -cos(x),), near=quarters),),
        "tan": (
            Reference(
                mp.tan, (lambda x: 1 / cos(x) ** 2,), (lambda x: 2 * sin(x) / cos(x) ** 3,), near=quarters
            ),
        ),
        "arcsin": (
            Reference(
                mp.asin,
                (arcsin_slope,),
                (lambda x: x * arcsin_slope(x) ** 3,),
                within=_inside_unit,
                near=(-1.0, 1.0),
            ),
        ),
        "arccos": (
            Reference(
                mp.acos,
                (lambda x: -arcsin_slope(x),),
                (lambda x: -x * arcsin_slope(x) ** 3,),
                within=_inside_unit,
                near=(-1.0, 1.0),
            ),
        ),
        "arctan": (
            Reference(
                mp.atan, (lambda x: 1 / (1 + x * x),), (lambda x: -2 * x / (1 + x * x) ** 2,), near=(1.0,)
            ),
        ),
    }


def _hyperbolic() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    sinh, cosh, tanh = mp.sinh, mp.cosh, mp.tanh
    return {
        "sinh": (Reference(sinh, (cosh,), (sinh,)),),
        "cosh": (Reference(cosh, (sinh,), (cosh,)),),
        "tanh": (Reference(tanh, (lambda x: 1 / cosh(x) ** 2,), (lambda x: -2 * tanh(x) / cosh(x) ** 2,)),),
        "arcsinh": (
            Reference(
                mp.asinh,
                (lambda x: 1 / mp.sqrt(1 + x * x),),
                (lambda x: -x / (mp.sqrt(1 + x * x) * (1 + x * x)),),
                near=(1.0,),
            ),
        ),
        "arccosh": (
            Reference(
                mp.acosh,
                (lambda x: 1 / mp.sqrt((x - 1) * (x + 1)),),
                (lambda x: -x / (mp.sqrt((x - 1) * (x + 1)) * (x - 1) * (x + 1)),),
                within=lambda x: x > 1,
                near=(1.0,),
            ),
        ),
        "arctanh": (
            Reference(
                mp.atanh,
                (lambda x: 1 / ((1 - x) * (1 + x)),),
                (lambda x: 2 * x / ((1 - x) * (1 + x)) ** 2,),
                within=_inside_unit,
                near=(-1.0, 1.0),
            ),
        ),
    }


def _of_the_plane() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    return {
        "hypot": (
            Reference(
                mp.hypot,
                (lambda x, y: x / mp.hypot(x, y), lambda x, y: y / mp.hypot(x, y)),
                (
                    lambda x, y: y * y / mp.hypot(x, y) ** 3,
                    lambda x, y: -x * y / mp.hypot(x, y) ** 3,
                    lambda x, y: x * x / mp.hypot(x, y) ** 3,
                ),
                within=lambda x, y: _normal(x) & _normal(y),
            ),
        ),
        "arctan2": (
            Reference(
                mp.atan2,
                (lambda y, x: x / (x * x + y * y), lambda y, x: -y / (x * x + y * y)),
                (
                    lambda y, x: -2 * x * y / (x * x + y * y) ** 2,
                    lambda y, x: (y - x) * (y + x) / (x * x + y * y) ** 2,
                    lambda y, x: 2 * x * y / (x * x + y * y) ** 2,
                ),
                within=lambda y, x: _normal(y) & _normal(x),
            ),
        ),
    }


def _special() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    pi = mp.pi

    def erf_slope(x: Any) -> Any:
        return 2 / mp.sqrt(pi) * mp.exp(-x * x)

    def sinc(x: Any) -> Any:
        return mp.sinpi(x) / (pi * x) if x else mp.mpf(1)

    # near 0 the terms cancel: the first terms of the power series are exact enough there
    def sinc_slope(x: Any) -> Any:
        return (mp.cospi(x) - sinc(x)) / x if abs(x) > 1e-12 else -(pi**2) * x / 3

    def sinc_bend(x: Any) -> Any:
        if abs(x) <= 1e-12:
            return -(pi**2) / 3 + pi**4 * x**2 / 10
        return -(pi * mp.sinpi(x) + 2 * sinc_slope(x)) / x

    def bessel(order: int) -> Function:
        return lambda x: mp.besseli(order, x) if abs(x) < 1000 else mp.inf * (_sign(x) if order % 2 else 1)

    return {
        "erf": (Reference(mp.erf, (erf_slope,), (lambda x: -2 * x * erf_slope(x),)),),
        "sinc": (
            Reference(
                sinc,
                (sinc_slope,),
                (sinc_bend,),
                near=(1.0, 1.4303, 0.6626),
                static={"order": 0},
                exempt=_near_a_zero_of_the_derivatives_of_sinc,
            ),
        ),
        "i0": (
            Reference(
                bessel(0),
                (bessel(1),),
                (lambda x: (bessel(0)(x) + bessel(2)(x)) / 2,),
                within=lambda x: np.abs(x) < 720,
                static={"order": 0},
            ),
        ),
    }


def _near_a_zero_of_the_derivatives_of_sinc(x: Any) -> Any:
    """Return whether the two terms of a derivative cancel to less than half their size."""
    slope = np.cos(np.pi * x) - np.sinc(x)
    bend = np.pi * np.sin(np.pi * x) + 2 * slope / np.where(x == 0, 1, x)
    return (np.abs(x) > 0.4) & ((np.abs(slope) < 0.5) | (np.abs(bend) < 1))


def _activations() -> dict[str, tuple[Reference, ...]]:
    mp = multiprecision()
    a, b = mp.sqrt(8 / mp.pi), mp.mpf(0.044715)

    def cdf(x: Any) -> Any:
        if x < -50:
            return mp.mpf(0)  # less than any float, and slow
        return mp.erfc(-x / mp.sqrt(2)) / 2

    def pdf(x: Any) -> Any:
        return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)

    def sigmoid(x: Any) -> Any:
        u = a * (x + b * x**3)
        return 1 / (1 + mp.exp(-u))

    def sigmoid_slope(x: Any) -> Any:
        return sigmoid(x) * sigmoid(-x) * a * (1 + 3 * b * x**2)

    def sigmoid_bend(x: Any) -> Any:
        inner, slope = mp.tanh(a * (x + b * x**3) / 2), a * (1 + 3 * b * x**2)
        return sigmoid(x) * sigmoid(-x) * (6 * a * b * x - inner * slope**2)

    return {
        "relu": (Reference(lambda x: max(x, 0), (lambda x: int(x > 0),), within=_nonzero),),
        "leaky_relu": (
            Reference(
                lambda x: x if x > 0 else x * mp.mpf(0.25),
                (lambda x: 1 if x > 0 else mp.mpf(0.25),),
                within=_nonzero,
                static={"negative_slope": 0.25},
            ),
        ),
        "gelu": (
            Reference(
                lambda x: x * cdf(x),
                (lambda x: cdf(x) + x * pdf(x),),
                (lambda x: (2 - x * x) * pdf(x),),
                near=(-0.7518, math.sqrt(2), -math.sqrt(2)),
                static={"approximate": "none"},
                exempt=lambda x: np.abs(x + 0.7518) < 0.25,
            ),
            Reference(
                lambda x: x * sigmoid(x),
                (lambda x: sigmoid(x) + x * sigmoid_slope(x),),
                (lambda x: 2 * sigmoid_slope(x) + x * sigmoid_bend(x),),
                near=(-0.7525, 1.4, -1.4),
                static={"approximate": "tanh"},
                exempt=lambda x: (x < -0.5) | (np.abs(x) > 1),
            ),
        ),
    }
