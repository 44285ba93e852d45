"""The tape: a record of what was computed, and the walk back over it that makes gradients.

A :class:`Node` remembers one operation that was applied; its parents are the nodes that made its arguments,
or a :class:`Leaf` where an argument is a Tensor that a user made and wants the gradient of. Nodes point
backwards only, so a tape dies with its output, without the garbage collector. :func:`walk` visits nodes from
the newest to the oldest by the time they were made: no recursion, however deep the computation.

Un-broadcasting, dtypes, 0-d results, stale and freed tapes and singular points are dealt with here, once, so
that no gradient rule needs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np

from tinygrad_mnist.engine.decorators import FunctionDecorator
from tinygrad_mnist.engine.errors import check_not_stale, describe, raise_freed
from tinygrad_mnist.engine.observe import Muted, Recorder, observed_by, recorder, run_hooks
from tinygrad_mnist.engine.op import Op, Rule, Sample, linear

recording: ContextVar[bool] = ContextVar("recording", default=True)
"""True while operations are put on the tape, in this thread or task."""

_clock = count(1)
_last_write = 0


class no_grad(FunctionDecorator):
    """Switch recording off: results inside need no gradient.

    It serves as a decorator too, of a function of any kind. That of a generator or coroutine holds while the
    body runs, and not in between, where the caller runs.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor, no_grad
    >>> x = Tensor(2.0, requires_grad=True)
    >>> with no_grad():
    ...     (x * x).requires_grad
    False
    >>> @no_grad()
    ... def powers(x):
    ...     yield x * x
    >>> next(powers(x)).requires_grad
    False
    """

    _entered: tuple[Token[bool], Any] | None = None
    """The token of the innermost ``with`` of this object, and those around it."""

    def __enter__(self) -> None:
        self._entered = recording.set(False), self._entered

    def __exit__(self, *_: object) -> None:
        assert self._entered is not None
        token, self._entered = self._entered
        recording.reset(token)


class Leaf:
    """The end of a tape, where the gradient of a Tensor made with ``requires_grad=True`` arrives."""

    __slots__ = ("__weakref__", "grad", "hooks", "name", "written")

    def __init__(self, name: str | None = None) -> None:
        self.grad: Any = None
        self.name = name
        self.written = 0  # the time of the last write into the Tensor's values
        self.hooks: dict[int, Any] | None = None


def mark_written(leaves: Iterable[Leaf]) -> None:
    """Note that the values of some leaves changed, so that a walk over an older tape can tell."""
    global _last_write
    _last_write = next(_clock)
    for leaf in leaves:
        leaf.written = _last_write


class Node:
    """One operation on the tape.

    Attributes
    ----------
    op : Op
        What was applied.
    arrays : tuple or None
        Its arguments: arrays and plain numbers. None once the walk has freed them.
    out : ndarray
        Its result.
    saved : object
        What a fused operation keeps for its joint rule.
    parents : tuple of Node, Leaf or None
        Where each argument came from; None where no gradient goes.
    static : dict
        Its keyword arguments.
    time : int
        Sequence number: a node is newer than all its parents.
    hooks : dict or None
        What ``register_hook`` put here.
    """

    __slots__ = ("__weakref__", "arrays", "hooks", "op", "out", "parents", "saved", "static", "time")

    def __init__(
        self,
        op: Op,
        arrays: tuple[Any, ...],
        out: Any,
        saved: Any,
        parents: tuple[Node | Leaf | None, ...],
        static: Mapping[str, Any],
    ) -> None:
        self.op = op
        self.arrays: tuple[Any, ...] | None = arrays
        self.out = out
        self.saved = saved
        self.parents = parents
        self.static = static
        self.time = next(_clock)  # newer than its parents, so that times order the walk without a sort
        self.hooks: dict[int, Any] | None = None

    def outputs(self) -> list[Node]:
        """Return a node for each result of an operation that returns several."""
        return [Node(one_of, self.out, one, None, (self,), {"index": i}) for i, one in enumerate(self.out)]

    def free(self) -> None:
        """Drop everything that the gradient rules need, so that its memory is free."""
        self.arrays = self.out = self.saved = self.hooks = None
        self.parents = ()

    def __repr__(self) -> str:
        return f"<Node {self.op.name} at time {self.time}>"


identity = linear(
    lambda x: x.view(), lambda g, out, x: g, name="identity", samples="broadcast", broadcasts=True
)
"""The same values under a new node: the boundary at which a walk can be told to stop."""


def boundary(array: Any, parent: Node | Leaf | None = None) -> Node:
    """Return a node that stands for ``array``, at which a walk can be told to stop."""
    return Node(identity, (array,), array, None, (parent,), {})


one_of = Op("one_of", lambda xs, index: xs[index], "linear", samples=(Sample(((2,), (3,)), {"index": 1}),))
"""One of the results of an operation that returns several; the walk gathers their cotangents into a tuple."""

Lift = Callable[[Any, Any], Any]
"""``lift(array, origin)``: the Tensor of these values that came from ``origin`` (a Node or Leaf)."""


def walk(
    outputs: Sequence[tuple[Node, Any]],
    *,
    targets: Sequence[Node | Leaf] | None = None,
    lift: Lift | None = None,
    retain: bool = False,
) -> dict[Any, Any]:
    """Walk the tape back from its outputs and return the cotangents that arrive.

    Take the newest node that a cotangent has come to: nothing that is still to be visited can add to it. If
    it is a target, stop there. Otherwise let its rules make a part of the cotangent for each argument, and
    deliver each part to where that argument came from, an older node or a leaf. Go on until none is left.

    Parameters
    ----------
    outputs : sequence of (Node, cotangent)
        Where to start. Cotangents are arrays, or Tensors when ``lift`` is given.
    targets : sequence of Node or Leaf, optional
        Stop at these and return their cotangents; by default go on to every leaf and return theirs.
    lift : callable, optional
        Rebuilds Tensors from the tape, so that the rules themselves are recorded (a gradient of a gradient).
    retain : bool
        Keep the tape, so that it can be walked again.

    Returns
    -------
    dict
        Cotangent by Leaf, or by target; those that nothing reaches are absent. An array that is returned
        for a leaf is held by nobody else.

    Raises
    ------
    RuntimeError
        If the tape was freed by an earlier walk, or a parameter was written to after it was recorded.
    """
    watching = recorder.get()
    if watching is None:
        return _walk(outputs, targets, lift, retain, None)
    with observed_by(Muted(watching)):  # a rule is known by what it returns, not by what it does inside
        return _walk(outputs, targets, lift, retain, watching)


def _walk(
    outputs: Sequence[tuple[Node, Any]],
    targets: Sequence[Node | Leaf] | None,
    lift: Lift | None,
    retain: bool,
    watching: Recorder | None,
) -> dict[Any, Any]:
    # Over its usual size, as the steps that every node takes are written out: each call here would cost a
    # small operation some 4 % of its backward pass.
    pending: dict[Any, Any] = {}  # cotangents of nodes that are still to be visited
    heap: list[tuple[int, Any]] = []  # these nodes, the newest first
    arrived: dict[Any, Any] = {}  # cotangents of targets, or of leaves
    for node, g in outputs:
        _send(node, g, pending, heap)
    stops = frozenset(targets or ())
    # A parent is older than its child, so a node older than every target leads to none of them.
    oldest = min([node.time for node in stops if type(node) is Node], default=0)

    while heap:
        node = heappop(heap)[1]
        g = pending.pop(node)
        if node.hooks:
            g = run_hooks(node, g)
        if node in stops:
            arrived[node] = g
            continue
        if node.time < oldest:
            continue
        if node.arrays is None:
            raise_freed(node.op.name)
        if node.time < _last_write:  # seldom: only then is it worth asking which leaf was written to
            check_not_stale(node)
        if node.op is one_of:
            _gather(node, g, pending, heap)
        else:
            if type(node.out) is tuple:
                g = _with_zeros(g, node.out)
            for parent, part in _parts(node, g, lift):
                if type(parent) is not Leaf:
                    if parent in pending:  # as `_send` does
                        pending[parent] = pending[parent] + part
                    else:
                        pending[parent] = part
                        heappush(heap, (-parent.time, parent))
                elif targets is None or parent in stops:
                    arrived[parent] = _arriving(arrived.get(parent), part, g, node, lift)
            if watching is not None:
                watching.walked(node, g, pending, arrived)
        if not retain:
            node.free()
    if targets is None:
        _run_leaf_hooks(arrived)
    return arrived


def _run_leaf_hooks(arrived: dict[Any, Any]) -> None:
    """Replace the cotangents of leaves by what their hooks return; only now is each cotangent complete."""
    for leaf, g in arrived.items():
        if leaf.hooks:
            arrived[leaf] = run_hooks(leaf, g)  # in place, as recorders were given this dict


def _send(node: Node, g: Any, pending: dict[Any, Any], heap: list[tuple[int, Any]]) -> None:
    """Add to the cotangent that is under way to a node."""
    if node in pending:
        pending[node] = pending[node] + g  # not in place: others may hold either array
    else:
        pending[node] = g
        heappush(heap, (-node.time, node))


def _gather(node: Node, g: Any, pending: dict[Any, Any], heap: list[tuple[int, Any]]) -> None:
    """Put the cotangent of one of several results into the list of the operation that returned them."""
    whole: Any = node.parents[0]
    index = node.static["index"]
    if whole not in pending:
        # Its results are counted here, as an earlier walk may have freed them there: the visit says so.
        _send(whole, [None] * len(node.arrays or ()), pending, heap)
    before = pending[whole][index]
    pending[whole][index] = g if before is None else before + g


def _with_zeros(parts: Sequence[Any], outs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the cotangents of several results, with zeros for a result that nothing depends on."""
    return tuple(np.zeros_like(out) if part is None else part for part, out in zip(parts, outs, strict=True))


