"""Converters of elementwise operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.table import CONVERTERS, converts

_OPERATORS: Final = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "negative": "Neg",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "absolute": "Abs",
}
"""Operations that are one operator of ONNX, in the dtype of the result."""


def _operator(kind: str) -> Callable[..., Value]:
    """Return the converter of an operation that is one operator: ONNX wants all in one dtype."""

    def convert(build: Builder, *arguments: Value) -> Value:
        dtype = build.results[0].dtype
        return build.node(kind, *(build.cast(each, dtype) for each in arguments))

    return convert


CONVERTERS.update({name: _operator(kind) for name, kind in _OPERATORS.items()})


@converts("astype")
def astype(build: Builder, x: Value, **static: Any) -> Value:
    """Return a cast."""
    return build.cast(x, build.results[0].dtype)
