"""A recorder of the tape that keeps summaries, and makes a `Graph` of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import RLock, local
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np

from tinygrad_mnist.engine.observe import Recorder, also_observed_by, users_line
from tinygrad_mnist.engine.tape import Leaf, one_of
from tinygrad_mnist.engine.tape import Node as TapeNode
from tinygrad_mnist.graph.data import (
    BUFFER,
    CONSTANT,
    INPUT,
    OPERATION,
    PARAMETER,
    Cluster,
    Edge,
    Graph,
    Node,
    Statistics,
    Value,
)
from tinygrad_mnist.graph.descriptions import arguments_text

Alive = ReferenceType[np.ndarray[Any, Any]]
"""A reference that tells whether an array is still the one that had this id, and does not keep it."""


@dataclass(eq=False)
class _Call:
    """A module while it runs."""

    cluster: Cluster
    path: str  # the module's path in its model, with a dot at the end
    inner: dict[str, list[Any]] = field(default_factory=dict)  # the modules called in here, once a call


class _Progress(local):
    """The state of a recording in one thread: a context that is copied takes a recording to others."""

    def __init__(self, top: _Call) -> None:  # once a thread
        self.calls = [top]  # of modules, the innermost last
        self.given: set[int] = set()  # ids of the arrays that the outermost call was given
        # The walk that goes on, known by its dict of what has arrived, and the sums seen so far at each node.
        self.walk: tuple[Any, dict[Any, Any]] = (None, {})


class Recording(Recorder):
    """A record of what happened on the tape while this was on; `graph` makes a `Graph` of it.

    It keeps the nodes and edges of the graph to be. Their ids are provisional, a number each, as the final
    ones depend on what is asked for: `graph` counts operations of the same name only among what it keeps.

    Parameters
    ----------
    model : Module, optional
        The module to be called ``model``; by default the first with parameters that is called.
    names : mapping of str to Tensor or ndarray, optional
        Names of other arrays. An array is known by its identity: a slice of it is another array.
    """

    enters_checkpoints = False

    def __init__(self, model: Any = None, names: Mapping[str, Any] | None = None) -> None:
        self._nodes: dict[str, Node] = {}  # by provisional id
        self._edges: dict[str, list[Edge]] = {}  # by operation, in the order in which they ran
        # Nothing below keeps an array or a tape alive: the keys are weak, or ids checked by weak references.
        self._by_node: WeakKeyDictionary[TapeNode, str] = WeakKeyDictionary()
        self._by_array: dict[int, tuple[Alive, str, int]] = {}  # by id: its node, and which result it is
        self._by_leaf: WeakKeyDictionary[Leaf, str] = WeakKeyDictionary()
        self._known: dict[int, tuple[str, str, Alive]] = {}  # kind and name of what has one, by id
        self._leaf_names: WeakKeyDictionary[Leaf, str] = WeakKeyDictionary()  # that the user gave
        self._leaf_paths: WeakKeyDictionary[Leaf, str] = WeakKeyDictionary()  # in the model
        self._paths: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # of the modules of the model
        self._at_top: set[str] = set()  # parameters that the user named: they belong to no module
        self.clusters: dict[str, Cluster] = {}
        self._now = _Progress(_Call(Cluster("", ""), ""))
        self._lock = RLock()
        self._model: Any = None
        for name, value in (names or {}).items():
            self._name(name, value)
        if model is not None:
            self._take(model)
            for module in model.modules():
                self._know(module)

    def graph(self, outputs: Any = None) -> Graph:
        """Return what was recorded so far as a `Graph`.

        Parameters
        ----------
        outputs : Tensor or sequence of Tensor, optional
            Draw only what these were computed from; by default all.

        Raises
        ------
        ValueError
            If nothing was recorded, or an output was not.
        """
        if not self._edges:
            raise ValueError("nothing was recorded; compute something inside `with graph.record() as tape:`")
        self._read_hooked()
        operations = list(self._edges)
        if outputs is None:
            used = {edge.source for edges in self._edges.values() for edge in edges}
            ends = [operation for operation in operations if operation not in used]
        else:
            ends = [self._find(tensor) for tensor in listed(outputs)]
            kept = self._ancestors(ends)
            operations = [operation for operation in operations if operation in kept]
        return self._build(operations, ends)

    def _find(self, tensor: Any) -> str:
        """Return the operation that made a Tensor."""
        found = self._source(tensor.data, tensor.origin)
        if found is None or found[0] not in self._edges:
            raise ValueError(f"an output of shape {tensor.shape} was not computed by what was recorded")
        return found[0]

    def _ancestors(self, ends: Sequence[str]) -> set[str]:
        """Return all that some nodes were made of, themselves included."""
        found: set[str] = set()
        waiting = list(ends)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting.extend(edge.source for edge in self._edges.get(node, ()))
        return found

    def _build(self, operations: Sequence[str], ends: Sequence[str]) -> Graph:
        """Give some operations, and the arrays that they take, their final ids."""
        final = _Ids()
        nodes: list[Node] = []
        edges: list[Edge] = []
        inputs = self._inputs_of_modules(operations)
        for operation in operations:
            own = self._nodes[operation]
            # A source without an id is an array at its first use: operations come before their uses.
            new = dict.fromkeys(e.source for e in self._edges[operation] if e.source not in final.of)
            for array in new:
                is_input = array in inputs
                node = _as_input(self._nodes[array]) if is_input else self._with_cluster(array, own.cluster)
                nodes.append(final.give(node))
            nodes.append(final.give(own))
            edges += [
                replace(edge, source=final.of[edge.source], target=final.of[operation])
                for edge in self._edges[operation]
            ]
        outputs = dict.fromkeys(final.of[end] for end in ends)
        return Graph(tuple(nodes), tuple(edges), self._needed_clusters(nodes), tuple(outputs))

    def _inputs_of_modules(self, operations: Sequence[str]) -> set[str]:
        """Return the arrays that require a gradient and are inputs: of a module that has parameters.

        It is given them, or what was computed from them. What belongs to no module and is given to none, such
        as a factor of the loss, is a parameter.
        """
        own = {self._by_leaf[leaf] for leaf in self._by_leaf if self.path_of(leaf)}
        with_parameters = {
            self._nodes[operation].cluster.partition("/")[0]
            for operation in operations
            if any(edge.source in own for edge in self._edges[operation])
        } - {""}
        inside = [one for one in operations if self._nodes[one].cluster.partition("/")[0] in with_parameters]
        return (set(self._by_leaf.values()) - own) & self._ancestors(inside) if inside else set()

    def _with_cluster(self, array: str, user: str) -> Node:
        """Return an array with its cluster: that of its module if it is around the first user, else none."""
        node = self._nodes[array]
        if node.kind not in (PARAMETER, BUFFER) or array in self._at_top or not node.name:
            return node
        path = node.name.rpartition(".")[0].replace(".", "/")
        around = user
        while around:
            module = self.clusters[around].module
            if module.endswith(f"/{path}") if path else not self.clusters[around].parent:
                return replace(node, cluster=around)
            around = self.clusters[around].parent
        return replace(node, cluster=user)

    def _needed_clusters(self, nodes: Sequence[Node]) -> tuple[Cluster, ...]:
        """Return the clusters that hold nodes, those around them, and those right inside that ran nothing."""
        needed: set[str] = set()
        for node in nodes:
            around = node.cluster
            while around and around not in needed:
                needed.add(around)
                around = self.clusters[around].parent
        clusters = self.clusters.values()
        return tuple(cluster for cluster in clusters if cluster.id in needed or cluster.parent in needed)

    def let_go(self) -> None:
        """Forget the modules and the gradients of the last walk, and keep summaries alone."""
        self._read_hooked()
        self._model, self._now = None, _Progress(_Call(Cluster("", ""), ""))

    # ---- what the tape tells ---------------------------------------------------------------------------

    def entered(self, module: Any, given: Any = ()) -> None:
        """Note that a module runs, and the names of its parameters and buffers."""
        with self._lock:
            self._enter(module, given)

    def _enter(self, module: Any, given: Any) -> None:
        self._know(module)
        if len(self._now.calls) == 1:
            self._now.given = {id(_root(array)) for array in _arrays_in(given)}
        around = self._now.calls[-1]
        name = self._call_name(module, around)
        calls = around.inner.setdefault(name, [])
        calls.append(module)
        parent = around.cluster.id
        cluster = Cluster(
            (f"{parent}/" if parent else "") + name + (f"@{len(calls)}" if len(calls) > 1 else ""),
            name.replace("/", "."),
            type(module).__name__,
            parent,
            len(calls),
            module.extra_repr(),
        )
        self.clusters[cluster.id] = cluster
        self._now.calls.append(_Call(cluster, self._path(module)))

    def left(self, module: Any) -> None:
        """Note that a module has run."""
        if len(self._now.calls) > 1:  # else the recording ended while the module ran
            self._now.calls.pop()

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        """Note an operation: its arguments, their sources, and its results."""
        # A path that starts at the user's folder would differ from machine to machine.
        path, colon, line = users_line().partition(":")
        around = self._now.calls[-1].cluster.id
        with self._lock:
            self.add(op, arrays, out, node, static, around, os.path.basename(path) + colon + line)

    def add(
        self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any, cluster: str, line: str
    ) -> Node:
        """Note an operation that ran in a cluster, at a line of source."""
        outs = out if type(out) is tuple else (out,)
        # Without a node nothing requires a gradient, and the arrays alone tell where they come from.
        parents = (None,) * len(arrays) if node is None else node.parents
        sources = [self._source(array, parent) for array, parent in zip(arrays, parents, strict=True)]
        own = self._put(
            OPERATION,
            op.name,
            op.label or op.name,
            outs,
            cluster=cluster,
            arguments=(
                arguments_text(arrays, {i for i, found in enumerate(sources) if found}, static)
                if op.told is None
                else op.told(arrays, static)
            ),
            requires_grad=node is not None,
            line=line,
            saved_bytes=0 if node is None else _saved_bytes(arrays, outs, node.saved),
        )
        self._edges[own.id] = [
            Edge(found[0], own.id, position, found[1], parent is not None)
            for position, (found, parent) in enumerate(zip(sources, parents, strict=True))
            if found is not None
        ]
        if node is not None:
            self._by_node[node] = own.id
        # The next operation may get a result as a bare array: under no_grad, or from .detach().
        for index, one in enumerate(outs):
            self._by_array[id(one)] = (ref(one), own.id, index)
        return own

    def _put(
        self, kind: str, name: str, label: str, arrays: Sequence[Any], cluster: str = "", **more: Any
    ) -> Node:
        """Keep a new node under a provisional id."""
        own = str(len(self._nodes))
        self._nodes[own] = Node(own, kind, name, label, cluster, tuple(map(Value.of, arrays)), **more)
        return self._nodes[own]

    def read_gradients(self) -> None:
        """Take the gradients that parameters hold already."""
        for leaf, own in self._by_leaf.items():
            if leaf.grad is not None:
                self._receive(own, leaf.grad)

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        """Note the gradient that came to a node, and what it sent on to its arguments."""
        with self._lock:
            self._note_gradients(node, g, cotangents, arrived)

    def _note_gradients(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        own = self._by_node.get(node)
        if own is None:
            return  # it ran before this was on
        for index, one in enumerate(g if type(g) is tuple else (g,)):
            self._receive(own, one, index)
        if self._now.walk[0] is not arrived:
            self._read_hooked()
            self._now.walk = (arrived, {})
        self._now.walk[1].pop(node, None)  # nothing more comes here
        sent: dict[Any, Statistics | None] = {}  # once a parent, for all uses of it together
        edges = self._edges[own]
        for position, edge in enumerate(edges):
            parent = node.parents[edge.argument]
            if parent is not None and parent not in sent:
                total = cotangents.get(parent) if parent in cotangents else arrived.get(parent)
                sent[parent] = self._sent(parent, total)
            edges[position] = replace(edge, gradient=sent.get(parent))

    def _receive(self, own: str, gradient: Any, index: int = 0) -> None:
        """Note the gradient of a result of a node, in place of one that was there."""
        values = list(self._nodes[own].values)
        values[index] = replace(values[index], gradient=Statistics.of(_plain(gradient)))
        self._nodes[own] = replace(self._nodes[own], values=tuple(values))

    def _read_hooked(self) -> None:
        """Take the gradients of leaves once more after their hooks, which run at the end of a walk."""
        for leaf, gradient in (self._now.walk[0] or {}).items():
            if leaf.hooks and (own := self._by_leaf.get(leaf)) is not None:
                self._receive(own, gradient)

    def _sent(self, parent: Any, total: Any) -> Statistics | None:
        """Summarise what the node that was just walked added to the gradient of one of its parents.

        The walk tells only the sum that stands at the parent now; the part is that sum less the one before.
        """
        if total is None or type(total) is list:
            return None
        total, before = _plain(total), self._now.walk[1].get(parent)
        self._now.walk[1][parent] = total
        if type(parent) is Leaf and parent in self._by_leaf:
            self._receive(self._by_leaf[parent], total)
        return Statistics.of(total if before is None else total - before)

    # ---- which array and which module is which ---------------------------------------------------------

    def _source(self, array: Any, parent: Any) -> tuple[str, int] | None:
        """Return the node that an argument came from, and as which result; None for a number."""
        index = 0
        if type(parent) is TapeNode and parent.op is one_of:  # one result of an operation that has several
            parent, index = parent.parents[0], parent.static["index"]
        if type(parent) is TapeNode and (own := self._by_node.get(parent)) is not None:
            return own, index
        if type(parent) is Leaf:
            return self._leaf(parent, array), 0
        if not isinstance(array, np.ndarray):
            return None
        array = _owner(array)
        if (made := self._by_array.get(id(array))) is not None and made[0]() is array:
            return made[1], made[2]
        kind, name, alive = self._known.get(id(array), (INPUT, "", None))
        if alive is None or alive() is not array:
            if array.ndim == 0 and parent is None:
                return None  # a number, which is told among the arguments
            kind, name = INPUT, ""
        own = self._put_array(kind, name, array, parent is not None, self._is_made_inside(array))
        self._by_array[id(array)] = (ref(array), own, 0)
        return own, 0

    def _leaf(self, leaf: Leaf, array: Any) -> str:
        """Return the node of a leaf of the tape: something that a user asked a gradient for."""
        own = self._by_leaf.get(leaf)
        if own is None:
            given = self._leaf_names.get(leaf)
            own = self._by_leaf[leaf] = self._put_array(PARAMETER, given or self.path_of(leaf), array, True)
            if given:
                self._at_top.add(own)
        return own

    def _put_array(
        self, kind: str, name: str, array: Any, requires_grad: bool, made_inside: bool = False
    ) -> str:
        label = CONSTANT if kind == INPUT and not name and made_inside else name.rpartition(".")[2] or kind
        return self._put(kind, name, label, (array,), requires_grad=requires_grad).id

    def _is_made_inside(self, array: Any) -> bool:
        """Return whether an array that has no name was made in a module, as the mask of a dropout is.

        A module that was given no array at all may have made one of a list that it was given.
        """
        return len(self._now.calls) > 1 and bool(self._now.given) and id(_root(array)) not in self._now.given

    def path_of(self, leaf: Leaf) -> str:
        """Return the path of a parameter in its model; empty if it has none."""
        return self._leaf_paths.get(leaf) or leaf.name or ""

    def _name(self, name: str, value: Any) -> None:
        """Note the name of an array."""
        if type(getattr(value, "origin", None)) is Leaf:
            self._leaf_names[value.origin] = name
        elif isinstance(value, np.ndarray) or hasattr(value, "origin"):
            array = _owner(value if isinstance(value, np.ndarray) else value.data)
            self._known[id(array)] = (INPUT, name, ref(array))
        else:
            raise TypeError(f"names[{name!r}] is a {type(value).__name__}; expected a Tensor or an ndarray")

    def _take(self, model: Any) -> None:
        """Take a module for the model, and note the paths of its modules there: they may be in others too."""
        self._model = model
        for path, module in model.named_modules():
            self._paths[module] = f"{path}." if path else ""

    def _path(self, module: Any) -> str:
        path: str = self._paths.get(module, module._path)
        return path

    def _know(self, module: Any) -> None:
        """Note the paths of a module's own parameters and buffers; the first path of what is shared."""
        path = self._path(module)
        for name, parameter in module.named_parameters(recurse=False):
            self._know_array(PARAMETER, path + name, parameter.data)
            if type(parameter.origin) is Leaf:
                self._leaf_paths.setdefault(parameter.origin, path + name)
        for name, buffer in module.named_buffers(recurse=False):
            self._know_array(BUFFER, path + name, buffer)

    def _know_array(self, kind: str, name: str, array: Any) -> None:
        known = self._known.get(id(array))
        if known is None or known[2]() is not array:
            self._known[id(array)] = (kind, name, ref(array))

    def _call_name(self, module: Any, around: _Call) -> str:
        """Return a name for a module in the call around it that no other module has there."""
        path = self._path(module)
        if not around.cluster.id:
            if self._model is None and not path and any(True for _ in module.parameters()):
                self._take(module)
            if module is self._model:
                name = "model"
            else:
                name = "model/" + path[:-1].replace(".", "/") if path else type(module).__name__
        elif path != around.path and path.startswith(around.path):
            name = path[len(around.path) : -1].replace(".", "/")
        else:
            name = path[:-1].rpartition(".")[2] or type(module).__name__
        free, number = name, 1
        while any(other is not module for other in around.inner.get(free, ())):
            number += 1
            free = f"{name}_{number}"
        return free


