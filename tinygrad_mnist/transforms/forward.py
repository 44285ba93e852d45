"""Forward mode: ``jvp`` and ``hvp``. Tangents are pushed along the tape, from the oldest node to the newest.

It is the mirror image of the walk back, and needs no rules of its own. A function is recorded once; the
tangent of each node follows from the kind of its operation, by the table `_TANGENT_OF_KIND`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.dtypes import float_dtype, has_nan
from tinygrad_mnist.engine.errors import describe, plain_array, raise_freed
from tinygrad_mnist.engine.observe import Muted, observed_by, recorder, tracer
from tinygrad_mnist.engine.reach import (
    Reach,
    both,
    broadcast_reach,
    joined,
    kept,
    narrowed,
    probe,
    reach_of_probe,
    reach_of_seed,
)
from tinygrad_mnist.engine.shards import agreed, made
from tinygrad_mnist.engine.tape import Node, boundary, one_of
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.engine.walk import Pass, lifted
from tinygrad_mnist.transforms.reverse import gradient_of
from tinygrad_mnist.transforms.trace import as_array, as_tensor, matching_leaves, origin_node, taped, trace


def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """Return the value of ``f``, and its Jacobian multiplied by a vector from the right.

    Parameters
    ----------
    f : callable
        A function of arrays, alone or in nested dicts, lists and tuples, that returns such.
    primals : tuple or list
        The arguments of ``f``, at which it is differentiated.
    tangents : tuple or list
        The direction, in the structure and shapes of the primals.
    has_aux : bool
        Whether ``f`` returns ``(result, aux)``.

    Returns
    -------
    out : array, Tensor, or a tree of them
        ``f(*primals)``.
    tangent_out : array, Tensor, or a tree of them
        The derivative of ``out`` in that direction; zeros where ``f`` does not depend on its arguments. On
        arrays these are arrays; on Tensors, or where ``f`` uses a Tensor that requires a gradient, Tensors
        that are on the tape.
    aux : object
        Only with ``has_aux``.

    Raises
    ------
    TypeError
        If a primal is no floating-point array, or primals and tangents differ in structure.
    ValueError
        If a tangent has another shape than its primal.

    Examples
    --------
    >>> import numpy as np
    >>> jvp(lambda x: x * np.sin(x), (0.0,), (1.0,))
    (array(0.), array(0.))
    >>> jvp(np.matmul, (np.eye(2), np.array([1.0, 2.0])), (np.ones((2, 2)), np.array([0.0, 1.0])))
    (array([1., 2.]), array([3., 4.]))
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError(
            "jvp expects primals and tangents as tuples or lists of arguments, as in jvp(f, (x,), (v,)); got "
            f"{type(primals).__name__} and {type(tangents).__name__}"
        )
    traced = trace(f, primals, {}, range(len(primals)), "jvp", has_aux)
    vectors = matching_leaves(list(tangents), traced.structures, traced.primals, "the tangent")
    on_tensors = any(isinstance(vector, Tensor) for vector in vectors)
    # The derivative by the direction is wanted, too, if that is a Tensor: as for the primals, the results are
    # then Tensors on the caller's tape.
    traced.tensors_given = traced.tensors_given or on_tensors
    traced.on_tape = traced.on_tape or (traced.caller_records and on_tensors)
    vectors = [as_tensor(vector) if traced.on_tape else as_array(vector) for vector in vectors]
    with taped():
        order = in_time_order(traced.origins, traced.boundaries)
        starts = dict(zip(traced.boundaries, vectors, strict=True))
        arrived = push(starts, order, traced.origins, traced.on_tape)
    moved = [
        _zero_tangent(out) if tangent is None else tangent
        for out, tangent in zip(traced.outs, arrived, strict=True)
    ]
    out, tangent_out = traced.results(traced.outs), traced.results(moved)
    return (out, tangent_out, traced.aux) if has_aux else (out, tangent_out)


