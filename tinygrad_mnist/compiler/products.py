"""Matrix products of compiled code: BLAS by pointer, and generated code for narrow ones.

:func:`blas` finds the ``gemm`` of the OpenBLAS that NumPy itself has loaded. Where NumPy's build exports none,
it returns None, and the program calls ``np.matmul(..., out=)``. :func:`generated` writes a product of one fixed
shape as LLVM IR. :func:`choose` says which of the two is the faster one, by the sizes alone.

A generated product keeps a block of the result in registers and runs over all of `k` at once. Neither
argument is copied beforehand, as a BLAS does: for a narrow result that copy costs more than it saves. Each
element is one chain of ``c = a * b + c`` in the order of `k`. So its bits depend neither on the block that it
falls into nor on the thread that computes it.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

import numpy as np

_SYMBOLS: Final = (
    ("scipy_cblas_{}gemm64_", "scipy_openblas_{}64_", "i64"),
    ("scipy_cblas_{}gemm", "scipy_openblas_{}", "i32"),
    ("cblas_{}gemm64_", "openblas_{}64_", "i64"),
    ("cblas_{}gemm", "openblas_{}", ""),
)
"""How builds of OpenBLAS name their ``gemm`` and their settings, and the type of their integers. The last
spelling stands for either type: there the library's configuration has the last word."""

_LETTER: Final = {"float32": "s", "float64": "d"}

_BYTES: Final = {"float": 4, "double": 8}

_REGISTERS: Final = {512: 32, 256: 16, 128: 16}
"""How many vectors a CPU holds at once, by their bits."""

_UNROLL: Final = 4

_STACK: Final = 16384


@dataclass(frozen=True)
class Blas:
    """The ``gemm`` of the BLAS that NumPy has loaded.

    Attributes
    ----------
    address : int
        Where the function ``cblas_?gemm(order, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)``
        stands in memory. The first three are C's ``enum``, so ``i32``.
    integer : str
        LLVM's type of its sizes and strides: ``"i64"`` or ``"i32"``.
    name : str
        The name of the function in the library.
    library : CDLL
        The library, which stays loaded as long as this object lives.
    settings : str
        How the library names its settings, such as ``"scipy_openblas_{}64_"``.
    """

    address: int
    integer: Literal["i32", "i64"]
    name: str
    library: ctypes.CDLL
    settings: str

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Let the library run on the calling thread only, inside a ``with`` statement.

        The number of threads belongs to the process. So the first that enters sets it, and the last that
        leaves sets it back, whichever thread of Python they are on.
        """
        _Threads.enter(self)
        try:
            yield
        finally:
            _Threads.leave(self)


class _Threads:
    """How many callers want OpenBLAS on one thread now, and the number that it had before them."""

    lock = Lock()
    callers = 0
    before = 1

    @classmethod
    def enter(cls, blas: Blas) -> None:
        """Count one caller more; the first sets the number of threads to 1."""
        with cls.lock:
            if cls.callers == 0:
                cls.before = blas.library[blas.settings.format("get_num_threads")]()
                if cls.before != 1:
                    blas.library[blas.settings.format("set_num_threads")](1)
            cls.callers += 1

    @classmethod
    def leave(cls, blas: Blas) -> None:
        """Count one caller less; the last sets the number of threads back."""
        with cls.lock:
            cls.callers -= 1
            if cls.callers == 0 and cls.before != 1:
                blas.library[blas.settings.format("set_num_threads")](cls.before)


@functools.cache
def blas(dtype: Any) -> Blas | None:
    """Return ``gemm`` for a dtype in the OpenBLAS that NumPy has loaded, or None if there is none.

    Parameters
    ----------
    dtype : dtype
        float32 or float64; of any other, there is none.
    """
    letter = _LETTER.get(np.dtype(dtype).name)
    if letter is None:
        return None
    for library in _loaded_libraries():
        for product, settings, integer in _SYMBOLS:
            name = product.format(letter)
            if not (hasattr(library, name) and hasattr(library, settings.format("get_config"))):
                continue
            width = integer or _integer(library, settings)
            address = ctypes.cast(library[name], ctypes.c_void_p).value
            found = Blas(address or 0, "i64" if width == "i64" else "i32", name, library, settings)
            return found if _multiplies(found, letter) else None
    return None


def _integer(library: ctypes.CDLL, settings: str) -> str:
    """Return the type of integers that a library was built with, from what it says about itself."""
    describe = library[settings.format("get_config")]
    describe.restype = ctypes.c_char_p
    return "i64" if b"USE64BITINT" in describe() else "i32"


def _loaded_libraries() -> Iterator[ctypes.CDLL]:
    """Yield the libraries named OpenBLAS that NumPy has loaded, and load none that it has not.

    Wheels bring theirs along in a folder beside the package or in it. Elsewhere (conda, a distribution), Linux
    lists what a process has mapped.
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
    """Return whether ``gemm`` gives the product of two small matrices, so that its arguments are as expected."""
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
    strides: tuple[int, int, int] | None = None,
) -> str | None:
    """Return the LLVM IR of a product ``C = op(A) @ op(B)`` of a fixed shape, or None if there is none.

    The text defines ::

        void @name(ptr a, ptr b, ptr c, i64 begin, i64 end)               ; bias=False
        void @name(ptr a, ptr b, ptr bias, ptr c, i64 begin, i64 end)     ; bias=True

    It computes the rows from ``begin`` to ``end`` of `C`, so ``0, m`` for all of it. Threads can share a product
    by rows; :func:`rows` says at which multiples a cut costs nothing. `C` must overlap neither argument.

    Parameters
    ----------
    name : str
        The name of the function.
    m, n, k : int
        `C` has `m` rows and `n` columns, the sum runs over `k`. All lie in C order. There is no text for a size
        of 0.
    transposed_a : bool
        Whether `A` lies as ``(k, m)``, instead of ``(m, k)``.
    transposed_b : bool
        Whether `B` lies as ``(n, k)``, instead of ``(k, n)``. It is then turned around on the stack first, so
        there is no text where `k` is very large.
    dtype : dtype
        float32 or float64.
    vector_bits : int
        128, 256 or 512: the width of the machine's registers.
    bias : bool
        Whether a row of `n` numbers is added to each row of `C`.
    strides : tuple of int, optional
        From one row of `A`, `B` and `C` to the next, in elements, if they are parts of wider matrices.
    """
    if not (m and n and k) or np.dtype(dtype).name not in _LETTER:
        return None
    real = "float" if np.dtype(dtype) == np.float32 else "double"
    lda, ldb, ldc = strides or (m if transposed_a else k, k if transposed_b else n, n)
    product = _Product(m, n, k, transposed_a, transposed_b, lda, ldb, ldc, real, bias)
    lanes = vector_bits // (32 if real == "float" else 64)
    height, panels = _cut(m, n, lanes, _REGISTERS[vector_bits])
    if transposed_b and max(panel.width for panel in panels) * k > _STACK:
        return None
    code = _Code()
    for panel in panels:
        _panel(code, product, panel, height)
    arguments = "ptr noalias %a, ptr noalias %b, " + "ptr noalias %bias, " * bias + "ptr noalias %c"
    head = f"define void @{name}({arguments}, i64 %begin, i64 %end) "
    head += f'noinline nounwind "prefer-vector-width"="{vector_bits}" {{\nentry:\n'
    return head + "\n".join(code.allocations + code.lines) + "\n  ret void\n}\n"


