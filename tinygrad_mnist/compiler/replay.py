"""The replay: a program in the place of the function, call after call.

A :class:`Replay` fetches what the program reads, runs it, and puts what it computed where the function would
have put it. It has to take little time: a small step computes for a few microseconds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import is_
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinygrad_mnist.compiler.executable import Executable
from tinygrad_mnist.compiler.slots import (
    ArgumentSlot,
    BufferSlot,
    DrawSlot,
    OptionSlot,
    ProgressSlot,
    Slot,
    StateSlot,
    TensorSlot,
    forwards,
)
from tinygrad_mnist.compiler.trace import Result, Traced
from tinygrad_mnist.engine.tape import mark_written
from tinygrad_mnist.engine.tensor import Tensor, _wrapped
from tinygrad_mnist.engine.tree import flatten, unflatten

if TYPE_CHECKING:
    from tinygrad_mnist.compiler.explain import Explanation


_ORIGIN: Final = operator.attrgetter("origin")
_HOOKS: Final = operator.attrgetter("hooks")


class NotNow(Exception):
    """Raised where a call has to run as it is, although a program fits it."""


class Replay:
    """A traced function as a compiled program, with all that a call needs besides.

    Parameters
    ----------
    traced : Traced
        The trace.
    executable : Executable
        Its program as machine code.
    leaves : sequence
        The leaves of the arguments of the call that was traced.
    """

    def __init__(self, traced: Traced, executable: Executable, leaves: Sequence[Any]) -> None:
        self.traced = traced
        self.executable = executable
        self.kinds: list[type] | None = None  # of each result: a Tensor, an array, or NumPy's scalar
        slots = traced.slots
        sources = [slot.rng for slot in slots if isinstance(slot, DrawSlot)]
        self._generators = [source for source in sources if isinstance(source, np.random.Generator)]
        self._fetches = _grouped(slots)
        self._passing = [n for n, slot in enumerate(slots) if isinstance(slot, (ArgumentSlot, DrawSlot))]
        self._stepped = 0  # schedules that were advanced in the last call
        groups = [group for optimizer in traced.optimizers for group in optimizer._flat_groups]
        self._flats = [(flat, group) for group in groups for flat in group.flats]
        self._layouts = [(group, group.flats) for group in groups]
        self._origins = [slot.tensor for slot in slots if isinstance(slot, TensorSlot)]
        self._captured = {id(tensor) for tensor in self._origins}
        self._tensor_arguments = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self._were = [tensor.origin for tensor in self._origins]
        known = [id(group) for group, _, _ in traced.options]  # whose options are compared as a whole
        self._decisions, self._other_decisions = (
            [
                (_reader(slot), getattr(operator, comparison), other, answer)
                for slot, comparison, other, answer in traced.decisions
                if (isinstance(slot, OptionSlot) and id(slot.group) in known) is of_options
            ]
            for of_options in (True, False)
        )
        self._scalars = _Scalars(traced)
        self._options: list[Any] = []  # the options of the last call, for which the pattern held
        self._results = [(result.kind, result.position, result.object) for result in traced.results]
        self._gradients = _Gradients(traced)
        # one result that is a Tensor is the usual case, and needs no tree
        self._is_single = len(traced.results) == 1 and repr(traced.structure) == "*"

    def observed(self, result: Any) -> Any:
        """Note of what types the results of a call that ran as it is are, and return what it returned."""
        if self.kinds is None:
            self.kinds = [type(leaf) for leaf in flatten(result)[0]]
        return result

    def misfit(self, leaves: Sequence[Any]) -> str | None:
        """Return what does not fit a call, or None."""
        traced = self.traced
        if self.kinds is None:
            raise NotNow("the function has not returned yet")
        for place, present in traced.presence:
            leaf = leaves[place].origin if isinstance(place, int) else place
            if (leaf.grad is not None) is not present:
                which = f"argument {place}" if isinstance(place, int) else place.name or "a Tensor"
                was = "an array" if present else "None"
                return f"the gradient of {which} was {was}, and is not any more"
        for group_of_flats, flats in self._layouts:
            if group_of_flats.flats is not flats:
                return "the parameters of an optimiser were laid out anew, as one has another dtype"
        for position in self._tensor_arguments:
            if id(leaves[position]) in self._captured:
                raise NotNow("an argument is a Tensor that the function finds outside, too")
        if list(map(_ORIGIN, self._origins)) != self._were:
            pairs = zip(self._origins, self._were, strict=True)
            changed = next(tensor for tensor, origin in pairs if tensor.origin is not origin)
            name = getattr(changed._leaf, "name", None) or f"a Tensor of shape {changed.shape}"
            return f"requires_grad of {name} was changed"
        if any(map(_HOOKS, traced.leaves)):
            return "a parameter has a hook"
        options = [value for group, _, _ in traced.options for value in group.values()]
        if options != self._options:
            if (difference := self._other_options()) is not None:
                return difference
            self._options = options
        if self._other_decisions and (difference := _other_decision(self._other_decisions)) is not None:
            return difference
        for flat, positions, tree in traced.progress:
            if tree is not None and not _are_alike(flat.progress, positions):
                if any(flat.progress[position] is None for position in positions):
                    raise NotNow("an optimiser takes its first step for a parameter")
                return "parameters that an optimiser has updated equally often no longer are"
        return None

    def _other_options(self) -> str | None:
        """Return which option of an optimiser makes it compute something else, or None."""
        for group, names, before in self.traced.options:
            for name, value in zip(names, before, strict=True):
                if group[name] != value:
                    return f"option {name} of the optimiser was {value!r}, is {group[name]!r}"
        return _other_decision(self._decisions)

    def run(self, leaves: Sequence[Any]) -> Any:
        """Run the program, leave behind what the function does, and return what it returns.

        Raises
        ------
        NotNow
            If the program has found that it does not hold for these values; nothing has changed.
        """
        for flat, group in self._flats:
            if not flat.adopt():
                group.adopt()
                raise NotNow("a parameter was moved")
        before = [generator.bit_generator.state for generator in self._generators]
        outcome: list[Any] = []  # what the program computed, once it has written
        try:
            arrays: list[Any] = []
            for fetch in self._fetches:
                arrays += fetch(leaves)
            into = self._gradients.memory()
            # Not a `try` in a `try`: in Python 3.11 an interrupt between the two is caught by neither.
            with suppress(ArithmeticError, IndexError, ValueError, TypeError):  # eager raises its own
                self.executable(arrays, self._scalars.values(), into, outcome)
            if not outcome:
                raise NotNow("a condition does not hold, or a gradient has NaN")
            result = self._committed(leaves, *outcome[0])
        except BaseException:
            if outcome:  # an interrupt came too late: what the program wrote is to be completed
                self._committed(leaves, *outcome[0])
            else:
                for generator, state in zip(self._generators, before, strict=True):
                    generator.bit_generator.state = state
            raise
        finally:
            self.executable.release(self._passing)
        return result

    def explain(self, leaves: Sequence[Any] | None = None) -> Explanation:
        """Return what the program does; with arguments of a call, with the time of each piece, too."""
        from tinygrad_mnist.compiler.explain import explain  # with what draws it, which takes time to load

        program, traced = self.executable.program, self.traced
        places = zip((*program.inputs, *program.scalars), (*traced.slots, *traced.scalars), strict=True)
        names = {value: slot.describe() for value, slot in places}
        return explain(self.executable, names=names, times=() if leaves is None else self._times(leaves))

    def _times(self, leaves: Sequence[Any]) -> list[float]:
        """Return the seconds that each piece takes by itself; generators are left as they are."""
        drawn = [slot.make(slot.rng) for slot in self.traced.slots if isinstance(slot, DrawSlot)]
        before = [generator.bit_generator.state for generator in drawn]
        arrays = [array for fetch in self._fetches for array in fetch(leaves)]
        try:
            return [seconds for _, seconds in self.executable.profile(arrays, self._scalars.values())]
        finally:
            for generator, state in zip(drawn, before, strict=True):
                generator.bit_generator.state = state

    def _committed(self, leaves: Sequence[Any], outputs: Sequence[Any], numbers: Sequence[float]) -> Any:
        """Put what the program computed where the function would have put it."""
        traced = self.traced
        if traced.written:
            mark_written(traced.written)
        self._gradients.put(leaves, outputs)
        for place, position in traced.assigned:
            (leaves[place] if isinstance(place, int) else place)._array = outputs[position]
        for flat, positions, tree in traced.progress:
            noted = _noted(tree, numbers)
            progress = flat.progress
            for index in positions:
                progress[index] = noted
        for schedule in traced.schedules[self._stepped :]:
            self._stepped += 1
            schedule.step()
        self._stepped = 0
        found = [
            _as(of, outputs[position])
            if kind == "output"
            else known(numbers[position])
            if kind == "number"
            else known
            for (kind, position, known), of in zip(self._results, self.kinds or (), strict=True)
        ]
        return found[0] if self._is_single else unflatten(traced.structure, found)


def _other_decision(decisions: Sequence[Any]) -> str | None:
    """Return which number that decides what the program computes has become another, or None."""
    for read, compare, other, answer in decisions:
        if compare(now := read(), other) is not answer:
            return f"a number of the optimiser or schedule that decides what is computed became {now!r}"
    return None


def _as(kind: type, array: Any) -> Any:
    """Return an array as what the function returns: a Tensor, an array, or a scalar of NumPy's."""
    if issubclass(kind, Tensor):
        return _wrapped(array)
    return array[()] if issubclass(kind, np.generic) else array


