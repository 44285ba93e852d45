"""Recording: what the tape tells while it is on, kept as summaries, from which a `Graph` can be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np

from tinygrad_mnist.engine.observe import Recorder, observed_by, users_line
from tinygrad_mnist.engine.tape import Leaf, one_of
from tinygrad_mnist.engine.tape import Node as TapeNode
from tinygrad_mnist.graph.arrays import arrays_in, owner, plain, root, saved_bytes
from tinygrad_mnist.graph.build import Draft, Use, build
from tinygrad_mnist.graph.data import (
    BUFFER,
    CONSTANT,
    INPUT,
    OPERATION,
    PARAMETER,
    Cluster,
    Statistics,
    Value,
)
from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.numbers import arguments_text, line_text

Alive = ReferenceType[np.ndarray[Any, Any]]
"""Tells whether the array is still the one that had this id, and does not keep it."""


@dataclass(eq=False)
class _Call:
    """A module while it runs."""

    cluster: Cluster
    path: str  # the module's path in its model, with a dot at the end
    inner: dict[str, list[Any]] = field(default_factory=dict)  # the modules called in here, once a call


class Recording(Recorder):
    """What happened on the tape while this was on; `graph` makes a `Graph` of it.

    Parameters
    ----------
    model : Module, optional
        Which module is to be called ``model``; by default the first with parameters that is called.
    names : mapping of str to Tensor or ndarray, optional
        What to call other arrays. An array is known by its identity: a slice of it is another array.
    """

    insides = False

    def __init__(self, model: Any = None, names: Mapping[str, Any] | None = None) -> None:
        self._operations: list[Draft] = []
        self._by_node: WeakKeyDictionary[TapeNode, Draft] = WeakKeyDictionary()
        self._by_array: dict[int, tuple[Alive, Draft, int]] = {}  # by id
        self._by_leaf: WeakKeyDictionary[Leaf, Draft] = WeakKeyDictionary()
        self._known: dict[int, tuple[str, str, Alive]] = {}  # kind and name of what has one, by id
        self._leaf_names: WeakKeyDictionary[Leaf, str] = WeakKeyDictionary()  # that the user gave
        self._leaf_paths: WeakKeyDictionary[Leaf, str] = WeakKeyDictionary()  # in the model
        self._paths: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # of the modules of the model
        self.clusters: dict[str, Cluster] = {}
        self._stack = [_Call(Cluster("", ""), "")]
        self._given: set[int] = set()  # ids of the arrays that the outermost call was given
        self._model: Any = None
        self._walk: tuple[Any, dict[Any, Any]] = (None, {})  # what has come where, in the walk that goes on
        for name, value in (names or {}).items():
            self._name(name, value)
        if model is not None:
            self._take(model)
            for module in model.modules():
                self._know(module)

    def graph(self, outputs: Any = None) -> Graph:
        """What was recorded so far, as a `Graph`.

        Parameters
        ----------
        outputs : Tensor or sequence of Tensor, optional
            Draw only what these were computed from; by default all.

        Raises
        ------
        ValueError
            If nothing was recorded, or an output was not.
        """
        if not self._operations:
            raise ValueError("nothing was recorded; compute something inside `with graph.record() as tape:`")
        self._read_hooked()
        ends = None if outputs is None else [self._find(tensor) for tensor in listed(outputs)]
        return build(self._operations, self.clusters, ends)

    def _find(self, tensor: Any) -> Draft:
        """What made a Tensor."""
        found = self._source(tensor.data, tensor.origin)
        if found is None or found[0].kind != OPERATION:
            raise ValueError(f"an output of shape {tensor.shape} was not computed by what was recorded")
        return found[0]

    def let_go(self) -> None:
        """Keep nothing but what was put down: no module, and no gradient of the last walk."""
        self._read_hooked()
        self._model, self._stack, self._walk = None, self._stack[:1], (None, {})
        self._stack[0].inner.clear()

    # ---- what the tape tells ---------------------------------------------------------------------------

    def entered(self, module: Any, given: Any = ()) -> None:
        """Note that a module runs, and what its parameters and buffers are called."""
        self._know(module)
        if len(self._stack) == 1:
            self._given = {id(root(array)) for array in arrays_in(given)}
        around = self._stack[-1]
        name = self._call_name(module, around)
        calls = around.inner.setdefault(name, [])
        calls.append(module)
        parent = around.cluster.id
        cluster = Cluster(
            (f"{parent}/" if parent else "") + name + (f"@{len(calls)}" if len(calls) > 1 else ""),
            name.rpartition("/")[2],
            type(module).__name__,
            parent,
            len(calls),
            module.extra_repr(),
        )
        self.clusters[cluster.id] = cluster
        self._stack.append(_Call(cluster, self._path(module)))

    def left(self, module: Any) -> None:
        """Note that it runs no longer."""
        self._stack.pop()

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        """Note an operation: what it took, from where, and what came out."""
        self.add(op, arrays, out, node, static, self._stack[-1].cluster.id, line_text(users_line()))

    def add(
        self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any, cluster: str, line: str
    ) -> Draft:
        """Put an operation down."""
        outs = out if type(out) is tuple else (out,)
        draft = Draft(OPERATION, op.name, op.label or op.name, cluster, [Value.of(one) for one in outs])
        draft.requires_grad, draft.line = node is not None, line
        parents = (None,) * len(arrays) if node is None else node.parents
        for position, (array, parent) in enumerate(zip(arrays, parents, strict=True)):
            found = self._source(array, parent)
            if found is not None:
                draft.uses.append(Use(found[0], position, found[1], parent is not None))
        draft.arguments = arguments_text(arrays, {use.argument for use in draft.uses}, static)
        if node is not None:
            self._by_node[node] = draft
            draft.saved_bytes = saved_bytes(arrays, outs, node.saved)
        for index, one in enumerate(outs):
            self._by_array[id(one)] = (ref(one), draft, index)
        self._operations.append(draft)
        return draft

    def read_gradients(self) -> None:
        """Take the gradients that parameters hold already."""
        for leaf, draft in self._by_leaf.items():
            if leaf.grad is not None:
                draft.receive(plain(leaf.grad))

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        """Note the gradient that came to a node, and what went on to its arguments."""
        draft = self._by_node.get(node)
        if draft is None:
            return
        for index, one in enumerate(g if type(g) is tuple else (g,)):
            draft.receive(plain(one), index)
        if self._walk[0] is not arrived:
            self._read_hooked()
            self._walk = (arrived, {})
        self._walk[1].pop(node, None)  # nothing more comes here
        parts: dict[Any, Statistics | None] = {}
        for use in draft.uses:
            parent = node.parents[use.argument]
            if parent is not None and parent not in parts:
                total = cotangents.get(parent) if parent in cotangents else arrived.get(parent)
                parts[parent] = self._part(parent, total)
            use.gradient = parts.get(parent)

    def _read_hooked(self) -> None:
        """Take the gradients that hooks made of those that came to leaves, at the end of the last walk."""
        for leaf, gradient in (self._walk[0] or {}).items():
            if leaf.hooks and (draft := self._by_leaf.get(leaf)) is not None:
                draft.receive(plain(gradient))

    def _part(self, parent: Any, total: Any) -> Statistics | None:
        """What the node that was just walked added to the gradient of one of its parents."""
        if total is None or type(total) is list:
            return None
        total, before = plain(total), self._walk[1].get(parent)
        self._walk[1][parent] = total
        if type(parent) is Leaf and parent in self._by_leaf:
            self._by_leaf[parent].receive(total)
        return Statistics.of(total if before is None else total - before)

    # ---- who is who ------------------------------------------------------------------------------------

    def _source(self, array: Any, parent: Any) -> tuple[Draft, int] | None:
        """Where an argument came from, and as which result there; None for a number."""
        index = 0
        if type(parent) is TapeNode and parent.op is one_of:
            parent, index = parent.parents[0], parent.static["index"]
        if type(parent) is TapeNode and (draft := self._by_node.get(parent)) is not None:
            return draft, index
        if type(parent) is Leaf:
            if (draft := self._by_leaf.get(parent)) is None:
                given = self._leaf_names.get(parent)
                name = given or self.path_of(parent)
                draft = self._by_leaf[parent] = _array(PARAMETER, name, array, True, at_top=bool(given))
            return draft, 0
        if not isinstance(array, np.ndarray):
            return None
        array = owner(array)
        if (made := self._by_array.get(id(array))) is not None and made[0]() is array:
            return made[1], made[2]
        kind, name, alive = self._known.get(id(array), (INPUT, "", None))
        if alive is None or alive() is not array:
            if array.ndim == 0 and parent is None:
                return None
            kind, name = INPUT, ""
        draft = _array(kind, name, array, parent is not None)
        if kind == INPUT and not name and self._is_made_inside(array):
            draft.label = CONSTANT
        self._by_array[id(array)] = (ref(array), draft, 0)
        return draft, 0

    def _is_made_inside(self, array: Any) -> bool:
        """Whether an array that nobody knows came about in a module, as the mask of a dropout does.

        A module that was given no array at all may have made one of a list that it was given.
        """
        return len(self._stack) > 1 and bool(self._given) and id(root(array)) not in self._given

    def path_of(self, leaf: Leaf) -> str:
        """The path of a parameter in its model; empty if it has none."""
        return self._leaf_paths.get(leaf) or leaf.name or ""

    def _name(self, name: str, value: Any) -> None:
        """Let an array go by a name."""
        if type(getattr(value, "origin", None)) is Leaf:
            self._leaf_names[value.origin] = name
        elif isinstance(value, np.ndarray) or hasattr(value, "origin"):
            array = owner(value if isinstance(value, np.ndarray) else value.data)
            self._known[id(array)] = (INPUT, name, ref(array))
        else:
            raise TypeError(f"names[{name!r}] is a {type(value).__name__}; expected a Tensor or an ndarray")

    def _take(self, model: Any) -> None:
        """Call a module the model, and the modules in it by their paths there: they may be in others too."""
        self._model = model
        for path, module in model.named_modules():
            self._paths[module] = f"{path}." if path else ""

    def _path(self, module: Any) -> str:
        path: str = self._paths.get(module, module._path)
        return path

    def _know(self, module: Any) -> None:
        """Let a module's own parameters and buffers go by their paths; what is shared, by the first."""
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
        """The name of a module in the call around it, which no other module has there."""
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
    What a recording inside of this one hears, this one does not.

    Parameters
    ----------
    model : Module, optional
        Which module is to be called ``model``; by default the first with parameters that is called.
    names : mapping of str to Tensor or ndarray, optional
        What to call other arrays: ``{"x": x}``. An array is known by its identity: ``x[:8]`` is another
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
    with observed_by(recording):
        try:
            yield recording
        finally:
            recording.let_go()


def listed(outputs: Any) -> list[Any]:
    """Tensors, from one or a sequence of them."""
    tensors = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    if not tensors:
        raise ValueError("the graph of no Tensor at all was asked for; expected at least one")
    for tensor in tensors:
        if not hasattr(tensor, "origin"):
            raise TypeError(
                f"the graph of a {type(tensor).__name__} was asked for; expected a Tensor, or a list of them"
            )
    return tensors


def _array(kind: str, name: str, array: Any, requires_grad: bool, at_top: bool = False) -> Draft:
    label = name.rpartition(".")[2] or kind
    return Draft(kind, name, label, "", [Value.of(array)], requires_grad=requires_grad, at_top=at_top)
