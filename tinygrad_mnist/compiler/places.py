"""The places where a function finds arrays that it is not given: closures, globals, attributes, containers.

While it is traced, a Tensor stands in each of them, so that whatever is computed with the array, or written
into it, is part of the program, and reads the array anew at each call.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from operator import is_
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.collection import (
    DEEPEST,
    SEARCHED,
    is_library_class,
    is_library_file,
    is_library_module,
)
from tinygrad_mnist.nn.module import BUFFER, UNSAVED_BUFFER, Module

DEPTH: Final = 4
"""How many objects of installed classes are looked into, one in another."""

Setter = Callable[[Any], None]
Held = Iterator[tuple[Any, Setter]]


def array_places(*holders: Any) -> Iterator[tuple[np.ndarray[Any, Any], Setter]]:
    """Yield the arrays that a function can reach, each with what puts something else into its place.

    Buffers of modules are left out: a module has them by their names.

    Parameters
    ----------
    *holders : object
        The function, and other objects from which to begin, such as those among its arguments.

    Examples
    --------
    >>> weights = np.ones(2)
    >>> def f(x):
    ...     return x @ weights
    >>> [array for array, _ in array_places(f)]
    [array([1., 1.])]
    """
    seen: set[int] = set()
    waiting: list[tuple[Any, Setter, int, int]] = [
        (each, _nowhere, DEEPEST, DEPTH) for each in holders if _is_looked_into(each)
    ]
    while waiting:
        holder, put_holder, depth, installed = waiting.pop()
        if not isinstance(holder, tuple):  # one that lies in two places is replaced in both
            if id(holder) in seen:
                continue
            seen.add(id(holder))
        for value, put in list(islice(_held(holder, put_holder), SEARCHED)):
            if type(value) is np.ndarray:
                yield value, put
            elif depth > 0 and installed >= 0 and _is_looked_into(value):
                waiting.append((value, put, depth - 1, installed - _is_installed(value)))


def _is_looked_into(value: Any) -> bool:
    """Return whether something can hold a user's arrays: a function, a container, an object, a class."""
    if isinstance(value, (dict, list, tuple, deque, functools.partial, Module)):
        return True
    if inspect.isfunction(value) or inspect.ismethod(value) or hasattr(value, "__wrapped__"):
        return not (getattr(value, "__module__", None) or "").startswith("numpy")
    if inspect.ismodule(value):
        return False  # the function that names it says what it reads there
    if inspect.isclass(value):
        return not is_library_class(value)
    module = type(value).__module__
    is_known = module.startswith(("numpy", "builtins")) or (
        module.startswith("tinygrad_mnist") and is_library_class(type(value))
    )
    return not is_known and (hasattr(value, "__dict__") or hasattr(type(value), "__slots__"))


def _is_installed(value: Any) -> bool:
    """Return whether an object is one of an installed class, which may hold anything."""
    kinds = (dict, list, tuple, deque, Module, type, types.FunctionType, types.MethodType)
    return not isinstance(value, kinds) and is_library_class(type(value))


def _held(holder: Any, put: Setter) -> Held:
    """Yield what an object holds, each with what puts something else into its place."""
    if inspect.ismethod(holder):
        yield holder.__self__, _nowhere
        yield holder.__func__, _nowhere
    elif inspect.isfunction(holder):
        yield from _held_by_function(holder)
    elif isinstance(holder, functools.partial):
        yield holder.func, _nowhere
        yield holder.args, functools.partial(_set_arguments, holder)
        yield holder.keywords, _nowhere
    elif isinstance(holder, dict):
        for key, value in list(holder.items()):
            yield value, _item_setter(holder, key)
    elif isinstance(holder, (list, deque)):
        for position, value in enumerate(list(holder)):
            yield value, _item_setter(holder, position)
    elif isinstance(holder, tuple):
        yield from _held_by_tuple(holder, put)
    elif inspect.isclass(holder):
        yield from _held_by_class(holder)
    else:
        yield from _held_by_object(holder)


def _held_by_function(function: Any) -> Held:
    """Yield what a function holds; of the package's own, as of `grad(f)`, no data, which are its options."""
    is_own = is_library_file(function.__code__.co_filename)
    for value, put in _of_function(function):
        if not (is_own and isinstance(value, (np.ndarray, dict, list, tuple))):
            yield value, put


def _of_function(function: Any) -> Held:
    names = list(_names(function.__code__))
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # it is empty
            continue
        yield value, functools.partial(setattr, cell, "cell_contents")
        yield from _held_by_module(value, names)
    if (wrapped := getattr(function, "__wrapped__", None)) is not None:
        yield wrapped, _nowhere
    if is_library_file(function.__code__.co_filename):
        return
    yield function.__defaults__ or (), functools.partial(setattr, function, "__defaults__")
    yield function.__kwdefaults__ or {}, _nowhere
    for name in names:
        if name in function.__globals__:
            value = function.__globals__[name]
            yield value, _item_setter(function.__globals__, name)
            yield from _held_by_module(value, names)


def _held_by_module(module: Any, names: list[str]) -> Held:
    """Yield what a function that reads some names reads in a Python module of the user's."""
    if inspect.ismodule(module) and not is_library_module(module.__name__):
        namespace = vars(module)
        yield from ((namespace[name], _item_setter(namespace, name)) for name in names if name in namespace)


def _set_arguments(partial: functools.partial[Any], args: tuple[Any, ...]) -> None:
    state = partial.func, args, partial.keywords, vars(partial)
    partial.__setstate__(state)  # type: ignore[attr-defined]


def _held_by_tuple(holder: tuple[Any, ...], put: Setter) -> Held:
    """Yield the elements of a tuple: to replace one is to put another tuple into its place."""
    parts = list(holder)

    def put_part(position: int, value: Any) -> None:
        parts[position] = value
        if all(map(is_, parts, holder)):
            put(holder)
        else:
            put(type(holder)(*parts) if hasattr(holder, "_fields") else type(holder)(parts))

    for position, value in enumerate(holder):
        yield value, functools.partial(put_part, position)


def _held_by_class(cls: type) -> Held:
    """Yield the attributes of a user's class and its bases."""
    for base in cls.__mro__:
        if not is_library_class(base):
            for name, value in list(vars(base).items()):
                yield value, functools.partial(setattr, base, name)


def _held_by_object(holder: Any) -> Held:
    namespace = getattr(holder, "__dict__", {})
    if not isinstance(namespace, dict):  # of list[int], which lends those of its class, to be read only
        return
    if "__wrapped__" in namespace:  # a decorated function
        yield namespace["__wrapped__"], _nowhere
        return
    registered = holder._registered if isinstance(holder, Module) else {}
    for name, value in list(namespace.items()):
        if registered.get(name) not in (BUFFER, UNSAVED_BUFFER):
            yield value, _item_setter(namespace, name)
    for cls in type(holder).__mro__:
        if "__slots__" in vars(cls):
            for name, member in vars(cls).items():
                if inspect.ismemberdescriptor(member) and hasattr(holder, name):
                    yield getattr(holder, name), functools.partial(member.__set__, holder)
    if not is_library_class(type(holder)):
        yield type(holder), _nowhere


def _names(code: Any) -> Iterator[str]:
    """Yield the names of globals and attributes in some code, and in the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _names(constant)


def _item_setter(holder: Any, key: Any) -> Setter:
    return functools.partial(holder.__setitem__, key)


def _nowhere(value: Any) -> None:
    """Do nothing: nothing can be put there."""
