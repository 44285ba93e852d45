"""An aligned outline of a graph for a terminal: modules and operations as a tree, with what is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from shutil import get_terminal_size
from typing import Final

from tinygrad_mnist.graph.data import OPERATION, PARAMETER, Node, Value
from tinygrad_mnist.graph.formats.dot import printable
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.views.boxes import member_name, parameter_count
from tinygrad_mnist.graph.views.costs import kept
from tinygrad_mnist.graph.views.draw import look, notes, title
from tinygrad_mnist.graph.views.folding import Part, Plan
from tinygrad_mnist.graph.views.nonfinite import troubled_gradients, troubled_values, worst
from tinygrad_mnist.graph.views.outline import Outline
from tinygrad_mnist.graph.words import bytes_text, number_text, seconds_text, shape_text, value_text

BOLD: Final = "\x1b[1m{}\x1b[0m"
FAINT: Final = "\x1b[2m{}\x1b[0m"
RED: Final = "\x1b[31m{}\x1b[0m"
YELLOW: Final = "\x1b[33m{}\x1b[0m"

WIDTH: Final = 100
"""Columns where there is no terminal."""

NARROWEST: Final = 8
"""Columns that a shortened text keeps at least."""

BLOCKS: Final = 8
"""Length of a full bar."""


@dataclass(eq=False)
class _Row:
    """A line of the outline."""

    tree: str  # the branches before the name
    name: str
    what: str
    operations: list[Node]  # that it stands for
    arrays: list[Node]  # the parameters that are counted here
    shared: bool = False  # takes only parameters that are counted above
    is_open: bool = False


def to_text(
    graph: Graph,
    view: str = "modules",
    *,
    color: bool = False,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = 40,
    width: int | None = None,
) -> str:
    """An outline of a graph, aligned, as wide as the terminal at most.

    Parameters
    ----------
    graph : Graph
    view : str
        As for `Graph.draw`; ``backward`` goes from the end to the beginning and names each parameter,
        ``profile`` has times and memory.
    color : bool
        Whether to use the codes of a terminal for bold and colour; nothing is said by them alone.
    depth, expand, budget
        As for `Graph.draw`.
    width : int, optional
        Columns; by default those of the terminal.

    Raises
    ------
    ValueError
        As for `Graph.draw`.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> print((x * 3).exp().graph(names={"x": x}).text(width=80))
    Computation: 2 parameters, 2 operations, 32 B kept for the backward pass
    <BLANKLINE>
              what  shape  parameters
    multiply  ·, 3      2           2
    exp                 2
    total                           2
    <BLANKLINE>
    """
    seen = replace(look(graph, view, depth=depth, expand=expand, budget=budget), pills=True)  # in a column
    rows = _rows(seen.outline, seen.plan, backward=view == "backward")
    columns = _columns(graph, rows, view)
    lines = [_colored(_clean(title(graph, seen.outline)), BOLD, color), *_inputs(graph), ""]
    lines += _table(rows, columns, _remarks(graph, rows, view), width, color)
    if said := notes(seen, view):
        lines += ["", *map(_clean, said)]
    return "\n".join(lines) + "\n"


def _inputs(graph: Graph) -> list[str]:
    inputs = [node for node in graph.nodes if node.kind == "input"]
    texts = [f"{_clean(node.name or node.id)} {value_text(node.value)}" for node in inputs]
    more = [f"{len(texts) - 3} more"] if len(texts) > 4 else []
    return [f"inputs: {', '.join(texts[: 3 if more else 4] + more)}"] if texts else []


# ---- rows ----------------------------------------------------------------------------------------------


def _rows(outline: Outline, plan: Plan, *, backward: bool) -> list[_Row]:
    """The tree of what is seen, in the order of the computation, or the reverse."""
    takes, counted = _parameters(outline.graph)
    opened = set(plan.groups)
    first = {part.members[0]: part for part in plan.parts}
    rows: list[_Row] = []
    waiting: list[tuple[str, str, str]] = []  # a member, its branch, and what stands before those in it

    def put(group: str, before: str) -> None:
        children = [one for one in outline.members[group] if one in opened or one in first]
        if backward:
            children.reverse()
        for i, child in reversed(list(enumerate(children))):
            branch, below = ("└─ ", "   ") if i == len(children) - 1 else ("├─ ", "│  ")
            waiting.append((child, before + branch, before + below) if group else (child, "", ""))

    put("", "")
    while waiting:
        member, branch, below = waiting.pop()
        part = first.get(member)
        operations = outline.operations((member,) if part is None else part.members)
        arrays = [node for one in operations for node in counted.get(one.id, ())]
        shared = not arrays and any(takes.get(one.id) for one in operations)
        name, what = _names(outline, member, part)
        rows.append(_Row(branch, name, what, operations, arrays, shared, part is None))
        if part is None:
            put(member, below)
        elif backward:
            for i, array in enumerate(arrays):
                ending = "└─ " if i == len(arrays) - 1 else "├─ "
                name = array.label if len(operations) == 1 else array.name or array.id
                rows.append(_Row(below + ending, name, array.kind, [], [array]))
    return rows


def _names(outline: Outline, member: str, part: Part | None) -> tuple[str, str]:
    if part is not None and part.repeats != 1:
        period = len(part.members) // part.repeats if part.repeats else len(part.members)
        unit = list(dict.fromkeys(member_name(outline, one) for one in part.members[:period]))
        what = ", ".join(unit[:3]) + (", …" if len(unit) > 3 else "")
        what += f" x{part.repeats}" if part.repeats else ""
        first, last = (one.rpartition("/")[2] for one in (part.members[0], part.members[-1]))
        return f"{first} … {last}", what
    if member in outline.clusters:
        cluster = outline.clusters[member]
        call = f" (call {cluster.call})" if cluster.call > 1 else ""
        return cluster.name + call, cluster.kind + (f" ({cluster.detail})" if cluster.detail else "")
    node = outline.graph.by_id[member]
    return node.name, node.arguments


def _parameters(graph: Graph) -> tuple[dict[str, list[Node]], dict[str, list[Node]]]:
    """By operation: the parameters that it takes, and those among them that none took before."""
    takes: dict[str, list[Node]] = {}
    counted: dict[str, list[Node]] = {}
    found: set[str] = set()
    for edge in graph.edges:
        source = graph.by_id[edge.source]
        if source.kind == PARAMETER:
            takes.setdefault(edge.target, []).append(source)
            if source.id not in found:
                found.add(source.id)
                counted.setdefault(edge.target, []).append(source)
    return takes, counted


# ---- columns -------------------------------------------------------------------------------------------


def _columns(graph: Graph, rows: Sequence[_Row], view: str) -> list[tuple[str, list[str]]]:
    """Headings, and a cell a row and one for the total."""
    columns = [
        ("shape", [shape_text(_value(row).shape) for row in rows] + [""]),
        ("parameters", [_count(row) for row in rows] + [f"{parameter_count(graph.nodes):,}"]),
    ]
    if graph.has_gradients and view != "profile":
        columns.append(("gradient norm", [_gradient(row) for row in rows] + [""]))
    if view == "profile":
        columns += _costs(graph, rows)
    return columns


def _value(row: _Row) -> Value:
    return (row.operations or row.arrays)[-1].value


def _count(row: _Row) -> str:
    return "shared" if row.shared else f"{parameter_count(row.arrays):,}" if row.arrays else ""


def _gradient(row: _Row) -> str:
    node = (row.operations or row.arrays)[-1]
    gradients = [value.gradient for value in node.values if value.gradient is not None]
    if not gradients:
        return "no gradient" if node.requires_grad else "-"
    broken = next((one for one in gradients if not one.finite), None)
    if broken is not None:
        return "NaN" if broken.nan else "inf"
    return number_text(sum((one.norm or 0.0) ** 2 for one in gradients) ** 0.5)


def _costs(graph: Graph, rows: Sequence[_Row]) -> list[tuple[str, list[str]]]:
    groups = [[one for one in row.operations if one.kind == OPERATION] for row in rows] + [
        list(graph.operations)
    ]
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


def _remarks(graph: Graph, rows: Sequence[_Row], view: str) -> list[str]:
    """What is special about a row: values that are not finite and where they start, the peak of memory."""
    troubles = [troubled_values(graph), *([troubled_gradients(graph)] if view == "backward" else [])]
    most = max((kept(row.operations) for row in rows if not row.is_open), default=0)
    remarks = []
    for row in rows:
        nodes = [] if row.is_open else row.operations or row.arrays
        words = [trouble.text for one in troubles if (trouble := worst(one, nodes))]
        if view == "profile" and not row.is_open and kept(row.operations) == most > 0:
            words.append("most memory")
        remarks.append(", ".join(words))
    return remarks


# ---- lines ---------------------------------------------------------------------------------------------


def _table(
    rows: Sequence[_Row],
    columns: Sequence[tuple[str, list[str]]],
    remarks: Sequence[str],
    width: int | None,
    color: bool,
) -> list[str]:
    """The rows aligned: names and kinds to the left, shortened if need be; numbers to the right."""
    if width is None:
        width = get_terminal_size((WIDTH, 24)).columns
    names = [row.tree + _clean(row.name) for row in rows] + ["total"]
    whats = [_clean(row.what) for row in rows] + [""]
    sizes = [max(map(len, (heading, *cells))) for heading, cells in columns]
    beyond = max((len(remark) + 4 for remark in remarks if remark), default=0)
    room = width - sum(sizes) - 2 * len(sizes) - 2 - beyond
    longest, widest = max(map(len, names)), max(map(len, (*whats, "what")))
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
