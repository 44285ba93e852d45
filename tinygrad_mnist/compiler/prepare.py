"""A program made ready for compilation: the same meaning, in what loops, products and calls can run.

:func:`prepare` leaves out what nobody needs, and puts in the copies and casts that the later steps would
otherwise have to make on the side: what `interpret` makes of the program stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import methodcaller
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler import direct, filters, machine
from tinygrad_mnist.compiler.agreement import telling
from tinygrad_mnist.compiler.channels_last import channels_last
from tinygrad_mnist.compiler.convolutions import CONVOLUTIONS, described
from tinygrad_mnist.compiler.functions import FUNCTIONS
from tinygrad_mnist.compiler.layout import (
    Layout,
    blas_order,
    contiguous,
    lies_in_order,
    only_ones_differ,
    viewed,
)
from tinygrad_mnist.compiler.masks import masks_of_results
from tinygrad_mnist.compiler.program import ELEMENTWISE, REDUCTIONS, VIEWS, Instruction, Program, Value

DTYPES: Final = frozenset(
    map(np.dtype, ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")),
)
"""What the elements of a compiled loop may be, in the byte order of the machine."""

SLOW: Final = frozenset(
    [
        "reciprocal",
        "sqrt",
        "exp",
        "expm1",
        "exp2",
        "log",
        "log1p",
        "log2",
        "log10",
        "sin",
        "cos",
        "tanh",
        "erf",
        "divide",
    ]
)
"""Operations on floats that take several times as long as an addition."""

FLOATS: Final = SLOW | {"copysign"}
"""Operations that a loop does on floats alone."""

STACK: Final = 64
"""A larger stack of matrices is multiplied by NumPy: the code has a line for each matrix."""

POWERS: Final = (-1.0, 0.5, 1.0, 2.0, 3.0)
"""The exponents that a loop spells without a logarithm."""


@dataclass(eq=False)
class Prepared:
    """A program made ready, and how each value lies.

    Attributes
    ----------
    program : Program
        It has no `watched`: they have become conditions. Each number and condition is computed by an
        instruction that is no view. So is each output, but for the order of its axes; no two of them share
        memory.
    kinds : dict of Instruction to str
        ``loop``, ``view``, ``product`` or ``call``: how each instruction is run.
    producers : dict of Value to Instruction
        What computes each value.
    roots : dict of Value to Value
        The value whose memory holds the elements: of a view that of its argument, else the value itself.
    layouts : dict of Value to Layout
        How it lies in the memory of its root.
    uniform : dict of Value to scalar
        The constants all of whose elements are the same.
    """

    program: Program
    kinds: dict[Instruction, str] = field(default_factory=dict)
    producers: dict[Value, Instruction] = field(default_factory=dict)
    roots: dict[Value, Value] = field(default_factory=dict)
    layouts: dict[Value, Layout] = field(default_factory=dict)
    uniform: dict[Value, Any] = field(default_factory=dict)


def needed(program: Program) -> list[Instruction]:
    """Return the instructions that something needs, in their order."""
    wanted = {
        *program.outputs,
        *program.numbers,
        *program.conditions,
        *program.watched,
        *(new for new, _ in program.writes),
    }
    kept = []
    for instruction in reversed(program.instructions):
        if instruction.effect or not wanted.isdisjoint(instruction.outputs):
            kept.append(instruction)
            wanted.update(instruction.inputs)
    return kept[::-1]


def exponent(instruction: Instruction, uniform: Mapping[Value, Any]) -> float | None:
    """Return the exponent of a power, where it is one that a loop spells."""
    value = uniform.get(instruction.inputs[1])
    return None if value is None or float(value) not in POWERS else float(value)


def spells(instruction: Instruction, uniform: Mapping[Value, Any]) -> bool:
    """Return whether a loop can spell an elementwise operation or a reduction for these dtypes."""
    name, result = instruction.name, instruction.outputs[0].dtype
    of = [value.dtype for value in instruction.inputs]
    if name in REDUCTIONS:
        return not (name in ("max", "min") and result.kind == "b")
    if name == "astype":
        # What C makes of a float that no integer is near to is not defined; NumPy does as its compiler did.
        return of[0].kind != "f" or result.kind in "fb"
    if name in FLOATS:
        return result.kind == "f" and (name in FUNCTIONS or name == "divide")
    if name == "power":
        return result.kind == "f"
    if name in ("subtract", "negative", "sign", "square", "add", "multiply"):
        return result.kind != "b"
    if name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        # NumPy compares uint64 with signed integers exactly.
        return not (of[0] != of[1] and np.dtype("u8") in of)
    return True


def kind_of(instruction: Instruction, uniform: Mapping[Value, Any], *, blas: bool) -> str:
    """Return how an instruction is run: ``loop``, ``view``, ``product`` or ``call``."""
    values = (*instruction.inputs, *instruction.outputs)
    if (
        instruction.effect
        or len(instruction.outputs) != 1
        or any(value.dtype not in DTYPES or value.size == 0 for value in values)
    ):
        return "call"
    if instruction.name in VIEWS:
        return "view"
    if instruction.name == "matmul":
        first, second = (value.ndim for value in instruction.inputs)
        floats = all(value.dtype == instruction.outputs[0].dtype for value in values)
        float_type = instruction.outputs[0].dtype.kind == "f"
        few = math.prod(instruction.outputs[0].shape[:-2]) <= STACK
        return "product" if blas and floats and float_type and few and min(first, second) >= 2 else "call"
    if instruction.name in CONVOLUTIONS:
        return "product" if has_code(instruction) else "call"
    if instruction.name in ELEMENTWISE or instruction.name in REDUCTIONS:
        return "loop" if spells(instruction, uniform) else "call"
    return "call"


def has_code(convolution: Instruction) -> bool:
    """Return whether code can be written for a convolution; else NumPy runs it."""
    of = described(convolution)
    if of is None:
        return False
    return of.kind == "convolution_by_weight" or direct.is_possible(of, vector_bits=machine.vector_bits())


class _Preparation:
    """The work of :func:`prepare`: instructions are appended one by one, with what they need before them."""

    def __init__(self, program: Program, *, blas: bool):
        self.blas = blas
        self.number = 1 + max(
            (value.number for i in program.instructions for value in (*i.inputs, *i.outputs)),
            default=max(
                (v.number for v in (*program.inputs, *program.scalars, *program.constants)), default=0
            ),
        )
        self.old = program
        self.watched = list(dict.fromkeys(program.watched))
        self.conditions = list(dict.fromkeys(program.conditions))
        self.told: set[Value] = set()  # conditions that an exchange tells other processes
        self.program = Program(program.inputs, program.strides, program.scalars, program.constants)
        self.ready = Prepared(self.program)
        for value, strides in zip(program.inputs, program.strides, strict=True):
            self._place(value, value, Layout(0, tuple(strides)))
        for value in (*program.scalars, *program.constants):
            self._place(value, value, contiguous(value))
        for value, array in program.constants.items():
            if value.dtype in DTYPES and _is_uniform(array):
                self.ready.uniform[value] = array.reshape(-1)[0]

        self.by_columns = _wanted_by_columns(program)

    def _place(self, value: Value, root: Value, layout: Layout) -> None:
        self.ready.roots[value], self.ready.layouts[value] = root, layout

    def add(self, instruction: Instruction) -> None:
        """Append an instruction, and copies of arguments that it cannot read as they lie."""
        kind = kind_of(instruction, self.ready.uniform, blas=self.blas)
        if kind == "product":
            arguments = tuple(
                value if self.can_be_read(value, instruction) else self.copied(value)
                for value in instruction.inputs
            )
            if arguments != instruction.inputs:
                instruction = replace(instruction, inputs=arguments)
        if kind == "view":
            (source,) = instruction.inputs
            layout = viewed(instruction, self.ready.layouts[source])
            if layout is None:
                source = self.copied(source)
                instruction = replace(instruction, inputs=(source,))
                layout = viewed(instruction, self.ready.layouts[source])
                assert layout is not None, "a contiguous array can be reshaped without a copy"
            self._place(instruction.outputs[0], self.ready.roots[source], layout)
        else:
            for value in instruction.outputs:
                self._place(value, value, contiguous(value))
        self.program.instructions.append(instruction)
        self.ready.kinds[instruction] = kind
        for value in instruction.outputs:
            self.ready.producers[value] = instruction
            if value in self.watched:  # while it is still in the cache
                self.look_for_nan([value])

    def exchange(self, exchange: Instruction) -> None:
        """Append an exchange, with the conditions that are known by now, and that no earlier one has told."""
        self.look_for_nan([value for value in self.watched if value in self.ready.roots])
        known = [c for c in self.conditions if c in self.ready.roots and c not in self.told]
        self.told.update(known)
        self.add(telling(exchange, known))

    def look_for_nan(self, values: Sequence[Value]) -> None:
        """Append conditions that there is no NaN in some of the values that are watched."""
        for value in values:
            self.watched.remove(value)
            self.conditions.append(self.not_nan(value))

    def can_be_read(self, value: Value, product: Instruction) -> bool:
        """Return whether a product reads an argument as it lies."""
        layout = self.ready.layouts[value]
        if product.name in CONVOLUTIONS:
            return lies_in_order(layout, value)
        return blas_order(layout, value.shape, value.dtype.itemsize) is not None

    def convolution_by_input(self, transpose: Instruction) -> None:
        """Append the transpose of a convolution by its input.

        The code reads the weights with their last two axes changed, so that a sum runs through memory.
        """
        if kind_of(transpose, self.ready.uniform, blas=self.blas) == "product":
            gradient, weight = transpose.inputs
            transpose = replace(transpose, inputs=(gradient, self.copied(self.matrices_swapped(weight))))
        self.add(transpose)

    def convolution_by_weight(self, transpose: Instruction) -> None:
        """Append the gradient of a convolution's filters; a small one as the sum of parts."""
        of = described(transpose)
        parts = filters.parts(of) if of else 1
        if parts == 1:
            self.add(transpose)
            return
        (result,) = transpose.outputs
        shape = (parts, *result.shape)
        name, inputs, options = transpose.name, transpose.inputs, transpose.static
        stored = self.made(name, inputs, shape, result.dtype, transpose.run, options)
        static = {"axis": (0,), "keepdims": False}
        self.add(
            replace(transpose, name="sum", inputs=(stored,), static=static, run=partial(np.sum, **static))
        )

    def product(self, product: Instruction) -> None:
        """Append a product.

        One that is wanted column by column is the transpose of the product of the transposes.
        """
        (result,) = product.outputs
        if result not in self.by_columns:
            self.add(product)
            return
        first, second = (self.matrices_swapped(value) for value in product.inputs)
        axes = swapped(result.ndim)
        shape = tuple(result.shape[axis] for axis in axes)
        stored = self.made("matmul", (second, first), shape, result.dtype, np.matmul)
        self.add(
            replace(
                product,
                name="transpose",
                inputs=(stored,),
                static={"axes": axes},
                run=methodcaller("transpose", axes),
            )
        )

    def product_of_vectors(self, product: Instruction) -> None:
        """Append a product with a vector: a matrix of one row on the left, or of one column on the right."""
        first, second = product.inputs
        if first.ndim == 1:
            first = self.reshaped(first, (1, first.size))
        if second.ndim == 1:
            second = self.reshaped(second, (second.size, 1))
        (result,) = product.outputs
        shape = (*np.broadcast_shapes(first.shape[:-2], second.shape[:-2]), first.shape[-2], second.shape[-1])
        stored = self.made("matmul", (first, second), shape, result.dtype, np.matmul)
        run = partial(np.reshape, shape=result.shape)
        self.add(replace(product, name="reshape", inputs=(stored,), static={}, run=run))

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """Append a value with the same elements in another shape."""
        return self.made("reshape", (value,), shape, value.dtype, partial(np.reshape, shape=shape))

    def matrices_swapped(self, value: Value) -> Value:
        """Append a view of a stack of matrices, each transposed."""
        axes = swapped(value.ndim)
        shape = tuple(value.shape[axis] for axis in axes)
        return self.made(
            "transpose", (value,), shape, value.dtype, methodcaller("transpose", axes), {"axes": axes}
        )

    def made(
        self,
        name: str,
        of: tuple[Value, ...],
        shape: tuple[int, ...],
        dtype: Any,
        run: Any,
        static: Mapping[str, Any] | None = None,
    ) -> Value:
        """Append an instruction, and return its result."""
        result = Value(self.number, shape, np.dtype(dtype))
        self.number += 1
        line = self.ready.producers[of[0]].line if of[0] in self.ready.producers else ""
        self.add(Instruction(name, of, (result,), static or {}, run, line))
        return result

    def copied(self, value: Value) -> Value:
        """Return a value with the same elements, in C order.

        A transpose of images is copied in the order of the images: so the copy shares its loop with what is
        computed of them besides.
        """
        producer = self.ready.producers.get(value)
        if producer is None or producer.name != "transpose" or value.ndim < 3:
            return self.made("identity", (value,), value.shape, value.dtype, _in_order)
        (source,), axes = producer.inputs, producer.static["axes"]
        copy = self.made("identity", (source,), source.shape, value.dtype, _in_order)
        strides = contiguous(value).strides
        layout = Layout(0, tuple(strides[axes.index(axis)] for axis in range(value.ndim)))
        self._place(copy, copy, layout)
        return self.made("transpose", (copy,), value.shape, value.dtype, producer.run, {"axes": axes})

    def computed(self, values: Iterable[Value]) -> list[Value]:
        """Return the values, with copies in the place of views, inputs and of what was there before."""
        result: list[Value] = []
        for value in values:
            producer = self.ready.producers.get(value)
            view = producer is None or self.ready.kinds[producer] == "view"
            result.append(self.copied(value) if view or value in result else value)
        return result

    def outputs(self) -> list[Value]:
        """Return the outputs, with copies of those that do not fill the memory of a computed value."""
        result: list[Value] = []
        taken: set[Value] = set()
        for value in self.old.outputs:
            root = self.ready.roots[value]
            if root not in self.ready.producers or root in taken or not self.fills(value):
                value = self.copied(value)
            taken.add(self.ready.roots[value])
            result.append(value)
        return result

    def fills(self, value: Value) -> bool:
        """Return whether a value is the whole memory of its root, perhaps with its axes in another order."""
        layout = self.ready.layouts[value]
        return (
            value.size == self.ready.roots[value].size
            and layout.offset == 0
            and all(stride > 0 for n, stride in zip(value.shape, layout.strides, strict=True) if n > 1)
        )

    def writes(self) -> list[tuple[Value, Value]]:
        """Return the writes, each new value with the shape and dtype of its target; the last of several."""
        last = {target: new for new, target in self.old.writes}
        result = []
        for target, new in last.items():
            if new.dtype != target.dtype:
                new = self.made(
                    "astype", (new,), new.shape, target.dtype, methodcaller("astype", target.dtype)
                )
            if new.shape != target.shape:
                new = self.made(
                    "broadcast_to",
                    (new,),
                    target.shape,
                    target.dtype,
                    partial(np.broadcast_to, shape=target.shape),
                )
            if self.ready.roots[new] not in self.ready.producers:
                new = self.copied(new)  # so that it can be kept, if it is a view of what is written to
            result.append((new, target))
        return result

    def not_nan(self, value: Value) -> Value:
        """Return a condition: no element of a value is NaN, as only NaN differs from itself.

        The order of the elements does not matter, so they are looked at as they lie in memory.
        """
        if self.fills(value):
            value = self.ready.roots[value]
        known = self.made("equal", (value, value), value.shape, bool, np.equal)
        static = {"axis": tuple(range(value.ndim)), "keepdims": False}
        return self.made("all", (known,), (), bool, np.all, static)


