"""The replay: a program in the place of the function, call after call.

A :class:`Replay` fetches what the program reads, runs it, and puts what it computed where the function would
have put it. It has to take little time: a small step computes for a few microseconds. So what stays from call
to call is looked at only if the version of the arrays says that one of them was replaced.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import chain
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinygrad_mnist.compiler.executable import Executable, Results
from tinygrad_mnist.compiler.slots import (
    ArgumentSlot,
    ArraySlot,
    BufferSlot,
    DrawSlot,
    OptionSlot,
    ProgressSlot,
    Slot,
    StateSlot,
    TensorSlot,
    is_backwards,
)
from tinygrad_mnist.compiler.trace import Result, Traced
from tinygrad_mnist.engine.structure import array_replaced, arrays_version
from tinygrad_mnist.engine.tape import mark_written
from tinygrad_mnist.engine.tensor import Tensor, _wrapped
from tinygrad_mnist.engine.tree import flatten, unflatten

if TYPE_CHECKING:
    from tinygrad_mnist.compiler.explain import Explanation


_RAISED_ANEW: Final = (ArithmeticError, IndexError, ValueError, TypeError)
"""Errors of a run, which eager raises by itself, with its own words."""

_VALUES: Final = dict.values


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
        slots = list(enumerate(traced.slots))
        self._captured = _Captured(traced, [pair for pair in slots if _stays(pair[1])], executable)
        # Arrays as the key of the call describes them, and what each call has to look at.
        self._plain = [
            (number, slot.position)
            for number, slot in slots
            if isinstance(slot, ArgumentSlot) and _is_plain(slot, leaves)
        ]
        are_plain = [number for number, _ in self._plain]
        self._others = [
            (number, slot) for number, slot in slots if not _stays(slot) and number not in are_plain
        ]
        self._passing = [number for number, slot in slots if not _stays(slot)]
        sources = [slot.rng for _, slot in slots if isinstance(slot, DrawSlot)]
        self._generators = [source for source in sources if isinstance(source, np.random.Generator)]
        self._is_fetched = False  # whether the program has the arrays that stay; `misfit` finds out
        self._stepped = 0  # schedules that were advanced in the last call
        self._tensor_arguments = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self._scalars = _Scalars(traced)
        self._progress = [_Progress(*noted) for noted in traced.progress]
        self._results = [(result.kind, result.position, result.object) for result in traced.results]
        self._gradients = _Gradients(traced, executable)
        self._is_single = False  # whether the result is one Tensor, as that of a step is

    def observed(self, result: Any) -> Any:
        """Note of what types the results of a call that ran as it is are, and return what it returned."""
        if self.kinds is None:
            self.kinds = [type(leaf) for leaf in flatten(result)[0]]
            self._is_single = type(result) is Tensor and self._results[0][0] == "output"
        return result

    def misfit(self, leaves: Sequence[Any]) -> str | None:
        """Return what does not fit a call, or None."""
        if self.kinds is None:
            raise NotNow("the function has not returned yet")
        for place, present in self.traced.presence:
            leaf = leaves[place].origin if isinstance(place, int) else place
            if (leaf.grad is not None) is not present:
                which = f"argument {place}" if isinstance(place, int) else place.name or "a Tensor"
                was = "an array" if present else "None"
                return f"the gradient of {which} was {was}, and is not any more"
        captured, scalars = self._captured, self._scalars
        self._is_fetched = captured.version == arrays_version()
        if not self._is_fetched and (reason := captured.misfit()) is not None:
            return reason
        for position in self._tensor_arguments:
            if id(leaves[position]) in captured.identities:
                raise NotNow("an argument is a Tensor that the function finds outside, too")
        options = list(chain.from_iterable(map(_VALUES, scalars.groups)))
        if options != scalars.options and (reason := scalars.misfit(options)) is not None:
            return reason
        for progress in self._progress:
            if (reason := progress.misfit()) is not None:
                return reason
        return None

    def run(self, leaves: Sequence[Any]) -> Any:
        """Run the program, leave behind what the function does, and return what it returns.

        Raises
        ------
        NotNow
            If the program has found that it does not hold for these values; nothing has changed.
        """
        executable = self.executable
        before = [generator.bit_generator.state for generator in self._generators] if self._generators else ()
        executable.clear()
        try:
            if not self._is_fetched:
                self._captured.fetch()
            executable.place_arguments(self._plain, leaves)
            for number, slot in self._others:
                executable.take(number, slot.fetch(leaves))
            if (outcome := executable.run(self._scalars.values(), self._gradients.memory())) is None:
                raise NotNow("a condition does not hold, or a gradient has NaN")
            return self._committed(leaves, *outcome)
        except BaseException as error:
            # Where an interrupt came too late, what the program wrote is to be completed.
            if (outcome := executable.outcome()) is not None:
                self._committed(leaves, *outcome)
                raise
            for generator, state in zip(self._generators, before, strict=True):
                generator.bit_generator.state = state
            if isinstance(error, _RAISED_ANEW):
                raise NotNow("the program has met an error, which eager raises for what it is") from error
            raise
        finally:
            executable.release(self._passing)

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
        arrays = [slot.fetch(leaves) for slot in self.traced.slots]
        self._captured.version = NEVER  # the program is given copies of what it writes to
        try:
            return [seconds for _, seconds in self.executable.profile(arrays, self._scalars.values())]
        finally:
            for generator, state in zip(drawn, before, strict=True):
                generator.bit_generator.state = state

    def _committed(self, leaves: Sequence[Any], outputs: Sequence[Any], numbers: Sequence[float]) -> Any:
        """Put what the program computed where the function would have put it. To do so again does no harm."""
        traced = self.traced
        if traced.written:
            mark_written(traced.written)
        self._gradients.put(leaves, outputs)
        if traced.assigned:
            for place, position in traced.assigned:
                (leaves[place] if isinstance(place, int) else place)._array = outputs[position]
            array_replaced()
        for progress in self._progress:
            progress.note(numbers)
        for schedule in traced.schedules[self._stepped :]:
            self._stepped += 1
            schedule.step()
        self._stepped = 0
        if self._is_single:
            return _wrapped(outputs[self._results[0][1]])
        found = [
            _as(of, outputs[position])
            if kind == "output"
            else numbers[position]
            if kind == "number"
            else known
            for (kind, position, known), of in zip(self._results, self.kinds or (), strict=True)
        ]
        return unflatten(traced.structure, found)


def _as(kind: type, array: Any) -> Any:
    """Return an array as what the function returns: a Tensor, an array, or a scalar of NumPy's."""
    if issubclass(kind, Tensor):
        return _wrapped(array)
    return array[()] if issubclass(kind, np.generic) else array


