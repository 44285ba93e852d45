"""Make a storyboard of a small computation: its backward pass, one operation at a time.

The engine walks the tape once, and a recorder notes the gradient that comes to each operation. Then each
operation is walked by itself, on a copy of its node in which all arguments are different. So all numbers are
the engine's own, and a tensor that is used twice gets two contributions, which add up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.observe import Recorder, also_observed_by, observed_by
from tinygrad_mnist.engine.tape import Node, boundary, one_of
from tinygrad_mnist.engine.tensor import _lift
from tinygrad_mnist.engine.walk import walk
from tinygrad_mnist.graph.data import OPERATION
from tinygrad_mnist.graph.descriptions import argument_text
from tinygrad_mnist.graph.storyboard.data import MOST, Contribution, Entries, Quantity, Step, Storyboard
from tinygrad_mnist.graph.storyboard.formulas import Key, expression, formula, whole_expression
from tinygrad_mnist.graph.trace import in_time_order, trace

MOST_OPERATIONS: Final = 60
"""Operations of the largest computation that a page can still show."""


def storyboard(loss: Any, names: Mapping[str, Any] | None = None) -> Storyboard:
    """Make a storyboard: the backward pass of a small computation, one operation at a time.

    It shows the local derivative, what comes in, what goes out, and how contributions add up at a tensor that
    is used twice. Nothing is computed again, ``.grad`` stays as it is, and the tape is kept.

    Parameters
    ----------
    loss : Tensor
        A scalar, before its ``backward()``.
    names : mapping of str to Tensor or ndarray, optional
        Names for arrays and results: ``{"a": a, "e": a * b}``; others get names of their own.

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
    recorder = _Gradients()
    with also_observed_by(recorder):
        arrived = walk([(loss.origin, np.ones_like(loss.data))], _lift, retain=True)
    with observed_by(None):  # what is computed from here on is no part of the computation
        return _Builder(loss, nodes, dict(names or {})).storyboard(recorder.came, arrived)


def _checked(loss: Any) -> list[Node]:
    """Return the nodes that led to a loss; raise if no storyboard can be made of them."""
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


class _Gradients(Recorder):
    """A recorder of the gradient that comes to each node."""

    enters_checkpoints = False

    def __init__(self) -> None:
        self.came: list[tuple[Any, Any]] = []

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        self.came.append((node, g))


class _Builder:
    """The maker of a storyboard, from what the graph, the tape and the walk know of a computation."""

    def __init__(self, loss: Any, nodes: Sequence[Node], names: dict[str, Any]) -> None:
        self.nodes = nodes
        self.graph = trace(loss, names=names)
        # Both are in the order of creation, so the n-th operation of the graph is the n-th node of the tape.
        self.ids = dict(zip(nodes, (node.id for node in self.graph.operations), strict=True))
        self.sources: dict[tuple[str, int], Key] = {
            (edge.target, edge.argument): (edge.source, edge.output) for edge in self.graph.edges
        }
        self.names = self._names(loss, names)
        # The arguments of each operation: results, and numbers as texts.
        self.arguments: dict[str, list[str | Key]] = {
            id: [
                self.sources.get((id, position), argument_text(array))
                for position, array in enumerate(node.arrays or ())
            ]
            for node, id in self.ids.items()
        }

    def storyboard(self, came: Sequence[tuple[Node, Any]], arrived: Mapping[Any, Any]) -> Storyboard:
        """Make the storyboard, from the gradients that came to operations and arrived at arrays."""
        parts = [_parts(node, g) for node, g in came]
        uses = Counter(
            self.sources[self.ids[node], position]
            for (node, _), of_arguments in zip(came, parts, strict=True)
            for position, part in enumerate(of_arguments)
            if part is not None
        )
        totals: dict[Key, list[Any]] = {}
        steps = [
            Step(self.ids[node], _entries(g), self._contributions(node, of_arguments, totals, uses))
            for (node, g), of_arguments in zip(came, parts, strict=True)
        ]
        gradients = {self.ids[node]: _entries(g) for node, g in came}
        for node in self.nodes:
            for position, parent in enumerate(node.parents):
                if parent in arrived:  # not the sum of contributions: a hook may have changed it
                    gradients[self.sources[self.ids[node], position][0]] = Entries.of(arrived[parent])
        statics = {id: node.static for node, id in self.ids.items()}
        title = whole_expression(self.graph, self.arguments, statics, self.names)
        return Storyboard(title, self._quantities(gradients, uses), tuple(steps))

    def _names(self, loss: Any, given: Mapping[str, Any]) -> dict[Key, str]:
        """Name each array and result: as the user does, else ``x1``, ``c1``, ``v1``; the loss is ``L``."""
        own = {value.origin: name for name, value in given.items() if hasattr(value, "origin")}
        taken = {*given, *(node.name for node in self.graph.nodes if node.kind != OPERATION)}
        free = _free_names(taken)
        names: dict[Key, str] = {}
        for node in self.graph.nodes:
            if node.kind != OPERATION:
                names[node.id, 0] = node.name or free("x" if node.requires_grad else "c")
        for origin, id in self.ids.items():
            if type(origin.out) is tuple:
                known = _names_of_results(origin, own)
                names.update({(id, i): known.get(i) or free("v") for i in range(len(origin.out))})
            elif origin is loss.origin:
                names[id, 0] = own.get(origin) or ("L" if "L" not in taken else "loss")
            else:
                names[id, 0] = own.get(origin) or free("v")
        return names

    def _argument_names(self, id: str) -> list[str]:
        return [one if isinstance(one, str) else self.names[one] for one in self.arguments[id]]

    def _contributions(
        self, node: Node, parts: Sequence[Any], totals: dict[Key, list[Any]], uses: Mapping[Key, int]
    ) -> tuple[Contribution, ...]:
        """Return the contributions of one operation, and add them to the totals.

        ``totals`` holds, for each array and result, the sum after each contribution to it.
        """
        id, arrays = self.ids[node], node.arrays or ()
        names, locals_ = self._argument_names(id), _local_derivatives(node)
        made = []
        for position, part in enumerate(parts):
            if part is None:
                continue
            key = self.sources[id, position]
            sums = totals.setdefault(key, [])
            before = sums[-1] if sums else None
            sums.append(part if before is None else before + part)
            local = locals_[position]
            made.append(
                Contribution(
                    target=key[0],
                    name=self.names[key],
                    argument=position,
                    formula=formula(node.op.name, position, arrays, names, self.names[id, 0]),
                    local=None if local is None else Entries.of(local),
                    jacobian=local is not None and np.shape(local) != np.shape(arrays[position]),
                    part=Entries.of(part),
                    before=None if before is None else Entries.of(before),
                    total=Entries.of(sums[-1]),
                    arrived=len(sums),
                    expected=uses[key],
                )
            )
        return tuple(made)

    def _quantities(self, gradients: Mapping[str, Entries], uses: Mapping[Key, int]) -> tuple[Quantity, ...]:
        """Return all arrays and results, in the order of the graph."""
        origins = {id: node for node, id in self.ids.items()}
        values = self._values()
        quantities = []
        for node in self.graph.nodes:
            keys = [(node.id, index) for index in range(len(node.values))]
            origin = origins.get(node.id)
            quantities.append(
                Quantity(
                    id=node.id,
                    name=", ".join(self.names[key] for key in keys),
                    kind=node.kind,
                    sign="" if origin is None else node.label,
                    expression=(
                        ""
                        if origin is None
                        else expression(origin.op.name, self._argument_names(node.id), origin.static)
                    ),
                    value=values[node.id],
                    takes=tuple(
                        (one[0], position)
                        for position, one in enumerate(self.arguments.get(node.id, ()))
                        if not isinstance(one, str)
                    ),
                    gradient=gradients.get(node.id),
                    uses=sum(uses.get(key, 0) for key in keys),
                )
            )
        return tuple(quantities)

    def _values(self) -> dict[str, Entries]:
        """Return the value of each node of the graph by id: results, and arrays as operations took them."""
        values = {id: _entries(node.out) for node, id in self.ids.items()}
        for node, id in self.ids.items():
            for position, array in enumerate(node.arrays or ()):
                source = self.sources.get((id, position))
                if source is not None:
                    values.setdefault(source[0], Entries.of(array))
        return values


