"""The trace: a call of a function becomes a program.

A :class:`Tracer` is a recorder that stands in for NumPy: while it is on, an operation on Tensors computes
nothing, but writes an instruction and returns a Tensor without values (see `symbols`). The walk back over the
tape, second derivatives and the optimiser's update are Python that calls operations, so they are traced by
the same means. Nothing that the function finds is changed for good: parameters, gradients, buffers and
generators are as they were when the trace is over. What they would have become is in the program.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler import images, lowering
from tinygrad_mnist.compiler.builder import LARGEST_FOLDED, LONGEST, Builder, TooLong
from tinygrad_mnist.compiler.collection import Collection
from tinygrad_mnist.compiler.errors import JitError, RunsEagerly
from tinygrad_mnist.compiler.guards import is_object
from tinygrad_mnist.compiler.optimizers import OptimizerTracer
from tinygrad_mnist.compiler.places import array_places
from tinygrad_mnist.compiler.program import Value
from tinygrad_mnist.compiler.rates import Rates
from tinygrad_mnist.compiler.slots import (
    ArgumentGradientSlot,
    ArgumentSlot,
    ArraySlot,
    BufferSlot,
    DrawSlot,
    GradientSlot,
    Slot,
    TensorSlot,
    in_order,
)
from tinygrad_mnist.compiler.standins import StandIn, standing
from tinygrad_mnist.compiler.symbols import Number, Symbol, plain, raise_read
from tinygrad_mnist.compiler.traced import Traced, finished
from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.errors import error_with_context
from tinygrad_mnist.engine.observe import Recorder, also_observed_by, tracer, users_line
from tinygrad_mnist.engine.op import FUNCTIONS, EachArgument, Op
from tinygrad_mnist.engine.other_libraries import is_foreign, library_of
from tinygrad_mnist.engine.tape import Leaf, Node, recording
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.engine.tree import flatten, unflatten
from tinygrad_mnist.engine.walk import Pass, _fit, lifted
from tinygrad_mnist.nn.module import Module
from tinygrad_mnist.ops.normalization import synchronized, synchronized_batch_norm

_PACKAGE: Final = str(Path(__file__).parents[1]) + os.sep
_BETWEEN: Final = (_PACKAGE + "compiler", _PACKAGE + "engine", str(Path(np.__file__).parent))
"""Where what asks for an operation is passed on."""


KINDS: Final = "fbiu"
"""The kinds of the dtypes that a Tensor can have."""


@dataclass
class _Capture:
    """A Tensor that was found, with what it had before."""

    tensor: Tensor
    array: Any
    origin: Any
    value: Value


@dataclass
class _Buffer:
    """An array in its place, of a module or from outside, where a Tensor stands while tracing."""

    put: Callable[[Any], None]
    array: Any
    tensor: Tensor
    value: Value


class Tracer(Recorder, OptimizerTracer):
    """Writes a program of all that happens while it is on."""

    def __init__(self, first: Tracer | None = None) -> None:
        super().__init__()
        self.tracer = self
        self.first = first
        self.met: list[tuple[Any, Any]] = []  # the arrays and Tensors, with arrays, that the function uses
        self.builder = Builder() if first is None else first.builder
        self.known_inputs: dict[Any, list[Value]] = {}  # the inputs and numbers of the first trace
        if first is not None:
            program = self.builder.program
            for slots, values in ((first.slots, program.inputs), (first.scalar_slots, program.scalars)):
                for slot, value in zip(slots, values, strict=True):
                    self.known_inputs.setdefault((type(slot), *slot.key), []).append(value)
            self.builder.again()
        self.rates = Rates(self.scalar)
        self.slots: list[Slot] = []
        self.scalar_slots: list[Slot] = []
        self.captures: dict[int, _Capture] = {}
        self.arrays: dict[int, tuple[Any, Value]] = {}
        self.buffers: list[_Buffer] = []
        self.modules: set[int] = set()
        self.leaves: dict[Leaf, Any] = {}  # with the gradient that each had
        self.first_gradients: dict[Leaf, Value] = {}
        self.presence: list[tuple[Any, bool]] = []
        self.argument_leaves: dict[Leaf, int] = {}
        self.in_place: set[int] = set()  # identities of Tensors that are written to where they lie
        self.schedules: list[Any] = []
        self.arguments: list[tuple[int, Any, Tensor, Value]] = []
        self.refused: JitError | RunsEagerly | None = None  # even if the function has caught the error
        self._line = ""
        self._own: dict[Op, bool] = {}  # whether an operation is the package's
        self.noted = 0  # how many things were noted, besides instructions
        self.tensors: dict[int, Tensor] = {}  # what is a Tensor in eager, too, by identity
        self.running: list[Any] = []  # the functions of NumPy that run on Tensors of symbols
        self.lowering: list[str] = []  # the operations whose formula is running

    # ---- values ------------------------------------------------------------------------------------------

    def input(self, slot: Slot, array: Any) -> Value:
        """Return the value of what lies in a slot at each call; ``array`` shows what it looks like."""
        if not array.dtype.isnative and not isinstance(slot, ArgumentSlot):
            raise RunsEagerly("an array has the byte order of another machine")
        if array.dtype.isbuiltin == 2:  # as bfloat16 is; in eager it is refused in a sentence
            raise RunsEagerly(f"an array is of dtype {array.dtype}, which NumPy does not have")
        self.slots.append(slot)
        self.noted += 1
        return self.builder.input(array, self._known_input(slot))

    def _known_input(self, slot: Slot) -> Value | None:
        """Return the value that the first trace has for a slot; None if there is none."""
        known = self.known_inputs.get((type(slot), *slot.key))
        return known.pop(0) if known else None

    def symbol(self, value: Any, dtype: Any = None) -> Symbol:
        """Return the symbol of an array, a number or a Tensor; ``dtype`` is that of a Python number."""
        given: Any = plain(value)
        if type(given) is Symbol:
            return given
        if isinstance(given, Tensor):
            return self.capture(given)
        if isinstance(given, np.ndarray):
            return Symbol(self._array(given))
        return Symbol(self.builder.constant(np.asarray(given, dtype)))

    def _array(self, array: Any) -> Value:
        """Return the value of a NumPy array that the function uses."""
        for buffer in self.buffers:
            if buffer.array is array:  # what it is now: the module may have written into it
                return self.symbol(buffer.tensor).value
        known = self.arrays.get(id(array))
        if known is None:
            self.met.append((array, array))
            self.noted += 1
            if self._is_made_anew(array):
                value = self.builder.constant(array)
            else:
                value = self.input(ArraySlot(array), array)
            known = self.arrays[id(array)] = array, value
        return known[1]

    def _is_made_anew(self, array: Any) -> bool:
        """Return whether an array or Tensor is not the one that the first trace met: each call makes it.

        A first trace guesses that of small arrays. Where it is wrong, the second one has more to write.
        """
        if self.first is None:
            small = isinstance(array, np.ndarray) and array.size <= LARGEST_FOLDED
            return small and (array.size == 1 or _is_asked_by_package())
        return not any(array is its for its, _ in self.first.met[len(self.met) - 1 : len(self.met)])

    def capture(self, tensor: Tensor) -> Symbol:
        """Return the symbol of a Tensor; one that is met for the first time becomes an input."""
        array: Any = tensor._array
        if type(array) is Symbol:
            return array
        self.met.append((tensor, array))
        self.noted += 1
        if self._is_made_anew(tensor):
            tensor._array = symbol = Symbol(self.builder.constant(array), array=array)  # type: ignore[assignment]
            return symbol
        value = self.input(TensorSlot(tensor), array)
        self.captures[id(tensor)] = _Capture(tensor, array, tensor.origin, value)
        tensor._array = symbol = Symbol(value, array=array)  # type: ignore[assignment]
        return symbol

    def capture_gradient(self, leaf: Leaf, read: bool = True) -> None:
        """Note that the gradient of a leaf is read, or replaced without being read."""
        if leaf in self.leaves:
            return
        self.leaves[leaf] = before = leaf.grad
        if self.first is not None and leaf not in self.first.leaves and leaf not in self.argument_leaves:
            return  # it is made in the call
        position = self.argument_leaves.get(leaf)
        if not read:
            return
        self.presence.append((leaf if position is None else position, before is not None))
        if before is not None:
            slot = GradientSlot(leaf) if position is None else ArgumentGradientSlot(position)
            value = self.input(slot, in_order(before._array))
            self.first_gradients[leaf] = value
            leaf.grad = _lift(Symbol(value), None)

    def read(self, tensor: Tensor) -> None:
        """Raise, as somebody reads the values of a Tensor."""
        raise_read(f"the value of a Tensor of shape {tensor.shape}")

    def taken_in(self, value: Any) -> None:
        """Raise if a value is an array of another library, whose numbers no program reads anew."""
        if is_foreign(value):
            raise RunsEagerly(
                f"an array of {library_of(value)} goes into it, whose numbers may change from call to call; "
                "make it NumPy's first, np.asarray(x), which copies nothing, and give it as an argument",
                is_said=True,
            )

    def require(self, condition: Any) -> None:
        """Let the program hold only where a condition of shape () does; else the call runs in eager."""
        self.builder.program.conditions.append(self.symbol(condition).value)
        self.noted += 1

    def scalar(self, slot: Slot, now: float) -> Number:
        """Return the number that a slot holds at each call."""
        value = self.builder.scalar(self._known_input(slot))
        self.scalar_slots.append(slot)
        self.noted += 1
        return Number(_lift(Symbol(value, weak=True), None), now, slot=slot)

    # ---- operations --------------------------------------------------------------------------------------

    def apply(self, op: Op, arguments: Sequence[Any], static: Mapping[str, Any]) -> Any:
        """Write what an operation computes, and put it on the tape: `engine.tensor.apply` without values."""
        out = self._applied(op, arguments, static)
        if any(map(self.is_tensor, arguments)):
            for one in out if isinstance(out, tuple) else (out,):
                self.note_tensor(one)
        return out

    def is_tensor(self, value: Any) -> bool:
        """Return whether a value is a Tensor in eager, too, and not one that stands for an array."""
        if not isinstance(value, Tensor) or isinstance(value, StandIn):
            return False
        return value.origin is not None or id(value) in self.tensors or id(value) in self.captures

    def note_tensor(self, tensor: Tensor) -> None:
        """Note that something is a Tensor in eager, too."""
        self.tensors[id(tensor)] = tensor

    def _applied(self, op: Op, arguments: Sequence[Any], static: Mapping[str, Any]) -> Any:
        """Write what an operation computes, and return it as a Tensor, or several."""
        for argument in arguments:
            self.taken_in(argument)
        arguments = [argument.tensor if type(argument) is Number else argument for argument in arguments]
        numbers = [argument for argument in arguments if type(argument) in _NUMBERS]
        self.builder.log.append(((op.name, repr(numbers)), self.line) if numbers else (op.name, ""))
        if static:
            static = {name: _symbolic(value) for name, value in static.items()}
        if op.joint is not None and is_float(arguments[0] if hasattr(arguments[0], "dtype") else np.float64):
            try:
                return self._formula(op, arguments, static)
            except JitError:
                if not _is_own(op):
                    raise
                self.refused = None
        arrays = [
            argument if type(argument) in _NUMBERS else self._argument(argument) for argument in arguments
        ]
        parents = tuple([argument.origin if isinstance(argument, Tensor) else None for argument in arguments])
        try:
            out = self._lowered(op, arrays, static)
        except (ValueError, IndexError, TypeError) as error:
            raise error_with_context(error, op.name, arrays) from error
        wanted = op.kind != "constant" and parents.count(None) < len(parents) and recording.get()
        if not wanted and not isinstance(out, tuple):
            return _lift(out, None)
        kept = tuple([array.copy() if type(array) is Symbol else array for array in arrays])
        if isinstance(out, tuple):
            whole = Node(op, kept, out, None, parents, static) if wanted else None
            nodes = whole.outputs() if whole is not None else [None] * len(out)
            return tuple(
                _lift(one, node if is_float(one) else None) for one, node in zip(out, nodes, strict=True)
            )
        return _lift(out, Node(op, kept, out.copy(), None, parents, static) if is_float(out) else None)

    def _lowered(self, op: Op, arrays: Sequence[Any], static: Mapping[str, Any]) -> Any:
        """Write what an operation computes, as `lowering.lower` does; of the same values only once.

        So a second trace of the same call has little to do.
        """
        log = self.builder.log
        key = None
        is_own = self._own.get(op)
        if is_own is None:
            is_own = self._own[op] = _is_own(op)
        if is_own and not self.lowering and (not static or _is_plain(static)):
            key = (op, repr(static) if static else "", *map(_told_apart, arrays))
            if key in self.builder.lowered:
                known, entries = self.builder.lowered[key]
                log += entries
                if len(log) > LONGEST:
                    raise TooLong
                return known.copy()
        begin, before = len(log), self.noted
        out = images.lower(self, op, arrays, static)
        if key is not None and type(out) is Symbol and self.noted == before:
            self.builder.lowered[key] = out.copy(), log[begin:]
        return out

    def _argument(self, argument: Any) -> Any:
        """Return the symbol of an argument; Python's numbers stay as they are, since they are weak."""
        if isinstance(argument, Tensor):
            return self.capture(argument)
        if type(argument) is Symbol:
            return argument
        if isinstance(argument, np.generic):  # a number that cannot change
            return Symbol(self.builder.constant(argument))
        return self.symbol(_as_known(argument))

    def _formula(self, op: Op, arguments: Sequence[Any], static: Mapping[str, Any]) -> Any:
        """Run the plain formula of a fused operation, and tell whoever observes the statistics of a batch."""
        assert op.formula is not None
        options = dict(static)
        observe = options.pop("observe", None)
        given = [argument if type(argument) in _NUMBERS else self._tensor(argument) for argument in arguments]
        with self.at_line(self.line if _is_own(op) else ""):
            if op is synchronized_batch_norm:
                x, weight, bias = given
                out, mean, var = synchronized(x, weight, bias, **options)
                if observe is not None:
                    observe(mean.detach(), var.detach())
                return out
            out = images.FUSED.get(op.name, op.formula)(*given, **options)
            if observe is not None:
                token = recording.set(False)
                try:
                    mean = np.mean(given[0], axis=0)
                    observe(mean, np.mean(np.square(given[0] - mean), axis=0))
                finally:
                    recording.reset(token)
        return out

    @property
    def line(self) -> str:
        """The user's line that asks for something."""
        return self._line or users_line()

    @contextmanager
    def at_line(self, line: str) -> Iterator[None]:
        """Take a line for that of all that is asked for inside; "" takes the line of each."""
        before, self._line = self._line, line
        try:
            yield
        finally:
            self._line = before

    def _tensor(self, argument: Any) -> Tensor:
        return argument if isinstance(argument, Tensor) else _lift(self.symbol(_as_known(argument)), None)

    def function(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run what a NumPy function does on Tensors; one that looks at values becomes a call of NumPy."""
        try:
            return function(*args, **kwargs)
        except JitError:
            writes = function in _WRITERS
            if not function.__module__.startswith("tinygrad_mnist.") or (
                writes and not (args and isinstance(args[0], Tensor))
            ):
                raise
            self.refused = None
            if not writes:
                return self._opaque(function, args, kwargs)
            args[0]._become(self._opaque(_returning_first(function), args, kwargs))

    def _opaque(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Write a function of Tensors as a call on arrays, with a gradient that is another call."""
        leaves, structure = flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, (Tensor, Symbol))]
        tensors = [self._tensor(leaves[place]) for place in places]

        def run(*given: Any) -> Any:
            filled = list(leaves)
            for place, one in zip(places, given, strict=True):
                tensor = one if isinstance(one, Tensor) else _lift(one, None)
                filled[place] = standing(tensor) if isinstance(leaves[place], StandIn) else tensor
            positional, named = unflatten(structure, filled)
            return function(*positional, **named)

        def on_arrays(*arrays: Any) -> Any:
            return lowering.as_arrays(run(*arrays))

        def rule(position: int, g: Any, out: Any, *arrays: Any) -> Any:
            return lowering.pulled_back(self, function.__name__, run, position, g, out, arrays)

        op = Op(function.__name__, on_arrays, "general", EachArgument(rule), samples="broadcast")
        return self.apply(op, tensors, {})

    def numpy_call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Write a call of a NumPy function that has no gradient."""
        return lowering.numpy_call(self, function, args, kwargs)

    # ---- the walk ----------------------------------------------------------------------------------------

    def walk(
        self,
        outputs: Sequence[tuple[Node, Any]],
        lift: Any,
        *,
        targets: Sequence[Any] | None,
        record: bool,
        retain: bool,
    ) -> dict[Any, Any]:
        """Trace the walk back over the tape: one plain pass. The program looks for NaN when it runs."""
        seeds = [(node, g if record else self.symbol(g)) for node, g in outputs]
        with self.at_line(self.line):
            arrived, _, visited = _TracedPass(lift, record=record, careful=False).over(seeds, targets)
        if targets is None and any(leaf.hooks for leaf in arrived):
            raise RunsEagerly("a parameter has a hook (register_hook), which is Python")
        if not (retain or record):
            for node in visited:
                node.free()
        self.watch(arrived.values())
        return arrived

    @property
    def kind_of_pass(self) -> type[Pass]:
        """The pass that walks over a tape of symbols."""
        return _TracedPass

    def watch(self, derivatives: Iterable[Any]) -> None:
        """Let the program look for NaN in derivatives, so that eager, with its care, computes such a call."""
        for derivative in derivatives:
            value = self.symbol(derivative).value
            if is_float(value) and value not in self.builder.program.watched:
                self.builder.program.watched.append(value)
                self.noted += 1

    # ---- modules, generators, schedules ------------------------------------------------------------------

    def entered(self, module: Any, given: Any = ()) -> None:
        """Let Tensors stand for the buffers of a module that begins to run."""
        if id(module) in self.modules:
            return
        self.modules.add(id(module))
        for name, buffer in module._named("buffer", "buffer outside the state dict"):
            if not isinstance(buffer, np.ndarray):
                continue
            if id(buffer) in self.arrays:
                value = self.arrays[id(buffer)][1]
            else:
                value = self.input(BufferSlot(vars(module), name), buffer)
            tensor = standing(_lift(Symbol(value, array=buffer), None))
            self._stand_in(_Buffer(partial(vars(module).__setitem__, name), buffer, tensor, value))

    def _stand_in(self, buffer: _Buffer) -> None:
        self.buffers.append(buffer)
        buffer.put(buffer.tensor)

    def entered_function(self, *holders: Any) -> None:
        """Let Tensors stand for the arrays that a function finds outside, or in objects that it is given."""
        tensors: dict[int, tuple[Tensor, Value]] = {}
        for array, put in array_places(*holders):
            if array.dtype.kind not in KINDS:
                continue
            if id(array) not in tensors:
                # One that is an argument, too, is another input: in the next call it may be none.
                value = self.input(ArraySlot(array), array)
                tensors[id(array)] = standing(_lift(Symbol(value, array=array), None)), value
            tensor, value = tensors[id(array)]
            self._stand_in(_Buffer(put, array, tensor, value))

    def entered_what_is_read(self, read: Collection) -> None:
        """Let symbols and numbers stand in the modules, optimisers and schedules that a function reads."""
        self.rates.enter((options.group for options in read.groups), read.schedules)
        for each in read.objects:
            if isinstance(each, Module):
                self.entered(each)
        placed = {id(buffer.array) for buffer in self.buffers}
        for each in read.objects:
            if isinstance(each, np.ndarray) and each.dtype.kind in KINDS and id(each) not in placed:
                name = read.name_of(each)
                raise RunsEagerly(f"nothing can stand in the place of the array {name}", is_said=True)

    def generator(self, make: Callable[[Any], np.random.Generator], rng: Any) -> Any:
        """Return what a layer draws from: each call of the program draws anew, from the real generator."""
        return _TracedGenerator(self, make, rng)

    def schedule_step(self, schedule: Any) -> None:
        """Note that a schedule is advanced, which Python does after the program has run."""
        self.schedules.append(schedule)
        self.rates.step(schedule)

    # ---- beginning and end -------------------------------------------------------------------------------

    @contextmanager
    def on(self) -> Iterator[None]:
        """Trace what happens inside; afterwards everything is as it was."""
        try:
            with also_observed_by(self):
                yield
        finally:
            self.restore()

    def restore(self) -> None:
        """Give everything back the values that it had."""
        self.rates.restore()
        for capture in self.captures.values():
            capture.tensor._array, capture.tensor.origin = capture.array, capture.origin
        for buffer in reversed(self.buffers):
            buffer.put(buffer.array)
        for leaf, before in self.leaves.items():
            leaf.grad = before


_WRITERS: Final = frozenset(
    FUNCTIONS[function]
    for function in (np.copyto, np.fill_diagonal, np.place, np.put, np.put_along_axis, np.putmask)
)
"""What functions of NumPy do on Tensors that write into their first argument and return nothing."""


def _returning_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that writes into its first argument as one that returns it."""

    @wraps(function)
    def run(first: Any, *args: Any, **kwargs: Any) -> Any:
        function(first, *args, **kwargs)
        return first

    return run


