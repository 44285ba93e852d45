"""Reverse mode: ``grad``, ``value_and_grad`` and ``vjp``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten, unflatten
from tinygrad_mnist.transforms.trace import Trace, argument_positions, as_tensor, matching_leaves, trace

Argnums = int | Sequence[int]


def value_and_grad(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """Return a function that computes the value of ``f`` and its gradient.

    Parameters
    ----------
    f : callable
        A function of arrays or Tensors, written in NumPy, that returns a scalar.
    argnums : int or sequence of int
        The positional arguments to differentiate by: each an array, or arrays in nested dicts, lists and
        (named) tuples.
    has_aux : bool
        Whether ``f`` returns ``(scalar, aux)``, of which only the first is differentiated.

    Returns
    -------
    callable
        It takes the same arguments and returns ``(value, gradient)``, or ``((value, aux), gradient)``. The
        gradient has the structure of the argument; for several ``argnums`` it is a tuple of them. Of arrays
        these are arrays; of Tensors, or where ``f`` uses a Tensor that requires a gradient, Tensors that are
        on the tape. An argument that ``f`` does not use has a
        gradient of zeros.

    Raises
    ------
    TypeError
        When called, if an argument to differentiate by is no floating-point array, or ``f`` returns no
        scalar.

    Examples
    --------
    >>> import numpy as np
    >>> value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    (array(5.), array([2., 4.]))
    >>> value_and_grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 3.0})
    (array(6.), {'a': array(3.), 'b': array(2.)})
    """
    return _value_and_grad(f, argnums, has_aux, "value_and_grad")


def _value_and_grad(
    f: Callable[..., Any], argnums: Argnums, has_aux: bool, transform: str
) -> Callable[..., Any]:
    """Return `value_and_grad` of ``f``; errors name the transform that it is a part of."""

    @wraps(f)
    def evaluate(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        positions = argument_positions(argnums, len(args))
        traced = trace(f, args, kwargs, positions, transform, has_aux)
        ones = np.ones_like(_scalar(traced, transform).data)
        gradients = traced.pull_back([Tensor(ones) if traced.on_tape else ones], retain=False)
        parts = traced.as_arguments([traced.as_result(gradient) for gradient in gradients])
        value = traced.results(traced.outs)
        single = isinstance(argnums, (int, np.integer))
        return (value, traced.aux) if has_aux else value, parts[0] if single else tuple(parts)

    return evaluate


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Return a function that computes the gradient of ``f``, or ``(gradient, aux)``; see `value_and_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> grad(np.sin)(0.0)
    array(1.)
    >>> grad(grad(lambda x: x**3))(2.0)
    array(12.)
    >>> grad(lambda x: 5.0)(2.0)
    array(0.)
    """
    return gradient_of(f, argnums, has_aux, "grad")


def gradient_of(f: Callable[..., Any], argnums: Argnums, has_aux: bool, transform: str) -> Callable[..., Any]:
    """Return :func:`grad` of ``f``; errors name the transform that it is a part of."""
    evaluate = _value_and_grad(f, argnums, has_aux, transform)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, parts = evaluate(*args, **kwargs)
        return (parts, value[1]) if has_aux else parts

    return gradient


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Return the value of ``f``, and a function that multiplies its Jacobian by a vector from the left.

    Parameters
    ----------
    f : callable
        A function of arrays, alone or in nested dicts, lists and tuples, that returns such.
    *primals : array_like, or trees of them
        The arguments of ``f``, at which it is differentiated.
    has_aux : bool
        Whether ``f`` returns ``(result, aux)``.

    Returns
    -------
    out : array, Tensor, or a tree of them
        ``f(*primals)``.
    pullback : callable
        It takes a cotangent in the structure and shapes of ``out``, and returns a tuple with a cotangent for
        each primal. It can be called any number of times.
    aux : object
        Only with ``has_aux``.

    Examples
    --------
    >>> import numpy as np
    >>> out, pullback = vjp(lambda x, y: x * np.sin(y), 2.0, 0.0)
    >>> out, pullback(1.0)
    (array(0.), (array(0.), array(2.)))
    """
    traced = trace(f, _copied(primals), {}, range(len(primals)), "vjp", has_aux)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        cotangents = matching_leaves(cotangent, traced.out_structure, traced.outs, "the cotangent")
        if traced.on_tape:
            cotangents = [as_tensor(c) for c in cotangents]
        parts = traced.pull_back(cotangents, retain=True)
        return tuple(
            traced.as_arguments([as_tensor(part) for part in parts] if traced.tensors_given else parts)
        )

    out = traced.results(traced.outs)
    return (out, pullback, traced.aux) if has_aux else (out, pullback)


def _copied(primals: Any) -> Any:
    """Return a tree with copies of its arrays: later writes into them must not change the pullback."""
    leaves, structure = flatten(primals)
    return unflatten(structure, (leaf.copy() if isinstance(leaf, np.ndarray) else leaf for leaf in leaves))


def _scalar(traced: Trace, transform: str) -> Tensor:
    """Return the one number that a function returned; raise if it returned anything else."""
    if len(traced.outs) != 1 or traced.outs[0].size != 1 or not is_float(traced.outs[0]):
        returned = ", ".join(f"shape {out.shape} and dtype {out.dtype}" for out in traced.outs) or "nothing"
        raise TypeError(
            f"{transform} differentiates a function that returns one floating-point number; this one "
            f"returned {returned}"
        )
    return traced.outs[0]