def _are_alike(progress: Sequence[Any], positions: Sequence[int]) -> bool:
    """Return whether what is noted for some parameters is equal, and not nothing."""
    first = progress[positions[0]]
    return first is not None and all(
        progress[position] is first or progress[position] == first for position in positions
    )


def _noted(tree: Any, numbers: Sequence[float]) -> Any:
    """Return what an optimiser notes, with the numbers of the program in their places."""
    if isinstance(tree, Result):
        return tree.object(numbers[tree.position])
    if isinstance(tree, tuple):
        parts = [_noted(part, numbers) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return tree


# ---- fetching --------------------------------------------------------------------------------------------

Fetch = Callable[[Sequence[Any]], list[Any]]


def _grouped(slots: Sequence[Slot]) -> list[Fetch]:
    """Return functions that fetch the arrays of neighbouring slots of one kind together."""
    fetches: list[Fetch] = []
    start = 0
    while start < len(slots):
        kind = type(slots[start])
        stop = start
        while stop < len(slots) and type(slots[stop]) is kind:
            stop += 1
        fetches.append(_fetch_of(kind, slots[start:stop]))
        start = stop
    return fetches


def _fetch_of(kind: type, slots: Sequence[Any]) -> Fetch:
    if kind is ArgumentSlot:
        positions = [slot.position for slot in slots]
        return lambda leaves: [
            forwards(leaf._array if isinstance(leaf := leaves[position], Tensor) else leaf)
            for position in positions
        ]
    if kind is TensorSlot:
        tensors = [slot.tensor for slot in slots]
        if any(min(tensor._array.strides, default=0) < 0 for tensor in tensors):
            return lambda leaves: [slot.fetch(leaves) for slot in slots]
        return lambda leaves: [tensor._array for tensor in tensors]
    if kind is BufferSlot:
        places = [(slot.namespace, slot.name) for slot in slots]
        return lambda leaves: [namespace[name] for namespace, name in places]
    if kind is StateSlot:
        return _States(slots)
    return lambda leaves: [slot.fetch(leaves) for slot in slots]


class _States:
    """The state arrays of an optimiser: sections of a few flat arrays, which seldom are others."""

    def __init__(self, slots: Sequence[StateSlot]) -> None:
        self.slots = slots
        self.flats = list({(id(slot.flat), slot.name): (slot.flat, slot.name) for slot in slots}.values())
        self.wholes: list[Any] = []
        self.views: list[Any] = []

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        wholes = [flat.state.get(name) for flat, name in self.flats]
        if len(wholes) != len(self.wholes) or any(
            one is not other or one is None for one, other in zip(wholes, self.wholes, strict=True)
        ):
            self.views = [slot.fetch(leaves) for slot in self.slots]
            self.wholes = [flat.state[name] for flat, name in self.flats]
        return self.views


class _Scalars:
    """The numbers that go in: options of optimisers, and what they noted."""

    def __init__(self, traced: Traced) -> None:
        self.slots = traced.scalars
        self.readers: list[Callable[[], float]] = [_reader(slot) for slot in traced.scalars]

    def values(self) -> list[float]:
        """Return the numbers as they are now."""
        return [read() for read in self.readers]


def _reader(slot: Slot) -> Callable[[], float]:
    if isinstance(slot, OptionSlot):
        group, name, place = slot.group, slot.name, slot.place
        if place is None:
            return lambda: group[name]
        return lambda: group[name][place]
    if isinstance(slot, ProgressSlot):
        progress, index, place = slot.flat.progress, slot.index, slot.place
        if place is None:
            return lambda: progress[index]
        return lambda: progress[index][place]
    return lambda: slot.fetch(())


_HOLD_TENSOR: Final = 2
"""References to a spare Tensor that nobody else holds: that of the list, and getrefcount's own."""
_HOLD_ARRAY: Final = 4
"""References to its array: of the list, the Tensor, the place for the program, and getrefcount."""


class _Gradients:
    """The gradients that each call leaves, in memory that is used again once nobody else holds it.

    Two sets of arrays take turns: what a call leaves stays as it is while the next one may still fail.
    """

    def __init__(self, traced: Traced) -> None:
        self.removed = [place for place, position in traced.gradients if position is None]
        self.places = [place for place, position in traced.gradients if position is not None]
        self.positions = [position for _, position in traced.gradients if position is not None]
        self.count = len(traced.program.outputs)
        self.of_arguments = any(isinstance(place, int) for place in (*self.removed, *self.places))
        self.current = _Set()
        self.spare = _Set()

    def memory(self) -> list[Any] | None:
        """Return an array for each output that may be written to, and None for the others."""
        spare = self.spare
        if not spare.tensors:
            return None
        tensors, arrays = list(map(getrefcount, spare.tensors)), list(map(getrefcount, spare.arrays))
        if max(tensors) <= _HOLD_TENSOR and max(arrays) <= _HOLD_ARRAY:
            return spare.into
        into: list[Any] = [None] * self.count
        for number, position in enumerate(self.positions):
            if tensors[number] <= _HOLD_TENSOR and arrays[number] <= _HOLD_ARRAY:
                into[position] = spare.into[position]
        return into

    def put(self, leaves: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Leave the gradients of a call with their leaves."""
        places, removed = self.places, self.removed
        if self.of_arguments:
            places, removed = (
                [leaves[place].origin if isinstance(place, int) else place for place in some]
                for some in (places, removed)
            )
        for leaf in removed:
            leaf.grad = None
        arrays = [outputs[position] for position in self.positions]
        spare = self.spare
        if not (len(spare.arrays) == len(arrays) and all(map(is_, spare.arrays, arrays))):
            spare = _Set(arrays, self.positions, self.count)
        for leaf, tensor in zip(places, spare.tensors, strict=True):
            leaf.grad = tensor
        self.current, self.spare = spare, self.current


class _Set:
    """One set of gradients: arrays, the Tensors of these, and what a program is given to write there."""

    def __init__(self, arrays: Sequence[Any] = (), positions: Sequence[int] = (), count: int = 0) -> None:
        self.arrays = list(arrays)
        self.tensors = [_wrapped(array) for array in arrays]
        self.into: list[Any] = [None] * count
        for position, array in zip(positions, arrays, strict=True):
            self.into[position] = array, array.__array_interface__["data"][0]
