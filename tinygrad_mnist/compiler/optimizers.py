"""The optimiser's part of a trace: its own update formula runs on symbols.

It runs for one parameter of those that are updated alike, and its instructions are repeated for the others:
in eager, too, one run of the formula is for many parameters. Options such as the learning rate and counts of
steps are numbers that go into each call of the program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.compiler.program import ELEMENTWISE, Instruction, Program, Value
from tinygrad_mnist.compiler.slots import OptionSlot, ProgressSlot, Slot, StateSlot
from tinygrad_mnist.compiler.symbols import Number, Symbol
from tinygrad_mnist.engine.observe import users_line
from tinygrad_mnist.engine.tape import mark_written, recording
from tinygrad_mnist.engine.tensor import Tensor, _lift

if TYPE_CHECKING:
    from tinygrad_mnist.compiler.builder import Builder


class _Block:
    """The object of an update formula: one parameter, as `optim.flat_parameters.Block` is a part of many."""

    def __init__(self, tracing: OptimizerTracer, flat: Any, index: int, gradient: Symbol) -> None:
        self._tracing, self._flat, self._index = tracing, flat, index
        self.gradient = gradient
        self.parameter = flat.parameters[index]
        self.states: list[str] = []  # the names of those that were asked for
        values = tracing.capture(self.parameter).copy()
        self.values = values.astype(flat.dtype) if flat.is_storage else values
        self.scratch = self.values.copy()

    def scratch_after(self, gradient: Symbol) -> Symbol:
        """Return an array for intermediate results."""
        return self.scratch

    def state(self, name: str) -> Symbol:
        """Return the state array of a name, to be written in place."""
        if name not in self.states:
            self.states.append(name)
        return self._tracing.state(self._flat, name, self._index)

    def penalised_gradient(self, weight_decay: Any, scale: Any = 1.0) -> Symbol:
        """Return ``scale * (gradient + weight_decay * values)``."""
        gradient = self.gradient.copy()
        if weight_decay:
            gradient = np.multiply(self.values, weight_decay) + gradient
        return gradient if scale == 1 else np.multiply(gradient, scale)


class _Trial:
    """A block of one number, on which the first step is tried out in eager for what it notes."""

    def __init__(self, dtype: Any) -> None:
        self.values, self.gradient, self.scratch = np.zeros((3, 1), dtype)

    def scratch_after(self, gradient: Any) -> Any:
        """Return an array for intermediate results."""
        return self.scratch

    def state(self, name: str) -> Any:
        """Return the state array of a name."""
        return np.zeros_like(self.values)

    def penalised_gradient(self, weight_decay: Any, scale: Any = 1.0) -> Any:
        """Return a gradient."""
        return self.gradient


@dataclass
class _Formula:
    """The update of one parameter, written down so that others can repeat it.

    Attributes
    ----------
    before, progress : object
        What the optimiser had noted for the parameter, and what it notes then.
    states : list of str
        The state arrays that the update uses.
    read, written : list of Value
        The parameter and its states, before and after the update.
    gradient : Value
        The gradient.
    instructions : list of Instruction
        What is computed for each element; numbers are computed once for all parameters.
    """

    before: Any
    progress: Any
    states: list[str]
    read: list[Value]
    written: list[Value]
    gradient: Value
    instructions: list[Instruction]


class OptimizerTracer:
    """The methods of the tracer that optimisers, gradient clipping and schedules call."""

    builder: Builder
    first: Any
    slots: list[Slot]
    schedules: list[Any]
    in_place: set[int]
    noted: int
    at_line: Callable[[str], AbstractContextManager[None]]
    input: Callable[[Slot, Any], Value]
    capture: Callable[[Tensor], Symbol]
    capture_gradient: Callable[..., None]
    require: Callable[[Any], None]
    scalar: Callable[[Slot, float], Number]
    symbol: Callable[..., Symbol]

    def __init__(self) -> None:
        self.optimizers: list[Any] = []
        self.options: list[tuple[dict[str, Any], Sequence[str], tuple[Any, ...]]] = []
        self.decisions: list[tuple[Slot, str, float, bool]] = []
        self._states: dict[tuple[int, str, int], tuple[Any, Symbol, Value]] = {}
        self._option_numbers: dict[tuple[int, str], Any] = {}
        self._progress: dict[tuple[int, int], Any] = {}  # by flat array and position, what comes next
        self._progress_numbers: dict[tuple[int, Any], Any] = {}
        self._flats: dict[int, Any] = {}
        self._noted: dict[int, Any] = {}  # what the first step notes for the parameters of a flat array
        self._ran: list[bool] = []  # of each update, whether the formula was run for it
        self._formulas: dict[Any, _Formula] = {}  # by flat array, what is noted and the gradient's dtype

    def optimizer_step(self, optimizer: Any) -> None:
        """Trace the update of every parameter that has a gradient."""
        if any(schedule.optimizer is optimizer for schedule in self.schedules):
            raise JitError(
                "schedule.step() is called before optimizer.step() in a jitted function; call it afterwards, "
                "or outside of the function"
            )
        self.optimizers.append(optimizer)
        token = recording.set(False)
        try:
            with self.at_line(users_line()):
                for group, flat_group in zip(optimizer.param_groups, optimizer._flat_groups, strict=True):
                    options = self._options(group, optimizer.defaults)
                    for flat in flat_group.flats:
                        self._flats[id(flat)] = flat
                        for index in range(len(flat.parameters)):
                            self._update(optimizer, options, flat, index)
        finally:
            recording.reset(token)

    def _update(self, optimizer: Any, options: dict[str, Any], flat: Any, index: int) -> None:
        """Trace the update of one parameter."""
        parameter = flat.parameters[index]
        leaf = parameter._leaf
        if leaf is None or parameter.origin is None:
            return  # it is frozen: it has no gradient
        self.capture_gradient(leaf)
        if leaf.grad is None:
            return
        gradient = self.symbol(leaf.grad)
        if gradient.shape != parameter.shape:
            raise ValueError(f"a gradient has shape {gradient.shape}, its parameter {parameter.shape}")
        before = self._progress_before(flat, index)
        if before is None:
            # The first step runs in eager, so the program begins with the second one: it takes what the first
            # one notes. Nothing of the trial is in the program, which is that of any later step.
            if id(flat) not in self._noted:
                now = {name: _now(value) for name, value in options.items()}
                with np.errstate(all="ignore"):
                    self._noted[id(flat)] = optimizer._update(_Trial(flat.dtype), now, None)
            before = self._progress_before(flat, index, self._noted[id(flat)])
        formula = self._formulas.get((id(flat), id(before), gradient.dtype))
        self._ran.append(formula is None)
        # A second trace runs it for the same parameters, so that the logs can be compared.
        ran = [] if self.first is None else self.first._ran[len(self._ran) - 1 : len(self._ran)]
        if formula is None or ran == [True]:
            begin = len(self.builder.log)
            progress = self._run(optimizer, options, flat, index, gradient, before)
            if ran == [False]:  # there is nothing to compare with
                del self.builder.log[begin:]
        else:
            self._repeat(formula, flat, index, gradient)
            progress = formula.progress
        self._progress[id(flat), index] = progress
        self.in_place.add(id(parameter))
        mark_written((leaf,))

    def _run(self, optimizer: Any, options: Any, flat: Any, index: int, gradient: Symbol, before: Any) -> Any:
        """Run the formula for one parameter, and keep it for those that can repeat it; return its note."""
        parameter = flat.parameters[index]
        old = self.capture(parameter).value
        # in the dtype in which the optimiser computes
        block = _Block(
            self, flat, index, gradient if gradient.dtype == flat.dtype else gradient.astype(flat.dtype)
        )
        states = {key: symbol.value for key, (_, symbol, _) in self._states.items()}
        progress = optimizer._update(block, options, before)
        values = block.values
        values = values if values.dtype == parameter.dtype else values.astype(parameter.dtype)
        values.array, parameter._array = parameter._array.array, values
        keys = [(id(flat), name, index) for name in block.states]
        read = [old, *(states.get(key, self._states[key][2]) for key in keys)]
        written = [parameter._array.value, *(self._states[key][1].value for key in keys)]
        instructions = self.builder.between({*read, gradient.value}, written)
        if instructions is not None and _is_elementwise(instructions, [*read, gradient.value]):
            self._formulas[id(flat), id(before), gradient.dtype] = _Formula(
                before, progress, block.states, read, written, gradient.value, instructions
            )
        return progress

    def _repeat(self, formula: _Formula, flat: Any, index: int, gradient: Symbol) -> None:
        """Write the update of one parameter as that of another one was."""
        parameter = flat.parameters[index]
        symbols = [self.capture(parameter).copy(), *(self.state(flat, n, index) for n in formula.states)]
        values = [symbol.value for symbol in symbols]
        replaced = dict(zip(formula.read, values, strict=True))
        replaced[formula.gradient] = gradient.value
        self.builder.repeat(formula.instructions, replaced, parameter.shape)
        for symbol, value in zip(symbols, formula.written, strict=True):
            symbol.value = replaced[value]
        symbols[0].array, parameter._array = parameter._array.array, symbols[0]

    def _options(self, group: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a group: numbers that each call reads anew, and flags as they are."""
        found: dict[str, Any] = {}
        for name in defaults:
            key = (id(group), name)
            if key not in self._option_numbers:
                value = group[name]
                if type(value) is Number:  # it stands there already
                    number: Any = value
                elif type(value) is tuple:
                    number = tuple(
                        self.scalar(OptionSlot(group, name, place), part) for place, part in enumerate(value)
                    )
                elif isinstance(value, (int, float)) and not isinstance(value, bool):
                    number = self.scalar(OptionSlot(group, name, None), value)
                else:
                    number = value
                self._option_numbers[key] = number
            found[name] = self._option_numbers[key]
        if not any(group is known for known, _, _ in self.options):
            flags = [name for name, value in found.items() if type(value) not in (Number, tuple)]
            self.options.append((group, flags, tuple(group[name] for name in flags)))
        return found

    def decided_by(self, slot: Slot, comparison: str, other: float, answer: bool) -> None:
        """Note how a comparison with a slot's number came out: the program is right for that alone."""
        self.decisions.append((slot, comparison, other, answer))
        self.noted += 1

    def state(self, flat: Any, name: str, index: int) -> Symbol:
        """Return the symbol of a parameter's section of a state array; what is written into it stays."""
        key = (id(flat), name, index)
        if key not in self._states:
            slot = StateSlot(flat, name, index)
            value = self.input(slot, slot.fetch(()))
            self._states[key] = flat, Symbol(value), value
        return self._states[key][1]

    def _progress_before(self, flat: Any, index: int, noted: Any = None) -> Any:
        """Return what an optimiser noted for a parameter; equal notes of neighbours are the same numbers."""
        if (id(flat), index) in self._progress:  # a second step in the same call
            return self._progress[id(flat), index]
        now = flat.progress[index]
        # What a first step will note may equal what was noted for other parameters; their next ones will not.
        key = (id(flat), now)
        if self._progress_numbers.get(key) is None:
            self._progress_numbers[key] = self._numbers(flat, index, noted if now is None else now)
        return self._progress_numbers[key]

    def _numbers(self, flat: Any, index: int, progress: Any) -> Any:
        if isinstance(progress, tuple):
            parts: list[Any] = [
                self.scalar(ProgressSlot(flat, index, place), part) for place, part in enumerate(progress)
            ]
            return type(progress)(*parts) if hasattr(progress, "_fields") else tuple(parts)
        if isinstance(progress, (int, float)) and not isinstance(progress, bool):
            return self.scalar(ProgressSlot(flat, index, None), progress)
        return progress

    def progress_after(self) -> Iterator[tuple[Any, list[int], Any]]:
        """Yield what is to be noted: a flat array, positions in it, and the note that they share."""
        groups: dict[tuple[int, Any], list[int]] = {}
        notes: dict[tuple[int, Any], Any] = {}
        for (flat, index), progress in self._progress.items():
            key = (flat, self._flats[flat].progress[index])  # equal before, equal afterwards
            groups.setdefault(key, []).append(index)
            notes[key] = progress
        for key, positions in groups.items():
            yield self._flats[key[0]], positions, notes[key]

    def write_states(self, program: Program) -> None:
        """Let the program write the state arrays that the updates changed."""
        for _, symbol, value in self._states.values():
            if symbol.value is not value:
                program.writes.append((symbol.value, value))

    # ---- gradient clipping -------------------------------------------------------------------------------

    def clip_gradient_norm(
        self, pairs: Sequence[tuple[Tensor, Any]], max_norm: float, order: float, error_if_nonfinite: bool
    ) -> Any:
        """Trace `optim.clip_grad_norm_`, and return the norm before scaling."""
        token = recording.set(False)
        try:
            gradients = [_lift(self.symbol(gradient), None) for _, gradient in pairs]
            total = self._norm([gradient for gradient in gradients if gradient.size], order)
            if error_if_nonfinite:
                self.require(np.isfinite(total))
            factor = max_norm / (total + 1e-6)
            # a factor of 1 changes nothing, and one that is NaN reaches every gradient, as in eager
            factor = np.where(factor >= 1, 1.0, factor)
            for (parameter, _), gradient in zip(pairs, gradients, strict=True):
                parameter.grad = gradient * factor.astype(gradient.dtype)
            return Number(_lift(Symbol(self.symbol(total).value, weak=True), None), None)
        finally:
            recording.reset(token)

    def _norm(self, gradients: Sequence[Tensor], order: float) -> Any:
        """Return the norm of all gradients together, in float64."""
        if not gradients:
            return _lift(self.symbol(np.float64(0.0)), None)
        if order == math.inf:
            largest = [np.max(np.abs(gradient)).astype(np.float64) for gradient in gradients]
            return np.max(np.stack(largest))
        total: Any = 0.0
        for gradient in gradients:
            wide = gradient.astype(np.float64)
            total = total + np.sum(np.square(wide) if order == 2 else np.abs(wide) ** order)
        # where the powers overflow or underflow, eager divides by the largest entry first
        self.require(((total > 1e-200) & (total < math.inf)) | np.isnan(total) | (total == 0))
        return np.sqrt(total) if order == 2 else total ** (1 / order)


def _is_elementwise(instructions: list[Instruction], given: list[Value]) -> bool:
    """Return whether instructions compute each element of those of some arrays: so they do for any shape."""
    shape = given[0].shape
    results = [result for instruction in instructions for result in instruction.outputs]
    return (
        len(set(given)) == len(given)
        and shape != ()
        and all(value.shape == shape for value in (*given, *results))
        and all(instruction.name in ELEMENTWISE for instruction in instructions)
    )


def _now(noted: Any) -> Any:
    """Return what an optimiser noted, with the value that each number has now."""
    if type(noted) is Number:
        return noted.now
    if isinstance(noted, tuple):
        parts = [_now(part) for part in noted]
        return type(noted)(*parts) if hasattr(noted, "_fields") else tuple(parts)
    return noted
