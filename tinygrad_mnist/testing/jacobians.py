"""A function to check, and its Jacobian from the tape, by either mode.

Inputs and outputs of any number and shape are one vector each here: a row of the Jacobian belongs to an
element of an output, a column to an element of an input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.testing.tolerances import TOLERANCES
from tinygrad_mnist.transforms import jvp, vjp

Array = NDArray[Any]
Function = Callable[..., tuple[Any, ...]]
"""A function of arrays or Tensors that returns a tuple of such."""

Place = tuple[str, tuple[int, ...]]
"""A name, as ``input 0``, and an index."""


@dataclass(frozen=True)
class Problem:
    """A function at a point, and how closely its derivatives are to agree.

    Attributes
    ----------
    order : int
        1 for the derivative of a function, 2 for that of its gradient.
    function : callable
        Takes the primals, returns a tuple of outputs.
    primals : tuple of ndarray
        The inputs, in the dtype that the tape computes in.
    shadow : tuple of ndarray
        The same numbers in float64: the differences are taken there, since in float32 they are mostly
        rounding.
    inputs, outputs : tuple of str
        Their names in the report.
    shapes : tuple of tuple
        The shapes of the outputs.
    rtol, atol : float
        The errors that are accepted, relative and absolute.
    narrow : float
        The rounding error of a narrow dtype that is accepted besides, as a part of the largest number.
    eps : float or None
        The one step of the differences, if the user gave one.
    kinked : frozenset of Place
        Inputs by which the function has a kink: at order 2 they, and the gradients by them, are left out.
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
        """Spacing of the numbers at 1 in the narrowest dtype that the tape computes in."""
        return max(float(np.finfo(primal.dtype).eps) for primal in self.primals)

    @property
    def every_input(self) -> list[Place]:
        """Name and index of each column."""
        shapes = [primal.shape for primal in self.shadow]
        return [(n, i) for n, s in zip(self.inputs, shapes, strict=True) for i in np.ndindex(s)]

    @property
    def every_output(self) -> list[Place]:
        """Name and index of each row."""
        return [(n, i) for n, s in zip(self.outputs, self.shapes, strict=True) for i in np.ndindex(s)]

    def computed_at(self, point: Array) -> Problem:
        """Return the same problem at other inputs, in the dtype that the tape computes in."""
        return replace(self, primals=split(point, self.primals))

    def of_gradients(self, outs: Sequence[Array], seed: int) -> Problem:
        """Return the problem of order 2: the gradient, as a function of the inputs and the cotangents.

        ``outs`` are the outputs at the inputs; ``seed`` draws the cotangents.
        """
        count, function = len(self.primals), self.function

        def gradients(*arguments: Any) -> tuple[Any, ...]:
            _, pullback = vjp(function, *arguments[:count])
            parts: tuple[Any, ...] = pullback(tuple(arguments[count:]))
            return parts

        rng = np.random.default_rng(seed)
        # Of both signs and none near 0, so that every output counts.
        signs_and_sizes = [
            np.asarray(rng.uniform(0.5, 1.5, out.shape) * rng.choice([-1.0, 1.0], out.shape)) for out in outs
        ]
        # A huge output gets a small cotangent, so that its product with a derivative does not overflow.
        cotangents = [
            cotangent / np.maximum(1.0, np.abs(out) / TOLERANCES.huge)
            for cotangent, out in zip(signs_and_sizes, outs, strict=True)
        ]
        arguments = (*self.primals, *cotangents)
        return replace(
            self,
            order=2,
            function=gradients,
            primals=arguments,
            shadow=arguments,
            inputs=(*self.inputs, *(f"cotangent {i}" for i in range(len(outs)))),
            outputs=tuple(name.replace("input", "gradient") for name in self.inputs),
            shapes=tuple(primal.shape for primal in self.primals),
        )

    def narrowed(self, dtype: Any, rtol: float | None) -> Problem:
        """Return the same problem in a narrower dtype, with the tolerances of that dtype."""
        dtype = np.dtype(dtype)
        narrow = tuple(array.astype(dtype) for array in self.primals)
        return replace(
            self,
            primals=narrow,
            # The numbers that the narrow dtype has, so that both compute at the same point.
            shadow=tuple(array.astype(np.float64) for array in narrow),
            rtol=max(TOLERANCES.rtol[dtype.name], rtol or 0.0),
            # Below the smallest normal number digits are lost: the float64 problem has shown them to be
            # right.
            atol=max(self.atol, float(np.finfo(dtype).smallest_normal)),
            narrow=TOLERANCES.narrow_rounding * float(np.finfo(dtype).eps),
        )


def flat(arrays: Sequence[Any]) -> Array:
    """Return all elements of some arrays or Tensors in one vector."""
    return np.concatenate([np.ravel(np.asarray(getattr(array, "data", array))) for array in arrays])


