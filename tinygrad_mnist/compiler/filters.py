"""Code for the gradient of a convolution's filters: a sum over all pictures and all pixels that come out.

An element of the result belongs to a place in the filter, a channel that goes in and one that comes out. A
block of the result stays in registers: some *rows* (a place and a channel that goes in), and one to a few
vectors of channels that come out. Rows whose elements lie side by side in the picture are a *stretch*.

The sum over a picture, or over a few small ones, is one chain ``c = a * b + c``. These sums are added to the
result one after the other. So the bits depend neither on the blocks nor on the thread that computes them, and
no chain is long. Threads share the result by its rows. Where it is small, as that of a first layer, it is
made in *parts* instead, each the sum over some pictures, which are then added: these threads can share, and a
part reads its gradient while it is still in a cache.

A picture with padding is copied first, with zeros around it, to an array on the stack. Where that would be
too large, the rows of a block belong to one place in the filter, and its sum runs over the pixels that meet
the picture there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tinygrad_mnist.compiler.convolutions import Convolution
from tinygrad_mnist.compiler.products import HEIGHTS, STACK, WORTH_A_PIECE, Code

_CHAIN: Final = 128
"""The pixels of a chain: those of a picture, or of several if they are so small."""


_PARTS: Final = 8
"""The fewest parts of a result that is made in parts."""

_SMALL: Final = 1 << 15
"""The most bytes of a result that is made in parts: adding them is to cost little."""

_GRADIENT: Final = 1 << 18
"""The bytes of the gradient of a part, which then stays in the second cache."""


@dataclass(frozen=True)
class _Filters:
    """A gradient of filters, and the blocks that it is cut into.

    Attributes
    ----------
    of : Convolution
        The sizes.
    lanes, vectors : int
        The elements of a vector, and the vectors of a block.
    outer, inner : int
        Blocks are numbered: ``inner`` of them for each of ``outer`` parts of the result.
    rows, rest : list of int
        For each row of a block its place in the picture, from that of the first; of the last of the inner
        ones, which may have fewer.
    """

    of: Convolution
    lanes: int
    vectors: int
    outer: int
    inner: int
    rows: list[int]
    rest: list[int]

    @property
    def columns(self) -> int:
        """The channels of a group that come out."""
        return _columns_of(self.of)

    @property
    def stretch(self) -> tuple[int, int, int]:
        """The rows of a stretch, and how many there are side by side and below one another."""
        return _stretch(self.of)

    @property
    def together(self) -> int:
        """The pictures whose sum is one chain."""
        return _together(self.of)

    def place(self, code: Code, number: str) -> _Begin:
        """Write where a block begins."""
        length, across, _ = self.stretch
        step = across_step(self.of)
        outer, inner = number, "0"
        if self.inner > 1:
            outer = code.new(f"udiv i64 {number}, {self.inner}")
            inner = code.new(f"urem i64 {number}, {self.inner}")
        joined = len(self.rows) // length  # stretches that are one block
        if joined:
            below, beside = outer, inner
            terms = [(outer, down_step(self.of)), (inner, joined * step)]
            row = _sum(code, [(outer, across * length), (inner, joined * length)])
        else:
            below = code.new(f"udiv i64 {outer}, {across}")
            beside = code.new(f"urem i64 {outer}, {across}")
            terms = [(below, down_step(self.of)), (beside, step), (inner, len(self.rows))]
            row = _sum(code, [(outer, length), (inner, len(self.rows))])
        return _Begin(_sum(code, terms), row, inner, (below, beside))


@dataclass(frozen=True)
class _Begin:
    """The beginning of a block.

    Attributes
    ----------
    place : str
        Where it is in the picture.
    row : str
        Its row in the result.
    inner : str
        Its number among the inner blocks.
    at : (str, str)
        Its row and column of the filter, if all of it belongs to one.
    """

    place: str
    row: str
    inner: str
    at: tuple[str, str]


def _sum(code: Code, terms: list[tuple[str, int]]) -> str:
    """Return the sum of indices, each times a number."""
    total = "0"
    for index, factor in terms:
        if index != "0":
            term = index if factor == 1 else code.new(f"mul nsw i64 {index}, {factor}")
            total = term if total == "0" else code.new(f"add nsw i64 {total}, {term}")
    return total


def _columns_of(of: Convolution) -> int:
    """Return the channels of a group that come out; of a depthwise convolution all of them."""
    return of.out_channels if of.is_depthwise else of.out_channels // of.groups


def padded(of: Convolution) -> tuple[int, int]:
    """Return the height and width of a picture with its padding."""
    (top, bottom), (left, right) = of.padding
    return of.size[0] + top + bottom, of.size[1] + left + right


def _together(of: Convolution) -> int:
    """Return the number of pictures whose sum is one chain; as many as fit the stack, if they are copied."""
    number = min(of.images, _CHAIN // (of.out[0] * of.out[1]))
    if padded(of) != of.size:
        number = min(number, STACK // _bytes_with_padding(of))
    return max(1, number)


def _bytes_with_padding(of: Convolution) -> int:
    """Return the bytes of a picture with its padding."""
    return math.prod(padded(of)) * of.channels * of.itemsize


def _copies(of: Convolution) -> bool:
    """Return whether pictures are copied: they have padding, and one fits the stack with it."""
    return padded(of) != of.size and _bytes_with_padding(of) <= STACK


def _has_edges(of: Convolution) -> bool:
    """Return whether sums run over the pixels that meet the picture: it has padding, and is not copied."""
    return padded(of) != of.size and not _copies(of)


def _lies(of: Convolution) -> tuple[int, int]:
    """Return the height and width of a picture as it is read."""
    return padded(of) if _copies(of) else of.size


def _merges(of: Convolution) -> bool:
    """Return whether the elements of a row of the kernel lie side by side in the picture."""
    return of.dilation[1] == of.groups == 1 and not _has_edges(of)


def _stretch(of: Convolution) -> tuple[int, int, int]:
    """Return the rows of a stretch, how many stretches follow each other evenly, and how often that is."""
    channels = of.channels // of.groups
    if _merges(of):
        return of.kernel[1] * channels, of.kernel[0], 1
    return channels, of.kernel[1], of.kernel[0]


def across_step(of: Convolution) -> int:
    """Return the elements of the picture from one stretch to the next."""
    return down_step(of) if _merges(of) else of.dilation[1] * of.channels


def down_step(of: Convolution) -> int:
    """Return the elements of the picture from one row of stretches to the next."""
    return of.dilation[0] * _lies(of)[1] * of.channels


@functools.cache
def _cut(of: Convolution, vector_bits: int, *, shared: bool) -> _Filters:
    """Return the blocks that take least time, by a rough count of cycles.

    A step over a pixel takes half a cycle for each multiplication of vectors and for each load; a sum waits
    four cycles for the step before. Where threads share the work, there are two blocks at least.
    """
    columns = _columns_of(of)
    lanes = vector_bits // (8 * of.itemsize)
    while lanes >= 2 * columns:
        lanes //= 2
    across = -(-columns // lanes)
    length, beside, below = _stretch(of)
    pixels = of.out[0] * of.out[1] * _together(of)
    times: list[tuple[float, int, _Filters]] = []
    for vectors, most in enumerate(HEIGHTS[vector_bits][:across], 1):
        widths = [vectors] * (across // vectors) + [across % vectors] * (across % vectors > 0)
        for height in range(1, most + 1):
            if height >= length:
                joined = 1 if _has_edges(of) else min(height // length, beside)
                inner = -(-beside // joined)
                outer = below
                rows = [i * across_step(of) + j for i in range(joined) for j in range(length)]
                rest = rows[: (beside - (inner - 1) * joined) * length]
            else:
                inner, outer = -(-length // height), beside * below
                rows = list(range(height))
                rest = rows[: length - (inner - 1) * height]
            if shared and outer * inner < 2 and beside * below > 1:
                continue
            time = 0.0
            for width in widths:
                for number, count in ((inner - 1, len(rows)), (1, len(rest))):
                    step = max(count * width, count + width, 8) + 1.5
                    time += outer * number * (pixels * step + 4 * count * width + 40)
            times.append((time, len(times), _Filters(of, lanes, vectors, outer, inner, rows, rest)))
    return min(times)[2]


def pieces(of: Convolution, *, vector_bits: int = 512, most: int = 8) -> list[tuple[int, int]]:
    """Return the ranges of blocks that threads share; a piece takes some 20 microseconds or more."""
    made = _cut(of, vector_bits, shared=of.parts == 1)
    whole = of.parts if of.parts > 1 else made.outer * made.inner
    number = max(1, min(whole, most, of.multiplications // WORTH_A_PIECE))
    step = -(-whole // number)
    return [(begin, min(begin + step, whole)) for begin in range(0, whole, step)]


def generated(name: str, of: Convolution, *, vector_bits: int = 512, shared: bool = False) -> str:
    """Return the LLVM IR of a gradient of filters.

    The text defines ::

        void @name(ptr a, ptr b, ptr c, i64 begin, i64 end)

    which computes the blocks, or the parts if there are several, from ``begin`` to ``end`` of ``c``: of the
    gradient of the filters ``(kh, kw, C / groups, O)``. It takes the pictures ``a`` that went in, and the
    gradient ``b`` of those that came out.

    Parameters
    ----------
    name : str
        The name of the function.
    of : Convolution
        The sizes.
    vector_bits : int
        The width of the machine's registers: 128, 256 or 512.
    shared : bool
        Whether threads share the blocks.
    """
    made = _cut(of, vector_bits, shared=shared)
    code = Code(of.real)
    first = code.label()
    code.add(f"%none = icmp sge i64 %begin, %end\n  br i1 %none, label %done, label %{first}")
    code.begin(first)
    if _copies(of):
        picture = math.prod(padded(of)) * of.channels
        length = -(-made.together * picture // made.lanes) * made.lanes
        code.allocations.append(f"  %copy = alloca [{length} x {of.real}], align 64")
        with code.loop(length, made.lanes) as i:
            code.store(code.place("%copy", (i, 1)), 0, "zeroinitializer", made.lanes, made.lanes)
    if of.parts == 1:
        _pictures(code, made, ("0", str(of.images)), ("%begin", "%end"), "%c")
    else:
        with code.loop("%end", 1, start="%begin") as part:
            begin = code.new(f"mul nsw i64 {part}, {pictures_of_a_part(of)}")
            end = code.at_most(code.new(f"add nsw i64 {begin}, {pictures_of_a_part(of)}"), of.images)
            size = math.prod((*of.kernel, of.channels, of.out_channels)) // of.groups
            result = code.place("%c", (part, size))
            _pictures(code, made, (begin, end), ("0", str(made.outer * made.inner)), result)
    return (
        f"define void @{name}(ptr noalias %a, ptr noalias %b, ptr noalias %c, i64 %begin, i64 %end) "
        f'noinline nounwind "vectorised" "prefer-vector-width"="{vector_bits}" {{\nentry:\n'
        + "\n".join(code.allocations + code.lines)
        + "\n  br label %done\ndone:\n  ret void\n}\n"
    )


def _pictures(
    code: Code, made: _Filters, images: tuple[str, str], blocks: tuple[str, str], result: str
) -> None:
    """Write the sum over some pictures of some blocks."""
    of = made.of
    picture = math.prod(_lies(of)) * of.channels
    with code.loop(images[1], made.together, start=images[0]) as image:
        behind = code.new(f"add nsw i64 {image}, {made.together}")
        if made.together > 1:
            more = code.new(f"icmp sgt i64 {behind}, {images[1]}")
            behind = code.new(f"select i1 {more}, i64 {images[1]}, i64 {behind}")
        source = code.place("%a", (image, picture))
        if _copies(of):
            _copy(code, made, image, behind)
            source = "%copy"
        is_first = code.new(f"icmp eq i64 {image}, {images[0]}")
        with code.loop(1 if of.is_depthwise else of.groups, 1) as group:
            for start, count, columns in _columns(made):
                with code.loop(count, 1) as c, code.loop(blocks[1], 1, start=blocks[0]) as block:
                    begin = made.place(code, block)
                    picture_at = code.place(source, (group, of.channels // of.groups), (begin.place, 1))
                    shift = ((group, made.columns), (c, columns), (start, 1))
                    if of.is_depthwise:
                        picture_at = code.place(picture_at, *shift)
                    pixels = of.out[0] * of.out[1] * of.out_channels
                    gradient = code.place("%b", (image, pixels), *shift)
                    block_at = code.place(result, (begin.row, of.out_channels), *shift)
                    at = _At(picture_at, gradient, block_at, is_first, image, behind, begin.at)
                    for rows in _of_last(code, made, begin.inner):
                        _block(code, made, rows, columns, at)


def parts(of: Convolution) -> int:
    """Return the number of parts that a gradient of filters is best made in; 1 for all at once.

    The sizes alone decide: so the bits do not depend on the number of threads.
    """
    size = math.prod((*of.kernel, of.channels, of.out_channels)) // of.groups * of.itemsize
    if size > _SMALL or of.images < 2 * _PARTS:
        return 1
    gradient = math.prod((*of.out, of.out_channels)) * of.itemsize
    most = max(1, min(of.images // _PARTS, _GRADIENT // gradient))
    # Parts of the same size are shared evenly.
    even = (pictures for pictures in range(most, most // 2, -1) if of.images % pictures == 0)
    return -(-of.images // next(even, most))


def pictures_of_a_part(of: Convolution) -> int:
    """Return the number of pictures of a part; the last one may have fewer."""
    return -(-of.images // of.parts)


def blocks(of: Convolution, *, vector_bits: int = 512, shared: bool = False) -> int:
    """Return the number of blocks, or parts, of a gradient of filters: what ``begin`` and ``end`` count."""
    if of.parts > 1:
        return of.parts
    made = _cut(of, vector_bits, shared=shared)
    return made.outer * made.inner


def _columns(made: _Filters) -> list[tuple[int, int, int]]:
    """Return the channels of blocks side by side: the first of a run, the number of blocks, how many each."""
    width = made.lanes * made.vectors
    whole, rest = divmod(made.columns, width)
    runs = [(0, whole, width)] if whole else []
    return runs + ([(whole * width, 1, rest)] if rest else [])


def _of_last(code: Code, made: _Filters, inner: str) -> Iterator[list[int]]:
    """Yield the rows of a block, in code that runs if the block has these."""
    if made.rest == made.rows:
        yield made.rows
        return
    if made.inner > 1:
        with code.when(code.new(f"icmp ne i64 {inner}, {made.inner - 1}")):
            yield made.rows
    with code.when(code.new(f"icmp eq i64 {inner}, {made.inner - 1}")):
        yield made.rest


@dataclass(frozen=True)
class _At:
    """Addresses of a block: of its first row in the first picture, of its gradient, and of its result.

    Besides, the first picture, the one behind the last, and the block's place in the filter.
    """

    picture: str
    gradient: str
    result: str
    is_first: str
    image: str
    behind: str
    of_filter: tuple[str, str]


def _block(code: Code, made: _Filters, rows: list[int], columns: int, at: _At) -> None:
    """Write the sums of a block over some pictures, and what adds them to the result."""
    of, lanes = made.of, made.lanes
    kind, filled = f"<{lanes} x {code.real}>", min(lanes, columns)
    vectors = -(-columns // lanes)
    starts = [max(0, min(v * lanes, columns - lanes)) for v in range(vectors)]
    sums = {(i, v): "zeroinitializer" for i in range(len(rows)) for v in range(vectors)}
    height, width = _lies(of)
    line = width * of.channels
    ranges = [("0", str(of.out[axis])) for axis in (0, 1)]
    corner = 0
    if _has_edges(of):
        ranges = [_meeting(code, of, axis, at.of_filter[axis]) for axis in (0, 1)]
        corner = of.padding[0][0] * line + of.padding[1][0] * of.channels

    def step(source: str, gradient: str) -> None:
        loads = [code.load(gradient, start, lanes, filled) for start in starts]
        for i, place in enumerate(rows):
            if of.is_depthwise:
                factors = [code.load(source, place + start, lanes, filled) for start in starts]
            else:
                number = code.new(f"load {code.real}, ptr {code.place(source, (place, 1))}")
                factors = [code.splat(number, lanes)] * vectors
            for v in range(vectors):
                term = code.new(f"fmul contract {kind} {factors[v]}, {loads[v]}")
                sums[i, v] = code.new(f"fadd contract {kind} {sums[i, v]}, {term}")

    def pixels(picture: str, gradient: str) -> None:
        (top, bottom), (left, right) = ranges
        with code.loop(bottom, 1, start=top, carried=sums, kind=kind) as y:
            down = code.place(picture, (y, of.stride[0] * line), (-corner, 1))
            across = code.place(gradient, (y, of.out[1] * of.out_channels))
            with code.loop(right, 1, start=left, carried=sums, kind=kind) as x:
                source = code.place(down, (x, of.stride[1] * of.channels))
                step(source, code.place(across, (x, of.out_channels)))

    if _has_edges(of):
        some = [code.new(f"icmp slt i64 {first}, {last}") for first, last in ranges]
        with code.when(code.new(f"and i1 {some[0]}, {some[1]}"), sums, kind):
            pixels(at.picture, at.gradient)
    elif made.together == 1:
        pixels(at.picture, at.gradient)
    else:
        number = code.new(f"sub nsw i64 {at.behind}, {at.image}")
        with code.loop(number, 1, carried=sums, kind=kind) as n:
            picture = code.place(at.picture, (n, height * line))
            gradient = code.place(at.gradient, (n, of.out[0] * of.out[1] * of.out_channels))
            pixels(picture, gradient)
    for i in range(len(rows)):
        # All of a row is read before it is written: its last vector may begin earlier.
        totals = []
        for v, start in enumerate(starts):
            before = code.load(at.result, i * of.out_channels + start, lanes, filled)
            before = code.new(f"select i1 {at.is_first}, {kind} zeroinitializer, {kind} {before}")
            totals.append(code.new(f"fadd {kind} {before}, {sums[i, v]}"))
        for start, total in zip(starts, totals, strict=True):
            code.store(at.result, i * of.out_channels + start, total, lanes, filled)


def _meeting(code: Code, of: Convolution, axis: int, place: str) -> tuple[str, str]:
    """Write the range of pixels along an axis that meet the picture at a place of the filter."""
    size, out, stride = of.size[axis], of.out[axis], of.stride[axis]
    moved = code.new(f"mul nsw i64 {place}, {of.dilation[axis]}")
    before = code.new(f"sub nsw i64 {of.padding[axis][0]}, {moved}")
    beyond = code.new(f"add nsw i64 {before}, {size + stride - 1}")
    results = []
    for start in (code.new(f"add nsw i64 {before}, {stride - 1}"), beyond):
        # Division rounds towards 0, and what lies before 0 is 0.
        first = code.new(f"sdiv i64 {start}, {stride}")
        positive = code.new(f"icmp sgt i64 {first}, 0")
        results.append(code.at_most(code.new(f"select i1 {positive}, i64 {first}, i64 0"), out))
    return results[0], results[1]


def _copy(code: Code, made: _Filters, image: str, behind: str) -> None:
    """Write what copies some pictures to the stack, inside their padding."""
    of, lanes = made.of, made.lanes
    height, width = padded(of)
    (top, _), (left, _) = of.padding
    length = of.size[1] * of.channels
    number = code.new(f"sub nsw i64 {behind}, {image}")
    with code.loop(number, 1) as n, code.loop(of.size[0], 1) as y:
        at = code.new(f"add nsw i64 {image}, {n}")
        source = code.place("%a", (at, of.size[0] * length), (y, length))
        target = code.place(
            "%copy",
            (n, height * width * of.channels),
            (y, width * of.channels),
            ((top * width + left) * of.channels, 1),
        )
        with code.loop(length, lanes) as x:
            filled = min(lanes, length)
            loaded = code.load(code.place(source, (x, 1)), 0, lanes, filled)
            code.store(code.place(target, (x, 1)), 0, loaded, lanes, filled)
