"""NumPy functions whose result rightly needs no gradient: positions, counts, tests, shapes.

They run on the values, and what is an array comes back as a Tensor that requires no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.op import FUNCTIONS


def _values(argument: Any) -> Any:
    """An argument with the arrays of Tensors in their place."""
    if hasattr(argument, "__apply_op__"):
        return argument.data
    if isinstance(argument, (list, tuple)):
        return type(argument)(_values(part) for part in argument)
    return argument


def _on_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` on the values of Tensors, its result a Tensor."""
    from tinygrad_mnist.tensor import Tensor

    def run(*args: Any, **kwargs: Any) -> Any:
        out = function(*map(_values, args), **{key: _values(value) for key, value in kwargs.items()})
        return Tensor(out) if isinstance(out, (np.ndarray, np.generic)) else out

    return run


for _function in (
    np.argmax, np.argmin, np.argsort, np.nonzero, np.count_nonzero, np.searchsorted,
    np.round, np.around, np.fix, np.all, np.any, np.isclose, np.allclose, np.array_equal,
    np.shape, np.ndim, np.size, np.result_type, np.zeros_like, np.ones_like, np.full_like, np.empty_like,
):  # fmt: skip
    FUNCTIONS[_function] = _on_values(_function)
