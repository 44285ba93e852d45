"""Write a storyboard as text and as a page, in the same words.

Graphviz places the cards of the page's picture and draws the lines between them. The text needs no Graphviz.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from tinygrad_mnist.graph.formats.layout import LayoutError, render
from tinygrad_mnist.graph.formats.theme import DARK, LIGHT

if TYPE_CHECKING:  # the data has methods that write it, and stands above
    from tinygrad_mnist.graph.storyboard.data import Contribution, Entries, Quantity, Step, Storyboard

SVG: Final = "{http://www.w3.org/2000/svg}"

LABEL: Final = 9
"""Characters of the longest label of a line."""

LABEL_HEIGHT: Final = 26
"""Height of the place for it, in pixels."""

ORDINALS: Final = (
    *("first", "second", "third", "fourth", "fifth"),
    *("sixth", "seventh", "eighth", "ninth", "tenth"),
)

HEIGHT: Final = 84
NARROWEST: Final = 128
WIDEST: Final = 290
"""Height of a card, its least width, and the greatest that its heading gives it, in pixels."""

CHARACTER: Final = 7.6
DIGIT: Final = 9.2
"""Widths of a letter, and of one in bold type, about."""


# ---- words -----------------------------------------------------------------------------------------------


def _gradient(board: Storyboard, name: str) -> str:
    """Return the sign of a gradient: ``∂L/∂a``."""
    return f"∂{board.loss}/∂{name}"


def _receiver(step: Step, one: Contribution) -> str:
    """Return the name of the argument; with its position, where the same tensor is given twice."""
    again = [other.argument for other in step.contributions if other.target == one.target]
    if len(again) == 1:
        return one.name
    position = again.index(one.argument)
    ordinal = ORDINALS[position] if position < len(ORDINALS) else f"{position + 1}th"
    return f"{one.name}, as the {ordinal} of {len(again)} arguments"


def _derivative(board: Storyboard, step: Step, one: Contribution) -> str:
    """Return the sign of a local derivative, and its formula if that says more than the number."""
    sign = f"∂{board.quantity(step.quantity).name}/∂{one.name}"
    number = one.local.text() if one.local else ""
    return sign if one.jacobian or one.formula in ("", number) else f"{sign} = {one.formula}"


def _kind(one: Contribution) -> str:
    return "Jacobian, a row for each entry of the result" if one.jacobian else "local derivative"


def _sum(one: Contribution) -> str:
    """Return a sentence on the sum of contributions; empty if there is only one."""
    if one.expected == 1:
        return ""
    left = one.expected - one.arrived
    if one.before is None:
        return f"The first of {one.expected} contributions to {one.name}; they add up."
    more = f"{left} more to come." if left else f"The gradient of {one.name} is complete."
    return f"It adds to what came to {one.name} before. {more}"


def _in_parentheses(text: str) -> str:
    """Return a second operand, in parentheses if it begins with a minus."""
    return f"({text})" if text.startswith("−") else text


def _leaf_gradients(board: Storyboard) -> list[tuple[str, str]]:
    """Return sign and text of the gradient of each array that needs one."""
    return [
        (_gradient(board, one.name), one.gradient.text())
        for one in board.quantities
        if one.kind != "operation" and one.gradient is not None
    ]


# ---- text ------------------------------------------------------------------------------------------------


def to_text(board: Storyboard) -> str:
    """Return the storyboard as text for a terminal."""
    last = len(board.steps) + 2
    blocks = [board.title, f"step 1 of {last}: start at the end\n  {_gradient(board, board.loss)} = 1"]
    for number, step in enumerate(board.steps, 2):
        quantity = board.quantity(step.quantity)
        rows = [f"step {number} of {last}: {quantity.equation}"]
        rows += _row(f"  comes in: {_gradient(board, quantity.name)} =", step.incoming.text())
        for one in step.contributions:
            rows += _contribution_rows(board, step, one)
        blocks.append("\n".join(rows))
    rows = [f"step {last} of {last}: all gradients are there"]
    for sign, text in _leaf_gradients(board):
        rows += _row(f"  {sign} =", text)
    return "\n\n".join([*blocks, "\n".join(rows)])


def _contribution_rows(board: Storyboard, step: Step, one: Contribution) -> Iterator[str]:
    yield f"  to {_receiver(step, one)}"
    if one.local is None:
        yield f"    local derivative: {_derivative(board, step, one)}"
    else:
        yield from _row(f"    {_kind(one)}: {_derivative(board, step, one)} =", one.local.text())
    if one.local is None or one.jacobian:
        yield from _row("    goes out:", one.part.text())
    else:
        yield from _row("    goes out:", _equation(" × ", step.incoming, one.local, one.part))
    if one.before is not None:
        yield from _row("    in all:", _equation(" + ", one.before, one.part, one.total))
    if sentence := _sum(one):
        yield f"    {sentence}"


def _row(label: str, text: str) -> list[str]:
    """Return a label and a text beside it, or under it where the text has several lines."""
    first, *more = text.split("\n")
    if not more:
        return [f"{label} {first}"]
    margin = " " * (len(label) - len(label.lstrip()) + 2)
    return [label, *(margin + line for line in (first, *more))]


def _equation(sign: str, one: Entries, other: Entries, result: Entries) -> str:
    """Return ``one + other = result`` where it fits on a line, else the result."""
    texts = [one.text(), other.text(), result.text()]
    if any("\n" in text for text in texts) or sum(map(len, texts)) > 90:
        return texts[2]
    return f"{texts[0]}{sign}{_in_parentheses(texts[1])} = {texts[2]}"


# ---- page ------------------------------------------------------------------------------------------------


def to_html(board: Storyboard) -> str:
    """Return the storyboard as a page."""
    page = Template((files("tinygrad_mnist.graph.storyboard") / "storyboard.html").read_text("utf-8"))
    return page.substitute(
        loss=escape(board.loss),
        title=escape(board.title),
        light=_variables(LIGHT),
        dark=_variables(DARK),
        picture=picture(board),
        steps="\n".join(_items(board)),
        rows="\n".join(_table_rows(board)),
        count=len(board.steps) + 2,
        states=json.dumps(states(board), ensure_ascii=False).replace("<", "\\u003c"),
    )


def to_frame(board: Storyboard) -> str:
    """Return the page in a frame for a notebook's cell; the text where nothing draws the picture.

    The frame keeps the style and the script of the page to itself.
    """
    try:
        page = to_html(board)
    except LayoutError as error:  # a notebook would show a traceback
        return f"<pre>{escape(board.text())}\n\nno picture: {escape(str(error))}</pre>"
    return (
        f'<iframe srcdoc="{escape(page)}" sandbox="allow-scripts" title="{escape(board.title)}" '
        'style="width:100%;height:760px;border:0"></iframe>'
    )


def states(board: Storyboard) -> list[dict[str, Any]]:
    """Return for each step the operation, the lines along which something flows, and the new gradients.

    A gradient is ``[card, short text, text, contributions so far, contributions at the end]``.
    """
    cards = {quantity.id: number for number, quantity in enumerate(board.quantities)}
    lines = {(target, argument): number for number, (_, target, argument) in enumerate(_uses(board))}
    last = len(board.quantities) - 1
    found: list[dict[str, Any]] = [{"now": last, "lines": [], "gradients": [[last, "1", "1", 1, 1]]}]
    found += [
        {
            "now": cards[step.quantity],
            "lines": [
                [lines[step.quantity, one.argument], one.part.short(LABEL)] for one in step.contributions
            ],
            "gradients": [
                [cards[one.target], one.total.short(), one.total.text(), one.arrived, one.expected]
                for one in step.contributions
            ],
        }
        for step in board.steps
    ]
    return [*found, {"now": None, "lines": [], "gradients": []}]


def _variables(theme: Mapping[str, str]) -> str:
    return "".join(f"--{role.replace(' ', '-')}:{colour};" for role, colour in theme.items())


def _items(board: Storyboard) -> Iterator[str]:
    """Yield a list item for each step."""
    loss = escape(board.loss)
    start = _term("gradient", _gradient(board, board.loss), "1", "incoming")
    yield (
        f'<li class="step"><h2>Start at the end: <i>{loss}</i></h2><p>The pass begins at the result and goes '
        f"back, against the direction of the computation. The derivative of <i>{loss}</i> by itself is 1.</p>"
        f'<div class="equation">{start}</div></li>'
    )
    for step in board.steps:
        title = escape(board.quantity(step.quantity).equation)
        sections = "".join(_section(board, step, one) for one in step.contributions)
        yield f'<li class="step"><h2>{title}</h2><div class="contributions">{sections}</div></li>'
    gradients = "".join(_term("", sign, text, "outgoing") for sign, text in _leaf_gradients(board))
    yield (
        '<li class="step"><h2>All gradients are there</h2><p>This is what <code>backward()</code> leaves in '
        f'<code>.grad</code>.</p><div class="equation">{gradients}</div></li>'
    )


def _section(board: Storyboard, step: Step, one: Contribution) -> str:
    """Return the contribution to one argument as an equation."""
    incoming = _gradient(board, board.quantity(step.quantity).name)
    gradient = _gradient(board, one.name)
    derivative = _derivative(board, step, one)
    direct = one.local is not None and not one.jacobian  # else it is a matrix product, or not shown
    terms = [_term("comes in", incoming, step.incoming.text(), "incoming")]
    if one.local is not None or one.formula:
        number = one.local.text() if one.local else ""
        terms += [_operator("×" if direct else "→"), _term(_kind(one), derivative, number, "local")]
    outgoing = gradient if one.expected == 1 else f"part of {gradient}"
    terms += [_operator("=" if direct else "→"), _term("goes out", outgoing, one.part.text(), "outgoing")]
    if one.before is not None:
        total = f"{one.before.text()} + {_in_parentheses(one.part.text())}"
        fits = "\n" not in total and len(total) <= 30
        shown = f"{gradient} = {total}" if fits else gradient
        terms += [_operator("→"), _term("with what came before", shown, one.total.text(), "outgoing")]
    text = f'<section class="contribution"><h3>to {escape(_receiver(step, one))}</h3>'
    text += f'<div class="equation">{"".join(terms)}</div>'
    if sentence := _sum(one):
        text += f'<p class="adds">{escape(sentence)}</p>'
    return text + "</section>"


def _term(label: str, formula: str, text: str, kind: str) -> str:
    return (
        f'<div class="term {kind}"><span class="label">{escape(label)}</span>'
        + (f'<span class="formula">{escape(formula)}</span>' if formula else "")
        + (f"<pre>{escape(text)}</pre>" if text else "")
        + "</div>"
    )


def _operator(sign: str) -> str:
    return f'<span class="operator">{sign}</span>'


def _table_rows(board: Storyboard) -> Iterator[str]:
    """Yield a row of the table for each quantity, with the gradient at the end."""
    for number, quantity in enumerate(board.quantities):
        gradient = "needs none" if quantity.gradient is None else quantity.gradient.text()
        waits = ' class="waiting"' if quantity.gradient is None else ""
        yield (
            f'<tr id="row-{number}"{waits}><th scope="row">{escape(quantity.name)}</th>'
            f"<td><pre>{escape(quantity.value.text())}</pre></td>"
            f'<td class="gradient"><pre>{escape(gradient)}</pre></td></tr>'
        )


# ---- picture ---------------------------------------------------------------------------------------------


def picture(board: Storyboard) -> str:
    """Return the computation as SVG, with the gradients at the end; the page's script shows others.

    Graphviz places empty boxes and draws the lines. The cards are written here, where the boxes are, so that
    they have the style of the page, and its script can change their texts.
    """
    drawn = ElementTree.fromstring(render(_dot(board), "svg"))
    [whole] = drawn.findall(f"{SVG}g")
    places = {part.attrib["id"]: part for part in whole.findall(f"{SVG}g")}
    width, height = drawn.attrib["viewBox"].split()[2:]
    # In the order of the numbers, by which the page's script knows lines and cards; Graphviz has another.
    lines = [_line(number, places) for number in range(len(_uses(board)))]
    cards = [
        _card(number, quantity, *_sides(places[f"card-{number}"]))
        for number, quantity in enumerate(board.quantities)
    ]
    return "\n".join(
        [
            f'<svg class="computation" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'style="--natural:{width}px" role="img" aria-label="{escape(board.title)}">',
            '<defs><marker id="back" viewBox="0 0 10 10" refX="1" refY="5" markerWidth="4.5" '
            'markerHeight="4.5" orient="auto"><path d="M10 0L0 5L10 10z"/></marker></defs>',
            f'<g transform="{whole.attrib["transform"]}">',
            *lines,
            *cards,
            "</g></svg>",
        ]
    )


def _dot(board: Storyboard) -> str:
    """Return the computation from left to right in Graphviz's language: sizes and numbers, no user's text.

    A label is a box too, in the middle of its line, or it would stand beside a line that is not its own.
    """
    cards = {quantity.id: number for number, quantity in enumerate(board.quantities)}
    labels = {
        (step.quantity, one.argument): len(one.part.short(LABEL))
        for step in board.steps
        for one in step.contributions
    }
    longest = _longest_gradients(board)
    rows = [
        'digraph { rankdir=LR pad="0.3" nodesep="0.2" ranksep="0.33"',
        'node [shape=box fixedsize=true label=""] edge [dir=none tailport=e headport=w]',
    ]
    for number, quantity in enumerate(board.quantities):
        numbers = max(len(quantity.value.short()), longest.get(quantity.id, 0))
        heading = min(32 + CHARACTER * len(quantity.equation), WIDEST)  # what is longer ends in "…"
        width = max(NARROWEST, heading, 98 + DIGIT * numbers)
        rows.append(f'card{number} [id="card-{number}" width="{width / 72:.3f}" height="{HEIGHT / 72:.3f}"]')
    for number, (source, target, argument) in enumerate(_uses(board)):
        width = DIGIT * labels.get((target, argument), 0)
        rows += [
            f'label{number} [id="label-{number}" width="{width / 72:.3f}" height="{LABEL_HEIGHT / 72:.3f}"]',
            f'card{cards[source]} -> label{number} [id="start-{number}"]',
            # The weight keeps the label of a long line just before its end, and not among other cards.
            f'label{number} -> card{cards[target]} [id="end-{number}" weight=2]',
        ]
    return "\n".join([*rows, "}"])


def _uses(board: Storyboard) -> list[tuple[str, str, int]]:
    """Return the lines of the picture: what is used, by which operation, and as which argument."""
    return [
        (source, quantity.id, argument)
        for quantity in board.quantities
        for source, argument in quantity.takes
    ]


def _longest_gradients(board: Storyboard) -> dict[str, int]:
    """Return the length of the longest text that each card shows as its gradient, in any step."""
    longest = {one.id: len(one.gradient.short()) for one in board.quantities if one.gradient is not None}
    for step in board.steps:
        for one in step.contributions:
            count = f" ({one.arrived} of {one.expected})" if one.arrived < one.expected else ""
            shown = len(one.total.short() + count)
            longest[one.target] = max(shown, longest.get(one.target, 0))
    return longest


def _sides(box: ElementTree.Element) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a box that Graphviz drew."""
    [outline] = box.findall(f"{SVG}polygon")
    corners = [corner.split(",") for corner in outline.attrib["points"].split()]
    xs, ys = ([float(corner[axis]) for corner in corners] for axis in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def _line(number: int, places: Mapping[str, ElementTree.Element]) -> str:
    """Return a line, through the place of its label, which is empty until something flows."""
    [start], [end] = (places[f"{part}-{number}"].findall(f"{SVG}path") for part in ("start", "end"))
    left, top, right, bottom = _sides(places[f"label-{number}"])
    path = start.attrib["d"] + end.attrib["d"].replace("M", "L")
    return (
        f'<g class="line" id="line-{number}"><path d="{path}"/>'
        f'<text x="{(left + right) / 2:.1f}" y="{(top + bottom) / 2 - 5:.1f}"></text></g>'
    )


def _card(number: int, quantity: Quantity, left: float, top: float, right: float, bottom: float) -> str:
    """Return a card: name and expression, value, gradient, and at its side the sign of the operation."""
    width = right - left
    fits = int((width - 26) / CHARACTER)
    heading = quantity.equation
    shown = heading if len(heading) <= fits else heading[: fits - 1] + "…"
    name, equals, expression = shown.partition(" = ")
    gradient = "none" if quantity.gradient is None else quantity.gradient.short()
    kind = "result" if quantity.kind == "operation" else "leaf" if quantity.uses else "constant"
    sign = {"-": "−", "**": "^"}.get(quantity.sign, quantity.sign)
    circle = f'<circle cy="{HEIGHT / 2}" r="14"/><text class="sign" y="{HEIGHT / 2}">{escape(sign)}</text>'
    return (
        f'<g class="card {kind}" id="card-{number}" transform="translate({left:.1f} {top:.1f})">'
        f"<title>{escape(heading)}: {escape(quantity.value.text())}</title>"
        f'<rect width="{width:.0f}" height="{HEIGHT}" rx="{2 if kind == "result" else 14}"/>'
        + (circle if 0 < len(sign) <= 2 else "")
        + f'<text class="name" x="20" y="24">{escape(name)}'
        f'<tspan class="expression">{escape(equals + expression)}</tspan></text>'
        f'<text class="word" x="20" y="47">value</text>'
        f'<text class="value" x="{width - 12:.0f}" y="47">{escape(quantity.value.short())}</text>'
        f'<text class="word" x="20" y="69">gradient</text>'
        f'<text class="gradient" x="{width - 12:.0f}" y="69">{escape(gradient)}</text></g>'
    )
