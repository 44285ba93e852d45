"""``gradcheck`` tells whether the derivatives of a function are right, entry by entry, in both modes.

The comparison with differences is relative, for each entry by itself, and knows how uncertain the differences
are: a gradient of 1e-8 that should be 2e-8 is found beside one of 1e8, and an entry that the differences
cannot decide is not passed over in silence. At a kink the left and the right derivative have to bracket it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten
from tinygrad_mnist.testing.jacobians import Function, Problem
from tinygrad_mnist.testing.random_directions import compare_all, compare_along
from tinygrad_mnist.testing.report import (
    SUBGRADIENT,
    DiscontinuityError,
    Entry,
    GradientError,
    Report,
    message,
)
from tinygrad_mnist.transforms import vjp

Array = NDArray[Any]

MODES: Final = ("reverse", "forward")

FULL: Final = 4096
"""Entries up to which the full Jacobian is compared."""

MISSED: Final = 0.75
"""The most that the chance is that one product with random signs from both sides misses a wrong Jacobian."""

HUGE: Final = 2.0**500
"""Outputs beyond this get small cotangents."""

NOT_DETERMINISTIC: Final = (
    "gradcheck's function is not deterministic: its {} is another; seed its randomness inside, or pass what "
    "is random as an input"
)

RTOL: Final = {"float64": 1e-6, "float32": 1e-3, "float16": 3e-2}
"""About ``eps ** 0.4``: the relative error that is accepted of each dtype."""


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
        Where to check. Float arrays, floats and Tensors are differentiated; integers, booleans and other
        objects are handed to ``f`` as they are.
    order : {1, 2}
        2 checks the gradient of the gradient too, by the inputs and by the cotangent. Where the first order
        found a kink by an input, what concerns that input is left out, and the report's ``skipped`` says so.
    modes : sequence of {"reverse", "forward"}
        What to check: ``backward`` and ``vjp``; ``jvp``. At order 2 both differentiate the reverse mode.
    rtol : float, optional
        Relative error of an entry that is accepted; by default 1e-6, in float32 1e-3.
    atol : float
        Absolute error that is accepted besides. What the differences cannot resolve is accepted anyway.
    eps : float, optional
        The step of the differences; by default that at which they are most certain is found for each entry.
    confidence : float
        A Jacobian of more than 4096 entries is not compared entry by entry, but by products with random
        signs from both sides, of entries of like size: of each size as many as it takes to find one that is
        wrong with this probability.
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
    (Freivalds 1977); what an error has to exceed, then, is the tolerance of the whole product.

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
    positions = [i for i, value in enumerate(inputs) if _is_differentiable(value)]
    if not positions:
        raise TypeError("gradcheck was given no float to differentiate by; pass float64 arrays")
    primals = tuple(np.array(_values(inputs[i])) for i in positions)

    def function(*tensors: Any) -> tuple[Any, ...]:
        arguments = list(inputs)
        for i, tensor in zip(positions, tensors, strict=True):
            arguments[i] = tensor if isinstance(tensor, Tensor) else Tensor(tensor)
        return _outputs(f(*arguments))

    shadow = tuple(primal.astype(np.float64) for primal in primals)
    outs = _checked(function, shadow, "float64")
    problem = Problem(
        1, function, shadow, shadow, tuple(f"input {i}" for i in positions),
        tuple(f"output {i}" for i in range(len(outs))), tuple(out.shape for out in outs),
        RTOL["float64"] if rtol is None else rtol, atol, eps=eps,
    )  # fmt: skip
    problems = [problem]
    if order == 2:
        problems.append(_of_gradients(problem, outs, seed))
    narrowest = min((primal.dtype for primal in primals), key=lambda dtype: dtype.itemsize)
    if narrowest != np.float64:
        _checked(function, primals, narrowest.name)
        problems += [_narrowed(each, narrowest, rtol) for each in problems]
        problems[len(problems) // 2] = replace(problems[len(problems) // 2], primals=primals)
    try:
        report = _report(problems, modes, confidence, seed)
    except (DiscontinuityError, GradientError):
        _refuse_changed(function, shadow, outs)
        raise
    _refuse_changed(function, shadow, outs)
    return report


def _refuse_changed(function: Function, primals: Sequence[Array], outs: Sequence[Array]) -> None:
    """The value at the inputs has to be the same after the differences."""
    for out, again in zip(outs, function(*(primal.copy() for primal in primals)), strict=True):
        if not np.array_equal(out, again.data):
            raise ValueError(NOT_DETERMINISTIC.format("value after some calls"))


def _report(problems: Sequence[Problem], modes: Sequence[str], confidence: float, seed: int) -> Report:
    entries: list[Entry] = []
    skipped: dict[str, None] = {}  # in this order
    directions = 0
    for problem in problems:
        is_small = problem.rows * problem.columns <= FULL
        kinked = frozenset((e.input, e.index) for e in entries if e.order == 1 and e.verdict == SUBGRADIENT)
        if problem.order == 2 and kinked:
            problem = replace(problem, kinked=kinked)
            skipped.update(dict.fromkeys(f"{name} {index}" for name, index in sorted(kinked)))
        if is_small:
            entries += compare_all(problem, modes)
        else:
            count = math.ceil(math.log(1 - confidence) / math.log(MISSED))
            along = list(compare_along(problem, modes, count, seed))
            entries += along
            directions += len({entry.index for entry in along if entry.input == "direction"})
        report = Report(tuple(entries), directions, tuple(skipped))
        if not report.passed:
            raise GradientError(message(report), report)
    return report


def _of_gradients(problem: Problem, outs: Sequence[Array], seed: int) -> Problem:
    """The gradient, as a function of the inputs and the cotangents."""
    count, function = len(problem.primals), problem.function

    def gradients(*arguments: Any) -> tuple[Any, ...]:
        _, pullback = vjp(function, *arguments[:count])
        parts: tuple[Any, ...] = pullback(tuple(arguments[count:]))
        return parts

    rng = np.random.default_rng(seed)
    cotangents = [np.asarray(rng.uniform(0.5, 1.5, o.shape) * rng.choice([-1.0, 1.0], o.shape)) for o in outs]
    # of a huge output a small cotangent, so that its product with a derivative does not overflow
    cotangents = [c / np.maximum(1.0, np.abs(o) / HUGE) for c, o in zip(cotangents, outs, strict=True)]
    arguments = (*problem.primals, *cotangents)
    return replace(
        problem,
        order=2,
        function=gradients,
        primals=arguments,
        shadow=arguments,
        inputs=(*problem.inputs, *(f"cotangent {i}" for i in range(len(outs)))),
        outputs=tuple(name.replace("input", "gradient") for name in problem.inputs),
        shapes=tuple(primal.shape for primal in problem.primals),
    )


def _narrowed(problem: Problem, dtype: Any, rtol: float | None) -> Problem:
    """The same in a narrower dtype, with the tolerance of that dtype."""
    narrow = tuple(array.astype(dtype) for array in problem.primals)
    shadow = tuple(array.astype(np.float64) for array in narrow)
    tolerance = max(RTOL[np.dtype(dtype).name], rtol or 0.0)
    rounding, smallest = 64 * float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    # what is smaller than the smallest number of all digits underflows; the shadow has shown it to be right
    return replace(
        problem,
        primals=narrow,
        shadow=shadow,
        rtol=tolerance,
        atol=max(problem.atol, smallest),
        narrow=rounding,
    )


def _is_differentiable(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return isinstance(value, float)
    return isinstance(value, (np.ndarray, np.generic, Tensor)) and np.dtype(dtype).name in RTOL


def _values(value: Any) -> Array:
    return value.data if isinstance(value, Tensor) else np.asarray(value)


def _outputs(result: Any) -> tuple[Tensor, ...]:
    results, _ = flatten(result)
    for out in results or [result]:
        if not isinstance(out, (Tensor, int, float, complex)) and not hasattr(out, "__array__"):
            what = "None" if out is None else f"a {type(out).__name__}"
            raise TypeError(f"gradcheck's function returned {what}; expected a Tensor, or a tuple of them")
    return tuple(out if isinstance(out, Tensor) else Tensor(out) for out in results)


def _checked(function: Function, primals: Sequence[Array], dtype: str) -> tuple[Array, ...]:
    """The outputs at the inputs, once they are known to be finite floats and the same each time."""
    leaves = [Tensor(primal.copy(), requires_grad=True) for primal in primals]
    outs = tuple(out.data for out in function(*leaves))  # on the tape; the differences will be off it
    again = tuple(out.data for out in function(*(primal.copy() for primal in primals)))
    for out, other in zip(outs, again, strict=True):
        if out.dtype != dtype:
            given = "" if out.dtype.kind != "f" else f" for {dtype}"
            raise ValueError(f"gradcheck's function returned {out.dtype}{given}; expected {dtype}")
        if not np.all(np.isfinite(out)):
            raise ValueError("gradcheck's function is not finite at the inputs; choose others")
        if not np.array_equal(out, other):
            raise ValueError(NOT_DETERMINISTIC.format("second value"))
    cotangents = tuple(np.ones_like(out) for out in outs)
    first, second = (vjp(function, *primals)[1](cotangents) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        if not np.array_equal(_values(one), _values(other), equal_nan=True):
            raise ValueError(NOT_DETERMINISTIC.format("second gradient"))
    return outs
