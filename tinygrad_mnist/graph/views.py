"""The views of a graph: modules, operations, gradients and costs, as drawings that the formats lay out.

``VIEWS`` is the one table of them: drawings, formats and checks read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import hypot, log
from typing import Any, Final, NamedTuple

from tinygrad_mnist.graph.boxes import group_with_title, kept_bytes, nodes_of, with_costs, with_words
from tinygrad_mnist.graph.data import OPERATION, Edge, Graph, Node, Statistics, parameter_count
from tinygrad_mnist.graph.descriptions import nonfinite_text
from tinygrad_mnist.graph.drawing import MARKS, NO_GRADIENT, Arrow, Box, Drawing
from tinygrad_mnist.graph.folding import BUDGET, boxes_to_depth, boxes_within, closed
from tinygrad_mnist.graph.nonfinite import nonfinite, worst
from tinygrad_mnist.numbers import bytes_text, count_text, number_text, seconds_text, shape_text

GRADIENTS: Final = "at an arrow: the norm of the gradient; a wider arrow is a larger norm"
FOLDED_GRADIENTS: Final = (
    "in a folded box: the least and the largest norm of the gradients that come into its parts"
)

WIDEST: Final = 3.0
"""The width of the arrow with the largest gradient; that of the smallest is 1."""

WIDEST_RANGE: Final = 1e4
"""Largest ratio of norms that widths tell: gradients below that, often roundoff, are all equally thin."""


@dataclass(frozen=True)
class View:
    """A way to look at a graph.

    Attributes
    ----------
    title : str
        Its name on a button.
    operations : bool
        Whether modules that hold only operations are opened, too.
    gradients : bool
        Whether it goes from the end to the beginning, and shows gradients.
    costs : bool
        Whether it shows times and memory.
    """

    title: str
    operations: bool = False
    gradients: bool = False
    costs: bool = False

    def missing(self, graph: Graph) -> str:
        """Return a sentence that says what a graph lacks for this view; empty if it lacks nothing."""
        if self.gradients and all(one.gradient is None for node in graph.operations for one in node.values):
            return (
                "the backward view needs a backward pass, and none was recorded; put the computation and its "
                "backward() inside `with graph.record() as tape:`, and draw tape.graph()"
            )
        if self.costs and all(node.forward_seconds is None for node in graph.nodes):
            return (
                "the profile view needs times, and this graph has none; make it by graph.profile(model, x, y)"
            )
        return ""


VIEWS: Final = {
    "modules": View("Modules"),  # a box for each call of a module
    "operations": View("Operations", operations=True),  # every operation, inside its modules
    "backward": View("Backward", gradients=True),  # arrows reversed
    "profile": View("Profile", costs=True),  # times and memory
}
"""All views, by name."""


def draw(
    graph: Graph,
    view: str = "modules",
    *,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = BUDGET,
    offers_more: bool = True,
) -> Drawing:
    """Return a picture of a graph before it is laid out; see `Graph.draw`.

    Parameters
    ----------
    graph, view, depth, expand, budget
        As there.
    offers_more : bool
        Whether notes on what is folded may offer a larger depth or budget.

    Raises
    ------
    TypeError
        If the depth or the budget is no whole number.
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
    bare = without_words(graph, view, depth=depth, expand=expand, budget=budget)
    is_backward = VIEWS[view].gradients
    return replace(
        bare,
        title=title(graph, view),
        boxes=tuple(_boxes(graph, bare)),
        arrows=(_gradient_arrows if is_backward else _flow_arrows)(graph, bare.arrows),
        groups=tuple(group_with_title(graph, group) for group in bare.groups),
        notes=(*notes(graph, bare, offers_more), *(_gradient_notes(graph, bare) if is_backward else [])),
    )


def without_words(
    graph: Graph, view: str, *, depth: int | None, expand: Collection[str], budget: int
) -> Drawing:
    """Return a drawing whose boxes have no words yet; arguments and errors as for `draw`."""
    _require_counts(depth, budget)
    if view not in VIEWS:
        raise ValueError(f"there is no view {view!r}; expected one of {', '.join(VIEWS)}")
    if missing := VIEWS[view].missing(graph):
        raise ValueError(missing)
    operations = VIEWS[view].operations
    if depth is None:
        return replace(boxes_within(graph, operations, expand, budget), view=view)
    return replace(boxes_to_depth(graph, operations, expand, depth), view=view)


