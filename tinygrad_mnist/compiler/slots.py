"""Slots: where the inputs of a program lie, and where what it computes goes.

A program knows arrays alone. A :class:`Slot` knows whose array an input is: a parameter's, a buffer's, a
state of the optimiser. It is asked again at each call, so that an array that was replaced in between is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.tape import Leaf
from tinygrad_mnist.engine.tensor import Tensor


def is_backwards(array: Any) -> bool:
    """Return whether an array runs backwards in memory, as `x[::-1]` does."""
    return any(stride < 0 for stride in array.strides)


def forwards(array: Any) -> Any:
    """Return an array as it is, and a copy of one that runs backwards in memory."""
    return array.copy() if is_backwards(array) else array


_ALIGNED: Final = 0x100
_C_OR_F: Final = 0x3
"""Bits of ``array.flags.num``."""


def in_order(gradient: Any) -> Any:
    """Return a gradient as it is if it lies in C or in Fortran's order, as most do; else a copy in C order.

    A user may give any: a slice, what `np.broadcast_to` returns, one that runs backwards. So two programs are
    enough for all of them.
    """
    bits = gradient.flags.num
    return gradient if bits & _ALIGNED and bits & _C_OR_F else gradient.copy(order="C")


class Slot:
    """A place that holds an array, or a number."""

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return what is there now; ``arguments`` are the leaves of the call's."""
        raise NotImplementedError

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place among those of its kind, in one trace and the next."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return what it is, in words."""
        return type(self).__name__


@dataclass(eq=False)
class ArgumentSlot(Slot):
    """An argument of the call, by its position among the leaves."""

    position: int

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return (self.position,)

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the array of the argument."""
        argument = arguments[self.position]
        return forwards(argument._array if isinstance(argument, Tensor) else argument)

    def describe(self) -> str:
        """Return which argument it is."""
        return f"argument {self.position}"


@dataclass(eq=False)
class TensorSlot(Slot):
    """A Tensor that the function uses without being given it, such as a parameter."""

    tensor: Tensor

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the array that the Tensor has now."""
        return forwards(self.tensor._array)

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return (id(self.tensor),)

    def describe(self) -> str:
        """Return the name of the parameter, if it is one."""
        name = getattr(self.tensor._leaf, "name", None)
        return f"parameter {name}" if name else f"a Tensor of shape {self.tensor.shape}"


@dataclass(eq=False)
class ArraySlot(Slot):
    """A NumPy array that the function uses without being given it."""

    array: Any

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the array itself."""
        return forwards(self.array)

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return (id(self.array),)


@dataclass(eq=False)
class BufferSlot(Slot):
    """A buffer of a module, by its name there."""

    namespace: dict[str, Any]  # of the module, which is not kept alive
    name: str

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the array that the buffer has now."""
        return self.namespace[self.name]

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return id(self.namespace), self.name

    def describe(self) -> str:
        """Return its name."""
        return f"buffer {self.name}"


@dataclass(eq=False)
class GradientSlot(Slot):
    """The gradient that a leaf has before the call."""

    leaf: Leaf

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the array of the gradient."""
        return in_order(self.leaf.grad._array)

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return (id(self.leaf),)

    def describe(self) -> str:
        """Return the name of the parameter, if it is one."""
        return f"gradient of {self.leaf.name or 'a Tensor'}"


@dataclass(eq=False)
class ArgumentGradientSlot(ArgumentSlot):
    """The gradient that an argument has before the call."""

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the array of the gradient."""
        return in_order(arguments[self.position].origin.grad._array)

    def describe(self) -> str:
        """Return of which argument it is."""
        return f"gradient of argument {self.position}"


@dataclass(eq=False)
class StateSlot(Slot):
    """A state array of an optimiser: the section that belongs to one parameter."""

    flat: Any
    name: str
    index: int

    def __post_init__(self) -> None:
        self.whole: Any = None
        self.view: Any = None

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the section, in the shape of the parameter."""
        whole = self.flat.state_array(self.name)
        if whole is not self.whole:
            self.whole, self.view = whole, self.flat._view(whole, self.index)
        return self.view

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return id(self.flat), self.name, self.index

    def describe(self) -> str:
        """Return the name of the state."""
        return f"state {self.name} of parameter {self.index}"


@dataclass(eq=False)
class DrawSlot(Slot):
    """Numbers that a generator draws anew for each call."""

    make: Callable[[Any], np.random.Generator]
    rng: Any
    method: str
    arguments: tuple[Any, ...]

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Draw the numbers."""
        return getattr(self.make(self.rng), self.method)(*self.arguments)

    def describe(self) -> str:
        """Return how they are drawn."""
        return f"drawn by {self.method}"

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return id(self.rng), self.method, repr(self.arguments)


@dataclass(eq=False)
class OptionSlot(Slot):
    """An option of a parameter group, such as its learning rate; ``place`` is a position in a tuple."""

    group: dict[str, Any]
    name: str
    place: int | None

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the number that the option has now."""
        value = self.group[self.name]
        return value if self.place is None else value[self.place]

    def describe(self) -> str:
        """Return the name of the option."""
        return f"option {self.name}" + ("" if self.place is None else f"[{self.place}]")

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return id(self.group), self.name, self.place


@dataclass(eq=False)
class RateSlot(Slot):
    """A rate of a schedule: that of the parameter group ``place`` after ``ahead`` further steps."""

    schedule: Any
    place: int
    ahead: int

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return what `get_last_lr` would then return."""
        schedule = self.schedule
        rates = schedule._rates(schedule.last_epoch + self.ahead) if self.ahead else schedule._last_lr
        return rates[self.place]

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return id(self.schedule), self.place, self.ahead

    def describe(self) -> str:
        """Return what it is, in words."""
        return f"rate {self.place} of a schedule" + (f", {self.ahead} steps later" if self.ahead else "")


@dataclass(eq=False)
class EpochSlot(Slot):
    """The number of steps of a schedule, after ``ahead`` further ones."""

    schedule: Any
    ahead: int

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the number."""
        return self.schedule.last_epoch + self.ahead

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return id(self.schedule), self.ahead

    def describe(self) -> str:
        """Return what it is, in words."""
        return "steps of a schedule" + (f", {self.ahead} later" if self.ahead else "")


@dataclass(eq=False)
class ProgressSlot(Slot):
    """A number that an optimiser keeps for a parameter, such as its steps; ``place`` as in `OptionSlot`."""

    flat: Any
    index: int
    place: int | None

    def fetch(self, arguments: Sequence[Any]) -> Any:
        """Return the number that is there now."""
        value = self.flat.progress[self.index]
        return value if self.place is None else value[self.place]

    def describe(self) -> str:
        """Return whose number it is."""
        return f"progress of parameter {self.index}"

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of the place."""
        return id(self.flat), self.index, self.place
