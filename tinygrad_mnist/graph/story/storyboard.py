"""A storyboard: the backward pass of a small computation, told one operation at a time.

The tape is walked once, by the engine itself, and a listener notes what comes to each operation. What goes
out to each argument is asked of the operation alone, on a twin of its node whose arguments are all different.
So the numbers are the engine's own, and a tensor that is used twice gets two of them, which add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.observe import Recorder, observed_by
from tinygrad_mnist.engine.tape import Node, boundary, one_of, walk
from tinygrad_mnist.graph.data import OPERATION, PARAMETER
from tinygrad_mnist.graph.numbers import argument_text
from tinygrad_mnist.graph.story.board import Quantity, Share, Step, Storyboard
from tinygrad_mnist.graph.story.derivatives import formula
from tinygrad_mnist.graph.story.entries import MOST, Entries
from tinygrad_mnist.graph.story.expressions import called, nested
from tinygrad_mnist.graph.trace import in_time_order, trace

MOST_OPERATIONS: Final = 60

Key = tuple[str, int]
"""A result: the id of its node, and which result there."""


def storyboard(loss: Any, names: Mapping[str, Any] | None = None) -> Storyboard:
    """Tell the backward pass of a small computation, one operation at a time.

    Shows the local derivative, what comes in, what goes out, and how contributions add at a tensor that is
    used twice. Nothing is computed again, ``.grad`` stays as it is, and the tape is kept.

    Parameters
    ----------
    loss : Tensor
        A scalar, before its ``backward()``.
    names : mapping of str to Tensor or ndarray, optional
        What to call arrays and results: ``{"a": a, "e": a * b}``; others get names of their own.

    Returns
    -------
    Storyboard

    Raises
    ------
    ValueError
        If the loss is not a scalar, was not computed from anything that requires a gradient, or by too many
        operations.
    RuntimeError
        If ``backward()`` has freed the tape.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor, graph
    >>> x = Tensor(3.0, requires_grad=True)
    >>> print(graph.storyboard(x * x, {"x": x}).text())
    L = x × x
    <BLANKLINE>
    step 1 of 3: start at the end
      ∂L/∂L = 1
    <BLANKLINE>
    step 2 of 3: L = x × x
      comes in: ∂L/∂L = 1
      to x, as the first of 2 arguments
        local derivative: ∂L/∂x = x = 3
        goes out: 1 × 3 = 3
        The first of 2 contributions to x; they add up.
      to x, as the second of 2 arguments
        local derivative: ∂L/∂x = x = 3
        goes out: 1 × 3 = 3
        in all: 3 + 3 = 6
        It adds to what came to x before. The gradient of x is complete.
    <BLANKLINE>
    step 3 of 3: all gradients are there
      ∂L/∂x = 6
    """
    nodes = _checked(loss)
    listener = _Listener()
    with observed_by(listener):
        arrived = walk([(loss.origin, np.ones_like(loss.data))], retain=True)
    with observed_by(None):
        return _Teller(loss, nodes, dict(names or {})).tell(listener.came, arrived)


def _checked(loss: Any) -> list[Node]:
    """The nodes that led to a loss of which a storyboard can be made."""
    if not hasattr(loss, "origin"):
        raise TypeError(f"a storyboard of a {type(loss).__name__} was asked for; expected a Tensor")
    if loss.size != 1:
        raise ValueError(
            f"a storyboard of a Tensor of shape {loss.shape} was asked for; expected a scalar: reduce it "
            "first (np.sum, np.mean)"
        )
    if type(loss.origin) is not Node:
        raise ValueError(
            "a storyboard of a Tensor without a tape was asked for; expected one that was computed from "
            "something that requires a gradient"
        )
    nodes = in_time_order([loss])
    if len(nodes) > MOST_OPERATIONS:
        raise ValueError(
            f"a storyboard of {len(nodes):,} operations was asked for; expected at most {MOST_OPERATIONS}: "
            "take a smaller computation, or see it as a whole with .graph()"
        )
    return nodes


class _Listener(Recorder):
    """Notes what comes to each node."""

    insides = False

    def __init__(self) -> None:
        self.came: list[tuple[Any, Any]] = []

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        self.came.append((node, g))


@dataclass
class _Contributions:
    """What has come to a result so far."""

    total: Any = None
    count: int = 0


@dataclass
class _Teller:
    """Puts names and numbers to what was walked."""

    loss: Any
    nodes: Sequence[Node]
    names: dict[str, Any]
    ids: dict[Node, str] = field(default_factory=dict)
    called: dict[Key, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = trace(self.loss, names=self.names)
        self.ids = dict(zip(self.nodes, (node.id for node in self.graph.operations), strict=True))
        self.sources: dict[tuple[str, int], Key] = {
            (edge.target, edge.argument): (edge.source, edge.output) for edge in self.graph.edges
        }
        self._call()

    def _call(self) -> None:
        """Give each array and result a name."""
        own = {value.origin: name for name, value in self.names.items() if hasattr(value, "origin")}
        taken = {*self.names, *(node.name for node in self.graph.nodes if node.kind != OPERATION)}
        numbers: Counter[str] = Counter()

        def free(letter: str) -> str:
            while True:
                numbers[letter] += 1
                name = f"{letter}{numbers[letter]}"
                if name not in taken:
                    return name

        for node in self.graph.nodes:
            if node.kind != OPERATION:
                self.called[node.id, 0] = node.name or free("x" if node.kind == PARAMETER else "c")
        for origin, id in self.ids.items():
            if type(origin.out) is tuple:
                known = {
                    one.static["index"]: name
                    for one, name in own.items()
                    if type(one) is Node and one.op is one_of and one.parents[0] is origin
                }
                for index in range(len(origin.out)):
                    self.called[id, index] = known.get(index) or free("v")
            elif origin is self.loss.origin:
                self.called[id, 0] = own.get(origin) or ("L" if "L" not in taken else "loss")
            else:
                self.called[id, 0] = own.get(origin) or free("v")

    def tell(self, came: Sequence[tuple[Node, Any]], arrived: Mapping[Any, Any]) -> Storyboard:
        """Make the steps, and the quantities with what they hold in the end."""
        contributions: dict[Key, _Contributions] = {}
        gradients = {self.ids[node]: _entries(g) for node, g in came}
        steps = [self._step(node, g, contributions) for node, g in came]
        for node in self.nodes:
            for position, parent in enumerate(node.parents):
                if parent in arrived:  # after the hooks of leaves
                    key = self.sources[self.ids[node], position]
                    gradients[key[0]] = Entries.of(arrived[parent])
        quantities = self._quantities(gradients, contributions)
        return Storyboard(
            nested(
                self.graph, self._sides(), {id: node.static for node, id in self.ids.items()}, self.called
            ),
            quantities,
            tuple(
                replace(
                    step,
                    shares=tuple(
                        replace(share, expected=contributions[self._source(step, share)].count)
                        for share in step.shares
                    ),
                )
                for step in steps
            ),
        )

    def _source(self, step: Step, share: Share) -> Key:
        return self.sources[step.quantity, share.argument]

    def _sides(self) -> dict[str, list[str | Key]]:
        """The arguments of each operation: results, and numbers as texts."""
        return {
            id: [
                self.sources.get((id, position), argument_text(array))
                for position, array in enumerate(node.arrays or ())
            ]
            for node, id in self.ids.items()
        }

    def _quantities(
        self, gradients: Mapping[str, Entries], contributions: Mapping[Key, _Contributions]
    ) -> tuple[Quantity, ...]:
        by_id = {id: node for node, id in self.ids.items()}
        sides = self._sides()
        values = self._values()
        quantities = []
        for node in self.graph.nodes:
            keys = [(node.id, index) for index in range(len(node.values))]
            quantity = Quantity(
                node.id,
                ", ".join(self.called[key] for key in keys),
                node.kind,
                node.label if node.kind == OPERATION else "",
                "",
                values[node.id],
                gradient=gradients.get(node.id),
                uses=sum(contributions[key].count for key in keys if key in contributions),
            )
            if node.id in by_id:
                origin = by_id[node.id]
                names = [side if isinstance(side, str) else self.called[side] for side in sides[node.id]]
                quantity = replace(
                    quantity,
                    expression=called(origin.op.name, names, origin.static),
                    takes=tuple(
                        (side[0], position)
                        for position, side in enumerate(sides[node.id])
                        if not isinstance(side, str)
                    ),
                )
            quantities.append(quantity)
        return tuple(quantities)

    def _values(self) -> dict[str, Entries]:
        """What each node of the graph holds, by id."""
        values = {}
        for node, id in self.ids.items():
            values[id] = _entries(node.out)
            for position, array in enumerate(node.arrays or ()):
                source = self.sources.get((id, position))
                if source is not None:
                    values.setdefault(source[0], Entries.of(array))
        return values

    def _step(self, node: Node, g: Any, contributions: dict[Key, _Contributions]) -> Step:
        """What one operation passes on."""
        id = self.ids[node]
        arrays = node.arrays or ()
        names = [
            self.called[self.sources[id, i]] if (id, i) in self.sources else argument_text(array)
            for i, array in enumerate(arrays)
        ]
        locals_ = _locals(node)
        shares = []
        for position, part in enumerate(_parts(node, g)):
            if part is None:
                continue
            key = self.sources[id, position]
            so_far = contributions.setdefault(key, _Contributions())
            before = so_far.total
            so_far.total = part if before is None else before + part
            so_far.count += 1
            local = locals_[position]
            shares.append(
                Share(
                    key[0],
                    self.called[key],
                    position,
                    formula(node.op.name, position, arrays, names, self.called[id, 0]),
                    None if local is None else Entries.of(local),
                    local is not None and np.shape(local) != np.shape(arrays[position]),
                    Entries.of(part),
                    None if before is None else Entries.of(before),
                    Entries.of(so_far.total),
                    so_far.count,
                )
            )
        return Step(id, _entries(g), tuple(shares))


def _entries(values: Any) -> Entries:
    """Of an array, or of all results of an operation that returns several, one after the other."""
    if type(values) is tuple:
        return Entries.of(np.concatenate([np.ravel(value) for value in values]))
    return Entries.of(values)


def _parts(node: Node, g: Any) -> list[Any]:
    """What an operation makes of a cotangent, for each argument by itself; None where nothing goes."""
    arrays = node.arrays or ()
    stands = [
        None if parent is None else boundary(array)
        for array, parent in zip(arrays, node.parents, strict=True)
    ]
    twin = Node(node.op, arrays, node.out, node.saved, tuple(stands), node.static)
    arrived = walk([(twin, g)], targets=[stand for stand in stands if stand is not None], retain=True)
    return [None if stand is None else arrived.get(stand) for stand in stands]


def _locals(node: Node) -> list[Any]:
    """The local derivatives: entry by entry where that is all, else the Jacobians; None where large."""
    out, arrays = node.out, node.arrays or ()
    none = [None] * len(arrays)
    if type(out) is tuple:
        return none
    with np.errstate(all="ignore"):
        by_ones = _parts(node, np.ones_like(out))
        direct = [
            part is not None
            and (out.size == 1 or (node.op.kind == "elementwise" and part.shape == out.shape))
            for part in by_ones
        ]
        small = [part is not None and 0 < part.size * out.size <= MOST for part in by_ones]
        if all(direct) or not any(small):
            return [part if own else None for part, own in zip(by_ones, direct, strict=True)]
        units = np.eye(out.size, dtype=out.dtype).reshape(out.size, *out.shape)
        rows = [_parts(node, unit) for unit in units]
    return [
        by_ones[i] if direct[i] else np.stack([row[i].ravel() for row in rows]) if small[i] else None
        for i in range(len(arrays))
    ]
