"""Compare two graphs: the modules, operations and arrays that were added, removed or changed.

First the nodes of the two graphs are paired (`_paired`), then pairs that differ are reported (`_changes`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

from tinygrad_mnist.files import write
from tinygrad_mnist.graph.data import OPERATION, PARAMETER, Cluster, Edge, Graph, Node, Statistics
from tinygrad_mnist.graph.descriptions import value_text
from tinygrad_mnist.graph.diff_drawing import draw
from tinygrad_mnist.graph.drawing import Drawing
from tinygrad_mnist.graph.formats import writer_of
from tinygrad_mnist.numbers import count_text, number_text, shape_text

MOST_PAIRS: Final = 100_000
"""Pairs of equal items up to which `SequenceMatcher` looks at all: it takes 0.05 s at most."""


@dataclass(frozen=True)
class Change:
    """A node or a module that both graphs have, and that differs.

    Attributes
    ----------
    old, new : str
        Its id in the first and in the second graph.
    what : tuple of str
        ``shape 128×64 → 128×128``.
    """

    old: str
    new: str
    what: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """The difference between two graphs; false where there is none.

    Attributes
    ----------
    a : Graph
        The graph before.
    b : Graph
        The graph after.
    added : tuple of Node
        Operations and arrays that only ``b`` has.
    removed : tuple of Node
        Operations and arrays that only ``a`` has.
    changed : tuple of Change
        Operations and arrays that both have, and that differ.
    modules_added : tuple of Cluster
        Modules that only ``b`` has.
    modules_removed : tuple of Cluster
        Modules that only ``a`` has.
    modules_changed : tuple of Change
        Modules that both have, and that differ.
    renamed : tuple of (str, str)
        Modules that have another name, as those after an inserted layer; ids in both graphs.
    same : tuple of (str, str)
        Ids of the nodes that both graphs have, changed or not.
    same_modules : tuple of (str, str)
        Ids of the modules that both graphs have.
    """

    a: Graph
    b: Graph
    added: tuple[Node, ...]
    removed: tuple[Node, ...]
    changed: tuple[Change, ...]
    modules_added: tuple[Cluster, ...]
    modules_removed: tuple[Cluster, ...]
    modules_changed: tuple[Change, ...]
    renamed: tuple[tuple[str, str], ...]
    same: tuple[tuple[str, str], ...]
    same_modules: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        modules = self.modules_added or self.modules_removed or self.modules_changed or self.renamed
        return bool(self.added or self.removed or self.changed or modules)

    def summary(self) -> str:
        """Return the difference in one line."""
        if not self:
            return "no difference"
        nodes = {node.id: node for node in self.b.nodes}
        counts = []
        for what, modules, found in (
            ("added", self.modules_added, self.added),
            ("removed", self.modules_removed, self.removed),
            ("changed", self.modules_changed, [nodes[change.new] for change in self.changed]),
        ):
            operations = sum(node.kind == OPERATION for node in found)
            numbers = {"module": len(modules), "operation": operations, "array": len(found) - operations}
            counts += [f"{count_text(count, kind)} {what}" for kind, count in numbers.items() if count]
        if self.renamed:
            counts.append(f"{count_text(len(self.renamed), 'module')} renamed")
        before, after = (sum(node.value.size for node in graph.parameters) for graph in (self.a, self.b))
        if before != after:
            counts.append(f"{before:,} → {count_text(after, 'parameter')}")
        return ", ".join(counts)

    def text(self) -> str:
        """Return the difference as text: ``+`` for added, ``-`` for removed, ``~`` for changed."""
        clusters = {cluster.id: cluster for cluster in self.b.clusters}
        modules = [f"  + {_module_text(cluster)}" for cluster in self.modules_added]
        modules += [f"  - {_module_text(cluster)}" for cluster in self.modules_removed]
        modules += [
            f"  ~ {change.new} {clusters[change.new].kind}: {', '.join(change.what)}"
            for change in self.modules_changed
        ]
        nodes = [
            f"  {sign} {node.id}: {', '.join(map(value_text, node.values))}"
            for sign, found in (("+", self.added), ("-", self.removed))
            for node in found
        ]
        nodes += [f"  ~ {change.new}: {', '.join(change.what)}" for change in self.changed]
        renamed = [f"  {old} → {new}" for old, new in self.renamed]
        blocks = (("modules:", modules), ("operations and arrays:", nodes), ("renamed:", renamed))
        return "\n\n".join([self.summary(), *("\n".join([name, *rows]) for name, rows in blocks if rows)])

    def __str__(self) -> str:
        return self.text()

    def drawing(self, view: str = "modules", **options: Any) -> Drawing:
        """Return both graphs in one picture, with marks; options as for `Graph.draw`."""
        return draw(self, view, **options)

    def dot(self, theme: str = "light", **options: Any) -> str:
        """Return the picture in Graphviz's language."""
        from tinygrad_mnist.graph.formats.dot import to_dot

        return to_dot(self.drawing(**options), theme)

    def svg(self, theme: str = "auto", **options: Any) -> str:
        """Return the picture as SVG."""
        from tinygrad_mnist.graph.formats.svg import to_svg

        return to_svg(self.drawing(**options), theme)

    def png(self, theme: str = "light", **options: Any) -> bytes:
        """Return the picture as PNG."""
        from tinygrad_mnist.graph.formats.layout import render

        return render(self.dot(theme, **options), "png")

    def pdf(self, theme: str = "light", **options: Any) -> bytes:
        """Return the picture as PDF."""
        from tinygrad_mnist.graph.formats.layout import render

        return render(self.dot(theme, **options), "pdf")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from tinygrad_mnist.graph.formats.svg import to_svg
        from tinygrad_mnist.graph.methods import bundle

        return bundle(
            self.text,
            lambda prefix: to_svg(self.drawing(), "auto", prefix),
            lambda: self.a.json() + self.b.json(),
            "a difference, which could not be told",
        )

    def save(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write a picture (``.svg``, ``.png``, ``.pdf``, ``.dot``) or the text (``.txt``), all or nothing.

        Raises
        ------
        ValueError
            If the suffix is another.
        """
        writer = writer_of(path, FORMATS)  # before any work
        return write(path, writer(self, **options))


FORMATS: Final[dict[str, Callable[..., str | bytes]]] = {
    ".svg": Difference.svg,
    ".png": Difference.png,
    ".pdf": Difference.pdf,
    ".dot": Difference.dot,
    ".txt": lambda difference: difference.text() + "\n",
}
"""By suffix."""


def diff(a: Graph, b: Graph, *, statistics: float | None = None) -> Difference:
    """Compare two graphs.

    Operations are paired by ids or, where a layer came in between and those after it have other numbers, by
    structure. A layer of another class is another layer: one was removed and one added. Source lines and
    times are not compared.

    Parameters
    ----------
    a : Graph
        The graph before.
    b : Graph
        The graph after.
    statistics : float, optional
        Compare the statistics of values and gradients too, and report what differs by more than this part of
        the largest entry.

    Returns
    -------
    Difference

    Raises
    ------
    TypeError
        If they are no Graphs.
    ValueError
        If the tolerance is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> x = np.ones((2, 3), np.float32)
    >>> a = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).graph(x)
    >>> b = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).graph(x)
    >>> print(diff(a, b))
    1 module added, 1 operation added, 1 module removed, 1 operation removed
    <BLANKLINE>
    modules:
      + model/1 Tanh
      - model/1 ReLU
    <BLANKLINE>
    operations and arrays:
      + model/1/tanh#1: 2×4 float32
      - model/1/relu#1: 2×4 float32
    >>> bool(diff(a, a))
    False
    """
    for given in (a, b):
        if not isinstance(given, Graph):
            raise TypeError(
                f"diff was given a {type(given).__name__}; expected two Graphs, as model.graph(x) makes them"
            )
    if statistics is not None and not statistics >= 0:
        raise ValueError(f"statistics={statistics} was given; expected a tolerance of 0 or more")
    old, new = _Side(a), _Side(b)
    nodes, modules = pairs = _best_pairs(old, new)
    same_modules = [(modules.old[c.id], c.id) for c in b.clusters if c.id in modules.old]
    return Difference(
        a,
        b,
        added=tuple(node for node in b.nodes if node.id not in nodes.old),
        removed=tuple(node for node in a.nodes if node.id not in nodes.new),
        changed=tuple(_changes(old, new, nodes, statistics)),
        modules_added=tuple(cluster for cluster in b.clusters if cluster.id not in modules.old),
        modules_removed=tuple(cluster for cluster in a.clusters if cluster.id not in modules.new),
        modules_changed=tuple(_module_changes(old, new, pairs.modules)),
        renamed=tuple(
            (one, other) for one, other in same_modules if old.modules[one].name != new.modules[other].name
        ),
        same=tuple((nodes.old[node.id], node.id) for node in b.nodes if node.id in nodes.old),
        same_modules=tuple(same_modules),
    )


# ---- pairs: a node or module of the first graph and the same one in the second -----------------------------


class _Side:
    """One of the two graphs, with indexes; its methods describe an operation for `aligned`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.id: node for node in graph.nodes}
        self.modules = {cluster.id: cluster for cluster in graph.clusters}
        self.operations = [node for node in graph.nodes if node.kind == OPERATION]
        self.inputs: dict[str, list[Edge]] = defaultdict(list)
        for edge in graph.edges:
            self.inputs[edge.target].append(edge)
        self.children: dict[str, list[Cluster]] = defaultdict(list)
        for cluster in graph.clusters:
            self.children[cluster.parent].append(cluster)

    def kind(self, node: Node) -> str:
        """Return the class of the module that a node stands in; empty where it is not known."""
        return self.modules[node.cluster].kind if node.cluster in self.modules else ""

    def by_id(self, node: Node) -> Hashable:
        """Describe an operation by its id: the same name and number in the same place."""
        return node.id, self.kind(node)

    def by_structure(self, node: Node) -> Hashable:
        """Describe an operation by what it is, and by the shapes of its arguments and results."""
        sources = [self.nodes[edge.source].values[edge.output] for edge in self.inputs[node.id]]
        shapes = tuple((value.shape, value.dtype) for value in (*node.values, *sources))
        return self.by_name(node), node.arguments, shapes

    def by_name(self, node: Node) -> Hashable:
        """Describe an operation by what stays the same when sizes change."""
        return node.name, self.kind(node)

    def by_module(self, node: Node) -> Hashable:
        """Describe an operation by the module that it stands in, whatever it is."""
        return node.cluster


