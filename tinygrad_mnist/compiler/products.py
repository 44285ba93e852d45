"""Matrix products of compiled code: BLAS by pointer, and generated code for a fixed shape.

:func:`blas` finds the ``gemm`` of the OpenBLAS that NumPy itself has loaded. Where NumPy's build exports
none, it returns None, and the program calls ``np.matmul(..., out=)``. :func:`generated` writes a product of
one fixed shape as LLVM IR. :func:`choose` says which of the two is the faster one, by the sizes alone.

A generated product keeps a block of the result in registers and runs over all of `k` at once. A BLAS first
copies both arguments to where its kernel wants them. Here the first block that reads what is copied does so
on the way, and little is copied: columns of a wide `B` (all of a `B` whose columns lie as rows), or else some
rows of a transposed `A`, where the steps of `k` lie far apart. Each element is one chain ``c = a * b + c`` in
the order of `k`. So its bits depend neither on the block that it falls into nor on the thread that computes
it. Before a block is stored, a product can do what a loop would do with its elements, and look for NaN.

Measured in float32 on one core with AVX-512 (Sapphire Rapids, OpenBLAS 0.3.33, neighbours busy), in GFLOP/s;
N and T say whether `A` and `B` are transposed. The registers alone multiply 218 GFLOP/s there:

===============================  ========  =========  =====
product                          OpenBLAS  generated  time
===============================  ========  =========  =====
NN (128, 64, 784)                     113        163   0.69
TN (784, 64, 128)                     122        161   0.76
NN (128, 32, 64)                       93        110   0.85
NT (128, 64, 32)                       62        108   0.57
NN (128, 10, 16)                       25         35   0.70
TN (16, 10, 128)                       27         37   0.73
all of 784-64-32-16-10, 128                            0.74
NN (128, 256, 784)                    131        160   0.82
TN (784, 256, 128)                    131        155   0.84
NT (128, 256, 128)                    100        141   0.71
NN (128, 10, 128)                      47         60   0.78
all of 784-256-128-10, 128                             0.76
NN (256, 512, 784)                    126        148   0.85
TN (784, 512, 256)                    134        158   0.85
NN (256, 512, 512)                    133        156   0.86
NT (256, 512, 512)                    132        159   0.83
TN (512, 512, 256)                    136        165   0.82
NN (256, 10, 512)                      42         74   0.57
all of 784-512-512-10, 256                             0.81
NN (1000, 256, 784)                   150        170   0.88
all of 8-7-6-5-4, 6                                    0.79
NN (512, 1, 512)                       47         12    3.8
TN (512, 256, 1024)                   129         87    1.5
NN (256, 512, 4096)                   122         63    1.9
===============================  ========  =========  =====

The last three are what :func:`choose` leaves to BLAS: results too narrow to fill a vector, and sums so long
that what is copied does not fit a cache. These brought nothing here: `k` in parts, whose sums wait in memory;
all of `B` copied at once; fetching the next columns of `B` or rows of `A` beforehand; large pages of memory.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal, Protocol

import numpy as np

_SYMBOLS: Final = (
    ("scipy_cblas_{}gemm64_", "scipy_openblas_{}64_", "i64"),
    ("scipy_cblas_{}gemm", "scipy_openblas_{}", "i32"),
    ("cblas_{}gemm64_", "openblas_{}64_", "i64"),
    ("cblas_{}gemm", "openblas_{}", ""),
)
"""The names that builds of OpenBLAS give to their ``gemm`` and their settings, and the type of their
integers. The last spelling stands for either type: there the library's configuration has the last word."""

_LETTER: Final = {"float32": "s", "float64": "d"}

_OF_32_REGISTERS: Final = (26, 13, 8, 6, 4, 3, 3, 2)
HEIGHTS: Final = {
    512: _OF_32_REGISTERS,
    256: (8, 6, 3, 2),
    128: _OF_32_REGISTERS if platform.machine().lower() in ("arm64", "aarch64") else (8, 4, 2, 2),
}
"""The most rows of a block whose sums stay in registers, by the bits of a vector: of one vector a row, of
two, and so on. Read off the machine code: with one row more, some sums go through memory in each step."""

STACK: Final = 262144
"""The most bytes of a copy on the stack, which in a thread may be small."""

_NEAR: Final = 1 << 19
"""The bytes of an argument that stay in the second cache while all of it is read again and again."""

