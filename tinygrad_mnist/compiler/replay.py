"""The replay: a program in the place of the function, call after call.

A :class:`Replay` fetches what the program reads, runs it, and puts what it computed where the function would
have put it. It has to take little time: a small step computes for a few microseconds. So what stays from call
to call is looked at only if the version of the arrays says that one of them was replaced.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinygrad_mnist.compiler.effects import Gradients, Progress
from tinygrad_mnist.compiler.executable import Executable
from tinygrad_mnist.compiler.inputs import NEVER, Captured, NotNow, Scalars, stays
from tinygrad_mnist.compiler.slots import ArgumentGradientSlot, ArgumentSlot, DrawSlot, GradientSlot, Slot
from tinygrad_mnist.compiler.traced import Traced
from tinygrad_mnist.engine.structure import array_replaced, arrays_version
from tinygrad_mnist.engine.tape import Node, mark_written
from tinygrad_mnist.engine.tensor import Tensor, _wrapped
from tinygrad_mnist.engine.tree import flatten, unflatten

if TYPE_CHECKING:
    from tinygrad_mnist.compiler.explain import Explanation


_RAISED_ANEW: Final = (ArithmeticError, IndexError, ValueError, TypeError, struct.error)
"""Errors of a run, which eager raises by itself."""


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
        self.kinds = traced.kinds  # of each result: a Tensor, an array, or NumPy's scalar; None if not known
        slots = list(enumerate(traced.slots))
        self.captured = Captured(traced, [pair for pair in slots if stays(pair[1])], executable)
        # Arrays as the key of the call describes them, and what each call has to look at.
        self.plain = [
            (number, slot.position)
            for number, slot in slots
            if isinstance(slot, ArgumentSlot) and _is_plain(slot, leaves) and number not in executable.targets
        ]
        are_plain = [number for number, _ in self.plain]
        self.others = [
            (number, slot) for number, slot in slots if not stays(slot) and number not in are_plain
        ]
        self._gradients_before = [
            (number, slot) for number, slot in slots if isinstance(slot, (GradientSlot, ArgumentGradientSlot))
        ]
        self.passing = [number for number, slot in slots if not stays(slot)]
        sources = [slot.rng for _, slot in slots if isinstance(slot, DrawSlot)]
        self.generators = [source for source in sources if isinstance(source, np.random.Generator)]
        self._is_fetched = False  # whether the program has the arrays that stay; `misfit` finds out
        self._stepped = 0  # schedules that were advanced in the last call
        self._tensor_arguments = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.scalars = Scalars(traced)
        self.progress = [Progress(*noted) for noted in traced.progress]
        self.results = [(result.kind, result.position, result.object) for result in traced.results]
        self.gradients = Gradients(traced, executable)
        self.is_single = self._has_one_tensor()  # as that of a step is

    def _has_one_tensor(self) -> bool:
        """Return whether the result is one Tensor that the program computes."""
        is_leaf = not isinstance(self.traced.structure, (dict, list, tuple, type(None)))
        return is_leaf and self.results[0][0] == "output" and self.kinds == [Tensor]

    def observed(self, result: Any) -> Any:
        """Note of what types the results of a call that ran as it is are, and return them as a replay does.

        They are off the tape: a walk has used it up, or nothing there requires a gradient.
        """
        leaves, structure = flatten(result)
        if self.kinds is None:
            self.kinds = list(map(type, leaves))
            self.is_single = self._has_one_tensor()
        if not any(isinstance(leaf, Tensor) and type(leaf.origin) is Node for leaf in leaves):
            return result
        return unflatten(structure, [_off_the_tape(leaf) for leaf in leaves])

    @property
    def is_simple(self) -> bool:
        """True if a call leaves behind no more than gradients and notes of optimisers."""
        traced = self.traced
        return (
            not (traced.assigned or traced.schedules or self.gradients.of_arguments)
            and all(each.is_whole and each.is_noted for each in self.progress)
            and not any(isinstance(place, int) for place, _ in traced.presence)
        )

    def misfit(self, leaves: Sequence[Any]) -> str | None:
        """Return what does not fit a call, or None."""
        for place, present in self.traced.presence:
            leaf = leaves[place].origin if isinstance(place, int) else place
            if (leaf.grad is not None) is not present:
                which = f"argument {place}" if isinstance(place, int) else place.name or "a Tensor"
                was = "an array" if present else "None"
                return f"the gradient of {which} was {was}, and is not any more"
        for number, slot in self._gradients_before:
            if not self.executable.fits(number, slot.fetch(leaves)):
                return f"the {slot.describe()} lies in another order in memory"
        captured = self.captured
        self._is_fetched = captured.version == arrays_version()
        if not self._is_fetched and (reason := captured.misfit()) is not None:
            return reason
        if not captured.is_writeable():
            raise NotNow("an array that is written to became read-only")
        for position in self._tensor_arguments:
            if id(leaves[position]) in captured.identities:
                raise NotNow("an argument is a Tensor that the function finds outside, too")
        if (reason := self.scalars.misfit()) is not None:
            return reason
        for progress in self.progress:
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
        before = [generator.bit_generator.state for generator in self.generators] if self.generators else ()
        executable.clear()
        try:
            if not self._is_fetched:
                self.captured.fetch()
            executable.place_arguments(self.plain, leaves)
            for number, slot in self.others:
                executable.take(number, slot.fetch(leaves))
            if (outcome := executable.run(self.scalars.values(), self.gradients.memory())) is None:
                raise NotNow("a condition does not hold, or a gradient has NaN")
            return self.committed(leaves, *outcome)
        except BaseException as error:
            self.recover(leaves, before, error)
            raise
        finally:
            executable.release(self.passing)

    def recover(self, leaves: Sequence[Any], before: Sequence[Any], error: BaseException) -> None:
        """Complete a run that an interrupt came too late for, or undo what it drew before.

        Raises
        ------
        NotNow
            If the error is one that eager raises by itself, with its own words. One of what is outside is
            not: what is outside is not to be done a second time.
        """
        if (outcome := self.executable.outcome()) is not None:
            self.committed(leaves, *outcome)
            return
        for generator, state in zip(self.generators, before, strict=True):
            generator.bit_generator.state = state
        if isinstance(error, _RAISED_ANEW) and error is not self.executable.failure:
            raise NotNow("the program has met an error, which eager raises for what it is") from error

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
        self.captured.version = NEVER  # the program is given copies of what it writes to
        try:
            return [seconds for _, seconds in self.executable.profile(arrays, self.scalars.values())]
        finally:
            for generator, state in zip(drawn, before, strict=True):
                generator.bit_generator.state = state

    def committed(self, leaves: Sequence[Any], outputs: Sequence[Any], numbers: Sequence[float]) -> Any:
        """Put what the program computed where the function would have put it. To do so again does no harm."""
        traced = self.traced
        if traced.written:
            mark_written(traced.written)
        self.gradients.put(leaves, outputs)
        if traced.assigned:
            for place, position in traced.assigned:
                (leaves[place] if isinstance(place, int) else place)._array = outputs[position]
            array_replaced()
        for progress in self.progress:
            progress.note(numbers)
        for schedule in traced.schedules[self._stepped :]:
            self._stepped += 1
            schedule.step()
        self._stepped = 0
        return self.result_of(outputs, numbers)

    def result_of(self, outputs: Sequence[Any], numbers: Sequence[float]) -> Any:
        """Return what the function returns, of what the program computed."""
        if self.is_single:
            return _wrapped(outputs[self.results[0][1]])
        found = [
            _as(of, outputs[position])
            if kind == "output"
            else known(numbers[position])
            if kind == "number"
            else known
            for (kind, position, known), of in zip(self.results, self.kinds or (), strict=True)
        ]
        return unflatten(self.traced.structure, found)


def _off_the_tape(leaf: Any) -> Any:
    return _wrapped(leaf._array) if isinstance(leaf, Tensor) and type(leaf.origin) is Node else leaf


def _as(kind: type, array: Any) -> Any:
    """Return an array as what the function returns: a Tensor, an array, or a scalar of NumPy's."""
    if issubclass(kind, Tensor):
        return _wrapped(array)
    return array[()] if issubclass(kind, np.generic) else array


def _is_plain(slot: Slot, leaves: Sequence[Any]) -> bool:
    """Return whether a slot is an argument that the key of a call describes in full: an array in C order."""
    if type(slot) is not ArgumentSlot:
        return False
    leaf = leaves[slot.position]
    array = leaf._array if isinstance(leaf, Tensor) else leaf
    return type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned
