"""Parameters that share memory: what else, another parameter or a buffer, lies where a parameter lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import byte_bounds

from tinygrad_mnist.engine.holders import held_arrays
from tinygrad_mnist.engine.tensor import Tensor

__all__ = ["describe_parameter", "partners"]

Array = npt.NDArray[Any]


def describe_parameter(parameter: Tensor, index: int) -> str:
    """Return how errors call a parameter: by its name if it has one, else by its index."""
    name = getattr(parameter, "name", None)
    return f"parameter {name!r}" if name else f"parameter {index}"


def partners(parameters: Sequence[Tensor]) -> dict[int, list[tuple[str, Tensor | Array]]]:
    """Return, by the index of a parameter, what shares memory with it, and what an error calls that.

    It is looked for among these parameters and in all modules. An array that only the user holds does not
    count.
    """
    known = {id(parameter) for parameter in parameters}
    everything: list[tuple[str, Tensor | Array]] = [
        (describe_parameter(parameter, index), parameter) for index, parameter in enumerate(parameters)
    ]
    for name, held in held_arrays():
        if id(held) not in known:
            known.add(id(held))
            everything.append((name, held))
    found: dict[int, list[tuple[str, Tensor | Array]]] = {}
    # While another thread traces a function, its parameters have no arrays.
    everything = [entry for entry in everything if isinstance(_array_of(entry[1]), np.ndarray)]
    for one, other in _overlapping([_array_of(held) for _, held in everything], len(parameters)):
        for mine, theirs in ((one, other), (other, one)):
            if mine < len(parameters):
                found.setdefault(mine, []).append(everything[theirs])
    return found


def _array_of(held: Tensor | Array) -> Array:
    return held.data if isinstance(held, Tensor) else held


def _overlapping(arrays: Sequence[Array], wanted: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of arrays that share memory and of which one is among the first ``wanted``."""
    bounds = {index: byte_bounds(array) for index, array in enumerate(arrays) if array.size}
    open_ones: list[int] = []  # those whose memory reaches beyond the beginning of the next
    for index in sorted(bounds, key=bounds.__getitem__):
        open_ones = [other for other in open_ones if bounds[other][1] > bounds[index][0]]
        for other in open_ones:
            if min(index, other) < wanted and _share(arrays[index], arrays[other]):
                yield other, index
        open_ones.append(index)


def _share(one: Array, other: Array) -> bool:
    try:
        return np.shares_memory(one, other, max_work=10_000)  # type: ignore[arg-type]  # any number is allowed
    except np.exceptions.TooHardError:  # views so entangled that it takes long to tell; safe is to say yes
        return True