class _Pairs:
    """Ids of one graph by ids of the other, both ways; each id is in one pair at most."""

    def __init__(self) -> None:
        self.new: dict[str, str] = {}
        self.old: dict[str, str] = {}

    def add(self, old: str, new: str) -> None:
        """Pair two ids, unless one of them is in a pair already: the first pair is the best one."""
        if old not in self.new and new not in self.old:
            self.new[old], self.old[new] = new, old


class _AllPairs(NamedTuple):
    """The pairs of nodes and the pairs of modules."""

    nodes: _Pairs
    modules: _Pairs


def _best_pairs(a: _Side, b: _Side) -> _AllPairs:
    """Pair nodes and modules in two ways, and return the way that leaves less to report.

    By structure, an inserted layer is found though those after it have other numbers. By ids, a layer whose
    shapes changed is found among others that look like it.
    """

    def cost(pairs: _AllPairs) -> int:
        unpaired = len(a.nodes) + len(b.nodes) - 2 * len(pairs.nodes.new)
        return unpaired + sum(1 for _ in _changes(a, b, pairs.nodes, None))

    by_structure = _paired(a, b, _Side.by_structure)
    if cost(by_structure) == abs(len(a.nodes) - len(b.nodes)):  # nothing can leave less
        return by_structure
    return min(_paired(a, b, _Side.by_id), by_structure, key=cost)


