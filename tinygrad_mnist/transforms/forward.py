"""Forward mode: tangents are pushed along the tape, in the order of time; ``jvp`` and ``hvp``.

The mirror image of the walk: a function is recorded once, and what each node does to tangents follows from
the kind of its operation. An elementwise rule is a product with a local derivative, and so serves both modes;
a linear operation is its own derivative; a multilinear one is the sum over its arguments; any other rule is
linear in the cotangent, and its transpose is the forward rule; a fused operation is its formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.engine.errors import describe, raise_freed
from tinygrad_mnist.engine.observe import Muted, observed_by, recorder
from tinygrad_mnist.engine.tape import Lift, Node, _lifted, boundary, guard, one_of, walk
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.transforms.reverse import gradient_of
from tinygrad_mnist.transforms.trace import as_array, as_tensor, matched, taped, trace


def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """The value of ``f``, and its Jacobian multiplied by a vector from the right.

    Parameters
    ----------
    f : callable
        A function of arrays, alone or in nested dicts, lists and tuples, that returns such.
    primals : tuple or list
        Where to differentiate: the arguments of ``f``.
    tangents : tuple or list
        The direction: in the structure and shapes of the primals.
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
        With ``has_aux`` only.

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
    vectors = matched(list(tangents), traced.structures, traced.primals, "the tangent")
    on_tensors = any(isinstance(vector, Tensor) for vector in vectors)
    traced.given = traced.given or on_tensors
    traced.lifted = traced.lifted or (traced.live and on_tensors)
    lift: Lift | None = _lift if traced.lifted else None
    vectors = [as_tensor(vector) if traced.lifted else as_array(vector) for vector in vectors]
    with taped():
        order = in_time_order(traced.origins, traced.boundaries)
        arrived = push(dict(zip(traced.boundaries, vectors, strict=True)), order, lift)
    moved = [
        np.zeros(out.shape, out.dtype if out.dtype.kind == "f" else float) if arrived.get(origin) is None
        else arrived[origin]
        for out, origin in zip(traced.outs, traced.origins, strict=True)
    ]  # fmt: skip
    out, tangent_out = traced.results(traced.outs), traced.results(moved)
    return (out, tangent_out, traced.aux) if has_aux else (out, tangent_out)


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of a scalar function multiplied by a vector, without the Hessian: forward over reverse.

    Parameters
    ----------
    f : callable
        A function of arrays, alone or in nested dicts, lists and tuples, that returns a scalar.
    primals : tuple or list
        Where to differentiate: the arguments of ``f``.
    tangents : tuple or list
        The vector: in the structure and shapes of the primals.

    Returns
    -------
    array, Tensor, or a tree of them
        The derivative of the gradient in that direction, in the structure of the one primal; a tuple of one a
        primal where there are several.

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
    """The nodes between boundaries and results, the oldest first."""
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
        Where to start: tangent by Node; arrays, or Tensors when ``lift`` is given.
    order : sequence of Node
        The nodes to pass, from `in_time_order`.
    lift : callable, optional
        Rebuilds Tensors from the tape, so that the rules themselves are recorded.

    Returns
    -------
    dict
        Tangent by Node, in the shape and dtype of the node's result; those that nothing moves are absent.
    """
    arrived: dict[Any, Any] = dict(tangents)
    watching = recorder.get()
    with observed_by(None if watching is None else Muted(watching)):  # a rule is judged by what it returns
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
    """The tangent of a node's result (a tuple of them, if it has several), from those of its arguments."""
    op, out = node.op, node.out
    if op is one_of:
        return parts[0][node.static["index"]]
    arguments: Any = node.arrays
    if lift is not None:
        arguments, out = _lifted(node, arguments, lift)
    several = type(node.out) is tuple
    if op.jvp is not None:
        tangent = op.jvp(parts, out, *arguments, **node.static)
    elif op.joint is not None:
        tangent = _of_formula(node, parts, arguments, lift)
    elif op.kind == "elementwise" and not several:
        tangent = _of_elementwise(node, parts, arguments, out)
    elif op.kind == "linear":
        tangent = _of_linear(node, parts, arguments)
    elif op.kind == "multilinear":
        tangent = _of_multilinear(node, parts, arguments)
    else:
        tangent = _transposed(node, parts, arguments, out, lift)
    if tangent is None:
        return None
    if several:
        return tuple(_fitted(part, one) for part, one in zip(tangent, node.out, strict=True))
    return _fitted(tangent, node.out)


