"""The memory of arrays: where one begins, and whether what is written to is also a part of something else."""

from __future__ import annotations

import ctypes
import itertools
import sys
from bisect import bisect_right
from collections.abc import Sequence
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
    """

    def __init__(self, spans: Sequence[Span], targets: set[int], arrays: list[Any]) -> None:
        self._spans, self._targets, self._arrays = spans, targets, arrays
        self._ends = [(0, -1)] * len(spans)
        # The first and last bytes of what is written to, sorted; each last one is the greatest so far.
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._suspects: list[int] = []  # inputs whose bytes meet those of what is written to
        self._targets_moved = False
        self.first, self.last = 0, -1
        """An input that lies outside of these bytes need not be placed."""
        self.are_possible = False
        """Whether `exist` has anything to look at."""

    def place(self, number: int, address: int) -> None:
        """Note where an input begins."""
        before, after = self._spans[number]
        first, last = self._ends[number] = address - before, address + after
        if number in self._targets:
            self._targets_moved = self.are_possible = True
            self.first, self.last = 0, sys.maxsize  # until it is known how far they reach
        elif (earlier := bisect_right(self._firsts, last)) and self._lasts[earlier - 1] >= first:
            self._suspects.append(number)
            self.are_possible = True

    def exist(self) -> bool:
        """Return whether an input that is written to shares memory with another one."""
        if self._targets_moved:
            ends = sorted(self._ends[number] for number in self._targets)
            self._firsts = [first for first, _ in ends]
            self._lasts = list(itertools.accumulate((last for _, last in ends), max))
            found = self._is_any()
        else:
            found = any(
                itertools.starmap(self._have_common, itertools.product(self._suspects, self._targets))
            )
        self._suspects.clear()
        self._targets_moved = self.are_possible = found  # then the next call looks at all again
        self.first, self.last = (0, sys.maxsize) if found else (self._firsts[0], self._lasts[-1])
        return found

    def _is_any(self) -> bool:
        """Look at all pairs whose spans meet."""
        reached: list[int] = []  # inputs whose bytes may meet those of the next
        present = [number for number, array in enumerate(self._arrays) if array is not None]
        for number in sorted(present, key=self._ends.__getitem__):
            first, _ = self._ends[number]
            reached = [other for other in reached if self._ends[other][1] >= first]
            if any(self._have_common(number, other) for other in reached):
                return True
            reached.append(number)
        return False

    def _have_common(self, number: int, other: int) -> bool:
        """Return whether two inputs, of which one is written to, have an element in common."""
        if not (number in self._targets or other in self._targets):
            return False
        (first, last), (other_first, other_last) = self._ends[number], self._ends[other]
        meet = first <= other_last and other_first <= last
        return meet and bool(np.shares_memory(self._arrays[number], self._arrays[other]))
