"""The lists of a page: the modules, one inside the other, and a table of all nodes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape

from tinygrad_mnist.graph.data import Cluster, Node
from tinygrad_mnist.graph.formats.dot import printable
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.numbers import bytes_text, number_text, seconds_text, value_text


def shown(text: str) -> str:
    """A text as HTML that shows it, whatever is in it."""
    return escape(printable(text))


def timed(graph: Graph) -> bool:
    """Whether the operations were timed."""
    return any(node.forward_seconds is not None for node in graph.nodes)


def outline(graph: Graph) -> str:
    """The modules as a nested list, with the number of parameters that each holds."""
    if not graph.clusters:
        return "<p>No module took part.</p>"
    inner: dict[str, list[int]] = defaultdict(list)
    for number, cluster in enumerate(graph.clusters):
        inner[cluster.parent].append(number)
    held = _parameters(graph)
    out = ["<ul>"]
    waiting: list[int | str] = ["</ul>", *reversed(inner[""])]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            out.append(one)
            continue
        cluster = graph.clusters[one]
        out.append(
            f'<li><button type="button" data-cluster="{one}">{_words(cluster, held[cluster.id])}</button>'
        )
        waiting.append("</li>")
        if inner[cluster.id]:
            out.append("<ul>")
            waiting += ["</ul>", *reversed(inner[cluster.id])]
    return "".join(out)


def _words(cluster: Cluster, parameters: int) -> str:
    """What the nested list says of a module."""
    call = f" <small>call {cluster.call}</small>" if cluster.call > 1 else ""
    kind = "" if cluster.kind == cluster.name else f" {shown(cluster.kind)}"
    detail = f"<small>({shown(cluster.detail)})</small>" if cluster.detail else ""
    count = f" <small>{parameters:,} parameters</small>" if parameters else ""
    return f"<b>{shown(cluster.name)}</b>{kind}{detail}{call}{count}"


def _parameters(graph: Graph) -> Counter[str]:
    """How many numbers each module has to learn, those inside it included."""
    parent = {cluster.id: cluster.parent for cluster in graph.clusters}
    held: Counter[str] = Counter()
    for node in graph.parameters:
        around = node.cluster
        while around:
            held[around] += node.value.size
            around = parent[around]
    return held


@dataclass(frozen=True)
class _Column:
    """A column of the table: what it shows of a node, and by which number it is sorted if not by that."""

    name: str
    text: Callable[[Node], str]
    number: Callable[[Node], float | None] | None = None


def _columns(graph: Graph) -> list[_Column]:
    """The columns that have something to show."""
    columns = [
        _Column("kind", lambda node: node.kind),
        _Column("value", lambda node: "; ".join(map(value_text, node.values)), lambda node: node.value.size),
        _Column("bytes", lambda node: bytes_text(_bytes(node)), _bytes),
    ]
    columns += [
        _Column(name, partial(_statistic, name=name, of="statistics"))
        for name in ("min", "mean", "std", "max")
    ]
    if any(not value.statistics.finite for node in graph.nodes for value in node.values if value.statistics):
        columns.append(_Column("not finite", _not_finite))
    if graph.has_gradients:
        columns.append(_Column("gradient norm", partial(_statistic, name="norm", of="gradient")))
    if timed(graph):
        columns += [
            _Column(
                "forward", lambda node: seconds_text(node.forward_seconds), lambda node: node.forward_seconds
            ),
            _Column(
                "backward",
                lambda node: seconds_text(node.backward_seconds),
                lambda node: node.backward_seconds,
            ),
        ]
    if any(node.line for node in graph.nodes):
        columns.append(_Column("line", lambda node: node.line))
    return columns


def table(graph: Graph) -> str:
    """All nodes, a row each."""
    columns = _columns(graph)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("node", *(column.name for column in columns)))
    rows = []
    for number, node in enumerate(graph.nodes):
        cells = "".join(_cell(column, node) for column in columns)
        button = f'<button type="button" data-row="{number}">{shown(node.id)}</button>'
        rows.append(f'<tr><th scope="row">{button}</th>{cells}</tr>\n')
    return f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>"


def _cell(column: _Column, node: Node) -> str:
    number = column.number and column.number(node)
    return f"<td{'' if number is None else f' data-v={number}'}>{shown(column.text(node))}</td>"


def _bytes(node: Node) -> int:
    return sum(value.bytes for value in node.values)


def _statistic(node: Node, name: str, of: str) -> str:
    statistics = getattr(node.value, of)
    return "" if statistics is None else number_text(getattr(statistics, name))


def _not_finite(node: Node) -> str:
    """How many entries are no number or infinite, and which."""
    counts = Counter[str]()
    for value in node.values:
        if value.statistics is not None:
            counts.update({"NaN": value.statistics.nan, "inf": value.statistics.inf})
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
