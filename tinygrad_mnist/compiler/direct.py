"""Code for a convolution and for its transpose by the input: sums of neighbours, straight from the picture.

Both make pictures of pictures: each pixel of the result is a sum over the rows of the kernel, over channels
and over *taps*, which say which pixel of a row is multiplied by which column of the kernel. A block of the
result stays in registers: some pixels of a row, and one to a few vectors of channels. The taps of a block
stand in the code one by one, so padding, stride and dilation along a row cost nothing: a pixel that is not
there has no tap. Blocks with the same taps share their code. Along the columns of the picture, a row of the
kernel that meets no row of the picture is left out.

So nothing is multiplied by padding: unlike in a product of matrices with zeros put in, an infinite weight
makes no NaN there. A call with such a weight runs in eager: see `images`. Each element is one chain
``c = a * b + c``, in the order of the rows of the kernel, the channels and the columns of the kernel,
whatever block it falls into and whichever thread computes it.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from tinygrad_mnist.compiler.convolutions import Convolution
from tinygrad_mnist.compiler.products import HEIGHTS, WORTH_A_PIECE, Code, Finish

_LARGEST: Final = 1500
"""The most multiplications of vectors that stand in the code of one convolution."""

_LONGEST: Final = 20000
"""The most taps of a row: beyond, it would take long to look at them."""

_FIRST_CACHE: Final = 32768
"""The bytes of weights that stay in the first cache."""

_SECOND_CACHE: Final = 1 << 20
"""The bytes of a result that stay in the second cache."""

_REGISTERS: Final = {bits: 31 if heights == HEIGHTS[512] else 15 for bits, heights in HEIGHTS.items()}
"""The registers of sums, weights and a pixel, by the bits of a vector."""

Tap = tuple[int, int, int]
"""A pixel of the result, a column of the kernel, and the pixel of the source that it is multiplied by."""


@dataclass(frozen=True)
class _Sums:
    """A convolution or its transpose, as sums over rows of the kernel, channels and taps.

    Attributes
    ----------
    rows, width, columns : int
        The size of the result, and its channels in a group.
    source_rows, source_width, channels : int
        The size of the source, and its channels in a group: a sum runs over these.
    along_kernel : (int, int, int)
        The elements between weights: from one row of the kernel to the next, from one column to the next, and
        from one channel of the source to the next.
    group_of_weights : int
        The elements from the weights of one group to those of the next.
    groups : int
        The groups; of a depthwise convolution 1, whose vectors are multiplied channel by channel.
    """

    of: Convolution
    rows: int
    width: int
    columns: int
    source_rows: int
    source_width: int
    channels: int
    along_kernel: tuple[int, int, int]
    group_of_weights: int
    groups: int

    @property
    def forward(self) -> bool:
        """True of the convolution itself, False of its transpose."""
        return self.of.kind == "convolution"

    @property
    def pixel(self) -> int:
        """The elements of a pixel of the result."""
        return self.columns * self.groups

    @property
    def source_pixel(self) -> int:
        """The elements of a pixel of the source."""
        return self.columns if self.of.is_depthwise else self.channels * self.groups

    @cached_property
    def taps(self) -> list[list[Tap]]:
        """The taps of each pixel of a row, in the order of the columns of the kernel."""
        stride, dilation, before = self.of.stride[1], self.of.dilation[1], self.of.padding[1][0]
        found: list[list[Tap]] = []
        for pixel in range(self.width):
            found.append([])
            for column in range(self.of.kernel[1]):
                if self.forward:
                    source, rest = pixel * stride + column * dilation - before, 0
                else:
                    source, rest = divmod(pixel + before - column * dilation, stride)
                if rest == 0 and 0 <= source < self.source_width:
                    found[-1].append((pixel, column, source))
        return found

    def first_source(self, pixel: int) -> int:
        """Return the pixel of the source that moves on as a pixel of the result does."""
        return pixel * self.of.stride[1] if self.forward else pixel // self.of.stride[1]

    def all_rows_meet(self) -> bool:
        """Return whether each row of the kernel meets a row of the source, for each row of the result."""
        if not self.forward:
            return self.of.kernel[0] == self.of.stride[0] == 1 and self.of.padding[0] == (0, 0)
        last = (self.rows - 1) * self.of.stride[0] + (self.of.kernel[0] - 1) * self.of.dilation[0]
        return self.of.padding[0][0] == 0 and last < self.source_rows


def _sums(of: Convolution) -> _Sums:
    """Return a convolution as sums."""
    inner, outer = of.channels // of.groups, of.out_channels // of.groups
    kernel_column = inner * of.out_channels
    row = of.kernel[1] * kernel_column
    sizes = (of.out, of.size) if of.kind == "convolution" else (of.size, of.out)
    if of.is_depthwise:
        return _Sums(of, *sizes[0], of.channels, *sizes[1], 1, (row, kernel_column, 0), 0, 1)
    if of.kind == "convolution":
        along = (row, kernel_column, of.out_channels)
        return _Sums(of, *sizes[0], outer, *sizes[1], inner, along, outer, of.groups)
    along = (row, kernel_column, inner)
    return _Sums(of, *sizes[0], inner, *sizes[1], outer, along, outer * inner, of.groups)


@dataclass(frozen=True)
class _Run:
    """Blocks side by side in a row, which have the same taps.

    Attributes
    ----------
    start, count : int
        The first pixel of the first one, and how many there are.
    source, step : int
        The pixel of the source that the taps of the first one count from, and from there to that of the next.
    taps : list of Tap
        With pixels that count from the start of a block, and from its source.
    """

    start: int
    count: int
    source: int
    step: int
    taps: list[Tap]


@dataclass(frozen=True)
class _Cut:
    """The blocks that the result is cut into.

    Attributes
    ----------
    images, pixels : int
        The pictures of a block, and the pixels of a row of each.
    lanes, vectors : int
        The elements of a vector, and the vectors of a pixel.
    columns : int
        The channels of a block: fewer than fill its vectors, if the last one begins earlier, or is filled in
        part.
    """

    images: int
    pixels: int
    lanes: int
    vectors: int
    columns: int

    @property
    def starts(self) -> list[int]:
        """The channels of the block at which its vectors begin."""
        return [max(0, min(v * self.lanes, self.columns - self.lanes)) for v in range(self.vectors)]


def _runs(sums: _Sums, pixels: int) -> list[_Run]:
    """Return the blocks of a row; the last one begins earlier, if they do not fill it."""
    starts = [*range(0, sums.width - pixels, pixels), sums.width - pixels]
    found: list[_Run] = []
    for start in starts:
        source = sums.first_source(start)
        inside = itertools.chain(*sums.taps[start : start + pixels])
        own = [(p - start, column, i - source) for p, column, i in inside]
        if found and found[-1].taps == own:
            last = found[-1]
            step = source - last.source if last.count == 1 else last.step
            follows = start == last.start + last.count * pixels
            if follows and source == last.source + last.count * step:
                found[-1] = _Run(last.start, last.count + 1, last.source, step, own)
                continue
        found.append(_Run(start, 1, source, 0, own))
    return found


@functools.cache
def _cut(sums: _Sums, vector_bits: int) -> _Cut | None:
    """Return the blocks that take least time, by a rough count of cycles; None if the code is too long.

    A step over a channel takes half a cycle for each multiplication of vectors and for each load; a sum waits
    four cycles for the tap before.
    """
    of = sums.of
    if sums.width * of.kernel[1] > _LONGEST:
        return None
    lanes = vector_bits // (8 * of.itemsize)
    while lanes >= 2 * sums.columns:
        lanes //= 2
    across = -(-sums.columns // lanes)
    times = {}
    for vectors, most in enumerate(HEIGHTS[vector_bits][:across], 1):
        parts = range(-(-sums.width // most), -(-sums.width // most) + 3)
        for pixels in {-(-sums.width // part) for part in parts} | {most - most % of.stride[1]}:
            if not 0 < pixels <= min(most, sums.width):
                continue
            runs = _runs(sums, pixels)
            together = min(of.images, most // pixels, 6) if pixels == sums.width else 1
            for images in range(1, together + 1):
                cut = _Cut(images, pixels, lanes, vectors, min(sums.columns, lanes * vectors))
                if sum(len(run.taps) for run in runs) * vectors * images <= _LARGEST:
                    times[cut] = _time(sums, cut, runs, vector_bits) * -(-across // vectors) / images
    return min(times, key=lambda cut: times[cut]) if times else None


def _time(sums: _Sums, cut: _Cut, runs: list[_Run], vector_bits: int) -> float:
    """Return the half cycles that a row of blocks takes."""
    of, images, vectors, time = sums.of, cut.images, cut.vectors, 0.0
    once = _by_pixels(of, images * cut.pixels, vectors, vector_bits)
    weights = of.kernel[0] * of.kernel[1] * sums.channels * vectors * cut.lanes * of.itemsize
    # What is written in parts, one after the other, goes to memory as often, if it does not stay in a cache.
    result = of.images * sums.rows * sums.width * sums.pixel * of.itemsize
    store = 12 if cut.columns < sums.pixel and result > _SECOND_CACHE else 4
    for run in runs:
        terms = len(run.taps) * images
        chain = max(Counter(tap[0] for tap in run.taps).values(), default=0)
        loads = vectors * of.kernel[1] * min(max(1.0, weights / _FIRST_CACHE), 2.0)
        loads += images * len({tap[2] for tap in run.taps}) if once else terms
        step = max(terms * vectors, loads, 10 * chain) * (1.0 if once or of.kernel[1] == 1 else 1.2)
        ends = store * images * cut.pixels * vectors + 20
        time += run.count * (sums.channels * of.kernel[0] * (step + 0.1 * loads + 2) + ends)
    return time


def _by_pixels(of: Convolution, pixels: int, vectors: int, vector_bits: int) -> bool:
    """Return whether all weights of a step stay in registers, so that each pixel is loaded once."""
    return of.kernel[1] > 1 and (pixels + of.kernel[1]) * vectors < _REGISTERS[vector_bits]


def is_possible(of: Convolution, *, vector_bits: int = 512) -> bool:
    """Return whether there is code for a convolution: not where a row has too many taps of its own."""
    return _cut(_sums(of), vector_bits) is not None


def pictures_of_a_block(of: Convolution, *, vector_bits: int = 512) -> int:
    """Return the number of pictures of a block."""
    cut = _cut(_sums(of), vector_bits)
    assert cut, "what is chosen to be generated has a text"
    return cut.images


def pieces(of: Convolution, *, vector_bits: int = 512, most: int = 8) -> list[tuple[int, int]]:
    """Return the ranges of pictures that threads share; a piece takes some 20 microseconds or more."""
    cut = _cut(_sums(of), vector_bits)
    assert cut, "what is chosen to be generated has a text"
    blocks = -(-of.images // cut.images)
    number = max(1, min(blocks, most, of.multiplications // WORTH_A_PIECE))
    step = -(-blocks // number) * cut.images
    return [(begin, min(begin + step, of.images)) for begin in range(0, of.images, step)]


def generated(
    name: str, of: Convolution, *, vector_bits: int = 512, finish: Finish | None = None
) -> str | None:
    """Return the LLVM IR of a convolution, or of its transpose by the input; None if there is none.

    The text defines ::

        void @name(ptr a, ptr b, ptr c, i64 begin, i64 end)

    which computes the pictures from ``begin`` to ``end`` of ``c``, of pictures ``a`` and weights ``b``. All
    lie in C order. The weights of the transpose have their last two axes changed: ``(kh, kw, O, C /
    groups)``.

    Parameters
    ----------
    name : str
        The name of the function.
    of : Convolution
        The sizes.
    vector_bits : int
        The width of the machine's registers: 128, 256 or 512.
    finish : Finish, optional
        What is done with each element before it is stored. Its arguments stand before ``c``.
    """
    sums = _sums(of)
    cut = _cut(sums, vector_bits)
    if cut is None:
        return None
    code = Code(of.real)
    first = code.label()
    code.add(f"%none = icmp sge i64 %begin, %end\n  br i1 %none, label %done, label %{first}")
    code.begin(first)
    runs = _runs(sums, cut.pixels)
    with code.loop(sums.groups, 1) as group, code.loop(sums.columns, cut.columns) as column:
        last = of.images - cut.images
        with (
            code.loop("%end", cut.images, start="%begin", last=last) as image,
            code.loop(sums.rows, 1) as row,
        ):
            for run in runs:
                with code.loop(run.count, 1) as number:
                    where = _Where(group, column, image, row, number)
                    _block(code, sums, cut, run, where, vector_bits, finish)
    arguments = "ptr noalias %a, ptr noalias %b, " + (finish.arguments if finish else "") + "ptr noalias %c"
    return (
        f"define void @{name}({arguments}, i64 %begin, i64 %end) noinline nounwind "
        f'"vectorised" "prefer-vector-width"="{vector_bits}" {{\nentry:\n'
        + "\n".join(code.allocations + code.lines)
        + "\n  br label %done\ndone:\n  ret void\n}\n"
    )


@dataclass(frozen=True)
class _Where:
    """The place of a block in the result: names of indices, the last of which counts in a run of blocks."""

    group: str
    column: str
    image: str
    row: str
    number: str


def _block(
    code: Code, sums: _Sums, cut: _Cut, run: _Run, at: _Where, vector_bits: int, finish: Finish | None
) -> None:
    """Write one block of the result: its sums in registers, then their stores."""
    of, kind = sums.of, f"<{cut.lanes} x {code.real}>"
    keys = [(m, p, v) for m in range(cut.images) for p in range(cut.pixels) for v in range(cut.vectors)]
    totals = dict.fromkeys(keys, "zeroinitializer")
    with code.loop(of.kernel[0], 1, carried=totals, kind=kind) as kernel_row:
        row, meets = _source_row(code, sums, at.row, kernel_row)
        image = sums.source_rows * sums.source_width * sums.source_pixel
        step = partial(_step, code, sums, cut, run, vector_bits, totals)

        def channels(row: str = row, kernel_row: str = kernel_row) -> None:
            source = code.place(
                "%a",
                (at.image, image),
                (row, sums.source_width * sums.source_pixel),
                (at.number, run.step * sums.source_pixel),
                (at.group, sums.channels),
                (run.source, sums.source_pixel),
                (at.column if of.is_depthwise else "0", 1),
            )
            weights = code.place(
                "%b", (kernel_row, sums.along_kernel[0]), (at.group, sums.group_of_weights), (at.column, 1)
            )
            with code.loop(sums.channels, 1, carried=totals, kind=kind) as channel:
                step(code.place(source, (channel, 1)), code.place(weights, (channel, sums.along_kernel[2])))

        if meets is None:
            channels()
        else:
            with code.when(meets, totals, kind):
                channels()
    column = at.column
    if sums.groups > 1:
        column = code.new(f"add i64 {code.new(f'mul i64 {at.group}, {sums.columns}')}, {column}")
    place = code.place(
        "%c",
        (at.image, sums.rows * sums.width * sums.pixel),
        (at.row, sums.width * sums.pixel),
        (at.number, cut.pixels * sums.pixel),
        (column, 1),
        (run.start, sums.pixel),
    )
    filled = min(cut.lanes, cut.columns)
    for v, start in enumerate(cut.starts):
        known = finish.of_columns(code, column, start, cut.lanes, filled) if finish else {}
        for m, p in {(m, p): None for m, p, _ in keys}:
            result = totals[m, p, v]
            if finish:
                result = finish.of_elements(code, known, result, cut.lanes)
            offset = m * sums.rows * sums.width * sums.pixel + p * sums.pixel + start
            code.store(place, offset, result, cut.lanes, filled)


def _source_row(code: Code, sums: _Sums, row: str, kernel_row: str) -> tuple[str, str | None]:
    """Write which row of the source a row of the kernel meets, and whether it does; None if all do."""
    of = sums.of
    (stride, dilation), before = (of.stride[0], of.dilation[0]), of.padding[0][0]
    if sums.forward:
        moved = code.new(f"mul nsw i64 {row}, {stride}")
        found = code.new(f"add nsw i64 {moved}, {code.new(f'mul nsw i64 {kernel_row}, {dilation}')}")
        found = code.new(f"sub nsw i64 {found}, {before}")
        if sums.all_rows_meet():
            return found, None
        return found, code.new(f"icmp ult i64 {found}, {sums.source_rows}")
    moved = code.new(f"add nsw i64 {row}, {before}")
    moved = code.new(f"sub nsw i64 {moved}, {code.new(f'mul nsw i64 {kernel_row}, {dilation}')}")
    meets = code.new(f"icmp ult i64 {moved}, {sums.source_rows * stride}")
    if stride == 1:
        return moved, None if sums.all_rows_meet() else meets
    whole = code.new(f"icmp eq i64 {code.new(f'urem i64 {moved}, {stride}')}, 0")
    return code.new(f"udiv i64 {moved}, {stride}"), code.new(f"and i1 {meets}, {whole}")


def _step(
    code: Code,
    sums: _Sums,
    cut: _Cut,
    run: _Run,
    vector_bits: int,
    totals: dict[tuple[int, int, int], str],
    source: str,
    weights: str,
) -> None:
    """Write what one channel of the source adds to a block.

    If all weights stay in registers, it goes from pixel to pixel of the source, else from column to column of
    the kernel.
    """
    kind, filled = f"<{cut.lanes} x {code.real}>", min(cut.lanes, cut.columns)
    by_pixels = _by_pixels(sums.of, cut.images * cut.pixels, cut.vectors, vector_bits)
    image = sums.source_rows * sums.source_width * sums.source_pixel

    def weight(column: int) -> list[str]:
        at = column * sums.along_kernel[1]
        return [code.load(weights, at + start, cut.lanes, filled) for start in cut.starts]

    def pixel(m: int, source_pixel: int) -> list[str]:
        place = code.place(source, (m, image), (source_pixel, sums.source_pixel))
        if sums.of.is_depthwise:
            return [code.load(place, start, cut.lanes, filled) for start in cut.starts]
        return [code.splat(code.new(f"load {code.real}, ptr {place}"), cut.lanes)] * cut.vectors

    def add(m: int, tap: Tap, factors: list[str], loaded: list[str]) -> None:
        for v in range(cut.vectors):
            term = code.new(f"fmul contract {kind} {factors[v]}, {loaded[v]}")
            key = (m, tap[0], v)
            totals[key] = code.new(f"fadd contract {kind} {totals[key]}, {term}")

    if by_pixels:
        loaded = {column: weight(column) for column in sorted({tap[1] for tap in run.taps})}
        for m, i in _pairs(cut.images, sorted({tap[2] for tap in run.taps})):
            factors = pixel(m, i)
            for tap in (tap for tap in run.taps if tap[2] == i):
                add(m, tap, factors, loaded[tap[1]])
    else:
        for column in sorted({tap[1] for tap in run.taps}):
            vectors = weight(column)
            for m in range(cut.images):
                for tap in (tap for tap in run.taps if tap[1] == column):
                    add(m, tap, pixel(m, tap[2]), vectors)


def _pairs(images: int, pixels: list[int]) -> Iterator[tuple[int, int]]:
    for i in pixels:
        for m in range(images):
            yield m, i