def _require_counts(depth: Any, budget: Any) -> None:
    """Raise unless a depth, if there is one, and a budget are numbers that count something."""
    for name, given in (("depth", depth), ("budget", budget)):
        if not hasattr(given, "__index__") and not (name == "depth" and given is None):
            raise TypeError(f"{name} is a {type(given).__name__}, {given!r}; expected a whole number")
    if depth is not None and depth < 0:
        raise ValueError(f"depth is {depth}; expected 0 (all modules closed) or more")
    if budget < 1:
        raise ValueError(f"budget is {budget}; expected at least one box")


def title(graph: Graph, view: str = "modules") -> str:
    """Return what is drawn, with totals."""
    top = [graph.clusters_by_id[child] for child in graph.children[""] if child in graph.clusters_by_id]
    name = next((cluster.kind for cluster in top if cluster.name == "model" and cluster.kind), "Computation")
    parts = [count_text(parameter_count(graph.nodes), "parameter")]
    parts.append(count_text(len(graph.operations), "operation"))
    if VIEWS[view].costs:
        forward = sum(node.forward_seconds or 0.0 for node in graph.nodes)
        backward = sum(node.backward_seconds or 0.0 for node in graph.nodes)
        parts.append(f"{seconds_text(forward)} forward, {seconds_text(backward)} backward")
    kept = kept_bytes(graph.nodes)
    if kept and not VIEWS[view].gradients:
        parts.append(f"{bytes_text(kept)} kept for the backward pass")
    return f"{'Gradients of ' if VIEWS[view].gradients else ''}{name}: {', '.join(parts)}"


def _boxes(graph: Graph, drawing: Drawing) -> list[Box]:
    """Return the boxes with their words and with what is special about them in this view."""
    view = VIEWS[drawing.view]
    boxes = [with_words(graph, box) for box in drawing.boxes]
    if view.costs:
        boxes = with_costs(graph, boxes)
    found = nonfinite(graph, view.gradients)
    done = []
    for box in boxes:
        nodes = nodes_of(graph, box)
        faults = [fault for one in found if (fault := worst(one, nodes))]
        marks = {*box.marks, *(fault.mark for fault in faults)}
        if "origin" in marks:  # of values or of gradients: it tells more than that others came in spoiled
            marks.discard("spoiled")
        if view.gradients and _lacks_gradient(nodes):
            marks.add(NO_GRADIENT)
        norms = _folded_norms(graph, box) if view.gradients else ""
        lines = (*box.lines, *([norms] if norms else []), *(fault.text for fault in faults))
        done.append(replace(box, lines=lines, marks=tuple(mark for mark in MARKS if mark in marks)))
    return done


# ---- the forward pass ----------------------------------------------------------------------------------


def _flow_arrows(graph: Graph, arrows: Sequence[Arrow]) -> tuple[Arrow, ...]:
    """Return the arrows of the forward pass, with a shape where it is not the one that came in before."""
    by_id = graph.by_id
    entering: dict[str, set[tuple[int, ...]]] = {}  # by box, the shapes that come into it
    for arrow in arrows:
        for edge in arrow.edges:
            source = by_id[edge.source]
            # A parameter of a module does not flow through it: its shape says nothing of what comes out.
            if source.kind in (OPERATION, "input") or not source.cluster:
                entering.setdefault(arrow.target, set()).add(source.values[edge.output].shape)
    done = []
    for arrow in arrows:
        values = {(edge.source, edge.output): by_id[edge.source].values[edge.output] for edge in arrow.edges}
        is_flow = by_id[arrow.edges[0].source].kind == OPERATION
        known = entering.get(arrow.source, ())
        shapes = [value.shape for value in values.values() if value.shape not in known]
        texts = list(dict.fromkeys(map(shape_text, shapes))) if is_flow else []
        words = [", ".join(texts[:3]) + (", …" if len(texts) > 3 else "")] if texts else []
        if (times := _most_uses(arrow.edges)) > 1:
            words.append(f"x{times}")
        finite = all(value.statistics is None or value.statistics.finite for value in values.values())
        kind = "flow" if is_flow else "parameter"
        done.append(replace(arrow, label=" ".join(words), kind=kind, marks=() if finite else ("spoiled",)))
    return tuple(done)


def _most_uses(edges: Sequence[Edge]) -> int:
    """Count how many times an operation takes the same value, at most."""
    return max(Counter((edge.source, edge.output, edge.target) for edge in edges).values())


