"""The places of all values: a table of pointers, and an arena shared by what is not alive together.

Machine code is given a table of pointers. Its first entry is the arena, memory of ours that stays from call
to call; then come the constants, the inputs and the outputs, which are computed straight into the arrays that
the caller gets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tinygrad_mnist.compiler.fuse import Plan, passed
from tinygrad_mnist.compiler.program import Value

ALIGNMENT: Final = 64
"""Bytes that each value in the arena is aligned to: a line of the cache, and the longest vector."""


@dataclass(frozen=True, slots=True)
class Place:
    """The beginning of a value in memory: an entry of the table, and bytes from there."""

    entry: int
    offset: int


@dataclass(eq=False)
class Memory:
    """The places of all values of a plan.

    Attributes
    ----------
    places : dict of Value to Place
        Where the memory of each root that is read or kept begins.
    arena : int
        The bytes of the arena, which is entry 0.
    constants, inputs, outputs : dict of Value to int
        The entries of the constants, of the inputs and of the roots of the outputs.
    """

    places: dict[Value, Place] = field(default_factory=dict)
    arena: int = 0
    constants: dict[Value, int] = field(default_factory=dict)
    inputs: dict[Value, int] = field(default_factory=dict)
    outputs: dict[Value, int] = field(default_factory=dict)

    @property
    def entries(self) -> int:
        """The number of entries that are pointers to memory of the program."""
        return 1 + len(self.constants) + len(self.inputs) + len(self.outputs)

    @property
    def pool(self) -> int:
        """The entry of the pool of threads."""
        return self.entries

    @property
    def committed(self) -> int:
        """The entry that is 1 after a call has committed, else 0. It is the last one."""
        return self.entries + 1


class _Arena:
    """An arena that hands out the smallest free block that is large enough."""

    def __init__(self) -> None:
        self.size = 0
        self.free: list[tuple[int, int]] = []  # (length, offset)

    def take(self, length: int) -> int:
        fitting = min((block for block in self.free if block[0] >= length), default=None)
        if fitting is None:
            offset = self.size
            self.size += length
            return offset
        self.free.remove(fitting)
        if fitting[0] > length:
            self.free.append((fitting[0] - length, fitting[1] + length))
        return fitting[1]

    def give(self, length: int, offset: int) -> None:
        """Take a block back, joined with the free ones beside it."""
        for block in list(self.free):
            if block[1] + block[0] == offset or offset + length == block[1]:
                self.free.remove(block)
                length, offset = length + block[0], min(offset, block[1])
        self.free.append((length, offset))


def rounded(size: int) -> int:
    """Return a number of bytes, rounded up to whole lines of the cache."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def assign(plan: Plan) -> Memory:
    """Give each value that is kept, and each that goes in or out, its place.

    Parameters
    ----------
    plan : Plan
        What runs, in order.
    """
    program = plan.ready.program
    memory = Memory()
    arena = _Arena()
    scalars = arena.take(rounded(8 * len(program.scalars)))
    for number, value in enumerate(program.scalars):
        memory.places[value] = Place(0, scalars + 8 * number)
    numbers = arena.take(rounded(8 * len(program.numbers)))
    for number, value in enumerate(program.numbers):
        memory.places[value] = Place(0, numbers + 8 * number)
    outputs = [plan.ready.roots[value] for value in program.outputs]
    for values, entries in (
        (program.constants, memory.constants),
        (program.inputs, memory.inputs),
        (outputs, memory.outputs),
    ):
        for value in values:
            entries[value] = memory.entries
            memory.places[value] = Place(entries[value], 0)
    _share(plan, memory, arena)
    memory.arena = arena.size
    return memory


def _share(plan: Plan, memory: Memory, arena: _Arena) -> None:
    """Give the kept values places in the arena, each until the last piece that reads it."""
    program = plan.ready.program
    last: dict[Value, int] = {}
    pieces = [*plan.pieces, *plan.commit]
    for step, piece in enumerate(pieces):
        last.update(dict.fromkeys(plan.reads(piece), step))
        if 0 < step < len(plan.pieces) and passed(plan, pieces[step - 1], piece):
            # They may take turns: what the first reads is read until the second is done.
            last.update(dict.fromkeys(plan.reads(pieces[step - 1]), step))
    last.update(dict.fromkeys((*program.numbers, *program.conditions), len(pieces)))
    alive: list[tuple[Value, int, int]] = []
    for step, piece in enumerate(plan.pieces):
        for value in plan.stores(piece):
            if value not in memory.places:
                length = rounded(value.size * value.dtype.itemsize)
                memory.places[value] = Place(0, arena.take(length))
                alive.append((value, length, memory.places[value].offset))
        for entry in [entry for entry in alive if last.get(entry[0], step) <= step]:
            alive.remove(entry)
            arena.give(*entry[1:])
