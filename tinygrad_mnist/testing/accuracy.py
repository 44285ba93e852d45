"""The accuracy of elementwise operations: values and derivatives beside mpmath's, over all floats.

An error is counted in units in the last place (ulp): the distance between two floating-point numbers at the
true value. :func:`measure` gives the largest one of an operation, of its value and of its first and second
derivatives; ``scripts/make_accuracy.py`` makes a page of them. It is for authors of derivatives and needs
mpmath: ``pip install mpmath``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.engine.op import REGISTRY, Op
from tinygrad_mnist.engine.tensor import Tensor

Array = NDArray[Any]
Function = Callable[..., Any]

DIGITS: Final = 80
"""Decimal digits of the true values: enough for the difference of any two numbers of one size."""

MEASURED_WITH: Final[Mapping[str, str]] = {
    "arccosh_derivative": "arccosh",
    "arcsin_derivative": "arcsin",
    "arctan_derivative": "arctan",
    "arctanh_derivative": "arctanh",
    "direction": "hypot",
    "erf_derivative": "erf",
    "gelu_derivative": "gelu",
    "inverse_power": "arctan2",
    "logistic": "sigmoid",
    "power_term": "power",
    "rectifier": "relu",
    "sech_squared": "tanh",
    "share": "logaddexp",
}
"""Operations that are the derivative of another one, and are measured as such."""

EXCEPTIONS: Final[Mapping[str, str]] = {
    "gelu": (
        "The first derivative crosses zero at x = -0.75, where its two terms cancel. The approximation by "
        "tanh is, besides, the exponential of a cubic, whose rounding it multiplies."
    ),
    "sinc": "Between two zeros of sin(pi x) each derivative crosses zero, as a difference of two terms.",
    "power": "The mixed second derivative, x**(y - 1) (1 + y log(x)), crosses zero as a sum of two terms.",
}
"""Operations whose derivatives exceed the bounds at some points, and why: ``Reference.exempt`` says where."""

BOUNDS: Final = (math.inf, 8.0, 64.0)
"""The largest errors that are allowed, in ulp, by the order of the derivative; values are NumPy's own."""


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


class Accuracy(NamedTuple):
    """The largest errors of an operation, in ulp, by the order of the derivative, and where they are."""

    errors: tuple[float, float, float]
    worst: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    points: int


@cache
def _mpmath() -> Any:
    """Return a context of mpmath for our number of digits, which leaves the user's own as it is."""
    try:
        import mpmath
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the accuracy of derivatives is measured with mpmath, which is not installed: pip install mpmath",
            name="mpmath",
        ) from error
    context = mpmath.MPContext()
    context.dps = DIGITS
    return context


# ---- the true functions ----------------------------------------------------------------------------------


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
    return {
        **_arithmetic(),
        **_choosing(),
        **_exponentials(),
        **_trigonometric(),
        **_special(),
        **_activations(),
    }


def _zero(*arguments: Any) -> int:
    return 0


def _one(*arguments: Any) -> int:
    return 1


def _sign(x: Any) -> int:
    return (x > 0) - (x < 0)


def _nonzero(*arguments: Any) -> Any:
    return np.all([x != 0 for x in arguments], axis=0)


def _arithmetic() -> dict[str, tuple[Reference, ...]]:
    mp = _mpmath()
    floor = mp.floor
    absolute = Reference(abs, (_sign,), within=_nonzero)
    return {
        "positive": (Reference(lambda x: x, (_one,)),),
        "negative": (Reference(lambda x: -x, (lambda x: -1,)),),
        "add": (Reference(lambda x, y: x + y, (_one, _one)),),
        "subtract": (Reference(lambda x, y: x - y, (_one, lambda x, y: -1)),),
        "multiply": (Reference(lambda x, y: x * y, (lambda x, y: y, lambda x, y: x), (_zero, _one, _zero)),),
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
    mp = _mpmath()
    exp, log = mp.exp, mp.log

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + exp(-x))

    def bell(x: Any) -> Any:
        return sigmoid(x) * sigmoid(-x)

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
    mp = _mpmath()
    sin, cos, sinh, cosh, tanh = mp.sin, mp.cos, mp.sinh, mp.cosh, mp.tanh
    quarters = tuple(n * math.pi / 2 for n in (1, 2, 3, 4, 100))

    def inside(x: Any) -> Any:
        return np.abs(x) < 1

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
                within=inside,
                near=(-1.0, 1.0),
            ),
        ),
        "arccos": (
            Reference(
                mp.acos,
                (lambda x: -arcsin_slope(x),),
                (lambda x: -x * arcsin_slope(x) ** 3,),
                within=inside,
                near=(-1.0, 1.0),
            ),
        ),
        "arctan": (
            Reference(
                mp.atan, (lambda x: 1 / (1 + x * x),), (lambda x: -2 * x / (1 + x * x) ** 2,), near=(1.0,)
            ),
        ),
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
                within=inside,
                near=(-1.0, 1.0),
            ),
        ),
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
    mp = _mpmath()
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
    mp = _mpmath()
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


