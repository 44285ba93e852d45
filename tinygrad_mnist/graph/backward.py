"""The way back: arrows that point against the computation, the wider the larger the gradient is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot, log
from typing import Final

from tinygrad_mnist.graph.data import Edge, Node, Statistics
from tinygrad_mnist.graph.drawing import Arrow
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.numbers import nonfinite_text, number_text
from tinygrad_mnist.graph.scene import Place, Scene

WIDEST: Final = 3.0
"""The width of the arrow with the largest gradient; that of the smallest is 1."""

WIDEST_RANGE: Final = 1e4
"""Gradients that are so many times smaller than the largest are as thin as any: roundoff takes no room."""

NO_GRADIENT: Final = "no gradient"


def require_backward(graph: Graph) -> None:
    """Refuse a graph whose operations never saw a gradient."""
    if not any(value.gradient is not None for node in graph.operations for value in node.values):
        raise ValueError(
            "the backward view needs a backward pass, and none was recorded; put the computation and its "
            "backward() inside `with graph.record() as tape:`, and draw tape.graph()"
        )


def gradient_arrows(seen: Scene) -> tuple[Arrow, ...]:
    """The arrows of the scene, reversed, with the norms of gradients.

    Where no gradient can flow, to inputs and labels, an arrow of kind ``none`` says nothing more; where one
    could and did not, it says ``no gradient``.
    """
    graph = seen.outline.graph
    uses = Counter((edge.source, edge.output) for edge in graph.edges if edge.requires_grad)
    arrows: list[tuple[Arrow, float]] = []
    for (start, end), edges in seen.links.items():
        carrying = [edge for edge in edges if edge.requires_grad]
        flown = _flown(graph, carrying, uses)
        if not carrying:
            arrows.append((Arrow(end, start, kind="none"), 0.0))
        elif flown is None:
            arrows.append((Arrow(end, start, NO_GRADIENT, "none", marks=(NO_GRADIENT,)), 0.0))
        else:
            marks = () if flown.finite else ("spoiled",)
            arrows.append((Arrow(end, start, flown.label, "gradient", marks=marks), flown.norm))
    sizes = [log(norm) for _, norm in arrows if norm > 0]
    high = max(sizes, default=0.0)
    low = max(min(sizes, default=0.0), high - log(WIDEST_RANGE))
    return tuple(replace(arrow, weight=_width(norm, low, high)) for arrow, norm in arrows)


def lacks_gradient(nodes: Sequence[Node]) -> bool:
    """Whether a gradient could have come to some nodes, and to none of them did."""
    able = [node for node in nodes if node.requires_grad]
    return bool(able) and all(value.gradient is None for node in able for value in node.values)


def folded_norms(seen: Scene, place: Place) -> str:
    """The least and the largest norm of the gradients that come into the parts of a folded box, if any do."""
    part = place.part
    if part is None or not part.is_fold:
        return ""
    period = len(part.members) // part.repeats if part.repeats else 1
    norms = []
    for start in range(0, len(part.members), period):
        operations = seen.outline.operations(part.members[start : start + period])
        known = [value.gradient for value in operations[-1].values if value.gradient is not None]
        if known:
            norms.append(hypot(*(gradient.norm or 0.0 for gradient in known)))
    if not norms:
        return ""
    low, high = number_text(min(norms)), number_text(max(norms))
    return f"gradient norms {low} to {high}" if low != high else f"gradient norms {low}"


def _width(norm: float, low: float, high: float) -> float:
    """From 1 to the widest, by the logarithm of a norm."""
    if norm <= 0:
        return 1.0
    if high == low:
        return (1 + WIDEST) / 2
    return round(1 + (WIDEST - 1) * max(log(norm) - low, 0.0) / (high - low), 2)


@dataclass(frozen=True)
class _Flown:
    """What went back along an arrow.

    Attributes
    ----------
    norm : float
        Of all the gradients in it, as one vector.
    label : str
        The norm, after what is not finite, and how many uses by one operation it is the sum of.
    finite : bool
    """

    norm: float
    label: str
    finite: bool


def _flown(graph: Graph, edges: Sequence[Edge], uses: Counter[tuple[str, int]]) -> _Flown | None:
    """What went back along some edges; None if nothing did.

    The gradients that several operations in one box send to the same value add up. Where all uses of the
    value are in the arrow, the sum is the gradient of the value; else the sum of norms bounds its norm.
    """
    by_value: dict[tuple[str, int], list[Edge]] = {}
    for edge in edges:
        by_value.setdefault((edge.source, edge.output), []).append(edge)
    norms: list[float] = []
    faults: list[Statistics] = []
    bound, times = False, 1
    for (source, output), same in by_value.items():
        parts = {edge.target: edge.gradient for edge in same}
        whole = graph.by_id[source].values[output].gradient
        if whole is not None and uses[source, output] == len(same):
            known = [whole]
        else:
            known = [part for part in parts.values() if part is not None]
            bound = bound or len(known) > 1
        if known:
            norms.append(sum(part.norm or 0.0 for part in known))
        faults += [part for part in known if not part.finite]
        times = max(times, *Counter(edge.target for edge in same).values())
    if not norms:
        return None
    norm = hypot(*norms)
    words = ["≤ " * bound + number_text(norm)]
    if faults:
        spoiled = nonfinite_text(Statistics(nan=sum(f.nan for f in faults), inf=sum(f.inf for f in faults)))
        words = [spoiled, f"norm of the rest {words[0]}"]
    if times > 1:
        words.append(f"{times} uses")
    return _Flown(norm, ", ".join(words), not faults)
