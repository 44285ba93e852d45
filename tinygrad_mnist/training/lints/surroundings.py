"""The surroundings of a model: what user code holds outside of it is put back after a look."""

from __future__ import annotations

import operator
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from inspect import isclass, isfunction, ismethod, ismodule
from io import IOBase
from types import CodeType, MemberDescriptorType
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.tensor import Tensor

LEVELS: Final = 8
"""The steps from a function to what it holds."""

MOST_OBJECTS: Final = 1000
"""The objects around a function that are looked into: the nearest."""

MOST_BYTES: Final = 1 << 20
"""The size of an array up to which its values are kept."""

MOST_BYTES_IN_ALL: Final = 32 * MOST_BYTES

LIBRARIES: Final = sys.stdlib_module_names | {"builtins", "numpy", "tinygrad_mnist"}
"""Packages whose functions, classes and modules keep nothing that a training depends on."""

LEFT_ALONE: Final = (str, bytes, int, float, complex, type(None), IOBase)

Place = tuple[Callable[[Any], None], Callable[[], Any], Any]
"""How a variable is restored and read, and what it held."""


class NotKeptError(Exception):
    """User code draws from an iterator, which cannot be put back."""


@contextmanager
def kept_surroundings(code: Iterable[Any]) -> Iterator[None]:
    """Give the variables around functions and classes of the user's what they had before.

    These are closures, defaults, the globals that functions name, attributes of classes and of the user's
    modules, and what is held there, a few levels deep: containers, arrays, Tensors with their gradients,
    random generators, objects. An iterator cannot be put back.

    Raises
    ------
    NotKeptError
        An iterator is among them; nothing was run.
    """
    kept: list[Place] = []
    seen: dict[int, Any] = {}  # the objects, too, so that no number of one is given to another
    size = 0
    waiting = deque((value, LEVELS) for value in code)
    while waiting and len(seen) < MOST_OBJECTS:
        value, depth = waiting.popleft()
        if id(value) in seen or depth < 0 or isinstance(value, LEFT_ALONE):
            continue
        seen[id(value)] = value
        if isinstance(value, Iterator):
            raise NotKeptError(f"{type(value).__name__} cannot be put back")
        if isinstance(value, np.ndarray):
            size += value.nbytes
            if value.nbytes > MOST_BYTES or size > MOST_BYTES_IN_ALL:
                continue
        places = list(_places(value))
        kept += places
        parts = [part for _, _, held in places for part in _parts(held)]
        waiting += [(part, depth - 1) for part in [*parts, *_inner(value)]]
    for value in seen.values():
        if isinstance(value, Tensor) and value._leaf is not None:
            value._leaf.grad = None  # else the gradient of a look would be added to the array itself
    try:
        yield
    finally:
        for restore, read, before in kept:
            if not _is_same(read(), before):
                restore(before)


def is_users(this: Any) -> bool:
    """Return whether a function, class or module is the user's: of no library that keeps nothing."""
    name = this.__name__ if ismodule(this) else getattr(this, "__module__", None)
    return isinstance(name, str) and name.partition(".")[0] not in LIBRARIES


def _places(value: Any) -> Iterator[Place]:
    """Yield the variables that a value is made of."""
    if isinstance(value, np.random.Generator):
        yield _attribute(value.bit_generator, "state")
    elif isinstance(value, random.Random):
        yield value.setstate, value.getstate, value.getstate()
    elif isinstance(value, np.random.RandomState):
        yield value.set_state, value.get_state, value.get_state()
    elif isfunction(value):
        if is_users(value):
            yield from _places_of_function(value)
    elif isclass(value):
        for name, held in vars(value).items() if is_users(value) else ():
            if not name.startswith("__") and not hasattr(type(held), "__get__"):
                yield partial(setattr, value, name), partial(getattr, value, name), held
    elif isinstance(value, Tensor):
        yield _attribute(value, "_array")
        if value._leaf is not None:
            yield _attribute(value._leaf, "grad")
    elif isinstance(value, np.ndarray):
        if value.flags.writeable:
            yield partial(value.__setitem__, ...), value.copy, value.copy()
    elif isinstance(value, list):
        yield partial(value.__setitem__, slice(None)), partial(list, value), list(value)
    elif isinstance(value, (dict, set, deque)):
        kind = next(kind for kind in (dict, set, list) if isinstance(value, kind) or kind is list)
        yield partial(_refill, value), partial(kind, value), kind(value)
    elif not ismodule(value) and not ismethod(value):
        yield from _places_of_object(value)


def _places_of_object(value: Any) -> Iterator[Place]:
    """Yield the dict of an object, and its slots."""
    if isinstance(getattr(value, "__dict__", None), dict):
        yield partial(_refill, vars(value)), partial(dict, vars(value)), dict(vars(value))
    for name, held in ((n, h) for one in filter(is_users, type(value).__mro__) for n, h in vars(one).items()):
        if isinstance(held, MemberDescriptorType):
            with suppress(AttributeError):  # an empty slot
                yield _attribute(value, name)


def _attribute(value: Any, name: str) -> Place:
    return partial(setattr, value, name), partial(getattr, value, name), getattr(value, name)


def _places_of_function(function: Any) -> Iterator[Place]:
    """Yield the cells of a closure, and what its names mean in its file and in modules that it names."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty cell
            yield _attribute(cell, "cell_contents")
    names = _names(function.__code__)
    spaces = [function.__globals__]
    for space in spaces:
        for name in names & space.keys():
            held = space[name]
            yield partial(space.__setitem__, name), partial(space.__getitem__, name), held
            if ismodule(held) and is_users(held) and not any(vars(held) is one for one in spaces):
                spaces.append(vars(held))


def _names(code: CodeType) -> set[str]:
    """Return the names that a function uses, and those of functions and comprehensions inside it."""
    inside = [_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return set(code.co_names).union(*inside)


def _inner(value: Any) -> Iterator[Any]:
    """Yield what else is to be looked into of a value."""
    if ismethod(value):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isfunction(value):
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        if hasattr(value, "__wrapped__"):
            yield value.__wrapped__
    elif isclass(value):
        yield from filter(is_users, value.__mro__)
        for held in vars(value).values() if is_users(value) else ():
            if isinstance(held, property):
                yield from filter(None, (held.fget, held.fset))
            else:
                yield held.__func__ if isinstance(held, (staticmethod, classmethod)) else held
    elif not ismodule(value):
        yield type(value)


def _refill(container: Any, before: Any) -> None:
    container.clear()
    (container.extend if isinstance(container, deque) else container.update)(before)


def _parts(held: Any) -> list[Any]:
    """Return what is to be looked into of a variable's value."""
    if isinstance(held, (dict, list, tuple, set)) and len(held) > MOST_OBJECTS:
        return [held]
    if isinstance(held, dict):
        return [held, *held.values()]
    return [held, *held] if isinstance(held, (list, tuple, set, deque)) else [held]


def _is_same(one: Any, other: Any) -> bool:
    """Return whether a variable holds what it held: the same object, or a container of the same objects."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one is other or bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    if type(one) is type(other) and isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(operator.is_, one, other))
    if type(one) is type(other) and isinstance(one, dict):
        return list(one) == list(other) and all(map(operator.is_, one.values(), other.values()))
    return one is other or (isinstance(one, set) and one == other)
