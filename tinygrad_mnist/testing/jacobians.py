"""Jacobians from the tape, by either mode, of a function whose inputs and outputs are one vector each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.transforms import jvp, vjp

Array = NDArray[Any]
Function = Callable[..., tuple[Any, ...]]
"""Of arrays or Tensors; returns a tuple of such."""

STRETCHES: Final = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9)
"""What cotangents are multiplied by; no powers of 2, which change no rounding."""

LITTLE: Final = 1e-12
"""More than this beside the cotangents is no rounding, but a rule that is not linear."""

Place = tuple[str, tuple[int, ...]]
"""A name, as ``input 0``, and an index."""


@dataclass(frozen=True)
class Problem:
    """A function at a point, and how closely its derivatives are to agree.

    ``shadow`` are the primals in float64, which the differences are taken at; ``narrow`` is the largest
    rounding error, beside the largest entry, that is accepted of the dtype that the tape computes in.
    """

    order: int
    function: Function
    primals: tuple[Array, ...]
    shadow: tuple[Array, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    rtol: float
    atol: float
    narrow: float = 0.0
    eps: float | None = None
    kinked: frozenset[Place] = frozenset()
    """At order 2: inputs that the function has a kink by, and the gradients by them; they are left out."""

    @property
    def rows(self) -> int:
        """Number of all outputs."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def columns(self) -> int:
        """Number of all inputs."""
        return sum(primal.size for primal in self.primals)

    @property
    def precision(self) -> float:
        """The spacing of the numbers at 1 in the narrowest dtype that the tape computes in."""
        return max(float(np.finfo(primal.dtype).eps) for primal in self.primals)

    @property
    def every_input(self) -> list[Place]:
        """The name and index of each column."""
        shapes = [primal.shape for primal in self.shadow]
        return [(n, i) for n, s in zip(self.inputs, shapes, strict=True) for i in np.ndindex(s)]

    @property
    def every_output(self) -> list[Place]:
        """The name and index of each row."""
        return [(n, i) for n, s in zip(self.outputs, self.shapes, strict=True) for i in np.ndindex(s)]

    def computed_at(self, point: Array) -> Problem:
        """The same at other inputs, in the dtype that the tape computes in."""
        return replace(self, primals=split(point, self.primals))


def flat(arrays: Sequence[Any]) -> Array:
    """All of them in one vector."""
    return np.concatenate([np.ravel(np.asarray(getattr(array, "data", array))) for array in arrays])


def split(vector: Array, like: Sequence[Any]) -> tuple[Array, ...]:
    """The inverse of `flat`, in the shapes and dtypes of ``like``."""
    parts, start = [], 0
    for array in like:
        parts.append(vector[start : start + array.size].reshape(array.shape).astype(array.dtype))
        start += array.size
    return tuple(parts)


def pulled(problem: Problem, cotangents: Array) -> Array:
    """Reverse mode: a row of input derivatives for each row of cotangents.

    They are pulled back at minus half their size: what is right for a cotangent of 1 alone is wrong.
    """
    outs, pullback = vjp(problem.function, *problem.primals)
    return np.array([-2 * flat(pullback(split(-row / 2, outs))) for row in cotangents])


def pushed(problem: Problem, tangents: Array) -> Array:
    """Forward mode: a column of output derivatives for each row of tangents."""
    columns = [
        flat(jvp(problem.function, problem.primals, split(row, problem.primals))[1]) for row in tangents
    ]
    return np.array(columns).T


def values_at(problem: Problem, point: Array) -> Array:
    """All outputs in one vector, at inputs in one vector; not a number where the function is not defined."""
    try:
        outs = problem.function(*split(point, problem.shadow))
    except (ArithmeticError, ValueError, np.linalg.LinAlgError):  # not defined there
        return np.full(problem.rows, np.nan)
    return flat(outs)


@dataclass(frozen=True)
class Line:
    """A straight line through the inputs, and what is looked at along it: some outputs, or sums of them.

    At ``t`` the inputs are ``origin + t * tangent``; the check is at ``t = at``. What is looked at are the
    outputs ``rows``, or, where there are ``cotangents``, their sums with those.
    """

    problem: Problem
    origin: Array
    tangent: Array
    at: float
    rows: Array
    cotangents: Array | None = None

    def only(self, chosen: Array) -> Line:
        """The same line, and some of what is looked at along it: in reverse mode each costs a walk."""
        if self.cotangents is None:
            return replace(self, rows=self.rows[chosen])
        return replace(self, cotangents=self.cotangents[chosen])

    def values(self, t: float) -> Array:
        """What is looked at, in float64."""
        return self._seen(values_at(self.problem, self._point(t)))

    def computed(self, t: float) -> Array:
        """What is looked at, in the dtype that the tape computes in."""
        narrow = replace(self.problem, shadow=self.problem.primals)
        return self._seen(values_at(narrow, self._point(t))).astype(float)

    def nonlinearity(self) -> Array:
        """At order 2, how far what is seen is from linear in the cotangents: its rounding, if little."""
        narrow = replace(self.problem, shadow=self.problem.primals)
        point = self._point(self.at)
        moves = np.array([name.startswith("cotangent") for name, _ in self.problem.every_input])
        scaled = [values_at(narrow, np.where(moves, t * point, point)) / t for t in STRETCHES]
        spread = np.ptp([self._seen(values).astype(float) for values in scaled], axis=0)
        largest = np.max(np.abs(point[moves]), initial=0.0)
        return np.where(spread <= LITTLE * largest, spread, 0.0)

    def derivative(self, mode: str, t: float) -> Array:
        """Its derivative along the line, from the tape."""
        problem = self.problem.computed_at(self._point(t))
        if mode == "forward":
            return self._seen(pushed(problem, self.tangent[None])[:, 0]).astype(float)
        moving = self.tangent != 0
        cotangents = np.eye(problem.rows)[self.rows]
        if self.cotangents is not None:
            cotangents = self.cotangents @ cotangents
        return np.asarray(pulled(problem, cotangents)[:, moving].astype(float) @ self.tangent[moving])

    def _point(self, t: float) -> Array:
        return self.origin + t * self.tangent

    def _seen(self, outputs: Array) -> Array:
        seen = outputs[self.rows]
        return seen if self.cotangents is None else np.asarray(self.cotangents @ seen)


def line_of_column(problem: Problem, point: Array, column: int, rows: Array) -> Line:
    """The line on which one input moves."""
    tangent = (np.arange(problem.columns) == column).astype(float)
    return Line(problem, np.where(tangent == 1, 0.0, point), tangent, float(point[column]), rows)
