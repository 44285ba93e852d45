"""Programs written by hand: each method of a `Builder` appends an instruction and returns its result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.compiler.program import REDUCTIONS, Instruction, Program, Value

# NumPy has no error function.
RUN: dict[str, Callable[..., Any]] = {
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "identity": lambda x: x,
}


class Builder:
    def __init__(self) -> None:
        self.program = Program()
        self.count = 0

    def value(self, shape: Any, dtype: Any) -> Value:
        self.count += 1
        return Value(self.count, tuple(shape), np.dtype(dtype))

    def input(self, array: Any) -> Value:
        value = self.value(array.shape, array.dtype)
        self.program.inputs.append(value)
        self.program.strides.append(array.strides)
        return value

    def scalar(self) -> Value:
        value = self.value((), np.float64)
        self.program.scalars.append(value)
        return value

    def constant(self, array: Any) -> Value:
        array = np.asarray(array)
        value = self.value(array.shape, array.dtype)
        self.program.constants[value] = array
        return value

    def emit(
        self, name: str, inputs: Any, shape: Any, dtype: Any, run: Any, *, effect: bool = False, **static: Any
    ) -> Value:
        result = self.value(shape, dtype)
        self.program.instructions.append(Instruction(name, tuple(inputs), (result,), static, run, "", effect))
        return result

    def __getattr__(self, name: str) -> Callable[..., Value]:
        """Return a function that appends an elementwise operation, or a reduction with `axis`, or
        ``matmul``."""

        def append(*inputs: Any, **static: Any) -> Value:
            of = [x if isinstance(x, Value) else self.constant(x) for x in inputs]
            run: Any = RUN.get(name) or getattr(np, name)
            if name in REDUCTIONS:
                axes = static.get("axis")
                axes = range(of[0].ndim) if axes is None else (axes,) if isinstance(axes, int) else axes
                static = {"axis": tuple(sorted(axes)), "keepdims": static.get("keepdims", False)}
                plain = run
                run = lambda array: plain(array, **static)
            example = run(*(np.ones(x.shape, x.dtype) for x in of))
            dtype = of[0].dtype if name == "erf" else example.dtype
            if name == "erf":
                plain = run
                run = lambda array: plain(array).astype(dtype)
            return self.emit(name, of, example.shape, dtype, run, **static)

        return append

    def astype(self, x: Value, dtype: Any) -> Value:
        return self.emit("astype", [x], x.shape, dtype, lambda array: array.astype(dtype))

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        return self.emit("reshape", [x], shape, x.dtype, lambda array: array.reshape(shape))

    def broadcast_to(self, x: Value, shape: tuple[int, ...]) -> Value:
        return self.emit("broadcast_to", [x], shape, x.dtype, lambda array: np.broadcast_to(array, shape))

    def transpose(self, x: Value, axes: tuple[int, ...] | None = None) -> Value:
        axes = axes or tuple(range(x.ndim))[::-1]
        shape = [x.shape[axis] for axis in axes]
        return self.emit("transpose", [x], shape, x.dtype, lambda array: array.transpose(axes), axes=axes)

    def getitem(self, x: Value, *index: Any) -> Value:
        shape = np.empty(x.shape)[index].shape
        return self.emit("getitem", [x], shape, x.dtype, lambda array: array[index], index=index)
