"""From a program to machine code that runs it: :func:`build`, and what it returns, :class:`Executable`.

The code of a program is cut only where NumPy has to run an instruction. Each part is one function, which is
given a table of pointers; the last one looks at the conditions before it writes to the inputs.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from threading import RLock
from typing import Any

import numpy as np

from tinygrad_mnist.compiler import machine, pool, products, stored
from tinygrad_mnist.compiler.addresses import Overlaps, address_of, span
from tinygrad_mnist.compiler.fuse import Call, Kernel, Piece, Plan, Product, plan
from tinygrad_mnist.compiler.layout import Layout, contiguous
from tinygrad_mnist.compiler.memory import Memory, Place, assign
from tinygrad_mnist.compiler.module import WORTHWHILE, Module
from tinygrad_mnist.compiler.prepare import prepare
from tinygrad_mnist.compiler.program import Instruction, Program, Value, interpret
from tinygrad_mnist.engine.shards import Refused
from tinygrad_mnist.numbers import count_text


@dataclass(frozen=True)
class Report:
    """A description of one piece of a program, to be read by people.

    Attributes
    ----------
    kind : str
        ``loops``, ``product`` or ``call``.
    instructions : list of Instruction
        What it runs; of loops all that were fused.
    space : tuple of int
        Of loops their lengths, of a product ``(rows, columns, inner)``.
    read, written : int
        Bytes of memory that it reads and writes.
    commit : bool
        Whether it writes to the inputs, after the conditions have been looked at.
    """

    kind: str
    instructions: list[Instruction]
    space: tuple[int, ...]
    read: int
    written: int
    commit: bool


class Results:
    """Arrays for the outputs of a program.

    Parameters
    ----------
    arrays : sequence of ndarray or None
        For each output an array that it is computed into, or None for a new one. None of them shares memory
        with an input, and each lies as `Executable.new` makes it.
    """

    __slots__ = ("addresses", "arrays", "missing")

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = list(arrays)
        self.missing = [number for number, array in enumerate(arrays) if array is None]
        addresses = [0 if array is None else address_of(array) for array in arrays]
        self.addresses = np.array(addresses, np.int64).data


Outcome = tuple[list[Any], list[float]]
"""What a program computed: its outputs, and the numbers."""


class Executable:
    """A program as machine code.

    Attributes
    ----------
    program : Program
        What it computes.
    plan : Plan
        How: kernels, products and calls.
    ir : str
        The text of the code.
    """

    def __init__(self, program: Program, *, threads: int = 1, refuses_overlaps: bool = False):
        self.program = program
        self._steps: list[tuple[str, Instruction | None]] = []
        self._refuses_overlaps = refuses_overlaps
        # An interrupt may come between the end of a `with` and the release: then the same thread can go on.
        self._lock = RLock()
        self.threads = threads if threads > 1 and pool.available() else 1
        self._compile()
        self._prepare_memory()

    # Building --------------------------------------------------------------------------------------------

    @cached_property
    def plan(self) -> Plan:
        """The kernels, products and calls that compute the program."""
        # Without BLAS by pointer, NumPy multiplies.
        blas = all(products.blas(np.dtype(kind)) is not None for kind in ("f4", "f8"))
        return plan(prepare(self.program, blas=blas))

    @cached_property
    def memory(self) -> Memory:
        """The places of all values."""
        return assign(self.plan)

    @cached_property
    def ir(self) -> str:
        """The text of the code."""
        return self._module(self.threads).text()

    def _compile(self) -> None:
        key = stored.key_of_program(self.program, self.threads)
        found = stored.find(self.program, key)
        if found is None:
            self._compile_plan(key)
        else:
            self.threads = found.threads
            self._ready, self._frame = found.ready, found.memory
            symbols = _symbols(found.symbols, self.threads)
            self._code = machine.load(found.code, ["part0"], found.needed, symbols=symbols)
            self._steps = [("part0", None)]
        self._exchanges = [step for _, step in self._steps if step is not None and step.refuse is not None]
        calls = [step for _, step in self._steps if step is not None]
        self._computes = len(calls) > len(self._exchanges)  # whether NumPy runs more than exchanges
        self._exchanged = 0  # the exchanges that the run under way, or one that did not hold, has made
        self.failure: Exception | None = None  # of what is outside, in the last run
        kind = ctypes.CFUNCTYPE(ctypes.c_int32)
        self._calls: dict[Instruction, Callable[[], None]] = {}
        self._parts: list[Any] = [
            kind(self._code.address(name)) if call is None else call for name, call in self._steps
        ]

    def _compile_plan(self, key: str | None) -> None:
        """Compile the program, and keep it under a key; one that has calls is found by its text alone."""
        module = self._module(self.threads)
        if module.shared < WORTHWHILE and self.threads > 1:
            self.threads = 1
            module = self._module(1)
        self.ir = module.text()
        if len(self._steps) > 1:
            key = None
        symbols = _symbols(module.symbols, self.threads)
        self._code = machine.compile_ir(self.ir, symbols=symbols, disk=key is None)
        self._ready, self._frame = self.plan.ready, self.memory
        if key is not None:
            stored.keep(
                key, self.program.constants, self.plan, self.memory, self._code, sorted(symbols), self.threads
            )

    def _module(self, threads: int) -> Module:
        """Write the program as functions, cut where NumPy has to run an instruction."""
        module = Module(self.plan, self.memory, threads=threads)
        self._steps = []
        waiting: list[Piece] = []

        def part(*, last: bool) -> None:
            if waiting or last:
                module.part(f"part{len(self._steps)}", waiting, last=last)
                self._steps.append((f"part{len(self._steps)}", None))
                waiting.clear()

        for piece in self.plan.pieces:
            if isinstance(piece, Call):
                part(last=False)
                self._steps.append(("", piece.instruction))
            else:
                waiting.append(piece)
        part(last=True)
        return module

    def _prepare_memory(self) -> None:
        ready, memory = self._ready, self._frame
        program = ready.program
        table = np.zeros(memory.committed + 1, np.int64)
        pointer = ctypes.c_void_p(address_of(table))
        self._parts = [
            part if isinstance(part, Instruction) else partial(part, pointer) for part in self._parts
        ]
        self.table = table.data  # quicker than an array where single entries are written
        self._pool = pool.pool(self.threads) if self.threads > 1 else None
        if self._pool:
            self.table[memory.pool] = self._pool.state_address
        is_one = len(self._parts) == 1 and self._pool is None
        self._only: Callable[[], Any] | None = self._parts[0] if is_one else None
        block = np.zeros(memory.arena + 64, np.uint8)
        start = -address_of(block) % 64
        self._arena = block[start : start + memory.arena].data
        self.table[0] = address_of(block) + start
        self._constants = {v: np.array(program.constants[v], v.dtype, order="C") for v in memory.constants}
        for value, entry in memory.constants.items():
            self.table[entry] = address_of(self._constants[value])
        self._pack = struct.Struct(f"{len(program.scalars)}d").pack_into
        numbers = memory.places[program.numbers[0]].offset if program.numbers else 0
        self._numbers = self._arena[numbers : numbers + 8 * len(program.numbers)].cast("d")
        self._views: dict[Value, Any] = {
            value: self._at(value, place) for value, place in memory.places.items() if place.entry == 0
        }
        self.entries = [memory.inputs[value] for value in program.inputs]
        self.arrays: list[Any] = [None] * len(program.inputs)
        self.targets = {program.inputs.index(target) for _, target in program.writes}
        spans = [
            span(v.shape, strides, v.dtype.itemsize)
            for v, strides in zip(program.inputs, program.strides, strict=True)
        ]
        self.overlaps = Overlaps(spans, self.targets, self.arrays)
        self._roots = [ready.roots[value] for value in program.outputs]
        self._news = list(map(self._new_of, program.outputs))
        first = memory.outputs[self._roots[0]] if self._roots else 0
        self._outputs = self.table[first : first + len(self._roots)]
        self._all_new = Results([None] * len(self._roots))
        self._results: list[Any] = []  # the arrays of the outputs of the last run

    def _at(self, value: Value, place: Place) -> Any:
        if not value.size:
            return np.empty(value.shape, value.dtype)
        layout = self._ready.layouts.get(value) or contiguous(value)
        return np.ndarray(value.shape, value.dtype, self._arena, place.offset, layout.strides)

    def _new_of(self, value: Value) -> Callable[[], Any]:
        """Return what makes an array for an output, whose axes may have another order than its memory."""
        order = _order_in_memory(self._ready.layouts[value])
        shape = tuple(value.shape[axis] for axis in order)
        if order == list(range(value.ndim)):
            return partial(np.empty, shape, value.dtype)
        axes = tuple(map(order.index, range(value.ndim)))
        return lambda: np.empty(shape, value.dtype).transpose(axes)

    # Calling ---------------------------------------------------------------------------------------------

    def __call__(
        self, arrays: Sequence[Any], scalars: Sequence[float] = (), into: Results | None = None
    ) -> Outcome | None:
        """Run the program, and return its outputs and numbers; None if a condition does not hold.

        Parameters
        ----------
        arrays : sequence of ndarray
            The inputs. Those that the program writes to are changed.
        scalars : sequence of float
            The numbers that go in.
        into : Results, optional
            Arrays for the outputs.

        Raises
        ------
        ValueError
            An array has another shape, dtype or memory layout than the program was compiled for.
        """
        if len(arrays) != len(self.arrays):
            raise ValueError(
                f"the program has {count_text(len(self.arrays), 'input')}, but was given {len(arrays)}"
            )
        for number, array in enumerate(arrays):
            self.take(number, array)
        self.clear()
        return self.run(scalars, into)

    def take(self, number: int, array: Any) -> None:
        """Take an array for an input, for this and later runs; raise if it does not fit."""
        value, strides = self.program.inputs[number], self.program.strides[number]
        if type(array) is not np.ndarray:  # a symbol, say, that a trace in another thread has put there
            raise TypeError(f"input {number} is a {type(array).__name__}; expected an array")
        if not self.fits(number, array):
            raise ValueError(
                f"input {number} was compiled for shape {value.shape}, {value.dtype} and strides "
                f"{strides}, but has shape {array.shape}, {array.dtype} and strides {array.strides}"
            )
        if number in self.targets and not array.flags.writeable:
            raise ValueError(f"input {number} is written to, but is read-only")
        self.place(number, array)

    def fits(self, number: int, array: Any) -> bool:
        """Return whether an array has the shape, dtype and layout that the program was compiled for."""
        value, strides = self.program.inputs[number], self.program.strides[number]
        return array.shape == value.shape and array.dtype == value.dtype and _same_strides(array, strides)

    def place(self, number: int, array: Any) -> None:
        """Take an array for an input, of which is known that it fits."""
        address = address_of(array)
        self.table[self.entries[number]] = address
        self.arrays[number] = array
        self.overlaps.place(number, address)

    def place_arguments(self, pairs: Sequence[tuple[int, int]], arguments: Sequence[Any]) -> None:
        """Take arrays in C order, or Tensors of such, of which is known that they fit.

        Parameters
        ----------
        pairs : sequence of (int, int)
            The numbers of inputs, and their positions among the arguments.
        arguments : sequence
            The arguments of a call.
        """
        overlaps = self.overlaps
        for number, position in pairs:
            array = arguments[position]
            if type(array) is not np.ndarray:
                array = array._array
            self.arrays[number] = array
            self.table[self.entries[number]] = address = address_of(array)
            if address <= overlaps.last and address + array.nbytes > overlaps.first:
                overlaps.place(number, address)

    def new(self, number: int) -> Any:
        """Return a new array that an output can be computed into."""
        return self._news[number]()

    def run(self, scalars: Sequence[float], into: Results | None = None) -> Outcome | None:
        """Run the program on the inputs that it has, as a call does; `outcome` returns the same later.

        The last run is to be forgotten first, by `clear`.
        """
        with self._lock:
            if self.overlaps.are_possible and self.overlaps.exist():
                return None if self._refuses_overlaps else self._interpreted(scalars, into)
            self._pack(self._arena, 0, *scalars)
            given = into or self._all_new
            self._results = results = list(given.arrays)
            self._outputs[:] = given.addresses
            for number in given.missing:
                results[number] = array = self._news[number]()
                self._outputs[number] = address_of(array)
            if self._only is not None:
                self._only()
            elif self._pool is None:
                self._run_all()
            else:
                self._run_shared(self._pool)
            if self.table[-1]:
                self._exchanged = 0
            return (results, list(self._numbers)) if self.table[-1] else None

    def outcome(self) -> Outcome | None:
        """Return what the last run computed, if it has committed: it may be asked after an interrupt."""
        return (self._results, list(self._numbers)) if self.table[-1] else None

    def clear(self) -> None:
        """Forget the last run."""
        self.table[-1] = self._exchanged = 0
        self.failure = None
        self._results = []

    def release(self, numbers: Sequence[int]) -> None:
        """Let go of the last results, and of inputs that the next run is given anew."""
        self._results = []
        for number in numbers:
            self.arrays[number] = None

    @property
    def has_exchanged(self) -> bool:
        """True if the last run did not hold, and had made an exchange."""
        return self._exchanged > 0

    def refuse(self) -> None:
        """Take part in the next exchange of a run that goes no further, or of one that does not begin.

        So all processes run the call as it is. Nothing is done where they know already, or find the same.
        """
        position, self._exchanged = self._exchanged, 0
        for exchange in self._exchanges[position : position + 1]:
            assert exchange.refuse is not None
            exchange.refuse()

    def renew_lock(self) -> None:
        """Take a new lock, after a fork: a thread that held it is not in the child."""
        self._lock = RLock()

    def _run_all(self) -> None:
        """Run all parts, as far as the conditions hold, and other processes take part."""
        with np.errstate(all="ignore") if self._computes else nullcontext():
            for part in self._parts:
                if not isinstance(part, Instruction):
                    if not part():
                        return
                elif not part.effect:
                    self._run(part)
                elif not self._run_outside(part):
                    return

    def _run_shared(self, threads: pool.Pool) -> None:
        """Run all parts with the threads of a pool, and BLAS on the thread that calls it."""
        threads.start()
        library = products.blas(np.dtype("f4"))
        with library.one_thread() if library else nullcontext():
            self._run_all()

    def _interpreted(self, scalars: Sequence[float], into: Results | None) -> Outcome | None:
        """Run the program by NumPy: it is right for memory that overlaps, too."""
        results = interpret(self.program, self.arrays, scalars)
        if results is None or into is None:
            return results
        return _filled(into.arrays, results[0]), results[1]

    def _run_outside(self, instruction: Instruction) -> bool:
        """Run what has an effect; return whether all processes go on with the program."""
        if instruction.refuse is not None:
            self._exchanged += 1
        try:
            (self._calls.get(instruction) or self._call_of(instruction))()
        except Refused:
            self._exchanged = len(self._exchanges)
            return False
        except Exception as error:
            self._exchanged, self.failure = 0, error
            raise
        return True

    def _run(self, instruction: Instruction) -> None:
        """Run an instruction by NumPy, between two parts of the code."""
        (self._calls.get(instruction) or self._call_of(instruction))()

    def _call_of(self, instruction: Instruction) -> Callable[[], None]:
        """Return what runs an instruction on the arrays of its inputs, from now on."""
        of = instruction.inputs, instruction.outputs
        inputs, outputs = (_together([self._finder(value) for value in values]) for values in of)
        run, is_single = instruction.run, len(instruction.outputs) == 1
        is_kept = instruction.effect and instruction.refuse is None  # it may keep what it is given

        def call() -> None:
            arguments = inputs()
            results = run(*[argument.copy() for argument in arguments] if is_kept else arguments)
            if is_single:
                results = (results,)
            for place, result in zip(outputs(), results, strict=True):
                place[...] = result

        self._calls[instruction] = call
        return call

    def _finder(self, value: Value) -> Any:
        """Return the array of a value, or a view of it; what returns it, if it is another one in each run."""
        found = self._views.get(value, self._constants.get(value))
        if found is not None:
            return found
        if value in self._roots:
            number = self._roots.index(value)
            # The axes of an output, and those of the value, may have other orders than the memory.
            output = self._ready.program.outputs[number]
            order = _order_in_memory(self._ready.layouts[output])
            own = _order_in_memory(self._ready.layouts[value])
            shape, back = [value.shape[axis] for axis in own], list(map(own.index, range(value.ndim)))
            if order == own == list(range(value.ndim)) and output.shape == value.shape:
                return lambda: self._results[number]
            return lambda: self._results[number].transpose(order).reshape(shape).transpose(back)
        producer = self.plan.ready.producers.get(value)
        if producer is None:
            number = self.program.inputs.index(value)
            return lambda: self.arrays[number]
        run, arguments = producer.run, [self._finder(argument) for argument in producer.inputs]
        if not any(map(callable, arguments)):
            view = run(*arguments)
            if any(np.may_share_memory(view, argument) for argument in arguments):
                return view
        find = _together(arguments)
        return lambda: run(*find())

    # Looking ---------------------------------------------------------------------------------------------

    def report(self) -> list[Report]:
        """Return what each piece does, in the order in which they run."""
        return [
            *(self._report(piece, commit=False) for piece in self.plan.pieces),
            *(self._report(piece, commit=True) for piece in self.plan.commit),
        ]

    def profile(
        self, arrays: Sequence[Any], scalars: Sequence[float] = (), *, rounds: int = 20
    ) -> list[tuple[Report, float]]:
        """Run each piece by itself, and return what it does and the seconds that it took.

        They are the median of some rounds.
        What the program writes to is copied first, so nothing changes; the conditions are not looked at.
        NumPy's calls run for real, once if one of them has an effect. Exchanges with other processes, which
        take no part, are left out.
        """
        with self._lock:
            copies = [
                array.copy(order="K") if number in self.targets else array
                for number, array in enumerate(arrays)
            ]
            pieces = [*self.plan.pieces, *self.plan.commit]
            module = Module(self.plan, self.memory)
            for number, piece in enumerate(pieces):
                module.part(f"piece{number}", [] if isinstance(piece, Call) else [piece])
            module.part("empty", [])
            code = machine.compile_ir(module.text(), symbols=_symbols(module.symbols, 1))
            kind = ctypes.CFUNCTYPE(ctypes.c_int32)
            pointer = ctypes.c_void_p(address_of(self.table.obj))
            runs: list[Callable[[], Any]] = [
                partial(self._run_alone, piece.instruction)
                if isinstance(piece, Call)
                else partial(kind(code.address(f"piece{number}")), pointer)
                for number, piece in enumerate(pieces)
            ]
            for number, array in enumerate(copies):
                self.take(number, array)
            self._pack(self._arena, 0, *scalars)
            self._results = [new() for new in self._news]
            self._outputs[:] = Results(self._results).addresses
            calls = [piece.instruction for piece in pieces if isinstance(piece, Call)]
            effects = any(call.effect and call.refuse is None for call in calls)
            times = _times([*runs, partial(kind(code.address("empty")), pointer)], 1 if effects else rounds)
            self._results = []
            return [
                (report, max(0.0, t - times[-1])) for report, t in zip(self.report(), times, strict=False)
            ]

    def _run_alone(self, instruction: Instruction) -> None:
        """Run an instruction by NumPy, unless it needs other processes."""
        if instruction.refuse is None:
            with np.errstate(all="ignore"):
                self._run(instruction)

    def _report(self, piece: Piece, *, commit: bool) -> Report:
        def size(values: Any) -> int:
            return sum(v.size * v.dtype.itemsize for v in values)

        read, written = size(self.plan.reads(piece)), size(self.plan.stores(piece))
        if isinstance(piece, Kernel):
            written += size(target for _, target in piece.writes)
            return Report("loops", self.plan.instructions(piece), piece.space, read, written, commit)
        space = piece.instruction.outputs[0].shape if piece.instruction.outputs else ()
        if isinstance(piece, Product):
            space = (*space, piece.instruction.inputs[0].shape[-1])
        return Report(
            "product" if isinstance(piece, Product) else "call",
            self.plan.instructions(piece),
            space,
            read,
            written,
            commit,
        )


def _order_in_memory(layout: Layout) -> list[int]:
    """Return the axes of an array in the order in which they lie in memory."""
    return sorted(range(len(layout.strides)), key=lambda axis: -layout.strides[axis])


def _together(finders: Sequence[Any]) -> Callable[[], Sequence[Any]]:
    """Return what returns arrays: those that are given, and of the others what their finders return."""
    moving = [(number, find) for number, find in enumerate(finders) if callable(find)]
    if not moving:
        fixed = tuple(finders)
        return lambda: fixed
    known = [None if callable(find) else find for find in finders]

    def find_all() -> Sequence[Any]:
        arrays = known.copy()
        for number, find in moving:
            arrays[number] = find()
        return arrays

    return find_all


def _times(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the seconds that each function takes, the median of some rounds of all."""
    times = []
    for _ in range(rounds):
        marks = [time.perf_counter()]
        for run in runs:
            run()
            marks.append(time.perf_counter())
        times.append(np.diff(marks))
    return [float(t) for t in np.median(times, axis=0)]


