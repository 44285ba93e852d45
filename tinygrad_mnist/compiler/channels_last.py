"""Images channels-last: views move behind what is computed of them, so that no layer copies its images.

Rules and layers speak of images (N, C, H, W) and of rows (pixels, channels), but convolutions compute
(N, H, W, C). So a program is full of transposes and of reshapes that join axes. :func:`channels_last` writes
the same program anew, with each of them as late as possible: ``relu(transpose(v))`` becomes
``transpose(relu(v))``, and a transpose that meets its inverse is gone. What is left computes on arrays
(N, H, W, C), which lie in memory one pixel after the other.

The maximum of a window that overlaps no other is a reduction of a few elements. It is spelled out, element by
element, as strided reads. What was chosen in each window is kept as the bits of one small integer: the walk
back reads that, and not the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import methodcaller
from typing import Any, Final, TypeAlias

import numpy as np

from tinygrad_mnist.compiler.program import ELEMENTWISE, REDUCTIONS, Instruction, Program, Value

FEW: Final = 9
"""The elements of a reduction that are spelled out, one by one: those of a window of 3 x 3."""

DEEP: Final = 3
"""The fewest axes of what a view moves behind: matrices stay as they are."""

Groups: TypeAlias = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
"""Which axes of a shape become which axes of another one, by a reshape."""


@dataclass(frozen=True)
class Moved:
    """A value as a view of another: axes in another order, or neighbouring ones joined.

    Attributes
    ----------
    base : Value
        What it is a view of.
    axes : tuple of int
        Of a transpose, as `Instruction.static` has them; else empty.
    groups : Groups
        Of a reshape that joins; else empty.
    """

    base: Value
    axes: tuple[int, ...] = ()
    groups: Groups = ()

    def is_like(self, other: Moved) -> bool:
        """Return whether a place in one base and the same place in another are one place in the views.

        What a reshape does with an element depends on the shape of its base: ``(3, 4)`` and ``(4, 3)`` both
        join their axes to 12 elements, but in other places.
        """
        same_places = not self.groups or self.base.shape == other.base.shape
        return self.axes == other.axes and self.groups == other.groups and same_places


@dataclass
class Window:
    """A maximum that was spelled out: what it is of, and the instruction that says what was chosen."""

    axes: tuple[int, ...]
    maximum: Value
    code: Value | None = None


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


def groups_of(old: Sequence[int], new: Sequence[int]) -> Groups:
    """Return the smallest groups of axes that a reshape turns into each other.

    >>> groups_of((2, 3, 4, 5), (6, 2, 2, 5))
    (((0, 1), (0,)), ((2,), (1, 2)), ((3,), (3,)))
    """
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        begin, other = i, j
        size = wanted = 1
        if i < len(old):
            size, i = old[i], i + 1
        if j < len(new) and not (size == 1 and new[j] != 1):
            wanted, j = new[j], j + 1
        while size != wanted:
            if size < wanted:
                size, i = size * old[i], i + 1
            else:
                wanted, j = wanted * new[j], j + 1
        # An axis of length 1 goes with the one before it, unless it has a counterpart.
        while j < len(new) and new[j] == 1 and not (i < len(old) and old[i] == 1):
            j += 1
        while i < len(old) and old[i] == 1 and not (j < len(new) and new[j] == 1):
            i += 1
        found.append((tuple(range(begin, i)), tuple(range(other, j))))
    return tuple(found)


class _Rewriting:
    """The work of :func:`channels_last`: instructions are read in their order, and written anew."""

    def __init__(self, program: Program):
        self.number = 1 + max(
            (value.number for i in program.instructions for value in (*i.inputs, *i.outputs)), default=0
        )
        self.constants = dict(program.constants)
        self.written: list[Instruction] = []
        self.producers: dict[Value, Instruction] = {}
        self.moved: dict[Value, Moved] = {}
        self.same: dict[Value, Value] = {}  # what a value of the old program is in the new one
        self.known: dict[Any, Value] = {}
        self.windows: dict[Value, Window] = {}
        self.elements: dict[Any, Value] = {}
        self.line = ""
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

    # Writing ---------------------------------------------------------------------------------------------

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
            key = _key(old.name, inputs, old.outputs[0].shape, old.outputs[0].dtype, old.static)
            new = self.known.setdefault(key, old.outputs[0])
        if new is None or new is old.outputs[0]:
            self.append(old if inputs == old.inputs else replace(old, inputs=inputs))
        else:
            self.same[old.outputs[0]] = new

    def append(self, instruction: Instruction) -> None:
        self.written.append(instruction)
        self.producers.update(dict.fromkeys(instruction.outputs, instruction))

    def write(
        self,
        name: str,
        inputs: tuple[Value, ...],
        shape: Sequence[int],
        dtype: Any,
        run: Callable[..., Any],
        static: Any = None,
    ) -> Value:
        """Append an instruction and return its result; the same one twice is written once."""
        key = _key(name, inputs, shape, dtype, static or {})
        if key not in self.known:
            value = self.known[key] = Value(self.number, tuple(shape), np.dtype(dtype))
            self.number += 1
            self.append(Instruction(name, inputs, (value,), static or {}, run, self.line))
        return self.known[key]

    def like(self, old: Instruction, inputs: tuple[Value, ...], shape: Sequence[int]) -> Value:
        """Write an elementwise instruction again, for other arguments."""
        return self.write(old.name, inputs, shape, old.outputs[0].dtype, old.run, old.static)

    def constant(self, array: Any) -> Value:
        array = np.asarray(array)
        key = ("constant", array.dtype, array.shape, array.tobytes())
        if key not in self.known:
            value = self.known[key] = Value(self.number, array.shape, array.dtype)
            self.number += 1
            array = array.copy()
            array.flags.writeable = False
            self.constants[value] = array
        return self.known[key]

    def transposed(self, value: Value, axes: tuple[int, ...]) -> Value:
        """Return a value with its axes in another order; a transpose of a transpose is one, or none."""
        earlier = self.moved.get(value)
        if earlier is not None and earlier.axes:
            value, axes = earlier.base, tuple(earlier.axes[axis] for axis in axes)
        if axes == tuple(range(value.ndim)):
            return value
        shape = tuple(value.shape[axis] for axis in axes)
        made = self.write(
            "transpose", (value,), shape, value.dtype, methodcaller("transpose", axes), {"axes": axes}
        )
        if value.ndim >= DEEP and value in self.producers:
            self.moved[made] = Moved(value, axes)
        return made

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """Return a value in another shape, as a transpose of a reshape where it is a transpose."""
        earlier = self.moved.get(value)
        if earlier is not None and earlier.groups:
            value, earlier = earlier.base, None
        if shape == value.shape:
            return value
        groups = groups_of(value.shape, shape) if 0 not in shape else ()
        if earlier is not None and (order := _order_of_groups(groups, earlier.axes)):
            inner = [n for number in order for n in (shape[axis] for axis in groups[number][1])]
            axes = [axis for number in order for axis in groups[number][1]]
            base = self.reshaped(earlier.base, tuple(inner))
            return self.transposed(base, tuple(map(axes.index, range(len(axes)))))
        producer = self.producers.get(value)
        if producer is not None and producer.name == "reshape":
            return self.reshaped(producer.inputs[0], shape)
        made = self.write("reshape", (value,), shape, value.dtype, partial(np.reshape, shape=shape))
        joins = groups and all(len(new) == 1 for _, new in groups) and len(shape) < value.ndim
        if joins and value.ndim >= DEEP and value in self.producers and earlier is None:
            self.moved[made] = Moved(value, groups=groups)
        return made

    # Views -----------------------------------------------------------------------------------------------

    def transpose(self, old: Instruction, value: Value) -> Value:
        return self.transposed(value, tuple(old.static["axes"]))

    def reshape(self, old: Instruction, value: Value) -> Value:
        return self.reshaped(value, old.outputs[0].shape)

    def broadcast_to(self, old: Instruction, value: Value) -> Value | None:
        earlier, shape = self.moved.get(value), old.outputs[0].shape
        if earlier is None or not earlier.axes or len(shape) != value.ndim:
            return None
        inner = tuple(shape[earlier.axes.index(axis)] for axis in range(value.ndim))
        run = partial(np.broadcast_to, shape=inner)
        return self.transposed(
            self.write("broadcast_to", (earlier.base,), inner, value.dtype, run), earlier.axes
        )

    def getitem(self, old: Instruction, value: Value) -> Value | None:
        earlier, index = self.moved.get(value), old.static["index"]
        if earlier is None or not earlier.axes or not all(isinstance(part, slice) for part in index):
            return None
        parts = [*index, *[slice(None)] * (value.ndim - len(index))]
        inner = tuple(parts[earlier.axes.index(axis)] for axis in range(value.ndim))
        return self.transposed(self.item(earlier.base, inner), earlier.axes)

    def item(self, value: Value, index: tuple[Any, ...]) -> Value:
        shape = np.broadcast_to(np.empty(()), value.shape)[index].shape
        return self.write(
            "getitem", (value,), shape, value.dtype, partial(_item, index=index), {"index": index}
        )

    # What is computed ------------------------------------------------------------------------------------

    def elementwise(self, old: Instruction, *inputs: Value) -> Value | None:
        if (chosen := self.chosen(old, inputs)) is not None:
            return chosen
        shape = old.outputs[0].shape
        if (small := self.small(old, inputs, shape)) is not None:
            return small
        made = self.before_view(old, inputs, shape, transposed=True)
        return made or self.before_view(old, inputs, shape, transposed=False)

    def before_view(
        self, old: Instruction, inputs: tuple[Value, ...], shape: tuple[int, ...], *, transposed: bool
    ) -> Value | None:
        """Return a view of what is computed of the arguments as they are before it; None if there is none.

        It is the view that a whole argument is; without one, that of an argument that broadcasts.
        """
        views = [
            (v.size, self.moved[v])
            for v in inputs
            if v in self.moved and v.ndim == len(shape) and bool(self.moved[v].axes) == transposed
        ]
        if not views:
            return None
        view = max(views, key=lambda entry: entry[0])[1]
        if not transposed and view.base.size != math.prod(shape):
            return None
        before = [self.before(value, view, shape) for value in inputs]
        arguments = tuple([value for value in before if value is not None])
        if len(arguments) < len(before):
            return None
        if not transposed:
            return self.reshaped(self.like(old, arguments, view.base.shape), shape)
        inner = tuple(shape[view.axes.index(axis)] for axis in range(len(shape)))
        # Only what is joined is looked for then: a transpose would be moved to and fro.
        made = self.before_view(old, arguments, inner, transposed=False)
        return self.transposed(made or self.like(old, arguments, inner), view.axes)

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

    def before(self, value: Value, view: Moved, shape: tuple[int, ...]) -> Value | None:
        """Return an argument as it is before a view, so that the view of it is the argument."""
        earlier = self.moved.get(value)
        if earlier is not None and earlier.is_like(view):
            return earlier.base
        if value.size == 1:
            return self.reshaped(value, ())
        full = (1,) * (len(shape) - value.ndim) + value.shape
        if view.axes:
            order = tuple(map(view.axes.index, range(len(shape))))  # the inverse of the transpose
            kept = [axis for axis in order if full[axis] != 1]
            if kept == sorted(kept) and len(kept) < len(full):  # nothing moves but axes of length 1
                return self.reshaped(value, _without_leading_ones([full[axis] for axis in order]))
            return self.transposed(self.reshaped(value, full), order)
        producer = self.producers.get(value)
        if producer is not None and producer.name in ELEMENTWISE and self.is_mask(value, producer):
            # A mask is computed where it is read: so it is the numbers in it that are seen before the view.
            found = [self.before(one, view, shape) for one in producer.inputs]
            masked = tuple([one for one in found if one is not None])
            inner_shape = np.broadcast_shapes(*(one.shape for one in masked))
            return self.like(producer, masked, inner_shape) if len(masked) == len(found) else None
        inner: list[int] = []
        for many, (axis,) in view.groups:
            lengths = [view.base.shape[i] for i in many]
            if full[axis] not in (1, math.prod(lengths)):
                return None
            inner += lengths if full[axis] != 1 else [1] * len(lengths)
        if producer is not None and producer.name == "broadcast_to":
            source = self.before(producer.inputs[0], view, shape)
            if source is not None:
                run = partial(np.broadcast_to, shape=tuple(inner))
                return self.write("broadcast_to", (source,), inner, value.dtype, run)
        return self.reshaped(value, _without_leading_ones(inner))

    @staticmethod
    def is_mask(value: Value, producer: Instruction) -> bool:
        """Return whether a value is a mask, or a choice between two numbers by one."""
        return value.dtype == bool or all(one.dtype == bool or one.size == 1 for one in producer.inputs)

    def reduction(self, old: Instruction, value: Value) -> Value | None:
        axes = tuple(old.static["axis"])
        if value not in self.moved:
            return self.spelled_out(old, value, axes)
        return self.reduced(old, value, axes)

    def reduced(self, old: Instruction, value: Value, axes: tuple[int, ...]) -> Value:
        """Write a reduction over some axes, of what is before the views of a value."""
        shape = tuple(n for axis, n in enumerate(value.shape) if axis not in axes)
        view = self.moved.get(value)
        if view is not None and view.axes:
            inner = tuple(sorted(view.axes[axis] for axis in axes))
            left = [axis for axis in view.axes if axis not in inner]
            order = tuple(sorted(left).index(axis) for axis in left)
            return self.transposed(self.reduced(old, view.base, inner), order)
        if view is not None:
            inner = tuple(i for many, (axis,) in view.groups if axis in axes for i in many)
            return self.reshaped(self.reduced(old, view.base, inner), shape)
        if old.name == "sum" and axes == tuple(range(value.ndim - 1)):
            parts = self.sum_of_columns(old, value, axes)
            if parts is not None:
                return parts
        spelled = self.spelled_out(old, value, axes)
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

    # Windows ---------------------------------------------------------------------------------------------

    def spelled_out(self, old: Instruction, value: Value, axes: tuple[int, ...]) -> Value | None:
        """Return a reduction of a few elements, one by one; None where a loop does it as well."""
        join = _JOINS.get(old.name)
        last_stays = value.ndim - 1 not in axes
        if (
            join is None
            or value.ndim <= DEEP
            or not last_stays
            or not value.size
            or value not in self.producers
        ):
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
                else self.write(join.__name__, (result, element), shape, dtype, join)
            )
        assert result
        if old.name == "max" and dtype.kind == "f":
            self.windows[value] = Window(axes, result)
        return result

    def element(self, value: Value, places: dict[int, int]) -> Value:
        """Return what a value is where some of its axes, counted from the first, have a place."""
        key = (value, *places.items())
        if key not in self.elements:  # an expression may hold another one many times
            self.elements[key] = self.new_element(value, places)
        return self.elements[key]

    def new_element(self, value: Value, places: dict[int, int]) -> Value:
        shape = tuple(n for axis, n in enumerate(value.shape) if axis not in places)
        if all(value.shape[axis] == 1 for axis in places):
            return self.reshaped(value, shape)
        index = _at(places, value.ndim)
        if value in self.constants:
            return self.constant(self.constants[value][index])
        producer = self.producers.get(value)
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
            return self.like(producer, tuple(inputs), shape)
        return self.item(value, index)

    def chosen(self, old: Instruction, inputs: tuple[Value, ...]) -> Value | None:
        """Return which elements of windows are the maximum, from the bits that the forward pass has kept.

        That is the rule of a maximum: an element is chosen if it equals the maximum, or is NaN.
        """
        if old.name not in ("logical_or", "bitwise_or"):
            return None
        known = [self.producers.get(self.moved[v].base if v in self.moved else v) for v in inputs]
        equal, isnan = known
        if equal is None or isnan is None or (equal.name, isnan.name) != ("equal", "isnan"):
            return None
        value, maximum = equal.inputs
        window = self.windows.get(value)
        if window is None or isnan.inputs != (value,) or self.root(maximum) is not self.root(window.maximum):
            return None
        ones = tuple(1 if axis in window.axes else n for axis, n in enumerate(value.shape))
        if maximum.shape != ones:
            return None
        lengths = [n if axis in window.axes else 1 for axis, n in enumerate(value.shape)]
        dtype = np.dtype(np.uint8 if math.prod(lengths) <= 8 else np.uint16)
        bits = (1 << np.arange(math.prod(lengths))).astype(dtype).reshape(lengths)
        if window.code is None:
            window.code = self.code_of(equal, isnan, old, window, bits)
        code = self.reshaped(window.code, ones)
        both = self.write("bitwise_and", (code, self.constant(bits)), value.shape, dtype, np.bitwise_and)
        zero = self.constant(np.zeros((), dtype))
        known_bits = self.write("not_equal", (both, zero), value.shape, bool, np.not_equal)
        view = self.moved.get(inputs[0])
        return known_bits if view is None else self.transposed(known_bits, view.axes)

    def root(self, value: Value) -> Value:
        while (producer := self.producers.get(value)) is not None and producer.name == "reshape":
            value = producer.inputs[0]
        return value

    def code_of(
        self, equal: Instruction, isnan: Instruction, either: Instruction, window: Window, bits: Any
    ) -> Value:
        """Return an integer for each window, with a bit for each element that was chosen."""
        value = equal.inputs[0]
        shape, zero = window.maximum.shape, self.constant(np.zeros((), bits.dtype))
        code = None
        for place in np.ndindex(*(value.shape[axis] for axis in window.axes)):
            element = self.element(value, dict(zip(window.axes, place, strict=True)))
            same = self.like(equal, (element, window.maximum), shape)
            chosen = self.like(either, (same, self.like(isnan, (element,), shape)), shape)
            bit = self.constant(bits[_at(dict(zip(window.axes, place, strict=True)), value.ndim)].reshape(()))
            mark = self.write("where", (chosen, bit, zero), shape, bits.dtype, np.where)
            code = mark if code is None else self.write("add", (code, mark), shape, bits.dtype, np.add)
        assert code
        return code


_JOINS: Final[Mapping[str, np.ufunc]] = {
    "max": np.maximum,
    "min": np.minimum,
    "sum": np.add,
    "prod": np.multiply,
    "any": np.logical_or,
    "all": np.logical_and,
}
"""What joins two elements, as a reduction joins many."""


def _key(
    name: str, inputs: tuple[Value, ...], shape: Sequence[int], dtype: Any, static: Mapping[str, Any]
) -> Any:
    """Return what two instructions have in common that compute the same."""
    return name, inputs, tuple(shape), np.dtype(dtype), repr(sorted(static.items()))


def _item(array: Any, index: tuple[Any, ...]) -> Any:
    return array[index]


def _at(places: Mapping[int, int], ndim: int) -> tuple[Any, ...]:
    """Return an index of places along some axes, and of all along the others."""
    return tuple(places.get(axis, slice(None)) for axis in range(ndim))


def _without_leading_ones(shape: Sequence[int]) -> tuple[int, ...]:
    first = next((axis for axis, length in enumerate(shape) if length != 1), len(shape))
    return tuple(shape[first:])


def _order_of_groups(groups: Groups, axes: tuple[int, ...]) -> list[int] | None:
    """Return the groups in the order in which a transpose found their axes; None if it has torn one apart."""
    places = []
    for number, (old, _) in enumerate(groups):
        found = [axes[axis] for axis in old]
        if found and found != list(range(found[0], found[0] + len(found))):
            return None
        places.append((found[0] if found else len(axes), number))
    return [number for _, number in sorted(places)]
