"""An aligned outline of a graph for a terminal: modules and operations as a tree, with what is known.

A row of the outline is a `Box` like those of pictures: its title is the name, its only line the class or the
arguments, its nodes are the operations and its arrays the parameters that are counted in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from math import hypot
from typing import Final, NamedTuple

from tinygrad_mnist.graph.boxes import flops, kept_bytes, member_name, seconds, with_costs
from tinygrad_mnist.graph.data import (
    CONSTANT,
    INPUT,
    PARAMETER,
    Edge,
    Graph,
    Node,
    Statistics,
    Value,
    parameter_count,
)
from tinygrad_mnist.graph.descriptions import value_text
from tinygrad_mnist.graph.drawing import NO_GRADIENT, Box, Drawing
from tinygrad_mnist.graph.folding import BUDGET, is_loop
from tinygrad_mnist.graph.formats.dot import printable
from tinygrad_mnist.graph.nonfinite import nonfinite, worst
from tinygrad_mnist.graph.views import VIEWS, notes, title, without_words
from tinygrad_mnist.numbers import bytes_text, count_text, flops_text, number_text, seconds_text, shape_text

BOLD: Final = "\x1b[1m{}\x1b[0m"
FAINT: Final = "\x1b[2m{}\x1b[0m"
RED: Final = "\x1b[31m{}\x1b[0m"
YELLOW: Final = "\x1b[33m{}\x1b[0m"

WIDTH: Final = 120
"""Most columns, where nothing else is asked for."""

NARROWEST: Final = 8
"""Columns that a shortened text keeps at least."""

BLOCKS: Final = 8
"""Length of a full bar."""

MOST_ARRAYS: Final = 8
"""Most parameters of one row that have rows of their own; more are one row."""

MOST_OPERANDS: Final = 8
"""Most operands of an operation that are named."""

OPEN: Final = "open"
"""The kind of the row of a module whose children have rows of their own."""


class Row(NamedTuple):
    """A row of the outline: the branches of the tree before its name, and what it tells of."""

    tree: str
    box: Box


class Column(NamedTuple):
    """A column of the outline: its heading, its text for each row, and that for the total."""

    heading: str
    cell: Callable[[Box], str]
    total: str = ""


def to_text(
    graph: Graph,
    view: str = "modules",
    *,
    color: bool = False,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = BUDGET,
    width: int | None = WIDTH,
) -> str:
    """Return an outline of a graph, aligned.

    Parameters
    ----------
    graph : Graph
    view : str
        As for `Graph.draw`; ``operations`` tells the operands of each operation, ``backward`` goes from the
        end to the beginning and has a row for each parameter, ``profile`` has times and memory.
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
    bare = without_words(graph, view, depth=depth, expand=expand, budget=budget)
    drawing = replace(bare, parameters_apart=True)  # they are in a column
    uses = _Uses(graph)
    rows = _rows(graph, drawing, uses)
    lines = [_colored(_clean(title(graph)), BOLD, color), *_inputs(graph), ""]
    lines += _table(rows, _columns(graph, view, uses), _remarks(graph, drawing, rows), width, color)
    if said := notes(graph, drawing):
        lines += ["", *map(_clean, said)]
    return "\n".join(lines) + "\n"


def _inputs(graph: Graph) -> list[str]:
    inputs = [one for one in graph.nodes if one.kind == INPUT and (one.name or one.label != CONSTANT)]
    texts = [f"{_clean(node.name or node.id)} {value_text(node.value)}" for node in inputs]
    more = [f"{len(texts) - 3} more"] if len(texts) > 4 else []
    return [f"inputs: {', '.join(texts[: 3 if more else 4] + more)}"] if texts else []


# ---- rows ----------------------------------------------------------------------------------------------


def _rows(graph: Graph, drawing: Drawing, uses: _Uses) -> list[Row]:
    """Return the tree of what is seen, in the order of the computation; of gradients, in the reverse."""
    view = VIEWS[drawing.view]
    rows: list[Row] = []
    for box, branch, below in _tree(graph, drawing):
        operations = [node.id for node in graph.operations_in(box.members)]
        arrays = [array for one in operations for array in uses.counted.get(one, ())]
        shared = "" if arrays or not any(one in uses.taken for one in operations) else "above"
        name, what = _names(graph, box)
        if view.operations and box.kind == "operation":
            name, what = uses.own_name(box.id, graph.by_id[box.id].cluster), uses.operands(box.id)
        told = replace(box, title=name, lines=(what,), nodes=tuple(operations), arrays=tuple(arrays))
        rows.append(Row(branch, replace(told, shared_with=shared)))
        if view.gradients and box.kind != OPEN:
            rows += _array_rows([graph.by_id[array] for array in arrays], below, len(operations) > 1)
    return rows


