"""The data of a storyboard, plain and frozen: quantities, and the steps of the backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from tinygrad_mnist.files import write
from tinygrad_mnist.graph.data import OPERATION, Statistics
from tinygrad_mnist.graph.formats import writer_of
from tinygrad_mnist.numbers import math_text, shape_text

MOST: Final = 64
"""Entries of the largest array that is written out."""

IN_A_LINE: Final = 3
"""Entries of the longest vector that stands on a card."""


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
        """Copy the entries of an array, or summarise them if there are many."""
        array = np.asarray(array)
        few = array.ravel().tolist() if array.size <= MOST else []
        return cls(array.shape, tuple(float(x) for x in few), Statistics.of(array))

    def text(self) -> str:
        """Return all entries, where they are few, on as many lines as there are rows.

        Examples
        --------
        >>> print(Entries.of([[1, -2.5], [1 / 3, 4]]).text())
        [[     1   −2.5]
         [0.3333      4]]
        """
        if not self.shape:
            return math_text(self.entries[0])
        if len(self.entries) != math.prod(self.shape):
            return self._summary()
        words = [math_text(x) for x in self.entries]
        width = max(map(len, words), default=0) if len(self.shape) > 1 else 0
        return _bracketed([word.rjust(width) for word in words], self.shape)

    def short(self, longest: int = 40) -> str:
        """Return the entries on a short line, or the shape.

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
            "none finite" if x is None else math_text(x)
            for x in (self.statistics.min, self.statistics.max, self.statistics.norm)
        )
        return f"{shape_text(self.shape)}, from {low} to {high}, norm {norm}"


def _bracketed(words: list[str], shape: tuple[int, ...], depth: int = 1) -> str:
    """Return words in brackets, a row a line."""
    if len(shape) == 1:
        return "[" + ", ".join(words) + "]" if depth == 1 else "[" + " ".join(words) + "]"
    if not words:
        return "[]"
    size = len(words) // shape[0]
    rows = [_bracketed(words[i * size : (i + 1) * size], shape[1:], depth + 1) for i in range(shape[0])]
    return "[" + ("\n" + " " * depth).join(rows) + "]"


@dataclass(frozen=True)
class Quantity:
    """An array or a result of the computation.

    Attributes
    ----------
    id : str
        The same as in the graph that `trace` gives.
    name : str
        The user's, or one that was made up: ``v1``, ``x1``, ``L``.
    kind : str
        ``operation``, ``parameter`` (a gradient arrives here), ``buffer`` or ``input`` (none does).
    sign : str
        Of the operation: ``×``.
    expression : str
        The operation in terms of its arguments: ``a × b``; empty for an array.
    value : Entries
    takes : tuple of (str, int)
        The ids of the arrays and results that the operation took, each with its position.
    gradient : Entries or None
        Of the loss by this, at the end.
    uses : int
        Number of contributions that add up to the gradient.
    """

    id: str
    name: str
    kind: str
    sign: str
    expression: str
    value: Entries
    takes: tuple[tuple[str, int], ...] = ()
    gradient: Entries | None = None
    uses: int = 0

    @property
    def equation(self) -> str:
        """The name and how it was computed, as ``e = a × b``."""
        return f"{self.name} = {self.expression}" if self.expression else self.name


@dataclass(frozen=True)
class Contribution:
    """The part of a gradient that an operation sends to one of its arguments.

    Attributes
    ----------
    target, name : str
        Id and name of the argument's quantity.
    argument : int
        Its position.
    formula : str
        The local derivative in the names of the computation: ``b``; empty where none is known.
    local : Entries or None
        The local derivative in numbers: entry by entry, or the Jacobian (a row for each entry of the result);
        None where it is large.
    jacobian : bool
        True if ``local`` is the Jacobian.
    part : Entries
        The contribution itself.
    before : Entries or None
        The sum of the contributions before this one; None if it is the first.
    total : Entries
        The sum with this one.
    arrived, expected : int
        Number of contributions to the same quantity so far, with this one, and at the end.
    """

    target: str
    name: str
    argument: int
    formula: str
    local: Entries | None
    jacobian: bool
    part: Entries
    before: Entries | None
    total: Entries
    arrived: int
    expected: int


@dataclass(frozen=True)
class Step:
    """One operation of the backward pass.

    Attributes
    ----------
    quantity : str
        Id of the operation's result.
    incoming : Entries
        The gradient of the loss by the result.
    contributions : tuple of Contribution
        One for each argument that needs a gradient.
    """

    quantity: str
    incoming: Entries
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True)
class Storyboard:
    """The backward pass of a small computation as plain data; made by `storyboard`.

    Attributes
    ----------
    title : str
        The computation in one line: ``L = (a × b + c) × f``.
    quantities : tuple of Quantity
        In the order of creation; the loss is the last.
    steps : tuple of Step
        The operations, the last first.
    """

    title: str
    quantities: tuple[Quantity, ...]
    steps: tuple[Step, ...]

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return self.quantities[-1].name

    @property
    def gradients(self) -> dict[str, Entries]:
        """The gradients that ``backward()`` would leave, by name."""
        return {
            quantity.name: quantity.gradient
            for quantity in self.quantities
            if quantity.kind != OPERATION and quantity.gradient is not None
        }

    def quantity(self, id: str) -> Quantity:
        """Return the quantity that has an id."""
        return next(quantity for quantity in self.quantities if quantity.id == id)

    def text(self) -> str:
        """Return the storyboard as text for a terminal."""
        from tinygrad_mnist.graph.storyboard.page import to_text

        return to_text(self)

    def html(self) -> str:
        """Return the storyboard as a page with buttons, arrow keys and a slider; it needs no network.

        Raises
        ------
        LayoutError
            If Graphviz is not installed, which draws the computation.
        """
        from tinygrad_mnist.graph.storyboard.page import to_html

        return to_html(self)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the page (``.html``) or the text (``.txt``), all or nothing; return the path.

        Raises
        ------
        ValueError
            If the suffix is another.
        LayoutError
            If Graphviz is not installed, which draws the page.
        """
        writer = writer_of(path, FORMATS)  # before any work
        return write(path, writer(self))

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from tinygrad_mnist.graph.storyboard.page import to_frame

        return to_frame(self)


FORMATS: Final[dict[str, Callable[[Storyboard], str]]] = {
    ".html": Storyboard.html,
    ".txt": lambda board: board.text() + "\n",
}
"""By suffix."""
