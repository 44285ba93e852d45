"""Draw a difference: the nodes of both graphs in one picture, with those that only one has marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tinygrad_mnist.graph.data import OPERATION, Cluster, Graph, Node
from tinygrad_mnist.graph.drawing import MARKS, Box, Drawing
from tinygrad_mnist.graph.views import draw as draw_graph

if TYPE_CHECKING:  # a Difference has methods that draw it, and stands above
    from tinygrad_mnist.graph.diff import Change, Difference

Part = Node | Cluster

MOST_LINES: Final = 2
"""Changes that are written in a box."""

MOST_RENAMED: Final = 4
"""Renamed modules that are written in a note."""

REMOVED: Final = "~removed"
"""The ending of the id of a module or node that was removed; so it is never the id of another."""


def draw(difference: Difference, view: str, **options: Any) -> Drawing:
    """Return a drawing of both graphs with the marks ``added``, ``removed`` and ``changed``."""
    both = union(difference)
    drawn = draw_graph(both, view, **options)
    nodes = _marks(both.nodes, difference.b.nodes, difference.added, difference.changed)
    modules = _marks(
        both.clusters, difference.b.clusters, difference.modules_added, difference.modules_changed
    )
    changes = {change.new: change.what for change in difference.changed}
    boxes = tuple(_marked(box, nodes, changes) for box in drawn.boxes)
    # An arrow is new where one of its ends is; where an end has only changed, the arrow was there before.
    ends = {box.id: {"added", "removed"}.intersection(box.marks) for box in boxes}
    arrows = tuple(
        replace(arrow, marks=_in_order({*arrow.marks, *ends[arrow.source], *ends[arrow.target]}))
        for arrow in drawn.arrows
    )
    groups = tuple(
        replace(group, marks=(modules[group.id],)) if group.id in modules else group for group in drawn.groups
    )
    notes = (difference.summary(), *_notes(difference), *drawn.notes)
    return replace(
        drawn, title=_title(difference), view="diff", boxes=boxes, arrows=arrows, groups=groups, notes=notes
    )


def _marks(
    both: Sequence[Part], b: Sequence[Part], added: Sequence[Part], changed: Sequence[Change]
) -> dict[str, str]:
    """Return the marks of nodes, or of modules, by id."""
    removed = {one.id for one in both} - {one.id for one in b}
    return {
        **dict.fromkeys(removed, "removed"),
        **dict.fromkeys((one.id for one in added), "added"),
        **dict.fromkeys((change.new for change in changed), "changed"),
    }


def union(difference: Difference) -> Graph:
    """Return the second graph together with what was removed from the first.

    The ids of removed nodes and modules end with `REMOVED`; all others are those of the second graph.
    """
    a, b = difference.a, difference.b
    modules = dict(difference.same_modules)  # id in the first graph: id here
    clusters = list(b.clusters)
    for cluster in difference.modules_removed:  # those around come first, so they have their ids already
        parent = modules.get(cluster.parent, "")
        modules[cluster.id] = _removed_id(cluster.id, cluster.parent, parent)
        clusters.append(replace(cluster, id=modules[cluster.id], parent=parent))
    ids = dict(difference.same)
    removed = {}
    for node in difference.removed:
        cluster_id = modules.get(node.cluster, "")
        ids[node.id] = _removed_id(node.id, node.cluster, cluster_id)
        removed[node.id] = replace(node, id=ids[node.id], cluster=cluster_id)
    edges = [
        replace(edge, source=ids[edge.source], target=ids[edge.target])
        for edge in a.edges
        if edge.source in removed or edge.target in removed
    ]
    outputs = dict.fromkeys([*b.outputs, *(ids[id] for id in a.outputs if id in removed)])
    # Where `qr` became `exp`, what used its second result was removed, and its arrow still starts there.
    used = {ids[edge.source]: a.by_id[edge.source].values for edge in a.edges if edge.target in removed}
    nodes = [
        replace(node, values=(*node.values, *used.get(node.id, ())[len(node.values) :]))
        for node in _merged(difference, removed)
    ]
    return Graph(tuple(nodes), (*b.edges, *edges), tuple(clusters), tuple(outputs))


def _removed_id(id: str, parent: str, new_parent: str) -> str:
    """Return the id of what was removed, in the module that stands for the one around it."""
    own = id.removeprefix(f"{parent}/")
    return (f"{new_parent}/" if new_parent else "") + own + REMOVED


def _merged(difference: Difference, removed: Mapping[str, Node]) -> list[Node]:
    """Return the nodes of the second graph, with each removed one after the operation that it came after."""
    same = dict(difference.same)
    after: dict[str, list[Node]] = defaultdict(list)
    last = ""
    for node in difference.a.nodes:
        if node.id in removed:
            after[last].append(removed[node.id])
        elif node.kind == OPERATION:  # an array stands before its first use, which may be elsewhere now
            last = same[node.id]
    return after[""] + [one for node in difference.b.nodes for one in (node, *after[node.id])]


def _title(difference: Difference) -> str:
    counts = {
        "added": len(difference.added),
        "removed": len(difference.removed),
        "changed": len(difference.changed),
    }
    found = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"Difference: {found or 'none in what is computed'}"


def _marked(box: Box, marks: Mapping[str, str], changes: Mapping[str, tuple[str, ...]]) -> Box:
    """Return a box with the mark of the nodes that it stands for, and with what changed in them."""
    found = {marks.get(id, "") for id in box.nodes} or {""}
    mark = found.pop() if len(found) == 1 else "changed"  # a box of several nodes that are not all alike
    if not mark:
        return box
    what = [change for id in box.nodes for change in changes.get(id, ())]
    own = what[:MOST_LINES] if len(box.nodes) == 1 else []
    return replace(
        box,
        lines=(*box.lines, *own),
        details=(*box.details, *(("changed", change) for change in what)),
        marks=_in_order({*box.marks, mark}),
    )


def _in_order(marks: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(marks, key=MARKS.index))


def _notes(difference: Difference) -> list[str]:
    """Return notes on what no box shows: modules without an operation, and new names."""
    notes = []
    for what, modules, graph in (
        ("added", difference.modules_added, difference.b),
        ("removed", difference.modules_removed, difference.a),
    ):
        filled = {node.cluster for node in graph.nodes} | {cluster.parent for cluster in modules}
        empty = [cluster.id for cluster in modules if cluster.id not in filled]
        notes += [f"{what}, without an operation: {', '.join(empty)}"] if empty else []
    if difference.renamed:
        pairs = [f"{old} → {new}" for old, new in difference.renamed]
        more = ["…"] if len(pairs) > MOST_RENAMED else []
        notes.append("renamed: " + ", ".join(pairs[:MOST_RENAMED] + more))
    return notes
