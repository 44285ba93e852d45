"""The values and gradients that are not finite: their origin, and what they spoil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad_mnist.graph.data import Graph, Node, Statistics, Value


@dataclass(frozen=True)
class NonFinite:
    """The entries of a node that are not finite.

    Attributes
    ----------
    mark : str
        ``origin`` where all that came in was finite, else ``spoiled``.
    text : str
        ``32/1024 NaN start here``.
    """

    mark: str
    text: str


def nonfinite(graph: Graph, gradients: bool) -> list[dict[str, NonFinite]]:
    """Find what is not finite in values and, if asked for, in gradients; by id of a node."""
    return [_in_values(graph), *([_in_gradients(graph)] if gradients else [])]


def worst(found: dict[str, NonFinite], nodes: Sequence[Node]) -> NonFinite | None:
    """Return the finding that tells most about some nodes: the first origin, else what comes out at last."""
    met = [(node, found[node.id]) for node in nodes if node.id in found]
    if not met:
        return None
    node, one = next(((node, one) for node, one in met if one.mark == "origin"), met[-1])
    return one if len(nodes) == 1 else NonFinite(one.mark, f"{one.text} ({node.id})")


def _in_values(graph: Graph) -> dict[str, NonFinite]:
    came_in = set()
    for edge in graph.edges:
        value = graph.by_id[edge.source].values[edge.output]
        if value.statistics is not None and not value.statistics.finite:
            came_in.add(edge.target)
    found = {}
    for node in graph.nodes:
        if text := _text([(value.statistics, value) for value in node.values]):
            found[node.id] = _finding(text, node.id not in came_in)
    return found


def _in_gradients(graph: Graph) -> dict[str, NonFinite]:
    """Find what is not finite in the gradients that came to a node or that it sent on.

    The origin is the first operation, on the way back, that was given a finite gradient and sent on one
    that is not; or the result whose gradient was not finite to begin with.
    """
    came_back = {
        node.id: text
        for node in graph.nodes
        if (text := _text([(value.gradient, value) for value in node.values]))
    }
    sent_on: dict[str, str] = {}
    from_later = set()
    for edge in graph.edges:
        if text := _text([(edge.gradient, graph.by_id[edge.source].values[edge.output])]):
            from_later.add(edge.source)
            sent_on.setdefault(edge.target, text)
    found = {}
    for node in graph.nodes:
        if node.id in came_back:
            found[node.id] = _finding(f"gradient: {came_back[node.id]}", node.id not in from_later)
        elif node.id in sent_on:
            found[node.id] = _finding(f"gradient: {sent_on[node.id]}", True)
    return found


def _finding(text: str, begins: bool) -> NonFinite:
    return NonFinite("origin", f"{text} start here") if begins else NonFinite("spoiled", text)


def _text(arrays: Sequence[tuple[Statistics | None, Value]]) -> str:
    """Return the part of the entries that is not finite: ``32/1024 NaN``; empty if all are finite."""
    counts = {"NaN": 0, "inf": 0}
    entries = 0
    for statistics, value in arrays:
        entries += value.size
        if statistics is not None:
            counts["NaN"] += statistics.nan
            counts["inf"] += statistics.inf
    return ", ".join(f"{count}/{entries} {name}" for name, count in counts.items() if count)
