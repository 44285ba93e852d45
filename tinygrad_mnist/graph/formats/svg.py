"""A drawing as SVG that is fit for pages: named, described, without scripts, in light and dark.

Graphviz lays it out and writes SVG with colours alone; the rest is added here.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from typing import Final
from xml.etree import ElementTree

from tinygrad_mnist.graph.drawing import Arrow, Box, Drawing, Group
from tinygrad_mnist.graph.formats.dot import FONT, ends, node_name, printable, to_dot
from tinygrad_mnist.graph.formats.layout import HEAVIEST, TooLarge, load, render
from tinygrad_mnist.graph.formats.theme import DARK, class_name, mark_words, palette, rules, signed

SVG: Final = "http://www.w3.org/2000/svg"
RADII: Final = {"module": 8.0, "operation": 8.0, "parameter": 15.0}
"""The radii of the corners of boxes, by kind; the largest makes a pill."""

_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def to_svg(drawing: Drawing, theme: str = "auto", prefix: str = "") -> str:
    """Return a drawing as SVG that needs nothing else.

    Each box is a ``<g class="node KIND" data-id="ID">`` with a title, which browsers show under the mouse,
    and a label, which is read aloud; an arrow is a ``<g class="edge KIND" data-source data-target>``.

    Parameters
    ----------
    drawing : Drawing
    theme : str
        ``light``, ``dark``, or ``auto`` to follow the reader's setting.
    prefix : str
        The beginning of all ids, for several pictures in one page.

    Raises
    ------
    TooLarge
        If the layout would take long.
    LayoutError
        If there is nothing that lays it out.
    """
    base = "light" if theme == "auto" else theme
    palette(base)
    if load(drawing) > HEAVIEST:
        raise TooLarge(
            f"a picture of {len(drawing.boxes):,} boxes and {len(drawing.arrows):,} arrows would take too "
            "long to lay out; fold more of it: depth=1, or budget=40"
        )
    root = ElementTree.fromstring(render(to_dot(drawing, base), "svg"))
    _describe(root, drawing, prefix)
    _lift_titles(root, palette(base)["panel"])
    used = _classify_colours(root, base)
    root.set("class", f"tinygrad-graph {theme}")
    root.set("role", "group")
    root.set("aria-label", printable(drawing.title or "graph"))
    root.set("font-family", FONT)
    if theme == "auto":
        style = ElementTree.Element(f"{{{SVG}}}style")
        dark = rules(DARK, ".tinygrad-graph.auto", used["fill"], used["stroke"])
        style.text = f"@media (prefers-color-scheme: dark){{{dark}}}"
        root.insert(0, style)
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _describe(root: ElementTree.Element, drawing: Drawing, prefix: str) -> None:
    """Give each box, arrow and frame its id, class, title and label, and round the boxes."""
    boxes = {node_name(box.id): box for box in drawing.boxes}
    groups = {"cluster_" + node_name(group.id): group for group in drawing.groups}
    # Graphviz calls edges by their ends, and writes several of the same ends in the order they came in.
    arrows: dict[str, deque[Arrow]] = defaultdict(deque)
    for (tail, head, _), arrow in zip(ends(drawing), drawing.arrows, strict=True):
        arrows[f"{node_name(tail)}->{node_name(head)}"].append(arrow)
    for number, part in enumerate(root.iter(f"{{{SVG}}}g")):
        kind, title = part.get("class"), part.find(f"{{{SVG}}}title")
        name = "" if title is None else title.text or ""
        part.set("id", f"{prefix}{kind}{number}")
        if title is not None:
            part.remove(title)
        if kind == "node":
            words, data = _node(part, boxes[name])
        elif kind == "edge":
            words, data = _edge(arrows[name].popleft())
        elif kind == "cluster":
            words, data = _cluster(groups[name])
        else:
            part.set("class", "graph")
            continue
        for key, value in {**data, "role": "img", "aria-label": ", ".join(filter(None, words))}.items():
            part.set(key, printable(value))
        title = ElementTree.Element(f"{{{SVG}}}title")
        title.text = printable("\n".join(filter(None, words)))
        part.insert(0, title)


def _lift_titles(root: ElementTree.Element, ground: str) -> None:
    """Draw the titles of frames last, each with a halo in the colour of the frame's ground.

    Graphviz routes arrows around boxes, but not around these titles. So an arrow passes behind the letters.
    """
    picture = root.find(f"{{{SVG}}}g")
    assert picture is not None  # Graphviz writes one group around all others
    halo = {"stroke": ground, "stroke-width": "5", "stroke-linejoin": "round", "paint-order": "stroke"}
    frames = [part for part in picture if "cluster" in part.get("class", "").split()]
    for frame in frames:
        for title in frame.findall(f"{{{SVG}}}text"):
            title.attrib.update(halo)
            frame.remove(title)
            picture.append(title)


def _node(part: ElementTree.Element, box: Box) -> tuple[list[str], dict[str, str]]:
    if box.kind in RADII:
        _round(part, RADII[box.kind])
    words = [signed(box.title, box.marks), *box.lines, *mark_words(box.marks, box.lines)]
    words += [f"{name}: {value}" for name, value in box.details]
    return words, {"class": " ".join(["node", box.kind, *_classes(box.marks)]), "data-id": box.id}


def _edge(arrow: Arrow) -> tuple[list[str], dict[str, str]]:
    label = signed(arrow.label, arrow.marks) or ("no gradient" if arrow.kind == "none" else "")
    words = [f"{arrow.source} → {arrow.target}", label, *mark_words(arrow.marks, (arrow.label,))]
    kind = " ".join(["edge", arrow.kind, *_classes(arrow.marks)])
    return words, {"class": kind, "data-source": arrow.source, "data-target": arrow.target}


def _cluster(group: Group) -> tuple[list[str], dict[str, str]]:
    words = [signed(group.title, group.marks), *mark_words(group.marks, ())]
    return words, {"class": " ".join(["cluster", *_classes(group.marks)]), "data-id": group.id}


def _classes(marks: tuple[str, ...]) -> list[str]:
    return [mark.replace(" ", "-") for mark in marks]


def _round(part: ElementTree.Element, radius: float) -> None:
    """Turn rounded paths into rectangles with rounder corners."""
    for path in part.findall(f"{{{SVG}}}path"):
        numbers = [float(number) for number in _NUMBER.findall(path.attrib["d"])]
        left, right = min(numbers[::2]), max(numbers[::2])
        top, bottom = min(numbers[1::2]), max(numbers[1::2])
        round_by = min(radius, (bottom - top) / 2)
        del path.attrib["d"]
        path.tag = f"{{{SVG}}}rect"
        sizes = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rx": round_by}
        for name, size in sizes.items():
            path.set(name, f"{size:.2f}".rstrip("0").rstrip("."))


def _classify_colours(root: ElementTree.Element, theme: str) -> dict[str, set[str]]:
    """Give each coloured part a class with the role of its colour, and return the roles by attribute.

    So a style sheet can give it another colour. No two roles of a theme have the same colour.
    """
    roles = {colour: role for role, colour in palette(theme).items()}
    used: dict[str, set[str]] = {"fill": set(), "stroke": set()}
    for part in root.iter():
        part.attrib.pop("font-family", None)  # the root's is enough
        for name, found in used.items():
            role = roles.get(part.get(name, ""))
            if role is not None:
                found.add(role)
                part.set("class", " ".join(filter(None, [part.get("class"), class_name(name, role)])))
    return used
