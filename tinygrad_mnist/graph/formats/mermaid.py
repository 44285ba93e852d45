"""A drawing in the language of Mermaid, which many sites draw where Markdown holds it."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Final

from tinygrad_mnist.graph.drawing import Arrow, Box, Drawing, Group
from tinygrad_mnist.graph.formats.dot import printable
from tinygrad_mnist.graph.formats.theme import FILLED, LIGHT, mark_words, signed

SHAPES: Final = {
    "module": ("[", "]"),
    "operation": ("(", ")"),
    "parameter": ("([", "])"),
    "buffer": ("[(", ")]"),
    "input": ("[/", "/]"),
    "fold": ("[[", "]]"),
}

_SPECIAL: Final = re.compile(r"""["<>&#;`*\\{}\[\]|%]|^[+-]|(?<![^\W_])_|_(?![^\W_])""")
_LIST: Final = re.compile(r"^(\d+)([.)])(?=\s|$)")
FRAMES: Final = {
    "output": "stroke-width:3px",
    "no gradient": "stroke-dasharray:6 4",
    "origin": "stroke-width:5px",
    "spoiled": "stroke-dasharray:2 3",
    "peak": "stroke-width:3px",
    "added": "stroke-width:3px",
    "removed": "stroke-dasharray:6 4",
    "changed": "stroke-dasharray:2 3",
}


def to_mermaid(drawing: Drawing) -> str:
    """Return a drawing as a Mermaid flowchart.

    Examples
    --------
    >>> boxes = Box("x", "input", "x", ("3",)), Box("exp#1", "operation", "exp")
    >>> print(to_mermaid(Drawing("", "modules", boxes, (Arrow("x", "exp#1", "3"),))))
    flowchart TB
        b0[/"x<br/>3"/]
        b1("exp")
        b0 -->|"3"| b1
        ...
    """
    names = {box.id: f"b{number}" for number, box in enumerate(drawing.boxes)}
    frames = {group.id: f"g{number}" for number, group in enumerate(drawing.groups)}
    boxes: dict[str, list[Box]] = defaultdict(list)
    inner: dict[str, list[Group]] = defaultdict(list)
    for box in drawing.boxes:
        boxes[box.group].append(box)
    for group in drawing.groups:
        inner[group.parent].append(group)
    lines = [f"%% {_comment(text)}" for text in (drawing.title, *drawing.notes) if text]
    lines.append("flowchart TB")

    def fill(group: str, indent: str) -> None:
        for box in boxes[group]:
            lines.append(indent + names[box.id] + _box(box))
        for one in inner[group]:
            title = " ".join([signed(one.title, one.marks), *mark_words(one.marks, ())])
            lines.append(f'{indent}subgraph {frames[one.id]}["{_text(title) or " "}"]')
            fill(one.id, indent + "    ")
            lines.append(f"{indent}end")

    fill("", "    ")
    lines += [f"    {names[arrow.source]} {_arrow(arrow)} {names[arrow.target]}" for arrow in drawing.arrows]
    widths = defaultdict(list)
    for number, arrow in enumerate(drawing.arrows):
        if arrow.weight > 1:
            widths[f"{arrow.weight:.3g}"].append(str(number))
    lines += [f"    linkStyle {','.join(which)} stroke-width:{width}px" for width, which in widths.items()]
    lines += _styles(drawing)
    return "\n".join(lines) + "\n"


def _box(box: Box) -> str:
    before, after = SHAPES[box.kind]
    words = [signed(box.title, box.marks), *box.lines, *mark_words(box.marks, box.lines)]
    if box.share is not None and not any("%" in line for line in box.lines):
        words.append(f"{box.share:.0%}")
    label = "<br/>".join(_text(word) for word in words if word) or " "
    return f'{before}"{label}"{after}'


def _styles(drawing: Drawing) -> list[str]:
    """Return the lines that give boxes their colours and frames; a later class wins over one before."""
    members: dict[str, list[str]] = {}
    for number, box in enumerate(drawing.boxes):
        filled = next((mark for mark in FILLED if mark in box.marks), box.kind)
        for role in dict.fromkeys((filled, *box.marks)):
            members.setdefault(role, []).append(f"b{number}")
    lines = []
    for role, boxes in sorted(members.items(), key=lambda item: item[0] in FRAMES):
        name = role.replace(" ", "_")
        colours = (
            [f"fill:{LIGHT[role]}", f"stroke:{LIGHT[role + ' border']}", f"color:{LIGHT['ink']}"]
            if role in LIGHT
            else []
        )
        frame = [FRAMES[role]] if role in FRAMES else []
        lines.append(f"    classDef {name} {','.join(colours + frame)}")
        lines.append(f"    class {','.join(boxes)} {name}")
    return lines


def _arrow(arrow: Arrow) -> str:
    label = " ".join([signed(arrow.label, arrow.marks), *mark_words(arrow.marks, (arrow.label,))]).strip()
    line = "-->"
    if arrow.kind == "none" or {"removed", "spoiled", "changed"} & set(arrow.marks):
        line = "-.->"
    elif arrow.kind == "gradient":
        line = "==>"
    if arrow.kind == "none" and not label:
        label = "no gradient"
    return f'{line}|"{_text(label)}"|' if label else line


def _text(text: str) -> str:
    """Return a text for between quotes; whatever might be a command is written as a number."""
    clean = _LIST.sub(lambda found: f"{found[1]}#{ord(found[2])};", " ".join(printable(text).split()))
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};", clean)


def _comment(text: str) -> str:
    return " ".join(printable(text).split()).replace("{", "(").replace("}", ")")
