"""Observers of the tape: recorders, which are told all that happens, and hooks on single gradients.

Neither costs anything while it is off: the tape asks once an operation whether a recorder is on, and once a
node whether it has hooks. Recorders nest: all that are on are told, the outermost first. Nothing here knows a
Tensor.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import count
from typing import Any
from weakref import ref

import numpy as np

from tinygrad_mnist.engine.structure import structure_changed


class Recorder:
    """The base class of recorders: each method is called when something happens; subclasses override them.

    What a gradient rule computes inside is not reported: a rule is known by what it returns.
    """

    enters_checkpoints = True
    """True if operations inside a checkpointed function are reported too, the first time and again."""

    tracer: Any = None
    """Of the recorder that compiles a function (`compiler.trace.Tracer`), itself: it stands in for NumPy."""

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        """Note that an operation ran; ``node`` is None where it was not put on the tape."""

    def entered(self, module: Any, given: Any = ()) -> None:
        """Note that a module begins to run with the arguments ``given``, in tuples and dicts."""

    def left(self, module: Any) -> None:
        """Note that a module has run."""

    for_other_values = False
    """True if what is told is run again on other values: a case that is nowhere now may be somewhere then."""

    def called(self, function: Any, args: Any, kwargs: Any) -> None:
        """Note that a NumPy function that is no operation is about to run on Tensors."""

    def evaluated(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Note that a NumPy function whose result needs no gradient ran on the values of Tensors."""

    def read(self, tensor: Any) -> None:
        """Note that somebody reads the values of a Tensor: what becomes of them, nobody can tell."""

    def began(self) -> None:
        """Note that the pass back over the tape begins of which `walked` is told."""

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        """Note that a walk passed ``node`` with cotangent ``g``; its parents' are in one of the two dicts."""

    def pushed(self, node: Any, tangent: Any) -> None:
        """Note that forward mode passed ``node`` and gave its result this tangent."""


class Muted(Recorder):
    """The stand-in for a recorder while a gradient rule runs; it reports nothing."""

    def __init__(self, listener: Recorder) -> None:
        self.listener = listener
        self.tracer = listener.tracer  # what a rule computes is traced, although nobody is told of it

    def read(self, tensor: Any) -> None:
        """Tell the tracer."""
        if self.tracer is not None:
            self.tracer.read(tensor)


