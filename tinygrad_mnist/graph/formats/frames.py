"""The titles of frames in an SVG by Graphviz, moved aside where arrows run through them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final
from xml.etree.ElementTree import Element

from tinygrad_mnist.graph.formats.dot import LETTER

NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
SVG: Final = "{http://www.w3.org/2000/svg}"

STEPS: Final = 40
"""Points of each piece of a line that are looked at."""

ROOM: Final = 5.0
"""Between a title and an arrow or the side of the frame, in points."""

Point = tuple[float, float]
Span = tuple[float, float]


def clear_titles(root: Element) -> None:
    """Move the title of each frame along its top to where no arrow runs through it, else to its bottom.

    Graphviz routes arrows around boxes, but not around these titles. It takes the leftmost place that there
    is; without any, the title stays.
    """
    groups = list(root.iter(f"{SVG}g"))
    edges = [group for group in groups if "edge" in group.get("class", "").split()]
    lines = [list(_points(path)) for edge in edges for path in edge.iter(f"{SVG}path")]
    texts = [text for edge in edges for text in edge.iter(f"{SVG}text")]
    for group in groups:
        titles = group.findall(f"{SVG}text")
        if "cluster" in group.get("class", "").split() and len(titles) == 1:
            _clear(group, titles[0], lines, texts)


def _clear(
    frame: Element, title: Element, lines: Sequence[Sequence[Point]], texts: Sequence[Element]
) -> None:
    size = float(title.get("font-size", "10"))
    left, width = float(title.attrib["x"]), len(title.text or "") * LETTER
    corners = [NUMBER.findall(child.get("d", child.get("points", ""))) for child in frame]
    right = max((float(x) for numbers in corners for x in numbers[::2]), default=left)
    under = max((float(y) for numbers in corners for y in numbers[1::2]), default=0.0)
    for base in (float(title.attrib["y"]), under - size / 8):
        top, bottom = base - size, base + size / 4
        taken = [span for line in lines for span in _crossings(line, top, bottom)]
        taken += [_extent(text) for text in texts if top < float(text.attrib["y"]) < bottom + size]
        taken = [(start - ROOM, end + ROOM) for start, end in taken]
        for place in sorted((left, *(end for _, end in taken if end > left))):
            free = all(end <= place or place + width <= start for start, end in taken)
            if free and place + width + ROOM <= right:
                title.set("x", f"{place:.2f}")
                title.set("y", f"{base:.2f}")
                return


def _points(path: Element) -> Iterator[Point]:
    """Points on a line of cubic curves."""
    numbers = [float(number) for number in NUMBER.findall(path.attrib["d"])]
    knots = list(zip(numbers[::2], numbers[1::2], strict=True))
    for i in range(0, len(knots) - 3, 3):
        for step in range(STEPS + 1):
            t = step / STEPS
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            x, y = (
                sum(w * knot[axis] for w, knot in zip(weights, knots[i : i + 4], strict=True))
                for axis in (0, 1)
            )
            yield x, y


def _crossings(line: Sequence[Point], top: float, bottom: float) -> Iterator[Span]:
    """Where the pieces of a line are that lie between two heights."""
    for (x, y), (to_x, to_y) in pairwise(line):
        if min(y, to_y) <= bottom and max(y, to_y) >= top:
            yield min(x, to_x), max(x, to_x)


def _extent(text: Element) -> Span:
    """About from where to where a text goes."""
    width, x = len(text.text or "") * LETTER, float(text.attrib["x"])
    start = x - width / 2 if text.get("text-anchor") == "middle" else x
    return start, start + width