@contextmanager
def record(model: Any = None, names: Mapping[str, Any] | None = None) -> Iterator[Recording]:
    """Record what is computed inside: modules, source lines, values, and gradients if it is walked back.

    Nothing is kept but summaries, so ``backward()`` may free the tape, and the graph can be drawn after it.
    Recordings nest: each hears all that happens while it is on. So it does beside `detect_anomaly`.

    Parameters
    ----------
    model : Module, optional
        The module to be called ``model``; by default the first with parameters that is called.
    names : mapping of str to Tensor or ndarray, optional
        Names of other arrays: ``{"x": x}``. An array is known by its identity: ``x[:8]`` is another
        array, and a name that no array of the computation has is not seen.

    Yields
    ------
    Recording
        Ask its ``graph()``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import graph, nn
    >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> with graph.record() as tape:
    ...     np.sum(model(np.ones((4, 3), np.float32))).backward()
    >>> [node.id for node in tape.graph().nodes if node.kind == "operation"]
    ['model/0/linear#1', 'model/1/relu#1', 'sum#1']
    """
    recording = Recording(model, names)
    with also_observed_by(recording):
        try:
            yield recording
        finally:
            recording.let_go()


def listed(outputs: Any) -> list[Any]:
    """Return a list of Tensors, of one or of a sequence of them."""
    tensors = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    if not tensors:
        raise ValueError("the graph of no Tensor at all was asked for; expected at least one")
    for tensor in tensors:
        if not hasattr(tensor, "origin"):
            raise TypeError(
                f"the graph of a {type(tensor).__name__} was asked for; expected a Tensor, or a list of them"
            )
    return tensors


