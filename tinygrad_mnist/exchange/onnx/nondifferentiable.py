"""Converters of NumPy functions whose results need no gradient: positions, tests, counts, rounding.

They are no operations of the registry; they stand in the table under the name of the function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import Expression
from tinygrad_mnist.exchange.onnx.reduction import ordered
from tinygrad_mnist.exchange.onnx.sizes import Size
from tinygrad_mnist.exchange.onnx.table import CONVERTERS, converts

_COMPARED = {"float32": np.float32, "float64": np.float64, "int32": np.int32}
"""The dtype in which positions of the largest element are found; onnxruntime knows few. Narrower ones are
found in float32, which holds all their numbers, and wider integers by a test of equality."""


def _keeps(keepdims: Any) -> bool:
    """Return whether reduced axes are kept; NumPy's mark of an option that is not given is true in Python."""
    return keepdims is not np._NoValue and bool(keepdims)


def _where_extreme(build: Builder, a: Value, kind: str, axis: int) -> Value:
    """Return 1 where wide integers equal the largest or smallest along an axis, and 0 elsewhere."""
    numbers = ordered(Expression(build, a if a.dtype.itemsize == 8 else build.cast(a, np.int64)))
    extreme = numbers.node(kind.replace("Arg", "Reduce"), Expression(build, build.indices(axis)), keepdims=1)
    return numbers.equals(extreme).cast(np.int32).value


def _position(kind: str) -> Any:
    """Return the converter of a function that finds the first place of the largest or smallest element."""

    def convert(
        build: Builder, a: Value, axis: int | None = None, keepdims: bool = False, **rest: Any
    ) -> Value:
        shape = a.shape or ()
        x = build.node("Reshape", a, build.indices(-1)) if axis is None else a
        where = 0 if axis is None else normalize_axis_index(axis, len(shape))
        if x.dtype.name in ("uint32", "int64", "uint64"):
            tests = _where_extreme(build, x, kind, where)
            found = build.node("ArgMax", tests, dtype=np.int64, axis=where, keepdims=int(_keeps(keepdims)))
        else:
            x = build.cast(x, _COMPARED.get(x.dtype.name, np.float32))
            found = build.node(kind, x, dtype=np.int64, axis=where, keepdims=int(_keeps(keepdims)))
        return build.reshape(found, build.results[0].shape) if axis is None else found

    return convert


CONVERTERS.update({"argmax": _position("ArgMax"), "argmin": _position("ArgMin")})


def _sum_of_tests(build: Builder, tests: Value, ndim: int, axis: Any, keepdims: Any) -> Value:
    """Return how many of some booleans are true along axes."""
    axes = range(ndim) if axis is None else normalize_axis_tuple(axis, ndim)
    numbers = build.cast(tests, np.int64)
    keep = int(_keeps(keepdims))
    return build.node("ReduceSum", numbers, build.indices(*axes), keepdims=keep) if ndim else numbers


@converts("any")
def is_any(build: Builder, a: Value, axis: Any = None, keepdims: Any = False) -> Value:
    """Return whether an element along the axes is not 0."""
    count = _sum_of_tests(build, build.cast(a, np.bool_), len(a.shape or ()), axis, keepdims)
    return build.node("Greater", count, build.constant(0, np.int64), dtype=np.bool_)


@converts("all")
def are_all(build: Builder, a: Value, axis: Any = None, keepdims: Any = False) -> Value:
    """Return whether no element along the axes is 0."""
    zeros = build.node("Not", build.cast(a, np.bool_))
    count = _sum_of_tests(build, zeros, len(a.shape or ()), axis, keepdims)
    return build.node("Equal", count, build.constant(0, np.int64), dtype=np.bool_)


@converts("count_nonzero")
def count_nonzero(build: Builder, a: Value, axis: Any = None, keepdims: Any = False) -> Value:
    """Return how many elements along the axes are not 0."""
    return _sum_of_tests(build, build.cast(a, np.bool_), len(a.shape or ()), axis, keepdims)


@converts("round", "around")
def rounded(build: Builder, a: Value, decimals: int | Size = 0) -> Value:
    """Return the nearest numbers of so many decimals, of two the even one; integers stay as they are."""
    if a.dtype.kind != "f" and decimals == 0:
        return a
    if isinstance(decimals, Size) or a.dtype.kind != "f":
        raise build.refuse("only floats are rounded, to a fixed number of decimals")
    x = build.cast(a, np.float32) if a.dtype == np.float16 else a
    if decimals == 0:
        return build.node("Round", x)
    scale = build.constant(10.0 ** abs(decimals), x.dtype)
    there, back = ("Mul", "Div") if decimals > 0 else ("Div", "Mul")
    scaled = build.node(there, x, scale)
    if a.dtype == np.float16:  # NumPy rounds to float16 here, too
        scaled = build.cast(build.cast(scaled, np.float16), np.float32)
    return build.node(back, build.node("Round", scaled), scale)
