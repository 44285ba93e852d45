"""The picture of a storyboard: cards in columns from left to right, each with a value and a gradient.

Its own small layout, after Sugiyama et al. (1981): columns by the longest path, an order in which few lines
cross, heights in which lines are short. So a storyboard needs no Graphviz, and stands as it is in each run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, pairwise
from typing import Final

from tinygrad_mnist.graph.story.board import Quantity, Storyboard

HEIGHT: Final = 84
BEND: Final = 26
"""Heights of a card, and of a place where a line passes a column."""
BETWEEN: Final = 18
COLUMN_GAP: Final = 92
MARGIN: Final = 26
CHARACTER: Final = 7.6
DIGIT: Final = 9.2
"""Widths of a letter, and of one in bold type, about."""
NARROWEST: Final = 128
WIDEST: Final = 290
SWEEPS: Final = 12

Slot = tuple[str, int]
"""A card (-1), or the place where the line of that number passes a column."""


@dataclass(frozen=True)
class Line:
    """One use of a quantity by an operation."""

    source: str
    target: str
    argument: int


def lines(board: Storyboard) -> list[Line]:
    """All uses, in the order of the operations and their arguments."""
    return [
        Line(source, quantity.id, argument)
        for quantity in board.quantities
        for source, argument in quantity.takes
    ]


def picture(board: Storyboard) -> str:
    """The storyboard's computation as SVG, with the gradients that it ends with."""
    edges = lines(board)
    columns = _columns(board.quantities, edges)
    longest = _longest(board)
    widths = [
        max(_width(quantity, longest) for quantity in board.quantities if (quantity.id, -1) in column)
        for column in columns
    ]
    lefts = [MARGIN + sum(widths[:i]) + COLUMN_GAP * i for i in range(len(columns))]
    middles = _heights(columns, _neighbours(columns, edges))
    place = {slot: i for i, column in enumerate(columns) for slot in column}
    width = lefts[-1] + widths[-1] + MARGIN
    height = max(middles[slot] + _height(slot) / 2 for slot in middles) + MARGIN
    parts = [
        f'<svg class="computation" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="--natural:{width:.0f}px" role="img" '
        f'aria-label="{escape(board.title)}">',
        '<defs><marker id="back" viewBox="0 0 10 10" refX="1" refY="5" markerWidth="4.5" markerHeight="4.5" '
        'orient="auto"><path d="M10 0L0 5L10 10z"/></marker></defs>',
    ]
    ends = {
        quantity.id: sorted(
            (i for i, line in enumerate(edges) if line.target == quantity.id),
            key=lambda i: (middles[_before(edges, i, place)], edges[i].argument),
        )
        for quantity in board.quantities
    }
    starts = {
        quantity.id: sorted(
            (i for i, line in enumerate(edges) if line.source == quantity.id),
            key=lambda i: (middles[_after(edges, i, place)], edges[i].argument),
        )
        for quantity in board.quantities
    }
    signs = {quantity.id: bool(_badge(quantity)) for quantity in board.quantities}
    for number, line in enumerate(edges):
        first, last = place[line.source, -1], place[line.target, -1]
        lower = _offset(starts[line.source].index(number), len(starts[line.source]), 15)
        points = [(lefts[first] + widths[first], middles[line.source, -1] + lower)]
        for column in range(first + 1, last):
            y = middles[f"line {number}", column]
            points += [(lefts[column], y), (lefts[column] + widths[column], y)]
        ports = ends[line.target]
        upper = _offset(ports.index(number), len(ports), 15)
        points.append((lefts[last] - (15 if signs[line.target] else 1), middles[line.target, -1] + upper))
        parts.append(_curve(number, points))
    for number, quantity in enumerate(board.quantities):
        column = place[quantity.id, -1]
        top = middles[quantity.id, -1] - HEIGHT / 2
        parts.append(_card(number, quantity, lefts[column], top, widths[column]))
    return "\n".join([*parts, "</svg>"])


# ---- where -----------------------------------------------------------------------------------------------


def _columns(quantities: Sequence[Quantity], edges: Sequence[Line]) -> list[list[Slot]]:
    """Cards and bends by column: operations by their longest path, arrays just before their first use."""
    depth: dict[str, int] = {}
    for quantity in quantities:
        if quantity.kind == "operation":
            depth[quantity.id] = 1 + max((depth.get(source, 0) for source, _ in quantity.takes), default=0)
    for quantity in quantities:
        if quantity.kind != "operation":
            depth[quantity.id] = min(depth[line.target] for line in edges if line.source == quantity.id) - 1
    columns: list[list[Slot]] = [[] for _ in range(max(depth.values()) + 1)]
    for quantity in quantities:
        columns[depth[quantity.id]].append((quantity.id, -1))
    for number, line in enumerate(edges):
        for i in range(depth[line.source] + 1, depth[line.target]):
            columns[i].append((f"line {number}", i))
    near = _neighbours(columns, edges)
    for sweep in range(SWEEPS):
        rank = {slot: float(i) for column in columns for i, slot in enumerate(column)}
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = {slot: _mean([rank[other] for other in near[slot]], rank[slot]) for slot in column}
            column.sort(key=lambda slot: (wanted[slot], rank[slot]))
            rank.update({slot: float(i) for i, slot in enumerate(column)})
    return columns


def _neighbours(columns: Sequence[Sequence[Slot]], edges: Sequence[Line]) -> dict[Slot, list[Slot]]:
    """What each card or bend has a piece of a line to."""
    near: dict[Slot, list[Slot]] = {slot: [] for column in columns for slot in column}
    for number, line in enumerate(edges):
        bends = [(f"line {number}", i) for i in range(len(columns)) if (f"line {number}", i) in near]
        way = [(line.source, -1), *bends, (line.target, -1)]
        for one, other in pairwise(way):
            near[one].append(other)
            near[other].append(one)
    return near


