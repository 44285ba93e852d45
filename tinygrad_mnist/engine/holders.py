"""The objects that hold parameters and buffers: a list of all that are alive, kept by weak references.

An optimiser is given parameters, not a model. But a buffer, or a weight that is frozen or trained by another
optimiser, may lie in the memory of one of them, and must not come apart from it. Modules know these arrays,
and each puts itself here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol
from weakref import ref

_alive: dict[int, ref[Holder]] = {}


class Holder(Protocol):
    """An object that holds arrays."""

    def _held(self) -> Iterable[tuple[str, Any]]:
        """Return its Tensors and arrays, each with what an error calls it."""


def add_holder(holder: Holder) -> None:
    """Keep an object in the list as long as it lives."""
    key = id(holder)
    if key not in _alive:
        _alive[key] = ref(holder, lambda _: _alive.pop(key, None))


def held_arrays() -> Iterator[tuple[str, Any]]:
    """Yield the Tensors and arrays of all objects that are alive, each with what an error calls it."""
    for reference in tuple(_alive.values()):  # another thread may add one meanwhile
        if (holder := reference()) is not None:
            yield from holder._held()
