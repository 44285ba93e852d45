"""Every operation that is written as ONNX as a model: all its sample calls side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tests.ops.samples import call_of, constant_call_of, samples_of
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.exchange.onnx.converters import CONVERTERS

WRITTEN = [name for name in REGISTRY if name in CONVERTERS]

COUNTS = {"ldexp": 1, "left_shift": 1, "right_shift": 1}
"""The position of an argument that has to be a constant."""

LIMITED: dict[str, Callable[..., bool]] = {
    "sinc": lambda x, order: order > 0,
    "det": lambda x: x.size == 0,
}
"""Samples that are refused, by the name of their operation."""

Call = tuple[list[Any], dict[str, Any]]


def calls_of(name: str, dtype: DTypeLike) -> list[Call]:
    """Return the sample calls of an operation, with its floats in a dtype."""
    op = REGISTRY[name]
    raw = [(constant_call_of(op), {})] if op.kind == "constant" else [call_of(op, s) for s in samples_of(op)]
    made = [([_in_dtype(each, dtype) for each in arguments], static) for arguments, static in raw]
    return [call for call in made if not (name in LIMITED and LIMITED[name](*call[0], **call[1]))]


def _in_dtype(argument: Any, dtype: DTypeLike) -> Any:
    is_float = isinstance(argument, np.ndarray) and argument.dtype == np.float64
    return argument.astype(dtype) if is_float else argument


def model_of(name: str, calls: list[Call]) -> tuple[Callable[..., tuple[Any, ...]], list[Any]]:
    """Return a function of all arrays that makes these calls of an operation, and the arrays."""
    op, inputs = REGISTRY[name], []
    plans: list[tuple[list[Any], dict[str, Any]]] = []
    for arguments, static in calls:
        plan: list[Any] = []
        for position, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray) and COUNTS.get(name) != position:
                plan.append(len(inputs))
                inputs.append(argument)
            else:
                plan.append((argument,))
        plans.append((plan, static))

    def model(*arrays: Any) -> tuple[Any, ...]:
        outs: list[Any] = []
        for plan, static in plans:
            out = op(*(each[0] if isinstance(each, tuple) else arrays[each] for each in plan), **static)
            outs += out if isinstance(out, tuple) else [out]
        return tuple(outs)

    return model, inputs