_COPIED: Final = 1 << 17
"""Above this product of `m` and the bytes from one row of a wide B to the next, columns of B are copied
first. Rows far apart fall into the same few places of a cache, vectors that are not aligned are read from two
of its lines, and the more rows of `C`, the less one copy costs."""

_LONG_WALK: Final = 192
"""Of a transposed A with at least so many rows, a part is copied for each row of blocks: they lie in as many
pages of memory."""

_MANY_READERS: Final = 256
"""The columns of `C` that are worth such a copy."""

WORTH_A_PIECE: Final = 1_500_000
"""The multiplications that take about 20 microseconds."""


@dataclass(frozen=True)
class Blas:
    """The ``gemm`` of the BLAS that NumPy has loaded.

    Attributes
    ----------
    address : int
        Where the function ``cblas_?gemm(order, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c,
        ldc)`` stands in memory. The first three are C's ``enum``, so ``i32``.
    integer : str
        LLVM's type of its sizes and strides: ``"i64"`` or ``"i32"``.
    name : str
        The name of the function in the library.
    get_threads, set_threads : callable
        How many threads the library runs on.
    """

    address: int
    integer: Literal["i32", "i64"]
    name: str
    get_threads: Callable[[], int]
    set_threads: Callable[[int], Any]

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Let the library run on the calling thread only, inside a ``with`` statement.

        The number of threads belongs to the process. So the first that enters sets it, and the last that
        leaves sets it back, whichever thread of Python they are on.
        """
        _inside.enter(self)
        try:
            yield
        finally:
            _inside.leave(self)


class _Inside:
    """Those who want OpenBLAS on one thread now, and on how many it ran before them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._before = 1

    def enter(self, blas: Blas) -> None:
        """Count one more; the first sets the number of threads to 1."""
        with self._lock:
            if self._count == 0:
                self._before = blas.get_threads()
                if self._before != 1:
                    blas.set_threads(1)
            self._count += 1

    def leave(self, blas: Blas) -> None:
        """Count one less; the last sets the number of threads back."""
        with self._lock:
            self._count -= 1
            if self._count == 0 and self._before != 1:
                blas.set_threads(self._before)

    def forked(self) -> None:
        """Make a new lock in a forked process: another thread may hold the old one, and it stayed behind."""
        self._lock = Lock()


_inside = _Inside()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_inside.forked)


def blas(dtype: Any) -> Blas | None:
    """Return ``gemm`` for a dtype in the OpenBLAS that NumPy has loaded, or None if there is none.

    Parameters
    ----------
    dtype : dtype
        float32 or float64; of any other, there is none.
    """
    letter = _LETTER.get(np.dtype(dtype).name)
    return _blas(letter) if letter else None


@functools.cache
def _blas(letter: str) -> Blas | None:
    for library in _loaded_libraries():
        for product, settings, integer in _SYMBOLS:
            name = product.format(letter)
            if not (hasattr(library, name) and hasattr(library, settings.format("set_num_threads"))):
                continue
            width = integer or _integer(library, settings)
            address = ctypes.cast(library[name], ctypes.c_void_p).value
            threads = (library[settings.format(f"{verb}_num_threads")] for verb in ("get", "set"))
            found = Blas(address or 0, "i64" if width == "i64" else "i32", name, *threads)
            return found if _multiplies(found, letter) else None
    return None


def _integer(library: ctypes.CDLL, settings: str) -> str:
    """Return the type of integers that a library was built with, from what it says about itself."""
    describe = library[settings.format("get_config")]
    describe.restype = ctypes.c_char_p
    return "i64" if b"USE64BITINT" in describe() else "i32"


def _loaded_libraries() -> Iterator[ctypes.CDLL]:
    """Yield the libraries named OpenBLAS that NumPy has loaded, and load none that it has not.

    Wheels bring theirs along in a folder beside the package or in it. Elsewhere (conda, a distribution),
    Linux lists what a process has mapped.
    """
    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".dylibs")
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    paths = [path for path in paths if "openblas" in path.name.lower()]
    maps = Path("/proc/self/maps")
    if not paths and maps.exists():
        mapped = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if "openblas" in line}
        paths = sorted(Path(path) for path in mapped if path.startswith("/"))
    # RTLD_NOLOAD: a library that is not loaded yet is an error. Windows has no such flag: there a path that
    # is loaded already gives the same library again.
    mode = ctypes.DEFAULT_MODE | getattr(os, "RTLD_NOLOAD", 0)
    for path in paths:
        try:
            yield ctypes.CDLL(str(path), mode=mode)
        except OSError:
            continue


