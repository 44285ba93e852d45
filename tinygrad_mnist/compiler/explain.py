"""What was compiled, in words and as a picture: loops, products, calls of NumPy, memory, checks, writes.

An :class:`Explanation` only reads: it takes a `Program` and the pieces that it was cut into, and counts.
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

from tinygrad_mnist.compiler.program import ELEMENTWISE, REDUCTIONS, VIEWS, Instruction, Program, Value
from tinygrad_mnist.files import write
from tinygrad_mnist.graph.drawing import Arrow, Box, Drawing
from tinygrad_mnist.numbers import bytes_text, count_text, seconds_text, shape_text

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
        What it computes. One that two pieces compute again is in both.
    space : tuple of int
        What it runs over: the lengths of the nested loops, or rows, columns and inner length of a product.
    how : str
        Of a product, who computes it; of a call of NumPy, why no loop does.
    """

    kind: str
    instructions: tuple[Instruction, ...]
    space: tuple[int, ...] = ()
    how: str = ""


def explain(
    program: Program,
    pieces: Sequence[Piece] | None = None,
    *,
    arena: int | None = None,
    times: Sequence[float] = (),
    names: Mapping[Value, str] | None = None,
) -> Explanation:
    """Return what a program computes and how it was cut into pieces, to be printed or drawn.

    Parameters
    ----------
    program : Program
        What is computed.
    pieces : sequence of Piece, optional
        What runs, in this order; by default each instruction by itself, as before fusion.
    arena : int, optional
        Bytes of the memory that holds all values between the pieces.
    times : sequence of float
        Seconds of each piece.
    names : mapping of Value to str, optional
        What inputs are called.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = Value(0, (3, 4), np.dtype("f")), Value(1, (3, 4), np.dtype("f"))
    >>> exp = Instruction("exp", (x,), (y,), {}, np.exp)
    >>> program = Program(inputs=[x], strides=[(16, 4)], instructions=[exp], outputs=[y])
    >>> print(explain(program, names={x: "x"}))
    1 instruction in 1 loop
    goes in: 1 array (48 B)
    <BLANKLINE>
      #  piece         runs over                reads    writes      time
      1  loop          3×4                       48 B      48 B
         exp
    <BLANKLINE>
    memory: all values apart take 48 B
    returned: 1 array
    """
    if pieces is None:
        pieces = [piece_of(each) for each in program.instructions if each.name not in VIEWS]
    return Explanation(program, tuple(pieces), arena, tuple(times), names or {})


