"""Calls of what is outside, between the loops of a program: an exchange between processes, say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_mnist.compiler import lowering
from tinygrad_mnist.compiler.symbols import as_symbol
from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.tensor import Tensor, _wrapped


def call_outside(function: Callable[..., Any], *values: Any) -> Any:
    """Return what a function of arrays makes of some values, also in a jitted function, at each call.

    A program is cut there: what comes before is computed, the function is called with arrays, and what comes
    after goes on with its results. Calls keep their order, and none is left out.

    Parameters
    ----------
    function : callable
        It takes arrays, which it may keep, and returns as many of the same shapes and dtypes; one for one.
        One that has a method ``refuse`` is an exchange with other processes. It keeps none of its arrays, and
        what it returns need hold until its next call only. If
        a condition of the program does not hold in a process, that calls ``refuse(*arrays)`` there, and
        ``function`` raises `Refused` in the others. Then all of them run the call as it is.
    *values : Tensor or ndarray
        What it is given. No gradient goes through it.

    Returns
    -------
    Tensor, or a tuple of them
        The results.

    Raises
    ------
    ValueError
        If a result has another shape or dtype than its value.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor, jit
    >>> from tinygrad_mnist.compiler.outside import call_outside
    >>> seen = []
    >>> def note(array):
    ...     seen.append(array.sum())
    ...     return array
    >>> f = jit(lambda x: call_outside(note, x * 2) + 1)
    >>> f(np.ones(2)), f(np.ones(3)), f(np.full(2, 5.0))
    (Tensor([3., 3.]), Tensor([3., 3., 3.]), Tensor([11., 11.]))
    >>> [float(total) for total in seen]
    [4.0, 6.0, 20.0]
    """
    tracing, refuse = tracer(), getattr(function, "refuse", None)
    if tracing is None:
        arrays = [
            value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value) for value in values
        ]
        results = _checked(function, function(*arrays), arrays)
        return _wrapped(results[0]) if len(values) == 1 else tuple(map(_wrapped, results))
    symbols = [as_symbol(tracing.symbol(value)) for value in values]
    likes = [np.broadcast_to(np.zeros((), one.dtype), one.shape) for one in symbols]

    looks = [(one.shape, one.dtype) for one in symbols]
    known: Any = ()  # results of an earlier call, where they are the same arrays each time

    def run(*arrays: Any) -> Any:
        nonlocal known
        results = function(*arrays)
        if results is known:
            return results
        for one, look in zip(results if len(looks) > 1 else (results,), looks, strict=True):
            if type(one) is not np.ndarray or (one.shape, one.dtype) != look:
                checked = _checked(function, results, arrays)
                return checked if len(looks) > 1 else checked[0]
        if refuse is not None and type(results) is tuple:
            known = results
        return results

    name = f"call {getattr(function, '__name__', 'outside')}"
    if refuse is None:
        made = lowering.outside(tracing, name, run, symbols, {})
    else:
        made = lowering.outside(tracing, name, run, symbols, {}, partial(refuse, *likes))
    tensors = tuple(map(_wrapped, made))
    for tensor in tensors:
        tracing.note_tensor(tensor)
    return tensors[0] if len(values) == 1 else tensors


def _checked(function: Callable[..., Any], results: Any, arrays: Any) -> list[Any]:
    """Return the results of a function as arrays; raise if one does not look as the array it stands for."""
    found = [np.asarray(one) for one in (results if len(arrays) > 1 else (results,))]
    looks = [(one.shape, one.dtype) for one in found]
    wanted = [(np.shape(one), np.asarray(one).dtype) for one in arrays]
    if looks != wanted:
        raise ValueError(
            f"{getattr(function, '__name__', 'a function')} returned {looks}; expected {wanted}, the shapes "
            "and dtypes that it was given"
        )
    return found
