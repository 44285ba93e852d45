"""The memory of arrays: where one begins, and whether what is written to is also a part of something else."""

from __future__ import annotations

import ctypes
import itertools
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

Span = tuple[int, int]
"""The bytes of an array before its first element, and from there to the last byte."""


def _asked_for(array: Any) -> int:
    """Return the address of the first element of an array, as NumPy tells it."""
    address: int = array.__array_interface__["data"][0]
    return address


_HEAD: Final = object.__basicsize__
_word_at: Final = ctypes.c_ssize_t.from_address


def _read(array: Any) -> int:
    """Return the address of the first element of an array, from where extensions in C find it.

    In CPython an object begins with its count of references and its type, and an array goes on with this
    address (``data`` in NumPy's public header). To read it takes an eighth of the time of asking.
    """
    return _word_at(id(array) + _HEAD).value


def _is_known() -> bool:
    """Return whether arrays look as NumPy's header says."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_ssize_t) != ctypes.sizeof(
        ctypes.c_void_p
    ):
        return False
    whole = np.zeros((3, 4))
    return all(_read(array) == _asked_for(array) for array in (whole, whole[1:], whole.T[2:], np.zeros(())))


address_of: Final = _read if _is_known() else _asked_for
"""The address of the first element of an array."""


def span(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> Span:
    """Return how many bytes there are before the first element of an array, and from there to its last byte.

    Examples
    --------
    >>> span((3, 2), (-16, 8), 8)
    (32, 15)
    """
    if 0 in shape:
        return 0, -1
    ways = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
    return -sum(way for way in ways if way < 0), sum(way for way in ways if way > 0) + itemsize - 1


class Overlaps:
    """A look for inputs that are written to, and share memory with another one.

    Usually no spans of bytes meet, which is soon found. Only if some do, NumPy looks whether they have an
    element in common.

    Parameters
    ----------
    spans : sequence of (int, int)
        The span of each input.
    targets : set of int
        The inputs that are written to, by their numbers.
    arrays : list
        The inputs as they are now, which the caller keeps up to date; None for one that is not there.

    Attributes
    ----------
    first, last : int
        Bytes of memory. An input that lies before or behind them need not be placed.
    are_possible : bool
        Whether `exist` has anything to look at.
    """

    def __init__(self, spans: Sequence[Span], targets: set[int], arrays: list[Any]) -> None:
        self._spans, self._targets, self._arrays = spans, targets, arrays
        # The first and last bytes of what is written to, sorted; each last one is the greatest so far.
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._suspects: list[int] = []  # inputs whose bytes meet those of what is written to
        self._targets_moved = self.are_possible = False
        self.first, self.last = 0, -1

    def place(self, number: int, address: int) -> None:
        """Note where an input begins."""
        if number in self._targets:
            self._targets_moved = self.are_possible = True
            self.first, self.last = 0, sys.maxsize  # until it is known how far they reach
            return
        before, after = self._spans[number]
        earlier = bisect_right(self._firsts, address + after)
        if earlier and self._lasts[earlier - 1] >= address - before:
            self._suspects.append(number)
            self.are_possible = True

    def exist(self) -> bool:
        """Return whether an input that is written to shares memory with another one."""
        if self._targets_moved:
            ends = {
                number: self._ends(number) for number, array in enumerate(self._arrays) if array is not None
            }
            written = sorted(ends[number] for number in self._targets)
            self._firsts = [first for first, _ in written]
            self._lasts = list(itertools.accumulate((last for _, last in written), max))
            found = self._is_any(ends)
        else:
            pairs = itertools.product(self._suspects, self._targets)
            found = any(itertools.starmap(self._have_common, pairs))
        self._suspects.clear()
        self._targets_moved = self.are_possible = found  # then the next call looks at all again
        self.first, self.last = (0, sys.maxsize) if found else (self._firsts[0], self._lasts[-1])
        return found

    def _ends(self, number: int) -> Span:
        """Return the first and the last byte of an input."""
        address, (before, after) = address_of(self._arrays[number]), self._spans[number]
        return address - before, address + after

    def _is_any(self, ends: Mapping[int, Span]) -> bool:
        """Look at all pairs whose spans meet."""
        reached: list[int] = []  # inputs whose bytes may meet those of the next
        for number in sorted(ends, key=ends.__getitem__):
            reached = [other for other in reached if ends[other][1] >= ends[number][0]]
            if any(self._have_common(number, other) for other in reached):
                return True
            reached.append(number)
        return False

    def _have_common(self, number: int, other: int) -> bool:
        """Return whether two inputs, of which one is written to, have an element in common."""
        if number in self._targets or other in self._targets:
            return bool(np.shares_memory(self._arrays[number], self._arrays[other]))
        return False
