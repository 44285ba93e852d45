"""Methods of NumPy's ufuncs on Tensors: ``np.add.reduce``, ``np.multiply.accumulate``, ``np.hypot.outer``.

This file is imported last: it gives ``outer`` to every ufunc that has been declared before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.op import FUNCTIONS, UFUNCS, UNSUPPORTED

REDUCTIONS: Final[dict[np.ufunc, Callable[..., Any]]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}
LOGICAL: Final = (np.logical_and, np.logical_or)
ACCUMULATIONS: Final[dict[np.ufunc, Callable[..., Any]]] = {np.add: np.cumsum, np.multiply: np.cumprod}


def _reduce(ufunc: np.ufunc, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reduction as the method of a ufunc, whose axis is 0 by default, not all."""

    def reduce(array: Any, axis: Any = 0, *, keepdims: bool = False, initial: Any = np._NoValue) -> Any:
        is_given = initial is not None and initial is not np._NoValue
        options = {"initial": initial} if is_given and ufunc not in LOGICAL else {}
        out = function(array, axis=axis, keepdims=keepdims, **options)
        if initial is None and out.size and not array.size:
            raise ValueError(f"{ufunc.__name__}.reduce: no elements and initial=None; give another initial=")
        return ufunc(out, bool(initial)) if is_given and ufunc in LOGICAL else out

    return reduce


def _accumulate(ufunc: np.ufunc, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an accumulation as the method of a ufunc, along one axis."""

    def accumulate(array: Any, axis: Any = 0) -> Any:
        axes = tuple(range(array.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        if len(axes) != 1 or not array.ndim:
            raise ValueError(
                f"{ufunc.__name__}.accumulate: axis={axis} was given for shape {array.shape}; expected one"
            )
        return function(array, axis=axes[0])

    return accumulate


def _outer(ufunc: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method that combines every element of one array with every element of another."""

    def outer(a: Any, b: Any) -> Any:
        return ufunc(np.reshape(a, (*np.shape(a), *(1,) * np.ndim(b))), b)

    return outer


for _ufunc, _function in REDUCTIONS.items():
    FUNCTIONS[_ufunc.reduce] = _reduce(_ufunc, _function)
for _ufunc, _function in ACCUMULATIONS.items():
    FUNCTIONS[_ufunc.accumulate] = _accumulate(_ufunc, _function)

ADVICE: Final = {
    "reduce": "reduce by np.sum, np.prod, np.max or np.min",
    "accumulate": "accumulate by np.cumsum or np.cumprod",
    "reduceat": "split (np.split) and reduce each part",
    "at": "add at positions with np.bincount(positions, weights)",
}
"""What to use instead of a method that a ufunc does not have on Tensors."""
for _ufunc in {ufunc for ufunc in vars(np).values() if isinstance(ufunc, np.ufunc)}:
    if _ufunc.nin == 2 and _ufunc.signature is None and (_ufunc in UFUNCS or _ufunc in FUNCTIONS):
        FUNCTIONS[_ufunc.outer] = _outer(_ufunc)
    for _method, _advice in ADVICE.items():
        if getattr(_ufunc, _method) not in FUNCTIONS:
            UNSUPPORTED[f"{_ufunc.__name__}.{_method}"] = _advice