def split(vector: Array, like: Sequence[Any]) -> tuple[Array, ...]:
    """Return the parts of a vector in the shapes and dtypes of ``like``: the inverse of `flat`."""
    parts, start = [], 0
    for array in like:
        parts.append(vector[start : start + array.size].reshape(array.shape).astype(array.dtype))
        start += array.size
    return tuple(parts)


def pulled(problem: Problem, cotangents: Array) -> Array:
    """Return a row of input derivatives for each row of cotangents, by reverse mode."""
    # At minus half their size, since a rule may be right for a cotangent of 1 alone, as g * abs(g). Halves
    # and doubles are exact, so that a linear rule gives the same digits.
    outs, pullback = vjp(problem.function, *problem.primals)
    return np.array([-2 * flat(pullback(split(-row / 2, outs))) for row in cotangents])


def pushed(problem: Problem, tangents: Array) -> Array:
    """Return a column of output derivatives for each row of tangents, by forward mode."""
    columns = [
        flat(jvp(problem.function, problem.primals, split(row, problem.primals))[1]) for row in tangents
    ]
    return np.array(columns).T


def values_at(problem: Problem, point: Array) -> Array:
    """Return all outputs in one vector, at inputs in one vector; NaN where the function is not defined."""
    try:
        outs = problem.function(*split(point, problem.shadow))
    except (ArithmeticError, ValueError, np.linalg.LinAlgError):
        # At the point itself the function has been called before, so this is away from it: smaller steps are
        # tried.
        return np.full(problem.rows, np.nan)
    return flat(outs)


@dataclass(frozen=True)
class Line:
    """A straight line through the inputs, along which some outputs, or weighted sums of them, are observed.

    At ``t`` the inputs are ``origin + t * tangent``; the check is at ``t = at``. Observed are the outputs
    ``rows``, or, where there are ``cotangents``, their sums with those weights.
    """

    problem: Problem
    origin: Array
    tangent: Array
    at: float
    rows: Array
    cotangents: Array | None = None

    def only(self, chosen: Array) -> Line:
        """Return the same line with some of its observed numbers: in reverse mode each costs a walk."""
        if self.cotangents is None:
            return replace(self, rows=self.rows[chosen])
        return replace(self, cotangents=self.cotangents[chosen])

    def values(self, t: float) -> Array:
        """Return the observed numbers at ``t``, in float64."""
        return self._observed(values_at(self.problem, self._point(t)))

    def computed(self, t: float) -> Array:
        """Return the observed numbers at ``t``, in the dtype that the tape computes in."""
        narrow = replace(self.problem, shadow=self.problem.primals)
        return self._observed(values_at(narrow, self._point(t))).astype(float)

    def nonlinearity(self) -> Array:
        """Return the noise that observed gradients show when their cotangents alone are scaled, at order 2.

        A gradient is linear in its cotangents, so what changes is its rounding, also where the values
        themselves show no noise: the cancellation then happens within the gradient. A large change is no
        rounding.
        """
        narrow = replace(self.problem, shadow=self.problem.primals)
        point = self._point(self.at)
        moves = np.array([name.startswith("cotangent") for name, _ in self.problem.every_input])
        scaled = [values_at(narrow, np.where(moves, t * point, point)) / t for t in TOLERANCES.stretches]
        spread = np.ptp([self._observed(values).astype(float) for values in scaled], axis=0)
        largest = np.max(np.abs(point[moves]), initial=0.0)
        return np.where(spread <= TOLERANCES.linear_rounding * largest, spread, 0.0)

    def derivative(self, mode: str, t: float) -> Array:
        """Return the derivative of the observed numbers along the line, from the tape."""
        problem = self.problem.computed_at(self._point(t))
        if mode == "forward":
            return self._observed(pushed(problem, self.tangent[None])[:, 0]).astype(float)
        # Only the inputs that move count: a derivative by another one may be infinite, and 0 times that is
        # NaN.
        moving = self.tangent != 0
        cotangents = np.eye(problem.rows)[self.rows]
        if self.cotangents is not None:
            cotangents = self.cotangents @ cotangents
        return np.asarray(pulled(problem, cotangents)[:, moving].astype(float) @ self.tangent[moving])

    def _point(self, t: float) -> Array:
        return self.origin + t * self.tangent

    def _observed(self, outputs: Array) -> Array:
        observed = outputs[self.rows]
        return observed if self.cotangents is None else np.asarray(self.cotangents @ observed)


def line_of_column(problem: Problem, point: Array, column: int, rows: Array) -> Line:
    """Return the line on which one input moves."""
    tangent = (np.arange(problem.columns) == column).astype(float)
    # The input itself is the parameter, from an origin of 0, so that steps can be parts of its size.
    return Line(problem, np.where(tangent == 1, 0.0, point), tangent, float(point[column]), rows)
