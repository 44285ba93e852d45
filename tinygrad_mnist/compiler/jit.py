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
from functools import update_wrapper
from threading import RLock
from types import MethodType
from typing import Any, Final, overload
from weakref import ref

import numpy as np

from tinygrad_mnist.compiler import machine
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.compiler.executable import Executable, build
from tinygrad_mnist.compiler.optimizers import pattern
from tinygrad_mnist.compiler.slots import DrawSlot
from tinygrad_mnist.compiler.trace import Result, RunsEagerly, Traced, trace
from tinygrad_mnist.engine.observe import recorder
from tinygrad_mnist.engine.tape import Leaf, mark_written, recording
from tinygrad_mnist.engine.tensor import Tensor, _wrapped
from tinygrad_mnist.engine.tree import flatten, unflatten

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


class _Entry:
    """A program, and what has to hold so that it may stand for the function."""

    def __init__(self, traced: Traced, executable: Executable) -> None:
        self.traced = traced
        self.executable = executable
        self.is_tensor: list[bool] = []  # of each result: a Tensor, or an array
        self.draws = [slot for slot in traced.slots if isinstance(slot, DrawSlot)]
        self.origins = [(slot.tensor, slot.tensor.origin) for slot in traced.slots if hasattr(slot, "tensor")]
        self.defaults = {
            id(group): optimizer.defaults
            for optimizer in traced.optimizers
            for group in optimizer.param_groups
        }
        self.looks = [(value.shape, value.dtype) for value in traced.program.inputs]

    def misfit(self, leaves: Sequence[Any]) -> str | None:
        """Return what does not fit a call, or None."""
        traced = self.traced
        for place, present in traced.presence:
            leaf = leaves[place].origin if isinstance(place, int) else place
            if (leaf.grad is not None) is not present:
                which = f"argument {place}" if isinstance(place, int) else place.name or "a Tensor"
                return f"the gradient of {which} was {'present' if present else 'None'}, and is not any more"
        for tensor, origin in self.origins:
            if tensor.origin is not origin:
                return f"requires_grad of {getattr(tensor._leaf, 'name', None) or 'a Tensor'} was changed"
        for leaf in traced.leaves:
            if leaf.hooks:
                return f"{leaf.name or 'a Tensor'} has got a hook"
        for group, before in traced.options:
            if pattern(group, self.defaults[id(group)]) != before:
                return "an option of the optimiser became 0 or is no longer, or a flag of it changed"
        return None

    def is_first_step(self) -> bool:
        """Return whether an optimiser has noted nothing for a parameter yet: its first step is another one."""
        return any(
            flat.progress[position] is None
            for flat, positions, tree in self.traced.progress
            if tree is not None
            for position in positions
        )

    def arrays(self, leaves: Sequence[Any]) -> list[Any]:
        """Return what the program reads; generators draw now."""
        return [slot.fetch(leaves) for slot in self.traced.slots]

    def fits(self, arrays: Sequence[Any]) -> bool:
        """Return whether arrays have the shapes, dtypes and strides of the inputs."""
        return all(
            array.shape == shape and array.dtype == dtype and array.strides == strides
            for array, (shape, dtype), strides in zip(
                arrays, self.looks, self.traced.program.strides, strict=True
            )
        )

    def run(self, leaves: Sequence[Any]) -> tuple[bool, Any]:
        """Run the program, and leave behind what the function does: whether it could, and what it returns."""
        traced = self.traced
        before = [slot.make(slot.rng).bit_generator.state for slot in self.draws]
        for optimizer in traced.optimizers:
            for group in optimizer._flat_groups:
                group.adopt()
        arrays = self.arrays(leaves)
        scalars = [slot.fetch(leaves) for slot in traced.scalars]
        result = self.executable(arrays, scalars) if self.fits(arrays) else None
        if result is None:
            for slot, state in zip(self.draws, before, strict=True):
                slot.make(slot.rng).bit_generator.state = state
            return False, None
        return True, self._committed(leaves, *result)

    def _committed(self, leaves: Sequence[Any], outputs: Sequence[Any], numbers: Sequence[float]) -> Any:
        """Put what the program computed where the function would have put it."""
        traced = self.traced
        if traced.written:
            mark_written(traced.written)
        for place, position in traced.gradients:
            leaf: Leaf = leaves[place].origin if isinstance(place, int) else place
            leaf.grad = None if position is None else _wrapped(outputs[position])
        for tensor, position in traced.assigned:
            tensor._array = outputs[position]
        for flat, positions, tree in traced.progress:
            noted = _noted(tree, numbers)
            for index in positions:
                flat.progress[index] = noted
        for schedule in traced.schedules:
            schedule.step()
        found = []
        for number, result in enumerate(traced.results):
            if result.kind == "output":
                array = outputs[result.position]
                found.append(_wrapped(array) if self.is_tensor[number] else array)
            else:
                found.append(numbers[result.position] if result.kind == "number" else result.object)
        return unflatten(traced.structure, found)


