"""The arrows of the backward view: they point against the computation, the wider the larger the gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import hypot, log
from typing import Final, NamedTuple

from tinygrad_mnist.graph.data import Edge, Graph, Node, Statistics
from tinygrad_mnist.graph.drawing import NO_GRADIENT, Arrow, Box
from tinygrad_mnist.graph.numbers import nonfinite_text, number_text

WIDEST: Final = 3.0
"""The width of the arrow with the largest gradient; that of the smallest is 1."""

WIDEST_RANGE: Final = 1e4
"""Largest ratio of norms that widths tell: gradients below that, often roundoff, are all equally thin."""


def gradient_arrows(graph: Graph, arrows: Sequence[Arrow]) -> tuple[Arrow, ...]:
    """Return the arrows reversed, with the norms of gradients.

    Where no gradient can flow, to inputs and labels, an arrow of kind ``none`` says nothing more; where one
    could and did not, it says ``no gradient``.
    """
    uses = Counter((edge.source, edge.output) for edge in graph.edges if edge.requires_grad)
    turned: list[tuple[Arrow, float]] = []
    for arrow in arrows:
        carrying = [edge for edge in arrow.edges if edge.requires_grad]
        sent = _sent(graph, carrying, uses)
        back = replace(arrow, source=arrow.target, target=arrow.source, kind="none")
        if not carrying:
            turned.append((back, 0.0))
        elif sent is None:
            turned.append((replace(back, label=NO_GRADIENT, marks=(NO_GRADIENT,)), 0.0))
        else:
            marks = () if sent.finite else ("spoiled",)
            turned.append((replace(back, label=sent.label, kind="gradient", marks=marks), sent.norm))
    # Widths tell ratios, as norms of one graph differ by many orders of magnitude.
    sizes = [log(norm) for _, norm in turned if norm > 0]
    high = max(sizes, default=0.0)
    low = max(min(sizes, default=0.0), high - log(WIDEST_RANGE))
    return tuple(replace(arrow, weight=_width(norm, low, high)) for arrow, norm in turned)


def lacks_gradient(nodes: Sequence[Node]) -> bool:
    """Return whether a gradient could have come to some nodes, and to none of them did."""
    able = [node for node in nodes if node.requires_grad]
    return bool(able) and all(value.gradient is None for node in able for value in node.values)


def folded_norms(graph: Graph, box: Box) -> str:
    """Return the range of the gradient norms of the parts of a folded box; empty where there are none."""
    if box.kind != "fold":
        return ""
    step = box.period if box.repeats else 1
    norms = []
    for start in range(0, len(box.members), step):
        operations = graph.operations_in(box.members[start : start + step])
        known = [value.gradient for value in operations[-1].values if value.gradient is not None]
        if known:
            norms.append(hypot(*(gradient.norm or 0.0 for gradient in known)))
    if not norms:
        return ""
    low, high = number_text(min(norms)), number_text(max(norms))
    return f"gradient norms {low} to {high}" if low != high else f"gradient norms {low}"


def _width(norm: float, low: float, high: float) -> float:
    """Return a width from 1 to the widest, by the logarithm of a norm."""
    if norm <= 0:
        return 1.0
    if high == low:
        return (1 + WIDEST) / 2
    return round(1 + (WIDEST - 1) * max(log(norm) - low, 0.0) / (high - low), 2)


class _Sent(NamedTuple):
    """The gradient that went back along an arrow.

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


def _sent(graph: Graph, edges: Sequence[Edge], uses: Counter[tuple[str, int]]) -> _Sent | None:
    """Add up the gradients that went back along some edges; None if there were none.

    The gradients that several operations in one box send to the same value add up. Where all uses of the
    value are in the arrow, the sum is the gradient of the value, which is known; else only the norms of the
    parts are, and by the triangle inequality their sum bounds the norm of the sum: the label says ``≤``.
    """
    by_value: dict[tuple[str, int], list[Edge]] = {}
    for edge in edges:
        by_value.setdefault((edge.source, edge.output), []).append(edge)
    norms: list[float] = []
    faults: list[Statistics] = []
    bound, times = False, 1
    for (source, output), same in by_value.items():
        whole = graph.by_id[source].values[output].gradient
        known = [whole] if whole and uses[source, output] == len(same) else _parts(same)
        bound = bound or len(known) > 1
        norms += [sum(part.norm or 0.0 for part in known)] if known else []
        faults += [part for part in known if not part.finite]
        times = max(times, *Counter(edge.target for edge in same).values())
    if not norms:
        return None
    norm = hypot(*norms)  # the gradients of different values are the parts of one vector
    label = "≤ " * bound + number_text(norm)
    if faults:
        total = Statistics(nan=sum(fault.nan for fault in faults), inf=sum(fault.inf for fault in faults))
        label = f"{nonfinite_text(total)}, norm of the rest {label}"
    return _Sent(norm, label + (f", {times} uses" if times > 1 else ""), not faults)


def _parts(edges: Sequence[Edge]) -> list[Statistics]:
    """Return the gradients of some uses of a value; those of one operation are one gradient together."""
    by_target = {edge.target: edge.gradient for edge in edges}
    return [part for part in by_target.values() if part is not None]