# ---- what goes in ----------------------------------------------------------------------------------------

NEVER: Final = -1
"""A version of the arrays that there never is."""


def _stays(slot: Slot) -> bool:
    """Return whether a slot has the same array at each call, unless the version of the arrays changes."""
    if isinstance(slot, (BufferSlot, StateSlot)):
        return True
    if isinstance(slot, (ArraySlot, TensorSlot)):  # one that runs backwards is copied at each call
        return not is_backwards(slot.array if isinstance(slot, ArraySlot) else slot.tensor._array)
    return False


def _is_plain(slot: Slot, leaves: Sequence[Any]) -> bool:
    """Return whether a slot is an argument that the key of a call describes in full: an array in C order."""
    if type(slot) is not ArgumentSlot:
        return False
    leaf = leaves[slot.position]
    array = leaf._array if isinstance(leaf, Tensor) else leaf
    return type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned


class _Captured:
    """The arrays that a program finds outside, and that stay: parameters, buffers, states of optimisers."""

    def __init__(self, traced: Traced, slots: Sequence[tuple[int, Slot]], executable: Executable) -> None:
        self.version = NEVER  # of the arrays, when they were fetched
        self._slots, self._executable, self._leaves = slots, executable, traced.leaves
        groups = [group for optimizer in traced.optimizers for group in optimizer._flat_groups]
        self._layouts = [(group, group.flats) for group in groups]
        self._tensors = [slot.tensor for slot in traced.slots if isinstance(slot, TensorSlot)]
        self._origins = [tensor.origin for tensor in self._tensors]
        self.identities = set(map(id, self._tensors))

    def misfit(self) -> str | None:
        """Return what was changed so that the program no longer holds, or None."""
        for group, flats in self._layouts:
            if group.flats is not flats:
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
        for group, flats in self._layouts:
            if not all(flat.adopt() for flat in flats):
                group.adopt()
                raise NotNow("a parameter was moved")
        version = arrays_version()
        for number, slot in self._slots:
            self._executable.take(number, slot.fetch(()))
        self.version = version


class _Scalars:
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
        self._decisions = [
            (slot, getattr(operator, comparison), other, answer)
            for slot, comparison, other, answer in traced.decisions
        ]
        self._steady: list[tuple[int, Slot]] = []
        self._noted: list[tuple[int, list[Any], int, int | None]] = []
        self._others: list[tuple[int, Slot]] = []
        for number, slot in enumerate(traced.scalars):
            if isinstance(slot, OptionSlot) and any(slot.group is group for group in self.groups):
                self._steady.append((number, slot))
            elif isinstance(slot, ProgressSlot):
                self._noted.append((number, slot.flat.progress, slot.index, slot.place))
            else:
                self._others.append((number, slot))
        self._values = [0.0] * len(traced.scalars)

    def misfit(self, options: list[Any]) -> str | None:
        """Return which of the changed options makes an optimiser compute something else, or None."""
        for group, names, before in self._flags:
            for name, value in zip(names, before, strict=True):
                if group[name] != value:
                    return f"option {name} of the optimiser was {value!r}, is {group[name]!r}"
        for slot, compare, other, answer in self._decisions:
            if compare(now := slot.fetch(()), other) is not answer:
                return f"an option of the optimiser that decides what it computes became {now!r}"
        for number, slot in self._steady:
            self._values[number] = slot.fetch(())
        self.options = options
        return None

    def values(self) -> list[float]:
        """Return the numbers as they are now; `misfit` has looked at the options."""
        values = self._values
        for number, progress, index, place in self._noted:
            note = progress[index]
            values[number] = note if place is None else note[place]
        for number, slot in self._others:
            values[number] = slot.fetch(())
        return values


