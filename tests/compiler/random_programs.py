"""Programs made at random, of values that NumPy and any correct compiler agree on to the last few bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.compiler.builder import Builder
from tinygrad_mnist.compiler.program import Program, Value

SHAPES = [(), (1,), (5,), (3, 5), (4, 1, 5), (2, 3, 5), (17,), (33, 3), (0,), (3, 0)]
SMOOTH = ["exp", "tanh", "sqrt", "log1p", "negative", "absolute", "square", "reciprocal"]
JOINS = ["add", "subtract", "multiply", "maximum", "minimum", "less", "equal", "where"]


def laid_out(rng: np.random.Generator, array: Any) -> Any:
    """Return an array with these elements that lies in memory in some way."""
    way = rng.integers(5)
    if way == 1:
        return np.asfortranarray(array)
    if way == 2 and array.ndim:
        return array[::-1].copy()[::-1]
    if way == 3 and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
        wide[..., 1::2] = array
        return wide[..., 1::2]
    if way == 4 and array.ndim > 1:
        return array.swapaxes(0, 1).copy().swapaxes(0, 1)
    return array.copy()


class RandomProgram:
    """A program of about `length` instructions, and arrays for it."""

    def __init__(self, seed: int, length: int = 12):
        self.rng = rng = np.random.default_rng(seed)
        self.b = Builder()
        self.arrays: list[Any] = []
        self.pool: list[Value] = []
        for _ in range(rng.integers(2, 5)):
            self.take(SHAPES[rng.integers(len(SHAPES))], rng.choice(["f4", "f8", "f4", "i8", "?"]))
        scalar = self.b.scalar()
        self.pool.append(self.b.astype(scalar, np.dtype("f4")))
        for _ in range(length):
            self.pool.append(self.grow())
        floats = [value for value in self.pool if value.dtype.kind == "f"]
        self.program: Program = self.b.program
        self.program.outputs += [self.pool[i] for i in rng.integers(len(self.pool), size=3)]
        for _ in range(rng.integers(3)):
            self.write()
        if rng.integers(3) == 0 and floats:
            self.program.watched.append(floats[rng.integers(len(floats))])
        self.scalars = [float(rng.integers(-3, 4))]

    def take(self, shape: Any, dtype: Any) -> None:
        array = self.rng.integers(0, 3, shape).astype(dtype)
        self.arrays.append(laid_out(self.rng, array))
        self.pool.append(self.b.input(self.arrays[-1]))

    def write(self) -> None:
        """Write to an input something of its shape, or that broadcasts to it."""
        targets = [value for value in self.b.program.inputs if value.dtype.kind == "f"]
        for target in targets[:1]:
            fitting = [v for v in self.pool if v.shape in (target.shape, ()) and v.dtype.kind == "f"]
            new = fitting[self.rng.integers(len(fitting))]
            if self.rng.integers(2):
                new = self.b.add(new, target)
            self.b.program.writes.append((new, target))

    def pick(self, kinds: str = "fib") -> Value:
        fitting = [value for value in self.pool if value.dtype.kind in kinds]
        return fitting[self.rng.integers(len(fitting))]

    def grow(self) -> Value:
        way = self.rng.integers(7)
        with np.errstate(all="ignore"):
            if way == 0:
                return getattr(self.b, self.rng.choice(SMOOTH))(self.pick("f"))
            if way == 1:
                return self.reduction()
            if way == 2:
                return self.view()
            if way == 3:
                return self.product()
            return self.joined()

    def joined(self) -> Value:
        name = self.rng.choice(JOINS)
        values = [self.pick("f"), self.pick("fi" if name != "where" else "f")]
        # Comparisons see only what is exact.
        if name in ("less", "equal"):
            inputs = self.b.program.inputs
            values = [inputs[i] for i in self.rng.integers(len(inputs), size=2)]
        if name == "where":
            values = [self.b.greater(self.pick("fi"), np.float32(-100)), *values]
        try:
            np.broadcast_shapes(*(value.shape for value in values))
        except ValueError:
            return self.b.negative(values[-1]) if values[-1].dtype != bool else self.b.logical_not(values[-1])
        result: Value = getattr(self.b, name)(*values)
        return result

    def reduction(self) -> Value:
        x = self.pick("fi")
        axes = [axis for axis in range(x.ndim) if self.rng.integers(2)]
        name = self.rng.choice(["sum", "max"])
        if 0 in x.shape:
            name = "sum"
        result: Value = getattr(self.b, name)(x, axis=tuple(axes), keepdims=bool(self.rng.integers(2)))
        return result

    def view(self) -> Value:
        x, rng = self.pick(), self.rng
        way = rng.integers(4)
        if way == 0:
            return self.b.transpose(x, tuple(map(int, rng.permutation(x.ndim))))
        if way == 1:
            return self.b.reshape(x, (x.size,) if rng.integers(2) else (1, *x.shape[::-1]))
        if way == 2:
            return self.b.broadcast_to(x, (2, *x.shape))
        step = [slice(None), slice(None, None, -1), slice(0, 2), slice(1, None, 2), None, ...]
        return self.b.getitem(
            x, *[step[rng.integers(4)] for _ in x.shape][: rng.integers(3)], step[rng.integers(4, 6)]
        )

    def product(self) -> Value:
        x = self.pick("f")
        if x.ndim < 2:
            return self.b.square(x)
        y = self.b.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))
        result: Value = self.b.matmul(x, y)
        return result
