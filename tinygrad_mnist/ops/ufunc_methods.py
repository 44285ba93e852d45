"""Methods of NumPy's ufuncs on Tensors: ``np.add.reduce``, ``np.multiply.accumulate``, ``np.hypot.outer``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tinygrad_mnist.op import FUNCTIONS, REFUSED, UFUNCS

REDUCTIONS: Final[dict[np.ufunc, Callable[..., Any]]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}
ACCUMULATIONS: Final[dict[np.ufunc, Callable[..., Any]]] = {np.add: np.cumsum, np.multiply: np.cumprod}


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction whose axis is 0 unless it is given, as a ufunc's."""

    def reduce(array: Any, axis: Any = 0, *, keepdims: bool = False, initial: Any = None) -> Any:
        options = {} if initial is None else {"initial": initial}
        return function(array, axis=axis, keepdims=keepdims, **options)

    return reduce


def _accumulate(function: Callable[..., Any]) -> Callable[..., Any]:
    def accumulate(array: Any, axis: int = 0) -> Any:
        return function(array, axis=axis)

    return accumulate


def _outer(ufunc: Callable[..., Any]) -> Callable[..., Any]:
    """Every element of the first with every element of the second."""

    def outer(a: Any, b: Any) -> Any:
        return ufunc(np.reshape(a, (*np.shape(a), *(1,) * np.ndim(b))), b)

    return outer


for _ufunc, _function in REDUCTIONS.items():
    FUNCTIONS[_ufunc.reduce] = _reduce(_function)
for _ufunc, _function in ACCUMULATIONS.items():
    FUNCTIONS[_ufunc.accumulate] = _accumulate(_function)

ADVICE: Final = {
    "reduce": "reduce by np.sum, np.prod, np.max or np.min",
    "accumulate": "accumulate by np.cumsum or np.cumprod",
    "reduceat": "split (np.split) and reduce each part",
    "at": "add at positions with np.bincount(positions, weights)",
}
for _ufunc in {ufunc for ufunc in vars(np).values() if isinstance(ufunc, np.ufunc)}:
    if _ufunc.nin == 2 and _ufunc.signature is None and (_ufunc in UFUNCS or _ufunc in FUNCTIONS):
        FUNCTIONS[_ufunc.outer] = _outer(_ufunc)
    for _method, _advice in ADVICE.items():
        if getattr(_ufunc, _method) not in FUNCTIONS:
            REFUSED[f"{_ufunc.__name__}.{_method}"] = _advice
