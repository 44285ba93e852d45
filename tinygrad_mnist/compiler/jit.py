"""``jit``: a function that is traced at its first call, and runs as machine code from then on.

A call looks for a program that fits its arguments and surroundings. If there is none, the call is traced to
one. The program gets what it reads (arguments, parameters, states, numbers, draws) and leaves behind what the
function would: values, gradients, states, counts. If a program finds NaN in a gradient, or a condition that
does not hold, it has changed nothing, and the call runs as it is: with the engine's care and its errors.

So what a call computes depends on the state that it finds, to the last bit, and not on the calls before it:
a training that goes on in another process rounds as if it had never stopped.
"""

from __future__ import annotations

import copy
import inspect
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, update_wrapper
from operator import is_
from threading import RLock, get_ident
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, overload
from weakref import WeakSet, ref

import numpy as np

from tinygrad_mnist.compiler import machine
from tinygrad_mnist.compiler.collection import too_large
from tinygrad_mnist.compiler.errors import JitError, RunsEagerly
from tinygrad_mnist.compiler.executable import build
from tinygrad_mnist.compiler.facts import Same, differences
from tinygrad_mnist.compiler.generators import kept_generators
from tinygrad_mnist.compiler.inputs import NotNow
from tinygrad_mnist.compiler.keys import Keys, reason
from tinygrad_mnist.compiler.replay import Replay
from tinygrad_mnist.compiler.source import find
from tinygrad_mnist.compiler.trace import trace
from tinygrad_mnist.compiler.trial import can_be_tried, trial
from tinygrad_mnist.compiler.usual import MISS, usual_call
from tinygrad_mnist.engine.observe import is_own, line_of, recorder
from tinygrad_mnist.engine.random_state import is_replay
from tinygrad_mnist.engine.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_mnist.compiler.explain import Explanation

PROGRAMS: Final = 32
"""Programs that one function keeps. Calls that fit none of them then run as they are."""

_QUIET: Final = frozenset({"ignore", "warn"})

_lock = RLock()  # one function is traced at a time, as tracing puts symbols into parameters for a moment
_tracing_thread: int | None = None  # the thread that traces, for which symbols stand in parameters
_all: WeakSet[Jitted] = WeakSet()


def _after_fork() -> None:
    """Give a child locks of its own: who held one of the parent's is not there to let go of it."""
    global _lock, _tracing_thread
    _lock, _tracing_thread = RLock(), None
    for jitted in _all:
        jitted._renew_locks()


