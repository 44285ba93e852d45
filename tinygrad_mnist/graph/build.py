"""From what was put down to a `Graph`: ids that stay the same from run to run, in the order of creation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tinygrad_mnist.graph.data import BUFFER, OPERATION, PARAMETER, Cluster, Edge, Node, Statistics, Value
from tinygrad_mnist.graph.graph import Graph


@dataclass(eq=False, slots=True)
class Use:
    """One use of a draft by another."""

    source: Draft
    argument: int
    output: int
    requires_grad: bool
    gradient: Statistics | None = None


@dataclass(eq=False, slots=True)
class Draft:
    """A node of the graph to be, which has no id yet and can still change; see `Node`."""

    kind: str
    name: str
    label: str
    cluster: str
    values: list[Value]
    uses: list[Use] = field(default_factory=list)
    arguments: str = ""
    requires_grad: bool = False
    line: str = ""
    saved_bytes: int = 0
    at_top: bool = False  # whatever uses it

    def receive(self, gradient: Any, index: int = 0) -> None:
        """Note the gradient of a result."""
        self.values[index] = replace(self.values[index], gradient=Statistics.of(gradient))


def build(
    operations: Sequence[Draft], clusters: Mapping[str, Cluster], ends: Sequence[Draft] | None
) -> Graph:
    """Make a graph of operations in the order of their creation, and of what they took.

    Parameters
    ----------
    operations : sequence of Draft
    clusters : mapping of str to Cluster
        By id, the ones around first.
    ends : sequence of Draft, optional
        The outputs, to which only what they were made of is kept; by default what nobody uses.
    """
    if ends is not None:
        kept = _ancestors(ends)
        operations = [draft for draft in operations if draft in kept]
    else:
        used = {use.source for draft in operations for use in draft.uses}
        ends = [draft for draft in operations if draft not in used]
    ids: dict[Draft, str] = {}
    nodes: list[Node] = []
    edges: list[Edge] = []
    taken: set[str] = set()
    ordinals: Counter[tuple[str, str]] = Counter()

    def put(draft: Draft, cluster: str) -> None:
        if draft.kind == OPERATION or not draft.name:
            name = draft.name or draft.label
            ordinals[cluster, name] += 1
            own = f"{name}#{ordinals[cluster, name]}"
        else:
            own = _own_name(draft, cluster)
        free, number = f"{cluster}/{own}" if cluster else own, 1
        while free in taken:
            number += 1
            free = f"{cluster}/{own}#{number}" if cluster else f"{own}#{number}"
        taken.add(free)
        ids[draft] = free
        nodes.append(
            Node(
                free,
                draft.kind,
                draft.name,
                draft.label,
                cluster,
                tuple(draft.values),
                draft.arguments,
                draft.requires_grad,
                draft.line,
                draft.saved_bytes,
            )
        )

    for draft in operations:
        for use in draft.uses:
            if use.source not in ids:
                put(use.source, _home(use.source, draft.cluster, clusters))
        put(draft, draft.cluster)
        edges += [
            Edge(ids[use.source], ids[draft], use.argument, use.output, use.requires_grad, use.gradient)
            for use in draft.uses
        ]
    return Graph(
        tuple(nodes),
        tuple(edges),
        _needed(clusters, nodes),
        tuple(dict.fromkeys(ids[draft] for draft in ends)),
    )


def _ancestors(ends: Sequence[Draft]) -> set[Draft]:
    """What some drafts were made of, themselves included."""
    found: set[Draft] = set()
    waiting = list(ends)
    while waiting:
        draft = waiting.pop()
        if draft not in found:
            found.add(draft)
            waiting.extend(use.source for use in draft.uses)
    return found


def _home(draft: Draft, user: str, clusters: Mapping[str, Cluster]) -> str:
    """The cluster of an array: that of its module if that is around the first use; inputs are at the top."""
    path = draft.name.rpartition(".")[0].replace(".", "/")
    if draft.kind not in (PARAMETER, BUFFER) or draft.at_top or not draft.name:
        return ""
    around = user
    while around:
        module = clusters[around].module
        if module.endswith(f"/{path}") if path else not clusters[around].parent:
            return around
        around = clusters[around].parent
    return user


def _own_name(draft: Draft, cluster: str) -> str:
    """The part of a path that the cluster does not say already."""
    path, _, last = draft.name.rpartition(".")
    module = "/".join(part.partition("@")[0] for part in cluster.split("/"))
    return last if not path or module.endswith("/" + path.replace(".", "/")) else draft.name


def _needed(clusters: Mapping[str, Cluster], nodes: Sequence[Node]) -> tuple[Cluster, ...]:
    """The clusters that hold something, those around them, and those in them that held nothing."""
    needed: set[str] = set()
    for node in nodes:
        around = node.cluster
        while around and around not in needed:
            needed.add(around)
            around = clusters[around].parent
    return tuple(cluster for cluster in clusters.values() if cluster.id in needed or cluster.parent in needed)