class _Ids:
    """Final ids of nodes, which stay the same from run to run; `of` gives them by the provisional ones."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self._taken: set[str] = set()
        self._ordinals: Counter[tuple[str, str]] = Counter()  # by cluster and name

    def give(self, node: Node) -> Node:
        """Return a node under its final id, which no other node has."""
        if node.kind == OPERATION or not node.name:
            name = node.name or node.label
            self._ordinals[node.cluster, name] += 1
            own = f"{name}#{self._ordinals[node.cluster, name]}"
        else:
            own = _own_name(node)
        whole = f"{node.cluster}/{own}" if node.cluster else own
        free, number = whole, 1
        while free in self._taken:
            number += 1
            free = f"{whole}#{number}"
        self._taken.add(free)
        self.of[node.id] = free
        return replace(node, id=free)


def _as_input(node: Node) -> Node:
    """Return an array that requires a gradient as one that a module is given."""
    return replace(node, kind=INPUT, label=node.label if node.name else INPUT)


def _own_name(node: Node) -> str:
    """Return the part of an array's path that its cluster does not say already."""
    path, _, last = node.name.rpartition(".")
    module = "/".join(part.partition("@")[0] for part in node.cluster.split("/"))
    return last if not path or module.endswith("/" + path.replace(".", "/")) else node.name


