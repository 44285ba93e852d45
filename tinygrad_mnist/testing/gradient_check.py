"""``gradcheck`` compares the derivatives of a function with finite differences, entry by entry.

The comparison is relative, for each entry by itself, and knows how uncertain the differences are: a gradient
of 1e-8 that should be 2e-8 is found beside one of 1e8, and an entry that the differences cannot decide is not
passed over in silence. At a kink the left and the right derivative have to bracket the gradient.

The derivatives from the tape are in `jacobians`, the numeric ones in `finite_differences` and `noise`;
`verdict` compares them, and `random_directions` chooses products of a Jacobian that is too large to be
compared whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten
from tinygrad_mnist.testing.jacobians import (
    Function,
    Problem,
    flat,
    line_of_column,
    pulled,
    pushed,
    values_at,
)
from tinygrad_mnist.testing.random_directions import compare_along
from tinygrad_mnist.testing.report import (
    ALL_OUTPUTS,
    SUBGRADIENT,
    WRONG,
    DiscontinuityError,
    Entry,
    GradientError,
    Report,
    message,
)
from tinygrad_mnist.testing.tolerances import TOLERANCES
from tinygrad_mnist.testing.verdict import verdicts
from tinygrad_mnist.transforms import vjp

Array = NDArray[Any]

MODES: Final = ("reverse", "forward")

NOT_DETERMINISTIC: Final = (
    "gradcheck's function is not deterministic: its {} is another; seed its randomness inside, or pass what "
    "is random as an input"
)


def gradcheck(
    f: Callable[..., Any],
    *inputs: Any,
    order: int = 1,
    modes: Sequence[str] = MODES,
    rtol: float | None = None,
    atol: float = 0.0,
    eps: float | None = None,
    confidence: float = 0.999,
    seed: int = 0,
) -> Report:
    """Compare the derivatives of a function with finite differences, entry by entry.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns a Tensor of any shape, or several in nested tuples, lists, dicts.
    *inputs : array_like
        The point to check at. Float arrays, floats and Tensors are differentiated; integers, booleans and
        other objects are handed to ``f`` as they are.
    order : {1, 2}
        2 checks the gradient of the gradient too, by the inputs and by the cotangent. An input by which the
        first order found a kink is left out then, and the report's ``skipped`` names it.
    modes : sequence of {"reverse", "forward"}
        The modes to check: reverse is ``backward`` and ``vjp``, forward is ``jvp``. At order 2 both
        differentiate the reverse mode.
    rtol : float, optional
        Relative error of an entry that is accepted; by default 1e-6, in float32 1e-3.
    atol : float
        Absolute error that is accepted besides. What the differences cannot resolve is accepted anyway.
    eps : float, optional
        The step of the differences; by default, for each entry, the step at which they are most certain.
    confidence : float
        A Jacobian of more than 4096 entries is not compared entry by entry, but by products with random signs
        from both sides, over entries of like size. Each size gets as many products as it takes to find a
        wrong entry with this probability.
    seed : int
        Seeds these directions, and the cotangents at order 2.

    Returns
    -------
    Report
        Every entry, with its analytic and numeric value.

    Raises
    ------
    GradientError
        If an entry is wrong, or the differences cannot decide whether it is right.
    TypeError
        If ``f`` is no function or returns no Tensor, or there is no float to differentiate by.
    ValueError
        If ``f`` returns no float, is not finite at ``inputs``, or returns another value when called again.

    Notes
    -----
    A function of float32 is differentiated as it is, and compared with differences of its shadow: ``f`` on
    the same numbers in float64, whose own gradient has to be right to float64's tolerance. If a Jacobian is
    wrong, a product with independent random signs from both sides shows it with a probability of at least 1/4
    (Freivalds 1977). An error has to exceed the tolerance of the whole product then.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.5, 1.0, 2.0])
    >>> gradcheck(lambda x: np.log(x) * x, x, order=2).passed
    True
    >>> [entry.verdict for entry in gradcheck(np.abs, 0.0, modes=["reverse"]).entries]
    ['valid subgradient']
    >>> gradcheck(lambda x: np.log(x.detach()) * x, x)
    Traceback (most recent call last):
    ...
    tinygrad_mnist.testing.report.GradientError: the gradient is wrong in 3 of 9 entries...
    """
    _check_options(f, order, modes, rtol, atol, confidence)
    function, primals, names = _of_floats(f, inputs)
    shadow = tuple(primal.astype(np.float64) for primal in primals)
    outs = _checked_outputs(function, shadow, "float64")
    problem = Problem(
        1, function, shadow, shadow, names,
        tuple(f"output {i}" for i in range(len(outs))), tuple(out.shape for out in outs),
        TOLERANCES.rtol["float64"] if rtol is None else rtol, atol, eps=eps,
    )  # fmt: skip
    problems = [problem] if order == 1 else [problem, problem.of_gradients(outs, seed)]
    narrowest = min((primal.dtype for primal in primals), key=lambda dtype: dtype.itemsize)
    if narrowest != np.float64:
        _checked_outputs(function, primals, narrowest.name)
        first, *second = (each.narrowed(narrowest, rtol) for each in problems)
        # The first order is differentiated at the very inputs, which may be of several dtypes.
        problems += [replace(first, primals=primals), *second]
    try:
        report = _report(problems, modes, confidence, seed)
    except (DiscontinuityError, GradientError):
        _check_unchanged(function, shadow, outs)  # then this is the reason, and not the gradient
        raise
    _check_unchanged(function, shadow, outs)
    return report


def _report(problems: Sequence[Problem], modes: Sequence[str], confidence: float, seed: int) -> Report:
    """Return the report on all problems.

    Raises
    ------
    GradientError
        After the first problem with an entry that did not pass.
    """
    entries: list[Entry] = []
    skipped: dict[str, None] = {}  # a set that keeps the order
    directions = 0
    for problem in problems:
        kinked = frozenset((e.input, e.index) for e in entries if e.order == 1 and e.verdict == SUBGRADIENT)
        # A kink has no second derivative; only what concerns an input that has one is left out.
        if problem.order == 2 and kinked:
            problem = replace(problem, kinked=kinked)
            skipped.update(dict.fromkeys(f"{name} {index}" for name, index in sorted(kinked)))
        if problem.rows * problem.columns <= TOLERANCES.full_jacobian:
            entries += _compare_entries(problem, modes)
        else:
            # So many products that the chance of missing an error with all of them is 1 - confidence.
            count = math.ceil(math.log(1 - confidence) / math.log(TOLERANCES.missed))
            along = list(compare_along(problem, modes, count, seed))
            entries += along
            directions += len({entry.index for entry in along if entry.input == "direction"})
        report = Report(tuple(entries), directions, tuple(skipped))
        if not report.passed:
            raise GradientError(message(report), report)
    return report


# ---- every entry of a small Jacobian ---------------------------------------------------------------------


def _compare_entries(problem: Problem, modes: Sequence[str]) -> Iterator[Entry]:
    """Yield every entry of the Jacobian, by each mode."""
    if not problem.rows or not problem.columns:
        return
    outputs = problem.every_output
    # At order 2 the outputs are gradients by the inputs: of an input with a kink, both are left out.
    inputs_of_rows = [(name.replace("gradient", "input"), index) for name, index in outputs]
    rows = np.array([k for k, by in enumerate(inputs_of_rows) if by not in problem.kinked], dtype=int)
    if not rows.size:
        return
    analytic = {mode: _full_jacobian(problem, mode) for mode in modes}
    point = flat(problem.shadow)
    passed = True
    for column, by in enumerate(problem.every_input):
        if by in problem.kinked:
            continue
        line = line_of_column(problem, point, column, rows)
        columns = {mode: jacobian[rows, column] for mode, jacobian in analytic.items()}
        for entry in verdicts(line, columns, by, [outputs[k] for k in rows]):
            passed = passed and entry.passed
            yield entry
    if passed and "reverse" in analytic:
        yield from _compare_together(problem, analytic["reverse"], point, rows)


def _full_jacobian(problem: Problem, mode: str) -> Array:
    """Return the Jacobian from the tape: a walk for each row, or a forward pass for each column."""
    if mode == "reverse":
        return pulled(problem, np.eye(problem.rows))
    return pushed(problem, np.eye(problem.columns))


def _compare_together(problem: Problem, jacobian: Array, point: Array, rows: Array) -> Iterator[Entry]:
    """Yield the entries that all outputs at once make wrong, though each of them alone is right.

    A rule has to be linear in its cotangent: one that clips it, or divides by its norm, is right for small
    ones.
    """
    rng = np.random.default_rng(0)
    size = TOLERANCES.together_size
    cotangent = np.zeros(problem.rows)
    cotangent[rows] = size * rng.uniform(0.5, 1.5, rows.size) * rng.choice([-1.0, 1.0], rows.size)
    with np.errstate(all="ignore"):
        # A row that is left out may be infinite; 0 times that is not a number.
        jacobian = np.where(cotangent[:, None] == 0, 0.0, jacobian.astype(float))
        sums, sizes = cotangent @ jacobian, np.abs(cotangent) @ np.abs(jacobian)
        largest = np.max(np.abs(jacobian), initial=np.max(np.abs(values_at(problem, point)[rows])))
        if not size**2 * largest < min(float(np.finfo(primal.dtype).max) for primal in problem.primals):
            return  # it would overflow
        together = pulled(problem, cotangent[None])[0].astype(float)
    # Of sums that cancel, a part of their terms is accepted; and the rounding of the largest number in them.
    slack = max(problem.rtol, TOLERANCES.together_noise) * sizes
    rounding = max(TOLERANCES.together_rounding, problem.narrow)
    slack = slack + size * (problem.atol + rounding * largest)
    for column, by in enumerate(problem.every_input):
        found, expected = float(together[column]), float(sums[column])
        if by in problem.kinked or not np.isfinite(sizes[column]):
            continue
        if not abs(found - expected) <= slack[column]:
            error = abs(found - expected) / max(abs(found), abs(expected))
            yield Entry(
                problem.order, "reverse", *by, ALL_OUTPUTS, (), found, expected, float(slack[column]), error,
                0.0, WRONG,
            )  # fmt: skip


# ---- inputs, outputs and determinism ---------------------------------------------------------------------


def _check_options(
    f: Any, order: int, modes: Sequence[str], rtol: float | None, atol: float, confidence: float
) -> None:
    """Raise an error if an option of `gradcheck` makes no sense."""
    if not callable(f):
        raise TypeError(f"gradcheck was given a {type(f).__name__}; expected a function, then its inputs")
    if order not in (1, 2):
        raise ValueError(f"gradcheck was given order={order}; expected 1 or 2")
    if not modes or not set(modes) <= set(MODES):
        raise ValueError(f"gradcheck was given modes={tuple(modes)}; expected some of {MODES}")
    for name, tolerance in (("rtol", rtol or 0.0), ("atol", atol)):
        if not 0 <= tolerance < math.inf:
            raise ValueError(
                f"gradcheck was given {name}={tolerance}; expected a number that is not negative"
            )
    if not 0 < confidence < 1:
        raise ValueError(f"gradcheck was given confidence={confidence}; expected a number between 0 and 1")


def _of_floats(
    f: Callable[..., Any], inputs: Sequence[Any]
) -> tuple[Function, tuple[Array, ...], tuple[str, ...]]:
    """Return a function of the float inputs alone, those inputs as arrays of their own, and their names."""
    positions = [i for i, value in enumerate(inputs) if _is_differentiable(value)]
    if not positions:
        raise TypeError("gradcheck was given no float to differentiate by; pass float64 arrays")

    def function(*tensors: Any) -> tuple[Any, ...]:
        arguments = list(inputs)
        for i, tensor in zip(positions, tensors, strict=True):
            arguments[i] = tensor if isinstance(tensor, Tensor) else Tensor(tensor)
        return _outputs(f(*arguments))

    primals = tuple(np.array(_values(inputs[i])) for i in positions)
    return function, primals, tuple(f"input {i}" for i in positions)


def _is_differentiable(value: Any) -> bool:
    """Return whether an input is a float, an array or a Tensor of a dtype that has a tolerance."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return isinstance(value, float)
    is_array = isinstance(value, (np.ndarray, np.generic, Tensor))
    return is_array and np.dtype(dtype).name in TOLERANCES.rtol


