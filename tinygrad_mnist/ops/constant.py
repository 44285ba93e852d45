"""NumPy functions whose result rightly needs no gradient: positions, counts, tests, shapes.

They run on the values, and what is an array comes back as a Tensor that requires no gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.dispatch import raise_unsupported_option
from tinygrad_mnist.engine.errors import check_dtype
from tinygrad_mnist.engine.op import CONSTANTS, FUNCTIONS, constant

PIECEWISE_CONSTANT: Final = (
    # positions and orders
    np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort, np.argpartition, np.lexsort, np.argwhere,
    np.nonzero, np.flatnonzero, np.searchsorted, np.digitize,
    np.ravel_multi_index, np.unravel_index, np.diag_indices_from, np.tril_indices_from, np.triu_indices_from,
    # counts, tests, signs, steps
    np.count_nonzero, np.all, np.any, np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isin,
    np.isneginf, np.isposinf, np.isreal, np.iscomplex, np.isrealobj, np.iscomplexobj,
    np.round, np.around, np.fix, np.angle, np.imag, np.packbits, np.unpackbits,
    np.linalg.matrix_rank,
    # what is said of an array, not of its values
    np.shape, np.ndim, np.size, np.result_type, np.common_type, np.can_cast, np.min_scalar_type,
    np.shares_memory, np.may_share_memory, np.einsum_path, np.array_repr, np.array_str, np.array2string,
    np.zeros_like, np.ones_like, np.empty_like,
)  # fmt: skip
"""NumPy functions that are constant between jumps, or do not look at the values."""


def values_of(argument: Any) -> Any:
    """An argument with the arrays of Tensors in their place."""
    if hasattr(argument, "__apply_op__"):
        return argument.data
    if type(argument) in (list, tuple):
        return type(argument)(values_of(part) for part in argument)
    return argument


def _as_tensors(result: Any, name: str) -> Any:
    """A result of NumPy with Tensors in the place of arrays."""
    from tinygrad_mnist.engine.tensor import Tensor

    if isinstance(result, tuple):
        return tuple(_as_tensors(part, name) for part in result)
    if isinstance(result, (np.ndarray, np.generic)):
        return Tensor(check_dtype(np.asarray(result), name))
    return result


@cache
def _place_of_out(function: Callable[..., Any]) -> int | None:
    """At which position ``out`` may be given; looked up at the first call, since that takes a while."""
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:
        return None  # written in C, in an older NumPy; none of those takes it
    return names.index("out") if "out" in names else None


def _on_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` on the values of Tensors, its result a Tensor."""
    name = function.__name__

    def run(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        place = _place_of_out(function)
        if out is not None or (place is not None and any(arg is not None for arg in args[place:][:1])):
            raise_unsupported_option(name, "out")
        result = function(*map(values_of, args), **{key: values_of(value) for key, value in kwargs.items()})
        return _as_tensors(result, name)

    return run


for _function in PIECEWISE_CONSTANT:
    FUNCTIONS[_function] = _on_values(_function)
    CONSTANTS.add(_function)

constant(
    np.sign, np.signbit, np.floor, np.ceil, np.trunc, np.rint, np.floor_divide, np.spacing,
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.isfinite, np.isinf, np.isnan,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.bitwise_count, np.invert,
    np.left_shift, np.right_shift, np.gcd, np.lcm, np.isnat,
)  # fmt: skip
