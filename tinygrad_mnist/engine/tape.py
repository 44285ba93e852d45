"""The tape: a record of what was computed.

A :class:`Node` remembers one operation that was applied; its parents are the nodes that made its arguments,
or a :class:`Leaf` where an argument is a Tensor that a user made and wants the gradient of. Nodes point
backwards only, so a tape dies with its output, without the garbage collector. What walks back over it is in
`engine.walk`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from itertools import count
from typing import Any

from tinygrad_mnist.engine.decorators import FunctionDecorator
from tinygrad_mnist.engine.op import Op, Sample, linear

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


def last_write() -> int:
    """Return the time of the last write into the values of any leaf."""
    return _last_write


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
        return [Node(one_of, (self.out,), one, None, (self,), {"index": i}) for i, one in enumerate(self.out)]

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


one_of = Op("one_of", lambda xs, index: xs[index], "linear", samples=(Sample(((2, 3),), {"index": 1}),))
"""One of the results of an operation that returns several; the walk gathers their cotangents into a tuple."""

Lift = Callable[[Any, Any], Any]
"""``lift(array, origin)``: the Tensor of these values that came from ``origin`` (a Node or Leaf)."""
