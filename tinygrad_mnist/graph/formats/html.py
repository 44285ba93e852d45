"""One page that holds all levels of a graph, laid out beforehand: to be searched, walked through and printed.

The page is one file, asks no network for anything, and says the same without its script and without pictures:
a nested list of the modules and a table of all nodes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from string import Template
from typing import Any, Final

from tinygrad_mnist.graph.drawing import Drawing
from tinygrad_mnist.graph.errors import LayoutError, TooLarge
from tinygrad_mnist.graph.formats.dot import printable
from tinygrad_mnist.graph.formats.layout import HEAVIEST, fitting, load, to_svg
from tinygrad_mnist.graph.formats.lists import outline, shown, table, timed
from tinygrad_mnist.graph.formats.theme import DARK, LIGHT, rules
from tinygrad_mnist.graph.graph import Graph

VIEWS: Final = {
    "modules": "Modules",
    "operations": "Operations",
    "backward": "Backward",
    "profile": "Profile",
}
"""Views of one graph, and what a button calls them."""

SCRIPTS: Final = ("picture.js", "graph.js", "lists.js")

HEAVIEST_LEVEL: Final = HEAVIEST // 4
"""Largest `load` of a level that nobody asked for: a page has several, and they take time and room."""

MOST_DEPTHS: Final = 6
"""Depths that one view offers; beyond these, single modules are opened by `expand`."""

INSIDE: Final = "inside"
"""What a button calls the level that opens the first of equal modules that are folded."""


@dataclass(frozen=True)
class _Level:
    """One picture of the page."""

    view: str
    depth: str  # what its button says
    drawing: Drawing
    svg: str
    first: bool  # what its view begins with
    bare: bool = False  # a view of operations that shows those of no module


def to_html(
    graph: Graph,
    view: str = "modules",
    *,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = 40,
) -> str:
    """Write the page.

    Parameters
    ----------
    graph : Graph
    view : str
        The view to open with; the others are there too.
    depth, expand, budget
        Of the picture to open with, see `Graph.draw`.

    Returns
    -------
    str
        HTML. Where pictures cannot be laid out, it has the lists and says what to install.
    """
    opening = fitting(graph, view, {"depth": depth, "expand": expand, "budget": budget})
    levels, remarks = _levels(graph, opening, depth, expand, budget)
    firsts = [number for number, level in enumerate(levels) if level.first and level.view == view]
    start = firsts[0] if firsts else 0
    title, _, totals = opening.title.partition(": ")
    return _asset("graph.html").substitute(
        title=shown(title),
        totals=shown(totals),
        css=_colours() + _asset("graph.css").template,
        script="\n".join(_asset(name).template for name in SCRIPTS),
        picture=levels[start].svg if levels else "",
        levels="".join(
            f'<template class="level">{"" if number == start else level.svg}</template>\n'
            for number, level in enumerate(levels)
        ),
        notes="".join(f"<li>{shown(note)}</li>" for note in (*opening.notes, *remarks)),
        modules=outline(graph),
        table=table(graph),
        count=f"{len(graph.nodes):,}",
        data=_json({"start": start, **_data(graph, levels, remarks)}),
    )


def _asset(name: str) -> Template:
    return Template((files("tinygrad_mnist.graph.formats") / "pages" / name).read_text("utf-8"))


def _colours() -> str:
    """The colours of both themes as properties, for the page and for the pictures in it."""
    properties = {role: f"--{role.replace(' ', '-')}" for role in LIGHT}
    light, dark = (
        "".join(f"{properties[role]}:{colour};" for role, colour in colours.items())
        for colours in (LIGHT, DARK)
    )
    drawn = {role: f"var({name})" for role, name in properties.items()}
    return (
        f":root{{{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}}}\n"
        f"{rules(drawn, '#picture', drawn, drawn)}\n"
    )


# ---- the pictures --------------------------------------------------------------------------------------


def _levels(
    graph: Graph, opening: Drawing, asked: int | None, expand: Collection[str], budget: int
) -> tuple[list[_Level], list[str]]:
    """The pictures, and what has to be said about those that are not there."""
    levels: list[_Level] = []
    remarks: list[str] = []
    deepest = _depths(graph)
    for view in _views(graph, opening.view):
        options = {"expand": expand, "budget": budget}
        opens = view == opening.view
        first = opening if opens else fitting(graph, view, options)
        drawings: list[tuple[str, Drawing]] = []
        for depth in range(1, deepest + 1):
            drawing = graph.draw(view, depth=depth, budget=budget)
            if load(drawing) > HEAVIEST_LEVEL:
                size = f"{len(drawing.boxes):,} boxes"
                remarks.append(f"too large to be laid out: {VIEWS[view]} at depth {depth}, {size}")
                if view == "modules":  # the others show no less
                    deepest = depth - 1
                break
            if all(_seen(drawing) != _seen(other) for _, other in drawings):
                drawings.append((str(depth), drawing))
        same = [drawing for _, drawing in drawings if _seen(drawing) == _seen(first)]
        if same:
            first = same[0]
        else:
            drawings.insert(0, (str(asked) if opens and asked is not None else "auto", first))
        if folded := _folded(graph, first):
            drawings.append((INSIDE, fitting(graph, view, {**options, "expand": [*expand, *folded]})))
        if view == "operations" and not opens and not _shows_operations(graph, first):
            first = next((drawing for _, drawing in drawings if _shows_operations(graph, drawing)), first)
        for name, drawing in drawings:
            boxes = tuple(replace(box, details=()) for box in drawing.boxes)
            picture = replace(drawing, title="", notes=(), boxes=boxes)  # the page says these itself
            try:
                svg = to_svg(picture, "light", f"level{len(levels)}-")
            except TooLarge as error:
                remarks.append(f"{VIEWS[view]} is not shown: {error}")
            except LayoutError as error:
                return [], [f"No picture: {error}"]
            else:
                bare = view == "operations" and not _shows_operations(graph, drawing)
                levels.append(_Level(view, name, drawing, svg.strip(), drawing is first, bare))
    return levels, remarks


def _folded(graph: Graph, drawing: Drawing) -> list[str]:
    """The first module of each run of equal ones that is one box."""
    parent = {cluster.id: cluster.parent for cluster in graph.clusters}
    found = []
    for box in drawing.boxes:
        if box.kind == "fold" and box.nodes:
            around = graph.by_id[box.nodes[0]].cluster
            while around and parent[around] != box.group:
                around = parent[around]
            if around:
                found.append(around)
    return found


def _shows_operations(graph: Graph, drawing: Drawing) -> bool:
    """Whether the inside of some inmost module is seen, in the outermost one that holds the most."""
    outermost = Counter(node.cluster.partition("/")[0] for node in graph.operations)
    largest = max(outermost, key=outermost.__getitem__, default="")
    inmost = {cluster.id for cluster in graph.clusters} - {cluster.parent for cluster in graph.clusters}
    return not largest or any(
        box.kind == "operation" and box.group in inmost and box.group.partition("/")[0] == largest
        for box in drawing.boxes
    )


def _seen(drawing: Drawing) -> tuple[Any, ...]:
    """What is seen of a drawing."""
    return drawing.boxes, drawing.arrows, drawing.groups


def _views(graph: Graph, opening: str) -> list[str]:
    """The views that this graph has something to show in."""
    there = {"backward": graph.has_gradients, "profile": timed(graph), opening: True}
    return [view for view in VIEWS if there.get(view, True)]


def _depths(graph: Graph) -> int:
    """How many depths are offered."""
    return min(MOST_DEPTHS, 1 + max((cluster.id.count("/") for cluster in graph.clusters), default=-1))


def _data(graph: Graph, levels: Sequence[_Level], remarks: Sequence[str]) -> dict[str, Any]:
    """What the script has to know: of each box its words, and the rows of the table that it stands for."""
    row = {node.id: number for number, node in enumerate(graph.nodes)}
    place = {cluster.id: number for number, cluster in enumerate(graph.clusters)}
    return {
        "clusters": [place.get(cluster.parent, -1) for cluster in graph.clusters],
        "rows": [place.get(node.cluster, -1) for node in graph.nodes],
        "levels": [
            {
                "view": VIEWS[level.view],
                "depth": level.depth,
                "first": level.first,
                "bare": level.bare,
                "title": level.drawing.title,
                "notes": [*level.drawing.notes, *remarks],
                "boxes": [
                    {
                        "id": printable(box.id),
                        "kind": box.kind,
                        "title": box.title,
                        "lines": box.lines,
                        "details": box.details,
                        "marks": box.marks,
                        "rows": [row[node] for node in box.nodes if node in row],
                    }
                    for box in level.drawing.boxes
                ],
                "arrows": [
                    {
                        "source": printable(arrow.source),
                        "target": printable(arrow.target),
                        "label": arrow.label,
                    }
                    for arrow in level.drawing.arrows
                ],
            }
            for level in levels
        ],
    }


def _json(data: Any) -> str:
    """JSON that may stand inside a script element, whatever the names in it are."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