def _multiplies(blas: Blas, letter: str) -> bool:
    """Return whether ``gemm`` gives the product of two small matrices: then its arguments are right."""
    integer = ctypes.c_int64 if blas.integer == "i64" else ctypes.c_int32
    real = ctypes.c_float if letter == "s" else ctypes.c_double
    enum, pointer = ctypes.c_int32, ctypes.c_void_p
    # fmt: off
    product = ctypes.CFUNCTYPE(
        None, enum, enum, enum, integer, integer, integer, real, pointer, integer, pointer, integer, real,
        pointer, integer,
    )(blas.address)
    # fmt: on
    x = np.arange(6, dtype=np.dtype(real)).reshape(2, 3)
    y = np.arange(12, dtype=x.dtype).reshape(3, 4)
    out = np.full((2, 4), np.nan, x.dtype)
    product(101, 111, 111, 2, 4, 3, 1.0, x.ctypes.data, 3, y.ctypes.data, 4, 0.0, out.ctypes.data, 4)
    return np.array_equal(out, [[20, 23, 26, 29], [56, 68, 80, 92]])


class Finish(Protocol):
    """The end of a product: what is done with each element, in vectors, before it is stored."""

    @property
    def arguments(self) -> str:
        """The arguments of the function, each with a comma behind it."""

    def of_columns(self, code: Code, column: str, start: int, lanes: int, filled: int) -> dict[int, str]:
        """Write the loads of what goes with some columns, and return it."""

    def of_elements(self, code: Code, known: dict[int, str], vector: str, lanes: int) -> str:
        """Write what is done with a vector of elements of these columns, and return the result."""


@dataclass(frozen=True)
class _Product:
    """A product of a fixed shape, as :func:`generated` was asked for it."""

    m: int
    n: int
    k: int
    transposed_a: bool
    transposed_b: bool
    strides: tuple[int, int, int]
    real: str
    bias: bool
    finds_nan: bool
    finish: Finish | None
    copies_a: bool

    @property
    def size(self) -> int:
        """The bytes of one element."""
        return 4 if self.real == "float" else 8

    @property
    def along_a(self) -> tuple[int, int]:
        """The elements from one row of op(A) to the next, and from one column to the next."""
        return (1, self.strides[0]) if self.transposed_a else (self.strides[0], 1)


