"""A drawing in the language of Graphviz.

Every text goes into an HTML-like label, escaped, so that nothing in it is taken for a command; names of nodes
are the ids of boxes, with what Graphviz gives a meaning to written as ``%3A``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from textwrap import wrap
from typing import Final
from xml.sax.saxutils import escape

from graphviz import Digraph

from tinygrad_mnist.graph.drawing import Arrow, Box, Drawing, Group
from tinygrad_mnist.graph.formats.theme import FILLED, mark_words, palette, signed

FONT: Final = "Helvetica,Arial,sans-serif"
LARGE: Final = 12
SMALL: Final = 10
BAR: Final = 96
"""Length of a full bar."""

LETTER: Final = 0.65 * SMALL
"""About the width of a letter of a frame's title, which is bold."""

GAP: Final = 1
"""The space around the words at an arrow, besides the width of its line."""

LINE: Final = 90
"""Most characters in a line of a note."""

TITLE: Final = 60
"""Most characters in a line of the title, whose letters are larger and bold: it is no wider than notes."""

SHAPES: Final = {"input": "parallelogram", "buffer": "cylinder", "fold": "box3d"}
MARGINS: Final = {"input": "0,0", "operation": "0.1,0.03", "parameter": "0.12,0.04", "buffer": "0.1,0.02"}
ARRAYS: Final = ("parameter", "buffer")

_NO_XML: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
_SPECIAL: Final = re.compile(rf'[%&:"\\<>\n\r\t{_NO_XML}]')


def to_dot(drawing: Drawing, theme: str = "light") -> str:
    """Return a drawing in the language of Graphviz.

    Examples
    --------
    >>> box = Box("a:b", "operation", "exp")
    >>> print(to_dot(Drawing("", "modules", (box,), ())).splitlines()[-2].split(" [")[0].strip())
    "a%3Ab"
    """
    colours = palette(theme)
    dot = Digraph(**_defaults(colours))
    if caption := _caption(drawing, colours):
        dot.graph_attr["label"] = caption
    beside = _beside(drawing)
    boxes: dict[str, list[Box]] = defaultdict(list)
    inner: dict[str, list[Group]] = defaultdict(list)
    for box in drawing.boxes:
        boxes[box.group].append(box)
    for group in drawing.groups:
        inner[group.parent].append(group)

    def fill(frame: Digraph, group: str) -> None:
        for box in boxes[group]:
            frame.node(node_name(box.id), **_box(box, colours))
        for box in boxes[group]:
            if box.id in beside:
                with frame.subgraph(graph_attr={"rank": "same"}) as rank:
                    for id in (*beside[box.id], box.id):
                        rank.node(node_name(id))
        for one in inner[group]:
            with frame.subgraph(name="cluster_" + node_name(one.id), graph_attr=_group(one, colours)) as sub:
                fill(sub, one.id)

    fill(dot, "")
    for (tail, head, back), arrow in zip(ends(drawing), drawing.arrows, strict=True):
        attributes = _arrow(arrow, colours, drawing)
        if back:
            attributes["dir"] = "back"
        dot.edge(node_name(tail), node_name(head), **attributes)
    return str(dot.source)