def _of_elementwise(node: Node, parts: Sequence[Any], arguments: Sequence[Any], out: Any) -> Any:
    """The sum over the arguments of tangent times local derivative."""
    total = None
    for position, part in enumerate(parts):
        rule = node.op.rules[position]
        if part is None or rule is None:
            continue
        part = _fitted(part, node.out)
        if node.op.singular:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                part = guard(rule(part, out, *arguments, **node.static), part)
        else:
            part = rule(part, out, *arguments, **node.static)
        total = part if total is None else total + part
    return total


def _of_linear(node: Node, parts: Sequence[Any], arguments: Sequence[Any]) -> Any:
    """The operation itself, on tangents; what has no rule (the condition of ``where``) stays as it is."""
    tangents = [
        argument if node.op.rules[position] is None else _zeros(array) if part is None else part
        for position, (part, argument, array) in enumerate(
            zip(parts, arguments, node.arrays or (), strict=True)
        )
    ]
    return node.op(*tangents, **node.static)


def _of_multilinear(node: Node, parts: Sequence[Any], arguments: Sequence[Any]) -> Any:
    """The sum over the arguments of the operation with one of them replaced by its tangent."""
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


def _of_formula(node: Node, parts: Sequence[Any], arguments: Sequence[Any], lift: Lift | None) -> Any:
    """The plain formula of a fused operation, recorded from boundaries under the arguments that move."""
    assert node.op.formula is not None
    seeds, given = {}, list(arguments)
    for position, part in enumerate(parts):
        if part is not None:
            array = (node.arrays or ())[position]
            under = boundary(array, node.parents[position] if lift is not None else None)
            given[position], seeds[under] = _lift(array, under), part
    out = node.op.formula(*given, **node.static)
    outs = out if isinstance(out, tuple) else (out,)
    origins = [one.origin if type(one.origin) is Node else None for one in outs]
    arrived = push(seeds, in_time_order(origins, seeds), lift)
    tangents = tuple(arrived.get(origin) for origin in origins)
    return tangents if isinstance(out, tuple) else tangents[0]


def _transposed(
    node: Node, parts: Sequence[Any], arguments: Sequence[Any], out: Any, lift: Lift | None
) -> Any:
    """A rule is linear in the cotangent ``g``: record it, and walk back from its result to ``g``."""
    several = type(node.out) is tuple
    ones = [np.ones(one.shape, one.dtype) for one in (node.out if several else (node.out,))]
    nodes = [boundary(one) for one in ones]
    cotangents = tuple(_lift(one, under) for one, under in zip(ones, nodes, strict=True))
    g = cotangents if several else cotangents[0]
    seeds = []
    for position, part in enumerate(parts):
        rule = node.op.rules[position]
        if part is None or rule is None:
            continue
        with np.errstate(all="ignore" if node.op.singular else None):
            ruled = rule(g, out, *arguments, **node.static)
        if isinstance(ruled, Tensor) and type(ruled.origin) is Node:
            seeds.append((ruled.origin, _fitted(part, ruled)))
    arrived = walk(seeds, targets=nodes, lift=lift, retain=lift is not None)
    tangents = tuple(arrived.get(under) for under in nodes)
    return tangents if several else tangents[0]


def _zeros(array: Any) -> Any:
    return np.zeros_like(array) if isinstance(array, np.ndarray) else type(array)(0)


def _fitted(part: Any, like: Any) -> Any:
    """A tangent in the shape and dtype of what it belongs to."""
    if part is None:
        part = np.zeros(like.shape, like.dtype)
    elif not isinstance(part, (np.ndarray, Tensor)):
        part = np.asarray(part)  # NumPy makes scalars of 0-d results
    if part.dtype != like.dtype:
        part = part.astype(like.dtype)
    return part if part.shape == like.shape else np.broadcast_to(part, like.shape)
