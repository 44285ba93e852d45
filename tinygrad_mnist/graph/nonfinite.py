"""The values and gradients that are not finite: their origin, and what they spoil.

The infinities of a mask, as in ``where(mask, scores, -inf)``, are meant: they are neither.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from tinygrad_mnist.graph.data import INPUT, Edge, Graph, Node, Statistics, Value

INFINITE_ARGUMENT: Final = re.compile(r"(?<![\w.])inf\b")
"""Matches an infinite number among the arguments of an operation, as their text tells them."""


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
    came_in: dict[str, list[Edge]] = defaultdict(list)
    for edge in graph.edges:
        if not _is_finite(graph.by_id[edge.source].values[edge.output]):
            came_in[edge.target].append(edge)
    found: dict[str, NonFinite] = {}
    for node in graph.nodes:
        text = _text([(value.statistics, value) for value in node.values])
        if text and not _is_masked(graph, node, came_in[node.id], found):
            found[node.id] = _finding(text, not any(edge.source in found for edge in came_in[node.id]))
    return found


def _is_finite(value: Value) -> bool:
    return value.statistics is None or value.statistics.finite


def _is_masked(graph: Graph, node: Node, came_in: Sequence[Edge], found: dict[str, NonFinite]) -> bool:
    """Return whether what is not finite in the values of a node are infinities that a mask put there.

    A mask is an infinite number, or a constant of 0 and infinities. The arguments of an operation are known
    as numbers of infinite entries: there can be no more of them in a result of the same size.
    """
    spoiled = [value for value in node.values if not _is_finite(value)]
    if any(value.statistics is None or value.statistics.nan for value in spoiled):
        return False
    if node.kind == INPUT:
        return not node.requires_grad and all(
            value.statistics is not None and not value.statistics.norm for value in spoiled
        )
    if any(edge.source in found for edge in came_in):
        return False
    if INFINITE_ARGUMENT.search(node.arguments):
        return True
    sources = [graph.by_id[edge.source].values[edge.output] for edge in came_in]
    for value in spoiled:
        most = sum(
            source.statistics.inf * ceil(value.size / (source.size or 1))
            for source in sources
            if source.statistics
        )
        if value.statistics is not None and value.statistics.inf > most:
            return False
    return True


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
