"""The views of a graph: modules, operations, gradients and costs, as drawings that the formats lay out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from tinygrad_mnist.graph.backward import (
    NO_GRADIENT,
    folded_norms,
    gradient_arrows,
    lacks_gradient,
    require_backward,
)
from tinygrad_mnist.graph.boxes import box, group, parameter_count
from tinygrad_mnist.graph.costs import kept, require_times, totals, with_costs
from tinygrad_mnist.graph.data import OPERATION, PARAMETER, Edge
from tinygrad_mnist.graph.drawing import MARKS, Arrow, Box, Drawing
from tinygrad_mnist.graph.folding import Folding, Part
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.nonfinite import troubled_gradients, troubled_values, worst
from tinygrad_mnist.graph.numbers import bytes_text, count_text, shape_text
from tinygrad_mnist.graph.outline import Outline
from tinygrad_mnist.graph.scene import Scene, scene

VIEWS: Final = ("modules", "operations", "backward", "profile")

GRADIENTS: Final = "at an arrow: the norm of the gradient; a wider arrow is a larger norm"
FOLDED_GRADIENTS: Final = (
    "in a folded box: the least and the largest norm of the gradients that come into its parts"
)

BUDGET: Final = 40
"""Boxes of a picture if nothing else is asked for; who asks for more wants what was folded for clarity."""

FEWEST: Final = 3
"""Where even the middle of a group is folded, so many parts of it stay: the first, the middle, the last."""


def draw(
    graph: Graph,
    view: str = "modules",
    *,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = BUDGET,
    offers_more: bool = True,
) -> Drawing:
    """What a picture shows; see `Graph.draw`.

    Parameters
    ----------
    graph, view, depth, expand, budget
        As there.
    offers_more : bool
        Whether notes on what is folded may offer a larger depth or budget.

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
    seen = look(graph, view, depth=depth, expand=expand, budget=budget)
    return Drawing(
        title(graph, seen.outline, view),
        view,
        tuple(dressed(seen, view)),
        gradient_arrows(seen) if view == "backward" else flow(seen),
        tuple(group(seen.outline, cluster) for cluster in seen.plan.groups),
        (*notes(seen, view, offers_more), *(_gradient_notes(seen) if view == "backward" else [])),
    )


def look(graph: Graph, view: str, *, depth: int | None, expand: Collection[str], budget: int) -> Scene:
    """What is seen of a graph, before it has words; arguments and errors as for `draw`."""
    if view not in VIEWS:
        raise ValueError(f"there is no view {view!r}; expected one of {', '.join(VIEWS)}")
    if depth is not None and depth < 0:
        raise ValueError(f"depth is {depth}; expected 0 (all modules closed) or more")
    if budget < 1:
        raise ValueError(f"budget is {budget}; expected at least one box")
    if view == "backward":
        require_backward(graph)
    if view == "profile":
        require_times(graph)
    outline = Outline.of(graph)
    folding = Folding(outline, outline.around(outline.find(expand)), open_leaves=view == "operations")
    if depth is None:
        return within(folding, budget)
    return scene(outline, folding.plan(depth, fold_open=False), pills=True)


def within(folding: Folding, budget: int) -> Scene:
    """The deepest plan whose boxes are no more than the budget.

    Runs of equal modules are folded in any case, unless more than the usual budget is asked for and they have
    room in it. Where one open level is too much, runs of plain operations are folded too; then parameters go
    into the boxes that use them; then the middle of what is too long.
    """
    clear = _folded_within(folding, budget)
    if budget <= BUDGET or not any(part.is_fold for part in clear.plan.parts):
        return clear
    whole = _deepest(folding, budget, fold_open=False)
    known = [clear, *([whole] if whole is not None else [])]
    if whole is None or whole.plan.closed or any(part.is_fold for part in whole.plan.parts):
        known += _without_middles(folding, budget)
    return max(known, key=lambda seen: len(seen.places))


def _without_middles(folding: Folding, budget: int) -> Iterator[Scene]:
    """By depth, the plan that folds nothing but the middle of what is too long, and of that the least."""
    for depth in range(1, max(folding.outline.level.values(), default=0) + 3):
        for longest in _ever_fewer(budget):
            plan = folding.plan(depth, fold_open=False, longest=longest)
            seen = scene(folding.outline, plan, pills=True) if len(plan.parts) <= budget else None
            if seen is not None and len(seen.places) <= budget:
                yield seen
                break


def _deepest(
    folding: Folding, budget: int, *, fold_open: bool, full: bool = False, pills: bool = True
) -> Scene | None:
    """The deepest plan whose boxes are no more than the budget; None if not even one open level is."""
    found = None
    for depth in range(1, max(folding.outline.level.values(), default=0) + 3):
        plan = folding.plan(depth, fold_open=fold_open, full=full)
        seen = scene(folding.outline, plan, pills) if len(plan.parts) <= budget else None
        if seen is None or len(seen.places) > budget:
            break
        found = seen
        if not plan.closed and (fold_open or not any(part.is_fold for part in plan.parts)):
            break
    return found


def _folded_within(folding: Folding, budget: int) -> Scene:
    outline = folding.outline
    for pills in (True, False):
        for full in (False, True):
            found = _deepest(folding, budget, fold_open=True, full=full, pills=pills)
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


