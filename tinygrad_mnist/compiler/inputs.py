"""The inputs of a replay: what stays from call to call, and the numbers that each call reads anew."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final

from tinygrad_mnist.compiler.executable import Executable
from tinygrad_mnist.compiler.slots import (
    ArraySlot,
    BufferSlot,
    OptionSlot,
    ProgressSlot,
    Slot,
    StateSlot,
    TensorSlot,
    is_backwards,
)
from tinygrad_mnist.compiler.traced import Traced
from tinygrad_mnist.engine.structure import arrays_version


class NotNow(Exception):
    """Raised where a call has to run as it is, although a program fits it."""


_WRITEABLE: Final = attrgetter("flags.writeable")

NEVER: Final = -1
"""A version of the arrays that there never is."""


def stays(slot: Slot) -> bool:
    """Return whether a slot has the same array at each call, unless the version of the arrays changes."""
    if isinstance(slot, (BufferSlot, StateSlot)):
        return True
    if isinstance(slot, (ArraySlot, TensorSlot)):  # one that runs backwards is copied at each call
        return not is_backwards(slot.array if isinstance(slot, ArraySlot) else slot.tensor._array)
    return False


class Captured:
    """The arrays that a program finds outside, and that stay: parameters, buffers, states of optimisers."""

    def __init__(self, traced: Traced, slots: Sequence[tuple[int, Slot]], executable: Executable) -> None:
        self.version = NEVER  # of the arrays, when they were fetched
        self._slots, self._executable, self._leaves = slots, executable, traced.leaves
        groups = [group for optimizer in traced.optimizers for group in optimizer._flat_groups]
        self._layouts = [(group, group.flats) for group in groups]
        self._tensors = [slot.tensor for slot in traced.slots if isinstance(slot, TensorSlot)]
        self._origins = [tensor.origin for tensor in self._tensors]
        self.identities = set(map(id, self._tensors))
        self._updated = {id(parameter) for group in groups for parameter in group.parameters}
        self._written: list[Any] = []

    def misfit(self) -> str | None:
        """Return what was changed so that the program no longer holds, or None."""
        for group, flats in self._layouts:
            if group.adopt() is not flats:
                return "the parameters of an optimiser were laid out anew, as one has another dtype"
        for tensor, origin in zip(self._tensors, self._origins, strict=True):
            if tensor.origin is not origin:
                name = getattr(tensor._leaf, "name", None) or f"a Tensor of shape {tensor.shape}"
                return f"requires_grad of {name} was changed"
        if any(leaf.hooks for leaf in self._leaves):
            return "a parameter has a hook"
        return None

    def fetch(self) -> None:
        """Give the program the arrays that are there now."""
        version = arrays_version()
        written = []
        for number, slot in self._slots:
            self._executable.take(number, array := slot.fetch(()))
            if number in self._executable.targets and not self._is_optimizers(slot):
                written.append(array)
        self._written = written
        self.version = version

    def is_writeable(self) -> bool:
        """Return whether what the program writes to, and no optimiser owns, is still writeable."""
        return all(map(_WRITEABLE, self._written))

    def _is_optimizers(self, slot: Slot) -> bool:
        """Return whether an optimiser holds the memory, in a flat array of its own."""
        is_updated = isinstance(slot, TensorSlot) and id(slot.tensor) in self._updated
        return is_updated or isinstance(slot, StateSlot)


_Decision = tuple[Slot, Any, float, bool]
"""A number, what it is compared with and how, and the answer that a program was made for."""

VALUES: Final = dict.values


class Scalars:
    """The numbers that go in: options of optimisers, which seldom change, and what was noted in a step.

    Attributes
    ----------
    groups : list of dict
        The groups of the optimisers.
    options : list
        Their options in the last call.
    """

    def __init__(self, traced: Traced) -> None:
        self.groups = [group for group, _, _ in traced.options]
        self.options: list[Any] = []
        self._flags = traced.options
        self._decisions: list[_Decision] = []
        self._other_decisions: list[_Decision] = []  # about numbers that are looked at in each call
        for slot, comparison, other, answer in traced.decisions:
            made = slot, getattr(operator, comparison), other, answer
            (self._decisions if self._is_option(slot) else self._other_decisions).append(made)
        self._steady: list[tuple[int, Slot]] = []
        self._noted: list[tuple[int, list[Any], int, int | None]] = []
        self._others: list[tuple[int, Slot]] = []
        for number, slot in enumerate(traced.scalars):
            if self._is_option(slot):
                self._steady.append((number, slot))
            elif isinstance(slot, ProgressSlot):
                self._noted.append((number, slot.flat.progress, slot.index, slot.place))
            else:
                self._others.append((number, slot))
        self._values = [0.0] * len(traced.scalars)

    def _is_option(self, slot: Slot) -> bool:
        """Return whether a slot is an option of one of the groups."""
        return isinstance(slot, OptionSlot) and any(slot.group is group for group in self.groups)

    def misfit(self) -> str | None:
        """Return which number that decides what the program computes has become another, or None."""
        options = list(chain.from_iterable(map(VALUES, self.groups)))
        if options != self.options:
            for group, names, before in self._flags:
                for name, value in zip(names, before, strict=True):
                    if group[name] != value:
                        return f"option {name} of the optimiser was {value!r}, is {group[name]!r}"
            if (reason := _other_answer(self._decisions)) is not None:
                return reason
            for number, slot in self._steady:
                self._values[number] = slot.fetch(())
            self.options = options
        return self.other_misfit()

    def other_misfit(self) -> str | None:
        """Return the same of the numbers that are no options of the groups."""
        return _other_answer(self._other_decisions) if self._other_decisions else None

    def values(self) -> list[float]:
        """Return the numbers as they are now; `misfit` has looked at the options."""
        values = self._values
        for number, progress, index, place in self._noted:
            note = progress[index]
            values[number] = note if place is None else note[place]
        for number, slot in self._others:
            values[number] = slot.fetch(())
        return values


def _other_answer(decisions: Sequence[_Decision]) -> str | None:
    """Return which number is not what the program was made for, or None."""
    for slot, compare, other, answer in decisions:
        if compare(now := slot.fetch(()), other) is not answer:
            return f"a number of the optimiser or schedule that decides what is computed became {now!r}"
    return None