def _defaults(colours: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {
        "graph_attr": {
            "bgcolor": colours["paper"],
            "pad": "0.2",
            "nodesep": "0.3",
            "ranksep": "0.35",
            "labelloc": "t",
            "labeljust": "l",
            "fontname": FONT,
        },
        "node_attr": {
            "fontname": FONT,
            "fontsize": str(LARGE),
            "margin": "0.14,0.07",
            "height": "0.3",
            "width": "0",
        },
        "edge_attr": {"fontname": FONT, "fontsize": str(SMALL), "arrowsize": "0.7"},
    }


def ends(drawing: Drawing) -> list[tuple[str, str, bool]]:
    """Return tail and head of each arrow for Graphviz, and whether the arrow points back.

    Arrays that stand beside their user need lines from left to right.
    """
    beside = _beside(drawing).values()
    left = {arrays[0] for arrays in beside}
    right = {array for arrays in beside for array in arrays[1:]}
    return [
        (arrow.target, arrow.source, True)
        if arrow.target in left or arrow.source in right
        else (arrow.source, arrow.target, False)
        for arrow in drawing.arrows
    ]


def node_name(id: str) -> str:
    """Return an id as Graphviz may read it: no port, no HTML, no escape.

    Examples
    --------
    >>> node_name('model/a:b')
    'model/a%3Ab'
    """
    name = _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", id)
    return f"={name}" if name.startswith(("%", "=")) else name  # a % in front means a name of Graphviz's own


def _beside(drawing: Drawing) -> dict[str, tuple[str, ...]]:
    """Return, by user, two arrays at most that stand to its left and right, as nothing else uses them."""
    by_id = {box.id: box for box in drawing.boxes}
    used = Counter(end for arrow in drawing.arrows for end in (arrow.source, arrow.target))
    found: dict[str, tuple[str, ...]] = {}
    for arrow in drawing.arrows:
        for array, user in ((arrow.source, arrow.target), (arrow.target, arrow.source)):
            box, other = by_id[array], by_id[user]
            alone = box.kind in ARRAYS and other.kind not in ARRAYS and used[array] == 1
            if alone and box.group == other.group:
                found[user] = (*found.get(user, ()), array)[:2]
    return found


def _box(box: Box, colours: Mapping[str, str]) -> dict[str, str]:
    role = next((mark for mark in FILLED if mark in box.marks), box.kind)
    style = ["filled"] if box.kind in SHAPES else ["rounded", "filled"]
    attributes = {
        "label": _label(box, colours),
        "shape": SHAPES.get(box.kind, "box"),
        "fillcolor": colours[role],
        "color": colours[f"{role} border"],
    }
    if "no gradient" in box.marks or "removed" in box.marks:
        style.append("dashed")
    elif "spoiled" in box.marks or "changed" in box.marks:
        style.append("dotted")
    attributes["style"] = ",".join(style)
    if "origin" in box.marks:
        attributes["peripheries"] = "2"
    if {"origin", "output", "peak", "added"} & set(box.marks):
        attributes["penwidth"] = "2.5"
    elif {"removed", "changed", "spoiled", "no gradient"} & set(box.marks):
        attributes["penwidth"] = "1.5"
    if box.kind in MARGINS:
        attributes["margin"] = MARGINS[box.kind]
    return attributes


def _label(box: Box, colours: Mapping[str, str]) -> str:
    title = f"<B>{_text(signed(box.title, box.marks))}</B>" if box.title else ""
    if box.kind in ARRAYS:
        title = _font(title, SMALL, colours["ink"]) if title else ""
    elif title:
        title = _font(title, LARGE, colours["ink"])
    small = [_font(_text(line), SMALL, colours["quiet"]) for line in box.lines if line]
    words = [
        _font(f"<B>{_text(word)}</B>", SMALL, colours["ink"]) for word in mark_words(box.marks, box.lines)
    ]
    rows = [row for row in (title, *small, *words) if row]
    if box.share is not None:
        rows.append(_bar(box.share, colours))
    cells = "".join(f"<TR><TD>{row}</TD></TR>" for row in rows or [" "])
    return f"<{_table(box.kind in ('module', 'fold'))}{cells}</TABLE>>"


def _bar(share: float, colours: Mapping[str, str]) -> str:
    full = round(BAR * min(max(share, 0.0), 1.0))
    cells = [(full, colours["bar"]), (BAR - full, colours["track"])]
    parts = "".join(
        f'<TD WIDTH="{width}" HEIGHT="7" FIXEDSIZE="TRUE" BGCOLOR="{colour}"></TD>'
        for width, colour in cells
        if width
    )
    return _table(0, f' FIXEDSIZE="TRUE" WIDTH="{BAR}" HEIGHT="7"') + f"<TR>{parts}</TR></TABLE>"


def _table(padding: int, size: str = "") -> str:
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="{padding:d}"{size}>'


def _arrow(arrow: Arrow, colours: Mapping[str, str], drawing: Drawing) -> dict[str, str]:
    mark = next((mark for mark in FILLED if mark in arrow.marks), "")
    role = f"{mark} border" if mark else {"gradient": "gradient", "none": "none"}.get(arrow.kind, "line")
    attributes = {"color": colours[role], "penwidth": f"{arrow.weight:.3g}"}
    label = " ".join([signed(arrow.label, arrow.marks), *mark_words(arrow.marks, (arrow.label,))]).strip()
    if arrow.kind == "none" and not label:
        ended = {arrow.source, arrow.target}
        if not any(box.id in ended and "no gradient" in box.marks for box in drawing.boxes):
            label = "no gradient"
    if label:
        colour = colours["gradient" if arrow.kind == "gradient" and not mark else "quiet"]
        words = _font(f"&#160;{_text(label)}&#160;", SMALL, colour)
        gap = GAP + round(arrow.weight)  # so that neither line nor head touches them
        attributes["label"] = f"<{_table(gap)}<TR><TD>{words}</TD></TR></TABLE>>"
    if arrow.kind == "none" or mark == "removed":
        attributes["style"] = "dashed"
    elif mark in ("spoiled", "changed"):
        attributes["style"] = "dotted"
    if arrow.kind in ("parameter", "gradient"):
        attributes["arrowsize"] = "0.5"  # a head is the larger the wider the line is
    return attributes


def _group(group: Group, colours: Mapping[str, str]) -> dict[str, str]:
    mark = next((mark for mark in FILLED if mark in group.marks), "")
    style = {"removed": ",dashed", "no gradient": ",dashed", "spoiled": ",dotted", "changed": ",dotted"}
    words = " ".join(
        [signed(group.title, group.marks), *(f"({word})" for word in mark_words(group.marks, ()))]
    )
    title = _font(f"<B>{_text(words)}</B>", SMALL, colours["quiet"])
    gap = f' WIDTH="{round((len(words) + 3) * LETTER)}"'  # so that an arrow to the middle misses it
    return {
        "label": f"<{_table(0)}<TR><TD>{title}</TD><TD{gap}></TD></TR></TABLE>>" if words else "",
        "style": "rounded,filled" + next((style[one] for one in group.marks if one in style), ""),
        "fillcolor": colours["panel"],
        "color": colours[f"{mark} border" if mark else "frame"],
        "labeljust": "l",
        "margin": "10",
        "penwidth": "2.5" if {"origin", "added", "output", "peak"} & set(group.marks) else "1",
    }


def _caption(drawing: Drawing, colours: Mapping[str, str]) -> str:
    """Return the title and notes, which stand at the left above the picture."""
    rows = [
        _font(f"<B>{_text(line)}</B>", LARGE + 2, colours["ink"])
        for line in wrap(drawing.title, TITLE, break_on_hyphens=False)
    ]
    rows += [
        _font(_text(line), SMALL, colours["quiet"])
        for note in drawing.notes
        for line in wrap(note, LINE, break_on_hyphens=False)
    ]
    if not rows:
        return ""
    cells = "".join(f'<TR><TD ALIGN="LEFT">{row}</TD></TR>' for row in rows)
    return f'<{_table(1)}{cells}<TR><TD HEIGHT="8"></TD></TR></TABLE>>'


def _font(text: str, size: int, colour: str) -> str:
    return f'<FONT POINT-SIZE="{size}" COLOR="{colour}">{text}</FONT>'


def printable(text: str) -> str:
    """Return a text in which what no XML can hold is a replacement character."""
    return re.sub(f"[{_NO_XML}]", "\ufffd", text)


def _text(text: str) -> str:
    """Return a text for an HTML-like label; what XML cannot hold is shown as a replacement character."""
    lines = printable(text).replace("\\", "\\\\").splitlines() or [""]  # or \N is the name
    return "<BR/>".join(escape(line, {'"': "&quot;", "\t": " "}) or " " for line in lines)
