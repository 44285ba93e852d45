"""A storyboard as text and as a page, in the same words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path
from string import Template
from typing import Any

from tinygrad_mnist.files import target_of, write
from tinygrad_mnist.graph.formats.theme import DARK, LIGHT
from tinygrad_mnist.graph.story.board import Quantity, Share, Step, Storyboard
from tinygrad_mnist.graph.story.entries import Entries
from tinygrad_mnist.graph.story.picture import lines, picture

LABEL = 9
"""Characters of the longest label of a line."""

ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True)
class _Words:
    """The names of a storyboard."""

    board: Storyboard

    @property
    def loss(self) -> str:
        return self.board.quantities[-1].name

    def of(self, id: str) -> Quantity:
        return next(quantity for quantity in self.board.quantities if quantity.id == id)

    def by(self, name: str) -> str:
        """The derivative of the loss by something."""
        return f"∂{self.loss}/∂{name}"

    def title(self, step: Step) -> str:
        quantity = self.of(step.quantity)
        return f"{quantity.name} = {quantity.expression}"

    def receiver(self, step: Step, share: Share) -> str:
        """What a share goes to; which of several arguments, where it is given as several."""
        again = [other.argument for other in step.shares if other.target == share.target]
        if len(again) == 1:
            return share.name
        return f"{share.name}, as the {_ordinal(again.index(share.argument) + 1)} of {len(again)} arguments"

    def local(self, step: Step, share: Share) -> str:
        """What is differentiated by what, and the formula if that says more than the number."""
        by = f"∂{self.of(step.quantity).name}/∂{share.name}"
        known = share.jacobian or share.formula in ("", share.local.text() if share.local else "")
        return by if known else f"{by} = {share.formula}"

    def leaves(self) -> list[Quantity]:
        """What the gradients were wanted of."""
        return [one for one in self.board.quantities if one.kind != "operation" and one.gradient is not None]


def _ordinal(n: int) -> str:
    return ORDINALS[n] if n < len(ORDINALS) else f"{n}th"


def _kind(share: Share) -> str:
    return "Jacobian, a row for each entry of the result" if share.jacobian else "local derivative"


def _sum(share: Share) -> str:
    """What became of a share that is one of several."""
    if share.expected == 1:
        return ""
    left = share.expected - share.arrived
    if share.before is None:
        return f"The first of {share.expected} contributions to {share.name}; they add up."
    more = f"{left} more to come." if left else f"The gradient of {share.name} is complete."
    return f"It adds to what came to {share.name} before. {more}"


# ---- text ------------------------------------------------------------------------------------------------


def to_text(board: Storyboard) -> str:
    """The story for a terminal."""
    words, count = _Words(board), len(board.steps) + 2
    blocks = [board.title, f"step 1 of {count}: start at the end\n  {words.by(words.loss)} = 1"]
    for number, step in enumerate(board.steps, 2):
        name = words.of(step.quantity).name
        rows = [f"step {number} of {count}: {words.title(step)}"]
        rows += _row(f"  comes in: {words.by(name)} =", step.incoming.text())
        for share in step.shares:
            rows.append(f"  to {words.receiver(step, share)}")
            if share.local is None:
                rows.append(f"    local derivative: {words.local(step, share)}")
            else:
                rows += _row(f"    {_kind(share)}: {words.local(step, share)} =", share.local.text())
            rows += _row("    goes out:", _product(step, share))
            if share.before is not None:
                rows += _row("    in all:", _joined(" + ", share.before, share.part, share.total))
            if sentence := _sum(share):
                rows.append(f"    {sentence}")
        blocks.append("\n".join(rows))
    rows = [f"step {count} of {count}: all gradients are there"]
    for leaf in words.leaves():
        assert leaf.gradient is not None
        rows += _row(f"  {words.by(leaf.name)} =", leaf.gradient.text())
    return "\n\n".join([*blocks, "\n".join(rows)])


def _row(label: str, text: str) -> list[str]:
    """A label and a text beside it, or under it where that has several lines."""
    first, *more = text.split("\n")
    if not more:
        return [f"{label} {first}"]
    margin = " " * (len(label) - len(label.lstrip()) + 2)
    return [label, *(margin + line for line in (first, *more))]


def _product(step: Step, share: Share) -> str:
    if share.local is None or share.jacobian:
        return share.part.text()
    return _joined(" × ", step.incoming, share.local, share.part)


def _joined(sign: str, one: Entries, other: Entries, result: Entries) -> str:
    """An equation, where it fits on a line."""
    texts = [one.text(), other.text(), result.text()]
    if any("\n" in text for text in texts) or sum(map(len, texts)) > 90:
        return texts[2]
    return f"{texts[0]}{sign}{_enclosed(texts[1])} = {texts[2]}"


def _enclosed(text: str) -> str:
    return f"({text})" if text.startswith("−") else text


# ---- page ------------------------------------------------------------------------------------------------


def to_html(board: Storyboard) -> str:
    """The story as a page."""
    words = _Words(board)
    page = Template((files("tinygrad_mnist.graph.story") / "storyboard.html").read_text("utf-8"))
    return page.substitute(
        loss=escape(words.loss),
        title=escape(board.title),
        light=_variables(LIGHT),
        dark=_variables(DARK),
        picture=picture(board),
        steps="\n".join(_items(board, words)),
        rows="\n".join(_rows(board)),
        count=len(board.steps) + 2,
        states=json.dumps(_states(board), ensure_ascii=False).replace("<", "\\u003c"),
    )


def _variables(theme: Any) -> str:
    return "".join(f"--{role.replace(' ', '-')}:{colour};" for role, colour in theme.items())


def _items(board: Storyboard, words: _Words) -> Iterator[str]:
    """A list item for each step."""
    loss = escape(words.loss)
    yield (
        f'<li class="step"><h2>Start at the end: <i>{loss}</i></h2><p>The pass begins at the result and goes '
        f"back, against the direction of the computation. The derivative of <i>{loss}</i> by itself is 1.</p>"
        f'<div class="equation">{_term("gradient", words.by(words.loss), "1", "incoming")}</div></li>'
    )
    for step in board.steps:
        name = words.of(step.quantity).name
        shares = "".join(_share(words, step, share, name) for share in step.shares)
        yield f'<li class="step"><h2>{escape(words.title(step))}</h2><div class="shares">{shares}</div></li>'
    gradients = "".join(
        _term("", words.by(leaf.name), leaf.gradient.text(), "outgoing")
        for leaf in words.leaves()
        if leaf.gradient is not None
    )
    yield (
        '<li class="step"><h2>All gradients are there</h2><p>This is what <code>backward()</code> leaves in '
        f'<code>.grad</code>.</p><div class="equation">{gradients}</div></li>'
    )


def _share(words: _Words, step: Step, share: Share, name: str) -> str:
    """What goes to one argument, as an equation."""
    gradient = ("" if share.expected == 1 else "part of ") + words.by(share.name)
    sign = "×" if share.local is not None and not share.jacobian else "→"
    terms = [_term("comes in", words.by(name), step.incoming.text(), "incoming")]
    if share.local is not None:
        terms += [_sign(sign), _term(_kind(share), words.local(step, share), share.local.text(), "local")]
    elif share.formula:
        terms += [_sign(sign), _term("local derivative", words.local(step, share), "", "local")]
    terms += [_sign("=" if sign == "×" else "→"), _term("goes out", gradient, share.part.text(), "outgoing")]
    if share.before is not None:
        sum_ = f"{share.before.text()} + {_enclosed(share.part.text())}"
        shown = words.by(share.name) if "\n" in sum_ or len(sum_) > 30 else f"{words.by(share.name)} = {sum_}"
        terms += [_sign("→"), _term("with what came before", shown, share.total.text(), "outgoing")]
    text = f'<section class="share"><h3>to {escape(words.receiver(step, share))}</h3>'
    text += f'<div class="equation">{"".join(terms)}</div>'
    if sentence := _sum(share):
        text += f'<p class="adds">{escape(sentence)}</p>'
    return text + "</section>"


def _term(label: str, formula: str, text: str, kind: str) -> str:
    return (
        f'<div class="term {kind}"><span class="label">{escape(label)}</span>'
        + (f'<span class="formula">{escape(formula)}</span>' if formula else "")
        + (f"<pre>{escape(text)}</pre>" if text else "")
        + "</div>"
    )


def _sign(sign: str) -> str:
    return f'<span class="operator">{sign}</span>'


def _rows(board: Storyboard) -> Iterator[str]:
    """A table row for each quantity, with the gradient that it ends with."""
    for number, quantity in enumerate(board.quantities):
        gradient = "needs none" if quantity.gradient is None else quantity.gradient.text()
        waits = ' class="waiting"' if quantity.gradient is None else ""
        yield (
            f'<tr id="row-{number}"{waits}><th scope="row">{escape(quantity.name)}</th>'
            f"<td><pre>{escape(quantity.value.text())}</pre></td>"
            f'<td class="gradient"><pre>{escape(gradient)}</pre></td></tr>'
        )


def _states(board: Storyboard) -> list[dict[str, Any]]:
    """What is new at each step: where the pass is, along which lines something flows, which gradients change.

    A gradient is ``[card, short text, text, contributions that came, contributions in all]``.
    """
    numbers = {quantity.id: number for number, quantity in enumerate(board.quantities)}
    edges = {(line.target, line.argument): number for number, line in enumerate(lines(board))}
    last = len(board.quantities) - 1
    start = {"now": last, "lines": [], "gradients": [[last, "1", "1", 1, 1]]}
    return [
        start,
        *(
            {
                "now": numbers[step.quantity],
                "lines": [[edges[step.quantity, one.argument], one.part.short(LABEL)] for one in step.shares],
                "gradients": [
                    [numbers[one.target], one.total.short(), one.total.text(), one.arrived, one.expected]
                    for one in step.shares
                ],
            }
            for step in board.steps
        ),
        {"now": None, "lines": [], "gradients": []},
    ]


def to_frame(board: Storyboard) -> str:
    """The page inside a notebook's cell, which keeps its style and script to itself."""
    return (
        f'<iframe srcdoc="{escape(to_html(board))}" sandbox="allow-scripts" title="{escape(board.title)}" '
        'style="width:100%;height:760px;border:0"></iframe>'
    )


def save(board: Storyboard, path: str | PathLike[str]) -> Path:
    """Write the page or the text, by suffix."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".html", ".txt"):
        raise ValueError(f"cannot tell a format by {path.name!r}; expected a name that ends in .html or .txt")
    target_of(path)  # before any work
    return write(path, board.html() if suffix == ".html" else board.text() + "\n")
