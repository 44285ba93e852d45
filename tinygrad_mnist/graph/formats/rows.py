"""The rows of an outline: the tree of what is seen, what each row stands for, and what it takes and gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from tinygrad_mnist.graph.boxes import member_name
from tinygrad_mnist.graph.data import PARAMETER, Edge, Node, Value
from tinygrad_mnist.graph.folding import Part, Plan, is_loop
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.numbers import count_text
from tinygrad_mnist.graph.outline import Outline

MOST_ARRAYS: Final = 8
"""Parameters of one row that have rows of their own; more are one row."""

MOST_OPERANDS: Final = 8
"""Operands of an operation that are named."""


@dataclass(eq=False)
class Row:
    """A line of the outline.

    Attributes
    ----------
    tree : str
        The branches before the name.
    name, what : str
    operations : list of Node
        That it stands for.
    arrays : list of Node
        The parameters that are counted here.
    values : list of Value
        What comes out.
    member : str
        Id of the first operation or module that it stands for; empty for parameters, and where a row is open.
    shared : bool
        Whether it takes only parameters that are counted above.
    """

    tree: str
    name: str
    what: str
    operations: list[Node]
    arrays: list[Node]
    values: list[Value] = field(default_factory=list)
    member: str = ""
    shared: bool = False

    @property
    def is_open(self) -> bool:
        """Whether what it stands for has rows of its own."""
        return bool(self.operations) and not self.member


def rows_of(outline: Outline, plan: Plan, view: str) -> list[Row]:
    """The tree of what is seen, in the order of the computation, or in the ``backward`` view the reverse."""
    graph = outline.graph
    flow, takes, counted = _Flow(graph), *_parameters(graph)
    opened = set(plan.groups)
    first = {part.members[0]: part for part in plan.parts}
    rows: list[Row] = []
    waiting: list[tuple[str, str, str]] = []  # a member, its branch, and what stands before those in it

    def put(group: str, before: str) -> None:
        children = [one for one in outline.members[group] if one in opened or one in first]
        if view == "backward":
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
        if view == "operations" and member in graph.by_id and member not in outline.clusters:
            name, what = flow.own(member, graph.by_id[member].cluster), flow.taken(member)
        seen = "" if part is None else member
        rows.append(Row(branch, name, what, operations, arrays, flow.results(operations), seen, shared))
        if part is None:
            put(member, below)
        elif view == "backward":
            rows += _array_rows(arrays, below, by_path=len(operations) > 1)
    return rows


def _array_rows(arrays: Sequence[Node], below: str, by_path: bool) -> list[Row]:
    """Rows for the parameters of a row; for many, one for all."""
    if len(arrays) > MOST_ARRAYS:
        return [Row(below + "└─ ", count_text(len(arrays), "array"), PARAMETER, [], list(arrays))]
    return [
        Row(
            below + ("└─ " if i == len(arrays) - 1 else "├─ "),
            (array.name or array.id) if by_path else array.label,
            array.kind,
            [],
            [array],
            list(array.values),
        )
        for i, array in enumerate(arrays)
    ]


def _names(outline: Outline, member: str, part: Part | None) -> tuple[str, str]:
    if part is not None and part.is_fold:
        period = len(part.members) // part.repeats if part.repeats else len(part.members)
        unit = list(dict.fromkeys(member_name(outline, one) for one in part.members[:period]))
        what = ", ".join(unit[:3]) + (", …" if len(unit) > 3 else "")
        what += f" x{part.repeats:,}" if part.repeats else ""
        what += " steps" if is_loop(outline, part) else ""
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


class _Flow:
    """What operations take, and what of their results goes on."""

    def __init__(self, graph: Graph) -> None:
        self._nodes, self._ends = graph.by_id, set(graph.outputs)
        self._into: dict[str, list[Edge]] = {}
        self._from: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            self._into.setdefault(edge.target, []).append(edge)
            self._from.setdefault(edge.source, []).append(edge)

    def results(self, operations: Sequence[Node]) -> list[Value]:
        """What some operations give to others, or as results of all; what the last gives if nothing is."""
        inside = {node.id for node in operations}
        found = []
        for node in operations:
            used = {edge.output for edge in self._from.get(node.id, ()) if edge.target not in inside}
            is_end = node.id in self._ends
            found += [value for i, value in enumerate(node.values) if is_end or i in used]
        return found or list(operations[-1].values)

    def taken(self, operation: str) -> str:
        """The operands of an operation by their names, and its other arguments: ``multiply#1, 2``."""
        node = self._nodes[operation]
        edges = sorted(self._into.get(operation, ()), key=lambda edge: edge.argument)
        names = [self._operand(edge, node.cluster) for edge in edges]
        if node.arguments.count("·") == len(names):
            text = node.arguments
            pieces = text.split("·")
            return pieces[0] + "".join(name + piece for name, piece in zip(names, pieces[1:], strict=True))
        runs = [(name, len(list(same))) for name, same in groupby(names)]
        texts = [name if times == 1 else f"{name} x{times}" for name, times in runs]
        more = len(texts) - MOST_OPERANDS
        if more > 1:
            texts[MOST_OPERANDS:] = [f"{more} more"]
        return ", ".join(texts + ([node.arguments] if node.arguments else []))

    def _operand(self, edge: Edge, cluster: str) -> str:
        index = f"[{edge.output}]" if len(self._nodes[edge.source].values) > 1 else ""
        return self.own(edge.source, cluster) + index

    def own(self, id: str, cluster: str) -> str:
        """The id of a node as seen from a cluster: without the clusters that are around both."""
        parts, around = id.split("/"), cluster.split("/")
        shared = 0
        home = self._nodes[id].cluster
        depth = len(home.split("/")) if home else 0
        while shared < min(depth, len(around)) and parts[shared] == around[shared]:
            shared += 1
        return "/".join(parts[shared:])


def values_text(values: Sequence[str]) -> str:
    """Texts, each once, with how many times it is there; few of them."""
    counts = Counter(values)
    texts = [text if times == 1 else f"{text} x{times}" for text, times in counts.items()]
    return ", ".join(texts[:3]) + (", …" if len(texts) > 3 else "")