# ---- arrays ----------------------------------------------------------------------------------------------


def _arrays_in(given: Any) -> Iterator[Any]:
    """Yield the arrays among the arguments of a call, also in tuples, lists, dicts and Tensors."""
    waiting = [given]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, (tuple, list)):
            waiting.extend(one)
        elif isinstance(one, np.ndarray):
            yield one
        elif hasattr(one, "origin"):
            yield one.data


def _root(array: Any) -> Any:
    """Return the array whose memory a view shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _owner(array: Any) -> Any:
    """Return the array that ``.detach()`` and ``.data`` gave a view of."""
    base = array.base
    same = isinstance(base, np.ndarray) and base.shape == array.shape and base.strides == array.strides
    return base if same else array


def _plain(value: Any) -> Any:
    """Return an array as it is, and that of a Tensor, as a walk that is itself recorded carries Tensors."""
    return value if isinstance(value, (np.ndarray, np.generic)) else value.data


def _saved_bytes(arrays: Sequence[Any], outs: Sequence[Any], saved: Any) -> int:
    """Count the memory that a node keeps and that was not there before: its results and what it saved.

    A view counts nothing, as somebody else keeps the memory that it shows.
    """
    seen = {id(array) for array in arrays}
    waiting, total = [*outs, saved], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, (tuple, list)):
            waiting.extend(one)
        elif isinstance(one, np.ndarray) and one.base is None and id(one) not in seen:
            seen.add(id(one))
            total += one.nbytes
    return total
