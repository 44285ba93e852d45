"""Which operation, array and module of one graph is which of another, also where something came between.

Two ways are tried: by structure first, which survives a layer that renumbers those after it, and by ids
first. The one that leaves less to tell is taken.

A module of another class is another module, unless operations of the same names are in both: a class that
only has a new name is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final, TypeVar

from tinygrad_mnist.graph.data import OPERATION, Cluster, Edge, Graph, Node

MOST_PAIRS: Final = 100_000
"""Pairs of equal items beyond which to look for long runs would take long."""

MOST_EDITS: Final = 400
"""Edits beyond which the shortest edit is not looked for."""

Item = TypeVar("Item")
Key = Callable[[Any], Hashable]


@dataclass
class Side:
    """A graph with what is asked of it often."""

    graph: Graph
    clusters: dict[str, Cluster] = field(init=False)
    inputs: dict[str, list[Edge]] = field(init=False)

    def __post_init__(self) -> None:
        self.clusters = {cluster.id: cluster for cluster in self.graph.clusters}
        self.inputs = {node.id: [] for node in self.graph.nodes}
        for edge in self.graph.edges:
            self.inputs[edge.target].append(edge)

    def kind(self, node: Node) -> str:
        """The class of the module that a node stands in."""
        return self.clusters[node.cluster].kind if node.cluster in self.clusters else ""

    def loosely(self, node: Node) -> Hashable:
        """What does not change with sizes."""
        return node.name, self.kind(node)

    def strictly(self, node: Node) -> Hashable:
        """What an operation is, and the shapes of what it takes and gives."""
        sources = [self.graph.by_id[edge.source].values[edge.output] for edge in self.inputs[node.id]]
        shapes = tuple((value.shape, value.dtype) for value in (*node.values, *sources))
        return self.loosely(node), node.arguments, shapes

    def by_id(self, node: Node) -> Hashable:
        """The same place and the same thing."""
        return node.id, self.kind(node)


@dataclass
class Matches:
    """Ids of the first graph by ids of the second, and the other way round."""

    nodes: dict[str, str] = field(default_factory=dict)
    back: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)
    clusters_back: dict[str, str] = field(default_factory=dict)

    def add(self, one: str, other: str) -> None:
        """Let two nodes be the same, if neither is another's yet."""
        if one not in self.nodes and other not in self.back:
            self.nodes[one], self.back[other] = other, one

    def add_clusters(self, one: str, other: str) -> None:
        """The same of modules."""
        if one not in self.clusters and other not in self.clusters_back:
            self.clusters[one], self.clusters_back[other] = other, one


def matches(a: Side, b: Side, cost: Callable[[Matches], int]) -> Matches:
    """Match two graphs.

    Parameters
    ----------
    a, b : Side
    cost : callable
        How much there would be to tell.
    """
    by_place = [(a.by_id, b.by_id), (a.loosely, b.loosely), (_cluster, _cluster)]
    by_structure = [(a.strictly, b.strictly), (a.loosely, b.loosely), (_cluster, _cluster)]
    found = _matches(a, b, by_structure)
    if cost(found) == abs(len(a.graph.nodes) - len(b.graph.nodes)):  # no other can leave less
        return found
    return min(_matches(a, b, by_place), found, key=cost)


def _cluster(node: Node) -> Hashable:
    return node.cluster


def _matches(a: Side, b: Side, keys: Sequence[tuple[Key, Key]]) -> Matches:
    found = Matches()
    for one, other in aligned(a.graph.operations, b.graph.operations, keys):
        if one.name == other.name or _akin(a.kind(one), b.kind(other)):
            found.add(one.id, other.id)
    for ours, theirs in list(found.nodes.items()):
        arguments = {edge.argument: edge.source for edge in b.inputs[theirs]}
        for edge in a.inputs[ours]:
            source = arguments.get(edge.argument)
            if source is not None and _arrays(a.graph.by_id[edge.source], b.graph.by_id[source]):
                found.add(edge.source, source)
    _match_clusters(a, b, found)
    return found


def _akin(one: str, other: str) -> bool:
    """Whether two modules may be of the same class, which a plain tape does not know."""
    return one == other or not (one and other)


def _arrays(one: Node, other: Node) -> bool:
    return one.kind == other.kind != OPERATION


