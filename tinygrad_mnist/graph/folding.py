"""What is seen of a graph: which modules stand open, and which equal or too many parts are folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tinygrad_mnist.graph.data import OPERATION, Edge
from tinygrad_mnist.graph.outline import Outline

LEAST_RUN: Final = 4
"""How many equal modules in a row are folded, though there may be room for all."""

LEAST_RUN_IF_FULL: Final = 3
"""How many equal parts in a row are folded where there is no room for all."""

LONGEST_PERIOD: Final = 8
"""How many modules and operations the unit that repeats may have."""

FARTHEST: Final = 64
"""An operand that was made more operations before than this is only called far."""


@dataclass(eq=False)
class Part:
    """One box to be: an operation, a module that stays closed, or several of them folded.

    Attributes
    ----------
    group : str
        Id of the open cluster that it stands in.
    members : tuple of str
        Ids of operations and clusters.
    repeats : int
        How many times the same unit is there; 0 where different things are folded.
    """

    group: str
    members: tuple[str, ...]
    repeats: int = 1

    @property
    def is_fold(self) -> bool:
        """Whether it stands for more than one member."""
        return self.repeats != 1


@dataclass(eq=False)
class Plan:
    """What is seen: the open clusters and the parts in them, in the order of the computation.

    Attributes
    ----------
    groups : list of str
        Ids of open clusters, the ones around first.
    parts : list of Part
    depth : int
        How many levels stand open.
    closed : list of str
        Modules that one more level would open.
    """

    groups: list[str]
    parts: list[Part]
    depth: int
    closed: list[str]


@dataclass(eq=False)
class Folding:
    """How the members of the clusters of a graph are folded.

    Parameters
    ----------
    outline : Outline
    forced : set of str
        Clusters that are to be open in any case, with those around them.
    open_leaves : bool
        Whether a module without modules in it is opened for being at the right depth.
    """

    outline: Outline
    forced: set[str]
    open_leaves: bool
    signs: dict[str, int] = field(init=False)
    _known: dict[tuple[str, bool, bool], list[Part]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.signs = signatures(self.outline)

    def plan(self, depth: int, *, fold_open: bool, full: bool = False, longest: int | None = None) -> Plan:
        """Open so many levels, and fold.

        Parameters
        ----------
        depth : int
        fold_open : bool
            Whether runs of equal modules are folded also where they would be open at this depth.
        full : bool
            Fold all runs, also of plain operations, as there is no room.
        longest : int, optional
            How many parts may stand in one group before its middle is folded.
        """
        groups: list[str] = []
        parts: list[Part] = []
        waiting: list[Part] = [Part("", ("",))]
        while waiting:
            part = waiting.pop()
            inner = part.members[0]
            if not part.is_fold and (not inner or self._is_open(inner, depth)):
                if inner:
                    groups.append(inner)
                whole = not fold_open and (self.outline.level[inner] + 1 if inner else 0) < depth
                held = self._held(inner, whole, full)
                if longest is not None and len(held) > longest:
                    held = self._without_middle(held, longest)
                waiting.extend(reversed(held))
            else:
                parts.append(part)
        alone = [part.members[0] for part in parts if not part.is_fold]
        closed = [one for one in alone if one in self.outline.clusters and self._may_open(one)]
        return Plan(groups, parts, depth, closed)

    def _may_open(self, cluster: str) -> bool:
        return self.open_leaves or not self.outline.is_leaf(cluster)

    def _is_open(self, member: str, depth: int) -> bool:
        if member not in self.outline.clusters:
            return False
        return member in self.forced or (self.outline.level[member] < depth and self._may_open(member))

    def _held(self, cluster: str, whole: bool, full: bool) -> list[Part]:
        """The members of a cluster as parts: runs folded, but for those of modules that are seen whole."""
        key = (cluster, whole, full)
        if key not in self._known:
            self._known[key] = list(self._folded(cluster, whole, full))
        return self._known[key]

    def _folded(self, cluster: str, whole: bool, full: bool) -> Iterator[Part]:
        outline, members = self.outline, self.outline.members[cluster]
        signs = np.array([self.signs[member] for member in members])
        if whole:
            for i, member in enumerate(members):
                if member in outline.clusters:
                    signs[i] = -1 - i  # equal to nothing
        for start, stop, repeats in runs(signs, LEAST_RUN_IF_FULL if full else LEAST_RUN):
            part = Part(cluster, tuple(members[start:stop]), repeats)
            if not part.is_fold:
                yield part
            elif full or is_loop(outline, part) or self._is_run_of_modules(part):
                yield from self._without_forced(part)
            else:
                yield from _apart(part)

    def _without_forced(self, part: Part) -> list[Part]:
        """A run, cut where a unit of it holds what is open in any case."""
        if self.forced.isdisjoint(part.members):
            return [part]
        period = len(part.members) // part.repeats
        parts: list[Part] = []
        together: list[str] = []
        for start in range(0, len(part.members) + 1, period):
            unit = part.members[start : start + period]
            if unit and self.forced.isdisjoint(unit):
                together += unit
                continue
            if together:
                parts.append(Part(part.group, tuple(together), len(together) // period))
            parts += [Part(part.group, (member,)) for member in unit]
            together = []
        return [one for part in parts for one in ([part] if part.is_fold else _apart(part))]

    def _is_run_of_modules(self, part: Part) -> bool:
        return part.repeats == len(part.members) and part.members[0] in self.outline.clusters

    def _without_middle(self, parts: Sequence[Part], longest: int) -> list[Part]:
        """The first and the last parts, and one for those between; what is open in any case stays."""
        first = longest // 2
        last = len(parts) - (longest - 1 - first)
        kept = list(parts[:first])
        middle: list[Part] = []
        for part in [*parts[first:last], None]:
            if part is not None and part.members[0] not in self.forced:
                middle.append(part)
                continue
            if len(middle) > 1:
                members = tuple(member for one in middle for member in one.members)
                kept.append(Part(middle[0].group, members, 0))
            else:
                kept += middle
            if part is not None:
                kept.append(part)
            middle = []
        return kept + list(parts[last:])


def _apart(part: Part) -> list[Part]:
    """The members of a part, each on its own."""
    return [Part(part.group, (member,)) for member in part.members]


def is_loop(outline: Outline, part: Part) -> bool:
    """Whether a part is a module that was called again and again, with what is between."""
    if part.repeats < 2:
        return False
    period = len(part.members) // part.repeats
    modules = [
        {outline.clusters[member].module for member in part.members[i::period]}
        for i in range(period)
        if part.members[i] in outline.clusters
    ]
    return bool(modules) and all(len(names) == 1 for names in modules)


def runs(signs: np.ndarray, least: int) -> Iterable[tuple[int, int, int]]:
    """Cut a sequence into stretches ``(start, stop, repeats)`` in which a unit repeats, and single members.

    The time is linear in the length: for each period it is counted beforehand how far the sequence goes on
    to equal itself.

    Examples
    --------
    >>> list(runs(np.array([7, 1, 2, 1, 2, 1, 2, 9]), 3))
    [(0, 1, 1), (1, 7, 3), (7, 8, 1)]
    """
    size = len(signs)
    agreeing = [_agreeing(signs, period) for period in range(1, min(LONGEST_PERIOD, size // 2) + 1)]
    start = 0
    while start < size:
        stop, repeats = start + 1, 1
        for period, counts in enumerate(agreeing, 1):
            times = counts[start] // period + 1
            if times >= least and start + times * period > stop:
                stop, repeats = start + times * period, times
        yield start, stop, repeats
        start = stop


def _agreeing(signs: np.ndarray, period: int) -> list[int]:
    """From each place on, how many members in a row are equal to the one a period later."""
    equal = np.zeros(len(signs), bool)
    equal[:-period] = signs[:-period] == signs[period:]
    places = np.arange(len(signs))
    ends = np.where(equal, len(signs), places)
    return [int(n) for n in np.minimum.accumulate(ends[::-1])[::-1] - places]


def signatures(outline: Outline) -> dict[str, int]:
    """A number for each operation and cluster; those of the same structure have the same.

    The structure is classes, operations, shapes, dtypes and how they are wired inside. Which parameters,
    which inputs, and numbers among the arguments (``x[3]``) may differ.
    """
    numbers: dict[tuple[object, ...], int] = {}
    signs: dict[str, int] = {}
    nodes = outline.graph.by_id
    order = {node.id: i for i, node in enumerate(n for n in outline.graph.nodes if n.kind == OPERATION)}
    taken: dict[str, list[tuple[object, ...]]] = {}
    for edge in outline.graph.edges:
        taken.setdefault(edge.target, []).append((edge.argument, edge.output, _origin(outline, order, edge)))
    for operation in order:
        node = nodes[operation]
        values = tuple((value.shape, value.dtype) for value in node.values)
        arguments = re.sub(r"-?\d[\d.e+-]*", "0", node.arguments)
        key = (node.name, arguments, values, tuple(taken.get(operation, ())))
        signs[operation] = numbers.setdefault(key, len(numbers))
    for cluster in reversed(outline.clusters.values()):
        held = tuple(signs[member] for member in outline.members[cluster.id])
        signs[cluster.id] = numbers.setdefault((cluster.kind, cluster.detail, held), len(numbers))
    return signs


def _origin(outline: Outline, order: dict[str, int], edge: Edge) -> object:
    """Where an operand comes from, seen from the operation that takes it."""
    source, target = outline.graph.by_id[edge.source], outline.graph.by_id[edge.target]
    if source.kind != OPERATION:
        return source.kind if source.cluster or not target.cluster else "outside"
    if target.cluster and not f"{source.cluster}/".startswith(f"{target.cluster}/"):
        return "outside"
    distance = order[edge.target] - order[edge.source]
    return distance if distance <= FARTHEST else "far"
