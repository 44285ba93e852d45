"""What a box costs: its share of the time, and the memory that it keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tinygrad_mnist.graph.data import OPERATION, Node
from tinygrad_mnist.graph.drawing import Box
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.numbers import bytes_text, seconds_text
from tinygrad_mnist.graph.profile import peak
from tinygrad_mnist.graph.scene import Place


def require_times(graph: Graph) -> None:
    """Refuse a graph whose operations were not timed."""
    if all(node.forward_seconds is None for node in graph.nodes):
        raise ValueError(
            "the profile view needs times, and this graph has none; make it by graph.profile(model, x, y)"
        )


def seconds(nodes: Sequence[Node]) -> float:
    """Forward and backward, together."""
    return sum((node.forward_seconds or 0.0) + (node.backward_seconds or 0.0) for node in nodes)


def kept(nodes: Sequence[Node]) -> int:
    """Bytes kept for the backward pass."""
    return sum(node.saved_bytes for node in nodes)


def with_costs(graph: Graph, places: Sequence[Place], boxes: Sequence[Box]) -> list[Box]:
    """The boxes with time, share and memory; marked are the slowest, and the one at the peak of memory."""
    total, memory = seconds(graph.nodes), kept(graph.nodes)
    slowest = max(seconds(place.nodes) for place in places)
    most = peak(graph)
    done = []
    for place, box in zip(places, boxes, strict=True):
        if not any(node.kind == OPERATION for node in place.nodes):
            done.append(box)
            continue
        time, size = seconds(place.nodes), kept(place.nodes)
        share = time / total if total else 0.0
        lines = [f"{seconds_text(time)}, {share:.0%}"]
        if size:
            lines.append(f"keeps {bytes_text(size)}, {size / memory:.0%}")
        peaks = ["peak: most time"] * (time == slowest > 0)
        if most is not None and most.node in {node.id for node in place.nodes}:
            when = "back" if most.backward else "forward"
            peaks.append(f"peak of memory: {bytes_text(most.bytes)}, going {when}")
        lines += peaks
        marks = (*box.marks, "peak") if peaks else box.marks
        done.append(replace(box, lines=(*box.lines, *lines), marks=marks, share=round(share, 4)))
    return done


def totals(graph: Graph) -> str:
    """The times of a whole step, for the title."""
    forward = sum(node.forward_seconds or 0.0 for node in graph.nodes)
    backward = sum(node.backward_seconds or 0.0 for node in graph.nodes)
    return f"{seconds_text(forward)} forward, {seconds_text(backward)} backward"
