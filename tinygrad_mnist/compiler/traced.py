"""The end of a trace: what a call returned, left behind and wrote, as data.

A :class:`Traced` is a program with all that a replay needs to know of the call besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinygrad_mnist.compiler import lowering
from tinygrad_mnist.compiler.agreement import agreement, ends_apart
from tinygrad_mnist.compiler.errors import RunsEagerly
from tinygrad_mnist.compiler.program import Program
from tinygrad_mnist.compiler.slots import (
    ArgumentGradientSlot,
    ArgumentSlot,
    ArraySlot,
    BufferSlot,
    DrawSlot,
    GradientSlot,
    Slot,
    StateSlot,
    TensorSlot,
)
from tinygrad_mnist.compiler.standins import Computed, StandIn
from tinygrad_mnist.compiler.symbols import Number, Symbol
from tinygrad_mnist.engine import shards
from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.tape import Leaf, Node
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten

if TYPE_CHECKING:
    from tinygrad_mnist.compiler.trace import Tracer


@dataclass
class Result:
    """One leaf of what the function returns: an output of the program, a number, or an object as it is."""

    kind: str  # "output", "number" or "object"
    position: int = 0
    object: Any = None


@dataclass
class Traced:
    """A function that was traced.

    Attributes
    ----------
    program : Program
        What it computes.
    slots : list of Slot
        Where each input of the program lies.
    scalars : list of Slot
        Where each number lies that goes in.
    presence : list of (Leaf or int, bool)
        Whether a leaf, or an argument by its position, had a gradient: the program holds for that alone.
    results : list of Result
        The leaves of what the function returns; ``structure`` puts them together.
    gradients : list of (Leaf or int, int or None)
        The gradients that the call leaves, by the output that holds each; None removes one.
    assigned : list of (Tensor or int, int)
        Tensors, or arguments by their position, whose array is replaced by an output.
    written : list of Leaf
        Leaves whose values the program writes, which older tapes are told.
    progress : list of (flat, positions, tree)
        What optimisers note for their parameters; numbers of the program are at the leaves of the trees.
    options : list of (dict, names, values)
        The groups of optimisers, with their options that are no numbers, and what these were.
    decisions : list of (Slot, comparison, number, bool)
        Comparisons of options that an optimiser's formula asked for, and how they came out.
    schedules : list
        Schedules that are advanced after the call.
    leaves : list of Leaf
        The leaves of the Tensors that the function found.
    optimizers : list
        The optimisers that took a step.
    met : list of (object, ndarray)
        The arrays and Tensors that were met, in their order, for the comparison with another trace.
    log : list of (object, str)
        What was asked for, and at which line, for the same.
    on_tape : bool
        Whether a result could still be differentiated.
    kinds : list of type, or None
        The type of each leaf of what the function returns; None if the trace does not tell them all.
    """

    program: Program
    slots: list[Slot]
    scalars: list[Slot]
    presence: list[tuple[Any, bool]]
    results: list[Result]
    structure: Any
    gradients: list[tuple[Any, int | None]]
    assigned: list[tuple[Any, int]]
    written: list[Leaf]
    progress: list[tuple[Any, list[int], Any]]
    options: list[tuple[dict[str, Any], Sequence[str], tuple[Any, ...]]]
    decisions: list[tuple[Slot, str, float, bool]]
    schedules: list[Any]
    leaves: list[Leaf]
    optimizers: list[Any]
    met: list[Any]
    log: list[tuple[Any, str]]
    on_tape: bool = False
    kinds: list[type] | None = None

    def difference(self, first: Traced) -> str | None:
        """Return where the first trace of the same call differs, which a replay would freeze, or None."""
        for number, ((mine, _), (its, _)) in enumerate(zip(self.log, first.log, strict=False)):
            if mine != its:
                return next((line for _, line in (*self.log[number:], *first.log[number:]) if line), "a line")
        if len(self.log) != len(first.log):
            shorter = min(len(self.log), len(first.log))
            return max(self.log, first.log, key=len)[shorter][1]
        for (one, array), (other, its_array) in zip(self.met, first.met, strict=False):
            if one is not other and not _is_same_object(array, its_array):
                return f"an array, {its_array!r} and then {array!r}"
        for result, its_result in zip(self.results, first.results, strict=False):
            if result.kind == "object" and not _is_same_object(result.object, its_result.object):
                return f"a result, {its_result.object!r} and then {result.object!r}"
        return None


def _is_same_object(one: Any, other: Any) -> bool:
    """Return whether two traces met the same object, or equal ones that each of them made."""
    if one is other:
        return True
    one, other = (each._array if isinstance(each, Tensor) else each for each in (one, other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and bool(np.array_equal(one, other, equal_nan=is_float(one)))
    plain_types = (int, float, str, bool, bytes, np.generic)
    return type(one) is type(other) and isinstance(one, plain_types) and bool(one == other or one != one)


# ---- the end ---------------------------------------------------------------------------------------------


def finished(tracing: Tracer, returned: Any) -> Traced:
    """Return a trace as data, while everything still has the values that the function left."""
    end = _End(tracing)
    program = tracing.builder.program
    leaves, structure = flatten(returned)
    results = [end.result(leaf) for leaf in leaves]
    gradients = end.gradients()
    end.look_at_tensors()
    end.look_at_arguments()
    end.look_at_arrays()
    tracing.write_states(program)
    if program.writes and tracing.builder.has_copies:  # which would be written to, or not see what is written
        raise RunsEagerly("an array runs backwards in memory, as x[::-1] does, and arrays are written to")
    progress = [
        (flat, positions, _numbered(tree, end.number)) for flat, positions, tree in tracing.progress_after()
    ]
    return Traced(
        program if tracing.first is None else _whole(tracing),
        tracing.slots,
        tracing.scalar_slots,
        tracing.presence,
        results,
        structure,
        gradients,
        end.assigned,
        end.written,
        progress,
        tracing.options,
        tracing.decisions,
        tracing.schedules,
        [capture.tensor._leaf for capture in tracing.captures.values() if capture.tensor._leaf is not None],
        tracing.optimizers,
        tracing.met,
        tracing.builder.log,
        end.on_tape,
        _kinds(tracing, leaves, results),
    )


def _kinds(tracing: Tracer, leaves: Sequence[Any], results: Sequence[Result]) -> list[type] | None:
    """Return of what type each leaf is that the function returns when it is not traced; None if unknown.

    In a trace there are only Tensors. So it is a Tensor for certain if it was computed from one, and not from
    arrays alone.
    """
    kinds: list[type] = []
    for leaf, result in zip(leaves, results, strict=True):
        if result.kind != "output" or tracing.is_tensor(leaf):
            kinds.append(type(leaf))
        elif isinstance(leaf, StandIn) and (leaf._array.ndim or not isinstance(leaf, Computed)):
            kinds.append(np.ndarray)
        else:  # NumPy computes scalars, or arrays without axes
            return None
    return kinds


class _End:
    """A look at what a traced function has left, which adds to the outputs and writes of the program.

    Attributes
    ----------
    assigned, written, on_tape
        Those of a `Traced`.
    """

    def __init__(self, tracing: Tracer) -> None:
        self._tracing = tracing
        self._program = tracing.builder.program
        self.assigned: list[tuple[Any, int]] = []
        self.written: list[Leaf] = []
        self.on_tape = False

    def _output(self, symbol: Any) -> int:
        outputs = self._program.outputs
        outputs.append(self._tracing.symbol(symbol).value)
        return len(outputs) - 1

    def number(self, leaf: Number) -> int:
        """Return which number of the program a Number is."""
        program = self._program
        symbol = self._tracing.symbol(leaf)
        if symbol.value in program.scalars or symbol.value in program.inputs:  # each has its own place
            symbol = lowering.ufunc(self._tracing, np.maximum, [symbol, symbol])
        if symbol.value not in program.numbers:
            program.numbers.append(symbol.value)
        return program.numbers.index(symbol.value)

    def result(self, leaf: Any) -> Result:
        """Return where a leaf of what the function returned comes from."""
        tracing = self._tracing
        if type(leaf) is Number:
            value = tracing.symbol(leaf).value
            if tracing.builder.is_constant(value):
                return Result("object", object=float(self._program.constants[value]))
            return Result("number", self.number(leaf), float if leaf.now is None else type(leaf.now))
        if isinstance(leaf, Tensor):
            if (capture := tracing.captures.get(id(leaf))) is not None and capture.tensor is leaf:
                return Result("object", object=leaf)
            self.on_tape = self.on_tape or _is_live(leaf.origin)
        elif not isinstance(leaf, (Symbol, np.ndarray)):
            return Result("object", object=leaf)
        return Result("output", self._output(leaf))

    def gradients(self) -> list[tuple[Any, int | None]]:
        """Return the gradients that are there, or gone, of what outlives the call."""
        tracing = self._tracing
        known = tracing.leaves if tracing.first is None else tracing.first.leaves
        found: list[tuple[Any, int | None]] = []
        for leaf in tracing.leaves:
            if leaf not in known and leaf not in tracing.argument_leaves:
                continue  # it was made in the call, and ends with it
            place = tracing.argument_leaves.get(leaf, leaf)
            if leaf.grad is None:
                found.append((place, None))
                continue
            symbol = tracing.symbol(leaf.grad)
            if symbol.value is not tracing.first_gradients.get(leaf):
                found.append((place, self._output(symbol)))
        return found

    def look_at_tensors(self) -> None:
        """Write, or assign, the new values of the Tensors that were found."""
        for capture in list(self._tracing.captures.values()):
            symbol = self._tracing.symbol(capture.tensor._array)
            if symbol.value is capture.value:
                continue
            if capture.tensor._leaf is not None:
                self.written.append(capture.tensor._leaf)
            if id(capture.tensor) in self._tracing.in_place:
                self._program.writes.append((symbol.value, capture.value))
            else:
                self.assigned.append((capture.tensor, self._output(symbol)))

    def look_at_arguments(self) -> None:
        """Write the new values of arrays that were given; a Tensor that was given gets a new array."""
        for position, given, tensor, value in self._tracing.arguments:
            symbol = self._tracing.symbol(tensor)
            if symbol.value is value:
                continue
            if isinstance(given, Tensor):
                self.assigned.append((position, self._output(symbol)))
                self.on_tape = self.on_tape or isinstance(tensor.origin, Node)
            else:
                self._program.writes.append((symbol.value, value))

    def look_at_arrays(self) -> None:
        """Write the new values of buffers and of other arrays from outside."""
        done: set[int] = set()
        for buffer in self._tracing.buffers:
            symbol = self._tracing.symbol(buffer.tensor, buffer.array.dtype)
            if symbol.value is not buffer.value and id(buffer.array) not in done:
                done.add(id(buffer.array))
                if symbol.dtype != buffer.array.dtype:
                    symbol = symbol.astype(buffer.array.dtype)
                self._program.writes.append((symbol.value, buffer.value))


def _is_live(origin: Any) -> bool:
    """Return whether a gradient could still be taken: from a tape of which no walk has freed a part."""
    waiting, seen = [origin], set()
    if not isinstance(origin, Node):
        return False
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Node) or node in seen:
            continue
        if node.arrays is None:
            return False
        seen.add(node)
        waiting.extend(node.parents)
    return True


def _numbered(tree: Any, number: Callable[[Any], Any]) -> Any:
    """Return a tree with, for each Number, a `Result` that says which number of the program it is."""
    if type(tree) is Number:
        return Result("number", number(tree), type(tree.now))
    if isinstance(tree, tuple):
        parts = [_numbered(part, number) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return tree


_ORDER: Final = [
    ArgumentSlot, TensorSlot, BufferSlot, StateSlot, GradientSlot, ArgumentGradientSlot, ArraySlot, DrawSlot,
]  # fmt: skip


def _whole(tracing: Tracer) -> Program:
    """Return the program without what it does not need; at its end processes agree on whether it holds."""
    program = _without_unused_inputs(tracing)
    if shards.current() is not None and ends_apart(program, tracing.slots):
        program.instructions.append(agreement(tracing.builder.value((), bool)))
    return program


def _without_unused_inputs(tracing: Tracer) -> Program:
    """Return the program without inputs that it does not use; draws stay, as generators must advance."""
    program = tracing.builder.finished()
    used = {value for instruction in program.instructions for value in instruction.inputs}
    used.update(program.outputs, program.numbers, program.conditions, program.watched)
    used.update(value for pair in program.writes for value in pair)
    kept = [
        (value, strides, slot)
        for value, strides, slot in zip(program.inputs, program.strides, tracing.slots, strict=True)
        if value in used or isinstance(slot, (DrawSlot, ArgumentSlot))
    ]
    kept.sort(key=lambda entry: _ORDER.index(type(entry[2])))  # neighbours of one kind are fetched together
    program.inputs = [value for value, _, _ in kept]
    program.strides = [strides for _, strides, _ in kept]
    tracing.slots = [slot for _, _, slot in kept]
    scalars = [
        (value, slot)
        for value, slot in zip(program.scalars, tracing.scalar_slots, strict=True)
        if value in used
    ]
    program.scalars = [value for value, _ in scalars]
    tracing.scalar_slots = [slot for _, slot in scalars]
    return program
