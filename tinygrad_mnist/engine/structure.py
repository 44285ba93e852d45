"""The version of all structure: a number that changes when a module, parameter or optimiser is rearranged.

A compiled step holds as long as what it was made from does. To go through a model at every call would take
longer than a small step, so whoever rearranges something says so here, and one comparison of numbers tells
that nothing was. Values are no structure: a step of an optimiser, a running mean or an assignment to ``data``
does not count, if shape, dtype and memory layout stay.
"""

from __future__ import annotations

from itertools import count

_numbers = count(1)
_version = 0


def structure_version() -> int:
    """Return the version: as long as it stays, no module, parameter or optimiser was rearranged."""
    return _version


def structure_changed() -> None:
    """Note that a module, parameter or optimiser was rearranged; to be called after the change."""
    global _version
    _version = next(_numbers)  # of two threads, each writes a number that was not there before
