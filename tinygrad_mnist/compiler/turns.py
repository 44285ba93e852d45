"""Pieces that take turns: a convolution, and the loop before or behind it, some pictures at a time.

The pictures that a convolution makes, and the gradient of these, are the largest arrays of a step. Where they
do not stay in a cache, a loop that reads them (a pool) or makes them (a pool's gradient) waits for memory. So
the two take turns: after some pictures of the one come the same pictures of the other. What passes between
them is put into the same memory at each turn, which then stays in the cache. `fuse` brings the two together.

Threads share whole turns. Each has memory of its own, where the first of its pictures would lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tinygrad_mnist.compiler import direct, filters, machine
from tinygrad_mnist.compiler.convolutions import Convolution, described
from tinygrad_mnist.compiler.fuse import Kernel, Piece, Plan, Product, passed
from tinygrad_mnist.compiler.loops import Nest, can_be_shared
from tinygrad_mnist.compiler.memory import Memory, Place
from tinygrad_mnist.compiler.program import Value

CACHED: Final = 1 << 18
"""The bytes that pass between two pieces in a turn: they stay in the second cache."""


@dataclass(frozen=True)
class Turns:
    """Two pieces that take turns, one of them a convolution and the other a loop.

    Attributes
    ----------
    first, second : Kernel or Product
        The pieces.
    value : Value
        What the first makes, and nothing but the second reads.
    of : Convolution
        The sizes of the convolution.
    pictures : int
        The pictures of a turn.
    rows : int
        The turns of the outermost loop for each picture.
    """

    first: Kernel | Product
    second: Kernel | Product
    value: Value
    of: Convolution
    pictures: int
    rows: int

    @property
    def images(self) -> int:
        """All pictures."""
        return self.of.images

    @property
    def picture(self) -> int:
        """The bytes that pass for each picture."""
        return self.value.size * self.value.dtype.itemsize // self.images

    @property
    def units(self) -> int:
        """The number of what a range counts: pictures, or parts of a gradient of filters."""
        return self.of.parts if self.of.parts > 1 else self.images

    @property
    def step(self) -> int:
        """The units of a turn."""
        return 1 if self.of.parts > 1 else self.pictures

    def ranges(self, most: int) -> list[tuple[int, int]]:
        """Return the ranges that threads share: whole turns, and so many at most."""
        step = -(-self.units // self.step // most) * self.step
        return [(begin, min(begin + step, self.units)) for begin in range(0, self.units, step)]


def turns(
    plan: Plan, memory: Memory, nest_of: Callable[[Kernel], Nest], first: Piece | Turns, second: Piece
) -> Turns | None:
    """Return two neighbours as pieces that take turns; None if they cannot, or need not.

    Parameters
    ----------
    plan, memory : Plan, Memory
        What runs, and where everything lies.
    nest_of : callable
        Returns a kernel as loops.
    first, second : Kernel, Product or Call
        The neighbours.
    """
    if isinstance(first, Turns):
        return None
    value = passed(plan, first, second)
    if value is None or memory.places[value].entry != 0:
        return None
    product, kernel = (first, second) if isinstance(second, Kernel) else (second, first)
    assert isinstance(product, Product)
    assert isinstance(kernel, Kernel)
    assert isinstance(second, Kernel | Product)
    of = described(product.instruction)
    assert of
    is_gradient = of.kind == "convolution_by_weight"
    rows = _rows_of_a_picture(memory, nest_of(kernel), value, of.images)
    pictures = filters.pictures_of_a_part(of) if is_gradient else _pictures(of, value)
    if not rows or not pictures or (is_gradient and of.parts == 1):
        return None
    return Turns(product if kernel is second else kernel, second, value, of, pictures, rows)


def _pictures(of: Convolution, value: Value) -> int | None:
    """Return the pictures of a turn of a convolution.

    The last turn has a whole block, too: so none begins earlier, where another thread's pictures may be.
    """
    block = direct.pictures_of_a_block(of, vector_bits=machine.vector_bits())
    most = block * max(1, CACHED // (value.size * value.dtype.itemsize // of.images * block))
    even = (number for number in range(most, most // 2, -block) if of.images % number == 0)
    uneven = (number for number in range(most, 0, -block) if of.images % number >= block)
    return next(even, None) or next(uneven, None)


def _rows_of_a_picture(memory: Memory, made: Nest, value: Value, images: int) -> int | None:
    """Return the turns of the outermost loop for each picture of a value; None if it goes otherwise."""
    rows, rest = divmod(made.lengths[0], images)
    goes = all(
        access.strides[0] * rows * images == value.size * value.dtype.itemsize
        for access in made.accesses()
        if lies_in(memory, made.pointers[access.pointer], value)
    )
    return rows if goes and not rest and made.split == 0 and can_be_shared(made) else None


def lies_in(memory: Memory, place: Place, value: Value) -> bool:
    """Return whether a place lies in the memory of a value."""
    start = memory.places[value]
    inside = 0 <= place.offset - start.offset < value.size * value.dtype.itemsize
    return place.entry == start.entry and inside
