"""The boxes of a plan and what joins them: where operations and arrays are seen, without words yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tinygrad_mnist.graph.data import INPUT, OPERATION, Edge, Node
from tinygrad_mnist.graph.folding import Part, Plan
from tinygrad_mnist.graph.outline import Outline

MOST_ARRAYS: Final = 4
"""So many inputs that the same boxes use have boxes of their own, while there is room; more are one box."""


@dataclass(eq=False)
class Place:
    """A box to be.

    Attributes
    ----------
    id, group : str
    part : Part or None
        None for arrays.
    nodes : list of Node
        What it stands for; none for the second place of a shared parameter.
    arrays : list of Node
        The parameters, buffers or inputs that it shows, or that its operations took into it.
    shared_with : str
        Id of the cluster that has the parameter, for a second place of it.
    """

    id: str
    group: str
    part: Part | None
    nodes: list[Node] = field(default_factory=list)
    arrays: list[Node] = field(default_factory=list)
    shared_with: str = ""


@dataclass(eq=False)
class Scene:
    """All boxes of a plan in the order of the computation, and the edges between them.

    Attributes
    ----------
    outline : Outline
    plan : Plan
    places : list of Place
    links : dict of (str, str) to list of Edge
        By the ids of the boxes that they join.
    pills : bool
        Whether parameters have boxes of their own.
    """

    outline: Outline
    plan: Plan
    places: list[Place]
    links: dict[tuple[str, str], list[Edge]]
    pills: bool


def scene(outline: Outline, plan: Plan, pills: bool) -> Scene:
    """Give each node of a graph its box, and join the boxes as the edges do."""
    by_id = outline.graph.by_id
    index = {node.id: i for i, node in enumerate(outline.graph.nodes)}
    places = [
        Place(_id_of(outline, part), part.group, part, outline.operations(part.members))
        for part in plan.parts
    ]
    home = {node.id: place for place in places for node in place.nodes}
    before: dict[str, list[Place]] = {place.id: [] for place in places}
    arrays = _Arrays(outline, home, before, pills)
    arrays.settle()
    links: dict[tuple[str, str], list[Edge]] = {}
    for edge in outline.graph.edges:
        target = home[edge.target]
        source = home[edge.source] if by_id[edge.source].kind == OPERATION else arrays.seen(edge)
        if source is not target:
            links.setdefault((source.id, target.id), []).append(edge)
    for place in places:
        place.nodes.sort(key=lambda node: index[node.id])
    ordered = [one for place in places for one in (*before[place.id], place)]
    return Scene(outline, plan, ordered, links, pills)


def _id_of(outline: Outline, part: Part) -> str:
    first, last = part.members[0], part.members[-1]
    if part.is_fold:
        return f"{first}...{last}"
    return f"{first}/" if first in outline.clusters and first in outline.graph.by_id else first


@dataclass(eq=False)
class _Arrays:
    """Where parameters, buffers and inputs are seen.

    A module's parameters stand beside each module that uses them, or are taken into a box that stands for
    much. What belongs to no module stands once; many such arrays that the same boxes use are one box.
    """

    outline: Outline
    home: dict[str, Place]  # of operations
    before: dict[str, list[Place]]
    pills: bool
    seats: dict[tuple[str, str], Place] = field(default_factory=dict)

    def settle(self) -> None:
        """Give each array its boxes, beside their first users."""
        graph = self.outline.graph
        uses: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            if graph.by_id[edge.source].kind != OPERATION:
                uses.setdefault(edge.source, []).append(edge)
        alike: dict[tuple[str, ...], list[Node]] = {}
        for array, edges in uses.items():
            node = graph.by_id[array]
            if node.kind == INPUT or not node.cluster:
                users = dict.fromkeys(self.home[edge.target].id for edge in edges)
                alike.setdefault((node.kind, *users), []).append(node)
            else:
                self._settle_parameter(node, edges)
        for nodes in alike.values():
            self._settle_inputs(nodes, self.home[uses[nodes[0].id][0].target])

    def seen(self, edge: Edge) -> Place:
        """The box in which the use of an array begins."""
        place = self.home[edge.target]
        seat = self.seats.get((edge.source, ""))
        return seat or self.seats.get((edge.source, place.id)) or self.seats[edge.source, f"/{place.group}"]

    def _settle_parameter(self, node: Node, edges: Sequence[Edge]) -> None:
        owner = ""
        for edge in edges:
            place = self.home[edge.target]
            takes_in = self._takes_in(place)
            single = place.part is not None and place.part.members[0] not in self.outline.clusters
            key = (node.id, f"/{place.group}" if single and not takes_in else place.id)
            if key in self.seats:
                continue
            if takes_in and not owner:
                place.nodes.append(node)
                place.arrays.append(node)
                self.seats[key] = place
            elif takes_in:
                self.seats[key] = self._shared(place, node, owner)
            else:
                own = node.id if not owner else f"{node.id} at {key[1].removeprefix('/') or 'top'}"
                pill = Place(own, place.group, None, [] if owner else [node], [node], owner)
                self.before[place.id].append(pill)
                self.seats[key] = pill
            owner = owner or self._user(edge, place)

    def _shared(self, place: Place, node: Node, owner: str) -> Place:
        """The one box of all that a box, which stands for much, shares with others."""
        for other in self.before[place.id]:
            if other.shared_with:
                other.arrays.append(node)
                other.shared_with = _common(other.shared_with, owner)
                return other
        pill = Place(f"shared at {place.id}", place.group, None, [], [node], owner)
        self.before[place.id].append(pill)
        return pill

    def _settle_inputs(self, nodes: list[Node], first: Place) -> None:
        if len(nodes) > (MOST_ARRAYS if self.pills else 1):
            together = [(f"{nodes[0].id}...{nodes[-1].id}", nodes)]
        else:
            together = [(node.id, [node]) for node in nodes]
        for own, held in together:
            seat = Place(own, "", None, held, list(held))
            self.before[first.id].append(seat)
            for node in held:
                self.seats[node.id, ""] = seat

    def _takes_in(self, place: Place) -> bool:
        part = place.part
        if part is None or part.is_fold or not self.pills:
            return True
        return part.members[0] in self.outline.clusters and not self.outline.is_leaf(part.members[0])

    def _user(self, edge: Edge, place: Place) -> str:
        """The module that uses a parameter, as far as it is seen; an operation outside of modules."""
        part = place.part
        if part is not None and not part.is_fold and part.members[0] in self.outline.clusters:
            return part.members[0]
        return self.outline.graph.by_id[edge.target].cluster or edge.target


def _common(a: str, b: str) -> str:
    """What is around two modules."""
    parts = []
    for one, other in zip(a.split("/"), b.split("/"), strict=False):
        if one != other:
            break
        parts.append(one)
    return "/".join(parts) or "others"
