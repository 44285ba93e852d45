"""From a program to machine code that runs it: :func:`build`, and what it returns, :class:`Executable`.

The code of a program is cut only where NumPy has to run an instruction. Each part is one function, which is
given a table of pointers; the last one looks at the conditions before it writes to the inputs.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from operator import is_
from threading import Lock
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_mnist.compiler import machine, pool, products
from tinygrad_mnist.compiler.fuse import Call, Kernel, Piece, Product, plan
from tinygrad_mnist.compiler.layout import contiguous
from tinygrad_mnist.compiler.memory import Place, assign
from tinygrad_mnist.compiler.module import WORTHWHILE, Module
from tinygrad_mnist.compiler.prepare import prepare
from tinygrad_mnist.compiler.program import Instruction, Program, Value, interpret


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


@dataclass(frozen=True)
class _Output:
    """An output: a view of the arena that is copied at the end, or, without one, an entry of the table.

    In the memory of its root, whose elements lie in C order, its axes may have another order.
    """

    root: Value
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    view: Any
    entry: int

    def new(self) -> Any:
        """Return an array for it."""
        return np.empty(self.shape, self.root.dtype).transpose(self.axes)


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
        # Without BLAS by pointer, NumPy multiplies.
        blas = all(products.blas(np.dtype(kind)) is not None for kind in ("f4", "f8"))
        self.plan = plan(prepare(program, blas=blas))
        self.memory = assign(self.plan)
        self._refuses_overlaps = refuses_overlaps
        self._lock = Lock()
        self.threads = threads if threads > 1 and pool.available() else 1
        self._compile()
        self._prepare_memory()

    # Building --------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        module = self._module(self.threads)
        if module.shared < WORTHWHILE and self.threads > 1:
            self.threads = 1
            module = self._module(1)
        self.ir = module.text()
        self._code = machine.compile_ir(self.ir, symbols=_symbols(module, self.threads))
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
        self._parts: list[Any] = [
            kind(self._code.address(name)) if call is None else call for name, call in self._steps
        ]

    def _module(self, threads: int) -> Module:
        """Write the program as functions, cut where NumPy has to run an instruction."""
        module = Module(self.plan, self.memory, threads=threads)
        self._steps: list[tuple[str, Instruction | None]] = []
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
        ready, memory = self.plan.ready, self.memory
        program = ready.program
        self._table = np.zeros(memory.committed + 1, np.int64)
        self._pool = pool.pool(self.threads) if self.threads > 1 else None
        if self._pool:
            self._table[memory.pool] = self._pool.state_address
        self._table_address = _address(self._table)
        block = np.zeros(memory.arena + 64, np.uint8)
        start = -_address(block) % 64
        self._arena = block[start : start + memory.arena]
        self._table[0] = _address(self._arena) if memory.arena else 0
        self._constants = {v: np.array(program.constants[v], v.dtype, order="C") for v in memory.constants}
        for value, entry in memory.constants.items():
            self._table[entry] = _address(self._constants[value])
        self._pack = struct.Struct(f"{len(program.scalars)}d").pack_into
        numbers = memory.places[program.numbers[0]].offset if program.numbers else 0
        self._numbers = self._arena[numbers : numbers + 8 * len(program.numbers)].data.cast("d")
        self._views: dict[Value, Any] = {
            value: self._at(value, place) for value, place in memory.places.items() if place.entry == 0
        }
        # What each call copies out, or None where machine code fills the array itself.
        outputs = list(enumerate(map(self._output, program.outputs)))
        self._small = [(number, output.view) for number, output in outputs if output.view is not None]
        self._large = [(number, output) for number, output in outputs if output.view is None]
        self._entries = [memory.inputs[value] for value in program.inputs]
        self._arrays: list[Any] = [None] * len(program.inputs)
        self._targets = {program.inputs.index(target) for _, target in program.writes}
        self._spans = [_span(v, strides) for v, strides in zip(program.inputs, program.strides, strict=True)]
        self._ends: list[tuple[int, int]] = [(0, 0)] * len(program.inputs)
        # The first and last bytes of what is written to, sorted; each last one the greatest so far.
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._overlaps = False
        self._direct: dict[Value, Any] = {}
        self._no_memory = [None] * len(outputs)

    def _at(self, value: Value, place: Place) -> Any:
        if not value.size:
            return np.empty(value.shape, value.dtype)
        return np.ndarray(value.shape, value.dtype, self._arena.data, place.offset)

    def _output(self, value: Value) -> _Output:
        root, layout = self.plan.ready.roots[value], self.plan.ready.layouts[value]
        view = None
        if root in self._views:
            view = as_strided(self._views[root], value.shape, layout.strides)
        # The axes as they lie in memory, and where each axis of the output is among them.
        order = sorted(range(value.ndim), key=lambda axis: -layout.strides[axis])
        shape = tuple(value.shape[axis] for axis in order)
        axes = tuple(map(order.index, range(value.ndim)))
        return _Output(root, shape, axes, view, self.memory.direct.get(root, 0))

    # Calling ---------------------------------------------------------------------------------------------

    def __call__(
        self,
        arrays: Sequence[Any],
        scalars: Sequence[float] = (),
        into: Sequence[Any] | None = None,
        outcome: list[Any] | None = None,
    ) -> tuple[list[Any], list[float]] | None:
        """Run the program, and return its outputs and numbers; None if a condition does not hold.

        Parameters
        ----------
        arrays : sequence of ndarray
            The inputs. Those that the program writes to are changed.
        scalars : sequence of float
            The numbers that go in.
        into : sequence, optional
            For each output an array that it is put into and its address, or None for a new array. None of
            them shares memory with an input, and each lies as the one that a call returned.
        outcome : list, optional
            Takes what is returned: it is there even if an interrupt comes before the return.
        """
        with self._lock:
            self._take(arrays)
            if self._overlaps:
                if self._refuses_overlaps:
                    return None
                return self._interpreted(arrays, scalars, into)
            self._pack(self._arena.data, 0, *scalars)
            places = list(self._no_memory if into is None else into)
            for number, output in self._large:
                place = places[number]
                if place is None:
                    array = output.new()
                    place = array, _address(array)
                places[number] = self._direct[output.root] = place[0]
                self._table[output.entry] = place[1]
            self._table[-1] = 0
            try:
                if not (self._run_all() if self._pool is None else self._run_shared(self._pool)):
                    return None
            finally:
                if self._table[-1]:
                    result = self._collected(places)
                    if outcome is not None:
                        outcome.append(result)
            return result

    def _collected(self, places: list[Any]) -> tuple[list[Any], list[float]]:
        """Return the outputs, of which small ones are copied, and the numbers."""
        for number, view in self._small:
            place = places[number]
            if place is None:
                places[number] = view.copy("K")
            else:
                places[number] = place[0]
                place[0][...] = view
        return places, list(self._numbers)

    def renew_lock(self) -> None:
        """Take a new lock, after a fork: a thread that held it is not in the child."""
        self._lock = Lock()

    def release(self, numbers: Sequence[int]) -> None:
        """Let go of inputs that the next call does not give again."""
        for number in numbers:
            self._arrays[number] = None

    def _run_all(self) -> bool:
        """Run all parts; return False if a condition does not hold."""
        for part in self._parts:
            if isinstance(part, Instruction):
                self._run(part)
            elif not part(self._table_address):
                return False
        return True

    def _run_shared(self, threads: pool.Pool) -> bool:
        """Run all parts with the threads of a pool, and BLAS on the thread that calls it."""
        threads.start()
        library = products.blas(np.dtype("f4"))
        with library.one_thread() if library else nullcontext():
            return self._run_all()

    def _take(self, arrays: Sequence[Any]) -> None:
        """Put the addresses of the inputs into the table; those of the last call are there."""
        if len(arrays) != len(self._arrays):
            raise ValueError(f"the program has {len(self._arrays)} inputs, but was given {len(arrays)}")
        same = list(map(is_, arrays, self._arrays))
        if all(same):
            return
        changed = [number for number, known in enumerate(same) if not known]
        try:
            for number in changed:
                self._take_one(number, arrays[number])
            self._look_for_overlaps(changed)
        except BaseException:
            self._arrays = [None] * len(arrays)  # so that the next call looks at all of them
            raise

    def _look_for_overlaps(self, changed: list[int]) -> None:
        """Find out whether an input that is written to shares memory with another one."""
        if not self._overlaps and self._targets.isdisjoint(changed):
            self._overlaps = any(map(self._may_overlap, changed)) and self._written_overlaps()
            return
        ends = sorted(self._ends[number] for number in self._targets)
        self._firsts = [first for first, _ in ends]
        self._lasts = list(itertools.accumulate((last for _, last in ends), max))
        self._overlaps = self._written_overlaps()

    def _take_one(self, number: int, array: Any) -> None:
        value, strides = self.program.inputs[number], self.program.strides[number]
        if array.shape != value.shape or array.dtype != value.dtype or not _same_strides(array, strides):
            raise ValueError(
                f"input {number} was compiled for shape {value.shape}, {value.dtype} and strides "
                f"{strides}, but has shape {array.shape}, {array.dtype} and strides {array.strides}"
            )
        if number in self._targets and not array.flags.writeable:
            raise ValueError(f"input {number} is written to, but is read-only")
        address = _address(array)
        self._table[self._entries[number]] = address
        before, after = self._spans[number]
        self._ends[number] = address - before, address + after
        self._arrays[number] = array

    def _may_overlap(self, number: int) -> bool:
        """Return whether the span of bytes of an input meets that of what is written to."""
        first, last = self._ends[number]
        earlier = bisect_right(self._firsts, last)
        return earlier > 0 and self._lasts[earlier - 1] >= first

    def _written_overlaps(self) -> bool:
        """Return whether the memory of an input that is written to holds a part of another input, too."""
        reached: list[int] = []  # inputs whose bytes may meet those of the next
        for number in sorted(range(len(self._ends)), key=self._ends.__getitem__):
            first, _ = self._ends[number]
            reached = [other for other in reached if self._ends[other][1] >= first]
            for other in reached:
                written = number in self._targets or other in self._targets
                if written and np.shares_memory(self._arrays[number], self._arrays[other]):
                    return True
            reached.append(number)
        return False

    def _interpreted(
        self, arrays: Sequence[Any], scalars: Sequence[float], into: Sequence[Any] | None
    ) -> tuple[list[Any], list[float]] | None:
        """Run the program by NumPy: it is right for memory that overlaps, too."""
        results = interpret(self.program, arrays, scalars)
        if results is None or into is None:
            return results
        return _filled(into, results[0]), results[1]

    def _run(self, instruction: Instruction) -> None:
        """Run an instruction by NumPy, between two parts of the code."""
        arguments = [self._array(value) for value in instruction.inputs]
        if instruction.effect:  # it may keep what it is given
            arguments = [argument.copy() for argument in arguments]
        with np.errstate(all="ignore"):
            results = instruction.run(*arguments)
        if len(instruction.outputs) == 1:
            results = (results,)
        for value, result in zip(instruction.outputs, results, strict=True):
            self._array(value)[...] = result

    def _array(self, value: Value) -> Any:
        """Return the array of a value that lies in memory, or a view of it."""
        if value in self._views:
            return self._views[value]
        if value in self._constants:
            return self._constants[value]
        if value in self._direct:
            return as_strided(self._direct[value], value.shape, contiguous(value).strides)
        producer = self.plan.ready.producers.get(value)
        if producer is None:
            return self._arrays[self.program.inputs.index(value)]
        return producer.run(*(self._array(argument) for argument in producer.inputs))

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
        NumPy's calls run for real, once if one of them has an effect.
        """
        with self._lock:
            copies = [
                array.copy(order="K") if number in self._targets else array
                for number, array in enumerate(arrays)
            ]
            pieces = [*self.plan.pieces, *self.plan.commit]
            module = Module(self.plan, self.memory)
            for number, piece in enumerate(pieces):
                module.part(f"piece{number}", [] if isinstance(piece, Call) else [piece])
            module.part("empty", [])
            code = machine.compile_ir(module.text(), symbols=_symbols(module, 1))
            kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
            runs: list[Callable[[], Any]] = [
                partial(self._run, piece.instruction)
                if isinstance(piece, Call)
                else partial(kind(code.address(f"piece{number}")), self._table_address)
                for number, piece in enumerate(pieces)
            ]
            self._take(copies)
            self._pack(self._arena.data, 0, *scalars)
            for _, output in self._large:
                self._direct[output.root] = output.new()
                self._table[output.entry] = _address(self._direct[output.root])
            effects = any(isinstance(piece, Call) and piece.instruction.effect for piece in pieces)
            times = _times(
                [*runs, partial(kind(code.address("empty")), self._table_address)], 1 if effects else rounds
            )
            self._arrays = [None] * len(self._arrays)
            return [
                (report, max(0.0, t - times[-1])) for report, t in zip(self.report(), times, strict=False)
            ]

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