@dataclass(frozen=True)
class _Product:
    """What :func:`generated` was asked for."""

    m: int
    n: int
    k: int
    transposed_a: bool
    transposed_b: bool
    lda: int
    ldb: int
    ldc: int
    real: str
    bias: bool


@dataclass(frozen=True)
class _Panel:
    """Some columns of the result, as vectors: the `lanes` of each, and the columns at which they begin.

    Where the number of columns is no multiple of `lanes`, the last vector begins earlier and computes some
    columns a second time, to equal bits: that needs no masks and no tails.
    """

    lanes: int
    columns: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many columns there are from the first to the last."""
        return self.columns[-1] - self.columns[0] + self.lanes


class _Code:
    """The text of a function under construction."""

    def __init__(self) -> None:
        self.allocations: list[str] = []
        self.lines: list[str] = []
        self.block = "entry"
        self._numbers = itertools.count()

    def label(self) -> str:
        """Return a name that is not taken."""
        return f"x{next(self._numbers)}"

    def add(self, line: str) -> None:
        """Append a line that gives no value."""
        self.lines.append("  " + line)

    def new(self, expression: str) -> str:
        """Append a line that gives a value, and return the value's name."""
        name = "%" + self.label()
        self.add(f"{name} = {expression}")
        return name

    def begin(self, block: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{block}:")
        self.block = block

    def place(self, real: str, base: str, *terms: tuple[str | int, int]) -> str:
        """Return the address of element ``sum(index * stride)`` behind a base."""
        constant = sum(index * stride for index, stride in terms if isinstance(index, int))
        for index, stride in terms:
            if isinstance(index, str):
                offset = index if stride == 1 else self.new(f"mul nsw i64 {index}, {stride}")
                base = self.new(f"getelementptr inbounds {real}, ptr {base}, i64 {offset}")
        return self.new(f"getelementptr inbounds {real}, ptr {base}, i64 {constant}") if constant else base

    @contextmanager
    def loop(self, start: str, stop: str, step: int) -> Iterator[str]:
        """Repeat the code inside for an index from start by steps, at least once, while it is below stop."""
        body, index, following = self.label(), "%" + self.label(), "%" + self.label()
        before = self.block
        self.add(f"br label %{body}")
        self.begin(body)
        phi = len(self.lines)
        self.lines.append("")
        yield index
        self.lines[phi] = f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{self.block} ]"
        self.add(f"{following} = add nuw nsw i64 {index}, {step}")
        more, after = self.new(f"icmp slt i64 {following}, {stop}"), self.label()
        self.add(f"br i1 {more}, label %{body}, label %{after}")
        self.begin(after)


