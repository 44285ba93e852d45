"""The plain data of a computation: a `Graph` of nodes, edges and clusters, with summaries instead of arrays.

Nothing here knows a tape, a Tensor or a picture: `methods` puts the methods that draw on `Graph` from above.
Numbers are rounded to four digits, so that two runs of the same computation give the same data.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinygrad_mnist.graph.parsing import LARGEST, loaded, parsed, quoted, require_keys

if TYPE_CHECKING:
    from tinygrad_mnist.graph import methods

FORMAT: Final = "tinygrad_mnist graph 1"
"""The name of the format of JSON, with its version."""

OPERATION: Final = "operation"
PARAMETER: Final = "parameter"
BUFFER: Final = "buffer"
INPUT: Final = "input"

CONSTANT: Final = "constant"
"""The label of an input without a name that was made inside a module."""

MOST_AXES: Final = 64
"""Most axes of an array, which are NumPy's."""

MOST_LEVELS: Final = 400
"""Most clusters around each other in a graph that is read: Python runs no more modules inside modules."""

NOISE: Final = 1e-6
"""Smallest mean or deviation, relative to the largest entry, that is not shown as 0 for being roundoff."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """A summary of the entries of an array.

    Attributes
    ----------
    min, mean, std, max : float or None
        Of the finite entries; None where there is none.
    norm : float or None
        The Euclidean norm of the finite entries.
    nan, inf : int
        The number of entries that are not a number, and of those that are infinite.
    """

    min: float | None = None
    mean: float | None = None
    std: float | None = None
    max: float | None = None
    norm: float | None = None
    nan: int = 0
    inf: int = 0

    @property
    def finite(self) -> bool:
        """True if all entries are finite."""
        return not (self.nan or self.inf)

    @classmethod
    def of(cls, array: Any) -> Statistics:
        """Summarise an array of real numbers or booleans.

        Examples
        --------
        >>> Statistics.of(np.array([1.0, 2.0, np.nan]))
        Statistics(min=1.0, mean=1.5, std=0.5, max=2.0, norm=2.236, nan=1, inf=0)
        """
        values = np.asarray(array, dtype=np.float64).ravel("K")
        nan = inf = 0
        # The ufuncs' own reductions skip Python code that would take longer than a small array does.
        if not np.logical_and.reduce(np.isfinite(values)):
            nan, inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
            values = values[np.isfinite(values)]
        if not values.size:
            return cls(nan=nan, inf=inf)
        low, high = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
        scale = max(-low, high) or 1.0  # entries are divided by the largest, so that no square overflows
        scaled = values / scale
        mean = float(np.add.reduce(scaled)) / scaled.size
        apart = scaled - mean
        std = math.sqrt(np.add.reduce(apart * apart) / scaled.size)
        return cls(
            rounded(low),
            rounded(scale * mean) if abs(mean) > NOISE else 0.0,
            rounded(scale * std) if std > NOISE else 0.0,
            rounded(high),
            rounded(scale * math.sqrt(np.add.reduce(scaled * scaled))),
            nan,
            inf,
        )


def rounded(x: float) -> float:
    """Round a number to four significant digits; one that would overflow becomes the largest float."""
    short = float(f"{x:.4g}")
    return short if math.isfinite(short) else math.copysign(sys.float_info.max, short)


@cache  # NumPy takes a microsecond to spell a dtype, and a recorder asks for each array
def _name(dtype: np.dtype[Any]) -> str:
    return str(dtype)


@dataclass(frozen=True, slots=True)
class Value:
    """An array of the computation, without its entries.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
    bytes : int
    statistics : Statistics or None
        Of the entries.
    gradient : Statistics or None
        Of the gradient that a backward pass brought here; None where none came, or none was recorded.
    """

    shape: tuple[int, ...]
    dtype: str
    bytes: int
    statistics: Statistics | None = None
    gradient: Statistics | None = None

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @classmethod
    def of(cls, array: Any, gradient: Any = None) -> Value:
        """Summarise an array, and its gradient if there is one."""
        return cls(
            tuple(array.shape),
            _name(array.dtype),
            array.nbytes,
            Statistics.of(array),
            None if gradient is None else Statistics.of(gradient),
        )


@dataclass(frozen=True, slots=True)
class Node:
    """An operation, or an array that it takes.

    Attributes
    ----------
    id : str
        Stable: ``model/bn1/batch_norm#1`` for an operation (cluster, name, ordinal there),
        ``model/bn1/weight`` for a parameter, ``input#1`` for an array, ``constant#1`` for one that was made
        inside a module.
    kind : str
        ``operation``, ``parameter`` (of a module; without modules, anything that a user asked a gradient
        for), ``buffer`` or ``input`` (one that a module is given may require a gradient).
    name : str
        Name of the operation, path of the parameter or buffer (``bn1.weight``), name of the input.
    label : str
        A short name for pictures: the sign of an operation, such as ``×``, else its name; ``constant`` for
        an input without a name that was made inside a module, such as the mask of a dropout.
    cluster : str
        Id of the cluster that holds it; empty at the top.
    values : tuple of Value
        The results: one, but for operations that return several.
    arguments : str
        Numbers and keyword arguments, ``·`` standing for an edge: ``·, 2`` or ``axis=0``. Empty if none.
    requires_grad : bool
        Whether the tape leads through it.
    line : str
        The user's line that ran it: ``train.py:12, in step: loss = ...``; empty where it was not recorded.
    saved_bytes : int
        Memory that this operation keeps for the backward pass, each array counted once.
    forward_seconds, backward_seconds : float or None
        Measured by ``profile``.
    forward_flops, backward_flops : int or None
        Floating-point operations of a product, a multiplication and an addition counted as two; noted by
        ``profile``.
    forward_bytes, backward_bytes : int or None
        Memory kept for the backward pass right after this operation ran, and when the backward pass reached
        it, the gradients of that moment included; measured by ``profile``.
    """

    id: str
    kind: str
    name: str
    label: str
    cluster: str
    values: tuple[Value, ...]
    arguments: str = ""
    requires_grad: bool = False
    line: str = ""
    saved_bytes: int = 0
    forward_seconds: float | None = None
    backward_seconds: float | None = None
    forward_bytes: int | None = None
    backward_bytes: int | None = None
    forward_flops: int | None = None
    backward_flops: int | None = None

    @property
    def value(self) -> Value:
        """The (first) result."""
        return self.values[0]


@dataclass(frozen=True, slots=True)
class Edge:
    """One use of a result: there are as many edges as uses.

    Attributes
    ----------
    source, target : str
        Ids of nodes.
    argument : int
        Position among the arguments of the target.
    output : int
        Position among the results of the source.
    requires_grad : bool
        Whether a gradient flows back along it.
    gradient : Statistics or None
        Of the gradient that a backward pass sent along it; for a repeated operand, of its uses together.
    """

    source: str
    target: str
    argument: int
    output: int = 0
    requires_grad: bool = False
    gradient: Statistics | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """One call of a module.

    Attributes
    ----------
    id : str
        The path of the module: ``model/bn1``; a second call of it is ``model/bn1@2``.
    name : str
        Its own name: ``bn1``; ``encoder.bn1`` where nothing but its path tells of ``encoder``.
    kind : str
        Its class; empty where only the names of parameters tell that it exists.
    parent : str
        Id of the cluster around it; empty at the top.
    call : int
        1 for the first call.
    detail : str
        The arguments that made the module: ``784, 64``.
    """

    id: str
    name: str
    kind: str = ""
    parent: str = ""
    call: int = 1
    detail: str = ""

    @property
    def module(self) -> str:
        """The path of the module, the same for all its calls."""
        return "/".join(part.partition("@")[0] for part in self.id.split("/"))


@dataclass(frozen=True)
class Graph:
    """A computation as plain data: no arrays, no tape, nothing that runs.

    `trace`, `record`, ``Tensor.graph()`` and ``Module.graph(example_input)`` make one.

    Attributes
    ----------
    nodes : tuple of Node
        Operations in the order of their creation, each array before its first use.
    edges : tuple of Edge
        One for each use of a result.
    clusters : tuple of Cluster
        Calls of modules; a cluster comes after the one around it.
    outputs : tuple of str
        Ids of the nodes that were asked for, or that nothing uses.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor
    >>> x = Tensor(3.0, requires_grad=True)
    >>> graph = (x * x).graph()
    >>> len(graph.nodes), len(graph.edges)
    (2, 2)
    >>> Graph.from_json(graph.json()) == graph
    True
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...]
    outputs: tuple[str, ...]

    if TYPE_CHECKING:  # `methods` sets these when the package is imported; it stands above what draws
        draw = methods.draw
        dot = methods.dot
        svg = methods.svg
        png = methods.png
        pdf = methods.pdf
        html = methods.html
        mermaid = methods.mermaid
        text = methods.text
        save = methods.save
        _repr_mimebundle_ = methods._repr_mimebundle_

    # ---- nodes -----------------------------------------------------------------------------------------

    @property
    def operations(self) -> tuple[Node, ...]:
        """The nodes that are operations."""
        return tuple(node for node in self.nodes if node.kind == OPERATION)

    @property
    def parameters(self) -> tuple[Node, ...]:
        """The nodes that are parameters."""
        return tuple(node for node in self.nodes if node.kind == PARAMETER)

    @property
    def has_gradients(self) -> bool:
        """True if a backward pass was seen."""
        return any(value.gradient is not None for node in self.nodes for value in node.values)

    @cached_property
    def by_id(self) -> dict[str, Node]:
        """The nodes by their ids."""
        return {node.id: node for node in self.nodes}

    # ---- the tree of modules ---------------------------------------------------------------------------

    @cached_property
    def clusters_by_id(self) -> dict[str, Cluster]:
        """The clusters by their ids; a cluster comes after the one around it."""
        return {cluster.id: cluster for cluster in self.clusters}

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """By id of a cluster, the ids of the operations and clusters right inside it, in order.

        The empty id holds those at the top. A cluster that ran no operation has no children and is no child.
        """
        children: dict[str, list[str]] = {"": [], **{cluster.id: [] for cluster in self.clusters}}
        placed = {""}
        for node in self.operations:
            children[node.cluster].append(node.id)
            inner = node.cluster
            while inner not in placed:  # a cluster stands where its first operation does
                placed.add(inner)
                parent = self.clusters_by_id[inner].parent
                children[parent].append(inner)
                inner = parent
        return children

    @cached_property
    def levels(self) -> dict[str, int]:
        """By id of a cluster, the number of clusters around it."""
        levels: dict[str, int] = {}
        for cluster in self.clusters:
            levels[cluster.id] = levels[cluster.parent] + 1 if cluster.parent else 0
        return levels

    def is_leaf(self, cluster: str) -> bool:
        """Return whether a cluster holds no other cluster."""
        return not any(child in self.clusters_by_id for child in self.children[cluster])

    def operations_in(self, members: Iterable[str]) -> list[Node]:
        """Return the operations among some operations and clusters, and inside these, in tree order."""
        found: list[Node] = []
        waiting = list(members)[::-1]
        while waiting:  # a stack, as modules may be nested deeper than Python may recurse
            member = waiting.pop()
            if member in self.clusters_by_id:
                waiting.extend(reversed(self.children[member]))
            else:
                found.append(self.by_id[member])
        return found

    # ---- as JSON ---------------------------------------------------------------------------------------

    def json(self) -> str:
        """Return the graph as JSON: one line for each node, edge and cluster, fit for ``diff``."""
        parts = [f'"format": {json.dumps(FORMAT)}']
        for name in ("clusters", "nodes", "edges"):
            rows = ",\n".join(
                "  " + json.dumps(_pruned(row), ensure_ascii=False) for row in getattr(self, name)
            )
            parts.append(f'"{name}": [\n{rows}\n]' if rows else f'"{name}": []')
        parts.append(f'"outputs": {json.dumps(self.outputs, ensure_ascii=False)}')
        return "{\n" + ",\n".join(parts) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Read a graph that `json` wrote.

        Raises
        ------
        ValueError
            If the text is something else, or tells of a graph that cannot be: with an edge from nowhere, a
            cluster inside itself, an array of -3 entries. The error says where.
        """
        try:
            data = loaded(text)
            if type(data) is not dict:
                raise ValueError(f"it holds {quoted(data)}; expected an object with 'format': {FORMAT!r}")
            if (given := data.pop("format", None)) != FORMAT:
                raise ValueError(f"its 'format' is {quoted(given)}; expected {FORMAT!r}")
            names = ("nodes", "edges", "clusters", "outputs")
            require_keys(data, names, names, "it")
            kinds = (tuple[Node, ...], tuple[Edge, ...], tuple[Cluster, ...], tuple[str, ...])
            graph = cls(*(parsed(kind, data[name], name) for name, kind in zip(names, kinds, strict=True)))
            _check_clusters(graph)
            _check_nodes(graph)
            _check_edges(graph)
        except ValueError as error:
            raise ValueError(f"this text is no graph in JSON: {error}") from error
        return graph


def parameter_count(nodes: Iterable[Node]) -> int:
    """Return the number of entries of the parameters among some nodes."""
    return sum(node.value.size for node in nodes if node.kind == PARAMETER)


def _pruned(row: Any) -> dict[str, Any]:
    """Return a node, edge or cluster as a dict, without the fields that are at their defaults."""
    kept = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if value == field.default:
            continue
        if field.name == "values":
            value = [_pruned(one) for one in value]
        elif isinstance(value, Statistics):
            value = _pruned(value)
        kept[field.name] = value
    return kept


# ---- what a graph that is read has to be -----------------------------------------------------------------


def _require(holds: object, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _check_clusters(graph: Graph) -> None:
    """Raise a ValueError unless each cluster has an id of its own and comes after the one around it."""
    seen: set[str] = set()
    for i, cluster in enumerate(graph.clusters):
        place, id = f"clusters[{i}]", quoted(cluster.id)
        _require(cluster.id, f"{place} has no id")
        _require(cluster.id not in seen, f"{place} has the id {id} of a cluster before it")
        parent = quoted(cluster.parent)
        _require(
            not cluster.parent or cluster.parent in seen,
            f"{place} is inside {parent}; no cluster before it is",
        )
        inside = _is_inside(cluster.id, cluster.parent)
        _require(
            inside, f"{place} has the id {id}; expected one that begins with that of its parent, {parent}"
        )
        _require(cluster.call, f"{place} is call 0; expected 1 for the first call")
        seen.add(cluster.id)
    deepest = max(graph.levels.values(), default=0)
    _require(deepest < MOST_LEVELS, f"a cluster has {deepest} around it; expected less than {MOST_LEVELS}")


def _check_nodes(graph: Graph) -> None:
    """Raise a ValueError unless each node has an id of its own, a cluster that is there, and values."""
    clusters = {"", *graph.clusters_by_id}
    seen: set[str] = set()
    for i, node in enumerate(graph.nodes):
        place, id = f"nodes[{i}]", quoted(node.id)
        kinds = (OPERATION, PARAMETER, BUFFER, INPUT)
        _require(node.kind in kinds, f"{place} is of kind {quoted(node.kind)}; expected one of {kinds}")
        _require(node.id, f"{place} has no id")
        _require(node.id not in seen, f"{place} has the id {id} of a node before it")
        is_operation = node.kind == OPERATION
        taken = is_operation and node.id in clusters
        _require(not taken, f"{place} has the id {id} of a cluster")
        _require(
            node.cluster in clusters, f"{place} is in cluster {quoted(node.cluster)}, which is not there"
        )
        inside = _is_inside(node.id, node.cluster)
        _require(inside, f"{place} has the id {id}; expected one that begins with its cluster's")
        _require(node.values, f"{place} has no value; expected at least one")
        _require(
            is_operation or len(node.values) == 1, f"{place} is an array of several values; expected one"
        )
        for name in ("forward_seconds", "backward_seconds", "forward_flops", "backward_flops"):
            _require((getattr(node, name) or 0) >= 0, f"{place}.{name} is negative")
        for j, value in enumerate(node.values):
            _check_value(value, f"{place}.values[{j}]")
        seen.add(node.id)
    _require(graph.operations, "it has no operation")


def _check_value(value: Value, place: str) -> None:
    """Raise a ValueError unless an array can have this shape, and its entries these statistics."""
    axes = len(value.shape)
    _require(axes <= MOST_AXES, f"{place} has {axes} axes; expected at most {MOST_AXES}")
    _require(value.size <= LARGEST, f"{place} has more entries than an array can have")
    for name, statistics in (("statistics", value.statistics), ("gradient", value.gradient)):
        if statistics is not None:
            _check_statistics(statistics, value.size, f"{place}.{name}")


def _check_statistics(statistics: Statistics, size: int, place: str) -> None:
    bad = statistics.nan + statistics.inf
    _require(bad <= size, f"{place} counts {bad} entries that are not finite; the array has {size}")
    for name in ("std", "norm"):
        _require((getattr(statistics, name) or 0) >= 0, f"{place}.{name} is negative")


def _check_edges(graph: Graph) -> None:
    """Raise a ValueError unless edges and outputs go from nodes that are there to later operations."""
    order = {node.id: i for i, node in enumerate(graph.nodes)}
    operations = {node.id for node in graph.operations}
    taken: set[tuple[str, int]] = set()
    for i, edge in enumerate(graph.edges):
        place, source, target = f"edges[{i}]", quoted(edge.source), quoted(edge.target)
        _require(edge.source in order, f"{place} comes from {source}, which is not there")
        _require(edge.target in operations, f"{place} goes to {target}, which is no operation that is there")
        earlier = order[edge.source] < order[edge.target]
        _require(earlier, f"{place} goes from {source} to {target}, which does not come after it")
        value_count = len(graph.by_id[edge.source].values)
        _require(
            edge.output < value_count,
            f"{place} takes output {edge.output} of {source}, which has {value_count}",
        )
        argument = (edge.target, edge.argument)
        _require(argument not in taken, f"{place} is a second edge to argument {edge.argument} of {target}")
        taken.add(argument)
        if edge.gradient is not None:
            size = graph.by_id[edge.source].values[edge.output].size
            _check_statistics(edge.gradient, size, f"{place}.gradient")
    for i, output in enumerate(graph.outputs):
        _require(
            output in operations, f"outputs[{i}] is {quoted(output)}, which is no operation that is there"
        )
    _require(len(set(graph.outputs)) == len(graph.outputs), "outputs names an operation twice")


def _is_inside(id: str, around: str) -> bool:
    """Return whether an id continues that of the cluster around it."""
    return not around or (id.startswith(f"{around}/") and len(id) > len(around) + 1)
