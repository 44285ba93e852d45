"""The accuracy of elementwise operations: values and derivatives beside mpmath's, over all floats.

An error is counted in units in the last place (ulp): the distance between two floating-point numbers at the
true value. :func:`measure` gives the largest one of an operation, of its value and of its first and second
derivatives; ``scripts/make_accuracy.py`` makes a page of them. It is for authors of derivatives and needs
mpmath: ``pip install mpmath``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.engine.op import REGISTRY, Op
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.testing.true_functions import Function, Reference, multiprecision, references

Array = NDArray[Any]

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


class Accuracy(NamedTuple):
    """The largest errors of an operation, in ulp, by the order of the derivative, and where they are."""

    errors: tuple[float, float, float]
    worst: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    points: int


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
            f"operation {name!r} has no reference in mpmath; add it to tinygrad_mnist.testing.true_functions"
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
    mp = multiprecision()
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

    def slopes(recorded: bool) -> tuple[list[Any], Any]:
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
        slope: Any = leaves[i].grad
        first.append((slope.data, by[i]))
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                leaf.grad = None
        if slope.requires_grad:
            np.sum(slope).backward()
        for column, j in enumerate(by):
            bend = leaves[j].grad
            truth = reference.second[row + column] if reference.second else lambda *_: 0
            second.append((np.zeros_like(out.data) if bend is None else bend.data, truth))
    return [value, first, second]


class _Ulps:
    """Differences between floats of a dtype and true values, in units in the last place of these."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        info, self.mp = np.finfo(dtype), multiprecision()
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