# ---- gradients -----------------------------------------------------------------------------------------


def _gradient_arrows(graph: Graph, arrows: Sequence[Arrow]) -> tuple[Arrow, ...]:
    """Return the arrows reversed, with the norms of gradients.

    Where no gradient can flow, to inputs and labels, an arrow of kind ``none`` says nothing more; where one
    could and did not, it says ``no gradient``.
    """
    uses = Counter((edge.source, edge.output) for edge in graph.edges if edge.requires_grad)
    turned: list[tuple[Arrow, float]] = []
    for arrow in arrows:
        carrying = [edge for edge in arrow.edges if edge.requires_grad]
        sent = _arrow_gradient(graph, carrying, uses)
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


def _lacks_gradient(nodes: Sequence[Node]) -> bool:
    """Return whether a gradient could have come to some nodes, and to none of them did."""
    able = [node for node in nodes if node.requires_grad]
    return bool(able) and all(value.gradient is None for node in able for value in node.values)


def _folded_norms(graph: Graph, box: Box) -> str:
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


class _ArrowGradient(NamedTuple):
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


def _arrow_gradient(
    graph: Graph, edges: Sequence[Edge], uses: Counter[tuple[str, int]]
) -> _ArrowGradient | None:
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
    return _ArrowGradient(norm, label + (f", {times} uses" if times > 1 else ""), not faults)


def _parts(edges: Sequence[Edge]) -> list[Statistics]:
    """Return the gradients of some uses of a value; those of one operation are one gradient together."""
    by_target = {edge.target: edge.gradient for edge in edges}
    return [part for part in by_target.values() if part is not None]


# ---- notes ---------------------------------------------------------------------------------------------


def notes(graph: Graph, drawing: Drawing, offers_more: bool = True) -> list[str]:
    """Return sentences on what was folded and how to open it, and on what is not seen."""
    said = [_fold_note(graph, box, offers_more) for box in drawing.boxes if box.kind == "fold"]
    if modules := closed(graph, drawing, VIEWS[drawing.view].operations):
        first = f'expand=["{modules[0]}"] opens {"the first of them" if len(modules) > 1 else "it"}'
        way = f"depth={drawing.depth + 1} opens more, {first}" if offers_more else first
        said.append(f"closed: {_listed(modules)}; {way}")
    if not drawing.parameters_apart:
        way = f"; budget={_whole(graph)} shows them" if offers_more else ""
        said.append(f"parameters are in the boxes that use them{way}")
    shown = {"", *(group.id for group in drawing.groups)}
    silent = [c.id for c in graph.clusters if not graph.children[c.id] and c.parent in shown]
    if silent:
        said.append(f"ran no operation: {_listed(silent)}")
    return said + _hidden_origins(graph, drawing)


def _gradient_notes(graph: Graph, drawing: Drawing) -> list[str]:
    """Return how to read the norms."""
    folded = any(_folded_norms(graph, box) for box in drawing.boxes)
    return [GRADIENTS, FOLDED_GRADIENTS] if folded else [GRADIENTS]


def _hidden_origins(graph: Graph, drawing: Drawing) -> list[str]:
    """Name the first origin of what is not finite that a closed or folded module hides."""
    found = nonfinite(graph, VIEWS[drawing.view].gradients)
    for box in drawing.boxes:
        for node in box.nodes if len(box.nodes) > 1 else ():
            cluster = graph.by_id[node].cluster
            if cluster and any(node in one and one[node].mark == "origin" for one in found):
                return [f'not finite from {node} on; expand=["{cluster}"] shows it']
    return []


def _fold_note(graph: Graph, box: Box, offers_more: bool) -> str:
    modules = [member for member in box.members if member in graph.clusters_by_id]
    ways = []
    if modules:
        if offers_more:
            ways.append(f"depth={graph.levels[modules[0]] + 1} opens all")
        ways.append(f'expand=["{modules[0]}"] opens the first of them')
    elif offers_more:
        ways.append(f"budget={_whole(graph)} opens it")
    folded = f"folded: {box.members[0]} to {box.members[-1]}"
    return "; ".join([folded, ", ".join(ways)] if ways else [folded])


def _whole(graph: Graph) -> int:
    """Return a budget that is enough for everything: a parameter may stand at each operation that uses it."""
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
