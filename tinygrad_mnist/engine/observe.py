"""Observers of the tape: recorders, which are told all that happens, and hooks on single gradients.

Neither costs anything while it is off: the tape asks once an operation whether a recorder is on, and once a
node whether it has hooks. Nothing here knows a Tensor.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any
from weakref import ref

import numpy as np


class Recorder:
    """The base class of recorders: each method is called when something happens; subclasses override them.

    What a gradient rule computes inside is not reported: a rule is known by what it returns.
    """

    enters_checkpoints = True
    """True if operations inside a checkpointed function are reported too, the first time and again."""

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        """Note that an operation ran; ``node`` is None where it was not put on the tape."""

    def entered(self, module: Any, given: Any = ()) -> None:
        """Note that a module begins to run with the arguments ``given``, in tuples and dicts."""

    def left(self, module: Any) -> None:
        """Note that a module has run."""

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


recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)
"""The recorder of this thread or task, if any."""

module: ContextVar[Any] = ContextVar("module", default=None)
"""The innermost module that runs; kept up only while a recorder is on."""


@contextmanager
def observed_by(listener: Recorder | None) -> Iterator[None]:
    """Report to a recorder what happens inside; None reports to nobody."""
    token = recorder.set(listener)
    try:
        yield
    finally:
        recorder.reset(token)


@contextmanager
def unmuted() -> Iterator[None]:
    """Report what happens inside even in a rule: a checkpoint's rule runs a user's function again."""
    listener = recorder.get()
    if isinstance(listener, Muted):
        listener = listener.listener
    with observed_by(listener if listener is None or listener.enters_checkpoints else Muted(listener)):
        yield


@contextmanager
def inside(this: Any, given: Any = ()) -> Iterator[None]:
    """Report that a module runs, and with what arguments; a recorder must be on."""
    listener = recorder.get()
    assert listener is not None
    token = module.set(this)
    listener.entered(this, given)
    try:
        yield
    finally:
        listener.left(this)
        module.reset(token)


_HERE = os.path.dirname(os.path.dirname(__file__)) + os.sep  # the package, not this folder
_NUMPY = os.path.dirname(np.__file__) + os.sep


def users_line() -> str:
    """Return the innermost line of the user's: ``train.py:31, in step: loss = np.log(x)``.

    That is the first line, going outwards, that belongs neither to this package nor to NumPy.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_HERE, _NUMPY)):
        frame = frame.f_back
    name, number = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(name, number, frame.f_globals).strip()
    return f"{name}:{number}, in {frame.f_code.co_name}" + (f": {source}" if source else "")


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