@dataclass(frozen=True)
class Explanation:
    """What was compiled: print it, or draw it with :meth:`graph`.

    Attributes
    ----------
    program : Program
        What is computed.
    pieces : tuple of Piece
        What runs, in this order.
    arena : int or None
        Bytes of the memory that holds all values between the pieces; None if that is not known.
    times : tuple of float
        Seconds of each piece; empty if they were not measured.
    names : mapping of Value to str
        What inputs are called: ``model.0.weight``.
    """

    program: Program
    pieces: tuple[Piece, ...]
    arena: int | None = None
    times: tuple[float, ...] = ()
    names: Mapping[Value, str] = field(default_factory=dict)

    # ---- what the pieces share -----------------------------------------------------------------------------

    @cached_property
    def _views(self) -> dict[Value, Value]:
        """For each view, what it looks at."""
        return {
            instruction.outputs[0]: instruction.inputs[0]
            for instruction in self.program.instructions
            if instruction.name in VIEWS
        }

    def _source(self, value: Value, known: Iterable[Value] = ()) -> Value:
        """Return the value whose numbers a view shows, or the first view on the way that is known."""
        while value in self._views and value not in known:
            value = self._views[value]
        return value

    @cached_property
    def reads(self) -> tuple[tuple[Value, ...], ...]:
        """For each piece, the values that it takes from outside, each once."""
        found = []
        for piece in self.pieces:
            made = {value for instruction in piece.instructions for value in instruction.outputs}
            arguments = [value for instruction in piece.instructions for value in instruction.inputs]
            sources = (self._source(value, made) for value in arguments)
            found.append(tuple(dict.fromkeys(value for value in sources if value not in made)))
        return tuple(found)

    @cached_property
    def writes(self) -> tuple[tuple[Value, ...], ...]:
        """For each piece, the values that it leaves for others, each where it is made first."""
        program = self.program
        left = [*program.outputs, *program.numbers, *program.conditions, *(new for new, _ in program.writes)]
        needed = {self._source(value) for value in left}
        needed.update(self._source(value) for values in self.reads for value in values)
        found = []
        for piece in self.pieces:
            made = [value for instruction in piece.instructions for value in instruction.outputs]
            kept = tuple(value for value in made if value in needed)
            needed.difference_update(kept)
            found.append(kept)
        return tuple(found)

    def name_of(self, value: Value) -> str:
        """Return the name of an input, or the number and the shape of any other value."""
        return self.names.get(value, f"%{value.number} ({shape_text(value.shape)})")

    # ---- words ---------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        lines = [*self._totals(), "", *self._table(), "", *self._memory(), *self._end()]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _totals(self) -> Iterator[str]:
        program = self.program
        count = Counter(piece.kind for piece in self.pieces)
        kinds = [count_text(count[kind], noun) for kind, noun in KINDS.items() if count[kind]]
        kinds = [text.replace("call of NumPys", "calls of NumPy") for text in kinds]
        yield f"{count_text(len(program.instructions), 'instruction')} in {', '.join(kinds) or 'no piece'}"
        parts = [f"{count_text(len(program.inputs), 'array')} ({bytes_text(_bytes(program.inputs))})"]
        if program.scalars:
            parts.append(count_text(len(program.scalars), "number"))
        if program.constants:
            parts.append(f"{count_text(len(program.constants), 'constant')}")
        yield f"goes in: {', '.join(parts)}"

    def _table(self) -> Iterator[str]:
        yield f"  #  {'piece':<14}{'runs over':<20}{'reads':>10}{'writes':>10}{'time':>10}"
        for number, piece in enumerate(self.pieces):
            space = "" if piece.kind == "call" else shape_text(piece.space)
            time = seconds_text(self.times[number]) if self.times else ""
            reads, writes = (bytes_text(_bytes(values[number])) for values in (self.reads, self.writes))
            yield f"{number + 1:>3}  {KINDS[piece.kind]:<14}{space:<20}{reads:>10}{writes:>10}{time:>10}"
            what = names_text(piece.instructions) + (f" ({piece.how})" if piece.how else "")
            yield from wrap(what, WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5)
            yield from (f"     {line}" for line in users_lines(piece.instructions, WIDTH - 5))

    def _memory(self) -> Iterator[str]:
        values = _bytes(
            value
            for instruction in self.program.instructions
            if instruction.name not in VIEWS
            for value in instruction.outputs
        )
        if self.arena is None:
            yield f"memory: all values apart take {bytes_text(values)}"
        else:
            yield f"memory: {bytes_text(self.arena)}; all values apart would take {bytes_text(values)}"

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
            named = [self.names[target] for target in targets if target in self.names]
            yield from wrap(
                f"written at the end: {total}" + (f": {', '.join(named)}" if named else ""),
                WIDTH,
                subsequent_indent="  ",
            )
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
        boxes = [self._box(number) for number in range(len(self.pieces))]
        arrows = []
        maker = {value: number for number, values in enumerate(self.writes) for value in values}
        users: dict[Value, list[int]] = defaultdict(list)
        for number, values in enumerate(self.reads):
            between: dict[int, list[Value]] = defaultdict(list)
            for value in values:
                if value in maker:
                    between[maker[value]].append(value)
                elif value in self._given:
                    users[value].append(number)
            for source, passed in between.items():
                label = ", ".join(dict.fromkeys(shape_text(value.shape) for value in passed))
                arrows.append(Arrow(f"piece {source + 1}", f"piece {number + 1}", label))
        inputs, entering = self._input_boxes(users)
        title, *notes = self._totals()
        notes += [*self._memory(), *self._end()]
        return Drawing(title, "program", (*inputs, *boxes), (*entering, *arrows), notes=tuple(notes))

    @cached_property
    def _given(self) -> frozenset[Value]:
        """What goes in: arrays, numbers and constants."""
        return frozenset((*self.program.inputs, *self.program.scalars, *self.program.constants))

    def _box(self, number: int) -> Box:
        piece = self.pieces[number]
        lines = [] if piece.kind == "call" else [shape_text(piece.space)]
        lines += wrap(names_text(piece.instructions), 36)
        lines += [piece.how] if piece.how else []
        new = {self._source(value): target for value, target in self.program.writes}
        targets = [self.name_of(new[value]) for value in self.writes[number] if value in new]
        lines += [f"new {_some(targets)}"] if targets else []
        returned = {self._source(value) for value in (*self.program.outputs, *self.program.numbers)}
        marks = ("output",) if returned.intersection(self.writes[number]) else ()
        whole = sum(self.times)
        return Box(
            f"piece {number + 1}",
            BOXES[piece.kind],
            f"{number + 1} {KINDS[piece.kind]}",
            tuple(lines) + ((seconds_text(self.times[number]),) if whole else ()),
            details=tuple(("line", line) for line in users_lines(piece.instructions, WIDTH)),
            marks=marks,
            share=self.times[number] / whole if whole else None,
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
            boxes.append(Box(id, kind, _some([self.name_of(value) for value in values]), (shapes,)))
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

    def _repr_svg_(self) -> str:
        return self.svg()


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


def piece_of(instruction: Instruction) -> Piece:
    """Return an instruction as a piece by itself."""
    given, made = instruction.inputs, instruction.outputs
    if instruction.name == "matmul":
        return Piece("product", (instruction,), (*made[0].shape, given[0].shape[-1]))
    if instruction.name in ELEMENTWISE:
        return Piece("loop", (instruction,), made[0].shape)
    if instruction.name in REDUCTIONS:
        return Piece("loop", (instruction,), given[0].shape)
    return Piece("call", (instruction,), how="no loop spells it")


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
