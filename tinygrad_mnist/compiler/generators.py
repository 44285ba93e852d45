"""Random generators that a function uses: a trace leaves them as they were."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def kept_generators(function: Callable[..., Any]) -> Iterator[None]:
    """Give the generators that a function can reach, and the global ones, their states back afterwards."""
    found = list(_reachable(function))
    states = [generator.bit_generator.state for generator in found]
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002  (users use it)
    try:
        yield
    finally:
        for generator, state in zip(found, states, strict=True):
            generator.bit_generator.state = state
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


def _reachable(function: Any) -> Iterator[np.random.Generator]:
    """Yield the generators in the closure, the globals, the defaults and the object of a function."""
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(function, 4)]
    while waiting:
        value, depth = waiting.pop()
        if id(value) in seen or depth < 0:
            continue
        seen.add(id(value))
        if isinstance(value, np.random.Generator):
            yield value
        else:
            waiting += [(part, depth - 1) for part in _parts(value)]


def _parts(value: Any) -> list[Any]:
    """Return the objects that another one is made of, as far as a function may draw from them."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if inspect.ismethod(value):
        return [value.__self__, value.__func__]
    if inspect.isfunction(value):
        names = value.__code__.co_names
        parts = [value.__globals__[name] for name in names if name in value.__globals__]
        for cell in value.__closure__ or ():
            try:
                parts.append(cell.cell_contents)
            except ValueError:  # it is empty
                continue
        wrapped = getattr(value, "__wrapped__", None)
        return [*parts, *(value.__defaults__ or ()), *([] if wrapped is None else [wrapped])]
    if inspect.ismodule(value) or inspect.isclass(value):
        return []
    return list(getattr(value, "__dict__", {}).values())