def _panel(code: _Code, product: _Product, panel: _Panel, height: int) -> None:
    """Write the rows from begin to end of a panel: blocks of a height, the last of which ends at the end.

    The last block too computes again what does not fill it. Only fewer rows than one block are done row by row.
    """
    b, ldb, column = "%b", product.ldb, panel.columns[0]
    if product.transposed_b:
        b, ldb, column = _turned(code, product, panel), panel.width, 0
    shift = column - panel.columns[0]
    blocks, rows, after = code.label(), code.label(), code.label()
    count = code.new("sub nsw i64 %end, %begin")
    some = code.new(f"icmp sgt i64 {count}, 0")
    enough = code.new(f"icmp sge i64 {count}, {height}")
    first = code.label()
    code.add(f"br i1 {enough}, label %{blocks}, label %{first}")
    code.begin(blocks)
    last = code.new(f"sub nsw i64 %end, {height}")
    with code.loop("%begin", "%end", height) as row:
        over = code.new(f"icmp sgt i64 {row}, {last}")
        row = code.new(f"select i1 {over}, i64 {last}, i64 {row}")
        _block(code, product, panel, row, height, (b, ldb, shift))
    code.add(f"br label %{after}")
    code.begin(first)
    code.add(f"br i1 {some}, label %{rows}, label %{after}")
    code.begin(rows)
    with code.loop("%begin", "%end", 1) as row:
        _block(code, product, panel, row, 1, (b, ldb, shift))
    code.add(f"br label %{after}")
    code.begin(after)


def _block(
    code: _Code, product: _Product, panel: _Panel, row: str, height: int, right: tuple[str, int, int]
) -> None:
    """Write one block of the result: all its sums in registers, over all of k, and then their stores.

    `right` is where op(B) lies: its address, its stride, and what to add to a column.
    """
    vector = f"<{panel.lanes} x {product.real}>"
    cells = [(i, column) for i in range(height) for column in panel.columns]
    unroll = next(times for times in (_UNROLL, 2, 1) if product.k % times == 0)
    before, sums = code.block, {cell: "zeroinitializer" for cell in cells}
    with code.loop("0", str(product.k), unroll) as k:
        here = len(code.lines)
        phis = {cell: "%" + code.label() for cell in cells}
        results = phis
        for step in range(unroll):
            results = _step(code, product, panel, (row, k, step), results, right)
        code.lines[here:here] = [
            f"  {phis[cell]} = phi {vector} [ {sums[cell]}, %{before} ], [ {results[cell]}, %{code.block} ]"
            for cell in cells
        ]
    for column in panel.columns:
        if product.bias:
            place = code.place(product.real, "%bias", (column, 1))
            bias = code.new(f"load {vector}, ptr {place}, align {_BYTES[product.real]}")
        for i in range(height):
            result = results[i, column]
            if product.bias:
                result = code.new(f"fadd {vector} {result}, {bias}")
            place = code.place(product.real, "%c", (row, product.ldc), (i, product.ldc), (column, 1))
            code.add(f"store {vector} {result}, ptr {place}, align {_BYTES[product.real]}")


def _step(
    code: _Code,
    product: _Product,
    panel: _Panel,
    at: tuple[str, str, int],
    sums: dict[tuple[int, int], str],
    right: tuple[str, int, int],
) -> dict[tuple[int, int], str]:
    """Write one step of the sums of a block: a column of op(A) times a row of op(B)."""
    (row, k, step), (b, ldb, shift), real, bytes_ = at, right, product.real, _BYTES[product.real]
    vector = f"<{panel.lanes} x {real}>"
    rights, results = {}, {}
    for column in panel.columns:
        place = code.place(real, b, (k, ldb), (step, ldb), (column + shift, 1))
        rights[column] = code.new(f"load {vector}, ptr {place}, align {bytes_}")
    along_row, along_k = (1, product.lda) if product.transposed_a else (product.lda, 1)
    for i in range(max(i for i, _ in sums) + 1):
        place = code.place(real, "%a", (row, along_row), (k, along_k), (i, along_row), (step, along_k))
        number = code.new(f"load {real}, ptr {place}, align {bytes_}")
        one = code.new(f"insertelement {vector} poison, {real} {number}, i64 0")
        left = code.new(
            f"shufflevector {vector} {one}, {vector} poison, <{panel.lanes} x i32> zeroinitializer"
        )
        for column in panel.columns:
            term = code.new(f"fmul contract {vector} {left}, {rights[column]}")
            results[i, column] = code.new(f"fadd contract {vector} {sums[i, column]}, {term}")
    return results


