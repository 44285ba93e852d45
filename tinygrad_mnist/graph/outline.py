"""A graph as a tree: which operations and modules stand in which module, and what users call these."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from tinygrad_mnist.graph.data import OPERATION, Cluster, Node
from tinygrad_mnist.graph.graph import Graph


@dataclass(eq=False)
class Outline:
    """A graph as a tree.

    Attributes
    ----------
    graph : Graph
    clusters : dict of str to Cluster
        By id; a cluster comes after the one around it.
    members : dict of str to list of str
        By id of a cluster, the operations and clusters in it, in the order of the computation.
    level : dict of str to int
        How many clusters are around a cluster.
    """

    graph: Graph
    clusters: dict[str, Cluster]
    members: dict[str, list[str]]
    level: dict[str, int]

    @classmethod
    def of(cls, graph: Graph) -> Outline:
        """Read the tree off the places of the operations."""
        clusters = {cluster.id: cluster for cluster in graph.clusters}
        members: dict[str, list[str]] = {"": [], **{cluster: [] for cluster in clusters}}
        placed = {""}
        for node in graph.nodes:
            if node.kind == OPERATION:
                members[node.cluster].append(node.id)
                inner = node.cluster
                while inner not in placed:
                    placed.add(inner)
                    members[clusters[inner].parent].append(inner)
                    inner = clusters[inner].parent
        level: dict[str, int] = {}
        for cluster in graph.clusters:
            level[cluster.id] = level[cluster.parent] + 1 if cluster.parent else 0
        return cls(graph, clusters, members, level)

    def is_leaf(self, cluster: str) -> bool:
        """Whether a cluster holds operations alone."""
        return not any(member in self.clusters for member in self.members[cluster])

    def operations(self, members: Iterable[str]) -> list[Node]:
        """All operations among some members, and in the clusters among them, in the order of the tree."""
        found: list[Node] = []
        waiting = list(members)[::-1]
        while waiting:
            member = waiting.pop()
            if member in self.clusters:
                waiting.extend(reversed(self.members[member]))
            else:
                found.append(self.graph.by_id[member])
        return found

    def around(self, clusters: Iterable[str]) -> set[str]:
        """Some clusters, and all that are around them."""
        found: set[str] = set()
        for cluster in clusters:
            inner = cluster
            while inner and inner not in found:
                found.add(inner)
                inner = self.clusters[inner].parent
        return found

    def find(self, names: Collection[str]) -> set[str]:
        """The clusters that a user names: ``model/3``, ``model.3`` or ``3``, and ``3@2`` for the second call.

        Raises
        ------
        ValueError
            If there is none of that name.
        """
        if not names:
            return set()
        known: dict[str, str] = {}
        for cluster in self.clusters.values():
            inner = cluster.id.partition("/")[2]
            for path in filter(None, (cluster.id, inner)):
                known.setdefault(path, cluster.id)
                known.setdefault(path.replace("/", "."), cluster.id)
        found: set[str] = set()
        for name in [names] if isinstance(names, str) else names:
            if name not in known:
                near = get_close_matches(str(name), known, 3, 0.4) or list(self.clusters)[:3]
                hint = f"; near it: {', '.join(near)}" if near else "; it has no modules at all"
                raise ValueError(f"expand names {name!r}, which is no module of this graph{hint}")
            found.add(known[name])
        return found
