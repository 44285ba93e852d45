"""The places where a function finds arrays that it is not given: closures, globals, attributes, containers.

While it is traced, a Tensor stands in each of them, so that whatever is computed with the array, or written
into it, is part of the program, and reads the array anew at each call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

DEPTH: Final = 4
"""How many containers and objects deep an array may lie."""

MOST: Final = 64
"""How many elements of a container are looked at."""

Setter = Callable[[Any], None]


def array_places(function: Any) -> Iterator[tuple[np.ndarray[Any, Any], Setter]]:
    """Yield the arrays that a function can reach, each with what puts something else into its place.

    Examples
    --------
    >>> weights = np.ones(2)
    >>> def f(x):
    ...     return x @ weights
    >>> [array for array, _ in array_places(f)]
    [array([1., 1.])]
    """
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(function, DEPTH)]
    while waiting:
        holder, depth = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        for value, put in list(_held(holder)):
            if type(value) is np.ndarray:
                yield value, put
            elif depth > 0 and _is_looked_into(value):
                waiting.append((value, depth - 1))


def _is_looked_into(value: Any) -> bool:
    """Return whether something is a user's: a function, a container or an object of a class of its own."""
    if isinstance(value, (dict, list, tuple)):
        return True
    if inspect.isfunction(value) or inspect.ismethod(value):
        return not (getattr(value, "__module__", None) or "").startswith(("numpy", "tinygrad_mnist"))
    if inspect.ismodule(value) or inspect.isclass(value):
        return False
    is_known = type(value).__module__.startswith(("numpy", "tinygrad_mnist", "builtins"))
    return hasattr(value, "__dict__") and not is_known


def _held(holder: Any) -> Iterator[tuple[Any, Setter]]:
    """Yield what an object holds, each with what puts something else into its place."""
    if inspect.ismethod(holder):
        yield holder.__self__, _nowhere
        yield holder.__func__, _nowhere
    elif inspect.isfunction(holder):
        yield from _held_by_function(holder)
    elif isinstance(holder, dict):
        for key, value in list(holder.items())[:MOST]:
            yield value, _item_setter(holder, key)
    elif isinstance(holder, list):
        for position, value in enumerate(holder[:MOST]):
            yield value, _item_setter(holder, position)
    elif isinstance(holder, tuple):
        for value in holder[:MOST]:
            if type(value) is not np.ndarray:  # it cannot be replaced there
                yield value, _nowhere
    else:
        namespace = getattr(holder, "__dict__", {})
        for name, value in list(namespace.items())[:MOST]:
            yield value, _item_setter(namespace, name)


def _held_by_function(function: Any) -> Iterator[tuple[Any, Setter]]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents, _cell_setter(cell)
        except ValueError:  # it is empty
            continue
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name], _item_setter(function.__globals__, name)
    if (wrapped := getattr(function, "__wrapped__", None)) is not None:
        yield wrapped, _nowhere


def _names(code: Any) -> Iterator[str]:
    """Yield the names of globals in some code, and in the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _names(constant)


def _item_setter(holder: Any, key: Any) -> Setter:
    def put(value: Any) -> None:
        holder[key] = value

    return put


def _cell_setter(cell: Any) -> Setter:
    def put(value: Any) -> None:
        cell.cell_contents = value

    return put


def _nowhere(value: Any) -> None:
    """Do nothing: nothing can be put there."""