def _symbols(names: Iterable[str], threads: int) -> dict[str, int]:
    """Return the addresses of what a module calls outside of it."""
    found = {}
    for name in names:
        if name == "tg_pool_run":
            found[name] = pool.pool(threads).run_address
        else:
            library = products.blas(np.dtype("f4" if name == "tg_sgemm" else "f8"))
            assert library
            found[name] = library.address
    return found


def _same_strides(array: Any, strides: tuple[int, ...]) -> bool:
    """Return whether an array lies as it was said: along an axis of length 1 nothing moves on."""
    return (
        array.strides == strides
        or array.size == 0
        or all(n == 1 or a == b for n, a, b in zip(array.shape, array.strides, strides, strict=True))
    )


def _filled(into: Sequence[Any], results: list[Any]) -> list[Any]:
    """Copy the outputs to where the caller wants them."""
    filled = []
    for place, result in zip(into, results, strict=True):
        if place is not None:
            place[...] = result
            result = place
        filled.append(result)
    return filled


def build(program: Program, *, threads: int = 1, refuses_overlaps: bool = False) -> Executable:
    """Compile a program.

    Parameters
    ----------
    program : Program
        What to compute.
    threads : int
        How many threads a call may use.
    refuses_overlaps : bool
        Whether a call returns None where an input that is written to has memory in common with another one.
        Otherwise NumPy runs it, as the program means it.

    Raises
    ------
    ImportError
        There is no `llvmlite`.
    """
    return Executable(program, threads=threads, refuses_overlaps=refuses_overlaps)