class _TracedGenerator:
    """The stand-in for a generator while tracing."""

    def __init__(self, tracing: Tracer, make: Callable[[Any], np.random.Generator], rng: Any) -> None:
        self._tracing, self._make, self._rng = tracing, make, rng

    def __getattr__(self, name: str) -> Callable[..., Tensor]:
        def draw(*arguments: Any) -> Tensor:
            like = getattr(np.random.default_rng(0), name)(*arguments)
            slot = DrawSlot(self._make, self._rng, name, arguments)
            value = self._tracing.input(slot, np.asarray(like))
            return _lift(Symbol(value), None)

        return draw


class _TracedPass(Pass):
    """A pass over a tape of symbols: rules run on symbols, or on Tensors where the walk is recorded."""

    __slots__ = ()

    def _parts(self, node: Node, g: Any) -> list[tuple[Any, Any]]:
        tracing = _tracing()
        with tracing.at_line(tracing.line if _is_own(node.op) else ""):
            return self._traced_parts(node, g)

    def _traced_parts(self, node: Node, g: Any) -> list[tuple[Any, Any]]:
        op, static = node.op, node.static
        arguments, out = lifted(node, self.lift) if self.record else (node.arrays or (), node.out)
        parts = []
        joint = lowering.joint_call(_tracing(), node, g) if op.joint is not None else None
        for position, (parent, array) in enumerate(zip(node.parents, node.arrays or (), strict=True)):
            if parent is None:
                continue
            if joint is not None:
                part = joint[position]
            elif (rule := op.rules[position]) is None:
                continue
            else:
                try:
                    part = rule(g, out, *arguments, **static)
                except JitError:
                    if self.record or not _is_own(op) or isinstance(op.rules, EachArgument):
                        raise
                    _tracing().refused = None
                    part = lowering.rule_call(_tracing(), op, rule, g, out, arguments, static, array)
            if part is None:
                continue
            part = self._fitted(op, part, array)
            parts.append((parent, part))
        return parts

    def _fitted(self, op: Op, part: Any, array: Any) -> Any:
        """Return a part in the shape and dtype of the argument: a symbol, or a Tensor in a recorded walk."""
        if not self.record:
            part = _tracing().symbol(part, array.dtype)
        elif not isinstance(part, Tensor):
            part = _lift(_tracing().symbol(part, array.dtype), None)
        if part.shape != array.shape or part.dtype != array.dtype:
            part = _fit(op, part, array)
        return part