def _names_of_results(origin: Node, own: Mapping[Any, str]) -> dict[int, str]:
    """Return the user's names of the results of an operation that returns several, by their positions.

    A Tensor that is one of several results has a node of its own on the tape, which holds the position.
    """
    return {
        node.static["index"]: name
        for node, name in own.items()
        if type(node) is Node and node.op is one_of and node.parents[0] is origin
    }


def _free_names(taken: Collection[str]) -> Callable[[str], str]:
    """Return what makes up names of a letter and a number that are not taken: ``v1``, ``v2``."""
    numbers: dict[str, Iterator[int]] = defaultdict(lambda: count(1))

    def free(letter: str) -> str:
        return next(name for number in numbers[letter] if (name := f"{letter}{number}") not in taken)

    return free


def _entries(values: Any) -> Entries:
    """Return the entries of an array, or of all results of an operation, one after the other."""
    if type(values) is tuple:
        return Entries.of(np.concatenate([np.ravel(value) for value in values]))
    return Entries.of(values)


def _parts(node: Node, g: Any) -> list[Any]:
    """Return the contribution of an operation to each argument; None where there is none.

    The walk is over a copy of the node whose parents are all different, and not those of the tape. So a
    tensor that is two of the arguments gets two contributions here, and no gradient flows further.
    """
    arrays = node.arrays or ()
    ends = [
        None if parent is None else boundary(array)
        for array, parent in zip(arrays, node.parents, strict=True)
    ]
    copy = Node(node.op, arrays, node.out, node.saved, tuple(ends), node.static)
    arrived = walk([(copy, g)], _lift, targets=[end for end in ends if end is not None], retain=True)
    return [None if end is None else arrived.get(end) for end in ends]


def _local_derivatives(node: Node) -> list[Any]:
    """Return the local derivative by each argument; None where it is large, or none is needed.

    Where each entry of a result depends on one entry of the argument, and for a scalar result, it is what
    arrives if ones come in. Else it is the Jacobian: a row is what arrives if a unit vector comes in.
    """
    out, arrays = node.out, node.arrays or ()
    if type(out) is tuple:
        return [None] * len(arrays)
    with np.errstate(all="ignore"):
        by_ones = _parts(node, np.ones_like(out))
        direct = [
            part is not None
            and (out.size == 1 or (node.op.kind == "elementwise" and part.shape == out.shape))
            for part in by_ones
        ]
        small = [part is not None and 0 < part.size * out.size <= MOST for part in by_ones]
        rows = []
        if any(small) and not all(direct):
            units = np.eye(out.size, dtype=out.dtype).reshape(out.size, *out.shape)
            rows = [_parts(node, unit) for unit in units]
    return [
        part if direct[i] else np.stack([row[i].ravel() for row in rows]) if small[i] else None
        for i, part in enumerate(by_ones)
    ]