class Several(Recorder):
    """The recorders that are on at the same time, as one.

    If one of them raises, the others are told all the same.
    """

    def __init__(self, listeners: Iterable[Recorder]) -> None:
        self.listeners = tuple(dict.fromkeys(listeners))  # each once
        self.tracer = next((one.tracer for one in self.listeners if one.tracer is not None), None)
        self.for_other_values = any(one.for_other_values for one in self.listeners)

    def _tell(self, method: str, *arguments: Any) -> None:
        error: BaseException | None = None
        for listener in self.listeners:
            try:
                getattr(listener, method)(*arguments)
            except BaseException as raised:
                if error is not None:
                    raised.__context__ = error
                error = raised
        if error is not None:
            try:
                raise error
            finally:
                del error  # it holds this frame

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        """Tell all that an operation ran."""
        self._tell("applied", op, arrays, out, node, static)

    def called(self, function: Any, args: Any, kwargs: Any) -> None:
        """Tell all that a NumPy function is about to run on Tensors."""
        self._tell("called", function, args, kwargs)

    def evaluated(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Tell all that a NumPy function ran on the values of Tensors."""
        self._tell("evaluated", function, args, kwargs, result)

    def read(self, tensor: Any) -> None:
        """Tell all that somebody reads the values of a Tensor."""
        self._tell("read", tensor)

    def began(self) -> None:
        """Tell all that a pass back over the tape begins."""
        self._tell("began")

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        """Tell all that a walk passed a node."""
        self._tell("walked", node, g, cotangents, arrived)

    def pushed(self, node: Any, tangent: Any) -> None:
        """Tell all that forward mode passed a node."""
        self._tell("pushed", node, tangent)


recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)
"""The recorder of this thread or task, if any: `Several` where more than one is on."""


def tracer() -> Any:
    """Return what traces the running function in order to compile it; None where nothing does."""
    watching = recorder.get()
    return None if watching is None else watching.tracer


module: ContextVar[Any] = ContextVar("module", default=None)
"""The innermost module that runs; kept up only while a recorder is on."""


def _listeners(of: Recorder | None) -> tuple[Recorder, ...]:
    """Return the recorders that one stands for."""
    if isinstance(of, Several):
        return of.listeners
    return () if of is None else (of,)


def _together(listeners: Iterable[Recorder]) -> Recorder | None:
    """Return one recorder that stands for some."""
    several = Several(listeners)
    return several if len(several.listeners) > 1 else next(iter(several.listeners), None)


@contextmanager
def observed_by(listener: Recorder | None) -> Iterator[None]:
    """Report what happens inside to one recorder, and to no other; None reports to nobody."""
    token = recorder.set(listener)
    try:
        yield
    finally:
        recorder.reset(token)


@contextmanager
def also_observed_by(listener: Recorder) -> Iterator[None]:
    """Report what happens inside to a recorder too, besides those that are on already."""
    with observed_by(_together((*_listeners(recorder.get()), listener))):
        yield


@contextmanager
def unmuted() -> Iterator[None]:
    """Report what happens inside even in a rule: a checkpoint's rule runs a user's function again."""
    listener = recorder.get()
    if isinstance(listener, Muted):
        listener = listener.listener
    with observed_by(
        _together(one if one.enters_checkpoints else Muted(one) for one in _listeners(listener))
    ):
        yield


@contextmanager
def inside(this: Any, given: Any = ()) -> Iterator[None]:
    """Report that a module runs, and with what arguments; a recorder must be on.

    Each recorder that was told that it begins is told that it has run, whatever is raised in between.
    """
    with ExitStack() as ends:
        ends.callback(module.reset, module.set(this))
        for listener in _listeners(recorder.get()):
            listener.entered(this, given)
            ends.callback(listener.left, this)
        yield


_HERE = os.path.dirname(os.path.dirname(__file__)) + os.sep  # the package, not this folder
_NUMPY = os.path.dirname(np.__file__) + os.sep


@cache
def _is_inside(file: str) -> bool:
    """Return whether a file belongs to this package or to NumPy."""
    return file.startswith((_HERE, _NUMPY))


def users_line() -> str:
    """Return the innermost line of the user's: ``train.py:31, in step: loss = np.log(x)``.

    That is the first line, going outwards, that belongs neither to this package nor to NumPy.
    """
    frame = sys._getframe(1)
    while _is_inside(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    name, number = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(name, number, frame.f_globals).strip()
    return f"{name}:{number}, in {frame.f_code.co_name}" + (f": {source}" if source else "")


def line_of(error: BaseException) -> str:
    """Return the innermost line of the user's that an error came through, as `users_line` does."""
    found, trace = "", error.__traceback__
    while trace is not None:
        code, number = trace.tb_frame.f_code, trace.tb_lineno
        if not code.co_filename.startswith((_HERE, _NUMPY)):
            source = linecache.getline(code.co_filename, number, trace.tb_frame.f_globals).strip()
            found = f"{code.co_filename}:{number}, in {code.co_name}" + (f": {source}" if source else "")
        trace = trace.tb_next
    return found


def is_own(function: Any) -> bool:
    """Return whether a function, or what it wraps, is this package's."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and code.co_filename.startswith(_HERE)


Hook = Callable[[Any], Any]

_numbers = count()


class Handle:
    """A registered hook, as `Tensor.register_hook` returns it: removes the hook, and keeps nothing alive."""

    __slots__ = ("_number", "_place")

    def __init__(self, place: Any, number: int) -> None:
        self._place = ref(place)  # weak: a handle that somebody keeps must not keep a tape alive
        self._number = number

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        place = self._place()
        if place is not None and place.hooks:
            place.hooks.pop(self._number, None)
            structure_changed()


def add_hook(place: Any, hook: Hook) -> Handle:
    """Register a hook that sees, and may replace, the gradients that come to a Node or Leaf."""
    number = next(_numbers)
    if place.hooks is None:
        place.hooks = {}
    place.hooks[number] = hook
    return Handle(place, number)


def tensor_hook(hook: Hook, lift: Callable[[Any, Any], Any]) -> Hook:
    """Return a hook on what a walk carries (arrays, or Tensors when it is recorded) from a hook on Tensors.

    Parameters
    ----------
    hook : callable
        Takes a Tensor, returns a Tensor, an array or None.
    lift : callable
        ``lift(array, origin)`` makes Tensors.

    Raises
    ------
    TypeError
        If ``hook`` cannot be called.
    """
    if not callable(hook):
        raise TypeError(
            f"register_hook was given a {type(hook).__name__}; expected a function that takes the gradient"
        )

    def run(g: Any) -> Any:
        recorded = hasattr(g, "origin")  # a Tensor: the walk itself is recorded
        if recorded:
            shown = lift(g.data, g.origin)
        else:
            shown = lift(g.view(), None)
            shown.data.flags.writeable = False  # others hold this gradient too
        given = hook(shown)
        if given is None:
            return g
        given = given if hasattr(given, "origin") else lift(given, None)
        if given.shape != g.shape:
            raise ValueError(f"a hook returned shape {given.shape} for a gradient of shape {g.shape}")
        given = given.astype(g.dtype)  # a copy, so that nobody else holds it
        return given if recorded else given.data

    return run


def run_hooks(place: Any, g: Any) -> Any:
    """Return a gradient after the hooks of a Node or Leaf, which run in the order of registration."""
    for hook in tuple(place.hooks.values()):  # a copy: a hook may register or remove hooks while they run
        g = hook(g)
    return g
