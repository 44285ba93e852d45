"""The arrays that a recorder meets: in arguments, behind views and in Tensors, and what they keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def arrays_in(given: Any) -> Iterator[Any]:
    """The arrays among the arguments of a call, also in tuples, lists and dicts, and those of Tensors."""
    waiting = [given]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, (tuple, list)):
            waiting.extend(one)
        elif isinstance(one, np.ndarray):
            yield one
        elif hasattr(one, "origin"):
            yield one.data


def root(array: Any) -> Any:
    """The array whose memory a view shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def owner(array: Any) -> Any:
    """The array that ``.detach()`` and ``.data`` gave a view of."""
    base = array.base
    same = isinstance(base, np.ndarray) and base.shape == array.shape and base.strides == array.strides
    return base if same else array


def plain(value: Any) -> Any:
    """An array, also of a Tensor that a recorded walk carries."""
    return value if isinstance(value, (np.ndarray, np.generic)) else value.data


def saved_bytes(arrays: Sequence[Any], outs: Sequence[Any], saved: Any) -> int:
    """What a node keeps that was not there before: its results, unless they are views, and what it saved."""
    seen = {id(array) for array in arrays}
    waiting, total = [*outs, saved], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, (tuple, list)):
            waiting.extend(one)
        elif isinstance(one, np.ndarray) and one.base is None and id(one) not in seen:
            seen.add(id(one))
            total += one.nbytes
    return total