def title(graph: Graph, outline: Outline, view: str = "modules") -> str:
    """What is drawn, with totals."""
    top = [outline.clusters[member] for member in outline.members[""] if member in outline.clusters]
    name = next((cluster.kind for cluster in top if cluster.name == "model" and cluster.kind), "Computation")
    parts = [count_text(parameter_count(graph.nodes), "parameter")]
    parts.append(count_text(len(graph.operations), "operation"))
    if view == "profile":
        parts.append(totals(graph))
    size = kept(graph.nodes)
    if size and view != "backward":
        parts.append(f"{bytes_text(size)} kept for the backward pass")
    return f"{'Gradients of ' if view == 'backward' else ''}{name}: {', '.join(parts)}"


def dressed(seen: Scene, view: str) -> list[Box]:
    """The boxes with what is special about them, in this view."""
    graph = seen.outline.graph
    boxes = [box(seen.outline, place) for place in seen.places]
    if view == "profile":
        boxes = with_costs(graph, seen.places, boxes)
    values, gradients = troubled_values(graph), troubled_gradients(graph) if view == "backward" else {}
    done = []
    for place, made in zip(seen.places, boxes, strict=True):
        nodes = place.nodes or place.arrays
        troubles = [one for one in (worst(values, nodes), worst(gradients, nodes)) if one]
        marks = {*made.marks, *(trouble.mark for trouble in troubles)}
        if "origin" in marks:
            marks.discard("spoiled")
        if view == "backward" and lacks_gradient(nodes):
            marks.add(NO_GRADIENT)
        norms = folded_norms(seen, place) if view == "backward" else ""
        lines = (*made.lines, *([norms] if norms else []), *(trouble.text for trouble in troubles))
        done.append(replace(made, lines=lines, marks=tuple(mark for mark in MARKS if mark in marks)))
    return done


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
        sound = all(value.statistics is None or value.statistics.finite for value in values.values())
        marks = () if sound else ("spoiled",)
        kind = "flow" if is_flow else "parameter"
        arrows.append(Arrow(start, end, " ".join(words), kind, marks=marks))
    return tuple(arrows)


def most_uses(edges: Sequence[Edge]) -> int:
    """How many times an operation takes the same value, at most."""
    counts: dict[tuple[str, int, str], int] = {}
    for edge in edges:
        use = (edge.source, edge.output, edge.target)
        counts[use] = counts.get(use, 0) + 1
    return max(counts.values())


def notes(seen: Scene, view: str, offers_more: bool = True) -> list[str]:
    """What was folded and how to open it, and what is not seen."""
    outline, plan = seen.outline, seen.plan
    said = [_fold_note(outline, part, offers_more) for part in plan.parts if part.is_fold]
    if plan.closed:
        first = f'expand=["{plan.closed[0]}"] opens {"the first of them" if len(plan.closed) > 1 else "it"}'
        way = f"depth={plan.depth + 1} opens more, {first}" if offers_more else first
        said.append(f"closed: {_listed(plan.closed)}; {way}")
    if not seen.pills:
        way = f"; budget={_whole(outline)} shows them" if offers_more else ""
        said.append(f"parameters are in the boxes that use them{way}")
    shown = {"", *plan.groups}
    silent = [
        cluster.id
        for cluster in outline.clusters.values()
        if not outline.members[cluster.id] and cluster.parent in shown
    ]
    if silent:
        said.append(f"ran no operation: {_listed(silent)}")
    said += _hidden_origins(seen, view)
    return said


def _gradient_notes(seen: Scene) -> list[str]:
    """How to read the norms."""
    folded = any(folded_norms(seen, place) for place in seen.places)
    return [GRADIENTS, FOLDED_GRADIENTS] if folded else [GRADIENTS]


def _hidden_origins(seen: Scene, view: str) -> list[str]:
    """Where the first of the origins is that a closed or folded module hides."""
    graph = seen.outline.graph
    found = [troubled_values(graph), *([troubled_gradients(graph)] if view == "backward" else [])]
    for place in seen.places:
        for node in place.nodes if len(place.nodes) > 1 else ():
            if node.cluster and any(node.id in one and one[node.id].mark == "origin" for one in found):
                return [f'not finite from {node.id} on; expand=["{node.cluster}"] shows it']
    return []


def _fold_note(outline: Outline, part: Part, offers_more: bool) -> str:
    modules = [member for member in part.members if member in outline.clusters]
    ways = []
    if modules:
        if offers_more:
            ways.append(f"depth={outline.level[modules[0]] + 1} opens all")
        ways.append(f'expand=["{modules[0]}"] opens the first of them')
    elif offers_more:
        ways.append(f"budget={_whole(outline)} opens it")
    folded = f"folded: {part.members[0]} to {part.members[-1]}"
    return "; ".join([folded, ", ".join(ways)] if ways else [folded])


def _whole(outline: Outline) -> int:
    """A budget that is enough for everything: a parameter may stand at each operation that uses it."""
    graph = outline.graph
    arrays = {node.id: node for node in graph.nodes if node.kind != OPERATION}
    places = {
        (edge.source, edge.target if arrays[edge.source].cluster else "")
        for edge in graph.edges
        if edge.source in arrays
    }
    return len(graph.operations) + len(places)


def _listed(ids: Sequence[str]) -> str:
    rest = len(ids) - 3
    return ", ".join(ids[:3]) + (f" and {rest:,} more" if rest > 0 else "")