def _noted(tree: Any, numbers: Sequence[float]) -> Any:
    """Return what an optimiser notes, with the numbers of the program in their places."""
    if isinstance(tree, Result):
        return tree.object(numbers[tree.position])
    if isinstance(tree, tuple):
        parts = [_noted(part, numbers) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return tree


class Jitted:
    """A function that is compiled when it is called; see `jit`."""

    def __init__(self, function: Callable[..., Any], fail_on_recompile: bool, threads: int | None) -> None:
        update_wrapper(self, function)
        self._function = function
        self._options = fail_on_recompile, threads
        self._entries: dict[Any, list[_Entry]] = {}
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
            self._entries.clear()
            self._eager.clear()
            self.compilations.clear()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if recorder.get() is not None or not _is_on():
            return self._function(*args, **kwargs)
        leaves, structure, key = _signature(args, kwargs)
        with self._lock:
            if key in self._eager:
                return self._function(*args, **kwargs)
            why = "first call" if not self.compilations else "the arguments have other shapes or dtypes"
            for entry in self._entries.get(key, ()):
                why = entry.misfit(leaves) or ""
                if not why:
                    if entry.is_first_step():
                        return self._function(*args, **kwargs)
                    done, result = entry.run(leaves)
                    return result if done else self._function(*args, **kwargs)
            return self._first(args, kwargs, leaves, structure, key, why)

    def _first(self, args: Any, kwargs: Any, leaves: Any, structure: Any, key: Any, why: str) -> Any:
        """Compile a call that no program fits, and run it as it is."""
        fail_on_recompile, threads = self._options
        if fail_on_recompile and self.compilations:
            raise JitError(f"{self!r} was to be compiled once, and would be again: {why}")
        if len(self.compilations) >= PROGRAMS:
            if len(self.compilations) == PROGRAMS:
                warnings.warn(
                    f"{self!r}: calls that none of its programs fits run as they are from now on; the last one "
                    f"was compiled since {why}",
                    stacklevel=3,
                )
            self._eager[key] = "too many programs"
            return self._function(*args, **kwargs)
        start = time.perf_counter()
        try:
            entry = self._compiled(leaves, structure, threads)
        except RunsEagerly as error:
            self._eager[key] = str(error)
            return self._function(*args, **kwargs)
        self.compilations.append(Compilation(_describe(leaves), why, time.perf_counter() - start))
        self._entries.setdefault(key, []).append(entry)
        result = self._function(*args, **kwargs)
        entry.is_tensor = [isinstance(leaf, Tensor) for leaf in flatten(result)[0]]
        return result

    def _compiled(self, leaves: Any, structure: Any, threads: int | None) -> _Entry:
        with _lock:
            traced = trace(self._function, leaves, structure)
        if traced.on_tape:
            raise RunsEagerly(
                "what it returns is on the tape; take the gradient inside, or call it under no_grad"
            )
        return _Entry(traced, build(traced.program, threads=threads or 1))


def _restored(function: Callable[..., Any], fail_on_recompile: bool, threads: int | None) -> Jitted:
    return Jitted(function, fail_on_recompile, threads)


def _is_on() -> bool:
    return os.environ.get("TINYGRAD_MNIST_JIT", "1") != "0" and machine.available()


def _signature(args: Any, kwargs: Any) -> tuple[list[Any], Any, Any]:
    leaves, structure = flatten((args, kwargs))
    parts = tuple(
        (leaf.shape, leaf.dtype.str, leaf.strides, type(leaf.origin))
        if isinstance(leaf, Tensor)
        else (leaf.shape, leaf.dtype.str, leaf.strides)
        if isinstance(leaf, np.ndarray)
        else (type(leaf), leaf if isinstance(leaf, (int, float, str, bool)) else id(leaf))
        for leaf in leaves
    )
    return leaves, structure, (repr(structure), parts, recording.get())


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