def _tree(graph: Graph, drawing: Drawing) -> Iterator[tuple[Box, str, str]]:
    """Yield the open modules and the boxes in them, each with its branch and the stem of its own children."""
    boxes = {group.id: Box(group.id, OPEN, "", members=(group.id,)) for group in drawing.groups}
    boxes.update((box.members[0], box) for box in drawing.boxes if box.members)
    waiting: list[tuple[Box, str, str]] = []

    def add_children(group: str, stem: str) -> None:
        # The other members of a fold have no box of their own. A stack gives the last first.
        children = [boxes[child] for child in graph.children[group] if child in boxes]
        if not VIEWS[drawing.view].gradients:
            children.reverse()
        for i, child in enumerate(children):
            branch, below = ("├─ ", "│  ") if i else ("└─ ", "   ")
            waiting.append((child, stem + branch, stem + below) if group else (child, "", ""))

    add_children("", "")
    while waiting:
        box, branch, below = waiting.pop()
        yield box, branch, below
        if box.kind == OPEN:
            add_children(box.id, below)


def _array_rows(arrays: Sequence[Node], below: str, by_path: bool) -> list[Row]:
    """Return rows for the parameters of a row; for many, one for all."""
    ids = tuple(array.id for array in arrays)
    if len(arrays) > MOST_ARRAYS:
        name = count_text(len(arrays), "array")
        return [Row(below + "└─ ", Box("", PARAMETER, name, (PARAMETER,), arrays=ids))]
    names = [(array.name or array.id) if by_path else array.label for array in arrays]
    return [
        Row(
            below + ("└─ " if array is arrays[-1] else "├─ "),
            Box(array.id, array.kind, name, (array.kind,), arrays=(array.id,)),
        )
        for array, name in zip(arrays, names, strict=True)
    ]


def _names(graph: Graph, box: Box) -> tuple[str, str]:
    """Return the name of a row, and its class or arguments."""
    first = box.members[0]
    if box.kind == "fold":
        unit = list(dict.fromkeys(member_name(graph, one) for one in box.members[: box.period]))
        what = ", ".join(unit[:3]) + (", …" if len(unit) > 3 else "")
        what += f" x{box.repeats:,}" if box.repeats else ""
        what += " steps" if is_loop(graph, box) else ""
        return " … ".join(_place(graph, one) for one in (first, box.members[-1])), what
    if box.kind in ("module", OPEN):
        cluster = graph.clusters_by_id[first]
        call = f" (call {cluster.call})" if cluster.call > 1 else ""
        return cluster.name + call, cluster.kind + (f" ({cluster.detail})" if cluster.detail else "")
    return graph.by_id[first].name, graph.by_id[first].arguments


def _place(graph: Graph, member: str) -> str:
    """Return the id of an operation or module as seen from the module around it."""
    cluster = graph.clusters_by_id.get(member)
    around = graph.by_id[member].cluster if cluster is None else cluster.parent
    return member.removeprefix(f"{around}/").replace("/", ".")


