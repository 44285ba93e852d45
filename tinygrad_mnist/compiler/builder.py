"""The builder: writes a program instruction by instruction, and writes nothing twice.

An instruction that was written before, of the same values, gives the value of before (a common
subexpression). One that changes nothing gives its argument, and one of constants alone is computed here
(folding). What nothing needs in the end is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.program import ELEMENTWISE, VIEWS, Instruction, Program, Value, digest
from tinygrad_mnist.compiler.slots import forwards

LARGEST_FOLDED: Final = 4096
"""Elements up to which an instruction of constants is computed while tracing."""


LONGEST: Final = 20_000
"""The number of instructions that one program may be asked for."""


class TooLong(Exception):
    """Raised where a program becomes so long that to compile it would take minutes: a loop is unrolled."""


class Builder:
    """A program that is being written.

    Attributes
    ----------
    program : Program
        What was written so far.
    """

    def __init__(self) -> None:
        self.program = Program()
        self.log: list[tuple[Any, str]] = []  # what was asked for, and at which line of the user's
        self.has_copies = False  # whether an input runs backwards in memory, so that each call gets a copy
        self._numbers = count()
        self._known: dict[Any, tuple[Value, ...]] = {}  # what was written, by what it computes
        self._constants: dict[Any, Value] = {}
        self._sources: dict[Value, Instruction] = {}
        self._repeated: dict[Any, Any] = {}  # results of `repeat`
        self.lowered: dict[Any, Any] = {}  # what the tracer keeps of what it wrote, for a second trace

    def again(self) -> None:
        """Begin the program anew, for a second trace of the same call.

        What the first one wrote is written already, if it is asked for again; the rest will be left out.
        """
        kept = [instruction for instruction in self.program.instructions if not instruction.effect]
        self.program = Program(constants=self.program.constants, instructions=kept)
        self.log = []

    def value(self, shape: Sequence[int], dtype: Any) -> Value:
        """Return a new value, which nothing defines yet."""
        return Value(next(self._numbers), tuple(map(int, shape)), np.dtype(dtype))

    def input(self, array: Any, known: Value | None = None) -> Value:
        """Return the value of an array that each call is given; ``array`` shows what it looks like.

        ``known`` is the value that the first trace has for it.
        """
        value = self.value(array.shape, array.dtype) if known is None else known
        self.program.inputs.append(value)
        forward = forwards(array)
        self.has_copies |= forward is not array
        self.program.strides.append(tuple(forward.strides))
        return value

    def scalar(self, known: Value | None = None) -> Value:
        """Return the value of a number that each call is given; ``known`` is that of the first trace."""
        value = self.value((), np.float64) if known is None else known
        self.program.scalars.append(value)
        return value

    def constant(self, array: Any) -> Value:
        """Return the value of an array that is the same in each call."""
        array = np.asarray(array)
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._constants:
            value = self._constants[key] = self.value(array.shape, array.dtype)
            array = array.copy()
            array.flags.writeable = False
            self.program.constants[value] = array
        return self._constants[key]

    def is_constant(self, value: Value, number: float | None = None) -> bool:
        """Return whether a value is a constant; with ``number``, whether all its elements are that."""
        array = self.program.constants.get(value)
        if array is None or number is None:
            return array is not None
        return bool(array.size and array.item(0) == number and (array == number).all())

    def instruction(
        self,
        name: str,
        inputs: Sequence[Value],
        shapes: Sequence[tuple[tuple[int, ...], Any]],
        static: Mapping[str, Any],
        run: Callable[..., Any],
        *,
        line: str = "",
        effect: bool = False,
        refuse: Callable[..., None] | None = None,
        key: Any = None,
    ) -> tuple[Value, ...]:
        """Write an instruction, and return its results.

        Parameters
        ----------
        name, inputs, static, run, line, effect, refuse
            See `Instruction`.
        shapes : sequence of (shape, dtype)
            What each result looks like.
        key : hashable, optional
            What two instructions of the same inputs have in common if they compute the same; without one,
            that is told by the static arguments of those that a loop can spell.
        """
        told_by = digest(static) if static else ""
        self.log.append(((name, [value.shape for value in inputs], shapes, told_by), line))
        if len(self.log) > LONGEST:
            raise TooLong
        (shape, dtype), *more = shapes
        if not more and (same := self._simplified(name, inputs, shape, dtype, static)) is not None:
            return (same,)
        if key is None and (name in ELEMENTWISE or name in VIEWS):
            key = ()
        known = None
        if key is not None and not effect:
            known = (name, tuple(inputs), tuple(shape), np.dtype(dtype), told_by, key)
            if known in self._known:
                return self._known[known]
        if not effect and not more and self._is_foldable(inputs, shape):
            with np.errstate(all="ignore"):
                folded = run(*(self.program.constants[value] for value in inputs))
            results: tuple[Value, ...] = (self.constant(np.asarray(folded, dtype)),)
        else:
            results = tuple(self.value(*one) for one in shapes)
            written = Instruction(name, tuple(inputs), results, dict(static), run, line, effect, refuse)
            self.program.instructions.append(written)
            self._sources[results[0]] = written
        if known is not None:
            self._known[known] = results
        return results

    def between(self, given: Collection[Value], wanted: Iterable[Value]) -> list[Instruction] | None:
        """Return the instructions that compute arrays of others and of numbers, in their order.

        They are None if the arrays are not computed of these alone.
        """
        found: dict[Value, Instruction] = {}
        waiting = list(wanted)
        while waiting:
            value = waiting.pop()
            if value.shape and value not in found and value not in given:
                if value not in self._sources:
                    return None
                found[value] = self._sources[value]
                waiting += found[value].inputs
        return sorted(found.values(), key=lambda instruction: instruction.outputs[0].number)

    def repeat(
        self, instructions: Sequence[Instruction], replaced: dict[Value, Value], shape: tuple[int, ...]
    ) -> None:
        """Write elementwise instructions again, for other values, which may have another shape.

        For the same values they are not written twice.

        Parameters
        ----------
        instructions : sequence of Instruction
            What is written again.
        replaced : dict of Value to Value
            What stands in the place of their arguments, where it is not the same; their results are added.
        shape : tuple of int
            The shape of the results.
        """
        key = (*(old.outputs[0] for old in instructions[-1:]), *replaced.values())
        if key in self._repeated:
            replaced.update(self._repeated[key])
            return
        for old in instructions:
            (result,) = old.outputs
            value = replaced[result] = Value(next(self._numbers), shape, result.dtype)
            inputs = tuple([replaced.get(argument, argument) for argument in old.inputs])
            written = Instruction(old.name, inputs, (value,), old.static, old.run, old.line)
            self.program.instructions.append(written)
            self._sources[value] = written
        self._repeated[key] = dict(replaced)
        if len(self.program.instructions) > LONGEST:
            raise TooLong

    def _is_foldable(self, inputs: Sequence[Value], shape: tuple[int, ...]) -> bool:
        constants = self.program.constants
        if not inputs or not constants.keys() >= set(inputs):
            return False
        return max(math.prod(shape), *(value.size for value in inputs)) <= LARGEST_FOLDED

    def _simplified(
        self,
        name: str,
        inputs: Sequence[Value],
        shape: tuple[int, ...],
        dtype: Any,
        static: Mapping[str, Any],
    ) -> Value | None:
        """Return the argument that an instruction would only repeat, bit for bit; None if it does more."""
        if not inputs:
            return None
        first = inputs[0]
        source = self._sources.get(first)
        if name == "astype" and source is not None and source.name == "where":
            return self._choice(source, shape, dtype)
        if first.dtype != dtype:
            return None
        if source is not None and source.name == name and source.inputs[0].shape == shape:
            if name == "reshape":
                return source.inputs[0]
            if name == "transpose" and _undoes(static["axes"], source.static["axes"]):
                return source.inputs[0]
        if name in ("reshape", "broadcast_to", "astype", "identity", "positive") and first.shape == shape:
            return first
        if name == "multiply":
            for one, other in (inputs, inputs[::-1]):
                if one.shape == shape and self.is_constant(other, 1):
                    return one
        if name == "divide" and first.shape == shape and self.is_constant(inputs[1], 1):
            return first
        return None

    def _choice(self, source: Instruction, shape: tuple[int, ...], dtype: Any) -> Value | None:
        """Return a choice between two numbers in another dtype, which the numbers themselves can have."""
        condition, *choices = source.inputs
        constants = self.program.constants
        if not all(map(self.is_constant, choices)):
            return None
        inputs = [condition, *(self.constant(constants[value].astype(dtype)) for value in choices)]
        return self.instruction("where", inputs, [(shape, dtype)], {}, source.run, line=source.line)[0]

    def finished(self) -> Program:
        """Return the program without the instructions, constants and inputs that nothing needs."""
        program = self.program
        needed = {
            *program.outputs, *program.numbers, *program.conditions, *program.watched,
            *(value for pair in program.writes for value in pair),
        }  # fmt: skip
        kept = []
        for instruction in reversed(program.instructions):
            if instruction.effect or not needed.isdisjoint(instruction.outputs):
                needed.update(instruction.inputs)
                kept.append(instruction)
        program.instructions = kept[::-1]
        program.constants = {value: array for value, array in program.constants.items() if value in needed}
        return program


def _undoes(axes: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether one order of axes brings back what another one has moved."""
    return all(other[axis] == place for place, axis in enumerate(axes))