def _parts(node: Node, g: Any, lift: Lift | None) -> list[tuple[Any, Any]]:
    """Return the parents of a node that a gradient goes to, each with its part of the cotangent ``g``.

    The parts have the shapes and dtypes of the arguments. They are arrays; when ``lift`` is given, they are
    Tensors, and the rules that make them are recorded.
    """
    op, out, static = node.op, node.out, node.static
    arrays: Any = node.arrays
    arguments, joint, parts = arrays, None, []
    try:
        if op.joint is not None:
            joint = _joint_parts(node, g) if lift is None else _formula_parts(node, g, lift)
        elif lift is not None:
            arguments, out = _lifted(node, arrays, lift)
        for position, parent in enumerate(node.parents):
            if parent is None:
                continue
            if joint is not None:
                part = joint[position]
            elif (rule := op.rules[position]) is None:
                continue
            elif op.singular:
                part = _guarded(rule, g, out, arguments, static)
            elif static:
                part = rule(g, out, *arguments, **static)
            else:
                part = rule(g, out, *arguments)  # an empty dict costs a tenth of a call
            if part is None:
                continue
            array = arrays[position]
            if part.shape != array.shape or part.dtype is not array.dtype:
                part = _fit(op, part, array)
            if lift is None and type(part) is not np.ndarray:
                part = np.asarray(part)  # NumPy makes scalars of 0-d results
            parts.append((parent, part))
    except Exception as error:
        error.add_note(f"in the gradient of '{op.name}' of {describe(arrays)}")
        raise
    return parts


def _arriving(before: Any, part: Any, g: Any, node: Node, lift: Lift | None) -> Any:
    """Return the cotangent of a leaf after a part came from a node whose own cotangent was ``g``.

    A gradient that somebody keeps must stay what it is, so nobody else may hold the array that arrives. What
    a joint rule returns is its caller's alone. Any other rule may return ``g`` itself, which others hold too,
    or a view of it or of what the tape holds: of these a copy arrives.
    """
    if before is not None:
        return before + part
    if lift is not None:
        return lift(part.data.copy(), part.origin)
    if part is g or (part.base is not None and node.op.joint is None):
        return part.copy()
    return part


def _joint_parts(node: Node, g: Any) -> Sequence[Any]:
    """Return the cotangents of a fused operation's arguments by its joint rule."""
    assert node.op.joint is not None
    needed = [parent is not None for parent in node.parents]
    parts: Sequence[Any] = node.op.joint(g, needed, node.out, node.saved, *(node.arrays or ()), **node.static)
    return parts


def _guarded(rule: Rule, g: Any, out: Any, arguments: Sequence[Any], static: Mapping[str, Any]) -> Any:
    """Return what the rule of an operation makes of ``g`` where its local derivative may be infinite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return guard(rule(g, out, *arguments, **static), g)


def _lifted(node: Node, arrays: tuple[Any, ...], lift: Lift) -> tuple[tuple[Any, ...], Any]:
    """Return the arguments and the result of a node as Tensors again."""
    arguments = tuple(
        array if parent is None else lift(array, parent)
        for array, parent in zip(arrays, node.parents, strict=True)
    )
    if type(node.out) is tuple:
        return arguments, tuple(
            lift(one, output) for one, output in zip(node.out, node.outputs(), strict=True)
        )
    return arguments, lift(node.out, node)


def _formula_parts(node: Node, g: Any, lift: Lift) -> Sequence[Any]:
    """Return the cotangents of a fused operation's arguments by differentiating its plain formula.

    The joint rule works on arrays alone, so it cannot be recorded. The formula is recorded instead, from
    boundaries under the arguments, and a walk of its own goes back to these.
    """
    assert node.op.formula is not None
    arrays = node.arrays or ()
    boundaries = [
        None if parent is None else boundary(array, parent)
        for array, parent in zip(arrays, node.parents, strict=True)
    ]
    arguments = [
        array if under is None else lift(array, under)
        for array, under in zip(arrays, boundaries, strict=True)
    ]
    out = node.op.formula(*arguments, **node.static)
    if type(out.origin) is not Node:
        return [None] * len(arrays)
    targets = [under for under in boundaries if under is not None]
    arrived = walk([(out.origin, g)], targets=targets, lift=lift, retain=True)
    return [arrived.get(under) for under in boundaries]


def guard(part: Any, g: Any) -> Any:
    """Return ``part`` with 0 where a cotangent of 0 met a local derivative that is not finite.

    So the branch that ``where`` did not choose cannot poison the one that it did. A finite local derivative
    is never touched, so second derivatives stay right. Applied only to operations declared ``singular``.
    """
    if np.all(np.isfinite(part)):
        return part
    return np.where((g == 0) & ~np.isfinite(part), 0, part)


def _fit(op: Op, part: Any, array: Any) -> Any:
    """Return a cotangent in the shape and dtype of its argument."""
    if part.shape != array.shape:
        if not op.broadcasts:
            raise ValueError(
                f"the gradient rule of '{op.name}' returned shape {part.shape} for an argument of shape "
                f"{array.shape}; a rule returns the shape of its argument"
            )
        part = unbroadcast(part, array.shape)
    return part if part.dtype == array.dtype else part.astype(array.dtype)


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum ``g`` down to ``shape``: the transpose of NumPy's broadcasting."""
    extra = g.ndim - len(shape)  # axes that broadcasting put in front
    axes = tuple(range(extra)) + tuple(
        axis + extra for axis, size in enumerate(shape) if size == 1 and g.shape[axis + extra] != 1
    )
    return np.reshape(np.sum(g, axis=axes), shape)