def prepare(program: Program, *, blas: bool = True) -> Prepared:
    """Return a program with the same meaning, made ready for compilation.

    Parameters
    ----------
    program : Program
        What a call computes.
    blas : bool
        Whether there are products by BLAS; without them, NumPy multiplies matrices.
    """
    instructions = masks_of_results(program, needed(program))
    program = channels_last(replace(program, instructions=instructions))
    work = _Preparation(program, blas=blas)
    for instruction in needed(program):
        if instruction.name == "matmul" and any(value.ndim == 1 for value in instruction.inputs):
            work.product_of_vectors(instruction)
        elif instruction.name == "matmul":
            work.product(instruction)
        elif instruction.name == "convolution_by_input":
            work.convolution_by_input(instruction)
        elif instruction.name == "convolution_by_weight":
            work.convolution_by_weight(instruction)
        elif instruction.refuse is not None:
            work.exchange(instruction)
        else:
            work.add(instruction)
    work.look_for_nan(list(work.watched))  # those that are inputs
    work.program.writes = work.writes()
    work.program.outputs = work.outputs()
    work.program.numbers = work.computed(program.numbers)
    work.program.conditions = work.computed(work.conditions)
    return work.ready


def _in_order(array: Any) -> Any:
    return np.array(array, order="C")


