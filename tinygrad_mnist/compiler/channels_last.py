"""Images channels-last: views move behind what is computed of them, so that no layer copies its images.

Rules and layers speak of images (N, C, H, W) and of rows (pixels, channels), but convolutions compute
(N, H, W, C). So a program is full of transposes and of reshapes that join axes. :func:`channels_last` writes
the same program anew, with each of them as late as possible: ``relu(transpose(v))`` becomes
``transpose(relu(v))``, and a transpose that meets its inverse is gone. What is left computes on arrays
(N, H, W, C), which lie in memory one pixel after the other.

How views are written is in `views`, and what becomes of the maximum of a window in `windows`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from tinygrad_mnist.compiler.program import ELEMENTWISE, REDUCTIONS, Instruction, Program, Value
from tinygrad_mnist.compiler.views import DEEP, Joined, Transposed, Views, key_of
from tinygrad_mnist.compiler.windows import Windows

View = TypeVar("View", Transposed, Joined)


def channels_last(program: Program) -> Program:
    """Return a program with the same meaning, in which views of images come as late as possible.

    Parameters
    ----------
    program : Program
        What a call computes. A program without arrays of `DEEP` axes comes back as it is.
    """
    if not any(len(value.shape) > DEEP for i in program.instructions for value in i.outputs):
        return program
    return _Rewriting(program).program


class _Rewriting(Views):
    """The work of :func:`channels_last`: instructions are read in their order, and written anew."""

    def __init__(self, program: Program):
        super().__init__(program)
        self.windows = Windows(self)
        self.same: dict[Value, Value] = {}  # what a value of the old program is in the new one
        for instruction in program.instructions:
            self.line = instruction.line
            self.rewrite(instruction)
        same = self.same
        self.program = replace(
            program,
            constants=self.constants,
            instructions=self.written,
            outputs=[same.get(value, value) for value in program.outputs],
            numbers=[same.get(value, value) for value in program.numbers],
            writes=[(same.get(new, new), target) for new, target in program.writes],
            conditions=[same.get(value, value) for value in program.conditions],
            watched=[same.get(value, value) for value in program.watched],
        )

    def rewrite(self, old: Instruction) -> None:
        inputs = tuple([self.same.get(value, value) for value in old.inputs])
        rule: Callable[..., Value | None] | None = {
            "transpose": self.transpose,
            "reshape": self.reshape,
            "broadcast_to": self.broadcast_to,
            "getitem": self.getitem,
        }.get(old.name)
        if old.name in ELEMENTWISE:
            rule = self.elementwise
        elif old.name in REDUCTIONS and not old.static.get("keepdims"):
            rule = self.reduction
        new = rule(old, *inputs) if rule and len(old.outputs) == 1 else None
        if new is None and rule is not None and len(old.outputs) == 1:
            key = key_of(old.name, inputs, old.outputs[0].shape, old.outputs[0].dtype, old.static)
            new = self.known.setdefault(key, old.outputs[0])
        if new is None or new is old.outputs[0]:
            self.append(old if inputs == old.inputs else replace(old, inputs=inputs))
        else:
            self.same[old.outputs[0]] = new

    # Views -----------------------------------------------------------------------------------------------

    def transpose(self, old: Instruction, value: Value) -> Value:
        return self.transposed(value, tuple(old.static["axes"]))

    def reshape(self, old: Instruction, value: Value) -> Value:
        return self.reshaped(value, old.outputs[0].shape)

    def broadcast_to(self, old: Instruction, value: Value) -> Value | None:
        earlier, shape = self.transposes.get(value), old.outputs[0].shape
        if earlier is None or len(shape) != value.ndim:
            return None
        inner = tuple(shape[earlier.axes.index(axis)] for axis in range(value.ndim))
        run = partial(np.broadcast_to, shape=inner)
        return self.transposed(
            self.write("broadcast_to", (earlier.base,), inner, value.dtype, run), earlier.axes
        )

    def getitem(self, old: Instruction, value: Value) -> Value | None:
        earlier, index = self.transposes.get(value), old.static["index"]
        if earlier is None or not all(isinstance(part, slice) for part in index):
            return None
        parts = [*index, *[slice(None)] * (value.ndim - len(index))]
        inner = tuple(parts[earlier.axes.index(axis)] for axis in range(value.ndim))
        return self.transposed(self.item(earlier.base, inner), earlier.axes)

    # What is computed ------------------------------------------------------------------------------------

    def elementwise(self, old: Instruction, *inputs: Value) -> Value | None:
        if (chosen := self.windows.chosen(old, inputs)) is not None:
            return chosen
        shape = old.outputs[0].shape
        if (small := self.small(old, inputs, shape)) is not None:
            return small
        return self.before_transpose(old, inputs, shape) or self.before_join(old, inputs, shape)

    def before_transpose(
        self, old: Instruction, inputs: tuple[Value, ...], shape: tuple[int, ...]
    ) -> Value | None:
        """Return the transpose of what is computed of the arguments as they are before it."""
        view = _largest(inputs, len(shape), self.transposes)
        if view is None:
            return None
        arguments = tuple([self.transposed_back(value, view, len(shape)) for value in inputs])
        inner = tuple(shape[view.axes.index(axis)] for axis in range(len(shape)))
        # Only what is joined is looked for then: a transpose would be moved to and fro.
        made = self.before_join(old, arguments, inner) or self.like(old, arguments, inner)
        return self.transposed(made, view.axes)

    def before_join(
        self, old: Instruction, inputs: tuple[Value, ...], shape: tuple[int, ...]
    ) -> Value | None:
        """Return what is computed of the arguments before their axes are joined, with its axes joined."""
        view = _largest(inputs, len(shape), self.joins)
        if view is None or view.base.size != math.prod(shape):
            return None
        arguments = self.all_parted(inputs, view, len(shape))
        if arguments is None:
            return None
        return self.reshaped(self.like(old, arguments, view.base.shape), shape)

    def computed(self, old: Instruction, inputs: tuple[Value, ...], shape: tuple[int, ...]) -> Value:
        """Write an elementwise instruction for other arguments, which may be views themselves."""
        again = replace(old, inputs=inputs, outputs=(Value(-1, shape, old.outputs[0].dtype),))
        return self.elementwise(again, *inputs) or self.like(old, inputs, shape)

    def small(self, old: Instruction, inputs: tuple[Value, ...], shape: tuple[int, ...]) -> Value | None:
        """Return what is computed of fewer numbers than it has elements, as a view of as many as needed."""
        sources = tuple([self.source_of_broadcast(value) for value in inputs])
        inner = np.broadcast_shapes(*(value.shape for value in sources))
        if inner == shape:
            core = tuple(n for n in shape if n != 1)
            if (
                len(core) < 2
                and len(core) < len(shape)
                and all(v.size == 1 or tuple(n for n in v.shape if n != 1) == core for v in sources)
            ):
                cores = tuple([self.reshaped(v, () if v.size == 1 else core) for v in sources])
                return self.reshaped(self.like(old, cores, core), shape)
            return None if sources == inputs else self.computed(old, sources, shape)
        if not sources:
            return None
        made = self.computed(old, sources, inner)
        return self.write("broadcast_to", (made,), shape, made.dtype, partial(np.broadcast_to, shape=shape))

    def source_of_broadcast(self, value: Value) -> Value:
        producer = self.producers.get(value)
        while producer is not None and producer.name == "broadcast_to":
            value = producer.inputs[0]
            producer = self.producers.get(value)
        return value

    def transposed_back(self, value: Value, view: Transposed, ndim: int) -> Value:
        """Return an argument as it is before a transpose, of which it is one of `ndim` axes, or fewer."""
        earlier = self.transposes.get(value)
        if earlier is not None and earlier.axes == view.axes:
            return earlier.base
        if value.size == 1:
            return self.reshaped(value, ())
        full = (1,) * (ndim - value.ndim) + value.shape
        order = tuple(map(view.axes.index, range(ndim)))  # the inverse of the transpose
        kept = [axis for axis in order if full[axis] != 1]
        if kept == sorted(kept) and len(kept) < len(full):  # nothing moves but axes of length 1
            return self.reshaped(value, _without_leading_ones([full[axis] for axis in order]))
        return self.transposed(self.reshaped(value, full), order)

    def all_parted(self, inputs: tuple[Value, ...], view: Joined, ndim: int) -> tuple[Value, ...] | None:
        """Return all arguments as they are before axes are joined; None if one of them cannot be parted."""
        found = [self.parted(value, view, ndim) for value in inputs]
        arguments = tuple([value for value in found if value is not None])
        return arguments if len(arguments) == len(found) else None

    def parted(self, value: Value, view: Joined, ndim: int) -> Value | None:
        """Return an argument as it is before axes are joined; None if that is not a reshape of it."""
        earlier = self.joins.get(value)
        if earlier is not None and earlier.is_like(view):
            return earlier.base
        if value.size == 1:
            return self.reshaped(value, ())
        producer = self.producers.get(value)
        if producer is not None and producer.name in ELEMENTWISE and self.is_mask(value, producer):
            # A mask is computed where it is read: so it is the numbers in it that are seen before the view.
            masked = self.all_parted(producer.inputs, view, ndim)
            if masked is None:
                return None
            return self.like(producer, masked, np.broadcast_shapes(*(one.shape for one in masked)))
        inner = _parted_shape((1,) * (ndim - value.ndim) + value.shape, view)
        if inner is None:
            return None
        if producer is not None and producer.name == "broadcast_to":
            source = self.parted(producer.inputs[0], view, ndim)
            if source is not None:
                run = partial(np.broadcast_to, shape=inner)
                return self.write("broadcast_to", (source,), inner, value.dtype, run)
        return self.reshaped(value, _without_leading_ones(inner))

    @staticmethod
    def is_mask(value: Value, producer: Instruction) -> bool:
        """Return whether a value is a mask, or a choice between two numbers by one."""
        return value.dtype == bool or all(one.dtype == bool or one.size == 1 for one in producer.inputs)

    def reduction(self, old: Instruction, value: Value) -> Value | None:
        axes = tuple(old.static["axis"])
        is_view = value in self.transposes or value in self.joins
        return self.reduced(old, value, axes) if is_view else self.windows.spelled_out(old, value, axes)

    def reduced(self, old: Instruction, value: Value, axes: tuple[int, ...]) -> Value:
        """Write a reduction over some axes, of what is before the views of a value."""
        shape = tuple(n for axis, n in enumerate(value.shape) if axis not in axes)
        if (transpose := self.transposes.get(value)) is not None:
            inner = tuple(sorted(transpose.axes[axis] for axis in axes))
            left = [axis for axis in transpose.axes if axis not in inner]
            order = tuple(sorted(left).index(axis) for axis in left)
            return self.transposed(self.reduced(old, transpose.base, inner), order)
        if (join := self.joins.get(value)) is not None:
            inner = tuple(i for many, (axis,) in join.groups if axis in axes for i in many)
            return self.reshaped(self.reduced(old, join.base, inner), shape)
        if old.name == "sum" and axes == tuple(range(value.ndim - 1)):
            parts = self.sum_of_columns(old, value, axes)
            if parts is not None:
                return parts
        spelled = self.windows.spelled_out(old, value, axes)
        if spelled is not None:
            return spelled
        run = partial(getattr(np, old.name), axis=axes)
        static = {"axis": axes, "keepdims": False}
        return self.write(old.name, (value,), shape, old.outputs[0].dtype, run, static)

    def sum_of_columns(self, old: Instruction, value: Value, axes: tuple[int, ...]) -> Value | None:
        """Return the sum of ``a * x + b * y``, with a and b the same in all rows, as that of sums.

        That is the last step of the gradient of batch norm, where x and y are read once more otherwise. The
        sum of one is known by then, and that of the other is that of deviations from a mean: it is small.
        """
        producer = self.producers.get(value)
        if producer is not None and producer.name == "negative":
            total = self.sum_of_columns(old, producer.inputs[0], axes)
            return total and self.like(producer, (total,), total.shape)
        if producer is None or producer.name != "add":
            return None
        terms: list[tuple[Instruction, Value, Value]] = []
        for term in producer.inputs:
            times = self.producers.get(term)
            if times is None or times.name != "multiply" or term.shape != value.shape:
                return None
            factors = sorted(times.inputs, key=lambda factor: factor.size)
            if factors[0].shape != value.shape[-1:] or factors[1].shape != value.shape:
                return None
            terms.append((times, factors[0], factors[1]))
        sums = []
        for times, scale, of in terms:
            total = self.reduced(old, of, axes)
            sums.append(self.like(times, (scale, total), total.shape))
        return self.like(producer, tuple(sums), sums[0].shape)


def _largest(inputs: tuple[Value, ...], ndim: int, views: Mapping[Value, View]) -> View | None:
    """Return the view that a whole argument is; without one, that of an argument that broadcasts."""
    found = [value for value in inputs if value in views and value.ndim == ndim]
    return views[max(found, key=lambda value: value.size)] if found else None


def _parted_shape(shape: tuple[int, ...], view: Joined) -> tuple[int, ...] | None:
    """Return a shape with its axes parted as before a view; None if it has another length."""
    inner: list[int] = []
    for many, (axis,) in view.groups:
        lengths = [view.base.shape[i] for i in many]
        if shape[axis] not in (1, math.prod(lengths)):
            return None
        inner += lengths if shape[axis] != 1 else [1] * len(lengths)
    return tuple(inner)


def _without_leading_ones(shape: Sequence[int]) -> tuple[int, ...]:
    first = next((axis for axis, length in enumerate(shape) if length != 1), len(shape))
    return tuple(shape[first:])
