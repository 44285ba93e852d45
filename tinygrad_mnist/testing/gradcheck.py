"""``gradcheck`` tells whether the gradient of a function is right, entry by entry.

The reverse-mode gradient is compared with central differences. The comparison is relative, for each entry by
itself, and knows how uncertain the differences are: a gradient of 1e-8 that should be 2e-8 is found beside
one of 1e8, and an entry that the differences cannot decide is not passed over in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.tensor import Tensor
from tinygrad_mnist.testing.differences import differentiate

Array = NDArray[Any]
Function = Callable[..., tuple[Tensor, ...]]

SAFETY: Final = 10.0
"""How many times the estimated uncertainty of a numeric derivative is believed."""

DECISIVE: Final = 3e-3
"""A verdict needs a numeric derivative that is certain to this part of its value."""

NEGLIGIBLE: Final = 1e-6
"""... or, where both derivatives are 0, to this part of the function's values."""

ROWS: Final = 12
"""Rows of the table in an error."""


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient, as the tape has it and as differences have it.

    Attributes
    ----------
    order : int
        1 for the gradient, 2 for the gradient of the gradient.
    input : str
        Which input it is the derivative by: ``input 0``, or at order 2 ``cotangent 0``.
    index : tuple of int
        Where in that input.
    analytic, numeric : float
        The derivative from the tape, and from central differences.
    uncertainty : float
        How far off the numeric one may be.
    error : float
        Their difference, relative to the larger of both.
    verdict : str
        ``right``, ``wrong``, or ``undecided`` where the numeric derivative is too uncertain to tell.
    """

    order: int
    input: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    uncertainty: float
    error: float
    verdict: str


@dataclass(frozen=True)
class Report:
    """What a gradient check found; ``str`` of it is a table, the worst entries first."""

    entries: tuple[Entry, ...]

    @property
    def failures(self) -> tuple[Entry, ...]:
        """Entries that are wrong or undecided, the worst first."""
        failures = [entry for entry in self.entries if entry.verdict != "right"]
        return tuple(sorted(failures, key=_rank, reverse=True))

    @property
    def passed(self) -> bool:
        """Whether every entry is right."""
        return not self.failures

    @property
    def largest_error(self) -> float:
        """The largest relative error of an entry whose derivative is not 0."""
        return max((entry.error for entry in self.entries), default=0.0)

    def __str__(self) -> str:
        shown = self.failures or tuple(sorted(self.entries, key=_rank, reverse=True))
        titles = f"{'analytic':>24} {'numeric':>24} {'error':>9}  verdict"
        lines = [f"{'order':>5}  {'by':<12} {'index':<12} {titles}"]
        lines += [
            f"{e.order:>5}  {e.input:<12} {e.index!s:<12} {e.analytic:>24.16g} {e.numeric:>24.16g} "
            f"{e.error:>9.2g}  {e.verdict}" + (f" (±{e.uncertainty:.1g})" if e.verdict == "undecided" else "")
            for e in shown[:ROWS]
        ]
        if len(shown) > ROWS:
            lines.append(f"... and {len(shown) - ROWS} more")
        return "\n".join(lines)


class GradientError(AssertionError):
    """A gradient disagrees with finite differences; ``report`` holds every entry."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


