"""Arrays of a storyboard: their entries as plain numbers while they are few, as numbers that people read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tinygrad_mnist.graph.data import Statistics
from tinygrad_mnist.graph.numbers import shape_text

MOST: Final = 64
"""Entries of the largest array that is written out."""

IN_A_LINE: Final = 3
"""Entries of the longest vector that stands in a box."""


@dataclass(frozen=True)
class Entries:
    """A small array with its entries, or a large one with its statistics.

    Attributes
    ----------
    shape : tuple of int
    entries : tuple of float
        In C order; empty where there are too many.
    statistics : Statistics
    """

    shape: tuple[int, ...]
    entries: tuple[float, ...]
    statistics: Statistics

    @classmethod
    def of(cls, array: Any) -> Entries:
        """Take an array down."""
        array = np.asarray(array)
        few = array.ravel().tolist() if array.size <= MOST else []
        return cls(array.shape, tuple(float(x) for x in few), Statistics.of(array))

    def text(self) -> str:
        """All entries, where they are few, on as many lines as there are rows.

        Examples
        --------
        >>> print(Entries.of([[1, -2.5], [1 / 3, 4]]).text())
        [[     1   −2.5]
         [0.3333      4]]
        """
        if not self.shape:
            return number(self.entries[0])
        if len(self.entries) != math.prod(self.shape):
            return self._summary()
        words = [number(x) for x in self.entries]
        width = max(map(len, words), default=0) if len(self.shape) > 1 else 0
        return _nested([word.rjust(width) for word in words], self.shape)

    def short(self, longest: int = 40) -> str:
        """The entries on a short line, or the shape.

        Examples
        --------
        >>> Entries.of([1, 2]).short(), Entries.of(np.ones((2, 3))).short()
        ('[1, 2]', '2×3')
        """
        if not self.shape:
            return self.text()
        few = len(self.shape) == 1 and self.shape[0] <= IN_A_LINE and len(self.text()) <= longest
        return self.text() if few else shape_text(self.shape)

    def _summary(self) -> str:
        low, high, norm = (
            "none finite" if x is None else number(x)
            for x in (self.statistics.min, self.statistics.max, self.statistics.norm)
        )
        return f"{shape_text(self.shape)}, from {low} to {high}, norm {norm}"


def _nested(words: list[str], shape: tuple[int, ...], depth: int = 1) -> str:
    """Words in brackets, a row a line."""
    if len(shape) == 1:
        return "[" + ", ".join(words) + "]" if depth == 1 else "[" + " ".join(words) + "]"
    if not words:
        return "[]"
    size = len(words) // shape[0]
    rows = [_nested(words[i * size : (i + 1) * size], shape[1:], depth + 1) for i in range(shape[0])]
    return "[" + ("\n" + " " * depth).join(rows) + "]"


def number(x: float) -> str:
    """A number with four digits.

    Examples
    --------
    >>> number(-2.0), number(1 / 3), number(-0.0), number(-float("inf"))
    ('−2', '0.3333', '0', '−∞')
    """
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    return f"{x + 0.0:.4g}".replace("-", "−").replace("e+0", "e")
