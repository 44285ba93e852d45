"""``jit``: a function that is traced at its first call, and replayed as machine code afterwards.

A call looks for a program that fits its arguments and surroundings. If there is none, the call is traced to
one, and then runs as it is. Otherwise the program gets what it reads (arguments, parameters, states, numbers,
draws) and leaves behind what the function would: values, gradients, states, counts. If a program finds NaN in
a gradient, or a condition that does not hold, it has changed nothing, and the call runs as it is: with the
engine's care, and with its errors.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, update_wrapper
from threading import RLock
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, overload
from weakref import ref

import numpy as np

from tinygrad_mnist.compiler import machine
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.compiler.executable import build
from tinygrad_mnist.compiler.facts import differences
from tinygrad_mnist.compiler.generators import kept_generators
from tinygrad_mnist.compiler.keys import Guards, modes, reason, signature
from tinygrad_mnist.compiler.replay import NotNow, Replay
from tinygrad_mnist.compiler.source import find
from tinygrad_mnist.compiler.trace import RunsEagerly, trace
from tinygrad_mnist.engine.observe import is_own, line_of, recorder
from tinygrad_mnist.engine.random_state import is_replay
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten

if TYPE_CHECKING:
    from tinygrad_mnist.compiler.explain import Explanation

PROGRAMS: Final = 32
"""Programs that one function keeps. Calls that fit none of them then run as they are."""

_lock = RLock()  # one function is traced at a time, as tracing puts symbols into parameters for a moment


@dataclass(frozen=True)
class Compilation:
    """A record of one compile.

    Attributes
    ----------
    signature : str
        The shapes and dtypes of the arguments.
    reason : str
        Why it was needed.
    seconds : float
        How long it took.
    """

    signature: str
    reason: str
    seconds: float


class Jitted:
    """A function that is compiled when it is called; see `jit`."""

    def __init__(self, function: Callable[..., Any], fail_on_recompile: bool, threads: int | None) -> None:
        update_wrapper(self, function)
        self._function = function
        self._options = fail_on_recompile, threads
        self._guards: dict[Any, Guards] = {}  # by the signature of the arguments
        self._replays: dict[Any, list[Replay]] = {}  # by the whole key
        self._said: set[str] = set()
        self._eager: dict[Any, str] = {}  # keys of calls that run as they are, and why
        self._methods: dict[int, tuple[Any, Jitted]] = {}
        self._lock = RLock()
        self.compilations: list[Compilation] = []

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        known = self._methods.get(id(instance))
        if known is None or known[0]() is not instance:
            methods, number = self._methods, id(instance)
            bound = Jitted(MethodType(self._function, instance), *self._options)
            try:
                known = ref(instance, lambda _: methods.pop(number, None)), bound
            except TypeError:  # it has no place for weak references
                known = (lambda: instance), bound
            self._methods[number] = known
        return known[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._function, *self._options)

    def __deepcopy__(self, memo: Any) -> Jitted:
        return Jitted(self._function, *self._options)

    def __repr__(self) -> str:
        return f"<jit {getattr(self, '__qualname__', self._function)}, {len(self.compilations)} compilations>"

    def clear(self) -> None:
        """Forget all programs."""
        with self._lock:
            self._guards.clear()
            self._replays.clear()
            self._eager.clear()
            self.compilations.clear()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the function does: by a program that fits the call, or as it is."""
        if recorder.get() is not None or is_replay() or not is_on():
            return self._function(*args, **kwargs)
        leaves, structure, given = signature(args, kwargs)
        with self._lock:
            guards = self._guards.get(given)
            if guards is not None:
                key = given, guards.key(), modes()
                why = self._eager.get(key)
                if why is not None:
                    return self._function(*args, **kwargs)
                why = None
                try:
                    for replay in self._replays.get(key, ()):
                        why = replay.misfit(leaves)
                        if why is None:
                            return replay.run(leaves)
                except NotNow:
                    return self._function(*args, **kwargs)
            else:
                why = None
            return self._first(args, kwargs, leaves, structure, given, why)

    def _first(self, args: Any, kwargs: Any, leaves: Any, structure: Any, given: Any, why: str | None) -> Any:
        """Compile a call that no program fits, and run it as it is."""
        fail_on_recompile = self._options[0]
        if given not in self._guards:
            self._check_source()
            self._guards[given] = Guards(self._function, args, kwargs)
        key = given, self._guards[given].key(), modes()
        why = why or reason(key, [*self._replays, *self._eager], self._function)
        if self.compilations and fail_on_recompile:
            raise JitError(f"{self._name} would be compiled again, and fail_on_recompile is set: {why}")
        if len(self.compilations) >= PROGRAMS:
            self._warn(
                f"has {PROGRAMS} programs; calls that fit none of them run as they are, the last since {why}"
            )
            self._eager[key] = "too many programs"
            return self._function(*args, **kwargs)
        start = time.perf_counter()
        try:
            replay = self._compiled(args, kwargs, leaves, structure, self._guards[given])
        except RunsEagerly as error:
            self._eager[key] = str(error)
            return self._function(*args, **kwargs)
        except JitError:
            raise
        except Exception as error:
            self._function(*args, **kwargs)  # raises what it raises, if it is wrong by itself
            raise JitError(
                f"{self._name} cannot be traced at {line_of(error)}: there, arrays are Tensors. {error}"
            ) from error
        self.compilations.append(Compilation(_describe(leaves), why, time.perf_counter() - start))
        self._replays.setdefault(key, []).append(replay)
        result = self._function(*args, **kwargs)
        replay.is_tensor = [isinstance(leaf, Tensor) for leaf in flatten(result)[0]]
        return result

    def _check_source(self) -> None:
        """Raise for what the source of the function shows, and a replay would drop or freeze."""
        findings = [] if is_own(self._function) else find(self._function)
        if findings:
            raise JitError(f"{self._name} cannot be compiled: {findings[0]}")

    @property
    def _name(self) -> str:
        return getattr(self, "__qualname__", None) or type(self._function).__name__

    def _warn(self, text: str) -> None:
        """Say something once."""
        if text.split(";")[0] not in self._said:
            self._said.add(text.split(";")[0])
            warnings.warn(f"{self._name} {text}", stacklevel=4)

    def _compiled(self, args: Any, kwargs: Any, leaves: Any, structure: Any, guards: Guards) -> Replay:
        """Return the program of a call, which has not run."""
        with _lock, kept_generators(self._function):
            before = guards.key()
            traced = trace(self._function, leaves, structure)
            if guards.key() != before:
                changed = differences(before.facts, guards.key().facts)
                raise JitError(f"{self._name} changes what it reads itself, which a replay would not: {changed[0]}")
        if traced.on_tape:
            raise RunsEagerly(
                "what it returns is on the tape; take the gradient inside, or call it under no_grad"
            )
        executable = build(traced.program, threads=self._options[1] or 1)
        executable.refuses_overlaps = True
        return Replay(traced, executable)

    def explain(self, *args: Any, **kwargs: Any) -> Explanation:
        """Return what a call with these arguments runs, to be printed or drawn; nothing changes.

        Parameters
        ----------
        *args, **kwargs
            The arguments of the call. The pieces are timed if it has a program already: so call the function
            first.

        Returns
        -------
        Explanation
            To be printed: the loops, products, memory and checks. ``.graph()`` draws it.

        Raises
        ------
        JitError
            If the call cannot be compiled, or runs as it is; the message says why.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_mnist import jit
        >>> f = jit(lambda x: np.exp(x) + 1)
        >>> print(str(f.explain(np.zeros(3))).splitlines()[0])
        2 instructions in 1 loop
        """
        if not is_on():
            raise JitError(f"{self._name} runs as it is, as jit is off: there is no program")
        leaves, structure, given = signature(args, kwargs)
        with self._lock:
            guards = self._guards.get(given) or Guards(self._function, args, kwargs)
            try:
                for replay in self._replays.get((given, guards.key(), modes()), ()):
                    if replay.misfit(leaves) is None:
                        return replay.explain(leaves)
                return self._compiled(args, kwargs, leaves, structure, guards).explain()
            except (NotNow, RunsEagerly) as error:
                raise JitError(f"{self._name} runs as it is: {error}") from None