@dataclass(frozen=True)
class _Cut:
    """The blocks that the result is cut into, each of which fits the registers.

    Where the blocks of this size do not fill the result, the last ones begin earlier and compute some
    elements a second time, to equal bits. That needs no code for remainders.

    Attributes
    ----------
    height : int
        The rows of a block.
    lanes : int
        The elements of a vector.
    vectors : int
        The vectors side by side in a block.
    columns : int
        The columns of a block. If they are fewer than ``lanes * vectors``, the last vector begins earlier;
        and if they are fewer than a single vector, that is filled in part.
    """

    height: int
    lanes: int
    vectors: int
    columns: int

    @property
    def starts(self) -> list[int]:
        """The columns of the block at which its vectors begin."""
        return [max(0, min(v * self.lanes, self.columns - self.lanes)) for v in range(self.vectors)]

    @property
    def slab(self) -> int:
        """The height in whole vectors: what is copied of each step of k of a transposed A."""
        return -(-self.height // self.lanes) * self.lanes


def generated(
    name: str,
    m: int,
    n: int,
    k: int,
    *,
    transposed_a: bool = False,
    transposed_b: bool = False,
    dtype: Any = np.float32,
    vector_bits: int = 512,
    bias: bool = False,
    finds_nan: bool = False,
    finish: Finish | None = None,
    strides: tuple[int, int, int] | None = None,
    aligned_b: bool = False,
    by: Literal["rows", "columns"] = "rows",
) -> str | None:
    """Return the LLVM IR of a product ``C = op(A) @ op(B)`` of a fixed shape, or None if there is none.

    The text defines ::

        void @name(ptr a, ptr b, ptr c, i64 begin, i64 end)               ; bias=False
        void @name(ptr a, ptr b, ptr bias, ptr c, i64 begin, i64 end)     ; bias=True
        void @name(ptr a, ptr b, ptr c, ptr no_nan, i64 begin, i64 end)   ; finds_nan=True

    It computes the rows or columns from ``begin`` to ``end`` of `C`: ``0, m`` or ``0, n`` for all of it.
    Threads can share a product so; :func:`pieces` says how. A call may also compute a part of the next piece,
    to the same bits. `C` must overlap neither argument. The text is as good without optimisation.

    Parameters
    ----------
    name : str
        The name of the function.
    m, n, k : int
        `C` has `m` rows and `n` columns, the sum runs over `k`. For a size of 0 there is no text.
    transposed_a : bool
        Whether `A` lies as ``(k, m)``, instead of ``(m, k)``. All three lie in C order.
    transposed_b : bool
        Whether `B` lies as ``(n, k)``, instead of ``(k, n)``. Some columns at a time are then turned around
        on the stack. So there is no text for a large `k`.
    dtype : dtype
        float32 or float64.
    vector_bits : int
        The width of the machine's registers: 128, 256 or 512.
    bias : bool
        Whether a row of `n` numbers is added to each row of `C`.
    finds_nan : bool
        Whether the byte at ``no_nan`` becomes 0 where an element of `C` is NaN; else it stays as it is.
    finish : Finish, optional
        What is done with each element before it is stored. Its arguments stand before that of `C`.
    strides : tuple of int, optional
        From one row of `A`, `B` and `C` to the next, in elements, if they are parts of wider matrices.
    aligned_b : bool
        Whether each row of `B` begins where a line of the cache does.
    by : str
        What ``begin`` and ``end`` count: ``"rows"`` or ``"columns"``.
    """
    if not (m and n and k) or np.dtype(dtype).name not in _LETTER:
        return None
    real = "float" if np.dtype(dtype) == np.float32 else "double"
    usual = (m if transposed_a else k, k if transposed_b else n, n)
    size = np.dtype(dtype).itemsize
    copies_a = by == "rows" and _copies_a(m, n, k, size, (transposed_a, transposed_b, aligned_b))
    cut = _cut(m, n, k, size, vector_bits, transposed_a=transposed_a, copies_a=copies_a)
    options = real, bias, finds_nan, finish, copies_a
    product = _Product(m, n, k, transposed_a, transposed_b, strides or usual, *options)
    if transposed_b and cut.columns * k * product.size > STACK:
        return None
    code = Code(real)
    first = code.label()
    code.add(f"%none = icmp sge i64 %begin, %end\n  br i1 %none, label %done, label %{first}")
    code.begin(first)
    share, whole = ("%begin", "%end"), ("0", m if by == "columns" else n)
    rows, columns = (share, whole) if by == "rows" else (whole, share)
    _blocks(code, product, cut, rows, columns)
    arguments = "ptr noalias %a, ptr noalias %b, " + "ptr noalias %bias, " * bias
    arguments += (finish.arguments if finish else "") + "ptr noalias %c"
    arguments += ", ptr noalias %no_nan" * finds_nan
    return (
        f"define void @{name}({arguments}, i64 %begin, i64 %end) noinline nounwind "
        f'"vectorised" "prefer-vector-width"="{vector_bits}" {{\nentry:\n'
        + "\n".join(code.allocations + code.lines)
        + "\n  br label %done\ndone:\n  ret void\n}\n"
    )


def pieces(
    m: int,
    n: int,
    k: int,
    *,
    transposed_a: bool = False,
    transposed_b: bool = False,
    aligned_b: bool = False,
    dtype: Any = np.float32,
    vector_bits: int = 512,
    most: int = 8,
) -> tuple[Literal["rows", "columns"], list[tuple[int, int]]]:
    """Return how threads share a product: by rows or by columns, and the ranges of the pieces.

    They are cut where blocks end, so that nothing is computed twice; by columns if there are enough, as then
    no columns of B are copied twice; by rows if rows of A are copied. A piece takes 20 microseconds or more.
    The sizes alone decide, not the number of threads.
    """
    size = np.dtype(dtype).itemsize
    copies_a = _copies_a(m, n, k, size, (transposed_a, transposed_b, aligned_b))
    cut = _cut(m, n, k, size, vector_bits, transposed_a=transposed_a, copies_a=copies_a)
    down, across = -(-m // cut.height), -(-n // cut.columns)
    by_columns = across >= min(down, 4) and not copies_a
    blocks, step, length = (across, cut.columns, n) if by_columns else (down, cut.height, m)
    number = max(1, min(blocks, most, m * n * k // WORTH_A_PIECE))
    step *= -(-blocks // number)
    ranges = [(begin, min(begin + step, length)) for begin in range(0, length, step)]
    return "columns" if by_columns else "rows", ranges


def _copies_a(m: int, n: int, k: int, size: int, how: tuple[bool, bool, bool]) -> bool:
    """Return whether rows of a transposed A are copied: there the steps of k lie a row of A apart.

    Then all of B is read anew for each row of blocks, from the second cache. Vectors that are not aligned are
    read from two lines of a cache, which costs more than the copy brings. `how` says whether A is transposed,
    whether B is, and whether B is aligned.
    """
    large = m >= 32 and n >= _MANY_READERS and k >= _LONG_WALK
    return large and n * k * size <= _NEAR and how == (True, False, True)


def _cut(
    m: int, n: int, k: int, size: int, vector_bits: int, *, transposed_a: bool, copies_a: bool = False
) -> _Cut:
    """Return the blocks that take least time, by a rough count of half cycles.

    One step of `k` takes a block ``height * vectors`` multiplications and ``height + vectors`` loads, two of
    each in a cycle. The more of the first cache the columns of op(B) fill, the longer takes a load of them;
    longest, where B is read from the second cache. The rows of a large A come from as many places of memory
    at once, and the processor foresees few of them. A sum waits up to five cycles for the step before it. At
    the end, each row of the block is written to a place of its own.
    """
    lanes = vector_bits // (8 * size)
    while lanes >= 2 * n:
        lanes //= 2
    across = -(-n // lanes)
    row = 0.3 if not transposed_a and m * k * size > _NEAR else 0.0
    cuts = {}
    for vectors, most in enumerate(HEIGHTS[vector_bits][:across], 1):
        if vectors > 1 and k * vectors * lanes * size > STACK:
            break  # its columns of op(B) could not be copied
        blocks = -(-m // most)
        height = -(-m // blocks)
        load = 5.0 if copies_a else min(max(1.0, k * vectors * lanes * size / 16384), 3.0)
        step = max(height * vectors, height + load * vectors, 10) + row * height
        time = blocks * -(-across // vectors) * (k * step + height * (vectors + 4))
        cuts[_Cut(height, lanes, vectors, min(n, lanes * vectors))] = time
    return min(cuts, key=lambda cut: cuts[cut])


class Code:
    """The text of a function under construction."""

    def __init__(self, real: str) -> None:
        self.real = real
        self.allocations: list[str] = []
        self.lines: list[str] = []
        self._block = "entry"
        self._numbers = itertools.count()

    def label(self) -> str:
        """Return a name that is not taken."""
        return f"x{next(self._numbers)}"

    def add(self, line: str) -> None:
        """Append a line."""
        self.lines.append("  " + line)

    def new(self, expression: str) -> str:
        """Append a line that gives a value, and return the value's name."""
        name = "%" + self.label()
        self.add(f"{name} = {expression}")
        return name

    def begin(self, block: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{block}:")
        self._block = block

    def place(self, base: str, *terms: tuple[str | int, int]) -> str:
        """Return the address of the element ``sum(index * stride)`` behind a base."""
        constant = 0
        for index, stride in terms:
            if isinstance(index, int):
                constant += index * stride
            elif index != "0":
                offset = index if stride == 1 else self.new(f"mul nsw i64 {index}, {stride}")
                base = self.new(f"getelementptr inbounds {self.real}, ptr {base}, i64 {offset}")
        if constant:
            base = self.new(f"getelementptr inbounds {self.real}, ptr {base}, i64 {constant}")
        return base

    def load(self, base: str, at: int, lanes: int, filled: int) -> str:
        """Load a vector of which only the first elements are in memory: by parts, each a power of two."""
        align, whole, position = 4 if self.real == "float" else 8, "", 0
        while position < filled:
            part = 1 << ((filled - position).bit_length() - 1)
            place = self.place(base, (at + position, 1))
            loaded = self.new(f"load <{part} x {self.real}>, ptr {place}, align {align}")
            if part == lanes:
                return loaded
            wide = self.shuffle(part, loaded, loaded, [min(i, part - 1) for i in range(lanes)])
            old, new = range(position), range(lanes, 2 * lanes - position)
            whole = self.shuffle(lanes, whole, wide, [*old, *new]) if whole else wide
            position += part
        return whole

    def store(self, base: str, at: int, vector: str, lanes: int, filled: int) -> None:
        """Store the first elements of a vector, by parts too."""
        align, position = 4 if self.real == "float" else 8, 0
        while position < filled:
            part = 1 << ((filled - position).bit_length() - 1)
            piece = vector
            if part != lanes:
                piece = self.shuffle(lanes, vector, vector, range(position, position + part))
            place = self.place(base, (at + position, 1))
            self.add(f"store <{part} x {self.real}> {piece}, ptr {place}, align {align}")
            position += part

    def splat(self, number: str, lanes: int) -> str:
        """Return a vector all of whose elements are a number."""
        first = self.new(f"insertelement <{lanes} x {self.real}> poison, {self.real} {number}, i64 0")
        return self.shuffle(lanes, first, first, [0] * lanes)

    def shuffle(self, lanes: int, first: str, second: str, order: Iterable[int]) -> str:
        """Return a vector of chosen elements of two vectors of so many lanes."""
        mask = [f"i32 {number}" for number in order]
        vector = f"<{lanes} x {self.real}>"
        chosen = f"<{len(mask)} x i32> <{', '.join(mask)}>"
        return self.new(f"shufflevector {vector} {first}, {vector} {second}, {chosen}")

    @contextmanager
    def loop(
        self,
        stop: str | int,
        step: int,
        *,
        start: str = "0",
        last: int | None = None,
        carried: dict[Any, str] | None = None,
        kind: str = "",
    ) -> Iterator[str]:
        """Repeat the code inside for an index from start by steps, at least once, while it is below stop.

        An index above `last` is lowered to it; where stop is a number, so that the last step ends there. The
        values in `carried`, of one type, go on from one round to the next: inside, the dict holds what they
        are at the beginning of a round, and has to be given what they are at its end.
        """
        if isinstance(stop, int):
            if stop <= step:
                yield "0"
                return
            last = stop - step if stop % step else None
        carried = {} if carried is None else carried
        body, after, counter, following = self.label(), self.label(), "%" + self.label(), "%" + self.label()
        before, starts, names = self._block, dict(carried), {key: "%" + self.label() for key in carried}
        self.add(f"br label %{body}")
        self.begin(body)
        head, index = len(self.lines), counter
        if last is not None:
            index = self.at_most(counter, last)
        carried.update(names)
        yield index
        phis = [(counter, "i64", start, following)]
        phis += [(names[key], kind, starts[key], carried[key]) for key in carried]
        self.lines[head:head] = [
            f"  {name} = phi {type_} [ {first}, %{before} ], [ {next_}, %{self._block} ]"
            for name, type_, first, next_ in phis
        ]
        self.add(f"{following} = add nsw i64 {counter}, {step}")
        more = self.new(f"icmp slt i64 {following}, {stop}")
        self.add(f"br i1 {more}, label %{body}, label %{after}")
        self.begin(after)

    @contextmanager
    def when(self, condition: str, carried: dict[Any, str] | None = None, kind: str = "") -> Iterator[None]:
        """Run the code inside only if a condition holds; the values in `carried` are as in :meth:`loop`."""
        carried = {} if carried is None else carried
        inside, after, origin, before = self.label(), self.label(), self._block, dict(carried)
        self.add(f"br i1 {condition}, label %{inside}, label %{after}")
        self.begin(inside)
        yield
        end = self._block
        self.add(f"br label %{after}")
        self.begin(after)
        for key, old in before.items():
            if carried[key] != old:
                carried[key] = self.new(f"phi {kind} [ {old}, %{origin} ], [ {carried[key]}, %{end} ]")

    def at_most(self, index: str, last: int) -> str:
        """Return the smaller one of an index and a number."""
        over = self.new(f"icmp sgt i64 {index}, {last}")
        return self.new(f"select i1 {over}, i64 {last}, i64 {index}")


@dataclass(frozen=True)
class _Strip:
    """Some rows of op(A), or columns of op(B), over all of k.

    Attributes
    ----------
    place : str
        The address of the first element.
    apart, along_k : int
        The elements from one row or column to the next, and from one step of k to the next.
    """

    place: str
    apart: int
    along_k: int


@dataclass(frozen=True)
class _Copying:
    """A copy that is made on the way, while a strip is read for the first time.

    Attributes
    ----------
    source : _Strip
        What is copied: a strip in which the elements of a step of k lie side by side.
    copy : _Strip
        Where it goes.
    starts : list of int
        The elements of a step of k at which the vectors begin that are copied.
    """

    source: _Strip
    copy: _Strip
    starts: list[int]


def _blocks(
    code: Code, product: _Product, cut: _Cut, rows: tuple[str, str | int], columns: tuple[str, str | int]
) -> None:
    """Write all blocks of a range of rows and of columns.

    Where a strip of an argument is copied, the first block that reads it does so, before the loop over the
    others: memory is slow, and there the copy costs little more than the wait for it.
    """
    m, n = product.m, product.n
    write = partial(_block, code, product, cut)

    def down(start: str = rows[0]) -> AbstractContextManager[str]:
        return code.loop(rows[1], cut.height, start=start, last=m - cut.height)

    def across(start: str = columns[0]) -> AbstractContextManager[str]:
        return code.loop(columns[1], cut.columns, start=start, last=n - cut.columns)

    def left(row: str) -> _Strip:
        apart, along_k = product.along_a
        return _Strip(code.place("%a", (row, apart)), apart, along_k)

    def right(column: str) -> _Strip:
        return _Strip(code.place("%b", (column, 1)), 1, product.strides[1])

    if product.transposed_b:
        with across() as column:
            turned = _Strip(_turned(code, product, cut, column), 1, cut.columns)
            with down() as row:
                write((row, column), left(row), turned)
    elif product.copies_a:
        width = cut.slab
        copy = _Strip(_scratch(code, product, width), 1, width)
        with down() as row:
            # The last vectors begin earlier, so that nothing behind the matrix is read.
            begin = code.at_most(row, m - width)
            slab = _Strip(code.place(copy.place, (code.new(f"sub nsw i64 {row}, {begin}"), 1)), 1, width)
            first = code.at_most(columns[0], n - cut.columns)
            copying = _Copying(left(begin), copy, list(range(0, width, cut.lanes)))
            write((row, first), left(row), right(first), copying)
            with across(code.new(f"add nsw i64 {columns[0]}, {cut.columns}")) as column:
                write((row, column), slab, right(column))
    elif _copies_b(product, cut):
        panel = _Strip(_scratch(code, product, cut.columns), 1, cut.columns)
        with across() as column:
            first = code.at_most(rows[0], m - cut.height)
            copying = _Copying(right(column), panel, cut.starts)
            write((first, column), left(first), right(column), copying)
            with down(code.new(f"add nsw i64 {rows[0]}, {cut.height}")) as row:
                write((row, column), left(row), panel)
    else:
        with down() as row, across() as column:
            write((row, column), left(row), right(column))


def _copies_b(product: _Product, cut: _Cut) -> bool:
    """Return whether columns of a wide B are copied."""
    far_apart = product.n >= 128 and product.m * product.strides[1] * product.size > _COPIED
    return far_apart and product.m > cut.height and cut.columns * product.k * product.size <= STACK


def _block(
    code: Code,
    product: _Product,
    cut: _Cut,
    corner: tuple[str, str],
    left: _Strip,
    right: _Strip,
    copying: _Copying | None = None,
) -> None:
    """Write one block of the result: its sums in registers over all of k, then their stores.

    `corner` is its first row and column in C.
    """
    row, column = corner
    vector, filled = f"<{cut.lanes} x {code.real}>", min(cut.lanes, cut.columns)
    sums = {(i, v): "zeroinitializer" for i in range(cut.height) for v in range(cut.vectors)}
    unroll = 1 if product.k % 2 else 2
    with code.loop(product.k, unroll, carried=sums, kind=vector) as k:
        a, b = code.place(left.place, (k, left.along_k)), code.place(right.place, (k, right.along_k))
        if copying:
            source = code.place(copying.source.place, (k, copying.source.along_k))
            copy = code.place(copying.copy.place, (k, copying.copy.along_k))
        for step in range(unroll):
            loads = [code.load(b, step * right.along_k + start, cut.lanes, filled) for start in cut.starts]
            if copying:
                for start in copying.starts:
                    element = code.load(source, step * copying.source.along_k + start, cut.lanes, cut.lanes)
                    code.store(copy, step * copying.copy.along_k + start, element, cut.lanes, cut.lanes)
            for i in range(cut.height):
                place = code.place(a, (step, left.along_k), (i, left.apart))
                number = code.new(f"load {code.real}, ptr {place}")
                factor = code.splat(number, cut.lanes)
                for v in range(cut.vectors):
                    term = code.new(f"fmul contract {vector} {factor}, {loads[v]}")
                    sums[i, v] = code.new(f"fadd contract {vector} {sums[i, v]}, {term}")
    corner_of_c = code.place("%c", (row, product.strides[2]), (column, 1))
    results = []
    for v, start in enumerate(cut.starts):
        if product.bias:
            bias = code.load(code.place("%bias", (column, 1)), start, cut.lanes, filled)
        if product.finish:
            known = product.finish.of_columns(code, column, start, cut.lanes, filled)
        for i in range(cut.height):
            result = sums[i, v]
            if product.bias:
                result = code.new(f"fadd {vector} {result}, {bias}")
            if product.finish:
                result = product.finish.of_elements(code, known, result, cut.lanes)
            code.store(corner_of_c, i * product.strides[2] + start, result, cut.lanes, filled)
            results.append(result)
    if product.finds_nan:
        _look_for_nan(code, results, cut.lanes)


def _look_for_nan(code: Code, vectors: list[str], lanes: int) -> None:
    """Store 0 to the byte at `no_nan`, if an element of some vectors is NaN. Two are compared at a time."""
    vector, flags = f"<{lanes} x {code.real}>", f"<{lanes} x i1>"
    pairs = zip(vectors[::2], [*vectors[1::2], vectors[-1]], strict=False)
    found = [code.new(f"fcmp uno {vector} {first}, {second}") for first, second in pairs]
    some = found[0]
    for other in found[1:]:
        some = code.new(f"or {flags} {some}, {other}")
    bits = code.new(f"bitcast {flags} {some} to i{lanes}")
    nan, store, after = code.new(f"icmp ne i{lanes} {bits}, 0"), code.label(), code.label()
    code.add(f"br i1 {nan}, label %{store}, label %{after}")
    code.begin(store)
    code.add("store i8 0, ptr %no_nan")
    code.add(f"br label %{after}")
    code.begin(after)


def _turned(code: Code, product: _Product, cut: _Cut, column: str) -> str:
    """Write a copy of some columns of op(B) that lie as rows, turned in squares, and return its address."""
    copy = _scratch(code, product, cut.columns)
    lanes = cut.lanes
    while lanes > min(cut.columns, product.k):
        lanes //= 2
    start = code.place("%b", (column, product.strides[1]))
    with code.loop(cut.columns, lanes) as j, code.loop(product.k, lanes) as k:
        source = code.place(start, (j, product.strides[1]), (k, 1))
        target = code.place(copy, (k, cut.columns), (j, 1))
        square = [code.load(source, i * product.strides[1], lanes, lanes) for i in range(lanes)]
        for i, turned in enumerate(_transposed(code, square)):
            code.store(target, i * cut.columns, turned, lanes, lanes)
    return copy


def _scratch(code: Code, product: _Product, width: int) -> str:
    """Return the address of an array on the stack for so many elements of each step of k."""
    code.allocations.append(f"  %copy = alloca [{product.k * width} x {code.real}], align 64")
    return "%copy"


def _transposed(code: Code, square: list[str]) -> list[str]:
    """Return the columns of a square, given its rows: quarters change places, then quarters of quarters."""
    lanes = len(square)
    half = lanes // 2
    while half:
        result = list(square)
        for i in range(lanes):
            if not i & half:
                first, second = square[i], square[i | half]
                low = [j if not j & half else lanes + (j ^ half) for j in range(lanes)]
                high = [j ^ half if not j & half else lanes + j for j in range(lanes)]
                result[i] = code.shuffle(lanes, first, second, low)
                result[i | half] = code.shuffle(lanes, first, second, high)
        square, half = result, half // 2
    return square


def choose(
    m: int, n: int, k: int, *, transposed_a: bool = False, transposed_b: bool = False, dtype: Any = np.float32
) -> Literal["blas", "generated"]:
    """Return which kind of product is the faster one, by the sizes alone.

    The figures behind it stand at the head of the module. Whatever is chosen to be generated,
    :func:`generated` has a text for.
    """
    if not (m and n and k) or np.dtype(dtype).name not in _LETTER:
        return "blas"
    if m * n * k <= 4096:  # a call of a BLAS alone takes longer
        return "generated"
    rows_of_one_number = n < 4 or (transposed_a and n < 9)
    turned_for_little = transposed_b and m < 8
    longest = 256 if transposed_a else 8192 // np.dtype(dtype).itemsize if transposed_b else 1024
    return "blas" if rows_of_one_number or turned_for_little or k > longest else "generated"