def _paired(a: _Side, b: _Side, strictest: Callable[[_Side, Node], Hashable]) -> _AllPairs:
    """Pair operations in order, by one description and then by looser ones; then arrays and modules."""
    keys = (strictest, _Side.by_name, _Side.by_module)
    words = [[[key(side, node) for node in side.operations] for key in keys] for side in (a, b)]
    nodes = _Pairs()
    for i, j in aligned(*words):
        one, other = a.operations[i], b.operations[j]
        # An operation with another name in a module of another class is another operation.
        if one.name == other.name or _may_be_same(a.kind(one), b.kind(other)):
            nodes.add(one.id, other.id)
    for old, new in list(nodes.new.items()):
        # Arrays have no order of their own: they are the same if the same argument takes them.
        arguments = {edge.argument: b.nodes[edge.source] for edge in b.inputs[new]}
        for edge in a.inputs[old]:
            source, its = a.nodes[edge.source], arguments.get(edge.argument)
            if its is not None and source.kind == its.kind != OPERATION:
                nodes.add(source.id, its.id)
    return _AllPairs(nodes, _module_pairs(a, b, nodes))


def _may_be_same(kind: str, other: str) -> bool:
    """Return whether two modules may be of one class: a plain tape does not know the classes."""
    return kind == other or not (kind and other)


MODULE_KEYS: Final[Sequence[Callable[[Cluster], Hashable]]] = (
    lambda module: (module.name, module.kind, module.detail),
    lambda module: (module.kind, module.detail),
    lambda module: module.kind,
)
"""Descriptions of a module for `aligned`, the strictest first."""