if hasattr(os, "register_at_fork"):
    # A child that is forked while a function is traced would find symbols in its parameters.
    os.register_at_fork(
        before=lambda: _lock.acquire(),
        after_in_parent=lambda: _lock.release(),
        after_in_child=_after_fork,
    )


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

    def __init__(
        self, function: Callable[..., Any], fail_on_recompile: bool, threads: int | None, instance: Any = None
    ) -> None:
        self.__qualname__ = type(function).__name__  # of a module or an object, which has no name of its own
        update_wrapper(self, function, updated=())  # not with the attributes of a module
        self._own = function
        self._instance = instance  # returns the object whose method the function is
        self._options = fail_on_recompile, threads
        self._keys = Keys(self._function)
        self._replays: dict[Any, list[Replay]] = {}  # by the key of the call
        self._eager: dict[Any, str] = {}  # keys of calls that run as they are, and why
        self._eager_tensors: set[Any] = set()  # keys with the Tensors of a call that runs as it is for them
        self._usual: Callable[[tuple[Any, ...]], Any] | None = None  # for a call that is like the last
        self._last: Replay | None = None  # what that call runs by
        self._said: set[str] = set()
        self._methods: dict[int, tuple[Any, Jitted]] = {}
        self._lock = RLock()
        self.compilations: list[Compilation] = []
        _all.add(self)

    def _renew_locks(self) -> None:
        self._lock = RLock()
        for replays in self._replays.values():
            for replay in replays:
                replay.executable.renew_lock()

    @property
    def _function(self) -> Callable[..., Any]:
        return self._own if self._instance is None else MethodType(self._own, self._instance())

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        known = self._methods.get(id(instance))
        if known is None or known[0]() is not instance:
            # By a weak reference, so that the method does not keep its object alive.
            methods, number = self._methods, id(instance)
            try:
                held = ref(instance, lambda _: methods.pop(number, None))
            except TypeError:  # it has no place for one
                return Jitted(MethodType(self._own, instance), *self._options)
            known = self._methods[number] = held, Jitted(self._own, *self._options, instance=held)
        return known[1]

    def __reduce__(self) -> Any:
        if self._instance is None and _is_global(self):
            return self.__qualname__  # by its name, as functions are
        return _restored, (self._function, *self._options)

    def __copy__(self) -> Jitted:
        return Jitted(self._function, *self._options)

    def __deepcopy__(self, memo: Any) -> Jitted:
        return Jitted(copy.deepcopy(self._function, memo), *self._options)

    def __repr__(self) -> str:
        return f"<jit {self.__qualname__}, {len(self.compilations)} compilations>"

    def clear(self) -> None:
        """Forget all programs."""
        with self._lock:
            self._keys = Keys(self._function)
            self._replays.clear()
            self._usual = None
            self._eager.clear()
            self._eager_tensors.clear()
            self.compilations.clear()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the function does: by a program that fits the call, or as it is."""
        if recorder.get() is not None or is_replay() or not is_on():
            return self._function(*args, **kwargs)
        if _tracing_thread is not None and _tracing_thread != get_ident():
            with _lock:  # wait until the parameters have their arrays back
                pass
        with self._lock:
            try:
                if self._usual is not None and not kwargs and (result := self._usual(args)) is not MISS:
                    return result
            except NotNow:
                if self._last is not None and self._last.executable.has_exchanged:
                    return self._as_it_is(self._last, args, kwargs)
                # the long way finds it, too, and knows what to do then
            leaves, structure, key = self._keys(args, kwargs)
            if key in self._eager or (
                self._eager_tensors and (key, _tensors_in(leaves)) in self._eager_tensors
            ):
                return self._function(*args, **kwargs)
            why = None
            for replay in self._replays.get(key, ()):
                result, why = self._by(replay, args, kwargs, leaves)
                if why is None:
                    return result
            return self._first(args, kwargs, leaves, structure, key, why)

    def prepare(self, *args: Any, **kwargs: Any) -> bool:
        """Compile a call that no program fits, without running it; return whether it will run by a program.

        Where several processes make the call together, they can agree before the first exchange in it.

        Raises
        ------
        JitError
            If it cannot be compiled. An error that the function may have by itself shows when it is called.
        """
        if recorder.get() is not None or is_replay() or not is_on():
            return False
        with self._lock:
            leaves, structure, key = self._keys(args, kwargs)
            why = None
            for replay in self._replays.get(key, ()):
                if (why := replay.misfit(leaves)) is None:
                    return True
            if len(self.compilations) >= PROGRAMS:
                return False
            why = why or reason(key, [*self._replays, *self._eager], self._function)
            try:
                self._make(args, kwargs, leaves, structure, key, why)
            except JitError:
                raise
            except Exception:
                return False
            return True

    def _by(self, replay: Replay, args: Any, kwargs: Any, leaves: Any) -> tuple[Any, str | None]:
        """Return the result of a call, by a program or as it is; or None, and why the program misfits."""
        try:
            why = replay.misfit(leaves)
            if why is None and replay.kinds is None:
                self._try(replay, args, kwargs, leaves)
                why = replay.misfit(leaves)
            if why is not None:
                return None, why
            result = replay.run(leaves)
        except NotNow:
            return self._as_it_is(replay, args, kwargs), None
        self._usual = None if kwargs else usual_call(args, self._keys.last, replay)
        self._last = replay
        return result, None

    def _as_it_is(self, replay: Replay, args: Any, kwargs: Any) -> Any:
        """Return the result of a call whose program does not hold: then other processes do the same."""
        replay.executable.refuse()
        return replay.observed(self._function(*args, **kwargs))

    def _try(self, replay: Replay, args: Any, kwargs: Any, leaves: Any) -> None:
        """Let the function run for the types of its results alone."""
        if not can_be_tried(replay.traced):
            raise NotNow("of what types its results are is seen when it returns")
        with trial(replay.traced, leaves):
            replay.observed(self._function(*args, **kwargs))

    def _first(self, args: Any, kwargs: Any, leaves: Any, structure: Any, key: Any, why: str | None) -> Any:
        """Compile a call that no program fits, and run it by its program."""
        why = why or reason(key, [*self._replays, *self._eager], self._function)
        if self.compilations and self._options[0]:
            raise JitError(f"{self._name} would be compiled again, and fail_on_recompile is set: {why}")
        if len(self.compilations) >= PROGRAMS:
            self._say(
                f"has {PROGRAMS} programs; calls that fit none of them run as they are, the last since {why}"
            )
            return self._function(*args, **kwargs)
        try:
            replay = self._make(args, kwargs, leaves, structure, key, why)
        except RunsEagerly as error:
            self._note_eager(key, leaves, error)
            if error.is_said:
                self._say(f"runs as it is: {error}")
            return self._function(*args, **kwargs)
        except JitError:
            raise
        except Exception as error:
            self._function(*args, **kwargs)  # raises what it raises, if it is wrong by itself
            raise JitError(
                f"{self._name} cannot be traced at {line_of(error)}: there, arrays are Tensors. {error}"
            ) from error
        result, why = self._by(replay, args, kwargs, leaves)
        if why is not None:  # another thread has changed something since
            return replay.observed(self._function(*args, **kwargs))
        return result

    def _make(self, args: Any, kwargs: Any, leaves: Any, structure: Any, key: Any, why: str) -> Replay:
        """Compile a call, and keep its program."""
        start = time.perf_counter()
        self._check_source()
        replay = self._compiled(args, kwargs, leaves, structure)
        self.compilations.append(Compilation(_describe(leaves), why, time.perf_counter() - start))
        self._replays.setdefault(key, []).append(replay)
        return replay

    def _note_eager(self, key: Any, leaves: Any, error: RunsEagerly) -> None:
        """Note that calls such as this one run as they are."""
        if error.is_often:
            if len(self._eager) >= 4 * PROGRAMS:  # the oldest is looked at again when it comes again
                del self._eager[next(iter(self._eager))]
            self._eager[key] = str(error)
            return
        if len(self._eager_tensors) >= 4 * PROGRAMS:
            self._eager_tensors.clear()
        self._eager_tensors.add((key, _tensors_in(leaves)))

    def _check_source(self) -> None:
        """Raise for what the source of the function shows, and a replay would drop or freeze."""
        with _lock:  # Python 3.11 cannot parse in two threads at once, if garbage is collected meanwhile
            findings = [] if is_own(self._function) else find(self._function)
        findings.sort(key=lambda finding: finding.is_question)
        if findings and findings[0].is_question:
            raise RunsEagerly(str(findings[0]), is_said=True)
        if findings:
            raise JitError(f"{self._name} cannot be compiled: {findings[0]}")

    @property
    def _name(self) -> str:
        return self.__qualname__

    def _say(self, text: str) -> None:
        """Say something once."""
        begin = text.split(";")[0]
        if begin not in self._said:
            self._said.add(begin)
            warnings.warn(f"{self._name} {text}", stacklevel=4)

    def _compiled(self, args: Any, kwargs: Any, leaves: Any, structure: Any) -> Replay:
        """Return the program of a call, which has not run."""
        if not _QUIET.issuperset(np.geterr().values()):
            raise RunsEagerly("np.errstate raises or calls, at the operation that is at fault")
        function, guards = self._function, self._keys.guards(args, kwargs, leaves)
        with _lock, _traced_here(), kept_generators(function):
            before = guards.key()
            if (what := too_large(before.facts)) is not None:
                raise RunsEagerly(f"{what}, too large to be compared at each call", is_said=True)
            traced = trace(function, leaves, structure, guards.collected())
            if guards.key() != before:
                (changed, *_) = differences(before.facts, guards.key().facts)
                raise JitError(f"{self._name} changes what it reads, which a replay would not do: {changed}")
            if _adopted(traced.optimizers):
                traced = trace(function, leaves, structure, guards.collected())
        if traced.on_tape:
            raise RunsEagerly(
                "what it returns is on the tape; take the gradient inside, or call it under no_grad"
            )
        executable = build(traced.program, threads=self._options[1] or 1, refuses_overlaps=True)
        return Replay(traced, executable, leaves)

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
        with self._lock:
            leaves, structure, key = self._keys(args, kwargs)
            try:
                for replay in self._replays.get(key, ()):
                    if replay.misfit(leaves) is None:
                        return replay.explain(leaves)
                self._check_source()
                return self._compiled(args, kwargs, leaves, structure).explain()
            except (NotNow, RunsEagerly) as error:
                raise JitError(f"{self._name} runs as it is: {error}") from None


@contextmanager
def _traced_here() -> Iterator[None]:
    """Note that this thread traces a function."""
    global _tracing_thread
    before, _tracing_thread = _tracing_thread, get_ident()
    try:
        yield
    finally:
        _tracing_thread = before


def _is_global(jitted: Jitted) -> bool:
    """Return whether a jitted function is what its name stands for in its module."""
    found: Any = sys.modules.get(jitted.__module__)
    for name in jitted.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is jitted


def _adopted(optimizers: Sequence[Any]) -> bool:
    """Take over parameters that were replaced, as an optimiser's step does; return whether some were."""
    found = False
    for group in (group for optimizer in optimizers for group in optimizer._flat_groups):
        before, arrays = group.flats, [parameter._array for parameter in group.parameters]
        group.adopt()
        after = [parameter._array for parameter in group.parameters]
        found |= group.flats is not before or not all(map(is_, arrays, after))
    return found


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


def _tensors_in(leaves: Sequence[Any]) -> tuple[Same, ...]:
    """Return which Tensors there are among the arguments."""
    return tuple(Same(leaf) for leaf in leaves if isinstance(leaf, Tensor))


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
        The number of threads that share the work; 1 when absent. Two or more give the bits of one, if BLAS
        has one thread (`set_threads`): a product that BLAS multiplies runs on the threads that BLAS has, and
        on one where the work is shared.

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
    if inspect.isgeneratorfunction(f) or inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f):
        raise TypeError(f"jit was given {f.__qualname__}, whose body runs after the call; give it a function")
    if not isinstance(fail_on_recompile, bool):
        raise TypeError(f"fail_on_recompile={fail_on_recompile!r} was given; expected True or False")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ValueError(f"threads={threads!r} was given; expected a whole number of at least 1, or None")
    return Jitted(f, fail_on_recompile, threads)