# ---- the points ------------------------------------------------------------------------------------------


def points(reference: Reference, dtype: DTypeLike, count: int) -> list[Any]:
    """Return the arguments at which an operation is measured: an array for each that is not fixed.

    A third of the numbers are of all sizes that a float has, a third between 1e-4 and 1e4, and a third around
    1. Of pairs, every second one is of two numbers that are near each other. To these come 0, the smallest
    and the largest numbers, and the neighbours of the reference's own points.
    """
    rng = np.random.default_rng(0)
    edges = _edges(reference.near, np.dtype(dtype))
    free = [i for i in range(len(reference.first)) if i not in reference.fixed]
    columns = [_numbers(rng, np.dtype(dtype), count) for _ in free]
    if len(free) == 1:
        columns = [np.concatenate([columns[0], edges])]
    else:
        x, y = columns
        with np.errstate(over="ignore"):
            y[::2] = x[::2] * (1 + 10.0 ** rng.uniform(-7, 0, len(x[::2]))).astype(dtype)
        x[1::8] = rng.choice(edges, len(x[1::8]))
        y[3::8] = rng.choice(edges, len(y[3::8]))
        columns = [x, y]
    with np.errstate(all="ignore"):
        kept = reference.within(*columns) & np.all(np.isfinite(columns), axis=0)
    arrays = iter([column[kept] for column in columns])
    return [reference.fixed[i] if i in reference.fixed else next(arrays) for i in range(len(reference.first))]


