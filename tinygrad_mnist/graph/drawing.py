"""A picture before it is laid out: boxes in groups, and arrows between them.

It is the one thing between a `Graph` and a picture, and is made in three steps: `folding` says which boxes
there are and what they stand for, `views` gives them their words, and a format writes it.

Nothing here says where a box stands or what colour it has: marks are words, and each format gives a mark its
border, colour and text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tinygrad_mnist.graph.data import Edge

NO_GRADIENT: Final = "no gradient"

MARKS: Final = (
    "output",  # a result of the whole graph
    NO_GRADIENT,  # nothing flows back to it, though it could
    "origin",  # the first values that are not finite
    "spoiled",  # not finite because of what came in
    "peak",  # where most memory is kept, or most time is spent
    "added",  # by comparison of two graphs
    "removed",
    "changed",
)
"""What can be special about a box or an arrow."""


@dataclass(frozen=True)
class Box:
    """One box.

    Attributes
    ----------
    id : str
        Unique in the drawing, and the same in each run.
    kind : str
        ``module``, ``operation``, ``parameter``, ``buffer``, ``input`` or ``fold`` (equal blocks as one).
    title : str
        The first line, large: ``Linear``, ``×``, ``weight``.
    lines : tuple of str
        Smaller lines under it: ``0``, ``(64, 784)``, ``50,176``.
    group : str
        Id of the group around it; empty at the top.
    details : tuple of (str, str)
        Names and values that a reader can ask for: operation, shape, dtype, statistics, source line.
    marks : tuple of str
        From ``MARKS``.
    share : float or None
        0 to 1: the length of a bar in it.
    nodes : tuple of str
        Ids of the graph's nodes that it stands for, each in one box of the drawing only.
    members : tuple of str
        Ids of the operations and clusters that it stands for: one, or several where they are folded; none
        for arrays.
    repeats : int
        How many times the same unit stands among the members; 0 where different things are folded.
    arrays : tuple of str
        Ids of the parameters, buffers or inputs that it shows, or that its operations take.
    shared_with : str
        Id of the cluster that has the arrays, where the box shows them once more beside another user.
    """

    id: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    group: str = ""
    details: tuple[tuple[str, str], ...] = ()
    marks: tuple[str, ...] = ()
    share: float | None = None
    nodes: tuple[str, ...] = ()
    members: tuple[str, ...] = field(default=(), repr=False)
    repeats: int = field(default=1, repr=False)
    arrays: tuple[str, ...] = field(default=(), repr=False)
    shared_with: str = field(default="", repr=False)

    @property
    def period(self) -> int:
        """The number of members of the unit that repeats; of all members where nothing does."""
        return len(self.members) // (self.repeats or 1)


@dataclass(frozen=True)
class Arrow:
    """One arrow between two boxes, however many edges of the graph it stands for.

    Attributes
    ----------
    source, target : str
        Ids of boxes; the arrow points to the target.
    label : str
        Shape, gradient norm, ``x2``; empty for none.
    kind : str
        ``flow``, ``parameter`` (from a parameter, buffer or input to its use), ``gradient`` or ``none``
        (nothing flows).
    weight : float
        Width of the line, from 1 (thin) to 5.
    marks : tuple of str
        From ``MARKS``.
    edges : tuple of Edge
        The edges of the graph that it stands for.
    """

    source: str
    target: str
    label: str = ""
    kind: str = "flow"
    weight: float = 1.0
    marks: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Group:
    """A frame around boxes: a module that is shown open.

    Attributes
    ----------
    id : str
    title : str
        ``1 BatchNorm1d``.
    parent : str
        Id of the group around it; empty at the top.
    marks : tuple of str
        From ``MARKS``.
    """

    id: str
    title: str
    parent: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A picture before it is laid out.

    Attributes
    ----------
    title : str
        What is drawn, with totals.
    view : str
        A name from ``VIEWS``, or ``diff``.
    boxes, arrows, groups : tuple
        In the order of the computation; a group comes after the one around it.
    notes : tuple of str
        What was folded and how to open it, and what signs mean.
    depth : int
        How many levels of modules stand open.
    parameters_apart : bool
        Whether parameters have boxes of their own.
    """

    title: str
    view: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    groups: tuple[Group, ...] = ()
    notes: tuple[str, ...] = ()
    depth: int = field(default=0, compare=False)
    parameters_apart: bool = field(default=True, compare=False)
