"""Where values and gradients that are not finite begin, and what they spoil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad_mnist.graph.data import Node, Statistics, Value
from tinygrad_mnist.graph.graph import Graph


@dataclass(frozen=True)
class Trouble:
    """What is not finite in a node.

    Attributes
    ----------
    mark : str
        ``origin`` where all that came in was finite, else ``spoiled``.
    text : str
        ``32/1024 NaN start here``.
    """

    mark: str
    text: str


def troubled_values(graph: Graph) -> dict[str, Trouble]:
    """By id of a node, what is not finite in its values."""
    came_in = set()
    for edge in graph.edges:
        value = graph.by_id[edge.source].values[edge.output]
        if value.statistics is not None and not value.statistics.finite:
            came_in.add(edge.target)
    found = {}
    for node in graph.nodes:
        if text := _text([(value.statistics, value) for value in node.values]):
            found[node.id] = _trouble(text, node.id not in came_in)
    return found


def troubled_gradients(graph: Graph) -> dict[str, Trouble]:
    """By id of a node, what is not finite in the gradients that came to it or went out of it.

    The origin is the first operation, on the way back, that was given a finite gradient and handed on one
    that is not; or the result whose gradient was not finite to begin with.
    """
    came_back = {id: text for id, text in _incoming(graph.nodes).items() if text}
    handed_on: dict[str, str] = {}
    from_later = set()
    for edge in graph.edges:
        if text := _text([(edge.gradient, graph.by_id[edge.source].values[edge.output])]):
            from_later.add(edge.source)
            handed_on.setdefault(edge.target, text)
    found = {}
    for node in graph.nodes:
        if node.id in came_back:
            found[node.id] = _trouble(f"gradient: {came_back[node.id]}", node.id not in from_later)
        elif node.id in handed_on:
            found[node.id] = _trouble(f"gradient: {handed_on[node.id]}", True)
    return found


def worst(troubles: dict[str, Trouble], nodes: Sequence[Node]) -> Trouble | None:
    """What a box says that stands for some nodes: where it begins, else what comes out of it at last."""
    met = [(node, troubles[node.id]) for node in nodes if node.id in troubles]
    if not met:
        return None
    node, trouble = next(((n, one) for n, one in met if one.mark == "origin"), met[-1])
    return trouble if len(nodes) == 1 else Trouble(trouble.mark, f"{trouble.text} ({node.id})")


def _trouble(text: str, begins: bool) -> Trouble:
    return Trouble("origin", f"{text} start here") if begins else Trouble("spoiled", text)


def _incoming(nodes: Sequence[Node]) -> dict[str, str]:
    return {node.id: _text([(value.gradient, value) for value in node.values]) for node in nodes}


def _text(arrays: Sequence[tuple[Statistics | None, Value]]) -> str:
    """How many entries of how many are not finite: ``32/1024 NaN``; empty if all are."""
    counts = {"NaN": 0, "inf": 0}
    entries = 0
    for statistics, value in arrays:
        entries += value.size
        if statistics is not None:
            counts["NaN"] += statistics.nan
            counts["inf"] += statistics.inf
    return ", ".join(f"{count}/{entries} {name}" for name, count in counts.items() if count)
