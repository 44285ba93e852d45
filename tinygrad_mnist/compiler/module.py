"""The text of a whole module: the kernels and products of a plan, and the functions that run them in order.

For several threads, each piece of the plan becomes a function of a range, and a table says in which order
they run; the pool hands them out. What is cut depends on the sizes alone, and each element is computed by one
thread. So the bits are the same from run to run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from tinygrad_mnist.compiler import channels, direct, filters, functions, machine, products
from tinygrad_mnist.compiler.convolutions import CONVOLUTIONS, described
from tinygrad_mnist.compiler.finish import FinishingLoop
from tinygrad_mnist.compiler.fuse import Call, Kernel, Piece, Plan, Product
from tinygrad_mnist.compiler.layout import blas_order
from tinygrad_mnist.compiler.llvm import function, literal, ranged, unit_of
from tinygrad_mnist.compiler.loops import Nest, can_be_shared, nest
from tinygrad_mnist.compiler.memory import ALIGNMENT, Memory, Place
from tinygrad_mnist.compiler.prepare import Prepared
from tinygrad_mnist.compiler.program import Value
from tinygrad_mnist.compiler.turns import Turns, lies_in, turns

SHARED: Final = 16384
"""The elements of a loop that are worth a piece of their own: they take some microseconds."""

MOST: Final = 8
"""The pieces that a loop is cut into at most: more than threads, so that none waits for long for another.