def _values(value: Any) -> Array:
    """Return a Tensor or a number as an array."""
    return value.data if isinstance(value, Tensor) else np.asarray(value)


def _outputs(result: Any) -> tuple[Tensor, ...]:
    """Return all results of a function, however nested, as Tensors."""
    results, _ = flatten(result)
    for out in results or [result]:
        if not isinstance(out, (Tensor, int, float, complex)) and not hasattr(out, "__array__"):
            what = "None" if out is None else f"a {type(out).__name__}"
            raise TypeError(f"gradcheck's function returned {what}; expected a Tensor, or a tuple of them")
    return tuple(out if isinstance(out, Tensor) else Tensor(out) for out in results)


def _checked_outputs(function: Function, primals: Sequence[Array], dtype: str) -> tuple[Array, ...]:
    """Return the outputs at the inputs, once they are known to be finite floats and the same each time."""
    # On the tape first, then off it, as the differences will be: both have to compute the same.
    leaves = [Tensor(primal.copy(), requires_grad=True) for primal in primals]
    outs = tuple(out.data for out in function(*leaves))
    again = tuple(out.data for out in function(*(primal.copy() for primal in primals)))
    for out, other in zip(outs, again, strict=True):
        if out.dtype != dtype:
            given = "" if not is_float(out) else f" for {dtype}"
            raise ValueError(f"gradcheck's function returned {out.dtype}{given}; expected {dtype}")
        if not np.all(np.isfinite(out)):
            raise ValueError("gradcheck's function is not finite at the inputs; choose others")
        if not _is_repeated(out, other):
            raise ValueError(NOT_DETERMINISTIC.format("second value"))
    cotangents = tuple(np.ones_like(out) for out in outs)
    first, second = (vjp(function, *primals)[1](cotangents) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        if not _is_repeated(_values(one), _values(other)):
            raise ValueError(NOT_DETERMINISTIC.format("second gradient"))
    return outs


def _is_repeated(one: Array, other: Array) -> bool:
    """Return whether a function computed the same twice, but for the rounding of its last digits.

    A jitted function computes with other rounding when it is replayed than on the tape, for example.
    """
    scale = TOLERANCES.repeated_roundings * np.finfo(one.dtype).eps
    size = np.max(np.abs(one), initial=0, where=np.isfinite(one))
    return bool(np.allclose(one, other, rtol=scale, atol=scale * size, equal_nan=True))


def _check_unchanged(function: Function, primals: Sequence[Array], outs: Sequence[Array]) -> None:
    """Raise a ValueError if the outputs at the inputs are no longer what they were before the differences."""
    for out, again in zip(outs, function(*(primal.copy() for primal in primals)), strict=True):
        if not _is_repeated(out, again.data):
            raise ValueError(NOT_DETERMINISTIC.format("value after some calls"))