def _tracing() -> Tracer:
    found = tracer()
    assert isinstance(found, Tracer)
    return found


def _is_asked_by_package() -> bool:
    """Return whether the code that asks for an operation is the package's: a loss, say, and not a user's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(_PACKAGE)


_NUMBERS: Final = frozenset({bool, int, float})


def _is_own(op: Op) -> bool:
    """Return whether an operation is the package's own, so that its Python may run between two loops."""
    return getattr(op.forward, "__module__", "").startswith("tinygrad_mnist") or isinstance(
        op.forward, np.ufunc
    )


def _as_known(argument: Any) -> Any:
    """Return an argument of an operation as an array, a symbol or a Tensor."""
    if isinstance(argument, (Tensor, Symbol, np.ndarray)):
        return argument
    return np.asarray(argument)


def _is_plain(static: Any) -> bool:
    """Return whether options are told apart by how they are spelt: numbers, dtypes, and tuples of them."""
    if type(static) is dict:
        return all(map(_is_plain, static.values()))
    if type(static) is tuple:
        return all(map(_is_plain, static))
    if type(static) is slice:
        return _is_plain((static.start, static.stop, static.step))
    return static is None or type(static) in (bool, int, float, str) or isinstance(static, (np.dtype, type))


def _told_apart(argument: Any) -> Any:
    """Return what tells an argument of an operation from others: a value, or how a number is spelt."""
    if type(argument) is Symbol:
        return (argument.value, True) if argument.weak else argument.value
    return repr(argument)


