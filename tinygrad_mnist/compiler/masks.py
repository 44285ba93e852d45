"""The mask of ReLU, read from its result: then nothing needs what it was computed of.

The walk back asks where the argument of a ReLU was positive. Where the argument is a product and a bias, it
would be kept in memory for that alone, beside the result, which the next product needs. But the result is
positive at the same places. So a product can add the bias and apply ReLU before it stores anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from tinygrad_mnist.compiler.convolutions import CONVOLUTIONS
from tinygrad_mnist.compiler.program import VIEWS, Instruction, Program, Value


def masks_of_results(program: Program, instructions: Sequence[Instruction]) -> list[Instruction]:
    """Return instructions with the same meaning, in which masks of ReLU are read from its results.

    Parameters
    ----------
    program : Program
        What a call computes.
    instructions : sequence of Instruction
        Those of its instructions that something needs.
    """
    return _Masks(program, instructions).written


class _Masks:
    """The work of :func:`masks_of_results`."""

    def __init__(self, program: Program, instructions: Sequence[Instruction]):
        self.constants = program.constants
        self.producers = {value: i for i in instructions for value in i.outputs}
        self.users: dict[Value, list[Instruction | None]] = defaultdict(list)
        for instruction in instructions:
            for value in instruction.inputs:
                self.users[value].append(instruction)
        kept = (*program.outputs, *program.watched, *(new for new, _ in program.writes))
        for value in kept:
            self.users[value].append(None)
        self.number = max((value.number for value in self.producers), default=0)
        self.results: dict[Value, Value] = {}  # of each argument of ReLU that only masks need besides
        self.compared: dict[Value, Value] = {}  # comparisons of arguments, as those of results
        self.written: list[Instruction] = []
        for instruction in instructions:
            inputs = tuple([self.of_result(value) for value in instruction.inputs])
            self.written.append(
                instruction if inputs == instruction.inputs else replace(instruction, inputs=inputs)
            )
            argument = self.argument_of_relu(instruction)
            if argument is not None and self.only_masks_need(argument, instruction):
                self.results[argument] = instruction.outputs[0]

    def is_zero(self, value: Value) -> bool:
        array = self.constants.get(value)
        return array is not None and array.size == 1 and not array.any()

    def argument_compared(self, value: Value) -> Value | None:
        """Return what is compared with 0, where its ReLU compares in the same way: ``> 0`` or ``<= 0``."""
        producer = self.producers.get(value)
        if producer is None or producer.name not in ("less", "greater", "less_equal"):
            return None
        first, second = producer.inputs
        if producer.name == "less":
            first, second = second, first
        return first if self.is_zero(second) else None

    def argument_of_relu(self, instruction: Instruction) -> Value | None:
        """Return the argument x of ``where(0 < x, x, where(x <= 0, 0, x))``; None of other instructions."""
        if instruction.name != "where":
            return None
        condition, x, other = instruction.inputs
        inner = self.producers.get(other)
        if self.argument_compared(condition) is not x or inner is None or inner.name != "where":
            return None
        below, zero, same = inner.inputs
        if instruction.outputs[0].shape != x.shape:  # the zero has more axes
            return None
        return x if self.argument_compared(below) is x and self.is_zero(zero) and same is x else None

    def only_masks_need(self, x: Value, relu: Instruction) -> bool:
        """Return whether the argument of a ReLU is a product, perhaps with a bias, that it would free."""
        inner = self.producers[relu.inputs[2]]
        for user in self.users[x]:
            compares = user is not None and any(self.argument_compared(v) is x for v in user.outputs)
            if not compares and user is not relu and user is not inner:
                return False
        while (producer := self.producers.get(x)) is not None:
            if producer.name == "matmul" or producer.name in CONVOLUTIONS:
                return True
            if producer.name not in VIEWS and producer.name != "add":
                return False
            x = max(producer.inputs, key=lambda value: value.size)
            if len(self.users[x]) != 1:
                return False
        return False

    def of_result(self, value: Value) -> Value:
        """Return a comparison of an argument as one of the result."""
        x = self.argument_compared(value)
        if x not in self.results or x is None:
            return value
        if value not in self.compared:
            old = self.producers[value]
            self.number += 1
            self.compared[value] = new = Value(self.number, value.shape, value.dtype)
            inputs = tuple([self.results[x] if one is x else one for one in old.inputs])
            self.written.append(replace(old, inputs=inputs, outputs=(new,)))
        return self.compared[value]
