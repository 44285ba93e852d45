"""One page that holds all levels of a graph, laid out beforehand: to be searched, walked through and printed.

The page is one file, asks no network for anything, and says the same without its script and without pictures:
a nested list of the modules and a table of all nodes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Final, NamedTuple

from tinygrad_mnist.graph.boxes import flops
from tinygrad_mnist.graph.data import Cluster, Graph, Node, Statistics
from tinygrad_mnist.graph.descriptions import nonfinite_text, value_text
from tinygrad_mnist.graph.drawing import Drawing
from tinygrad_mnist.graph.folding import BUDGET
from tinygrad_mnist.graph.formats.dot import printable
from tinygrad_mnist.graph.formats.layout import HEAVIEST, LayoutError, TooLarge, fitting, load
from tinygrad_mnist.graph.formats.svg import to_svg
from tinygrad_mnist.graph.formats.theme import DARK, LIGHT, rules
from tinygrad_mnist.graph.views import VIEWS, draw
from tinygrad_mnist.numbers import bytes_text, count_text, flops_text, number_text, seconds_text

SCRIPTS: Final = ("picture.js", "graph.js", "lists.js")

HEAVIEST_LEVEL: Final = HEAVIEST // 4
"""Largest `load` of a level that nobody asked for: a page has several, and they take time and memory."""

MOST_DEPTHS: Final = 6
"""Most depths that one view offers; beyond these, single modules are opened by `expand`."""

INSIDE: Final = "inside"
"""The name on the button of the level that opens the first of equal modules that are folded."""


@dataclass(frozen=True)
class _Level:
    """One picture of the page."""

    view: str
    depth: str  # on its button
    drawing: Drawing
    svg: str
    first: bool  # its view begins with it
    bare: bool  # it is of the view of operations, and shows those of no module


def to_html(
    graph: Graph,
    view: str = "modules",
    *,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = BUDGET,
) -> str:
    """Return the page.

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
    pictures = _Pictures(graph, opening, depth, expand, budget)
    levels, remarks = pictures.levels(), pictures.remarks
    firsts = (number for number, level in enumerate(levels) if level.first and level.view == view)
    start = next(firsts, 0)
    title, _, totals = opening.title.partition(": ")
    return _asset("graph.html").substitute(
        title=_shown(title),
        totals=_shown(totals),
        css=_colours() + _asset("graph.css").template,
        script="\n".join(_asset(name).template for name in SCRIPTS),
        picture=levels[start].svg if levels else "",
        levels="".join(
            f'<template class="level">{"" if number == start else level.svg}</template>\n'
            for number, level in enumerate(levels)
        ),
        notes="".join(f"<li>{_shown(note)}</li>" for note in (*opening.notes, *remarks)),
        modules=_modules(graph),
        table=_table(graph),
        count=f"{len(graph.nodes):,}",
        data=_json({"start": start, **_data(graph, levels, remarks)}),
    )


def _asset(name: str) -> Template:
    return Template((files("tinygrad_mnist.graph.formats") / "pages" / name).read_text("utf-8"))


def _colours() -> str:
    """Return the colours of both themes as CSS properties, for the page and for the pictures in it."""
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


