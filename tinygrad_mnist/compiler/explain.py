"""The explanation of a program in words and as a picture: loops, products, NumPy, memory, checks, writes.

An :class:`Explanation` only reads: it takes the pieces that a program was cut into, and counts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from textwrap import wrap
from typing import Final

from tinygrad_mnist.compiler import products
from tinygrad_mnist.compiler.convolutions import CONVOLUTIONS
from tinygrad_mnist.compiler.executable import Executable
from tinygrad_mnist.compiler.fuse import Kernel, Product
from tinygrad_mnist.compiler.fuse import Piece as Planned
from tinygrad_mnist.compiler.layout import blas_order
from tinygrad_mnist.compiler.prepare import DTYPES
from tinygrad_mnist.compiler.program import REDUCTIONS, VIEWS, Instruction, Program, Value
from tinygrad_mnist.files import write
from tinygrad_mnist.graph.drawing import Arrow, Box, Drawing
from tinygrad_mnist.numbers import bytes_text, count_text, seconds_text, shape_text

__all__ = ["Explanation", "Picture", "Piece", "explain"]

WIDTH: Final = 100
"""Most columns of a line."""

MOST_LINES: Final = 3
"""Lines of the user that are shown for a piece."""

MOST_NAMES: Final = 4
"""Names of arrays that a box of the picture shows."""

KINDS: Final = {"loop": "loop", "product": "product", "call": "call of NumPy"}
"""The kinds of pieces, and what each is called."""

BOXES: Final = {"loop": "operation", "product": "module", "call": "fold"}
"""The kinds of pieces, and the box of `graph` that each is drawn as."""

_LINE: Final = re.compile(r"(?P<file>.+):(?P<number>\d+), in (?P<function>[^:]*)(?:: (?P<source>.*))?", re.S)


@dataclass(frozen=True)
class Piece:
    """A part of a program that runs as one: a loop, a product of matrices or a call of NumPy.

    Attributes
    ----------
    kind : str
        ``loop``, ``product`` or ``call``.
    instructions : tuple of Instruction
        What it computes. One that two loops compute again is in both.
    space : tuple of int
        What it runs over: the lengths of the nested loops, or rows, columns and inner length of a product.
    reads : tuple of Value
        What it reads from memory.
    makes : tuple of Value
        What it computes and leaves in memory.
    targets : tuple of Value
        Inputs that it writes to, at the end of the call.
    returns : bool
        Whether the caller gets something that it computes.
    how : str
        Of a product, who computes it; of a call of NumPy, why no loop does.
    """

    kind: str
    instructions: tuple[Instruction, ...]
    space: tuple[int, ...]
    reads: tuple[Value, ...] = ()
    makes: tuple[Value, ...] = ()
    targets: tuple[Value, ...] = ()
    returns: bool = False
    how: str = ""

    @property
    def written(self) -> int:
        """The bytes that it writes."""
        return _bytes((*self.makes, *self.targets))

    def same_as(self, other: Piece) -> bool:
        """Return whether it does the same to others: an optimiser updates one parameter after another."""
        return bool(self.targets and other.targets) and names_text(self.instructions) == names_text(
            other.instructions
        )


def explain(
    executable: Executable, *, names: Mapping[Value, str] | None = None, times: Sequence[float] = ()
) -> Explanation:
    """Return what a program computes and how it runs, to be printed or drawn.

    Parameters
    ----------
    executable : Executable
        The compiled program.
    names : mapping of Value to str, optional
        What its inputs are called.
    times : sequence of float
        Seconds of each piece, as `Executable.profile` measures them.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.compiler.executable import build
    >>> x, y = Value(0, (3, 4), np.dtype("f")), Value(1, (3, 4), np.dtype("f"))
    >>> exp = Instruction("exp", (x,), (y,), {}, np.exp)
    >>> program = Program(inputs=[x], strides=[(16, 4)], instructions=[exp], outputs=[y])
    >>> print(explain(build(program)))
    1 instruction in 1 loop
    goes in: 1 array (48 B)
    <BLANKLINE>
        #  piece           runs over                    reads    writes      time
        1  loop            3×4                           48 B      48 B
           exp
    <BLANKLINE>
    memory: 0 B; all values apart would take 48 B
    returned: 1 array
    """
    plan = executable.plan
    pieces = tuple(_piece(executable, planned) for planned in (*plan.pieces, *plan.commit))
    arena, threads = executable.memory.arena, executable.threads
    return Explanation(executable.program, pieces, arena, threads, tuple(times), names or {})


def _piece(executable: Executable, planned: Planned) -> Piece:
    plan = executable.plan
    ready = plan.ready
    reads, makes = sorted(plan.reads(planned), key=lambda value: value.number), plan.stores(planned)
    returned = {ready.roots[value] for value in (*ready.program.outputs, *ready.program.numbers)}
    returns = not returned.isdisjoint(makes)
    if isinstance(planned, Kernel):
        instructions, targets = plan.instructions(planned), [target for _, target in planned.writes]
        return Piece("loop", tuple(instructions), planned.space, tuple(reads), makes, tuple(targets), returns)
    instruction = planned.instruction
    if isinstance(planned, Product):
        kind, how = "product", _computed_by(executable, instruction)
        space = (*makes[0].shape, *_summed_over(instruction))
    else:
        kind, how, space = "call", _why_numpy(instruction), ()
    return Piece(
        kind, tuple(plan.instructions(planned)), space, tuple(reads), makes, returns=returns, how=how
    )


def _why_numpy(instruction: Instruction) -> str:
    """Return why an instruction is a call of NumPy."""
    values = (*instruction.inputs, *instruction.outputs)
    strange = next((value.dtype for value in values if value.dtype not in DTYPES), None)
    if instruction.effect:
        return "it does something beside its result"
    if len(instruction.outputs) != 1:
        return f"it has {len(instruction.outputs)} results"
    if strange is not None:
        return f"no loop computes in {strange}"
    if any(value.size == 0 for value in values):
        return "there is nothing to run over"
    if instruction.name == "matmul":
        return "BLAS does not take it"
    if instruction.name in CONVOLUTIONS:
        return "its code would be too long"
    return "no loop spells it"


def _summed_over(product: Instruction) -> tuple[int, ...]:
    """Return the lengths that the sums of a product of matrices, or of a convolution, run over."""
    first, second = product.inputs
    if product.name == "convolution_by_weight":
        return second.shape[:-1]  # pictures, and their pixels
    return second.shape[:-1] if product.name in CONVOLUTIONS else first.shape[-1:]


def _computed_by(executable: Executable, product: Instruction) -> str:
    """Return who computes a product."""
    if product.name in CONVOLUTIONS:
        return "generated"
    (first, second), (result,) = product.inputs, product.outputs
    transposed = []
    for value in (first, second):
        order = blas_order(executable.plan.ready.layouts[value], value.shape, result.dtype.itemsize)
        transposed.append(order is not None and order[0])
    kind = products.choose(
        first.shape[-2], second.shape[-1], second.shape[-2],
        transposed_a=transposed[0], transposed_b=transposed[1], dtype=result.dtype,
    )  # fmt: skip
    return "BLAS" if kind == "blas" else "generated"


@dataclass(frozen=True)
class Explanation:
    """The explanation of a compiled program: print it, or draw it with :meth:`graph`.

    Attributes
    ----------
    program : Program
        What is computed.
    pieces : tuple of Piece
        What runs, in this order.
    arena : int
        Bytes of the memory that holds all values between the pieces.
    threads : int
        Threads that share the pieces.
    times : tuple of float
        Seconds of each piece; empty if they were not measured.
    names : mapping of Value to str
        What inputs are called: ``parameter 0.weight``.
    """

    program: Program
    pieces: tuple[Piece, ...]
    arena: int
    threads: int = 1
    times: tuple[float, ...] = ()
    names: Mapping[Value, str] = field(default_factory=dict)

    def name_of(self, value: Value) -> str:
        """Return the name of an input, or the number and the shape of any other value."""
        return self.names.get(value, f"%{value.number} ({shape_text(value.shape)})")

    @cached_property
    def rows(self) -> list[list[int]]:
        """The positions of the pieces, those together that do the same one after the other."""
        rows: list[list[int]] = []
        for number, piece in enumerate(self.pieces):
            if rows and self.pieces[rows[-1][0]].same_as(piece):
                rows[-1].append(number)
            else:
                rows.append([number])
        return rows

    # ---- words ---------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        lines = [*self._totals(), "", *self._table(), "", *self._memory(), *self._end()]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _totals(self) -> Iterator[str]:
        program = self.program
        count = Counter(piece.kind for piece in self.pieces)
        kinds = [_counted(count[kind], kind) for kind in KINDS if count[kind]]
        yield f"{count_text(len(program.instructions), 'instruction')} in {', '.join(kinds) or 'no piece'}"
        parts = [f"{count_text(len(program.inputs), 'array')} ({bytes_text(_bytes(program.inputs))})"]
        parts += [count_text(len(program.scalars), "number")] if program.scalars else []
        parts += [count_text(len(program.constants), "constant")] if program.constants else []
        yield f"goes in: {', '.join(parts)}"

    def _table(self) -> Iterator[str]:
        yield f"    #  {'piece':<16}{'runs over':<24}{'reads':>10}{'writes':>10}{'time':>10}"
        for row in self.rows:
            pieces = [self.pieces[number] for number in row]
            first = pieces[0]
            title = KINDS[first.kind] if len(row) == 1 else _counted(len(row), first.kind)
            reads = sum(_bytes(piece.reads) for piece in pieces)
            writes = sum(piece.written for piece in pieces)
            time = seconds_text(sum(self.times[number] for number in row)) if self.times else ""
            yield (
                f"{row[0] + 1:>5}  {title:<16}{_spaces(pieces, 23):<24}"
                f"{bytes_text(reads):>10}{bytes_text(writes):>10}{time:>10}"
            )
            what = names_text(first.instructions) + (f" ({first.how})" if first.how else "")
            indent = " " * 7
            yield from wrap(what, WIDTH, initial_indent=indent, subsequent_indent=indent)
            yield from (f"{indent}{line}" for line in users_lines(first.instructions, WIDTH - len(indent)))

    def _memory(self) -> Iterator[str]:
        values = _bytes(
            value
            for instruction in self.program.instructions
            if instruction.name not in VIEWS
            for value in instruction.outputs
        )
        yield f"memory: {bytes_text(self.arena)}; all values apart would take {bytes_text(values)}"
        if self.threads > 1:
            yield f"threads: {self.threads} share the pieces"
        if self.times:
            yield f"time: {seconds_text(sum(self.times))}, each piece measured by itself on one thread"

    def _end(self) -> Iterator[str]:
        program = self.program
        checks = []
        if program.conditions:
            checks.append(f"{count_text(len(program.conditions), 'condition')} must hold")
        if program.watched:
            checks.append(f"{count_text(len(program.watched), 'array')} may hold no NaN")
        if checks:
            yield f"checked before anything is written: {', '.join(checks)}"
        if program.writes:
            targets = [target for _, target in program.writes]
            total = f"{count_text(len(targets), 'array')} ({bytes_text(_bytes(targets))})"
            names = [self.names[target] for target in targets if target in self.names]
            kinds = Counter(name.removeprefix("a ").split()[0] for name in names)  # "a Tensor of shape ..."
            named = [count_text(count, kind) for kind, count in kinds.items()]
            yield f"written at the end: {total}" + (f": {', '.join(named)}" if named else "")
        returned = [
            count_text(len(values), noun)
            for values, noun in ((program.outputs, "array"), (program.numbers, "number"))
            if values
        ]
        yield f"returned: {', '.join(returned) or 'nothing'}"

    # ---- the picture ---------------------------------------------------------------------------------------

    def graph(self) -> Picture:
        """Return a picture: a box for each piece, arrows for the values that go from one to another."""
        return Picture(self.drawing())

    def drawing(self) -> Drawing:
        """Return the boxes and arrows of the picture, before it is laid out."""
        maker = {value: row[0] for row in self.rows for number in row for value in self.pieces[number].makes}
        given = {*self.program.inputs, *self.program.scalars}
        users: dict[Value, list[int]] = defaultdict(list)
        arrows = []
        for row in self.rows:
            passed: dict[int, list[Value]] = defaultdict(list)
            for value in dict.fromkeys(value for number in row for value in self.pieces[number].reads):
                if value in maker:
                    passed[maker[value]].append(value)
                elif value in given:
                    users[value].append(row[0])
            for source, values in passed.items():
                label = _some(list(dict.fromkeys(shape_text(value.shape) for value in values)))
                arrows.append(Arrow(f"piece {source + 1}", f"piece {row[0] + 1}", label))
        inputs, entering = self._input_boxes(users)
        title, *notes = self._totals()
        boxes = (*inputs, *(self._box(row) for row in self.rows))
        notes += [*self._memory(), *self._end()]
        return Drawing(title, "program", boxes, (*entering, *arrows), notes=tuple(notes))

    def _box(self, row: Sequence[int]) -> Box:
        pieces = [self.pieces[number] for number in row]
        first = pieces[0]
        lines = [_spaces(pieces, 36), *wrap(names_text(first.instructions), 36), first.how]
        targets = [self.name_of(target) for piece in pieces for target in piece.targets]
        lines += wrap(f"new {_some(targets)}", 36) if targets else []
        whole, time = sum(self.times), sum(self.times[number] for number in row if self.times)
        title = KINDS[first.kind] if len(row) == 1 else _counted(len(row), first.kind)
        return Box(
            f"piece {row[0] + 1}",
            BOXES[first.kind],
            f"{row[0] + 1}: {title}",
            tuple(filter(None, [*lines, seconds_text(time) if whole else ""])),
            details=tuple(("line", line) for line in users_lines(first.instructions, WIDTH)),
            marks=("output",) if any(piece.returns for piece in pieces) else (),
            share=time / whole if whole else None,
        )

    def _input_boxes(self, users: Mapping[Value, Sequence[int]]) -> tuple[list[Box], list[Arrow]]:
        """Return a box for all that goes into the same pieces, and its arrows."""
        together: dict[tuple[str, tuple[int, ...]], list[Value]] = defaultdict(list)
        written = {target for _, target in self.program.writes}
        for value, numbers in users.items():
            together["parameter" if value in written else "input", tuple(numbers)].append(value)
        boxes, arrows = [], []
        for (kind, numbers), values in together.items():
            id = f"input {values[0].number}"
            shapes = ", ".join(dict.fromkeys(shape_text(value.shape) for value in values))
            first, *others = wrap(_some([self.name_of(value) for value in values]), 36)
            boxes.append(Box(id, kind, first, (*others, shapes)))
            arrows += [Arrow(id, f"piece {number + 1}", kind="parameter") for number in numbers]
        return boxes, arrows


@dataclass(frozen=True)
class Picture:
    """A picture of a program, which notebooks show.

    Attributes
    ----------
    drawing : Drawing
        Its boxes and arrows.
    """

    drawing: Drawing

    def dot(self, theme: str = "light") -> str:
        """Return it in Graphviz's language; ``theme`` is ``light`` or ``dark``."""
        from tinygrad_mnist.graph.formats.dot import to_dot

        return to_dot(self.drawing, theme)

    def svg(self, theme: str = "auto") -> str:
        """Return it as SVG; ``auto`` follows the reader's light or dark setting."""
        from tinygrad_mnist.graph.formats.svg import to_svg

        return to_svg(self.drawing, theme)

    def mermaid(self) -> str:
        """Return it as a Mermaid flowchart."""
        from tinygrad_mnist.graph.formats.mermaid import to_mermaid

        return to_mermaid(self.drawing)

    def _rendered(self, format: str) -> bytes:
        from tinygrad_mnist.graph.formats.layout import render

        return render(self.dot(), format)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to ``.svg``, ``.png``, ``.pdf``, ``.dot``, ``.gv`` or ``.mmd``, and return the path.

        Raises
        ------
        ValueError
            If the name ends in none of these.
        """
        from tinygrad_mnist.graph.formats import writer_of

        return write(Path(path), writer_of(path, _FORMATS)(self))

    def _repr_svg_(self) -> str | None:
        """Return what a notebook shows; None where nothing lays it out, so that it shows the object."""
        from tinygrad_mnist.graph.formats.layout import LayoutError

        try:
            return self.svg()
        except (LayoutError, ImportError):  # no Graphviz, or not even its package
            return None


_FORMATS: Final = {
    ".svg": Picture.svg,
    ".png": lambda picture: picture._rendered("png"),
    ".pdf": lambda picture: picture._rendered("pdf"),
    ".dot": Picture.dot,
    ".gv": Picture.dot,
    ".mmd": Picture.mermaid,
    ".mermaid": Picture.mermaid,
}
"""The formats of files, by suffix."""


def _counted(number: int, kind: str) -> str:
    return count_text(number, KINDS[kind]).replace("call of NumPys", "calls of NumPy")


def _spaces(pieces: Sequence[Piece], width: int) -> str:
    """Return what some pieces run over, cut to a width; nothing of calls."""
    text = ", ".join(dict.fromkeys(shape_text(piece.space) for piece in pieces if piece.kind != "call"))
    return text if len(text) <= width else text[: width - 1] + "…"


def names_text(instructions: Sequence[Instruction]) -> str:
    """Return what some instructions do, in the order of its first use: ``add (2), sum over axis 0``."""
    count: Counter[str] = Counter()
    for instruction in instructions:
        if instruction.name in REDUCTIONS:
            axes = instruction.static.get("axis", ())
            noun = "axis" if len(axes) == 1 else "axes"
            count[f"{instruction.name} over {noun} {', '.join(map(str, axes))}"] += 1
        elif instruction.name not in VIEWS:
            count[instruction.name] += 1
    names = [f"{name} ({number})" if number > 1 else name for name, number in count.items()]
    return ", ".join(names) or "copy"  # only views: their numbers are brought into another order


def users_lines(instructions: Sequence[Instruction], width: int) -> list[str]:
    """Return the user's lines that some instructions came from, each once and cut to a width."""
    found = list(dict.fromkeys(filter(None, (instruction.line for instruction in instructions))))
    lines = []
    for line in found[:MOST_LINES]:
        if told := _LINE.fullmatch(line):
            line = f"{Path(told['file']).name}:{told['number']}  {told['source'] or told['function']}"
        lines.append(line if len(line) <= width else line[: width - 1] + "…")
    more = len(found) - MOST_LINES
    return lines + ([f"and {count_text(more, 'line')} more"] if more > 0 else [])


def _bytes(values: Iterable[Value]) -> int:
    return sum(value.size * value.dtype.itemsize for value in values)


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