def aligned(
    a: Sequence[Item], b: Sequence[Item], keys: Sequence[tuple[Key, Key]]
) -> Iterator[tuple[Item, Item]]:
    """Pairs of two sequences, in order: what the first keys say is equal, and between those by the next keys.

    Where one item stands for one in the end, they are a pair too.

    Examples
    --------
    >>> list(aligned("abc", "aXbc", [(str, str)]))
    [('a', 'a'), ('b', 'b'), ('c', 'c')]
    >>> list(aligned("abc", "aXc", [(str, str)]))
    [('a', 'a'), ('b', 'X'), ('c', 'c')]
    """
    if not keys:
        yield from zip(a, b, strict=True) if len(a) == len(b) == 1 else ()
        return
    if not a or not b:
        return
    (key_a, key_b), *rest = keys
    words_a, words_b = [key_a(item) for item in a], [key_b(item) for item in b]
    head = _common(words_a, words_b)
    tail = _common(words_a[head:][::-1], words_b[head:][::-1])
    yield from zip(a[:head], b[:head], strict=True)
    to_a, to_b = len(a) - tail, len(b) - tail
    i, j = head, head
    for x, y in [*_equal(words_a[head:to_a], words_b[head:to_b]), (to_a - head, to_b - head)]:
        yield from aligned(a[i : head + x], b[j : head + y], rest)
        i, j = head + x + 1, head + y + 1
        if i <= to_a and j <= to_b:
            yield a[i - 1], b[j - 1]
    yield from zip(a[to_a:], b[to_b:], strict=True)


def _equal(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Places of equal items, in order: long runs where that is quick to find, else as many as there are."""
    if _pairs(a, b) > MOST_PAIRS:
        return _shortest_edit(a, b)
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return [(i + k, j + k) for i, j, size in blocks for k in range(size)]


def _shortest_edit(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """What the shortest edit of one sequence to another leaves, by Myers (1986); nothing if that is long.

    ``furthest[k]`` is how far in ``a`` one gets on diagonal ``k`` with so many edits.
    """
    furthest, history = {1: 0}, []
    for edits in range(MOST_EDITS + 1):
        history.append(dict(furthest))
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
            x = furthest[k + 1] if down else furthest[k - 1] + 1
            while x < len(a) and 0 <= x - k < len(b) and a[x] == b[x - k]:
                x += 1
            furthest[k] = x
            if x >= len(a) and x - k >= len(b):
                return _retraced(history, len(a), len(b))
    return []


def _retraced(history: Sequence[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    """The equal items on the way that `_shortest_edit` found, from its end."""
    found = []
    for edits in range(len(history) - 1, -1, -1):
        before, k = history[edits], x - y
        down = k == -edits or (k != edits and before[k - 1] < before[k + 1])
        start = before[k + 1] if down else before[k - 1] + 1
        while x > start:
            x, y = x - 1, y - 1
            found.append((x, y))
        x, y = (x, y - 1) if down else (x - 1, y)
    return found[::-1]


def _pairs(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """How many pairs of equal items there are."""
    count = Counter(b)
    return sum(count[word] for word in a)


def _common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """How many items two sequences begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _match_clusters(a: Side, b: Side, found: Matches) -> None:
    """Match modules by what is in them, from the inside out; those that hold nothing by their place."""
    votes: Counter[tuple[str, str]] = Counter()
    for one, other in found.nodes.items():
        module, its = a.graph.by_id[one].cluster, b.graph.by_id[other].cluster
        while module and its:
            votes[module, its] += 1
            module, its = a.clusters[module].parent, b.clusters[its].parent
    for (module, its), _ in votes.most_common():
        found.add_clusters(module, its)
    in_a, in_b = _children(a), _children(b)
    for parent in ("", *(cluster.id for cluster in a.graph.clusters)):
        same = found.clusters.get(parent) if parent else ""
        if same is not None:
            left = [c for c in in_a.get(parent, ()) if c.id not in found.clusters]
            right = [c for c in in_b.get(same, ()) if c.id not in found.clusters_back]
            for ours, theirs in aligned(left, right, [(key, key) for key in MODULE_KEYS]):
                if _akin(ours.kind, theirs.kind):
                    found.add_clusters(ours.id, theirs.id)


MODULE_KEYS: Final[Sequence[Key]] = (
    lambda module: (module.name, module.kind, module.detail),
    lambda module: (module.kind, module.detail),
    lambda module: module.kind,
)
"""What modules that hold nothing are matched by."""


def _children(side: Side) -> dict[str, list[Cluster]]:
    """The modules by the id of the one around them."""
    children: dict[str, list[Cluster]] = {}
    for cluster in side.graph.clusters:
        children.setdefault(cluster.parent, []).append(cluster)
    return children