class _Pictures:
    """The pictures of the page: for each view, those of all depths that differ.

    Attributes
    ----------
    remarks : list of str
        Sentences on pictures that are not there.
    """

    def __init__(
        self, graph: Graph, opening: Drawing, asked: int | None, expand: Collection[str], budget: int
    ) -> None:
        self.graph, self.opening, self.asked = graph, opening, asked
        self.options: dict[str, Any] = {"expand": expand, "budget": budget}
        self.deepest = min(MOST_DEPTHS, 1 + max(graph.levels.values(), default=-1))
        self.remarks: list[str] = []

    def levels(self) -> list[_Level]:
        """Lay out all pictures; if nothing lays out, return none and say so in the remarks."""
        levels: list[_Level] = []
        for view in VIEWS:
            if VIEWS[view].missing(self.graph):
                continue
            first, drawings = self._drawings(view)
            for name, drawing in drawings:
                # Details would be in each picture, and are once in the table and in the data of the script.
                boxes = tuple(replace(box, details=()) for box in drawing.boxes)
                picture = replace(drawing, title="", notes=(), boxes=boxes)  # the page says these itself
                try:
                    svg = to_svg(picture, "light", f"level{len(levels)}-")
                except TooLarge as error:
                    self.remarks.append(f"{VIEWS[view].title} is not shown: {error}")
                except LayoutError as error:
                    self.remarks = [f"No picture: {error}"]
                    return []
                else:
                    bare = VIEWS[view].operations and not _shows_operations(self.graph, drawing)
                    levels.append(_Level(view, name, drawing, svg.strip(), drawing is first, bare))
        return levels

    def _drawings(self, view: str) -> tuple[Drawing, list[tuple[str, Drawing]]]:
        """Return the drawing that a view begins with, and all its drawings by the names on their buttons."""
        opens = view == self.opening.view
        first = self.opening if opens else fitting(self.graph, view, self.options)
        drawings = self._depths(view)
        # The first may look like one of the depths: then the button of that depth opens it.
        same = [drawing for _, drawing in drawings if _looks(drawing) == _looks(first)]
        if same:
            first = same[0]
        else:
            drawings.insert(0, (str(self.asked) if opens and self.asked is not None else "auto", first))
        if folded := _folded_modules(self.graph, first):
            options = {**self.options, "expand": [*self.options["expand"], *folded]}
            drawings.append((INSIDE, fitting(self.graph, view, options)))
        # A reader who asks for operations wants to see some, even if another level is the clearer picture.
        if VIEWS[view].operations and not opens and not _shows_operations(self.graph, first):
            first = next((one for _, one in drawings if _shows_operations(self.graph, one)), first)
        return first, drawings

    def _depths(self, view: str) -> list[tuple[str, Drawing]]:
        """Return the drawings of a view that differ, by depth, as far as they are not too large."""
        drawings: list[tuple[str, Drawing]] = []
        for depth in range(1, self.deepest + 1):
            drawing = draw(self.graph, view, depth=depth, budget=self.options["budget"])
            if load(drawing) > HEAVIEST_LEVEL:
                size = f"{len(drawing.boxes):,} boxes"
                self.remarks.append(f"too large to be laid out: {VIEWS[view].title} at depth {depth}, {size}")
                if view == "modules":  # the others show no less
                    self.deepest = depth - 1
                break
            if all(_looks(drawing) != _looks(other) for _, other in drawings):
                drawings.append((str(depth), drawing))
        return drawings


def _folded_modules(graph: Graph, drawing: Drawing) -> list[str]:
    """Return the first module of each run of equal ones that is one box."""
    folds = (box for box in drawing.boxes if box.kind == "fold")
    first = (next((one for one in box.members if one in graph.clusters_by_id), "") for box in folds)
    return list(filter(None, first))


def _shows_operations(graph: Graph, drawing: Drawing) -> bool:
    """Return whether a drawing shows the inside of some leaf of the outermost module that holds the most."""
    outermost = Counter(node.cluster.partition("/")[0] for node in graph.operations)
    largest = max(outermost, key=outermost.__getitem__, default="")
    inmost = {cluster.id for cluster in graph.clusters} - {cluster.parent for cluster in graph.clusters}
    return not largest or any(
        box.kind == "operation" and box.group in inmost and box.group.partition("/")[0] == largest
        for box in drawing.boxes
    )


def _looks(drawing: Drawing) -> tuple[Any, ...]:
    """Return what is seen of a drawing, its notes apart."""
    return drawing.boxes, drawing.arrows, drawing.groups