def _before(edges: Sequence[Line], number: int, place: Mapping[Slot, int]) -> Slot:
    """Where a line is in the column before its end."""
    bend = (f"line {number}", place[edges[number].target, -1] - 1)
    return bend if bend in place else (edges[number].source, -1)


def _after(edges: Sequence[Line], number: int, place: Mapping[Slot, int]) -> Slot:
    """Where a line is in the column after its start."""
    bend = (f"line {number}", place[edges[number].source, -1] + 1)
    return bend if bend in place else (edges[number].target, -1)


def _heights(columns: Sequence[Sequence[Slot]], near: Mapping[Slot, Sequence[Slot]]) -> dict[Slot, float]:
    """The middle of each card and bend: close to its neighbours, in order, and apart."""
    middles = {slot: float(i * HEIGHT) for column in columns for i, slot in enumerate(column)}
    for sweep in range(2 * SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = [_mean([middles[other] for other in near[slot]], middles[slot]) for slot in column]
            middles.update(zip(column, _apart(wanted, [_height(slot) for slot in column]), strict=True))
    top = min(middles[slot] - _height(slot) / 2 for slot in middles)
    return {slot: y - top + MARGIN for slot, y in middles.items()}


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """The nearest positions to those wanted, in the same order, that do not overlap.

    Isotonic regression by pooling adjacent violators, of the positions less the room above each.
    """
    steps = [(a + b) / 2 + BETWEEN for a, b in pairwise(heights)]
    room = [0.0, *accumulate(steps)]
    pools: list[tuple[float, int]] = []  # mean and count
    for x, above in zip(wanted, room, strict=True):
        mean, count = x - above, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (mean * count + before * many) / (count + many), count + many
        pools.append((mean, count))
    pooled = [mean for mean, count in pools for _ in range(count)]
    return [mean + above for mean, above in zip(pooled, room, strict=True)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _height(slot: Slot) -> float:
    return HEIGHT if slot[1] == -1 else BEND


def _offset(index: int, count: int, step: float) -> float:
    """Where one of several lines ends on the side of a card, from its middle."""
    step = min(step, (HEIGHT - 20) / max(count - 1, 1))
    return (index - (count - 1) / 2) * step


# ---- what ------------------------------------------------------------------------------------------------


def _badge(quantity: Quantity) -> str:
    """The sign of an operation that has a short one."""
    sign = {"-": "−", "**": "^"}.get(quantity.sign, quantity.sign)
    return sign if len(sign) <= 2 else ""


def _heading(quantity: Quantity) -> str:
    return f"{quantity.name} = {quantity.expression}" if quantity.expression else quantity.name


def _longest(board: Storyboard) -> dict[str, int]:
    """The longest text of a gradient that each card shows on the way, in characters."""
    longest = {one.id: len(one.gradient.short()) for one in board.quantities if one.gradient is not None}
    for step in board.steps:
        for share in step.shares:
            count = f" ({share.arrived} of {share.expected})" if share.arrived < share.expected else ""
            shown = len(share.total.short() + count)
            longest[share.target] = max(shown, longest.get(share.target, 0))
    return longest


def _width(quantity: Quantity, longest: Mapping[str, int]) -> float:
    numbers = max(len(quantity.value.short()), longest.get(quantity.id, 0))
    return min(max(NARROWEST, 32 + CHARACTER * len(_heading(quantity)), 98 + DIGIT * numbers), WIDEST)


def _curve(number: int, points: Sequence[tuple[float, float]]) -> str:
    """A line that goes level through its points, with a label in its last gap."""
    (x, y), *rest = points
    path, label = [f"M{x:.1f} {y:.1f}"], ""
    for to_x, to_y in rest:
        half = (x + to_x) / 2
        path.append(f"C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        label = f'<text x="{half:.1f}" y="{(y + to_y) / 2 - 5:.1f}"></text>'
        x, y = to_x, to_y
    return f'<g class="line" id="line-{number}"><path d="{"".join(path)}"/>{label}</g>'


def _card(number: int, quantity: Quantity, left: float, top: float, width: float) -> str:
    heading = _heading(quantity)
    room = int((width - 26) / CHARACTER)
    shown = heading if len(heading) <= room else heading[: room - 1] + "…"
    name, equals, expression = shown.partition(" = ")
    gradient = "none" if quantity.gradient is None else quantity.gradient.short()
    kind = "result" if quantity.kind == "operation" else "leaf" if quantity.uses else "constant"
    badge = _badge(quantity)
    return (
        f'<g class="card {kind}" id="card-{number}" transform="translate({left:.1f} {top:.1f})">'
        f"<title>{escape(heading)}: {escape(quantity.value.text())}</title>"
        f'<rect width="{width:.0f}" height="{HEIGHT}" rx="{2 if kind == "result" else 14}"/>'
        + (f'<circle cy="{HEIGHT / 2}" r="14"/><text class="sign" y="{HEIGHT / 2}">{escape(badge)}</text>')
        * bool(badge)
        + f'<text class="name" x="20" y="24">{escape(name)}'
        f'<tspan class="expression">{escape(equals + expression)}</tspan></text>'
        f'<text class="word" x="20" y="47">value</text>'
        f'<text class="value" x="{width - 12:.0f}" y="47">{escape(quantity.value.short())}</text>'
        f'<text class="word" x="20" y="69">gradient</text>'
        f'<text class="gradient" x="{width - 12:.0f}" y="69">{escape(gradient)}</text></g>'
    )
