"""The picture of a difference: what both graphs have, once, and what only one has, marked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.files import target_of, write
from tinygrad_mnist.graph.comparison.diff import Difference
from tinygrad_mnist.graph.data import OPERATION, Graph, Node
from tinygrad_mnist.graph.drawing import MARKS, Arrow, Box, Drawing, Group
from tinygrad_mnist.graph.views import draw as draw_graph

MOST_LINES: Final = 2
"""Changes that are written in a box."""

SUFFIXES: Final = (".svg", ".png", ".pdf", ".dot", ".txt")
"""Of what a difference can be saved as."""

REMOVED: Final = "~removed"
"""What the id of a module or node that is no more ends with."""


def draw(difference: Difference, view: str, **options: Any) -> Drawing:
    """A drawing of both graphs with the marks ``added``, ``removed`` and ``changed``."""
    union, removed = both(difference)
    drawn = draw_graph(union, view, **options)
    status = {node.id: "added" for node in difference.added}
    status.update(dict.fromkeys(removed, "removed"))
    status.update({change.new: "changed" for change in difference.changed})
    words = {change.new: change.what for change in difference.changed}
    boxes = tuple(_marked(box, status, words) for box in drawn.boxes)
    mark_of = {box.id: mark for box in boxes for mark in box.marks if mark in ("added", "removed")}
    modules = {cluster.id: "added" for cluster in difference.modules_added}
    modules.update({cluster.id: "removed" for cluster in union.clusters if cluster.id.endswith(REMOVED)})
    modules.update({change.new: "changed" for change in difference.modules_changed})
    return replace(
        drawn,
        title=_title(difference),
        view="diff",
        boxes=boxes,
        arrows=tuple(_arrow(arrow, mark_of) for arrow in drawn.arrows),
        groups=tuple(_group(group, modules) for group in drawn.groups),
        notes=(difference.summary(), *_notes(difference), *drawn.notes),
    )


def both(difference: Difference) -> tuple[Graph, list[str]]:
    """The second graph with what was removed from the first, and the ids that this has there."""
    a, b = difference.a, difference.b
    modules = dict(difference.same_modules)
    clusters = list(b.clusters)
    for cluster in difference.modules_removed:
        parent = modules.get(cluster.parent, "")
        own = cluster.id.removeprefix(f"{cluster.parent}/")
        modules[cluster.id] = (f"{parent}/" if parent else "") + own + REMOVED
        clusters.append(replace(cluster, id=modules[cluster.id], parent=parent))
    ids = dict(difference.same)
    place = {node.id: i for i, node in enumerate(b.nodes)}
    after: dict[int, list[Node]] = {}
    last = -1
    for node in a.nodes:
        if node.id in ids:
            if node.kind == OPERATION:
                last = place[ids[node.id]]
            continue
        home = modules.get(node.cluster, "")
        ids[node.id] = (f"{home}/" if home else "") + node.id.removeprefix(f"{node.cluster}/") + REMOVED
        after.setdefault(last, []).append(replace(node, id=ids[node.id], cluster=home))
    removed = [node for nodes in after.values() for node in nodes]
    gone = {node.id for node in removed}
    edges = [
        replace(edge, source=ids[edge.source], target=ids[edge.target])
        for edge in a.edges
        if ids[edge.source] in gone or ids[edge.target] in gone
    ]
    nodes = [
        *after.get(-1, []),
        *(one for i, node in enumerate(b.nodes) for one in (node, *after.get(i, []))),
    ]
    outputs = dict.fromkeys([*b.outputs, *(ids[id] for id in a.outputs if ids[id] in gone)])
    union = Graph(tuple(nodes), (*b.edges, *edges), tuple(clusters), tuple(outputs))
    return union, [node.id for node in removed]


def _title(difference: Difference) -> str:
    counts = {
        "added": len(difference.added),
        "removed": len(difference.removed),
        "changed": len(difference.changed),
    }
    found = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"Difference: {found or 'none in what is computed'}"


def _marked(box: Box, status: dict[str, str], words: dict[str, tuple[str, ...]]) -> Box:
    """A box with the mark of the nodes that it stands for, and what changed in them."""
    found = {status.get(id, "") for id in box.nodes}
    mark = _common(found)
    if not mark:
        return box
    changes = [what for id in box.nodes for what in words.get(id, ())]
    own = tuple(changes[:MOST_LINES]) if len(box.nodes) == 1 else ()
    return replace(
        box,
        lines=(*box.lines, *own),
        details=(*box.details, *(("changed", what) for what in changes)),
        marks=_ordered({*box.marks, mark}),
    )


def _common(found: set[str]) -> str:
    """The mark of something, by those of its parts."""
    if found <= {""}:
        return ""
    return found.pop() if len(found) == 1 else "changed"


def _arrow(arrow: Arrow, mark_of: dict[str, str]) -> Arrow:
    ends = {mark_of[end] for end in (arrow.source, arrow.target) if end in mark_of}
    return replace(arrow, marks=_ordered({*arrow.marks, *ends})) if ends else arrow


def _group(group: Group, modules: dict[str, str]) -> Group:
    return replace(group, marks=(modules[group.id],)) if group.id in modules else group


def _ordered(marks: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(marks, key=MARKS.index))


def _notes(difference: Difference) -> list[str]:
    notes = []
    a, b = ({node.cluster for node in graph.nodes} for graph in (difference.a, difference.b))
    for what, modules, filled in (
        ("added", difference.modules_added, b),
        ("removed", difference.modules_removed, a),
    ):
        parents = {cluster.parent for cluster in modules}
        silent = [c.id for c in modules if c.id not in filled and c.id not in parents]
        notes += [f"{what}, without an operation: {', '.join(silent)}"] if silent else []
    if difference.renamed:
        pairs = [f"{old} → {new}" for old, new in difference.renamed]
        notes.append("renamed: " + ", ".join(pairs[:4]) + (", …" if len(pairs) > 4 else ""))
    return notes


def save(difference: Difference, path: str | PathLike[str], **options: Any) -> Path:
    """Write the picture or the text, by suffix."""
    from tinygrad_mnist.graph.formats.layout import render

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"cannot tell a format by {path.name!r}; expected a name that ends in {', '.join(SUFFIXES)}"
        )
    target_of(path)  # before any work
    if suffix == ".txt":
        return write(path, difference.text() + "\n")
    if suffix == ".svg":
        return write(path, difference.svg(**options))
    dot = difference.dot(**options)
    return write(path, dot if suffix == ".dot" else render(dot, suffix[1:]))


def mimebundle(difference: Difference) -> dict[str, str]:
    """What a notebook may show of a difference. Never raises."""
    from tinygrad_mnist.graph.formats.svg import to_svg
    from tinygrad_mnist.graph.methods import bundle

    return bundle(
        difference.text,
        lambda prefix: to_svg(difference.drawing(), "auto", prefix),
        lambda: difference.a.json() + difference.b.json(),
        "a difference, which could not be told",
    )