def gradcheck(
    f: Callable[..., Any],
    *inputs: Any,
    order: int = 1,
    rtol: float = 1e-6,
    atol: float = 0.0,
    eps: float | None = None,
    seed: int = 0,
) -> Report:
    """Compare the gradient of a function with finite differences, entry by entry.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns a Tensor, or a tuple of them, of any shape.
    *inputs : array_like
        Where to check. Float64 arrays, floats and Tensors are differentiated; integers, booleans and other
        objects are handed to ``f`` as they are.
    order : {1, 2}
        2 checks the gradient of the gradient too, by the inputs and by the cotangent.
    rtol : float
        Relative error of an entry that is accepted.
    atol : float
        Absolute error that is accepted besides. What the differences cannot resolve is accepted anyway.
    eps : float, optional
        The step of the differences; by default that at which they are most certain is found for each entry.
    seed : int
        Seeds the cotangents: the gradient of ``sum(cotangent * f(*inputs))`` is what is checked.

    Returns
    -------
    Report
        Every entry, with its analytic and numeric value.

    Raises
    ------
    GradientError
        If an entry is wrong, or the differences cannot decide whether it is right.
    TypeError
        If an input is float32 or another float than float64, whose rounding hides wrong gradients.
    ValueError
        If ``f`` returns no float, is not finite at ``inputs``, or returns another value when called again.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.5, 1.0, 2.0])
    >>> gradcheck(lambda x: np.log(x) * x, x, order=2).passed
    True
    >>> gradcheck(lambda x: np.log(x.detach()) * x, x)
    Traceback (most recent call last):
    ...
    tinygrad_mnist.testing.gradcheck.GradientError: the gradient is wrong in 3 of 3 entries...
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck was given order={order}; expected 1 or 2")
    positions = [i for i, value in enumerate(inputs) if _is_differentiable(value, i)]
    if not positions:
        raise TypeError("gradcheck was given no float to differentiate by; pass float64 arrays")
    primals = [_values(inputs[i]) for i in positions]

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        arguments = list(inputs)
        for i, tensor in zip(positions, tensors, strict=True):
            arguments[i] = tensor
        return _outputs(f(*arguments))

    rng = np.random.default_rng(seed)
    names = [f"input {i}" for i in positions]
    outs = _checked(function, primals)
    cotangents = [_cotangent(rng, out.shape) for out in outs]
    entries = list(_compare(1, function, names, primals, cotangents, rtol, atol, eps))
    if order == 2 and all(entry.verdict == "right" for entry in entries):
        gradients = _gradients(function, len(primals))
        names += [f"cotangent {i}" for i in range(len(outs))]
        primals = [*primals, *cotangents]
        cotangents = [_cotangent(rng, primal.shape) for primal in primals[: len(positions)]]
        entries += _compare(2, gradients, names, primals, cotangents, rtol, atol, eps)
    report = Report(tuple(entries))
    if not report.passed:
        raise GradientError(_message(report), report)
    return report


def _message(report: Report) -> str:
    worst = report.failures[0]
    fault = "is wrong" if worst.verdict == "wrong" else "could not be decided"
    whose = "the gradient" if worst.order == 1 else "the gradient of the gradient"
    total = sum(entry.order == worst.order for entry in report.entries)
    return f"{whose} {fault} in {len(report.failures)} of {total} entries:\n{report}"


def _rank(entry: Entry) -> tuple[bool, float]:
    return entry.verdict == "wrong", entry.error


def _is_differentiable(value: Any, position: int) -> bool:
    dtype = getattr(value, "dtype", None)
    if isinstance(value, float) and dtype is None:
        return True
    if not isinstance(value, (np.ndarray, np.generic, Tensor)) or dtype is None or dtype.kind != "f":
        return False
    if dtype != np.float64:
        raise TypeError(
            f"gradcheck was given {dtype} as input {position}; differences need float64, as in "
            "x.astype(np.float64)"
        )
    return True


def _values(value: Any) -> Array:
    return value.data if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)


def _outputs(result: Any) -> tuple[Tensor, ...]:
    results = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(out if isinstance(out, Tensor) else Tensor(out) for out in results)


def _checked(function: Function, primals: Sequence[Array]) -> tuple[Tensor, ...]:
    """The outputs at the inputs, once they are known to be finite floats and the same each time."""
    outs, again = (function(*(Tensor(primal.copy()) for primal in primals)) for _ in range(2))
    for out, other in zip(outs, again, strict=True):
        if out.dtype != np.float64:
            raise ValueError(f"gradcheck's function returned {out.dtype}; expected float64")
        if not np.all(np.isfinite(out.data)):
            raise ValueError("gradcheck's function is not finite at the inputs; choose others")
        if not np.array_equal(out.data, other.data):
            raise ValueError("gradcheck's function is not deterministic: its second value is another")
    return outs


def _cotangent(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers of both signs, none near 0."""
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def _gradients(function: Function, count: int) -> Function:
    """``(primals..., cotangents...) -> gradients``, on the tape where the arguments are."""

    def gradients(*arguments: Tensor) -> tuple[Tensor, ...]:
        recorded = any(argument.requires_grad for argument in arguments)
        primals, cotangents = arguments[:count], arguments[count:]
        if not recorded:
            primals = tuple(Tensor(primal.data, requires_grad=True) for primal in primals)
        for out, cotangent in zip(function(*primals), cotangents, strict=True):
            if out.requires_grad:
                out.backward(cotangent, retain_graph=True, create_graph=recorded)
        return tuple(_taken_gradient(primal) for primal in primals)

    return gradients


