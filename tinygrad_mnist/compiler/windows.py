"""The maximum of a window, spelled out, and what was chosen in it.

The maximum of a window that overlaps no other is a reduction of a few elements. It is spelled out, element by
element, as strided reads. What was chosen in each window is kept as the bits of one small integer: the walk
back reads that, and not the images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.program import ELEMENTWISE, Instruction, Value
from tinygrad_mnist.compiler.views import DEEP, Views

FEW: Final = 9
"""The elements of a reduction that are spelled out, one by one: those of a window of 3 x 3."""


@dataclass
class Window:
    """A maximum that was spelled out: what it is of, and the instruction that says what was chosen."""

    axes: tuple[int, ...]
    maximum: Value
    code: Value | None = None


_JOINS: Final[Mapping[str, np.ufunc]] = {
    "max": np.maximum,
    "min": np.minimum,
    "sum": np.add,
    "prod": np.multiply,
    "any": np.logical_or,
    "all": np.logical_and,
}
"""What joins two elements, as a reduction joins many."""


class Windows:
    """The windows of a program that is written anew by `Views`."""

    def __init__(self, views: Views):
        self.views = views
        self.known: dict[Value, Window] = {}  # of what each is the maximum
        self.elements: dict[Any, Value] = {}

    def spelled_out(self, old: Instruction, value: Value, axes: tuple[int, ...]) -> Value | None:
        """Return a reduction of a few elements, one by one; None where a loop does it as well."""
        join = _JOINS.get(old.name)
        is_image = value.ndim > DEEP and value.size and value in self.views.producers
        if join is None or not is_image or value.ndim - 1 in axes:
            return None
        lengths = [value.shape[axis] for axis in axes]
        dtype = old.outputs[0].dtype
        if not 1 < math.prod(lengths) <= FEW or value.dtype != dtype:
            return None
        result: Value | None = None
        for place in np.ndindex(*lengths):
            element = self.element(value, dict(zip(axes, place, strict=True)))
            shape = element.shape
            result = (
                element
                if result is None
                else self.views.write(join.__name__, (result, element), shape, dtype, join)
            )
        assert result
        if old.name == "max" and dtype.kind == "f":
            self.known[value] = Window(axes, result)
        return result

    def element(self, value: Value, places: dict[int, int]) -> Value:
        """Return what a value is where some of its axes, counted from the first, have a place."""
        key = (value, *places.items())
        if key not in self.elements:  # an expression may hold another one many times
            self.elements[key] = self.new_element(value, places)
        return self.elements[key]

    def new_element(self, value: Value, places: dict[int, int]) -> Value:
        """Write what `element` returns: of an expression, the expression of the elements of its arguments."""
        shape = tuple(n for axis, n in enumerate(value.shape) if axis not in places)
        if all(value.shape[axis] == 1 for axis in places):
            return self.views.reshaped(value, shape)
        index = _at(places, value.ndim)
        if value in self.views.constants:
            return self.views.constant(self.views.constants[value][index])
        producer = self.views.producers.get(value)
        if producer is not None and producer.name in ELEMENTWISE:
            inputs = []
            for argument in producer.inputs:
                missing = value.ndim - argument.ndim
                own = {
                    axis - missing: place if argument.shape[axis - missing] != 1 else 0
                    for axis, place in places.items()
                    if axis >= missing
                }
                inputs.append(self.element(argument, own))
            return self.views.like(producer, tuple(inputs), shape)
        return self.views.item(value, index)

    def chosen(self, old: Instruction, inputs: tuple[Value, ...]) -> Value | None:
        """Return which elements of windows are the maximum, from the bits that the forward pass has kept.

        That is the rule of a maximum: an element is chosen if it equals the maximum, or is NaN.
        """
        if old.name not in ("logical_or", "bitwise_or"):
            return None
        views, found = self.views, [self.views.transposes.get(value) for value in inputs]
        axes = found[0].axes if found[0] is not None else ()
        if any((view.axes if view is not None else ()) != axes for view in found):
            return None
        equal, isnan = (
            views.producers.get(value if view is None else view.base)
            for value, view in zip(inputs, found, strict=True)
        )
        window = self.window_of(equal, isnan) if equal and isnan else None
        if window is None or equal is None or isnan is None:
            return None
        shape = equal.inputs[0].shape
        lengths = [n if axis in window.axes else 1 for axis, n in enumerate(shape)]
        dtype = np.dtype(np.uint8 if math.prod(lengths) <= 8 else np.uint16)
        bits = (1 << np.arange(math.prod(lengths))).astype(dtype).reshape(lengths)
        if window.code is None:
            window.code = self.code_of(equal, isnan, old, window, bits)
        code = views.reshaped(window.code, _with_ones(shape, window.axes))
        both = views.write("bitwise_and", (code, views.constant(bits)), shape, dtype, np.bitwise_and)
        zero = views.constant(np.zeros((), dtype))
        known_bits = views.write("not_equal", (both, zero), shape, bool, np.not_equal)
        return views.transposed(known_bits, axes) if axes else known_bits

    def window_of(self, equal: Instruction, isnan: Instruction) -> Window | None:
        """Return the windows whose elements are compared with their maxima; None of other comparisons."""
        if (equal.name, isnan.name) != ("equal", "isnan"):
            return None
        value, maximum = equal.inputs
        window = self.known.get(value)
        if window is None or isnan.inputs != (value,) or self.root(maximum) is not self.root(window.maximum):
            return None
        return window if maximum.shape == _with_ones(value.shape, window.axes) else None

    def root(self, value: Value) -> Value:
        """Return what a value is a reshape of."""
        while (producer := self.views.producers.get(value)) is not None and producer.name == "reshape":
            value = producer.inputs[0]
        return value

    def code_of(
        self, equal: Instruction, isnan: Instruction, either: Instruction, window: Window, bits: Any
    ) -> Value:
        """Return an integer for each window, with a bit for each element that was chosen."""
        value, views = equal.inputs[0], self.views
        shape, zero = window.maximum.shape, views.constant(np.zeros((), bits.dtype))
        code = None
        for place in np.ndindex(*(value.shape[axis] for axis in window.axes)):
            places = dict(zip(window.axes, place, strict=True))
            element = self.element(value, places)
            same = views.like(equal, (element, window.maximum), shape)
            chosen = views.like(either, (same, views.like(isnan, (element,), shape)), shape)
            bit = views.constant(bits[_at(places, value.ndim)].reshape(()))
            mark = views.write("where", (chosen, bit, zero), shape, bits.dtype, np.where)
            code = mark if code is None else views.write("add", (code, mark), shape, bits.dtype, np.add)
        assert code
        return code


def _with_ones(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with length 1 along some axes."""
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape))


def _at(places: Mapping[int, int], ndim: int) -> tuple[Any, ...]:
    """Return an index of places along some axes, and of all along the others."""
    return tuple(places.get(axis, slice(None)) for axis in range(ndim))