class _Uses:
    """The uses of results and parameters, by operation.

    Attributes
    ----------
    taken : dict of str to list of str
        By operation, the parameters that it takes.
    counted : dict of str to list of str
        Those among them that no operation before took.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph, self._ends = graph, set(graph.outputs)
        self._into: dict[str, list[Edge]] = {}
        self._from: dict[str, list[Edge]] = {}
        self.taken: dict[str, list[str]] = {}
        self.counted: dict[str, list[str]] = {}
        for edge in graph.edges:
            if graph.by_id[edge.source].kind == PARAMETER:
                self.taken.setdefault(edge.target, []).append(edge.source)
                if edge.source not in self._from:
                    self.counted.setdefault(edge.target, []).append(edge.source)
            self._into.setdefault(edge.target, []).append(edge)
            self._from.setdefault(edge.source, []).append(edge)

    def results(self, box: Box) -> list[Value]:
        """Return what comes out of the operations of a row, or its array; of many arrays, nothing.

        That is what they give to others or as results of all; what the last gives, if nothing is used.
        """
        nodes = [self._graph.by_id[node] for node in box.nodes]
        if not nodes:
            return list(self._graph.by_id[box.arrays[0]].values) if len(box.arrays) == 1 else []
        inside = set(box.nodes)
        found: list[Value] = []
        for node in nodes:
            used = {edge.output for edge in self._from.get(node.id, ()) if edge.target not in inside}
            is_end = node.id in self._ends
            found += [value for i, value in enumerate(node.values) if is_end or i in used]
        return found or list(nodes[-1].values)

    def operands(self, operation: str) -> str:
        """Return the operands of an operation by their names, and its other arguments: ``multiply#1, 2``."""
        node = self._graph.by_id[operation]
        edges = sorted(self._into.get(operation, ()), key=lambda edge: edge.argument)
        names = [self._operand(edge, node.cluster) for edge in edges]
        if node.arguments.count("·") == len(names):  # a dot stands for each operand
            pieces = node.arguments.split("·")
            return pieces[0] + "".join(name + piece for name, piece in zip(names, pieces[1:], strict=True))
        runs = [(name, len(list(same))) for name, same in groupby(names)]
        texts = [name if times == 1 else f"{name} x{times}" for name, times in runs]
        more = len(texts) - MOST_OPERANDS
        if more > 1:
            texts[MOST_OPERANDS:] = [f"{more} more"]
        return ", ".join(texts + ([node.arguments] if node.arguments else []))

    def _operand(self, edge: Edge, cluster: str) -> str:
        index = f"[{edge.output}]" if len(self._graph.by_id[edge.source].values) > 1 else ""
        return self.own_name(edge.source, cluster) + index

    def own_name(self, id: str, cluster: str) -> str:
        """Return the id of a node as seen from a cluster: without the clusters that are around both."""
        parts, around = id.split("/"), cluster.split("/")
        own = self._graph.by_id[id].cluster
        most = min(len(own.split("/")) if own else 0, len(around))
        shared = 0
        while shared < most and parts[shared] == around[shared]:
            shared += 1
        return "/".join(parts[shared:])


# ---- columns -------------------------------------------------------------------------------------------


def _columns(graph: Graph, view: str, uses: _Uses) -> list[Column]:
    """Return the columns that have something to show in a view."""
    arrays = graph.parameters
    columns = [
        Column("shape", lambda box: _shapes(uses.results(box))),
        Column("parameters", lambda box: _count(graph, box), f"{parameter_count(arrays):,}"),
    ]
    if VIEWS[view].costs:
        return columns + _costs(graph)
    if graph.has_gradients:
        columns.append(Column("gradient of output", lambda box: _of_output(graph, box, uses.results(box))))
        if arrays:
            columns.append(Column("of parameters", lambda box: _of_arrays(graph, box), _norm(arrays)))
    return columns


def _shapes(values: Iterable[Value]) -> str:
    """Return shapes, each once, with how many times it is there; few of them."""
    counts = Counter(shape_text(value.shape) for value in values)
    texts = [text if times == 1 else f"{text} x{times}" for text, times in counts.items()]
    return ", ".join(texts[:3]) + (", …" if len(texts) > 3 else "")


def _count(graph: Graph, box: Box) -> str:
    if box.shared_with:
        return "shared"
    return f"{parameter_count(graph.by_id[array] for array in box.arrays):,}" if box.arrays else ""


def _of_output(graph: Graph, box: Box, values: Sequence[Value]) -> str:
    able = any(graph.by_id[node].requires_grad for node in box.nodes)
    return _norm_of([value.gradient for value in values], able) if box.nodes else ""


def _of_arrays(graph: Graph, box: Box) -> str:
    """Return the norm of the gradients of the parameters of a row; of many alone, a range."""
    arrays = [graph.by_id[array] for array in box.arrays]
    if not arrays:
        return ""
    gradients = [value.gradient for node in arrays for value in node.values if value.gradient is not None]
    norms = [gradient.norm for gradient in gradients if gradient.norm is not None]
    whole = _norm(arrays)
    if box.nodes or len(norms) < 2 or whole in ("NaN", "inf"):
        return whole
    return f"{number_text(min(norms))} to {number_text(max(norms))}"


def _norm(nodes: Sequence[Node]) -> str:
    gradients = [value.gradient for node in nodes for value in node.values]
    return _norm_of(gradients, any(node.requires_grad for node in nodes))


def _norm_of(given: Sequence[Statistics | None], able: bool) -> str:
    """Return the norm of some gradients together."""
    gradients = [one for one in given if one is not None]
    if not gradients:
        return NO_GRADIENT if able else "-"
    broken = next((one for one in gradients if not one.finite), None)
    if broken is not None:
        return "NaN" if broken.nan else "inf"
    return number_text(hypot(*(one.norm or 0.0 for one in gradients)))