def _symbolic(value: Any) -> Any:
    """Return an option with the symbols of Tensors in it, such as an index that is computed."""
    if isinstance(value, Tensor):
        return value._array
    if type(value) in (list, tuple):
        return type(value)(map(_symbolic, value))
    return value


# ---- a whole call ----------------------------------------------------------------------------------------


def trace(
    function: Callable[..., Any],
    leaves: Sequence[Any],
    structure: Any,
    read: Collection | None = None,
) -> Traced:
    """Trace a call of a function twice, and return what it computes.

    The second trace tells what the first cannot: an array that both met is one that outlives the call, and
    has to be read again at each; one that each of them made is a constant; and where they differ, a replay
    would freeze what changes.

    Parameters
    ----------
    function : callable
        What is called.
    leaves, structure : list, object
        Its arguments, ``(args, kwargs)`` flattened. Arrays and Tensors become inputs; anything else is
        what it is.
    read : Collection, optional
        What it reads besides.

    Raises
    ------
    JitError
        If the function reads a value, or computes something else the second time.
    RunsEagerly
        If it has to run as it is.
    """
    first = Tracer()
    collects = gc.isenabled()
    gc.disable()  # it would look at all objects of the process, several times, and find nothing
    try:
        before = _traced(first, function, leaves, structure, read)
        again = _traced(Tracer(first), function, leaves, structure, read)
    except TooLong:
        raise RunsEagerly(
            f"it asks for more than {LONGEST} instructions, as a loop in it is unrolled; jit what is inside "
            "of the loop",
            is_said=True,
        ) from None
    finally:
        if collects:
            gc.enable()
    if (line := again.difference(before)) is not None:
        raise JitError(
            f"the function computes something else when it runs again with the same arguments, at {line}; "
            "what changes from call to call (a counter, a random number, the time) would be frozen: give it "
            "as an argument, as an array"
        )
    return again


