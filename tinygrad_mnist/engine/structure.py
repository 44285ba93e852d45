"""Two versions: numbers that change when a module, parameter or optimiser, or an array of one, is replaced.

A compiled step holds as long as what it was made from does. To go through a model at every call would take
longer than a small step. So whoever changes something says so here, and one comparison of numbers tells that
nothing was changed.

- The version of the structure counts what rearranges a module, parameter or optimiser. Values are no
  structure: a step of an optimiser, a running mean or an assignment to ``data`` does not count, if shape,
  dtype and memory layout stay.
- The version of the arrays counts that, and each time an array takes the place of another one. What is
  written into an array does not count: whoever knows its address finds the new values there.
"""

from __future__ import annotations

from itertools import count

_numbers = count(1)
_version = 0
_arrays_version = 0


def structure_version() -> int:
    """Return the version: as long as it stays, no module, parameter or optimiser was rearranged."""
    return _version


def structure_changed() -> None:
    """Note that a module, parameter or optimiser was rearranged; to be called after the change."""
    global _version, _arrays_version
    # Of two threads, each writes a number that was not there before.
    _version = _arrays_version = next(_numbers)


def arrays_version() -> int:
    """Return the version of the arrays: as long as it stays, all have their places, and so all structure."""
    return _arrays_version


def array_replaced() -> None:
    """Note that a Tensor, buffer or optimiser has another array; to be called after the change."""
    global _arrays_version
    _arrays_version = next(_numbers)
