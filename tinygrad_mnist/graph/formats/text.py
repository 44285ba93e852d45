"""An aligned outline of a graph for a terminal: modules and operations as a tree, with what is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from math import hypot
from typing import Final

from tinygrad_mnist.graph.boxes import parameter_count
from tinygrad_mnist.graph.costs import kept, with_costs
from tinygrad_mnist.graph.data import CONSTANT, INPUT, Node, Statistics
from tinygrad_mnist.graph.drawing import Box
from tinygrad_mnist.graph.formats.dot import printable
from tinygrad_mnist.graph.formats.rows import Row, rows_of, values_text
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.nonfinite import troubled_gradients, troubled_values, worst
from tinygrad_mnist.graph.numbers import bytes_text, number_text, seconds_text, shape_text, value_text
from tinygrad_mnist.graph.scene import Scene
from tinygrad_mnist.graph.views import look, notes, title

BOLD: Final = "\x1b[1m{}\x1b[0m"
FAINT: Final = "\x1b[2m{}\x1b[0m"
RED: Final = "\x1b[31m{}\x1b[0m"
YELLOW: Final = "\x1b[33m{}\x1b[0m"

WIDTH: Final = 120
"""Columns at most, where nothing else is asked for."""

NARROWEST: Final = 8
"""Columns that a shortened text keeps at least."""

BLOCKS: Final = 8
"""Length of a full bar."""


def to_text(
    graph: Graph,
    view: str = "modules",
    *,
    color: bool = False,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = 40,
    width: int | None = WIDTH,
) -> str:
    """An outline of a graph, aligned.

    Parameters
    ----------
    graph : Graph
    view : str
        As for `Graph.draw`; ``operations`` says what each operation takes, ``backward`` goes from the end
        to the beginning and has a row for each parameter, ``profile`` has times and memory.
    color : bool
        Whether to use the codes of a terminal for bold and colour; nothing is said by them alone.
    depth, expand, budget
        As for `Graph.draw`.
    width : int, optional
        Columns beyond which names are shortened, without the remarks beside them; with None nothing is.

    Raises
    ------
    ValueError
        As for `Graph.draw`.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> print((x * 3).exp().graph(names={"x": x}).text("operations"))
    Computation: 2 parameters, 2 operations, 32 B kept for the backward pass
    <BLANKLINE>
                what        shape  parameters
    multiply#1  x, 3            2           2
    exp#1       multiply#1      2
    total                                   2
    <BLANKLINE>
    """
    seen = replace(look(graph, view, depth=depth, expand=expand, budget=budget), pills=True)  # in a column
    rows = rows_of(seen.outline, seen.plan, view)
    columns = _columns(graph, rows, view)
    lines = [_colored(_clean(title(graph, seen.outline)), BOLD, color), *_inputs(graph), ""]
    lines += _table(rows, columns, _remarks(seen, rows, view), width, color)
    if said := notes(seen, view):
        lines += ["", *map(_clean, said)]
    return "\n".join(lines) + "\n"


def _inputs(graph: Graph) -> list[str]:
    inputs = [one for one in graph.nodes if one.kind == INPUT and (one.name or one.label != CONSTANT)]
    texts = [f"{_clean(node.name or node.id)} {value_text(node.value)}" for node in inputs]
    more = [f"{len(texts) - 3} more"] if len(texts) > 4 else []
    return [f"inputs: {', '.join(texts[: 3 if more else 4] + more)}"] if texts else []


# ---- columns -------------------------------------------------------------------------------------------


def _columns(graph: Graph, rows: Sequence[Row], view: str) -> list[tuple[str, list[str]]]:
    """Headings, and a cell a row and one for the total."""
    columns = [
        ("shape", [values_text([shape_text(value.shape) for value in row.values]) for row in rows] + [""]),
        ("parameters", [_count(row) for row in rows] + [f"{parameter_count(graph.nodes):,}"]),
    ]
    if graph.has_gradients and view != "profile":
        columns.append(("gradient of output", [_of_output(row) for row in rows] + [""]))
        if arrays := graph.parameters:
            columns.append(("of parameters", [_of_arrays(row) for row in rows] + [_norm(arrays)]))
    if view == "profile":
        columns += _costs(graph, rows)
    return columns


def _count(row: Row) -> str:
    return "shared" if row.shared else f"{parameter_count(row.arrays):,}" if row.arrays else ""


def _of_output(row: Row) -> str:
    if not row.operations:
        return ""
    able = any(node.requires_grad for node in row.operations)
    return _norm_of([value.gradient for value in row.values], able)


def _of_arrays(row: Row) -> str:
    """The norm of the gradients of the parameters of a row; of many alone, a range."""
    if not row.arrays:
        return ""
    norms = [
        value.gradient.norm for node in row.arrays for value in node.values if value.gradient is not None
    ]
    known = [norm for norm in norms if norm is not None]
    whole = _norm(row.arrays)
    if row.operations or len(known) < 2 or whole in ("NaN", "inf"):
        return whole
    return f"{number_text(min(known))} to {number_text(max(known))}"


def _norm(nodes: Sequence[Node]) -> str:
    gradients = [value.gradient for node in nodes for value in node.values]
    return _norm_of(gradients, any(node.requires_grad for node in nodes))


def _norm_of(given: Sequence[Statistics | None], able: bool) -> str:
    """The norm of some gradients together."""
    gradients = [one for one in given if one is not None]
    if not gradients:
        return "no gradient" if able else "-"
    broken = next((one for one in gradients if not one.finite), None)
    if broken is not None:
        return "NaN" if broken.nan else "inf"
    return number_text(hypot(*(one.norm or 0.0 for one in gradients)))


def _costs(graph: Graph, rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    groups = [row.operations for row in rows] + [list(graph.operations)]
    columns = []
    kinds: tuple[tuple[str, Callable[[Node], float | None]], ...] = (
        ("forward", lambda node: node.forward_seconds),
        ("backward", lambda node: node.backward_seconds),
    )
    seconds = [0.0] * len(groups)
    for heading, time in kinds:
        times = [[t for t in map(time, group) if t is not None] for group in groups]
        if any(times):
            columns.append((heading, [seconds_text(sum(one)) if one else "" for one in times]))
            seconds = [before + sum(one) for before, one in zip(seconds, times, strict=True)]
    if total := seconds[-1]:
        columns.append(("share of time", [_bar(one / total) for one in seconds]))
    columns.append(("kept", [bytes_text(kept(group)) if kept(group) else "" for group in groups]))
    return columns


def _bar(share: float) -> str:
    return f"{'█' * round(BLOCKS * share):<{BLOCKS}} {share:4.0%}"


def _remarks(seen: Scene, rows: Sequence[Row], view: str) -> list[str]:
    """What is special about a row: values that are not finite and where they start, and peaks."""
    graph = seen.outline.graph
    troubles = [troubled_values(graph), *([troubled_gradients(graph)] if view == "backward" else [])]
    peaks = _peaks(seen) if view == "profile" else {}
    remarks = []
    for row in rows:
        nodes = [] if row.is_open else row.operations or row.arrays
        words = [trouble.text for one in troubles if (trouble := worst(one, nodes))]
        remarks.append(", ".join(words + peaks.get(row.member, [])))
    return remarks


def _peaks(seen: Scene) -> dict[str, list[str]]:
    """What the picture says of the boxes where most time and memory is, by their first members."""
    places = [place for place in seen.places if place.part is not None]
    boxes = with_costs(seen.outline.graph, places, [Box(place.id, "", "") for place in places])
    return {
        place.part.members[0]: [line for line in box.lines if line.startswith("peak")]
        for place, box in zip(places, boxes, strict=True)
        if place.part is not None
    }


# ---- lines ---------------------------------------------------------------------------------------------


def _table(
    rows: Sequence[Row],
    columns: Sequence[tuple[str, list[str]]],
    remarks: Sequence[str],
    width: int | None,
    color: bool,
) -> list[str]:
    """The rows aligned: names and kinds to the left, shortened if need be; numbers to the right."""
    names = [row.tree + _clean(row.name) for row in rows] + ["total"]
    whats = [_clean(row.what) for row in rows] + [""]
    sizes = [max(map(len, (heading, *cells))) for heading, cells in columns]
    longest, widest = max(map(len, names)), max(map(len, (*whats, "what")))
    if width is not None:
        room = width - sum(sizes) - 2 * len(sizes) - 2
        widest = max(min(widest, room - longest), min(widest, NARROWEST))
        longest = max(min(longest, room - widest), min(longest, NARROWEST))
    heading = f"{'':{longest}}  {'what':{widest}}" + "".join(
        f"  {text:>{size}}" for (text, _), size in zip(columns, sizes, strict=True)
    )
    lines = [_colored(heading, FAINT, color)]
    for i, (name, what) in enumerate(zip(names, whats, strict=True)):
        is_total = i == len(rows)
        name = f"{_short(name, longest):{longest}}"
        cells = [f"{cells[i]:>{size}}" for (_, cells), size in zip(columns, sizes, strict=True)]
        cells = [_colored(cell, YELLOW, color and cell.strip() == "no gradient") for cell in cells]
        bold = color and (is_total or rows[i].is_open)
        what = _colored(f"{_short(what, widest):{widest}}", FAINT, color)
        line = "  ".join([_colored(name, BOLD, bold), what, *cells]).rstrip()
        if not is_total and remarks[i]:
            line += "  " + _colored(f"← {remarks[i]}", RED, color)
        lines.append(line)
    return lines


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _clean(text: str) -> str:
    """A text that a terminal takes for nothing else."""
    return " ".join(printable(text).split())


def _colored(text: str, code: str, color: bool) -> str:
    return code.format(text) if color else text
