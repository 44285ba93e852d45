"""Checks of what a user gives, and the errors they raise: dtypes, stale tapes, assignments through views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float, is_real
from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.other_libraries import known, taken, taken_weight
from tinygrad_mnist.engine.shards import ExchangeFailure


def describe(arrays: Sequence[Any]) -> str:
    """Return dtypes and shapes of arguments for an error: ``float64 (3, 4), float64 (5,), 2.0``."""
    return ", ".join(
        f"{a.dtype} {a.shape}"
        if hasattr(a, "dtype") and hasattr(a, "shape")
        else f"[{describe(a)}]"
        if isinstance(a, (list, tuple))
        else repr(a)
        for a in arrays
    )


def error_with_context(error: Exception, name: str, arrays: Sequence[Any]) -> Exception:
    """Return an error of NumPy's as one that names the operation and its arguments."""
    if isinstance(error, ExchangeFailure):
        return error
    kinds: tuple[type[Exception], ...] = (
        np.linalg.LinAlgError, np.exceptions.AxisError, IndexError, ValueError, TypeError,
    )  # fmt: skip
    kind = next(kind for kind in kinds if isinstance(error, kind))
    # NumPy begins some messages with the function's name, which would stand there twice.
    message = str(error).removeprefix(f"{name}: ").removeprefix(f"{name.split('.')[-1]}: ")
    return kind(f"{name}: {message} (arguments: {describe(arrays)})")


@contextmanager
def error_context(name: str, args: Sequence[Any]) -> Iterator[None]:
    """Add the operation and its arguments to a ValueError or IndexError that is raised inside."""
    try:
        yield
    except (ValueError, IndexError) as error:
        if "(arguments: " in str(error):  # an operation inside has said it already
            raise
        raise error_with_context(error, name, args) from error


def as_array(value: Any) -> Any:
    """Return ``np.asarray(value)``; raise for arrays that a Tensor cannot hold, by their class or dtype."""
    if type(value) is np.ndarray:
        return known(value)
    check_array_class(type(value))
    return plain_array(value)


def weight_array(value: Any) -> Any:
    """Return an entry of a state dict as `as_array` does, without its gradient, and bfloat16 as float32."""
    check_array_class(type(value))
    _tell(value)
    return taken_weight(value)


def plain_array(value: Any) -> Any:
    """Return ``np.asarray(value)``; a symbol, which stands for an array while tracing, as it is."""
    if getattr(value, "is_symbol", False):
        return value
    _tell(value)
    return taken(value)


def _tell(value: Any) -> None:
    """Let a call that is traced know of a value that no operation has seen."""
    if (tracing := tracer()) is not None:
        tracing.taken_in(value)


def check_array_class(kind: type) -> None:
    """Raise for a masked array (its mask would be lost) and a matrix (its ``*`` is a matrix product)."""
    if issubclass(kind, np.ma.MaskedArray):
        raise TypeError("a Tensor cannot take in a masked array; fill it first (array.filled(value))")
    if issubclass(kind, np.matrix):
        raise TypeError(
            "a Tensor cannot take in an np.matrix, whose * is a matrix product and a Tensor's is not; "
            "convert it with np.asarray(matrix), and multiply by @"
        )


def check_dtype(array: Any, name: str) -> Any:
    """Return the array; raise if it holds anything but real numbers and booleans."""
    if not is_real(known(array)):
        raise TypeError(
            f"{name} was given dtype {array.dtype}; expected real numbers or booleans: complex numbers, "
            "objects and strings are not supported"
        )
    return array


def raise_freed(name: str) -> NoReturn:
    """Raise a RuntimeError for a walk that met a part of the tape that an earlier walk has freed."""
    raise RuntimeError(
        f"backward met '{name}' on a part of the tape that an earlier backward has freed; call that backward "
        "with retain_graph=True, or compute the result again"
    )


def check_not_stale(node: Any) -> None:
    """Raise if a leaf that a node was computed from was written to after the node recorded it."""
    for parent, array in zip(node.parents, node.arrays, strict=True):
        if getattr(parent, "written", 0) > node.time:
            name = f"parameter '{parent.name}'" if parent.name else "a Tensor"
            raise RuntimeError(
                f"{name} of shape {array.shape} was changed (by an optimiser, by '.data =' or in its memory, "
                f"as mark_written() says) after '{node.op.name}' recorded it, so this backward would mix old "
                "and new values; compute the result again after the change"
            )


def check_assignable(data: Any, origin: Any, operator: str, value: Any) -> None:
    """Raise if a Tensor cannot be assigned to: a leaf that requires a gradient, or a view of another.

    Parameters
    ----------
    data : ndarray
        Its values.
    origin : Node, Leaf or None
        Where it came from.
    operator : str
        What assigns, such as ``-=``; ``=`` for an assignment to an index.
    value : object
        What is assigned.
    """
    if hasattr(origin, "grad"):
        name = f"parameter '{origin.name}'" if origin.name else "a Tensor"
        target = "w[i]" if operator == "=" else "w"
        v = "v.data" if getattr(value, "requires_grad", False) else "v"
        raise TypeError(
            f"{name} of shape {data.shape} requires a gradient, so `{target} {operator} v` cannot change it, "
            f"not even under no_grad; write `{target.replace('w', 'w.data')} {operator} {v}` to change the "
            "values without a gradient, or change a copy (w.copy())"
        )
    # NumPy would write through a view into the array behind it; here that array would silently keep its
    # values. A view is read-only if nothing recorded it (see `apply`); of a recorded one, the arguments tell.
    arrays = getattr(origin, "arrays", None)
    if data.base is None or (arrays is not None and origin.op.name == "identity"):
        return
    is_view = not data.flags.writeable if arrays is None else any(_shares(data, array) for array in arrays)
    if is_view:
        symbol = operator.removesuffix("=") or "+"
        how = "an index, a reshape or another view" if origin is None else f"'{origin.op.name}'"
        raise TypeError(
            f"a Tensor of shape {data.shape} was made by {how} and cannot be assigned to, as NumPy would "
            f"write into the array behind it; assign to that one, as in t[i] = t[i] {symbol} v for "
            f"t[i] {symbol}= v (where t is a parameter or another leaf, t.data[i] {symbol}= v), or to a copy "
            "(.copy())"
        )


def _shares(data: Any, array: Any) -> bool:
    return isinstance(array, np.ndarray) and np.may_share_memory(data, array)


def check_in_place(data: Any, result: Any) -> None:
    """Raise if an in-place operation would change the shape of a Tensor, or the kind of its dtype."""
    if result.shape != data.shape:
        raise ValueError(f"a Tensor of shape {data.shape} cannot become one of shape {result.shape} in place")
    if not np.can_cast(result.dtype, data.dtype, "same_kind"):
        raise TypeError(f"a Tensor of dtype {data.dtype} cannot become one of {result.dtype} in place")


def check_data(data: Any, origin: Any, array: Any) -> None:
    """Raise if ``array`` cannot become the ``.data`` of a Tensor of ``data`` that came from ``origin``."""
    if array.shape != data.shape:
        raise ValueError(f".data of shape {data.shape} was given shape {array.shape}; shapes must agree")
    if hasattr(origin, "op"):
        raise RuntimeError(
            f"the values of a result of '{origin.op.name}' cannot be replaced, as its tape would no longer "
            "describe them; use .detach() first"
        )
    if origin is not None and not is_float(array):
        raise TypeError(f"a Tensor that requires a gradient was given dtype {array.dtype}; expected floats")
