"""Forward mode: ``jvp`` and ``hvp``. Tangents are pushed along the tape, from the oldest node to the newest.

It is the mirror image of the walk back, and needs no rules of its own. A function is recorded once; the
tangent of each node follows from the kind of its operation, by the table `_TANGENT_OF_KIND`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.engine.dtypes import float_dtype
from tinygrad_mnist.engine.errors import describe, raise_freed
from tinygrad_mnist.engine.observe import Muted, observed_by, recorder
from tinygrad_mnist.engine.tape import Lift, Node, _lifted, boundary, guard, one_of, walk
from tinygrad_mnist.engine.tensor import Tensor, _lift
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
        arrays these are arrays; on Tensors, Tensors that are on the tape.
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
    lift: Lift | None = _lift if traced.on_tape else None
    vectors = [as_tensor(vector) if traced.on_tape else as_array(vector) for vector in vectors]
    with taped():
        order = in_time_order(traced.origins, traced.boundaries)
        arrived = push(dict(zip(traced.boundaries, vectors, strict=True)), order, lift)
    moved = [
        _zero_tangent(out) if (tangent := arrived.get(origin)) is None else tangent
        for out, origin in zip(traced.outs, traced.origins, strict=True)
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


def push(tangents: Mapping[Node, Any], order: Sequence[Node], lift: Lift | None) -> dict[Any, Any]:
    """Push tangents along the tape.

    Parameters
    ----------
    tangents : mapping
        The tangents to start with, by Node: arrays, or Tensors if ``lift`` is given.
    order : sequence of Node
        The nodes to pass, from `in_time_order`.
    lift : callable, optional
        Makes Tensors of what is on the tape, so that the rules themselves are recorded.

    Returns
    -------
    dict
        The tangents by Node, in the shape and dtype of the node's result. A node that does not depend on
        those to start with is absent.
    """
    arrived: dict[Any, Any] = dict(tangents)
    watching = recorder.get()
    # A recorder is told the tangents, not the operations by which the rules compute them.
    with observed_by(None if watching is None else Muted(watching)):
        for node in order:
            parts = [arrived.get(parent) for parent in node.parents]
            if all(part is None for part in parts):
                continue
            try:
                tangent = _tangent(node, parts, lift)
            except Exception as error:
                error.add_note(f"in the tangent of '{node.op.name}' of {describe(node.arrays or ())}")
                raise
            if tangent is not None:
                arrived[node] = tangent
                if watching is not None:
                    watching.pushed(node, tangent)
    return arrived


def _tangent(node: Node, parts: Sequence[Any], lift: Lift | None) -> Any:
    """Return the tangent of a node's result (a tuple, if there are several) from those of its arguments.

    ``parts`` are the tangents of the arguments: None for an argument that does not change.
    """
    op = node.op
    if op is one_of:
        return parts[0][node.static["index"]]
    arguments: Any = node.arrays
    out = node.out
    if lift is not None:
        arguments, out = _lifted(node, arguments, lift)
    several = type(node.out) is tuple
    if op.jvp is not None:
        tangent = op.jvp(parts, out, *arguments, **node.static)
    else:
        # The shortcut for elementwise operations needs one result: a cotangent, in its rule, is one array
        # then.
        kind = "general" if several and op.kind == "elementwise" else op.kind
        tangent = _TANGENT_OF_KIND[kind](node, parts, arguments, out, lift)
    if tangent is None:
        return None
    if several:
        return tuple(_fitted(part, one) for part, one in zip(tangent, node.out, strict=True))
    return _fitted(tangent, node.out)


def _elementwise_tangent(
    node: Node, parts: Sequence[Any], arguments: Sequence[Any], out: Any, lift: Lift | None
) -> Any:
    """Return the sum over the arguments of tangent times local derivative.

    The gradient rule of an elementwise operation multiplies the cotangent by the local derivative. A tangent
    is multiplied by the same, so the rule serves both modes.
    """
    total = None
    for position, part in enumerate(parts):
        rule = node.op.rules[position]
        if part is None or rule is None:
            continue
        part = _fitted(part, node.out)  # broadcast, as the argument was
        if node.op.singular:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                part = guard(rule(part, out, *arguments, **node.static), part)
        else:
            part = rule(part, out, *arguments, **node.static)
        total = part if total is None else total + part
    return total


def _linear_tangent(
    node: Node, parts: Sequence[Any], arguments: Sequence[Any], out: Any, lift: Lift | None
) -> Any:
    """Return the operation itself, applied to the tangents: a linear function is its own derivative.

    An argument without a rule, such as the condition of ``where``, is no part of the linear function and
    stays.
    """
    tangents = [
        argument if node.op.rules[position] is None else _zeros(array) if part is None else part
        for position, (part, argument, array) in enumerate(
            zip(parts, arguments, node.arrays or (), strict=True)
        )
    ]
    return node.op(*tangents, **node.static)


def _multilinear_tangent(
    node: Node, parts: Sequence[Any], arguments: Sequence[Any], out: Any, lift: Lift | None
) -> Any:
    """Return the sum over the arguments of the operation with that argument replaced by its tangent.

    It is the product rule: d(x y) = dx y + x dy.
    """
    total: Any = None
    for position, part in enumerate(parts):
        if part is None:
            continue
        replaced = [*arguments[:position], part, *arguments[position + 1 :]]
        term = node.op(*replaced, **node.static)
        if total is None:
            total = term
        elif isinstance(term, tuple):
            total = tuple(a + b for a, b in zip(total, term, strict=True))
        else:
            total = total + term
    return total


def _fused_tangent(
    node: Node, parts: Sequence[Any], arguments: Sequence[Any], out: Any, lift: Lift | None
) -> Any:
    """Record the plain formula, and return what comes out of pushing the tangents along its tape."""
    assert node.op.formula is not None
    seeds, given = {}, list(arguments)
    for position, part in enumerate(parts):
        if part is not None:
            array = (node.arrays or ())[position]
            start = boundary(array, node.parents[position] if lift is not None else None)
            given[position], seeds[start] = _lift(array, start), part
    result = node.op.formula(*given, **node.static)
    results = result if isinstance(result, tuple) else (result,)
    origins = [origin_node(one) for one in results]
    arrived = push(seeds, in_time_order(origins, seeds), lift)
    tangents = tuple(arrived.get(origin) for origin in origins)
    return tangents if isinstance(result, tuple) else tangents[0]


def _transposed_tangent(
    node: Node, parts: Sequence[Any], arguments: Sequence[Any], out: Any, lift: Lift | None
) -> Any:
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
    seeds = []
    for position, part in enumerate(parts):
        rule = node.op.rules[position]
        if part is None or rule is None:
            continue
        # The values of the rule on ones do not matter, so neither does what they overflow to.
        with np.errstate(all="ignore" if node.op.singular else None):
            ruled = rule(g, out, *arguments, **node.static)
        if isinstance(ruled, Tensor) and (origin := origin_node(ruled)) is not None:
            seeds.append((origin, _fitted(part, ruled)))
    arrived = walk(seeds, targets=starts, lift=lift, retain=lift is not None)
    tangents = tuple(arrived.get(start) for start in starts)
    return tangents if several else tangents[0]


_TANGENT_OF_KIND = {
    "elementwise": _elementwise_tangent,
    "linear": _linear_tangent,
    "multilinear": _multilinear_tangent,
    "fused": _fused_tangent,
    "general": _transposed_tangent,
}
"""The forward rule of each kind of operation; ``constant`` is missing, for it is never on the tape."""


def _zeros(array: Any) -> Any:
    return np.zeros_like(array) if isinstance(array, np.ndarray) else type(array)(0)


def _fitted(part: Any, like: Any) -> Any:
    """Return a tangent in the shape and dtype of what it belongs to; of None, zeros."""
    if part is None:
        part = np.zeros(like.shape, like.dtype)
    elif not isinstance(part, (np.ndarray, Tensor)):
        part = np.asarray(part)  # NumPy makes scalars of 0-d results
    if part.dtype != like.dtype:
        part = part.astype(like.dtype)
    return part if part.shape == like.shape else np.broadcast_to(part, like.shape)