def _costs(graph: Graph) -> list[Column]:
    def nodes_of(box: Box) -> list[Node]:
        return [graph.by_id[node] for node in box.nodes]

    def time_column(heading: str, time: Callable[[Node], float | None]) -> list[Column]:
        def told(nodes: Sequence[Node]) -> str:
            times = [one for one in map(time, nodes) if one is not None]
            return seconds_text(sum(times)) if times else ""

        known = told(graph.operations)
        return [Column(heading, lambda box: told(nodes_of(box)), known)] if known else []

    def products(nodes: Sequence[Node]) -> str:
        return flops_text(sum(flops(nodes))) if any(flops(nodes)) else ""

    def kept(nodes: Sequence[Node]) -> str:
        return bytes_text(kept_bytes(nodes)) if kept_bytes(nodes) else ""

    columns = time_column("forward", lambda node: node.forward_seconds)
    columns += time_column("backward", lambda node: node.backward_seconds)
    if total := seconds(graph.operations):
        columns.append(Column("share of time", lambda box: _bar(seconds(nodes_of(box)) / total), _bar(1)))
    if known := products(graph.operations):
        columns.append(Column("products", lambda box: products(nodes_of(box)), known))
    return [*columns, Column("kept", lambda box: kept(nodes_of(box)), kept(graph.operations))]


def _bar(share: float) -> str:
    return f"{'█' * round(BLOCKS * share):<{BLOCKS}} {share:4.0%}"


def _remarks(graph: Graph, drawing: Drawing, rows: Sequence[Row]) -> list[str]:
    """Return what is special about each row: values that are not finite and where they start, and peaks."""
    view = VIEWS[drawing.view]
    found = nonfinite(graph, view.gradients)
    peaks: dict[str, list[str]] = {}
    if view.costs:
        for box in with_costs(graph, [box for box in drawing.boxes if box.members]):
            peaks[box.id] = [line for line in box.lines if line.startswith("peak")]
    remarks = []
    for _, box in rows:
        nodes = [] if box.kind == OPEN else [graph.by_id[node] for node in box.nodes or box.arrays]
        words = [fault.text for one in found if (fault := worst(one, nodes))]
        remarks.append(", ".join(words + ([] if box.kind == OPEN else peaks.get(box.id, []))))
    return remarks


# ---- lines ---------------------------------------------------------------------------------------------


def _table(
    rows: Sequence[Row], columns: Sequence[Column], remarks: Sequence[str], width: int | None, color: bool
) -> list[str]:
    """Align the rows: names and kinds to the left, shortened if need be; numbers to the right."""
    names = [row.tree + _clean(row.box.title) for row in rows] + ["total"]
    whats = [_clean(row.box.lines[0]) for row in rows] + [""]
    cells = [[*(column.cell(row.box) for row in rows), column.total] for column in columns]
    headings = [column.heading for column in columns]
    sizes = [max(map(len, (heading, *texts))) for heading, texts in zip(headings, cells, strict=True)]
    longest, widest = max(map(len, names)), max(map(len, (*whats, "what")))
    if width is not None:  # the names give way last
        left = width - sum(sizes) - 2 * len(sizes) - 2
        widest = max(min(widest, left - longest), min(widest, NARROWEST))
        longest = max(min(longest, left - widest), min(longest, NARROWEST))
    heading = f"{'':{longest}}  {'what':{widest}}" + "".join(
        f"  {text:>{size}}" for text, size in zip(headings, sizes, strict=True)
    )
    lines = [_colored(heading, FAINT, color)]
    is_bold = [*(row.box.kind == OPEN for row in rows), True]
    for i, (name, what, remark) in enumerate(zip(names, whats, [*remarks, ""], strict=True)):
        numbers = [f"{texts[i]:>{size}}" for texts, size in zip(cells, sizes, strict=True)]
        parts = [
            _colored(f"{_short(name, longest):{longest}}", BOLD, color and is_bold[i]),
            _colored(f"{_short(what, widest):{widest}}", FAINT, color),
            *(_colored(number, YELLOW, color and number.strip() == NO_GRADIENT) for number in numbers),
        ]
        line = "  ".join(parts).rstrip()
        lines.append(line + ("  " + _colored(f"← {remark}", RED, color) if remark else ""))
    return lines


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _clean(text: str) -> str:
    """Return a text that a terminal takes for nothing else."""
    return " ".join(printable(text).split())


def _colored(text: str, code: str, color: bool) -> str:
    return code.format(text) if color else text