def _is_uniform(array: Any) -> bool:
    """Return whether all elements of an array are the same; zeros of either sign are equal, but differ."""
    if not array.size or not (array == (first := array.reshape(-1)[0])).all():
        return False
    return bool(first != 0 or array.dtype.kind != "f" or not np.signbit(array).any())


def swapped(ndim: int) -> tuple[int, ...]:
    """Return the axes of a stack of matrices, each transposed.

    >>> swapped(3)
    (0, 2, 1)
    """
    return (*range(ndim - 2), ndim - 1, ndim - 2)


def _wanted_by_columns(program: Program) -> set[Value]:
    """Return the products that are written, as gradients are, to memory that lies column by column.

    If the product lies so too, the update goes through all of its arrays step by step.
    """
    producers = {value: i for i in program.instructions for value in i.outputs}
    strides = dict(zip(program.inputs, program.strides, strict=True))
    waiting = [(new, strides[target]) for new, target in program.writes if new.shape == target.shape]
    seen: set[tuple[Value, tuple[int, ...]]] = set()
    found = set()
    while waiting:
        entry = waiting.pop()
        value, lies = entry
        producer = producers.get(value)
        if entry in seen or producer is None:
            continue
        seen.add(entry)
        if producer.name == "matmul" and value.ndim > 1:
            if lies[-2] < lies[-1] and min(value.shape[-2:]) > 1:
                found.add(value)
        elif producer.name == "transpose":
            places = dict(zip(producer.static["axes"], lies, strict=True))
            waiting.append((producer.inputs[0], tuple(places[axis] for axis in range(value.ndim))))
        elif producer.name in ELEMENTWISE:
            waiting += [(argument, lies) for argument in producer.inputs if argument.shape == value.shape]
        elif producer.refuse is not None and len(producer.inputs) == len(producer.outputs):
            waiting.append((producer.inputs[producer.outputs.index(value)], lies))
    return found


def only_moves_axes(view: Instruction) -> bool:
    """Return whether a loop over the result of a view knows at once where to read its argument."""
    if view.name == "reshape":
        return only_ones_differ(view.inputs[0].shape, view.outputs[0].shape)
    return view.name in ("transpose", "broadcast_to")
