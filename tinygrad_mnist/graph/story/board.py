"""What a storyboard holds, as plain frozen data: quantities, and the steps of the backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from tinygrad_mnist.graph.data import PARAMETER
from tinygrad_mnist.graph.story.entries import Entries


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
        How it was computed: ``a × b``.
    value : Entries
    takes : tuple of (str, int)
        What the operation took: the id of each array or result, and at which position.
    gradient : Entries or None
        Of the loss by this, when all is done.
    uses : int
        How many contributions come together here.
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


@dataclass(frozen=True)
class Share:
    """What goes out to one argument of an operation.

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
        Which of the two.
    part : Entries
        What goes out.
    before : Entries or None
        What had come to the argument before; None at the first time.
    total : Entries
        Both together.
    arrived, expected : int
        How many of its contributions have come with this one, and will in the end.
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
    expected: int = 0


@dataclass(frozen=True)
class Step:
    """One operation of the backward pass.

    Attributes
    ----------
    quantity : str
        Id of the operation's result.
    incoming : Entries
        The gradient of the loss by the result.
    shares : tuple of Share
    """

    quantity: str
    incoming: Entries
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class Storyboard:
    """The backward pass of a small computation as plain data; see `storyboard`.

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
    def gradients(self) -> dict[str, Entries]:
        """The gradients that ``backward()`` would leave, by name."""
        return {
            quantity.name: quantity.gradient
            for quantity in self.quantities
            if quantity.kind == PARAMETER and quantity.gradient is not None
        }

    def text(self) -> str:
        """The story for a terminal."""
        from tinygrad_mnist.graph.story.text import to_text

        return to_text(self)

    def html(self) -> str:
        """The story as a page: buttons, arrow keys and a slider step through it; it needs no network."""
        from tinygrad_mnist.graph.story.text import to_html

        return to_html(self)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the page (``.html``) or the text (``.txt``), all or nothing; return the path.

        Raises
        ------
        ValueError
            If the suffix is another.
        """
        from tinygrad_mnist.graph.story.text import save

        return save(self, path)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from tinygrad_mnist.graph.story.text import to_frame

        return to_frame(self)
