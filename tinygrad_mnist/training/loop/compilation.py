"""The decision whether a training is compiled, by the recipe and the sizes alone.

Compiled steps round otherwise than steps operation by operation. So that equal seeds give equal bits, the
decision depends neither on a clock nor on what an earlier run left in a cache. It is made before the first
step, it is told to the user, and it stands in the files of the run.

This module imports neither NumPy nor the compiler at its top: the command line checks its options first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.errors import TrainingError
from tinygrad_mnist.training.recipe.choices import JIT

if TYPE_CHECKING:
    from tinygrad_mnist.training.recipe.models import Costs

COMPILE_COST: Final = 0.6
"""Seconds that it takes to compile a step and an evaluation, where no machine code of them is stored.

This number and the next three were measured once, on one core of a server. On another machine all four differ
by much the same factor.
"""

SAVED_A_STEP: Final = 1e-4
"""Seconds that a compiled step saves in any case: the calls of Python and NumPy that it does without."""

SAVED_A_NUMBER: Final = 1.2e-9
"""Seconds that it saves for each number: what is used up at once is not written to memory between."""

SAVED_A_MULTIPLICATION: Final = 6e-11
"""Seconds that it saves for each multiplication of a convolution: no windows are copied for a matrix product.

Measured: 7 ms of 8.4 for 64 images and two convolutions that have 64 million with their gradients.
"""

SWITCH: Final = "TINYGRAD_MNIST_JIT"
"""The variable of the environment that switches compiling off for a whole process."""


@dataclass(frozen=True)
class JitDecision:
    """The decision whether the steps and the evaluations of a training are compiled.

    Parameters
    ----------
    jit : str
        What was asked for: a name in `JIT`.
    compiled : bool
        Whether they are compiled.
    reason : str
        Why, as the end of a sentence.
    missed : bool
        Whether they would be compiled if that were possible here, so that the user has to be told.
    """

    jit: str
    compiled: bool
    reason: str
    missed: bool = False

    def __str__(self) -> str:
        return f"steps are {'' if self.compiled else 'not '}compiled: {self.reason}"

    def applied(self, function: Callable[..., Any], threads: int) -> Callable[..., Any]:
        """Return a function compiled for a number of threads, or as it is."""
        return compiled(function, threads) if self.compiled else function

    def failed(self, error: Exception) -> JitDecision:
        """Return the decision for a function that turned out to be none that can be compiled.

        Raises
        ------
        Exception
            The error itself, if compiling is required.
        """
        if JIT[self.jit].required:
            raise error
        return replace(self, compiled=False, reason=" ".join(str(error).split()), missed=True)


def work_a_step(costs: Costs, parameters: int, batch_size: int) -> tuple[int, int]:
    """Return about how many numbers a step touches, and how many multiplications its convolutions have.

    The numbers are the parameters, and the inputs and outputs of layers. A convolution is followed by those
    of its two gradients.
    """
    return parameters + batch_size * costs.numbers, 3 * batch_size * costs.convolved


def decide(jit: str, steps: int, numbers: int, convolved: int = 0) -> JitDecision:
    """Decide whether a training is compiled.

    Parameters
    ----------
    jit : str
        A name in `JIT`.
    steps : int
        Steps that are planned.
    numbers, convolved : int
        Numbers that a step touches, and multiplications of its convolutions: see `work_a_step`.

    Returns
    -------
    JitDecision

    Raises
    ------
    TrainingError
        If there is no such choice; or if compiling is required, but switched off or impossible here, as
        without llvmlite.

    Examples
    --------
    >>> print(decide("auto", steps=10, numbers=100_000))
    steps are not compiled: 10 steps of this size save less time than compiling takes
    >>> print(decide("off", steps=10_000, numbers=100_000))
    steps are not compiled: jit is off
    """
    require(jit)
    saved = SAVED_A_STEP + SAVED_A_NUMBER * numbers + SAVED_A_MULTIPLICATION * convolved
    saved_by = f"{count_text(steps, 'step')} of this size {'saves' if steps == 1 else 'save'}"
    worth_it = steps * saved > COMPILE_COST
    if not JIT[jit].compiles(worth_it):
        if JIT[jit].compiles(True):
            reason = f"{saved_by} less time than compiling takes"
            return JitDecision(jit, compiled=False, reason=reason)
        return JitDecision(jit, compiled=False, reason=f"jit is {jit}")
    if _is_switched_off():
        return JitDecision(jit, compiled=False, reason=f"{SWITCH} is 0")
    if problem := _unavailable():
        return JitDecision(jit, compiled=False, reason=problem, missed=True)
    if JIT[jit].compiles(False):
        return JitDecision(jit, compiled=True, reason=f"jit is {jit}")
    reason = f"{saved_by} more time than compiling takes"
    return JitDecision(jit, compiled=True, reason=reason)


def require(jit: str) -> None:
    """Raise an error if there is no such choice, or if it requires what is not to be had here.

    Raises
    ------
    TrainingError
        As `decide` does.
    """
    if jit not in JIT:
        raise TrainingError(f"jit must be one of {', '.join(JIT)}, not {jit!r}")
    if JIT[jit].required and _is_switched_off():
        raise TrainingError(f"jit is {jit}, but {SWITCH} is 0, which switches compiling off; unset it")
    if JIT[jit].required and (problem := _unavailable()):
        raise TrainingError(f"jit is {jit}, but {problem}")


def hindrance() -> str | None:
    """Return why nothing is compiled in this process, in a sentence; None where it can be."""
    return f"{SWITCH} is 0" if _is_switched_off() else _unavailable()


def _is_switched_off() -> bool:
    return os.environ.get(SWITCH) == "0"


def _unavailable() -> str | None:
    """Return why nothing can be compiled here, in a sentence; None where it can."""
    from tinygrad_mnist.compiler.machine import why_unavailable

    return why_unavailable()


def compiled(function: Callable[..., Any], threads: int) -> Callable[..., Any]:
    """Return a function, or a module, compiled for a number of threads."""
    from tinygrad_mnist.compiler.jit import jit

    made: Callable[..., Any] = jit(function, threads=threads)
    return made
