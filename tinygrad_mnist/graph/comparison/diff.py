"""What two graphs differ in: modules, operations and arrays that were added, removed or changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

from tinygrad_mnist.graph.comparison.matching import Matches, Side, matches
from tinygrad_mnist.graph.data import (
    OPERATION,
    PARAMETER,
    Cluster,
    Graph,
    Node,
    Statistics,
    Value,
    parameter_count,
)
from tinygrad_mnist.graph.drawing import Drawing
from tinygrad_mnist.graph.numbers import count_text, number_text, shape_text, value_text


@dataclass(frozen=True)
class Change:
    """What is different about something that both graphs have.

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
    """What a second graph has that a first has not, and the other way round; false where that is nothing.

    Attributes
    ----------
    a, b : Graph
    added, removed : tuple of Node
    changed : tuple of Change
        Operations and arrays.
    modules_added, modules_removed : tuple of Cluster
    modules_changed : tuple of Change
    renamed : tuple of (str, str)
        Modules that have another name, as those after an inserted layer; ids in both graphs.
    same : tuple of (str, str)
        Ids of the nodes that are the same in both, changed or not.
    same_modules : tuple of (str, str)
        Of the modules.
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
        """The difference in a line."""
        if not self:
            return "no difference"
        counts = [
            f"{count_text(len(found), kind)} {what}"
            for what, modules, nodes in (
                ("added", self.modules_added, self.added),
                ("removed", self.modules_removed, self.removed),
                ("changed", self.modules_changed, [self.b.by_id[change.new] for change in self.changed]),
            )
            for kind, found in (
                ("module", modules),
                ("operation", [node for node in nodes if node.kind == OPERATION]),
                ("array", [node for node in nodes if node.kind != OPERATION]),
            )
            if found
        ]
        counts += [f"{count_text(len(self.renamed), 'module')} renamed"] if self.renamed else []
        before, after = parameter_count(self.a.nodes), parameter_count(self.b.nodes)
        counts += [f"{before:,} → {after:,} parameters"] if before != after else []
        return ", ".join(counts)

    def text(self) -> str:
        """The difference as text: ``+`` what was added, ``-`` what was removed, ``~`` what was changed."""
        blocks = [
            ["modules:", *_modules(self)],
            ["operations and arrays:", *_nodes(self)],
            ["renamed:", *(f"  {old} → {new}" for old, new in self.renamed)],
        ]
        return "\n\n".join([self.summary(), *("\n".join(block) for block in blocks if len(block) > 1)])

    def __str__(self) -> str:
        return self.text()

    def drawing(self, view: str = "modules", **options: Any) -> Drawing:
        """Both graphs in one picture, with marks; options as for `Graph.draw`."""
        from tinygrad_mnist.graph.comparison.union import draw

        return draw(self, view, **options)

    def dot(self, theme: str = "light", **options: Any) -> str:
        """The picture in Graphviz's language."""
        from tinygrad_mnist.graph.formats.dot import to_dot

        return to_dot(self.drawing(**options), theme)

    def svg(self, theme: str = "auto", **options: Any) -> str:
        """The picture as SVG."""
        from tinygrad_mnist.graph.formats.svg import to_svg

        return to_svg(self.drawing(**options), theme)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from tinygrad_mnist.graph.comparison.union import mimebundle

        return mimebundle(self)

    def save(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write a picture (``.svg``, ``.png``, ``.pdf``, ``.dot``) or the text (``.txt``), all or nothing.

        Raises
        ------
        ValueError
            If the suffix is another.
        """
        from tinygrad_mnist.graph.comparison.union import save

        return save(self, path, **options)


def diff(a: Graph, b: Graph, *, statistics: float | None = None) -> Difference:
    """Compare two graphs.

    Operations are matched by ids or, where a layer came in between and those after it have other numbers, by
    structure. A layer of another class is another layer: one was removed and one added. Source lines and
    times are not compared.

    Parameters
    ----------
    a, b : Graph
        Before and after.
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
    one, other = Side(a), Side(b)

    def cost(found: Matches) -> int:
        unmatched = len(a.nodes) + len(b.nodes) - 2 * len(found.nodes)
        return unmatched + sum(1 for _ in _changes(one, other, found, None))

    found = matches(one, other, cost)
    return Difference(
        a,
        b,
        tuple(node for node in b.nodes if node.id not in found.back),
        tuple(node for node in a.nodes if node.id not in found.nodes),
        tuple(_changes(one, other, found, statistics)),
        tuple(cluster for cluster in b.clusters if cluster.id not in found.clusters_back),
        tuple(cluster for cluster in a.clusters if cluster.id not in found.clusters),
        tuple(_module_changes(one, other, found)),
        tuple(
            (found.clusters_back[cluster.id], cluster.id)
            for cluster in b.clusters
            if cluster.id in found.clusters_back
            and one.clusters[found.clusters_back[cluster.id]].name != cluster.name
        ),
        tuple((found.back[node.id], node.id) for node in b.nodes if node.id in found.back),
        tuple((found.clusters_back[c.id], c.id) for c in b.clusters if c.id in found.clusters_back),
    )


# ---- what changed ----------------------------------------------------------------------------------------


def _changes(a: Side, b: Side, found: Matches, tolerance: float | None) -> Iterator[Change]:
    """Nodes that are different, in the order of the second graph."""
    for new in b.graph.nodes:
        if new.id in found.back:
            old = a.graph.by_id[found.back[new.id]]
            what = [*_node_changes(old, new), *_wiring(a, b, found, old, new)]
            if tolerance is not None:
                what += _statistics_changes(old, new, tolerance)
            if what:
                yield Change(old.id, new.id, tuple(what))


def _node_changes(old: Node, new: Node) -> Iterator[str]:
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
    if len(new.value.shape) > 1 and PARAMETER == old.kind == new.kind and old.value.size != new.value.size:
        yield f"{old.value.size:,} → {new.value.size:,} parameters"
    if old.requires_grad != new.requires_grad:
        yield "requires a gradient now" if new.requires_grad else "requires no gradient any longer"


def _wiring(a: Side, b: Side, found: Matches, old: Node, new: Node) -> Iterator[str]:
    """Arguments that come from elsewhere, unless that is because something was added or removed."""
    before = {edge.argument: (edge.source, edge.output) for edge in a.inputs[old.id]}
    after = {edge.argument: (edge.source, edge.output) for edge in b.inputs[new.id]}
    for position in sorted(before.keys() | after.keys()):
        was, now = before.get(position), after.get(position)
        was_there = was is None or was[0] in found.nodes
        is_there = now is None or now[0] in found.back
        mapped = None if was is None else (found.nodes.get(was[0]), was[1])
        if was_there and is_there and mapped != now:
            sources = ["nothing" if end is None else end[0] for end in (was, now)]
            yield f"argument {position} from {sources[0]} → {sources[1]}"


def _statistics_changes(old: Node, new: Node, tolerance: float) -> Iterator[str]:
    for before, after in zip(old.values, new.values, strict=False):
        yield from _differing("values", before.statistics, after.statistics, tolerance)
        yield from _differing("gradient", before.gradient, after.gradient, tolerance)


def _differing(what: str, old: Statistics | None, new: Statistics | None, tolerance: float) -> Iterator[str]:
    if old is None or new is None:
        if old is not new:
            yield f"{what}: {'none' if old is None else 'some'} → {'none' if new is None else 'some'}"
        return
    ends = [old.min, old.max, new.min, new.max]
    scale = max((abs(end) for end in ends if end is not None), default=0.0)
    for field in fields(Statistics):
        x, y = getattr(old, field.name), getattr(new, field.name)
        room = tolerance * (max(x or 0, y or 0) if field.name == "norm" else scale)
        if field.name in ("nan", "inf"):
            room = 0
        if x != y and (x is None or y is None or abs(x - y) > room):
            yield f"{what}: {field.name} {number_text(x)} → {number_text(y)}"


def _module_changes(a: Side, b: Side, found: Matches) -> Iterator[Change]:
    for new in b.graph.clusters:
        if new.id in found.clusters_back:
            old = a.clusters[found.clusters_back[new.id]]
            what = []
            if old.kind != new.kind:
                what.append(f"{old.kind or 'unknown'} → {new.kind or 'unknown'}")
            if old.detail != new.detail:
                what.append(f"({old.detail}) → ({new.detail})")
            if what:
                yield Change(old.id, new.id, tuple(what))


# ---- as text ---------------------------------------------------------------------------------------------


def _modules(difference: Difference) -> list[str]:
    clusters = {cluster.id: cluster for cluster in difference.b.clusters}
    return [
        *(f"  + {_module(cluster)}" for cluster in difference.modules_added),
        *(f"  - {_module(cluster)}" for cluster in difference.modules_removed),
        *(
            f"  ~ {change.new} {clusters[change.new].kind}: {', '.join(change.what)}"
            for change in difference.modules_changed
        ),
    ]


def _module(cluster: Cluster) -> str:
    return f"{cluster.id} {cluster.kind}" + (f"({cluster.detail})" if cluster.detail else "")


def _nodes(difference: Difference) -> list[str]:
    return [
        *(f"  + {node.id}: {_values(node.values)}" for node in difference.added),
        *(f"  - {node.id}: {_values(node.values)}" for node in difference.removed),
        *(f"  ~ {change.new}: {', '.join(change.what)}" for change in difference.changed),
    ]


def _values(values: Sequence[Value]) -> str:
    return ", ".join(map(value_text, values))