def _symbols(module: Module, threads: int) -> dict[str, int]:
    """Return the addresses of what a module calls outside of it."""
    found = {}
    for name in module.symbols:
        if name == "tg_pool_run":
            found[name] = pool.pool(threads).run_address
        else:
            library = products.blas(np.dtype("f4" if name == "tg_sgemm" else "f8"))
            assert library
            found[name] = library.address
    return found


def _address(array: Any) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _span(value: Value, strides: tuple[int, ...]) -> tuple[int, int]:
    """Return how many bytes there are before the first element of an array, and from there to its last."""
    if not value.size:
        return 0, -1
    ways = [(n - 1) * stride for n, stride in zip(value.shape, strides, strict=True)]
    return -sum(way for way in ways if way < 0), sum(
        way for way in ways if way > 0
    ) + value.dtype.itemsize - 1


def _same_strides(array: Any, strides: tuple[int, ...]) -> bool:
    """Return whether an array lies as it was said: along an axis of length 1 nothing moves on."""
    return (
        array.strides == strides
        or array.size == 0
        or all(n == 1 or a == b for n, a, b in zip(array.shape, array.strides, strides, strict=True))
    )


def _filled(into: Sequence[Any], results: list[Any]) -> list[Any]:
    """Copy the outputs to where the caller wants them, if they are not there."""
    filled = []
    for place, result in zip(into, results, strict=True):
        if place is not None and place[0] is not result:
            place[0][...] = result
            result = place[0]
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