def _turned(code: _Code, product: _Product, panel: _Panel) -> str:
    """Write a copy of a panel of B that lies as (k, columns), and return its address.

    Squares are turned in registers; where they do not fit, the last ones begin earlier.
    """
    real, width, k = product.real, panel.width, product.k
    copy = "%" + code.label()
    code.allocations.append(f"  {copy} = alloca [{width * k} x {real}], align 64")
    lanes = panel.lanes
    while lanes > min(width, k):
        lanes //= 2
    vector, bytes_ = f"<{lanes} x {real}>", _BYTES[real]
    last = width - lanes
    with code.loop("0", str(width), lanes) as column, code.loop("0", str(k), lanes) as step:
        column = _at_most(code, column, last)
        step = _at_most(code, step, k - lanes)
        rows = []
        for i in range(lanes):
            place = code.place(
                real, "%b", (column, product.ldb), (i + panel.columns[0], product.ldb), (step, 1)
            )
            rows.append(code.new(f"load {vector}, ptr {place}, align {bytes_}"))
        for i, turned in enumerate(_transposed(code, vector, rows)):
            place = code.place(real, copy, (step, width), (i, width), (column, 1))
            code.add(f"store {vector} {turned}, ptr {place}, align {bytes_}")
    return copy


def _at_most(code: _Code, index: str, last: int) -> str:
    """Write the smaller one of an index and a constant."""
    over = code.new(f"icmp sgt i64 {index}, {last}")
    return code.new(f"select i1 {over}, i64 {last}, i64 {index}")


def _transposed(code: _Code, vector: str, rows: list[str]) -> list[str]:
    """Write the transposition of a square of vectors: blocks of half the size change places, then of a quarter."""
    lanes, half = len(rows), len(rows) // 2
    while half:
        swapped = list(rows)
        for i in range(lanes):
            if i & half:
                continue
            upper, lower = rows[i], rows[i | half]
            for result, first in ((i, 0), (i | half, half)):
                mask = [(first + (j & ~half)) + (lanes - 0 if j & half else 0) for j in range(lanes)]
                text = ", ".join(f"i32 {number}" for number in mask)
                swapped[result] = code.new(
                    f"shufflevector {vector} {upper}, {vector} {lower}, <{lanes} x i32> <{text}>"
                )
        rows, half = swapped, half // 2
    return rows


def _cut(m: int, n: int, lanes: int, registers: int) -> tuple[int, list[_Panel]]:
    """Return the height of a block, and the panels of vectors: what fills the registers and wastes least."""
    while lanes > n:
        lanes //= 2
    columns = [*range(0, n - lanes + 1, lanes), *([n - lanes] if n % lanes else [])]
    best = None
    for most in range(1, 5):
        number = -(-len(columns) // most)
        size = -(-len(columns) // number)
        height = min(m, (registers - size - 1) // size)
        height = -(-m // -(-m // height))
        # Cost of one step of k over all blocks, in FMAs or loads, whichever take longer; both run two a cycle.
        blocks = -(-m // height) * number
        cost = blocks * max(height * size, height + size + 2)
        if best is None or cost < best[0]:
            best = cost, height, number
    assert best is not None
    _, height, number = best
    edges = [len(columns) * i // number for i in range(number + 1)]
    return height, [
        _Panel(lanes, tuple(columns[lo:hi])) for lo, hi in itertools.pairwise(edges)
    ]


def rows(m: int, n: int, *, dtype: Any = np.float32, vector_bits: int = 512) -> int:
    """Return the height of the blocks in which a generated product works: cut a product at multiples of it."""
    lanes = vector_bits // (8 * np.dtype(dtype).itemsize)
    return _cut(m, n, lanes, _REGISTERS[vector_bits])[0]


def choose(
    m: int, n: int, k: int, *, transposed_a: bool = False, transposed_b: bool = False, dtype: Any = np.float32
) -> Literal["blas", "generated"]:
    """Return which kind of product is the faster one, by the sizes alone."""
    if not (m and n and k) or np.dtype(dtype).name not in _LETTER or (transposed_b and 64 * k > _STACK):
        return "blas"
    return "generated" if n * k <= 256 * 784 else "blas"