def _traced(
    tracing: Tracer,
    function: Callable[..., Any],
    leaves: Sequence[Any],
    structure: Any,
    read: Collection | None,
) -> Traced:
    """Trace a call once; the arguments are those of `trace`."""
    given: list[Any] = []
    arguments: list[tuple[int, Tensor, Value]] = []
    known: dict[int, Any] = {}
    for value in (*leaves, *(read.objects if read is not None else ())):
        tracing.taken_in(value)
    for position, leaf in enumerate(leaves):
        if not isinstance(leaf, (Tensor, np.ndarray)):
            given.append(leaf)
            continue
        if isinstance(leaf, np.ndarray) and type(leaf) is not np.ndarray:
            raise RunsEagerly(f"an argument is a {type(leaf).__name__}, which a Tensor does not stand for")
        if id(leaf) in known:
            given.append(known[id(leaf)])
            continue
        array = leaf._array if isinstance(leaf, Tensor) else leaf
        value = tracing.input(ArgumentSlot(position), array)
        tensor = _lift(Symbol(value), None)
        if isinstance(leaf, np.ndarray):
            tensor = standing(tensor)
        else:
            tracing.note_tensor(tensor)
        if isinstance(leaf, Tensor) and leaf.origin is not None:
            if not isinstance(leaf.origin, Leaf):
                raise RunsEagerly("an argument is on a tape: whoever differentiates by it needs the tape")
            tensor.origin = twin = Leaf(leaf.origin.name)
            twin.grad = leaf.origin.grad
            tracing.argument_leaves[twin] = position
            if leaf.origin.hooks:
                raise RunsEagerly("an argument has a hook (register_hook), which is Python")
        arguments.append((position, tensor, value))
        given.append(tensor)
        known[id(leaf)] = tensor
    args, kwargs = unflatten(structure, given)
    with tracing.on():
        tracing.entered_function(function, *filter(is_object, leaves))
        if read is not None:
            tracing.entered_what_is_read(read)
        returned = function(*args, **kwargs)
        if tracing.refused is not None:  # the function has caught it
            raise tracing.refused
        tracing.rates.check()
        if any(id(leaf) in tracing.captures for leaf in leaves if isinstance(leaf, Tensor)):
            raise RunsEagerly("an argument is a Tensor that the function finds outside, too", is_often=False)
        tracing.arguments = [(position, leaves[position], tensor, v) for position, tensor, v in arguments]
        return finished(tracing, returned)