def _module_pairs(a: _Side, b: _Side, nodes: _Pairs) -> _Pairs:
    """Pair modules by the nodes in them; those that hold none by their place among their neighbours."""
    votes: Counter[tuple[str, str]] = Counter()
    for old, new in nodes.new.items():
        # A node votes for all modules around it, so the outer ones are paired by all that is in them.
        one, other = a.nodes[old].cluster, b.nodes[new].cluster
        while one and other:
            votes[one, other] += 1
            one, other = a.modules[one].parent, b.modules[other].parent
    modules = _Pairs()
    for (one, other), _ in votes.most_common():
        modules.add(one, other)
    for parent in ("", *a.modules):  # a module comes after the one around it
        if parent and parent not in modules.new:
            continue
        left = [module for module in a.children[parent] if module.id not in modules.new]
        right = [module for module in b.children[modules.new.get(parent, "")] if module.id not in modules.old]
        words = [[[key(module) for module in side] for key in MODULE_KEYS] for side in (left, right)]
        for i, j in aligned(*words):
            if _may_be_same(left[i].kind, right[j].kind):
                modules.add(left[i].id, right[j].id)
    return modules


def aligned(a: Sequence[Sequence[Hashable]], b: Sequence[Sequence[Hashable]]) -> list[tuple[int, int]]:
    """Return the places of items that are the same in two sequences, in order.

    Parameters
    ----------
    a, b : sequence of sequence
        Descriptions of all items of a sequence: first the strictest, then looser ones. Items that are equal
        by the first are the same; between those, items that are equal by the next, and so on. Where one item
        stands for one in the end, they are the same too.

    Examples
    --------
    >>> aligned(["abc"], ["aXbc"])
    [(0, 0), (1, 2), (2, 3)]
    >>> aligned(["abc"], ["aXc"])
    [(0, 0), (1, 1), (2, 2)]
    """
    found: list[tuple[int, int]] = []
    lengths = len(a[0]), len(b[0])
    for words_a, words_b in zip(a, b, strict=True):
        # Twice: of a long sequence, the first time finds only some; between those, all can be looked at.
        for _ in range(2):
            for left, right in _gaps(found, *lengths):
                equal = _equal(words_a[left.start : left.stop], words_b[right.start : right.stop])
                found += [(left[i], right[j]) for i, j in equal]
            found.sort()
    found += [(left[0], right[0]) for left, right in _gaps(found, *lengths) if len(left) == len(right) == 1]
    return sorted(found)


def _gaps(found: Sequence[tuple[int, int]], *lengths: int) -> list[tuple[range, range]]:
    """Return the places between pairs, of both sequences, where both have some."""
    ends = pairwise([(-1, -1), *found, lengths])
    gaps = [(range(i + 1, to_i), range(j + 1, to_j)) for (i, j), (to_i, to_j) in ends]
    return [(left, right) for left, right in gaps if left and right]


