"""Views of images as an instruction writes them: of a view of a view one remains, or none.

`Views` appends instructions to a program that is written anew. It knows of each value whether it is a
transpose of another one, or a reshape that joins axes of another one. So a transpose of a transpose is one
transpose, and a reshape of a transpose is a transpose of a reshape wherever no axis is torn apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any, Final, TypeAlias

import numpy as np

from tinygrad_mnist.compiler.program import Instruction, Program, Value, digest

DEEP: Final = 3
"""The fewest axes of what a view moves behind: matrices stay as they are."""

Groups: TypeAlias = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
"""Which axes of a shape become which axes of another one, by a reshape."""


@dataclass(frozen=True)
class Transposed:
    """A value as a transpose of another one.

    Attributes
    ----------
    base : Value
        What it is a view of.
    axes : tuple of int
        Its axes among those of the base, as `Instruction.static` has them.
    """

    base: Value
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Joined:
    """A value as another one with neighbouring axes joined.

    Attributes
    ----------
    base : Value
        What it is a view of.
    groups : Groups
        Which axes of the base become each axis.
    """

    base: Value
    groups: Groups

    def is_like(self, other: Joined) -> bool:
        """Return whether a place in one base and the same place in the other become the same place.

        ``(3, 4)`` and ``(4, 3)`` are both joined to 12 elements, but each place becomes another one.
        """
        return self.groups == other.groups and self.base.shape == other.base.shape


def groups_of(old: Sequence[int], new: Sequence[int]) -> Groups:
    """Return the smallest groups of axes that a reshape turns into each other.

    >>> groups_of((2, 3, 4, 5), (6, 2, 2, 5))
    (((0, 1), (0,)), ((2,), (1, 2)), ((3,), (3,)))
    """
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        begin, other = i, j
        i, j = _end_of_group(old, new, i, j)
        # An axis of length 1 goes with the one before it, unless it has a counterpart.
        j = _after_ones(new, j, unless=old[i : i + 1])
        i = _after_ones(old, i, unless=new[j : j + 1])
        found.append((tuple(range(begin, i)), tuple(range(other, j))))
    return tuple(found)


def _end_of_group(old: Sequence[int], new: Sequence[int], i: int, j: int) -> tuple[int, int]:
    """Return the axes after the fewest axes from `i` and `j` on that have as many elements."""
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
    return i, j


def _after_ones(shape: Sequence[int], axis: int, unless: Sequence[int]) -> int:
    """Return the next axis that is not of length 1, unless the next one of another shape is so, too."""
    while axis < len(shape) and shape[axis] == 1 and tuple(unless) != (1,):
        axis += 1
    return axis


class Views:
    """A program that is written anew.

    Attributes
    ----------
    constants : dict of Value to ndarray
        Those of the program, and more.
    written : list of Instruction
        What was written so far.
    producers : dict of Value to Instruction
        What computes each value.
    transposes : dict of Value to Transposed
        The values that are transposes.
    joins : dict of Value to Joined
        The values that are reshapes with fewer axes.
    line : str
        The user's line that asks for what is written now.
    """

    def __init__(self, program: Program):
        self.number = 1 + max(
            (value.number for i in program.instructions for value in (*i.inputs, *i.outputs)), default=0
        )
        self.constants = dict(program.constants)
        self.written: list[Instruction] = []
        self.producers: dict[Value, Instruction] = {}
        self.transposes: dict[Value, Transposed] = {}
        self.joins: dict[Value, Joined] = {}
        self.known: dict[Any, Value] = {}
        self.line = ""

    def append(self, instruction: Instruction) -> None:
        """Append an instruction as it is."""
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
        key = key_of(name, inputs, shape, dtype, static or {})
        if key not in self.known:
            value = self.known[key] = Value(self.number, tuple(shape), np.dtype(dtype))
            self.number += 1
            self.append(Instruction(name, inputs, (value,), static or {}, run, self.line))
        return self.known[key]

    def like(self, old: Instruction, inputs: tuple[Value, ...], shape: Sequence[int]) -> Value:
        """Write an elementwise instruction again, for other arguments."""
        return self.write(old.name, inputs, shape, old.outputs[0].dtype, old.run, old.static)

    def constant(self, array: Any) -> Value:
        """Return the value of a constant; the same one twice is one."""
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
        earlier = self.transposes.get(value)
        if earlier is not None:
            value, axes = earlier.base, tuple(earlier.axes[axis] for axis in axes)
        if axes == tuple(range(value.ndim)):
            return value
        shape = tuple(value.shape[axis] for axis in axes)
        made = self.write(
            "transpose", (value,), shape, value.dtype, methodcaller("transpose", axes), {"axes": axes}
        )
        if value.ndim >= DEEP and value in self.producers:
            self.transposes[made] = Transposed(value, axes)
        return made

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """Return a value in another shape, as a transpose of a reshape where it is a transpose."""
        if value in self.joins:
            value = self.joins[value].base
        if shape == value.shape:
            return value
        groups = groups_of(value.shape, shape) if 0 not in shape else ()
        transpose = self.transposes.get(value)
        if transpose is not None and (order := _order_of_groups(groups, transpose.axes)):
            axes = [axis for number in order for axis in groups[number][1]]
            base = self.reshaped(transpose.base, tuple(shape[axis] for axis in axes))
            return self.transposed(base, tuple(map(axes.index, range(len(axes)))))
        producer = self.producers.get(value)
        if producer is not None and producer.name == "reshape":
            return self.reshaped(producer.inputs[0], shape)
        made = self.write("reshape", (value,), shape, value.dtype, partial(np.reshape, shape=shape))
        joins = groups and all(len(new) == 1 for _, new in groups) and len(shape) < value.ndim
        if joins and value.ndim >= DEEP and value in self.producers and transpose is None:
            self.joins[made] = Joined(value, groups)
        return made

    def item(self, value: Value, index: tuple[Any, ...]) -> Value:
        """Return a part of a value; `index` consists of slices and numbers."""
        shape = np.broadcast_to(np.empty(()), value.shape)[index].shape
        return self.write(
            "getitem", (value,), shape, value.dtype, partial(_item, index=index), {"index": index}
        )


def key_of(
    name: str, inputs: tuple[Value, ...], shape: Sequence[int], dtype: Any, static: Mapping[str, Any]
) -> Any:
    """Return what two instructions have in common that compute the same."""
    return name, inputs, tuple(shape), np.dtype(dtype), digest(static)


def _item(array: Any, index: tuple[Any, ...]) -> Any:
    return array[index]


def _order_of_groups(groups: Groups, axes: tuple[int, ...]) -> list[int] | None:
    """Return the groups in the order in which a transpose found their axes; None if it has torn one apart."""
    places = []
    for number, (old, _) in enumerate(groups):
        found = [axes[axis] for axis in old]
        if found and found != list(range(found[0], found[0] + len(found))):
            return None
        places.append((found[0] if found else len(axes), number))
    return [number for _, number in sorted(places)]