def _restored(function: Callable[..., Any], fail_on_recompile: bool, threads: int | None) -> Jitted:
    return Jitted(function, fail_on_recompile, threads)


@cache
def is_on() -> bool:
    """Return whether functions are compiled; say it once if they are not for want of llvmlite."""
    if os.environ.get("TINYGRAD_MNIST_JIT", "1") == "0":
        return False
    if machine.available():
        return True
    warnings.warn(
        "jit compiles with llvmlite, which is not installed, so functions run as they are; it comes with the "
        "extra jit: pip install 'tinygrad_mnist[jit]'",
        stacklevel=3,
    )
    return False


def _describe(leaves: Sequence[Any]) -> str:
    return ", ".join(
        f"{leaf.dtype}{list(leaf.shape)}" if isinstance(leaf, (Tensor, np.ndarray)) else repr(leaf)
        for leaf in leaves
    )


@overload
def jit(f: Callable[..., Any], *, fail_on_recompile: bool = ..., threads: int | None = ...) -> Jitted: ...


@overload
def jit(
    f: None = None, *, fail_on_recompile: bool = ..., threads: int | None = ...
) -> Callable[[Callable[..., Any]], Jitted]: ...


def jit(
    f: Callable[..., Any] | None = None, *, fail_on_recompile: bool = False, threads: int | None = None
) -> Any:
    """Return a function that computes what ``f`` does as one compiled program.

    Parameters
    ----------
    f : callable
        A training step, a model, or a function of arrays in nested dicts, lists and tuples. It may change
        parameters, gradients, buffers and optimisers of this package; what it decides must not depend on
        values of arrays.
    fail_on_recompile : bool
        Whether to raise where a second program would be compiled.
    threads : int, optional
        The number of threads that share the work; 1 when absent.

    Returns
    -------
    Jitted
        It is called as ``f`` is. ``explain(...)`` says what its program does, ``compilations`` lists what was
        compiled and why, and ``clear()`` forgets it.

    Raises
    ------
    JitError
        When called, if ``f`` does what cannot be replayed; the message names the line.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import grad, jit
    >>> slope = jit(grad(lambda x: np.sum(np.tanh(x) ** 2)))
    >>> slope(np.array([0.0, 0.5])).round(4), slope(np.array([0.0, 0.5])).round(4)
    (array([0.    , 0.7269]), array([0.    , 0.7269]))
    """
    if f is None:
        return lambda function: jit(function, fail_on_recompile=fail_on_recompile, threads=threads)
    if not callable(f):
        raise TypeError(f"jit was given a {type(f).__name__}; expected a function, a method or a module")
    return Jitted(f, fail_on_recompile, threads)