def _equal(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Return places of equal words, in order: the common beginning and end, and long runs between them.

    `SequenceMatcher` looks at all pairs of equal words, again for each run that it finds: two models of 350
    blocks, of 4,600 operations of a dozen kinds, take it 30 s. So in long sequences words are numbered: the
    third ``relu`` of one is the third of the other, and each word is in one pair. That holds for words that
    both have equally often, so only these are kept; all common words, if there are none of these.
    """
    head = _common(a, b)
    tail = _common(a[head:][::-1], b[head:][::-1])  # of what the beginning left
    end_a, end_b = len(a) - tail, len(b) - tail
    places_a: Sequence[int] = range(head, end_a)
    places_b: Sequence[int] = range(head, end_b)
    words_a, words_b = a[head:end_a], b[head:end_b]
    count_a, count_b = Counter(words_a), Counter(words_b)
    if sum(count * count_b[word] for word, count in count_a.items()) > MOST_PAIRS:
        common = count_a.keys() & count_b.keys()
        kept = {word for word in common if count_a[word] == count_b[word]} or common
        places_a, words_a = _numbered(a, places_a, kept)
        places_b, words_b = _numbered(b, places_b, kept)
    blocks = SequenceMatcher(None, words_a, words_b, autojunk=False).get_matching_blocks()
    return [
        *((i, i) for i in range(head)),
        *((places_a[i + k], places_b[j + k]) for i, j, size in blocks for k in range(size)),
        *((end_a + k, end_b + k) for k in range(tail)),
    ]


def _common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Return how many items are the same at the beginning of two sequences."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _numbered(
    words: Sequence[Hashable], places: Iterable[int], kept: Collection[Hashable]
) -> tuple[list[int], list[Hashable]]:
    """Return the places of the words that are kept, and each of these words with its number."""
    seen: Counter[Hashable] = Counter()
    left = [place for place in places if words[place] in kept]
    numbered: list[Hashable] = []
    for place in left:
        seen[words[place]] += 1
        numbered.append((words[place], seen[words[place]]))
    return left, numbered


# ---- changes: pairs that differ ----------------------------------------------------------------------------


def _changes(a: _Side, b: _Side, pairs: _Pairs, tolerance: float | None) -> Iterator[Change]:
    """Yield the paired nodes that differ, in the order of the second graph."""
    for new in b.graph.nodes:
        if new.id in pairs.old:
            old = a.nodes[pairs.old[new.id]]
            what = [*_node_changes(old, new), *_input_changes(a, b, pairs, old, new)]
            if tolerance is not None:
                what += _statistics_changes(old, new, tolerance)
            if what:
                yield Change(old.id, new.id, tuple(what))


def _node_changes(old: Node, new: Node) -> Iterator[str]:
    """Yield what differs about a node itself."""
    names = [node.name if node.kind == OPERATION else node.label for node in (old, new)]
    if names[0] != names[1]:
        yield f"{names[0]} → {names[1]}"
    if old.arguments != new.arguments:
        yield f"arguments {old.arguments or 'none'} → {new.arguments or 'none'}"
    if len(old.values) != len(new.values):
        yield f"{len(old.values)} → {count_text(len(new.values), 'result')}"
    for before, after in zip(old.values, new.values, strict=False):
        if before.shape != after.shape:
            yield f"shape {shape_text(before.shape)} → {shape_text(after.shape)}"
        if before.dtype != after.dtype:
            yield f"dtype {before.dtype} → {after.dtype}"
    # Of a vector the shape tells the size already.
    if len(new.value.shape) > 1 and PARAMETER == old.kind == new.kind and old.value.size != new.value.size:
        yield f"{old.value.size:,} → {count_text(new.value.size, 'parameter')}"
    if old.requires_grad != new.requires_grad:
        yield "requires a gradient now" if new.requires_grad else "requires no gradient any longer"


def _input_changes(a: _Side, b: _Side, pairs: _Pairs, old: Node, new: Node) -> Iterator[str]:
    """Yield the arguments that come from another node, unless that node was added or removed."""
    before = {edge.argument: (edge.source, edge.output) for edge in a.inputs[old.id]}
    after = {edge.argument: (edge.source, edge.output) for edge in b.inputs[new.id]}
    for position in sorted(before.keys() | after.keys()):
        was, now = before.get(position), after.get(position)
        if (was and was[0] not in pairs.new) or (now and now[0] not in pairs.old):
            continue
        if now != (was and (pairs.new[was[0]], was[1])):
            sources = [end[0] if end else "nothing" for end in (was, now)]
            yield f"argument {position} from {sources[0]} → {sources[1]}"


def _statistics_changes(old: Node, new: Node, tolerance: float) -> Iterator[str]:
    """Yield the statistics of values and gradients that differ by more than a tolerance."""
    for before, after in zip(old.values, new.values, strict=False):
        yield from _differing("values", before.statistics, after.statistics, tolerance)
        yield from _differing("gradient", before.gradient, after.gradient, tolerance)


def _differing(what: str, old: Statistics | None, new: Statistics | None, tolerance: float) -> Iterator[str]:
    if old is None or new is None:
        if old is not new:
            yield f"{what}: {'none' if old is None else 'some'} → {'none' if new is None else 'some'}"
        return
    # A mean near 0 is the rounded sum of large entries, so a part of itself would be too strict a tolerance.
    largest = max((abs(end) for end in (old.min, old.max, new.min, new.max) if end is not None), default=0.0)
    for field in fields(Statistics):
        x, y = getattr(old, field.name), getattr(new, field.name)
        scale = max(x or 0, y or 0) if field.name == "norm" else largest
        allowed = 0 if field.name in ("nan", "inf") else tolerance * scale
        if x != y and (x is None or y is None or abs(x - y) > allowed):
            yield f"{what}: {field.name} {number_text(x)} → {number_text(y)}"


def _module_changes(a: _Side, b: _Side, pairs: _Pairs) -> Iterator[Change]:
    """Yield the paired modules that differ in their class or in how they were made."""
    for new in b.graph.clusters:
        if new.id in pairs.old:
            old = a.modules[pairs.old[new.id]]
            what = []
            if old.kind != new.kind:
                what.append(f"{old.kind or 'unknown'} → {new.kind or 'unknown'}")
            if old.detail != new.detail:
                what.append(f"({old.detail}) → ({new.detail})")
            if what:
                yield Change(old.id, new.id, tuple(what))


def _module_text(module: Cluster) -> str:
    return f"{module.id} {module.kind}" + (f"({module.detail})" if module.detail else "")
