"""From a program to machine code that runs it: :func:`build`, and what it returns, :class:`Executable`.

The code of a program is cut only where NumPy has to run an instruction. Each part is one function, which is given a
table of pointers; the last one looks at the conditions before it writes to the inputs.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from tinygrad_mnist.compiler import functions, machine, products
from tinygrad_mnist.compiler.fuse import Call, Kernel, Piece, Plan, Product, plan
from tinygrad_mnist.compiler.layout import blas_order
from tinygrad_mnist.compiler.llvm import Function, literal, ranged
from tinygrad_mnist.compiler.loops import nest
from tinygrad_mnist.compiler.memory import Memory, Place, assign
from tinygrad_mnist.compiler.prepare import prepare
from tinygrad_mnist.compiler.program import Instruction, Program, Value, interpret


@dataclass(frozen=True)
class Report:
    """What one piece of a program does, to be read by people.

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


class _Module:
    """The text of a module: functions that are called by its entry points, each function once."""

    def __init__(self, made: Plan, memory: Memory):
        self.plan, self.memory = made, memory
        self.declared: set[str] = set()
        self.functions: set[tuple[str, np.dtype[Any]]] = set()
        self.names: dict[str, str] = {}
        self.texts: list[str] = []
        self.products: dict[Any, str | None] = {}
        self.symbols: dict[str, int] = {}
        self.lines: list[str] = []
        self.count = 0
        self.entries: dict[int, str] = {}

    def add(self, line: str) -> None:
        self.lines.append("  " + line)

    def fresh(self) -> str:
        self.count += 1
        return f"%t{self.count}"

    def pointer(self, place: Place) -> str:
        """Return a pointer to a place; the entry of the table is loaded at the start of the function."""
        entry = self.entries.setdefault(place.entry, f"%e{place.entry}")
        if not place.offset:
            return entry
        name = self.fresh()
        self.add(f"{name} = getelementptr i8, ptr {entry}, i64 {place.offset}")
        return name

    def entry_point(self, name: str, write: Callable[[], None]) -> None:
        """Add a function that is given the table, and returns 1, or what `write` has it return."""
        self.lines, self.entries = [], {}
        write()
        loads = []
        for entry, register in self.entries.items():
            loads.append(f"  {register}a = getelementptr ptr, ptr %table, i64 {entry}")
            loads.append(f"  {register} = load ptr, ptr {register}a")
        body = "\n".join([*loads, *self.lines, "  ret i32 1"])
        self.texts.append(f"define i32 @{name}(ptr %table) {{\n{body}\n}}\n")

    def piece(self, piece: Piece) -> None:
        """Add the code of a kernel or a product to the function."""
        if isinstance(piece, Kernel):
            self.kernel(piece)
        elif isinstance(piece, Product):
            self.product(piece.instruction)

    def kernel(self, kernel: Kernel) -> None:
        made = nest(self.plan, self.memory, kernel)
        text = Function(made, self.declared, self.functions).text("{name}")
        name = self.names.setdefault(text, f"kernel{len(self.names)}")
        arguments = [f"ptr {self.pointer(place)}" for place in made.pointers]
        loop = ranged(made)
        if loop is not None:
            arguments += ["i64 0", f"i64 {made.lengths[loop]}"]
        self.add(f"call void @{name}({', '.join(arguments)})")

    def product(self, instruction: Instruction) -> None:
        """Add a product, or one for each matrix of a stack."""
        result = instruction.outputs[0]
        stack = result.shape[:-2]
        for index in np.ndindex(*stack):
            self.matrices(instruction, index)

    def matrices(self, instruction: Instruction, index: tuple[int, ...]) -> None:
        ready, (first, second), (result,) = self.plan.ready, instruction.inputs, instruction.outputs
        itemsize = result.dtype.itemsize

        def lies(value: Value) -> tuple[str, bool, int]:
            layout = ready.layouts[value]
            place = self.memory.places[ready.roots[value]]
            offset = place.offset + layout.offset
            outer = value.shape[:-2]
            own = index[len(index) - len(outer) :]
            offset += sum(
                i * stride for i, n, stride in zip(own, outer, layout.strides, strict=False) if n != 1
            )
            order = blas_order(layout, value.shape, itemsize)
            assert order, value
            return self.pointer(Place(place.entry, offset)), *order

        (a, ta, lda), (b, tb, ldb), (c, _, ldc) = lies(first), lies(second), lies(result)
        (m, k), n = first.shape[-2:], second.shape[-1]
        kind = products.choose(m, n, k, transposed_a=ta, transposed_b=tb, dtype=result.dtype)
        if kind == "generated":
            name = self.generated((m, n, k), (ta, tb), (lda, ldb, ldc), result.dtype)
            if name:
                self.add(f"call void @{name}(ptr {a}, ptr {b}, ptr {c}, i64 0, i64 {m})")
                return
        blas = products.blas(result.dtype)
        assert blas
        one, zero = literal(1, result.dtype), literal(0, result.dtype)
        numbers = [101, 112 if ta else 111, 112 if tb else 111, m, n, k, one, a, lda, b, ldb, zero, c, ldc]
        name, types = self.blas_function(result.dtype, blas)
        arguments = ", ".join(f"{kind} {number}" for kind, number in zip(types, numbers, strict=True))
        self.add(f"call void @{name}({arguments})")

    def generated(
        self,
        sizes: tuple[int, int, int],
        transposed: tuple[bool, bool],
        strides: tuple[int, int, int],
        dtype: np.dtype[Any],
    ) -> str | None:
        """Return the name of a generated product, whose text is added the first time; None if there is none."""
        key = (sizes, transposed, strides, dtype)
        if key not in self.products:
            name = f"product{len(self.products)}"
            text = products.generated(
                name,
                *sizes,
                transposed_a=transposed[0],
                transposed_b=transposed[1],
                dtype=dtype,
                vector_bits=machine.vector_bits(),
                strides=strides,
            )
            self.products[key] = None if text is None else name
            if text is not None:
                self.texts.append(text.replace("define void", "define internal void", 1))
        return self.products[key]

    def blas_function(self, dtype: np.dtype[Any], blas: products.Blas) -> tuple[str, list[str]]:
        """Return the name of BLAS's product and the types of its arguments."""
        name, real = ("tg_sgemm", "float") if dtype.itemsize == 4 else ("tg_dgemm", "double")
        size = blas.integer
        types = ["i32"] * 3 + [size] * 3 + [real, "ptr", size, "ptr", size, real, "ptr", size]
        self.symbols[name] = blas.address
        self.declared.add(f"declare void @{name}({', '.join(types)})")
        return name, types

    def check(self) -> None:
        """Add a return of 0, unless all conditions hold."""
        for value in self.plan.ready.program.conditions:
            place = self.pointer(self.memory.places[value])
            flag, holds = self.fresh(), self.fresh()
            label = f"l{self.count}"
            self.add(f"{flag} = load i8, ptr {place}")
            self.add(f"{holds} = icmp ne i8 {flag}, 0")
            self.add(f"br i1 {holds}, label %{label}, label %{label}fails")
            self.lines += [f"{label}fails:", "  ret i32 0", f"{label}:"]

    def text(self) -> str:
        """Return the whole module."""
        kernels = [text.replace("{name}", name) for text, name in self.names.items()]
        asked = sorted((name, dtype.name) for name, dtype in self.functions)
        lines = functions.definitions(asked).splitlines()
        # LLVM takes a declaration once.
        declared = self.declared | {line for line in lines if line.startswith("declare")}
        defined = [line for line in lines if not line.startswith("declare")]
        bits = machine.preferred_vector_bits()
        attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{bits}" }}\n'
        return "\n".join([*sorted(declared), *defined, *kernels, *self.texts, attributes])


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

    def __init__(self, program: Program, *, threads: int = 1):
        self.program = program
        self.threads = threads
        # Without BLAS by pointer, NumPy multiplies.
        blas = all(products.blas(np.dtype(kind)) is not None for kind in ("f4", "f8"))
        self.plan = plan(prepare(program, blas=blas))
        self.memory = assign(self.plan)
        self._lock = Lock()
        self._compile()
        self._prepare_memory()

    # Building --------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        module = _Module(self.plan, self.memory)
        self._steps: list[tuple[str, Instruction | None]] = []
        waiting: list[Piece] = []

        def part(*, last: bool) -> None:
            pieces, name = list(waiting), f"part{len(self._steps)}"
            waiting.clear()

            def write() -> None:
                for piece in pieces:
                    module.piece(piece)
                if last:
                    module.check()
                    for kernel in self.plan.commit:
                        module.piece(kernel)

            if pieces or last:
                module.entry_point(name, write)
                self._steps.append((name, None))

        for piece in self.plan.pieces:
            if isinstance(piece, Call):
                part(last=False)
                self._steps.append(("", piece.instruction))
            else:
                waiting.append(piece)
        part(last=True)
        self.ir = module.text()
        self._code = machine.compile_ir(self.ir, symbols=module.symbols)
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
        self._parts: list[Any] = [
            kind(self._code.address(name)) if call is None else call for name, call in self._steps
        ]

    def _prepare_memory(self) -> None:
        ready, memory = self.plan.ready, self.memory
        program = ready.program
        self._table = np.zeros(memory.entries, np.int64)
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
        self._outputs = [(value, self._views.get(value)) for value in program.outputs]
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
        self._no_memory = [None] * len(self._outputs)

    def _at(self, value: Value, place: Place) -> Any:
        if not value.size:
            return np.empty(value.shape, value.dtype)
        return np.ndarray(value.shape, value.dtype, self._arena.data, place.offset)

    # Calling ---------------------------------------------------------------------------------------------

    def __call__(
        self, arrays: Sequence[Any], scalars: Sequence[float] = (), into: Sequence[Any] | None = None
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
            them shares memory with an input, and each lies in C order.
        """
        with self._lock:
            self._take(arrays)
            if self._overlaps:
                return self._interpreted(arrays, scalars, into)
            self._pack(self._arena, 0, *scalars)
            given = self._no_memory if into is None else into
            outputs = []
            for (value, view), place in zip(self._outputs, given, strict=True):
                if view is None:
                    if place is None:
                        view = np.empty(value.shape, value.dtype)
                        place = view, _address(view)
                    view, self._table[self.memory.direct[value]] = place
                    self._direct[value] = view
                outputs.append(view)
            for part in self._parts:
                if isinstance(part, Instruction):
                    self._run(part)
                elif not part(self._table_address):
                    return None
            results = [
                output if view is None else view.copy()
                for (_, view), output in zip(self._outputs, outputs, strict=True)
            ]
            return (results if into is None else _filled(into, results)), list(self._numbers)

    def _take(self, arrays: Sequence[Any]) -> None:
        """Put the addresses of the inputs into the table; those of the last call are there."""
        if len(arrays) != len(self._arrays):
            raise ValueError(f"the program has {len(self._arrays)} inputs, but was given {len(arrays)}")
        changed = [number for number, (a, b) in enumerate(zip(arrays, self._arrays, strict=True)) if a is not b]
        if not changed:
            return
        try:
            for number in changed:
                self._take_one(number, arrays[number])
        except BaseException:
            self._arrays = [None] * len(arrays)  # so that the next call looks at all of them
            raise
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
                f"input {number} was compiled for shape {value.shape}, {value.dtype} and strides {strides}, but "
                f"has shape {array.shape}, {array.dtype} and strides {array.strides}"
            )
        if number in self._targets and not array.flags.writeable:
            raise ValueError(f"input {number} is written to, but is read-only")
        address = _address(array)
        self._table[self._entries[number]] = address
        before, after = self._spans[number]
        self._ends[number] = address - before, address + after
        self._arrays[number] = array

    def _may_overlap(self, number: int) -> bool:
        """Return whether the bytes from the first to the last of an input meet those of what is written to."""
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
            return self._direct[value]
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
        """Run each piece by itself, and return what it does and the seconds that it took, the median of some rounds.

        What the program writes to is copied first, so nothing changes; the conditions are not looked at. NumPy's
        calls run for real, once if one of them has an effect.
        """
        with self._lock:
            copies = [
                array.copy(order="K") if number in self._targets else array for number, array in enumerate(arrays)
            ]
            pieces = [*self.plan.pieces, *self.plan.commit]
            module = _Module(self.plan, self.memory)
            for number, piece in enumerate(pieces):
                if not isinstance(piece, Call):
                    module.entry_point(f"piece{number}", partial(module.piece, piece))
            module.entry_point("empty", lambda: None)
            code = machine.compile_ir(module.text(), symbols=module.symbols)
            kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
            table = self._table_address
            runs: list[Callable[[], Any]] = [
                partial(self._run, piece.instruction)
                if isinstance(piece, Call)
                else partial(kind(code.address(f"piece{number}")), table)
                for number, piece in enumerate(pieces)
            ]
            self._take(copies)
            self._pack(self._arena, 0, *scalars)
            for value, entry in self.memory.direct.items():
                self._direct[value] = np.empty(value.shape, value.dtype)
                self._table[entry] = _address(self._direct[value])
            effects = any(isinstance(piece, Call) and piece.instruction.effect for piece in pieces)
            times = _times([*runs, partial(kind(code.address("empty")), table)], 1 if effects else rounds)
            self._arrays = [None] * len(self._arrays)
            return [(report, max(0.0, t - times[-1])) for report, t in zip(self.report(), times, strict=False)]

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
        return Report("product" if isinstance(piece, Product) else "call", [piece.instruction], space, read, written, commit)


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


def _address(array: Any) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _span(value: Value, strides: tuple[int, ...]) -> tuple[int, int]:
    """Return how many bytes there are before the first element of an array, and up to its last byte from there."""
    if not value.size:
        return 0, -1
    ways = [(n - 1) * stride for n, stride in zip(value.shape, strides, strict=True)]
    return -sum(way for way in ways if way < 0), sum(way for way in ways if way > 0) + value.dtype.itemsize - 1


def _same_strides(array: Any, strides: tuple[int, ...]) -> bool:
    """Return whether an array lies as it was said: along an axis of length 1 nothing moves on."""
    return array.strides == strides or array.size == 0 or all(
        n == 1 or a == b for n, a, b in zip(array.shape, array.strides, strides, strict=True)
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


def build(program: Program, *, threads: int = 1) -> Executable:
    """Compile a program.

    Parameters
    ----------
    program : Program
        What to compute.
    threads : int
        How many threads a call may use.

    Raises
    ------
    ImportError
        There is no `llvmlite`.
    """
    return Executable(program, threads=threads)