# ---- what is left behind ---------------------------------------------------------------------------------


class _Progress:
    """What an optimiser notes for parameters that it has updated equally often."""

    def __init__(self, flat: Any, positions: Sequence[int], tree: Any) -> None:
        self._all, self._positions = flat.progress, positions
        self._is_whole = list(positions) == list(range(len(flat.progress)))
        self._is_noted = tree is not None
        self._make = _maker(tree)

    def misfit(self) -> str | None:
        """Return why the parameters can no longer be updated together, or None."""
        noted = self._all if self._is_whole else [self._all[position] for position in self._positions]
        first = noted[0]
        if not self._is_noted or (first is not None and noted.count(first) == len(noted)):
            return None
        if None in noted:
            raise NotNow("an optimiser takes its first step for a parameter")
        return "parameters that an optimiser has updated equally often no longer are"

    def note(self, numbers: Sequence[float]) -> None:
        """Note the same for each parameter, with numbers that the program computed."""
        noted = self._make(numbers)
        if self._is_whole:
            self._all[:] = [noted] * len(self._all)
        else:
            for position in self._positions:
                self._all[position] = noted


def _maker(tree: Any) -> Callable[[Sequence[float]], Any]:
    """Return what makes a note of the program's numbers."""
    if isinstance(tree, Result):
        kind, position = tree.object, tree.position
        return lambda numbers: kind(numbers[position])
    if not isinstance(tree, tuple):
        return lambda numbers: tree
    together = type(tree) if hasattr(tree, "_fields") else lambda *parts: parts
    if all(isinstance(part, Result) for part in tree):  # as Adam's, in few calls
        pairs = [(part.object, part.position) for part in tree]
        return lambda numbers: together(*[kind(numbers[position]) for kind, position in pairs])
    makers = list(map(_maker, tree))
    return lambda numbers: together(*[make(numbers) for make in makers])


class _Gradients:
    """The gradients that each call leaves, in memory that is used again once nobody else holds it.

    Two sets of arrays take turns: what a call leaves stays as it is while the next one may still fail.
    """

    def __init__(self, traced: Traced, executable: Executable) -> None:
        self._executable = executable
        self._removed = [place for place, position in traced.gradients if position is None]
        self._places = [place for place, position in traced.gradients if position is not None]
        self._positions = [position for _, position in traced.gradients if position is not None]
        self._of_arguments = any(isinstance(place, int) for place in (*self._removed, *self._places))
        self._sets: list[_Set | None] = [None, None]
        self._turn = 0

    def memory(self) -> Results | None:
        """Return arrays for the gradients that a call computes."""
        if not self._positions:
            return None
        free = self._sets[self._turn]
        # Of a set that nobody else holds, the counts of references are those that it began with.
        if free is None or list(map(getrefcount, free.held)) != free.counts:
            free = self._sets[self._turn] = _Set(self._executable, self._positions)
        return free.results

    def put(self, leaves: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Leave the gradients of a call with their leaves."""
        places, removed = self._places, self._removed
        if self._of_arguments:
            places, removed = (
                [leaves[place].origin if isinstance(place, int) else place for place in some]
                for some in (places, removed)
            )
        for leaf in removed:
            leaf.grad = None
        if not places:
            return
        turn, first = self._turn, self._positions[0]
        made = self._sets[turn]
        if made is None or outputs[first] is not made.results.arrays[first]:  # it was done, and is done again
            turn = 1 - turn
            made = self._sets[turn]
            assert made
        for leaf, tensor in zip(places, made.tensors, strict=True):
            leaf.grad = tensor
        self._turn = 1 - turn


class _Set:
    """One set of gradients: arrays that a program fills, and the Tensors of these."""

    def __init__(self, executable: Executable, positions: Sequence[int]) -> None:
        arrays: list[Any] = [None] * len(executable.program.outputs)
        for position in positions:
            arrays[position] = executable.new(position)
        self.results = Results(arrays)
        self.tensors = [_wrapped(arrays[position]) for position in positions]
        del arrays
        self.held = [*self.tensors, *(tensor._array for tensor in self.tensors)]
        self.counts = list(map(getrefcount, self.held))
