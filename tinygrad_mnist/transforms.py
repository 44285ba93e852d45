"""Functions of functions: ``grad`` and ``value_and_grad``.

They nest: what they return is on the tape when what they were given is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.tape import Node, identity, recording, walk
from tinygrad_mnist.tensor import Tensor, _lift


def value_and_grad(
    f: Callable[..., Any], argnums: int | tuple[int, ...] = 0
) -> Callable[..., tuple[Any, Any]]:
    """A function that returns the value of ``f`` and its gradient.

    Parameters
    ----------
    f : callable
        A function of arrays or Tensors, written in NumPy, that returns a scalar.
    argnums : int or tuple of int
        Which positional arguments to differentiate.

    Returns
    -------
    callable
        ``(value, gradient)`` of the same arguments; for several ``argnums`` a tuple of gradients. On arrays
        these are arrays; on Tensors, Tensors that are on the tape.

    Raises
    ------
    TypeError
        If an argument to be differentiated is no floating-point array, or ``f`` returns no scalar.

    Examples
    --------
    >>> import numpy as np
    >>> value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    (array(5.), array([2., 4.]))
    """
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(f)
    def evaluate(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        arguments = list(args)
        boundaries = []
        for position in positions:
            if not -len(args) <= position < len(args):
                raise TypeError(f"argnums={argnums} was given, but {len(args)} positional arguments")
            arguments[position], boundary = _boundary(args[position], position)
            boundaries.append(boundary)
        token = recording.set(True)
        try:
            out = f(*arguments, **kwargs)
            if not isinstance(out, Tensor):
                out = Tensor(out)
            if out.size != 1 or out.dtype.kind != "f":
                raise TypeError(
                    "grad differentiates a function that returns one floating-point number; this one "
                    f"returned shape {out.shape} and dtype {out.dtype}"
                )
            given = any(isinstance(args[position], Tensor) for position in positions)
            lifted = given or _uses_outer_tape(out.origin, boundaries)
            ones = np.ones_like(out.data)
            if type(out.origin) is not Node:
                arrived = {}
            elif lifted:
                arrived = walk([(out.origin, Tensor(ones))], targets=boundaries, lift=_lift, retain=True)
            else:
                parts = walk([(out.origin, ones)], targets=boundaries)
                arrived = {node: np.array(part) for node, part in parts.items()}  # nobody else's; no view
        finally:
            recording.reset(token)
        gradients = tuple(
            arrived[node] if node in arrived else _zeros(args[position], lifted)
            for node, position in zip(boundaries, positions, strict=True)
        )
        value = out if lifted else out.data
        return value, gradients[0] if isinstance(argnums, int) else gradients

    return evaluate


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the gradient of ``f``; see :func:`value_and_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> grad(np.sin)(0.0)
    array(1.)
    >>> grad(grad(lambda x: x**3))(2.0)
    array(12.)
    """

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        return value_and_grad(f, argnums)(*args, **kwargs)[1]

    return gradient


def _boundary(argument: Any, position: int) -> tuple[Tensor, Node]:
    """The argument under a new node, where the walk will stop; connected to the argument's own tape."""
    data = argument.data if isinstance(argument, Tensor) else np.asarray(argument)
    if data.dtype.kind != "f":
        raise TypeError(
            f"grad was given dtype {data.dtype} for argument {position}; it differentiates floats only, so "
            "convert it first, as in np.asarray(x, float)"
        )
    parent = argument.origin if isinstance(argument, Tensor) else None
    node = Node(identity, (data,), data, None, (parent,), {})
    return _lift(data, node), node


def _uses_outer_tape(origin: Any, boundaries: list[Node]) -> bool:
    """Whether a result also depends on nodes older than the boundaries: on what an outer transform made."""
    oldest = min(node.time for node in boundaries)
    seen = {origin}
    waiting = [origin]
    while waiting:
        node = waiting.pop()
        if type(node) is not Node or node in boundaries:
            continue
        if node.time < oldest:
            return True
        new = [parent for parent in node.parents if parent is not None and parent not in seen]
        seen.update(new)
        waiting.extend(new)
    return False


def _zeros(argument: Any, lifted: bool) -> Any:
    zeros = np.zeros_like(argument.data if isinstance(argument, Tensor) else np.asarray(argument))
    return Tensor(zeros) if lifted else zeros
