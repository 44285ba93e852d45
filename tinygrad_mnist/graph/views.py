"""The views of a graph: modules, operations, gradients and costs, as drawings that the formats lay out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from tinygrad_mnist.graph.boxes import box, group, parameter_count
from tinygrad_mnist.graph.data import OPERATION, PARAMETER, Edge
from tinygrad_mnist.graph.drawing import Arrow, Drawing
from tinygrad_mnist.graph.folding import Folding, Part
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.outline import Outline
from tinygrad_mnist.graph.scene import Scene, scene
from tinygrad_mnist.graph.words import bytes_text, count_text, shape_text

VIEWS: Final = ("modules", "operations", "backward", "profile")

FEWEST: Final = 3
"""Where even the middle of a group is folded, so many parts of it stay: the first, the middle, the last."""


def draw(
    graph: Graph,
    view: str = "modules",
    *,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = 40,
) -> Drawing:
    """What a picture shows; see `Graph.draw`.

    Raises
    ------
    ValueError
        If there is no such view, depth or module, or the graph does not hold what the view shows.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor
    >>> x = Tensor(3.0, requires_grad=True)
    >>> drawing = draw((x * x + 1).graph())
    >>> [(arrow.source, arrow.target, arrow.label) for arrow in drawing.arrows]
    [('parameter#1', 'multiply#1', 'x2'), ('multiply#1', 'add#1', '')]
    """
    if view not in VIEWS:
        raise ValueError(f"there is no view {view!r}; expected one of {', '.join(VIEWS)}")
    if depth is not None and depth < 0:
        raise ValueError(f"depth is {depth}; expected 0 (all modules closed) or more")
    if budget < 1:
        raise ValueError(f"budget is {budget}; expected at least one box")
    outline = Outline.of(graph)
    forced = outline.around(outline.find(expand))
    folding = Folding(outline, forced, open_leaves=view == "operations")
    if depth is None:
        seen = within(folding, budget)
    else:
        seen = scene(outline, folding.plan(depth, fold_open=False), pills=True)
    return Drawing(
        title(graph, outline),
        view,
        tuple(box(outline, place) for place in seen.places),
        flow(seen),
        tuple(group(outline, cluster) for cluster in seen.plan.groups),
        tuple(notes(seen)),
    )


def within(folding: Folding, budget: int) -> Scene:
    """The deepest plan whose boxes are no more than the budget.

    Runs of equal modules are folded in any case. Where one open level is too much, runs of plain operations
    are folded too; then parameters go into the boxes that use them; then the middle of what is too long.
    """
    outline = folding.outline
    for pills in (True, False):
        for full in (False, True):
            found = None
            for depth in range(1, max(outline.level.values(), default=0) + 3):
                plan = folding.plan(depth, fold_open=True, full=full)
                seen = scene(outline, plan, pills) if len(plan.parts) <= budget else None
                if seen is None or len(seen.places) > budget:
                    break
                found = seen
                if not folding.can_open(plan):
                    break
            if found is not None:
                return found
    for depth, longest in [*((1, n) for n in _ever_fewer(budget)), *((0, n) for n in _ever_fewer(budget))]:
        plan = folding.plan(depth, fold_open=True, full=True, longest=longest)
        last = scene(outline, plan, pills=False)
        if len(last.places) <= budget:
            break
    return last


def _ever_fewer(budget: int) -> Iterator[int]:
    longest = max(budget, FEWEST)
    while longest > FEWEST:
        yield longest
        longest = longest * 3 // 4
    yield FEWEST


def title(graph: Graph, outline: Outline) -> str:
    """What is drawn, with totals."""
    top = [outline.clusters[member] for member in outline.members[""] if member in outline.clusters]
    name = next((cluster.kind for cluster in top if cluster.name == "model" and cluster.kind), "")
    parts = [count_text(parameter_count(graph.nodes), "parameter")]
    parts.append(count_text(len(graph.operations), "operation"))
    kept = sum(node.saved_bytes for node in graph.nodes)
    if kept:
        parts.append(f"{bytes_text(kept)} kept for the backward pass")
    return f"{name or 'Computation'}: {', '.join(parts)}"


def flow(seen: Scene) -> tuple[Arrow, ...]:
    """The arrows of the forward pass: a shape stands where it is not the one that came in before."""
    by_id = seen.outline.graph.by_id
    entering: dict[str, set[tuple[int, ...]]] = {}
    for (_, target), edges in seen.links.items():
        for edge in edges:
            source = by_id[edge.source]
            if source.kind not in (PARAMETER, "buffer") or not source.cluster:
                entering.setdefault(target, set()).add(source.values[edge.output].shape)
    arrows = []
    for (start, end), edges in seen.links.items():
        values = {(edge.source, edge.output): by_id[edge.source].values[edge.output] for edge in edges}
        is_flow = by_id[edges[0].source].kind == OPERATION
        shapes = [value.shape for value in values.values() if value.shape not in entering.get(start, ())]
        texts = list(dict.fromkeys(map(shape_text, shapes))) if is_flow else []
        words = [", ".join(texts[:3]) + (", …" if len(texts) > 3 else "")] if texts else []
        if (times := most_uses(edges)) > 1:
            words.append(f"x{times}")
        arrows.append(Arrow(start, end, " ".join(words), "flow" if is_flow else "parameter"))
    return tuple(arrows)


def most_uses(edges: Sequence[Edge]) -> int:
    """How many times an operation takes the same value, at most."""
    counts: dict[tuple[str, int, str], int] = {}
    for edge in edges:
        use = (edge.source, edge.output, edge.target)
        counts[use] = counts.get(use, 0) + 1
    return max(counts.values())


def notes(seen: Scene) -> list[str]:
    """What was folded, and how to open it."""
    return [_fold_note(seen.outline, part) for part in seen.plan.parts if part.is_fold]


def _fold_note(outline: Outline, part: Part) -> str:
    modules = [member for member in part.members if member in outline.clusters]
    span = f"{part.members[0]} to {part.members[-1]}"
    if modules:
        way = f'depth={outline.level[modules[0]] + 1} or expand=["{modules[0]}"]'
    else:
        way = f"budget={len(outline.graph.nodes)}"
    return f"folded: {span}; {way} opens it"