def _data(graph: Graph, levels: Sequence[_Level], remarks: Sequence[str]) -> dict[str, Any]:
    """Return what the script has to know: the words of each box, and the rows of the table for it."""
    row = {node.id: number for number, node in enumerate(graph.nodes)}
    place = {cluster.id: number for number, cluster in enumerate(graph.clusters)}
    return {
        "clusters": [place.get(cluster.parent, -1) for cluster in graph.clusters],
        "rows": [place.get(node.cluster, -1) for node in graph.nodes],
        "levels": [
            {
                "view": VIEWS[level.view].title,
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
    """Return JSON that may stand inside a script element, whatever the names in it are."""
    # "</script" would end the element, "<!--" change how it is read.
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# ---- the lists -------------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    """Return a text as HTML that shows it, whatever is in it."""
    return escape(printable(text))


def _modules(graph: Graph) -> str:
    """Return the modules as a nested list, with the number of parameters that each holds."""
    if not graph.clusters:
        return "<p>No module took part.</p>"
    inner: dict[str, list[int]] = defaultdict(list)
    for number, cluster in enumerate(graph.clusters):
        inner[cluster.parent].append(number)
    held = _parameters(graph)
    out = ["<ul>"]
    waiting: list[int | str] = ["</ul>", *reversed(inner[""])]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            out.append(one)
            continue
        cluster = graph.clusters[one]
        out.append(
            f'<li><button type="button" data-cluster="{one}">{_words(cluster, held[cluster.id])}</button>'
        )
        waiting.append("</li>")
        if inner[cluster.id]:
            out.append("<ul>")
            waiting += ["</ul>", *reversed(inner[cluster.id])]
    return "".join(out)


def _words(cluster: Cluster, parameters: int) -> str:
    """Return the words for a module in the nested list."""
    call = f" <small>call {cluster.call}</small>" if cluster.call > 1 else ""
    kind = "" if cluster.kind == cluster.name else f" {_shown(cluster.kind)}"
    detail = f"<small>({_shown(cluster.detail)})</small>" if cluster.detail else ""
    count = f" <small>{count_text(parameters, 'parameter')}</small>" if parameters else ""
    return f"<b>{_shown(cluster.name)}</b>{kind}{detail}{call}{count}"


def _parameters(graph: Graph) -> Counter[str]:
    """Count the entries of the parameters of each module, those inside it included."""
    held: Counter[str] = Counter()
    for node in graph.parameters:
        around = node.cluster
        while around:
            held[around] += node.value.size
            around = graph.clusters_by_id[around].parent
    return held


class _Column(NamedTuple):
    """A column of the table: its heading, its text for a node, and the number to sort by if not by that."""

    name: str
    text: Callable[[Node], str]
    number: Callable[[Node], float | None] | None = None


def _columns(graph: Graph) -> list[_Column]:
    """Return the columns that have something to show."""
    columns = [
        _Column("kind", lambda node: node.kind),
        _Column("value", lambda node: "; ".join(map(value_text, node.values)), lambda node: node.value.size),
        _Column("bytes", lambda node: bytes_text(_bytes(node)), _bytes),
    ]
    columns += [
        _Column(name, partial(_statistic, name=name, of="statistics"))
        for name in ("min", "mean", "std", "max")
    ]
    if any(not value.statistics.finite for node in graph.nodes for value in node.values if value.statistics):
        columns.append(_Column("not finite", _not_finite))
    if graph.has_gradients:
        columns.append(_Column("gradient norm", partial(_statistic, name="norm", of="gradient")))
    if not VIEWS["profile"].missing(graph):
        columns += [
            _Column(
                "forward", lambda node: seconds_text(node.forward_seconds), lambda node: node.forward_seconds
            ),
            _Column(
                "backward",
                lambda node: seconds_text(node.backward_seconds),
                lambda node: node.backward_seconds,
            ),
        ]
    if any(node.forward_flops for node in graph.nodes):
        columns.append(_Column("products", lambda node: flops_text(_products(node)), _products))
    if any(node.line for node in graph.nodes):
        columns.append(_Column("line", lambda node: node.line))
    return columns


def _products(node: Node) -> int:
    return sum(flops([node]))


def _table(graph: Graph) -> str:
    """Return all nodes as a table, a row each."""
    columns = _columns(graph)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("node", *(column.name for column in columns)))
    rows = []
    for number, node in enumerate(graph.nodes):
        cells = "".join(_cell(column, node) for column in columns)
        button = f'<button type="button" data-row="{number}">{_shown(node.id)}</button>'
        rows.append(f'<tr><th scope="row">{button}</th>{cells}</tr>\n')
    return f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>"


def _cell(column: _Column, node: Node) -> str:
    number = column.number and column.number(node)
    return f"<td{'' if number is None else f' data-v={number}'}>{_shown(column.text(node))}</td>"


def _bytes(node: Node) -> int:
    return sum(value.bytes for value in node.values)


def _statistic(node: Node, name: str, of: str) -> str:
    statistics = getattr(node.value, of)
    return "" if statistics is None else number_text(getattr(statistics, name))


def _not_finite(node: Node) -> str:
    """Return the numbers of entries that are not finite, over all values."""
    known = [value.statistics for value in node.values if value.statistics is not None]
    return nonfinite_text(Statistics(nan=sum(one.nan for one in known), inf=sum(one.inf for one in known)))
