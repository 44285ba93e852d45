"""The boxes of a picture, without words yet: which modules are open, and which equal parts are one box.

A graph may have a hundred thousand operations, and a picture of more than some forty boxes is hard to read.
`boxes_to_depth` opens so many levels of modules; `boxes_within` opens as many as a budget of boxes allows,
and folds what is equal, or too much, into one box.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final

import numpy as np

from tinygrad_mnist.graph.data import INPUT, OPERATION, Edge, Graph, Node
from tinygrad_mnist.graph.drawing import Arrow, Box, Drawing, Group

BUDGET: Final = 40
"""Most boxes of a picture by default. A larger budget asks for what was folded for clarity alone, too."""

FEWEST: Final = 3
"""Parts that stay where even the middle of a group is folded: the first, the middle, the last."""

MOST_ARRAYS: Final = 4
"""Most inputs of the same boxes that have boxes of their own, while there is space; more are one box."""

LEAST_RUN: Final = 4
"""Fewest equal modules in a row that are folded, though there may be space for all."""

LEAST_RUN_IF_FULL: Final = 3
"""Fewest equal parts in a row that are folded where there is no space for all."""

LONGEST_PERIOD: Final = 8
"""Most modules and operations of a unit that repeats."""

FARTHEST: Final = 64
"""Most operations between an operand and its use that are counted; beyond, it is only called far."""


def boxes_to_depth(graph: Graph, open_leaves: bool, expand: Collection[str], depth: int) -> Drawing:
    """Return the boxes with so many levels of modules open, and what ``expand`` names; see `boxes_within`."""
    folding = Folding(graph, _with_parents(graph, find(graph, expand)), open_leaves)
    return _Arrays(graph, folding.plan(depth, fold_open=False)).drawing()


def boxes_within(graph: Graph, open_leaves: bool, expand: Collection[str], budget: int) -> Drawing:
    """Return the boxes of the deepest plan that has no more of them than the budget.

    Runs of equal modules are folded in any case, unless more than the usual budget is asked for and they fit
    into it. Where one open level is too much, runs of plain operations are folded too; then parameters go
    into the boxes that use them; then the middle of what is too long is folded.

    Parameters
    ----------
    graph : Graph
    open_leaves : bool
        Whether a module that holds only operations is opened, too.
    expand : collection of str
        Modules to open in any case, as a user names them.
    budget : int

    Raises
    ------
    ValueError
        If there is no module of a name.
    """
    folding = Folding(graph, _with_parents(graph, find(graph, expand)), open_leaves)
    clear = _folded_within(folding, budget)
    if budget <= BUDGET or not _has_fold(clear):
        return clear
    whole = _deepest(folding, budget, fold_open=False)
    known = [clear, *([whole] if whole is not None else [])]
    if whole is None or closed(graph, whole, open_leaves) or _has_fold(whole):
        known += _without_middles(folding, budget)
    return max(known, key=lambda drawing: len(drawing.boxes))


def closed(graph: Graph, drawing: Drawing, open_leaves: bool) -> list[str]:
    """Return the modules that one more level would open."""
    modules = (box.members[0] for box in drawing.boxes if box.kind == "module")
    return [module for module in modules if open_leaves or not graph.is_leaf(module)]


def find(graph: Graph, names: Collection[str]) -> set[str]:
    """Return the clusters that a user names: ``model/3``, ``model.3``, ``3``, or ``3@2`` for the second call.

    Raises
    ------
    ValueError
        If there is none of a name.
    """
    known: dict[str, str] = {}
    for cluster in graph.clusters if names else ():
        inner = cluster.id.partition("/")[2]
        for path in filter(None, (cluster.id, inner)):
            known.setdefault(path, cluster.id)
            known.setdefault(path.replace("/", "."), cluster.id)
    found: set[str] = set()
    for name in [names] if isinstance(names, str) else names:
        if name not in known:
            near = get_close_matches(str(name), known, 3, 0.4) or [
                cluster.id for cluster in graph.clusters[:3]
            ]
            hint = f"; near it: {', '.join(near)}" if near else "; it has no modules at all"
            raise ValueError(f"expand names {name!r}, which is no module of this graph{hint}")
        found.add(known[name])
    return found


def _with_parents(graph: Graph, clusters: Iterable[str]) -> set[str]:
    """Return some clusters, and all that are around them."""
    found: set[str] = set()
    for cluster in clusters:
        inner = cluster
        while inner and inner not in found:
            found.add(inner)
            inner = graph.clusters_by_id[inner].parent
    return found


# ---- as many boxes as the budget allows ------------------------------------------------------------------


def _folded_within(folding: Folding, budget: int) -> Drawing:
    """Return the deepest plan within the budget, with runs of equal modules folded.

    The order of the loops is the order in which clarity is given up: first runs of plain operations are
    folded, then parameters lose their boxes, then the middles of long groups go.
    """
    for apart in (True, False):
        for full in (False, True):
            found = _deepest(folding, budget, fold_open=True, full=full, apart=apart)
            if found is not None:
                return found
    for depth in (1, 0):
        for longest in _ever_fewer(budget):
            plan = folding.plan(depth, fold_open=True, full=True, longest=longest)
            drawing = _if_within(folding.graph, plan, budget, apart=False)
            if drawing is not None:
                return drawing
    # That is more than the budget, but there is nothing left to fold.
    return _Arrays(folding.graph, plan, apart=False).drawing()


def _deepest(
    folding: Folding, budget: int, *, fold_open: bool, full: bool = False, apart: bool = True
) -> Drawing | None:
    """Return the deepest plan whose boxes are no more than the budget; None if one open level is too much."""
    found = None
    for depth in _depths(folding.graph):
        plan = folding.plan(depth, fold_open=fold_open, full=full)
        drawing = _if_within(folding.graph, plan, budget, apart)
        if drawing is None:
            break
        found = drawing
        if not closed(folding.graph, plan, folding.open_leaves) and (fold_open or not _has_fold(plan)):
            break  # another level would change nothing
    return found


def _without_middles(folding: Folding, budget: int) -> Iterator[Drawing]:
    """Yield, by depth, the plan that folds the middles of long groups alone, and as little as it must."""
    for depth in _depths(folding.graph):
        for longest in _ever_fewer(budget):
            plan = folding.plan(depth, fold_open=False, longest=longest)
            drawing = _if_within(folding.graph, plan, budget)
            if drawing is not None:
                yield drawing
                break


def _if_within(graph: Graph, plan: Drawing, budget: int, apart: bool = True) -> Drawing | None:
    """Return a plan with its arrays, if its boxes are no more than the budget."""
    if len(plan.boxes) > budget:  # arrays can only make it more: do not place them in vain
        return None
    arrays = _Arrays(graph, plan, apart)
    return arrays.drawing() if len(plan.boxes) + arrays.count() <= budget else None


def _depths(graph: Graph) -> range:
    """Return the depths to try, from one open level to one more than there are."""
    return range(1, max(graph.levels.values(), default=0) + 3)


def _ever_fewer(budget: int) -> Iterator[int]:
    longest = max(budget, FEWEST)
    while longest > FEWEST:
        yield longest
        longest = longest * 3 // 4
    yield FEWEST


def _has_fold(drawing: Drawing) -> bool:
    return any(box.kind == "fold" for box in drawing.boxes)


# ---- operations and modules ------------------------------------------------------------------------------


@dataclass(eq=False)
class Folding:
    """The ways to fold the children of the clusters of a graph.

    Parameters
    ----------
    graph : Graph
    forced : set of str
        Clusters that are to be open in any case, with those around them.
    open_leaves : bool
        Whether a module without modules in it is opened for being at the right depth.
    """

    graph: Graph
    forced: set[str]
    open_leaves: bool
    signs: dict[str, int] = field(init=False)
    _known: dict[tuple[str, bool, bool], list[Box]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.signs = signatures(self.graph)

    def plan(self, depth: int, *, fold_open: bool, full: bool = False, longest: int | None = None) -> Drawing:
        """Open so many levels, fold, and return the open groups and the boxes in them, without arrays.

        Parameters
        ----------
        depth : int
        fold_open : bool
            Whether runs of equal modules are folded also where they would be open at this depth.
        full : bool
            Fold all runs, also of plain operations, as there is no space.
        longest : int, optional
            Most boxes that may stand in one group before its middle is folded.
        """
        graph = self.graph
        groups: list[Group] = []
        boxes: list[Box] = []

        def inside(cluster: str) -> list[Box]:
            whole = not fold_open and (graph.levels[cluster] + 1 if cluster else 0) < depth
            held = self._inside(cluster, whole, full)
            if longest is not None and len(held) > longest:
                held = self._without_middle(held, longest)
            return held[::-1]  # the first is taken first from the end of the stack

        waiting = inside("")
        while waiting:
            box = waiting.pop()
            own = box.members[0]
            if box.kind == "module" and self._is_open(own, depth):
                groups.append(Group(own, "", graph.clusters_by_id[own].parent))
                waiting += inside(own)
            else:
                boxes.append(box)
        return Drawing("", "", tuple(boxes), (), tuple(groups), depth=depth)

    def _is_open(self, cluster: str, depth: int) -> bool:
        may_open = self.open_leaves or not self.graph.is_leaf(cluster)
        return cluster in self.forced or (self.graph.levels[cluster] < depth and may_open)

    def _inside(self, cluster: str, whole: bool, full: bool) -> list[Box]:
        """Return the children of a cluster as boxes: runs folded, but for modules that are shown whole."""
        key = (cluster, whole, full)
        if key not in self._known:  # a plan of another depth asks again
            self._known[key] = list(self._folded(cluster, whole, full))
        return self._known[key]

    def _folded(self, cluster: str, whole: bool, full: bool) -> Iterator[Box]:
        graph, members = self.graph, self.graph.children[cluster]
        signs = np.array([self.signs[member] for member in members])
        if whole:
            for i, member in enumerate(members):
                if member in graph.clusters_by_id:
                    signs[i] = -1 - i  # equal to nothing
        for start, stop, repeats in runs(signs, LEAST_RUN_IF_FULL if full else LEAST_RUN):
            box = self._box(cluster, members[start:stop], repeats)
            if box.kind != "fold":
                yield box
            elif full or is_loop(graph, box) or self._is_run_of_modules(box):
                yield from self._without_forced(box)
            else:
                yield from self._apart(box)

    def _box(self, group: str, members: Sequence[str], repeats: int = 1) -> Box:
        """Return a box for one operation or module, or for several, folded."""
        first, clusters = members[0], self.graph.clusters_by_id
        if repeats != 1:
            own, kind = f"{first}...{members[-1]}", "fold"
        elif first in clusters:  # an input may be named as a module is
            own, kind = f"{first}/" if first in self.graph.by_id else first, "module"
        else:
            own, kind = first, "operation"
        return Box(own, kind, "", group=group, members=tuple(members), repeats=repeats)

    def _apart(self, box: Box) -> list[Box]:
        """Return a box for each member of one."""
        return [self._box(box.group, (member,)) for member in box.members]

    def _without_forced(self, box: Box) -> list[Box]:
        """Cut a run where a unit of it holds what is open in any case."""
        if self.forced.isdisjoint(box.members):
            return [box]
        boxes: list[Box] = []
        together: list[str] = []  # units since the last that was cut out

        def put_together() -> None:
            if together:
                folded = self._box(box.group, together, len(together) // box.period)
                # A unit of several members that stands alone is no fold any more.
                boxes.extend([folded] if folded.kind == "fold" else self._apart(folded))
                together.clear()

        for start in range(0, len(box.members), box.period):
            unit = box.members[start : start + box.period]
            if self.forced.isdisjoint(unit):
                together += unit
            else:
                put_together()
                boxes += [self._box(box.group, (member,)) for member in unit]
        put_together()
        return boxes

    def _is_run_of_modules(self, box: Box) -> bool:
        return box.repeats == len(box.members) and box.members[0] in self.graph.clusters_by_id

    def _without_middle(self, boxes: Sequence[Box], longest: int) -> list[Box]:
        """Return the first and the last boxes, and one for those between; what is forced open stays."""
        first = longest // 2
        last = len(boxes) - (longest - 1 - first)
        kept = list(boxes[:first])
        middle: list[Box] = []
        for box in [*boxes[first:last], None]:  # None ends the last middle
            if box is not None and box.members[0] not in self.forced:
                middle.append(box)
                continue
            if len(middle) > 1:
                kept.append(
                    self._box(middle[0].group, [member for one in middle for member in one.members], 0)
                )
            else:
                kept += middle
            if box is not None:
                kept.append(box)
            middle = []
        return kept + list(boxes[last:])


def is_loop(graph: Graph, box: Box) -> bool:
    """Return whether a fold is a module that was called again and again, with what is between."""
    if box.repeats < 2:
        return False
    modules = [
        {graph.clusters_by_id[member].module for member in box.members[i :: box.period]}
        for i in range(box.period)
        if box.members[i] in graph.clusters_by_id
    ]
    return bool(modules) and all(len(names) == 1 for names in modules)


def runs(signs: np.ndarray, least: int) -> Iterable[tuple[int, int, int]]:
    """Cut a sequence into stretches ``(start, stop, repeats)`` in which a unit repeats, and single members.

    The time is linear in the length, as each period is looked at once, beforehand.

    Examples
    --------
    >>> list(runs(np.array([7, 1, 2, 1, 2, 1, 2, 9]), 3))
    [(0, 1, 1), (1, 7, 3), (7, 8, 1)]
    """
    size = len(signs)
    # How far the sequence equals itself, a period later: so whether a unit repeats is one look-up below.
    agreeing = [_agreeing(signs, period) for period in range(1, min(LONGEST_PERIOD, size // 2) + 1)]
    start = 0
    while start < size:
        stop, repeats = start + 1, 1
        for period, counts in enumerate(agreeing, 1):
            times = counts[start] // period + 1
            # The longest stretch wins, of equally long ones that of the shortest unit.
            if times >= least and start + times * period > stop:
                stop, repeats = start + times * period, times
        yield start, stop, repeats
        start = stop


def _agreeing(signs: np.ndarray, period: int) -> list[int]:
    """Count, from each place on, the members in a row that are equal to the one a period later."""
    equal = np.zeros(len(signs), bool)
    equal[:-period] = signs[:-period] == signs[period:]
    places = np.arange(len(signs))
    ends = np.where(equal, len(signs), places)
    return [int(n) for n in np.minimum.accumulate(ends[::-1])[::-1] - places]


def signatures(graph: Graph) -> dict[str, int]:
    """Return a number for each operation and cluster; those of the same structure have the same.

    The structure is classes, operations, shapes, dtypes and the edges inside. Which parameters, which inputs,
    and numbers among the arguments (``x[3]``) may differ.
    """
    numbers: dict[tuple[object, ...], int] = {}
    signs: dict[str, int] = {}
    order = {node.id: i for i, node in enumerate(graph.operations)}
    taken: dict[str, list[tuple[object, ...]]] = {}
    for edge in graph.edges:
        taken.setdefault(edge.target, []).append((edge.argument, edge.output, _operand(graph, order, edge)))
    for operation in order:
        node = graph.by_id[operation]
        values = tuple((value.shape, value.dtype) for value in node.values)
        # Layers of a loop that read x[0], x[1], ... are equal but for the number.
        arguments = re.sub(r"-?\d[\d.e+-]*", "0", node.arguments)
        key = (node.name, arguments, values, tuple(taken.get(operation, ())))
        signs[operation] = numbers.setdefault(key, len(numbers))
    for cluster in reversed(graph.clusters):  # those inside come first
        held = tuple(signs[member] for member in graph.children[cluster.id])
        signs[cluster.id] = numbers.setdefault((cluster.kind, cluster.detail, held), len(numbers))
    return signs


def _operand(graph: Graph, order: dict[str, int], edge: Edge) -> object:
    """Return where an operand comes from, seen from the operation that takes it."""
    source, target = graph.by_id[edge.source], graph.by_id[edge.target]
    if source.kind != OPERATION:
        return source.kind if source.cluster or not target.cluster else "outside"
    if target.cluster and not f"{source.cluster}/".startswith(f"{target.cluster}/"):
        return "outside"
    distance = order[edge.target] - order[edge.source]
    return distance if distance <= FARTHEST else "far"


# ---- arrays and arrows -----------------------------------------------------------------------------------


@dataclass(eq=False)
class _Arrays:
    """The parameters, buffers and inputs of a plan: each gets its boxes beside those that use it.

    A module's parameters stand beside each module that uses them, or are taken into a box that stands for
    much. What belongs to no module stands once; many such arrays that the same boxes use are one box.

    Attributes
    ----------
    graph : Graph
    plan : Drawing
        The boxes of operations and modules.
    apart : bool
        Whether parameters have boxes of their own.
    box_of : dict of str to Box
        By operation, the box that stands for it.
    before : dict of str to list of Box
        By id of a box, the boxes of arrays that stand right before it.
    taken : dict of str to list of str
        By id of a box, the arrays that it stands for, too.
    """

    graph: Graph
    plan: Drawing
    apart: bool = True
    box_of: dict[str, Box] = field(init=False)
    before: dict[str, list[Box]] = field(init=False, default_factory=dict)
    taken: dict[str, list[str]] = field(init=False, default_factory=dict)
    # The box of an array by the array and its user: the id of a box, "/" and a group, or "" for all users.
    _places: dict[tuple[str, str], str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.graph
        self.box_of = {node.id: box for box in self.plan.boxes for node in graph.operations_in(box.members)}
        uses: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            if edge.source not in self.box_of:
                uses.setdefault(edge.source, []).append(edge)
        alike: dict[tuple[str, ...], list[str]] = {}  # by kind and users
        for array, edges in uses.items():
            node = graph.by_id[array]
            if node.kind == INPUT or not node.cluster:
                users = dict.fromkeys(self.box_of[edge.target].id for edge in edges)
                alike.setdefault((node.kind, *users), []).append(array)
            else:
                self._place_parameter(node, edges)
        for (kind, first, *_), arrays in alike.items():
            self._place_inputs(kind, arrays, first)

    def count(self) -> int:
        """Return the number of boxes of arrays."""
        return sum(map(len, self.before.values()))

    def drawing(self) -> Drawing:
        """Return the plan with the boxes of arrays, and with arrows for the edges."""
        nodes: dict[str, list[str]] = {box.id: [] for box in self.plan.boxes}
        taken_by = {array: box for box, arrays in self.taken.items() for array in arrays}
        for node in self.graph.nodes:  # so that the nodes of a box stand in the order of the computation
            if (own := self.box_of.get(node.id)) is not None:
                nodes[own.id].append(node.id)
            elif node.id in taken_by:
                nodes[taken_by[node.id]].append(node.id)
        boxes: list[Box] = []
        for box in self.plan.boxes:
            taken = tuple(self.taken.get(box.id, ()))
            boxes += self.before.get(box.id, [])
            boxes.append(replace(box, nodes=tuple(nodes[box.id]), arrays=taken))
        edges: dict[tuple[str, str], list[Edge]] = {}
        for edge in self.graph.edges:
            target = self.box_of[edge.target].id
            source = self.box_of[edge.source].id if edge.source in self.box_of else self._source_box(edge)
            if source != target:
                edges.setdefault((source, target), []).append(edge)
        arrows = (Arrow(source, target, edges=tuple(held)) for (source, target), held in edges.items())
        return replace(self.plan, boxes=tuple(boxes), arrows=tuple(arrows), parameters_apart=self.apart)

    def _source_box(self, edge: Edge) -> str:
        """Return the id of the box in which the use of an array begins."""
        user = self.box_of[edge.target]
        for key in ("", user.id):
            if (edge.source, key) in self._places:
                return self._places[edge.source, key]
        return self._places[edge.source, f"/{user.group}"]

    def _place_parameter(self, node: Node, edges: Sequence[Edge]) -> None:
        """Show a parameter of a module beside each of its users, and count it at the first one alone."""
        owner = ""
        for edge in edges:
            user = self.box_of[edge.target]
            takes_in = self._takes_in(user)
            # Plain operations of one group share a box of the parameter; a module has its own.
            key = (node.id, f"/{user.group}" if user.kind == "operation" and not takes_in else user.id)
            if key in self._places:
                continue
            if not takes_in:
                own = f"{node.id} at {key[1].removeprefix('/') or 'top'}" if owner else node.id
                counted = () if owner else (node.id,)
                box = Box(
                    own, node.kind, "", (), user.group, nodes=counted, arrays=(node.id,), shared_with=owner
                )
                self.before.setdefault(user.id, []).append(box)
                self._places[key] = own
            elif owner:
                self._places[key] = self._share(user, node, owner)
            else:
                self.taken.setdefault(user.id, []).append(node.id)
                self._places[key] = user.id
            owner = owner or self._module_of(edge, user)

    def _share(self, user: Box, node: Node, owner: str) -> str:
        """Put a parameter into the one box of all that a box, which stands for much, shares with others."""
        own = f"shared at {user.id}"
        beside = self.before.setdefault(user.id, [])
        for i, other in enumerate(beside):
            if other.id == own:
                around = _common(other.shared_with, owner)
                beside[i] = replace(other, arrays=(*other.arrays, node.id), shared_with=around)
                return own
        beside.append(Box(own, node.kind, "", (), user.group, arrays=(node.id,), shared_with=owner))
        return own

    def _place_inputs(self, kind: str, arrays: list[str], first: str) -> None:
        """Show arrays that the same boxes use once, before the first of these."""
        together = len(arrays) > (MOST_ARRAYS if self.apart else 1)
        boxes = {f"{arrays[0]}...{arrays[-1]}": arrays} if together else {array: [array] for array in arrays}
        for own, held in boxes.items():
            box = Box(own, kind, "", nodes=tuple(held), arrays=tuple(held))
            self.before.setdefault(first, []).append(box)
            self._places.update(dict.fromkeys(((array, "") for array in held), own))

    def _takes_in(self, user: Box) -> bool:
        """Return whether a box stands for so much that its parameters go into it."""
        if user.kind == "fold" or not self.apart:
            return True
        return user.kind == "module" and not self.graph.is_leaf(user.members[0])

    def _module_of(self, edge: Edge, user: Box) -> str:
        """Return the module that uses a parameter, as far as it is seen; outside of all, the operation."""
        if user.kind == "module":
            return user.members[0]
        return self.graph.by_id[edge.target].cluster or edge.target


def _common(a: str, b: str) -> str:
    """Return the module around two modules."""
    parts = []
    for one, other in zip(a.split("/"), b.split("/"), strict=False):
        if one != other:
            break
        parts.append(one)
    return "/".join(parts) or "others"