def _zero_tangent(out: Tensor) -> Any:
    return np.zeros(out.shape, float_dtype(out.dtype))


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Return the Hessian of a scalar function multiplied by a vector, without computing the Hessian.

    It is the forward mode of the gradient, at a few times the cost of a gradient.

    Parameters
    ----------
    f : callable
        A function of arrays, alone or in nested dicts, lists and tuples, that returns a scalar.
    primals : tuple or list
        The arguments of ``f``, at which it is differentiated.
    tangents : tuple or list
        The vector, in the structure and shapes of the primals.

    Returns
    -------
    array, Tensor, or a tree of them
        The derivative of the gradient in that direction, in the structure of the primal; if there are
        several, a tuple with one for each.

    References
    ----------
    Pearlmutter (1994), "Fast exact multiplication by the Hessian", Neural Computation 6.

    Examples
    --------
    >>> import numpy as np
    >>> hvp(lambda x: np.sum(x**3), (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    array([6., 0.])
    """
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(gradient_of(f, argnums, False, "hvp"), primals, tangents)[1]


# ---- tangents along the tape -----------------------------------------------------------------------------


def in_time_order(origins: Iterable[Node | None], boundaries: Iterable[Node]) -> list[Node]:
    """Return the nodes between boundaries and results, the oldest first."""
    stops = set(boundaries)
    oldest = min((node.time for node in stops), default=0)
    waiting = [origin for origin in origins if origin is not None and origin.time >= oldest]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node in stops:
            continue
        if node.arrays is None:
            raise_freed(node.op.name)
        for parent in node.parents:
            if type(parent) is Node and parent not in seen and parent.time >= oldest:
                seen.add(parent)
                waiting.append(parent)
    return sorted(seen - stops, key=lambda node: node.time)


def push(
    tangents: Mapping[Node, Any], order: Sequence[Node], origins: Sequence[Node | None], record: bool
) -> list[Any]:
    """Push tangents along the tape, and return those of its results.

    As in a walk back, a second and careful pass follows if NaN arrives, or if the pass is recorded: nothing
    comes from what was not chosen.

    Parameters
    ----------
    tangents : mapping
        The tangents to start with, by Node: arrays, or Tensors with ``record``. Exact zeros in them are left
        out of the derivative.
    order : sequence of Node
        The nodes to pass, from `in_time_order`.
    origins : sequence of Node or None
        The nodes of the results.
    record : bool
        Whether the rules run on Tensors, so that they are recorded.

    Returns
    -------
    list
        The tangent of each result, in its shape and dtype; None for one that does not depend on those to
        start with.
    """
    watching = recorder.get()
    careful, told, exchanges = record, watching is not None, made.count
    if watching is not None and watching.tracer is not None:  # there are no values to be careful with
        arrived, _ = Push(record, careful=False).along(tangents, order)
        watching.tracer.watch(arrived[origin] for origin in origins if origin in arrived)
        return [None if origin is None else arrived.get(origin) for origin in origins]
    if not record:
        with observed_by(None):
            arrived, _ = Push(record=False, careful=False).along(tangents, order)
        careful = any(has_nan(arrived[origin]) for origin in origins if origin in arrived)
        careful, told = agreed(exchanges, careful, told)
    if careful or told:
        with np.errstate(all="ignore") if careful else nullcontext():
            arrived, _ = Push(record, careful).along(tangents, order)
    return [None if origin is None else arrived.get(origin) for origin in origins]


@dataclass(frozen=True, slots=True)
class Push:
    """One pass of tangents along a tape, and along the tapes of the checkpoints and fused formulae on it.

    Attributes
    ----------
    record : bool
        Whether the rules run on Tensors and are recorded.
    careful : bool
        Whether reach is carried beside tangents (see `engine.reach`).
    """

    record: bool
    careful: bool

    def along(
        self, tangents: Mapping[Node, Any], order: Sequence[Node], reaches: Mapping[Node, Reach] | None = None
    ) -> tuple[dict[Any, Any], dict[Any, Reach]]:
        """Pass the nodes of ``order``; return the tangent of each, and how far it reaches.

        ``reaches`` are those of the tangents; when absent, a user gave these, and their zeros are no part of
        them.
        """
        arrived: dict[Any, Any] = dict(tangents)
        reached: dict[Any, Reach] = {}
        if self.careful:
            reached |= (
                {node: reach_of_seed(part) for node, part in tangents.items()} if reaches is None else reaches
            )
        watching = recorder.get()
        # A recorder is told the tangents, not the operations by which the rules compute them.
        with observed_by(None if watching is None else Muted(watching)):
            for node in order:
                parts = [arrived.get(parent) for parent in node.parents]
                if all(part is None for part in parts):
                    continue
                try:
                    tangent, reach = self._tangent(node, parts, [reached.get(p) for p in node.parents])
                except Exception as error:
                    error.add_note(f"in the tangent of '{node.op.name}' of {describe(node.arrays or ())}")
                    raise
                if tangent is not None:
                    arrived[node], reached[node] = tangent, reach
                    if watching is not None:
                        watching.pushed(node, tangent)
        return arrived, reached

    def _tangent(self, node: Node, parts: Sequence[Any], reaches: Sequence[Reach]) -> tuple[Any, Reach]:
        """Return the tangent of a node's result from those of its arguments, and how far it reaches.

        ``parts`` are the tangents of the arguments: None for an argument that does not change. Of several
        results the tangents are a tuple.
        """
        op = node.op
        if op is one_of:
            index = node.static["index"]
            return parts[0][index], None if reaches[0] is None else reaches[0][index]
        arguments: Any = node.arrays
        out = node.out
        if self.record:
            arguments, out = lifted(node, _lift)
        several = type(node.out) is tuple
        if op.nested_jvp is not None:
            tangent, reach = op.nested_jvp(self.along, parts, reaches, out, *arguments, **node.static)
        else:
            # The shortcut for elementwise operations needs one result: a cotangent, in its rule, is one array
            # then.
            kind = "general" if several and op.kind == "elementwise" else op.kind
            tangent, reach = _TANGENT_OF_KIND[kind](self, node, parts, reaches, arguments, out)
        if tangent is None:
            return None, None
        if several:
            fitted = tuple(_fitted(part, one) for part, one in zip(tangent, node.out, strict=True))
            return fitted, reach
        return _fitted(tangent, node.out), reach


def _elementwise_tangent(
    pass_: Push,
    node: Node,
    parts: Sequence[Any],
    reaches: Sequence[Reach],
    arguments: Sequence[Any],
    out: Any,
) -> tuple[Any, Reach]:
    """Return the sum over the arguments of tangent times local derivative.

    The gradient rule of an elementwise operation multiplies the cotangent by the local derivative. A tangent
    is multiplied by the same, so the rule serves both modes.
    """
    total, reached = None, None
    for position, part in enumerate(parts):
        rule = node.op.rules[position]
        if part is None or rule is None:
            continue
        with (
            np.errstate(divide="ignore", invalid="ignore", over="ignore")
            if node.op.singular
            else nullcontext()
        ):
            term = rule(_fitted(part, node.out), out, *arguments, **node.static)  # broadcast, as the argument
        reach = None
        if pass_.careful:
            reach = broadcast_reach(reaches[position], node.out.shape)
            if node.op.chooses:
                there = reach_of_probe(
                    rule(probe(reach, node.out), node.out, *(node.arrays or ()), **node.static)
                )
                reach = both(there, reach)
            term = kept(term, reach)
        total, reached = (term, reach) if total is None else (total + term, joined(reached, reach))
    return total, reached


def _linear_tangent(
    pass_: Push,
    node: Node,
    parts: Sequence[Any],
    reaches: Sequence[Reach],
    arguments: Sequence[Any],
    out: Any,
) -> tuple[Any, Reach]:
    """Return the operation itself, applied to the tangents: a linear function is its own derivative.

    An argument without a rule, such as the condition of ``where``, is no part of the linear function and
    stays.
    """
    arrays = node.arrays or ()

    def applied(tangents: Sequence[Any], arguments: Sequence[Any]) -> Any:
        if node.op.jvp is not None:
            return node.op.jvp(tangents, node.out, *arguments, **node.static)
        moved = [
            argument if node.op.rules[i] is None else _zeros(array) if tangent is None else tangent
            for i, (tangent, argument, array) in enumerate(zip(tangents, arguments, arrays, strict=True))
        ]
        return node.op(*moved, **node.static)

    if not pass_.careful:
        return applied(parts, arguments), None
    probes = [
        None if part is None else probe(reach, array)
        for part, reach, array in zip(parts, reaches, arrays, strict=True)
    ]
    return applied(parts, arguments), reach_of_probe(applied(probes, arrays))


def _multilinear_tangent(
    pass_: Push,
    node: Node,
    parts: Sequence[Any],
    reaches: Sequence[Reach],
    arguments: Sequence[Any],
    out: Any,
) -> tuple[Any, Reach]:
    """Return the sum over the arguments of the operation with that argument replaced by its tangent.

    It is the product rule: d(x y) = dx y + x dy.
    """
    total, reached = None, None
    for position, part in enumerate(parts):
        if part is None:
            continue
        others, reach = arguments, None
        if reaches[position] is not None:
            others, reach = _meeting(node, position, reaches[position], arguments)
        term = node.op(*others[:position], part, *others[position + 1 :], **node.static)
        term = kept(term, reach)
        total, reached = (term, reach) if total is None else (total + term, joined(reached, reach))
    return total, reached


def _meeting(
    node: Node, position: int, reach: Reach, arguments: Sequence[Any]
) -> tuple[Sequence[Any], Reach]:
    """Return the arguments with zeros where they meet nothing of a tangent but what is out of its reach.

    And return how far the product reaches. A product sums over terms: one whose tangent is out of reach must
    not bring NaN into the sum.
    """
    op, arrays, static = node.op, node.arrays or (), node.static
    probes = [np.ones_like(array) for array in arrays]
    probes[position] = probe(reach, arrays[position])
    others = [
        argument
        if i == position or (rule := op.rules[i]) is None
        else kept(
            argument,
            narrowed(reach_of_probe(rule(np.ones_like(node.out), node.out, *probes, **static)), array.shape),
        )
        for i, (argument, array) in enumerate(zip(arguments, arrays, strict=True))
    ]
    return others, reach_of_probe(op(*probes, **static))


def _fused_tangent(
    pass_: Push,
    node: Node,
    parts: Sequence[Any],
    reaches: Sequence[Reach],
    arguments: Sequence[Any],
    out: Any,
) -> tuple[Any, Reach]:
    """Record the plain formula, and return what comes out of pushing the tangents along its tape."""
    assert node.op.formula is not None
    seeds, starts, given = {}, {}, list(arguments)
    for position, part in enumerate(parts):
        if part is not None:
            array = (node.arrays or ())[position]
            start = boundary(array, node.parents[position] if pass_.record else None)
            given[position], seeds[start], starts[start] = _lift(array, start), part, reaches[position]
    result = node.op.formula(*given, **node.static)
    results = result if isinstance(result, tuple) else (result,)
    origins = [origin_node(one) for one in results]
    arrived, reached = pass_.along(seeds, in_time_order(origins, seeds), starts)
    tangents = tuple(arrived.get(origin) for origin in origins)
    reach = tuple(reached.get(origin) for origin in origins)
    return (tangents, reach) if isinstance(result, tuple) else (tangents[0], reach[0])


def _transposed_tangent(
    pass_: Push,
    node: Node,
    parts: Sequence[Any],
    reaches: Sequence[Reach],
    arguments: Sequence[Any],
    out: Any,
) -> tuple[Any, Reach]:
    """Return the tangent by the gradient rules alone: the transpose of the transposed Jacobian.

    A rule multiplies a cotangent ``g`` by the transposed Jacobian, so it is linear in ``g``. It is recorded
    with a ``g`` of ones (any values would do, as a linear function has the same derivative everywhere), and
    its tape is walked back from the result of the rule to ``g``: that multiplies the tangent by the Jacobian
    itself.

    References
    ----------
    Townsend (2017), "A new trick for calculating Jacobian vector products".
    """
    several = type(node.out) is tuple
    ones = [np.ones(one.shape, one.dtype) for one in (node.out if several else (node.out,))]
    starts = [boundary(one) for one in ones]
    cotangents = tuple(_lift(one, start) for one, start in zip(ones, starts, strict=True))
    g = cotangents if several else cotangents[0]
    seeds, seed_reaches = [], []
    for position, part in enumerate(parts):
        rule = node.op.rules[position]
        if part is None or rule is None:
            continue
        with np.errstate(all="ignore"):  # the values of the rule on ones do not matter
            ruled = rule(g, out, *arguments, **node.static)
        if isinstance(ruled, Tensor) and (origin := origin_node(ruled)) is not None:
            seeds.append((origin, _fitted(part, ruled)))
            seed_reaches.append(broadcast_reach(reaches[position], ruled.shape))
    tracing = tracer()
    kind = Pass if tracing is None else tracing.kind_of_pass
    arrived, reached, _ = kind(_lift, pass_.record, pass_.careful).over(seeds, starts, seed_reaches)
    tangents = tuple(arrived.get(start) for start in starts)
    reach = tuple(reached.get(start) for start in starts)
    return (tangents, reach) if several else (tangents[0], reach[0])


_TANGENT_OF_KIND: Final[dict[str, Callable[..., tuple[Any, Reach]]]] = {
    "elementwise": _elementwise_tangent,
    "linear": _linear_tangent,
    "multilinear": _multilinear_tangent,
    "fused": _fused_tangent,
    "general": _transposed_tangent,
}
"""The forward rule of each kind of operation; ``constant`` is missing, for it is never on the tape."""


def _zeros(array: Any) -> Any:
    return np.zeros_like(array) if hasattr(array, "dtype") else type(array)(0)


def _fitted(part: Any, like: Any) -> Any:
    """Return a tangent in the shape and dtype of what it belongs to; of None, zeros."""
    if part is None:
        part = np.zeros(like.shape, like.dtype)
    elif not isinstance(part, (np.ndarray, Tensor)):
        part = plain_array(part)  # NumPy makes scalars of 0-d results
    if part.dtype != like.dtype:
        part = part.astype(like.dtype)
    return part if part.shape == like.shape else np.broadcast_to(part, like.shape)
