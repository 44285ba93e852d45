"""Reverse mode: ``grad``, ``value_and_grad`` and ``vjp``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten, unflatten
from tinygrad_mnist.transforms.trace import Trace, as_tensor, matched, positions_of, trace

Argnums = int | Sequence[int]


def value_and_grad(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """A function that returns the value of ``f`` and its gradient.

    Parameters
    ----------
    f : callable
        A function of arrays or Tensors, written in NumPy, that returns a scalar.
    argnums : int or sequence of int
        Which positional arguments to differentiate: each an array, or arrays in nested dicts, lists and
        (named) tuples.
    has_aux : bool
        Whether ``f`` returns ``(scalar, aux)``, of which only the first is differentiated.

    Returns
    -------
    callable
        ``(value, gradient)`` of the same arguments, or ``((value, aux), gradient)``. The gradient has the
        structure of the argument; for several ``argnums`` it is a tuple of them. On arrays these are arrays;
        on Tensors, Tensors that are on the tape. What ``f`` does not use gets zeros.

    Raises
    ------
    TypeError
        If an argument to be differentiated is no floating-point array, or ``f`` returns no scalar.

    Examples
    --------
    >>> import numpy as np
    >>> value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    (array(5.), array([2., 4.]))
    >>> value_and_grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 3.0})
    (array(6.), {'a': array(3.), 'b': array(2.)})
    """
    return _evaluated(f, argnums, has_aux, "value_and_grad")


def _evaluated(f: Callable[..., Any], argnums: Argnums, has_aux: bool, transform: str) -> Callable[..., Any]:
    """Value and gradient, for the transform that errors are to speak of."""

    @wraps(f)
    def evaluate(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        positions = positions_of(argnums, len(args))
        traced = trace(f, args, kwargs, positions, transform, has_aux)
        ones = np.ones_like(_scalar(traced, transform).data)
        gradients = traced.pull([Tensor(ones) if traced.lifted else ones], retain=False)
        parts = traced.grouped([traced.shown(gradient) for gradient in gradients])
        value = traced.results(traced.outs)
        single = isinstance(argnums, (int, np.integer))
        return (value, traced.aux) if has_aux else value, parts[0] if single else tuple(parts)

    return evaluate


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of ``f``, or ``(gradient, aux)``; see :func:`value_and_grad`.

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
    """:func:`grad`, as a part of ``transform``, of which errors are to speak."""
    evaluate = _evaluated(f, argnums, has_aux, transform)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, parts = evaluate(*args, **kwargs)
        return (parts, value[1]) if has_aux else parts

    return gradient


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of ``f``, and a function that multiplies its Jacobian by a vector from the left.

    Parameters
    ----------
    f : callable
        A function of arrays, alone or in nested dicts, lists and tuples, that returns such.
    *primals : array_like, or trees of them
        Where to differentiate.
    has_aux : bool
        Whether ``f`` returns ``(result, aux)``.

    Returns
    -------
    out : array, Tensor, or a tree of them
        ``f(*primals)``.
    pullback : callable
        Takes a cotangent in the structure and shapes of ``out``, and returns a tuple with one cotangent a
        primal. It can be called any number of times.
    aux : object
        With ``has_aux`` only.

    Examples
    --------
    >>> import numpy as np
    >>> out, pullback = vjp(lambda x, y: x * np.sin(y), 2.0, 0.0)
    >>> out, pullback(1.0)
    (array(0.), (array(0.), array(2.)))
    """
    traced = trace(f, _copied(primals), {}, range(len(primals)), "vjp", has_aux)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        cotangents = matched(cotangent, traced.out_structure, traced.outs, "the cotangent")
        if traced.lifted:
            cotangents = [as_tensor(c) for c in cotangents]
        parts = traced.pull(cotangents, retain=True)
        return tuple(traced.grouped([as_tensor(part) for part in parts] if traced.given else parts))

    out = traced.results(traced.outs)
    return (out, pullback, traced.aux) if has_aux else (out, pullback)


def _copied(primals: Any) -> Any:
    """With copies of arrays: the pullback must not notice what is written into the caller's later."""
    leaves, structure = flatten(primals)
    return unflatten(structure, (leaf.copy() if isinstance(leaf, np.ndarray) else leaf for leaf in leaves))


def _scalar(traced: Trace, transform: str) -> Tensor:
    """The one number that a function to be differentiated returns."""
    if len(traced.outs) != 1 or traced.outs[0].size != 1 or traced.outs[0].dtype.kind != "f":
        returned = ", ".join(f"shape {out.shape} and dtype {out.dtype}" for out in traced.outs) or "nothing"
        raise TypeError(
            f"{transform} differentiates a function that returns one floating-point number; this one "
            f"returned {returned}"
        )
    return traced.outs[0]