def _taken_gradient(leaf: Tensor) -> Tensor:
    gradient = Tensor(np.zeros_like(leaf.data)) if leaf.grad is None else leaf.grad
    leaf.grad = None
    return gradient


def _compare(
    order: int,
    function: Function,
    names: Sequence[str],
    primals: Sequence[Array],
    cotangents: Sequence[Array],
    rtol: float,
    atol: float,
    eps: float | None,
) -> Iterator[Entry]:
    """An entry for each element of each primal."""
    analytic = [gradient.data for gradient in _gradients_of_leaves(function, primals, cotangents)]
    weights = np.concatenate([np.ravel(c) for c in cotangents])

    def values(arrays: Sequence[Array]) -> Array:
        try:
            outs = function(*(Tensor(array) for array in arrays))
        except np.linalg.LinAlgError:  # not defined there
            return np.full(weights.shape, np.nan)
        return np.concatenate([np.ravel(out.data) for out in outs])

    for position, primal in enumerate(primals):
        for index in np.ndindex(primal.shape):

            def along(value: float, position: int = position, index: tuple[int, ...] = index) -> Array:
                arrays = [array.copy() for array in primals]
                arrays[position][index] = value
                return values(arrays)

            derivative, doubt, size = differentiate(along, float(primal[index]), eps)
            numeric, uncertainty = float(weights @ derivative), SAFETY * float(np.abs(weights) @ doubt)
            of = float(analytic[position][index])
            scale = float(np.abs(weights) @ np.maximum(size, np.abs(derivative)))
            verdict, error = _judged(of, numeric, uncertainty, scale, rtol, atol)
            yield Entry(order, names[position], index, of, numeric, uncertainty, error, verdict)


def _gradients_of_leaves(
    function: Function, primals: Sequence[Array], cotangents: Sequence[Array]
) -> tuple[Tensor, ...]:
    leaves = [Tensor(primal, requires_grad=True) for primal in primals]
    for out, cotangent in zip(function(*leaves), cotangents, strict=True):
        if out.requires_grad:
            out.backward(cotangent, retain_graph=True)
    return tuple(_taken_gradient(leaf) for leaf in leaves)


def _judged(
    analytic: float, numeric: float, uncertainty: float, scale: float, rtol: float, atol: float
) -> tuple[str, float]:
    """The verdict on one entry, and its relative error (0 where both are 0 within the uncertainty)."""
    if not math.isfinite(analytic):
        return "wrong", math.inf
    difference, larger = abs(analytic - numeric), max(abs(analytic), abs(numeric))
    error = 0.0 if larger <= uncertainty else difference / larger
    if difference > rtol * larger + atol + uncertainty:
        return "wrong", error
    nothing = larger <= uncertainty + atol and uncertainty <= NEGLIGIBLE * scale
    if uncertainty <= DECISIVE * larger + atol or nothing:
        return "right", error
    return "undecided", error