def _numbers(rng: np.random.Generator, dtype: np.dtype[Any], count: int) -> Array:
    """Return numbers of both signs and of all sizes, most of them of the usual ones."""
    info, third = np.finfo(dtype), -(-count // 3)
    sizes = [
        np.exp2(rng.uniform(info.minexp - info.nmant, info.maxexp, third)),
        10 ** rng.uniform(-4, 4, third),
        np.abs(rng.normal(0, 3, third)),
    ]
    return rng.permutation(np.concatenate(sizes) * rng.choice([-1, 1], 3 * third)).astype(dtype)


def _edges(near: Sequence[float], dtype: np.dtype[Any]) -> Array:
    info = np.finfo(dtype)
    steps = [k * 2.0**-n for n in range(2, info.nmant + 1, 3) for k in (-1, 1)]
    close = [point * (1 + step) for point in near for step in steps]
    least = [info.smallest_subnormal, info.tiny, info.eps, info.max]
    return np.array([0, *least, *(-one for one in least), *near, *close], dtype)


# ---- the measurement -------------------------------------------------------------------------------------


def measure(name: str, dtype: DTypeLike = np.float64, count: int = 1500, exempt: bool = False) -> Accuracy:
    """Return the largest errors of an operation and of its derivatives, in ulp.

    Derivatives are those by each argument; second ones are taken in both orders. An operation with a joint
    rule is measured by that and by its formula. A result of inf counts as the power of 2 above the largest
    float; below the smallest normal number an ulp is the smallest subnormal one. Points where the true value
    overflows are left out.

    Parameters
    ----------
    name : str
        An operation of the registry.
    dtype : dtype
        float16, float32 or float64.
    count : int
        The number of points, about.
    exempt : bool
        Whether to leave out the points where an exception is excused.

    Returns
    -------
    Accuracy
        The largest errors of the value, the first and the second derivatives, and the arguments there.

    Raises
    ------
    KeyError
        If mpmath's side of the operation is not known.
    ModuleNotFoundError
        If mpmath is not installed.

    Examples
    --------
    >>> measure("sqrt", count=30).errors[0] <= 0.5
    True
    """
    if name not in references():
        raise KeyError(
            f"operation {name!r} has no reference in mpmath; add it to tinygrad_mnist.testing.accuracy"
        )
    found = [_measure_one(REGISTRY[name], one, dtype, count, exempt) for one in references()[name]]
    orders = [max((one[order] for one in found), key=lambda pair: pair[0]) for order in range(3)]
    errors, worst = zip(*((error, place) for error, place, _ in orders), strict=True)
    return Accuracy(errors, worst, sum(one[0][2] for one in found))


def unmeasured() -> list[str]:
    """Return the elementwise operations of the registry that nothing here measures."""
    names = [op.name for op in REGISTRY.values() if op.kind == "elementwise"]
    return [name for name in names if name not in references() and name not in MEASURED_WITH]


Found = list[tuple[float, tuple[float, ...], int]]


def _measure_one(op: Op, reference: Reference, dtype: DTypeLike, count: int, exempt: bool) -> Found:
    """Return, for each order, the largest error, the arguments there and the number of points."""
    free = [i for i in range(len(reference.first)) if i not in reference.fixed]
    arguments, ulps = points(reference, dtype, count), _Ulps(np.dtype(dtype))
    numbers = _as_mpmath(arguments)
    values = [reference.value(*row) for row in numbers]
    kept = np.array([abs(value) <= ulps.largest for value in values])
    if exempt and reference.exempt is not None:
        with np.errstate(all="ignore"):
            kept &= ~reference.exempt(*(arguments[i].astype(np.float64) for i in free))
    arguments = [argument[kept] if i in free else argument for i, argument in enumerate(arguments)]
    numbers = [row for row, keep in zip(numbers, kept, strict=True) if keep]
    with np.errstate(all="ignore"):
        computed = _derivatives(op, reference, arguments)
    found: Found = []
    for pairs in computed:
        errors = np.max([ulps.errors(array, truth, numbers) for array, truth in pairs], axis=0)
        worst = int(np.argmax(errors))
        found.append((float(errors[worst]), tuple(float(arguments[i][worst]) for i in free), len(errors)))
    return found


def _as_mpmath(arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return a row of numbers of mpmath for each element of the arguments."""
    mp = _mpmath()
    columns = [
        [mp.mpf(float(one)) for one in argument] if isinstance(argument, np.ndarray) else argument
        for argument in arguments
    ]
    length = max(len(column) for column in columns if isinstance(column, list))
    return list(
        zip(*(column if isinstance(column, list) else [column] * length for column in columns), strict=True)
    )


def _derivatives(
    op: Op, reference: Reference, arguments: Sequence[Any]
) -> list[list[tuple[Array, Function]]]:
    """Return what is computed beside what is true, of each order: of the value, and by each argument."""
    by = {i: truth for i, truth in enumerate(reference.first) if truth is not None}

    def slopes(recorded: bool) -> tuple[list[Tensor], Any]:
        leaves = [
            Tensor(x, requires_grad=i in by) if i not in reference.fixed else x
            for i, x in enumerate(arguments)
        ]
        out = op(*leaves, **reference.static)
        np.sum(out).backward(create_graph=recorded)
        return leaves, out

    leaves, out = slopes(recorded=False)
    value = [(out.data, reference.value)]
    first = [(leaves[i].grad.data, truth) for i, truth in by.items()]
    second = []
    for row, i in enumerate(by):
        leaves, _ = slopes(recorded=True)  # by the formula, if there is a joint rule beside it
        slope = leaves[i].grad
        first.append((slope.data, by[i]))
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                leaf.grad = None
        if slope.requires_grad:
            np.sum(slope).backward()
        for column, j in enumerate(by):
            bend = leaves[j].grad
            truth = reference.second[row + column] if reference.second else _zero
            second.append((np.zeros_like(out.data) if bend is None else bend.data, truth))
    return [value, first, second]


class _Ulps:
    """Differences between floats of a dtype and true values, in units in the last place of these."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        info, self.mp = np.finfo(dtype), _mpmath()
        self.digits = info.nmant + 1
        self.least = int(info.minexp) - int(info.nmant)
        self.largest = float(info.max)
        self.end = self.mp.mpf(2) ** int(info.maxexp)

    def errors(self, computed: Array, truth: Function, numbers: Sequence[tuple[Any, ...]]) -> Array:
        """Return the error of each number that was computed; that of NaN is infinite."""
        return np.array(
            [
                self._error(float(number), self.mp.mpf(truth(*row)))
                for number, row in zip(computed.ravel(), numbers, strict=True)
            ]
        )

    def _error(self, computed: float, true: Any) -> float:
        if math.isnan(computed):
            return math.inf
        number, true = (max(-self.end, min(self.end, x)) for x in (self.mp.mpf(computed), true))
        size = max(self.mp.mag(true) - self.digits, self.least) if true else self.least
        return float(abs(number - true) * self.mp.mpf(2) ** -size)