A convolution takes the longest, and its blocks are few: it is cut into twice as many."""

WORTHWHILE: Final = 20
"""A program with fewer pieces to share runs on one thread: waking another one would cost more."""

Ranges = list[tuple[int, int]]

Share = Piece | Turns | Value | Nest
"""What the threads run, one after the other: a piece, a look for NaN before it, or a sum of its parts."""


@dataclass(frozen=True)
class Matrix:
    """A matrix as a product reads it: where, whether transposed, and the elements from row to row."""

    place: Place
    transposed: bool
    stride: int

    def aligned(self, dtype: np.dtype[Any]) -> bool:
        """Return whether each row begins where a line of the cache does: in the arena, that is known."""
        in_arena = self.place.entry == 0
        return in_arena and self.place.offset % ALIGNMENT == self.stride * dtype.itemsize % ALIGNMENT == 0


class Module:
    """The text of a module, and what it needs of the process.

    Parameters
    ----------
    made : Plan
        What runs.
    memory : Memory
        Where everything lies.
    threads : int
        How many threads share the work.

    Attributes
    ----------
    symbols : set of str
        The functions of BLAS and of the pool that the text declares.
    shared : int
        The number of pieces that threads can share.
    """

    def __init__(self, made: Plan, memory: Memory, *, threads: int = 1):
        self.plan, self.memory, self.threads = made, memory, threads
        self.symbols: set[str] = set()
        self.shared = 0
        self._declared: set[str] = set()
        self._functions: set[tuple[str, np.dtype[Any]]] = set()
        self._kernels: dict[str, str] = {}
        self._products: dict[Any, str] = {}
        self._texts: list[str] = []
        self._nests: dict[Piece, Nest] = {}
        self._part_arrays: dict[Nest, str] = {}
        # The function that is being written: its lines, and the entries of the table that it reads.
        self._lines: list[str] = []
        self._entries: set[int] = set()
        self._count = 0
        # What counts the turns of a piece that is cut, and by which it is moved what passes between two.
        self._range = ("%begin", "%end")
        self._moves: tuple[Value, str] | None = None

    def part(self, name: str, pieces: Sequence[Piece], *, last: bool = False) -> None:
        """Add a function that is given the table and runs some pieces. It returns 1.

        Parameters
        ----------
        name : str
            Its name.
        pieces : sequence of Kernel or Product
            What it runs.
        last : bool
            Whether it goes on to look at the conditions, and to commit. If one does not hold, it returns 0.
            The last entry of the table says that it has committed, to a caller whom an interrupt keeps from
            what it returns.
        """
        run, commit = pieces, self.plan.commit
        tables = []
        if self.threads > 1:
            tables = [self._table(f"{name}.pieces", run, ordered=True)]
            if last:
                tables.append(self._table(f"{name}.commit", commit, ordered=False))
        self._lines, self._entries = [], set()
        self._run(run, tables[:1])
        if last:
            self._check()
            self._run(commit, tables[1:])
            done = self._fresh()
            self._add(f"{done} = getelementptr ptr, ptr %table, i64 {self.memory.committed}")
            self._add(f"store i64 1, ptr {done}")
        self._texts.append(f"define i32 @{name}(ptr %table) {{\n{self._body()}  ret i32 1\n}}\n")

    def text(self) -> str:
        """Return the whole module."""
        kernels = [text.replace("{name}", name) for text, name in self._kernels.items()]
        asked = sorted((name, dtype.name) for name, dtype in self._functions)
        lines = functions.definitions(asked).splitlines()
        # LLVM takes a declaration once.
        declared = self._declared | {line for line in lines if line.startswith("declare")}
        defined = [line for line in lines if not line.startswith("declare")]
        bits = machine.preferred_vector_bits()
        attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{bits}" }}\n'
        types = ["%piece = type { ptr, i64, i64, i64 }"] if self.threads > 1 else []
        return "\n".join([*types, *sorted(declared), *defined, *kernels, *self._texts, attributes])

    # Lines -----------------------------------------------------------------------------------------------

    def _add(self, line: str) -> None:
        self._lines.append("  " + line)

    def _fresh(self) -> str:
        self._count += 1
        return f"%t{self._count}"

    def _entry(self, entry: int) -> str:
        """Return the pointer in an entry of the table.

        That to the arena, the first entry, is loaded at the start of the function, others where they are
        used: LLVM would take long to find a place for all of them meanwhile.
        """
        if entry == 0:
            self._entries.add(entry)
            return f"%e{entry}"
        place, name = self._fresh(), self._fresh()
        self._add(f"{place} = getelementptr ptr, ptr %table, i64 {entry}")
        self._add(f"{name} = load ptr, ptr {place}")
        return name

    def _pointer(self, place: Place) -> str:
        name = self._entry(place.entry)
        if place.offset:
            entry, name = name, self._fresh()
            self._add(f"{name} = getelementptr i8, ptr {entry}, i64 {place.offset}")
        if self._moves and lies_in(self.memory, place, self._moves[0]):
            still, name = name, self._fresh()
            self._add(f"{name} = getelementptr i8, ptr {still}, i64 {self._moves[1]}")
        return name

    def _body(self) -> str:
        """Return the lines of the function, after those that read the table."""
        loads = []
        for entry in sorted(self._entries):
            loads.append(f"  %e{entry}a = getelementptr ptr, ptr %table, i64 {entry}")
            loads.append(f"  %e{entry} = load ptr, ptr %e{entry}a")
        return "".join(line + "\n" for line in [*loads, *self._lines])

    # Pieces ----------------------------------------------------------------------------------------------

    def _run(self, pieces: Sequence[Piece], tables: list[tuple[str, int]]) -> None:
        """Add what runs some pieces: one after the other, or as a table that the threads share."""
        if not tables:
            for piece in self._in_turns(pieces):
                self._piece(piece)
        for table, count in tables:
            self._declared.add("declare void @tg_pool_run(ptr, ptr, i64, ptr)")
            self.symbols.add("tg_pool_run")
            pool = self._entry(self.memory.pool)
            self._add(f"call void @tg_pool_run(ptr {pool}, ptr @{table}, i64 {count}, ptr %table)")

    def _table(self, name: str, pieces: Sequence[Piece], *, ordered: bool) -> tuple[str, int]:
        """Add a table of pieces for the pool, and return its name and length.

        Pieces that are not cut are run by one thread, one after the other.
        """
        rows: list[str] = []
        for number, (members, ranges) in enumerate(self._in_groups(pieces)):
            cut = len(ranges) > 1
            self.shared += len(ranges) if cut else 0
            self._lines, self._entries = [], set()
            for member in members:
                if isinstance(member, Value):  # before any thread looks for a NaN
                    self._hold(member)
                elif isinstance(member, Nest):
                    self._add_parts(member)
                else:
                    self._piece(member, cut=cut)
            text = f"define internal void @{name}{number}(ptr %table, i64 %begin, i64 %end) {{\n"
            self._texts.append(text + self._body() + "  ret void\n}\n")
            before = len(rows) if ordered else 0
            rows += [f"%piece {{ ptr @{name}{number}, i64 {b}, i64 {e}, i64 {before} }}" for b, e in ranges]
        self._texts.append(f"@{name} = internal constant [{len(rows)} x %piece] [{', '.join(rows)}]\n")
        return name, len(rows)

    def _in_groups(self, pieces: Sequence[Piece]) -> list[tuple[list[Share], Ranges]]:
        """Return what runs one after the other, and how it is cut; what one thread does stands together."""
        groups: list[tuple[list[Share], Ranges]] = []

        def append(piece: Share, ranges: Ranges) -> None:
            if len(ranges) == 1 and groups and len(groups[-1][1]) == 1:
                groups[-1][0].append(piece)
            else:
                groups.append(([piece], ranges))

        for piece in self._in_turns(pieces):
            ranges = self._ranges(piece)
            if len(ranges) > 1 and isinstance(piece, Product) and piece.no_nan is not None:
                append(piece.no_nan, [(0, 1)])
            append(piece, ranges)
            if len(ranges) > 1 and isinstance(piece, Kernel) and self._shares_sums(piece):
                append(self._nest(piece), [(0, 1)])  # when all threads have their parts
        return groups

    def _ranges(self, piece: Piece | Turns) -> Ranges:
        """Return the ranges that a piece is cut into: of a loop, or of rows or columns of a product."""
        if isinstance(piece, Turns):
            return piece.ranges(2 * MOST)
        if isinstance(piece, Product):
            (result,) = piece.instruction.outputs
            if piece.instruction.name in CONVOLUTIONS:
                return self._shares_of_convolution(piece)
            if result.ndim == 2:
                (rows, columns), inner = result.shape, piece.instruction.inputs[0].shape[-1]
                a, b = (self._matrix(value, ()) for value in piece.instruction.inputs)
                return self._shares((rows, columns, inner), a, b, result.dtype)[1]
        elif isinstance(piece, Kernel):
            made = self._nest(piece)
            number = min(MOST, math.prod(made.lengths) // SHARED)
            if number > 1 and self._shares_sums(piece):
                part = channels.part_of(made)
                length, step = made.lengths[0], -(-made.lengths[0] // part // number) * part
                return [(begin, min(begin + step, length)) for begin in range(0, length, step)]
            if number > 1 and can_be_shared(made):
                assert made.split is not None
                length, last = made.lengths[made.split], made.split == len(made.lengths) - 1
                # Whole lines of the cache: no two threads write to one.
                step = -(-length // number // 64) * 64 if last else -(-length // number)
                return [(begin, min(begin + step, length)) for begin in range(0, length, step)]
        return [(0, 1)]

    @staticmethod
    def _shares(
        sizes: tuple[int, int, int], a: Matrix, b: Matrix, dtype: np.dtype[Any]
    ) -> tuple[Literal["rows", "columns"], Ranges]:
        return products.pieces(
            *sizes,
            transposed_a=a.transposed,
            transposed_b=b.transposed,
            aligned_b=b.aligned(dtype),
            dtype=dtype,
            vector_bits=machine.vector_bits(),
            most=MOST,
        )

    def _piece(self, piece: Piece | Turns, *, cut: bool = False) -> None:
        """Add the call of a kernel or product, for all of its range or for ``%begin`` to ``%end``."""
        if isinstance(piece, Turns):
            self._take_turns(piece, cut=cut)
        elif isinstance(piece, Kernel):
            self._kernel(self._nest(piece), cut=cut)
        elif isinstance(piece, Product):
            if piece.instruction.name in CONVOLUTIONS:
                self._convolution(piece, cut=cut)
                return
            if piece.no_nan is not None and not cut:
                self._hold(piece.no_nan)
            for index in np.ndindex(*piece.instruction.outputs[0].shape[:-2]):
                self._product(piece, index, cut=cut)
        else:
            assert not isinstance(piece, Call), "NumPy runs calls, between two parts"

    def _nest(self, kernel: Kernel) -> Nest:
        if kernel not in self._nests:
            self._nests[kernel] = nest(self.plan, self.memory, kernel)
        return self._nests[kernel]

    def _kernel(self, made: Nest, *, cut: bool) -> None:
        lanes = channels.lanes_of(made, machine.preferred_vector_bits())
        if lanes is None:
            text = function(made, self._declared, self._functions, cut=cut)
        else:
            text = channels.function(made, self._declared, self._functions, lanes, cut=cut)
        name = self._kernels.setdefault(text, f"kernel{len(self._kernels)}")
        arguments = [f"ptr {self._pointer(place)}" for place in made.pointers]
        loop = ranged(made, cut=cut)
        if cut and lanes is not None and channels.can_share_sums(made):
            arguments.append(f"ptr {self._parts(made)}")
            loop = 0
        if loop is not None:
            end = made.lengths[loop] // unit_of(made, cut=cut)
            begin, until = self._range if cut else ("0", end)
            arguments += [f"i64 {begin}", f"i64 {until}"]
        self._add(f"call void @{name}({', '.join(arguments)})")

    def _shares_sums(self, kernel: Kernel) -> bool:
        """Return whether threads share a kernel by parts of its sums."""
        made = self._nest(kernel)
        lanes = channels.lanes_of(made, machine.preferred_vector_bits())
        return lanes is not None and channels.can_share_sums(made)

    def _parts(self, made: Nest) -> str:
        """Return memory for the parts of sums."""
        if made not in self._part_arrays:
            name = self._part_arrays[made] = f"@parts{len(self._part_arrays)}"
            size = channels.bytes_of_parts(made)
            self._texts.append(f"{name} = internal global [{size} x i8] zeroinitializer, align {ALIGNMENT}\n")
        return self._part_arrays[made]

    def _add_parts(self, made: Nest) -> None:
        """Add the calls that add up the parts of sums."""
        parts = self._parts(made)
        for pointer, offset, text in channels.additions_of_parts(made):
            name = self._kernels.setdefault(text, f"kernel{len(self._kernels)}")
            at = f"ptr getelementptr (i8, ptr {parts}, i64 {offset})"
            self._add(f"call void @{name}({at}, ptr {self._pointer(made.pointers[pointer])})")

    # Products --------------------------------------------------------------------------------------------

    def _hold(self, condition: Value) -> None:
        """Add a store that says that a condition holds, until a product finds that it does not."""
        self._add(f"store i8 1, ptr {self._pointer(self.memory.places[condition])}")

    def _product(self, piece: Product, index: tuple[int, ...], *, cut: bool) -> None:
        """Add a product of two matrices of a stack."""
        (first, second), (result,) = piece.instruction.inputs, self.plan.stores(piece)[:1]
        a, b, c = (self._matrix(value, index) for value in (first, second, result))
        (m, k), n = first.shape[-2:], second.shape[-1]
        by: Literal["rows", "columns"] = self._shares((m, n, k), a, b, result.dtype)[0] if cut else "rows"
        if piece.generated:
            finish = self._finish(piece)
            name = self._generated((m, n, k), a, b, c, piece, by, finish)
            places = [a.place, b.place, *(finish.places if finish else ()), c.place]
            if piece.no_nan is not None:
                places.append(self.memory.places[piece.no_nan])
            pointers = ", ".join(f"ptr {self._pointer(place)}" for place in places)
            span = "i64 %begin, i64 %end" if cut else f"i64 0, i64 {m}"
            self._add(f"call void @{name}({pointers}, {span})")
        else:
            self._blas((m, n, k), a, b, c, result.dtype, by if cut else None)

    def _finish(self, piece: Product) -> FinishingLoop | None:
        """Return what a product does with each element before it is stored."""
        if piece.finish is None:
            return None
        (result,), (made,) = piece.instruction.outputs, piece.finish.values
        # In the loop, the element of the product lies where the result will.
        self.memory.places.setdefault(result, self.memory.places[made])
        return FinishingLoop(self._nest(piece.finish))

    def _matrix(self, value: Value, index: tuple[int, ...]) -> Matrix:
        ready: Prepared = self.plan.ready
        layout, place = ready.layouts[value], self.memory.places[ready.roots[value]]
        outer = value.shape[:-2]
        own = index[len(index) - len(outer) :]
        offset = place.offset + layout.offset
        offset += sum(i * stride for i, n, stride in zip(own, outer, layout.strides, strict=False) if n != 1)
        order = blas_order(layout, value.shape, value.dtype.itemsize)
        assert order, value
        return Matrix(Place(place.entry, offset), *order)

    def _generated(
        self,
        sizes: tuple[int, int, int],
        a: Matrix,
        b: Matrix,
        c: Matrix,
        piece: Product,
        by: Literal["rows", "columns"],
        finish: FinishingLoop | None,
    ) -> str:
        """Return the name of a generated product, whose text is added the first time."""
        strides = (a.stride, b.stride, c.stride)
        dtype, finds_nan = piece.instruction.outputs[0].dtype, piece.no_nan is not None
        key = (
            sizes,
            a.transposed,
            b.transposed,
            strides,
            b.aligned(dtype),
            dtype,
            by,
            finds_nan,
            piece.finish,
        )
        if key not in self._products:
            self._products[key] = f"product{len(self._products)}"
            text = products.generated(
                self._products[key],
                *sizes,
                transposed_a=a.transposed,
                transposed_b=b.transposed,
                dtype=dtype,
                vector_bits=machine.vector_bits(),
                finds_nan=finds_nan,
                finish=finish,
                strides=strides,
                aligned_b=b.aligned(dtype),
                by=by,
            )
            assert text, "what is chosen to be generated has a text"
            self._texts.append(text.replace("define void", "define internal void", 1))
        return self._products[key]

    def _blas(
        self,
        sizes: tuple[int, int, int],
        a: Matrix,
        b: Matrix,
        c: Matrix,
        dtype: np.dtype[Any],
        by: Literal["rows", "columns"] | None,
    ) -> None:
        """Add a product by BLAS, of all or of a range of the rows or columns."""
        blas = products.blas(dtype)
        assert blas
        name, real = ("tg_sgemm", "float") if dtype.itemsize == 4 else ("tg_dgemm", "double")
        size = blas.integer
        types = ["i32"] * 3 + [size] * 3 + [real, "ptr", size, "ptr", size, real, "ptr", size]
        self._declared.add(f"declare void @{name}({', '.join(types)})")
        self.symbols.add(name)
        m, n, k = map(str, sizes)
        pointers = [self._pointer(matrix.place) for matrix in (a, b, c)]
        if by is not None:
            length = self._fresh()
            self._add(f"{length} = sub i64 %end, %begin")
            if size == "i32":
                self._add(f"{length}i = trunc i64 {length} to i32")
                length += "i"
            if by == "rows":
                m = length
                pointers[0] = self._moved(pointers[0], 1 if a.transposed else a.stride, dtype)
                pointers[2] = self._moved(pointers[2], c.stride, dtype)
            else:
                n = length
                pointers[1] = self._moved(pointers[1], b.stride if b.transposed else 1, dtype)
                pointers[2] = self._moved(pointers[2], 1, dtype)
        one, zero = literal(1, dtype), literal(0, dtype)
        # 101 is C order; 112 is transposed, 111 is not.
        orders = ["101", *("112" if matrix.transposed else "111" for matrix in (a, b))]
        numbers = [*orders, m, n, k, one, pointers[0], a.stride, pointers[1], b.stride, zero, pointers[2]]
        arguments = zip(types, [*numbers, c.stride], strict=True)
        self._add(f"call void @{name}({', '.join(f'{kind} {number}' for kind, number in arguments)})")

    def _moved(self, pointer: str, stride: int, dtype: np.dtype[Any]) -> str:
        """Return a pointer that is moved on to where the range begins."""
        far, name = self._fresh(), self._fresh()
        self._add(f"{far} = mul i64 %begin, {stride * dtype.itemsize}")
        self._add(f"{name} = getelementptr i8, ptr {pointer}, i64 {far}")
        return name

    # Convolutions ----------------------------------------------------------------------------------------

    def _shares_of_convolution(self, piece: Product) -> Ranges:
        """Return the ranges that a convolution is cut into: of pictures, or of parts of the filters."""
        of = described(piece.instruction)
        assert of
        pieces = filters.pieces if of.kind == "convolution_by_weight" else direct.pieces
        return pieces(of, vector_bits=machine.vector_bits(), most=2 * MOST)

    def _convolution(self, piece: Product, *, cut: bool) -> None:
        """Add the call of a convolution, whose text is added the first time that one of its kind is met."""
        of, bits = described(piece.instruction), machine.vector_bits()
        assert of
        finish, places = self._finish(piece), []
        for value in piece.instruction.inputs:
            root, layout = self.plan.ready.roots[value], self.plan.ready.layouts[value]
            place = self.memory.places[root]
            places.append(Place(place.entry, place.offset + layout.offset))
        (stored,) = self.plan.stores(piece)
        places += [*(finish.places if finish else ()), self.memory.places[stored]]
        shared = of.kind == "convolution_by_weight" and of.parts == 1 and self.threads > 1
        key = (of, piece.finish, shared)
        if key not in self._products:
            name = self._products[key] = f"convolution{len(self._products)}"
            text = (
                filters.generated(name, of, vector_bits=bits, shared=shared)
                if of.kind == "convolution_by_weight"
                else direct.generated(name, of, vector_bits=bits, finish=finish)
            )
            assert text, "what is chosen to be generated has a text"
            self._texts.append(text.replace("define void", "define internal void", 1))
        whole = of.images
        if of.kind == "convolution_by_weight":
            whole = filters.blocks(of, vector_bits=bits, shared=shared)
        pointers = ", ".join(f"ptr {self._pointer(place)}" for place in places)
        begin, end = self._range if cut else ("0", whole)
        span = f"i64 {begin}, i64 {end}"
        self._add(f"call void @{self._products[key]}({pointers}, {span})")

    # Turns -----------------------------------------------------------------------------------------------

    def _in_turns(self, pieces: Sequence[Piece]) -> list[Piece | Turns]:
        """Return the pieces, two neighbours as one where they can take turns."""
        found: list[Piece | Turns] = []
        for piece in pieces:
            pair = turns(self.plan, self.memory, self._nest, found[-1], piece) if found else None
            if pair:
                found[-1] = pair
            else:
                found.append(piece)
        return found

    def _take_turns(self, pair: Turns, *, cut: bool) -> None:
        """Add the call of two pieces that take turns, and the function that runs them.

        What passes between them is always put where the pictures of the first turn lie.
        """
        name = f"turns{len(self._texts)}"
        outside = self._lines, self._entries
        self._lines, self._entries = [], set()
        self._lines += [
            "  br label %turn",
            "turn:",
            "  %at = phi i64 [ %begin, %entry ], [ %next, %turn ]",
            f"  %next = add i64 %at, {pair.step}",
            "  %more = icmp slt i64 %next, %end",
            "  %until = select i1 %more, i64 %next, i64 %end",
            f"  %first = mul i64 %begin, {pair.pictures // pair.step}",
            f"  %from = mul i64 %at, {pair.pictures // pair.step}",
            f"  %behind = mul i64 %until, {pair.pictures // pair.step}",
            f"  %within = icmp slt i64 %behind, {pair.images}",
            f"  %to = select i1 %within, i64 %behind, i64 {pair.images}",
            f"  %row = mul i64 %from, {pair.rows}",
            f"  %last = mul i64 %to, {pair.rows}",
            "  %back = sub i64 %first, %from",
            f"  %moves = mul i64 %back, {pair.picture}",
        ]
        self._moves = (pair.value, "%moves")
        for piece in (pair.first, pair.second):
            self._range = ("%row", "%last") if isinstance(piece, Kernel) else ("%at", "%until")
            self._piece(piece, cut=True)
        self._moves, self._range = None, ("%begin", "%end")
        self._lines += ["  br i1 %more, label %turn, label %done", "done:"]
        text = f"define internal void @{name}(ptr %table, i64 %begin, i64 %end) {{\nentry:\n"
        self._texts.append(text + self._body() + "  ret void\n}\n")
        self._lines, self._entries = outside
        begin, end = self._range if cut else ("0", pair.units)
        self._add(f"call void @{name}(ptr %table, i64 {begin}, i64 {end})")

    # The end ---------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Add a return of 0, unless all conditions hold."""
        for value in self.plan.ready.program.conditions:
            place = self._pointer(self.memory.places[value])
            flag, holds = self._fresh(), self._fresh()
            label = f"l{self._count}"
            self._add(f"{flag} = load i8, ptr {place}")
            self._add(f"{holds} = icmp ne i8 {flag}, 0")
            self._add(f"br i1 {holds}, label %{label}, label %{label}fails")
            self._lines += [f"{label}fails:", "  ret i32 0", f"{label}:"]
