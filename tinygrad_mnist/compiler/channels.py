"""Loops over the channels of pixels, in vectors: what LLVM's own vectoriser makes too little of.

The innermost loop of a kernel over images runs over channels, some 16 to 64 of them: a few vectors. Here it
is written as these vectors, one by one. So a sum over all pixels stays in registers, a vector for each sum
and for each few channels, where a loop would read and write memory for each pixel.

Such a sum has parts of some hundred pixels, which are added up in float64: its rounding error does not grow
with the number of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.llvm import (
    ARITHMETIC,
    BITWISE,
    COMPARISONS,
    TYPES,
    _Function,
    literal,
    memory_type,
)
from tinygrad_mnist.compiler.loops import Access, Literal, Nest, Operand, Operation, Register

CHUNKS: Final = 4
"""The most vectors that stand side by side in the code."""

SUMS: Final = 16
"""The most registers that sums may take."""

PART: Final = 256
"""The most pixels of a part of a sum."""

SPELLED: Final = frozenset(
    {*ARITHMETIC, *COMPARISONS, *BITWISE, "where", "astype", "load", "store", "join_memory"}
)
"""The operations that are written in vectors, of numbers of all kinds."""


def lanes_of(made: Nest, vector_bits: int) -> int | None:
    """Return the elements of a vector, where the innermost loop of a nest is to be a few vectors; else None.

    Parameters
    ----------
    made : Nest
        The loops.
    vector_bits : int
        The bits of a register.
    """
    if len(made.lengths) < 2 or made.accumulators:
        return None
    inner, last = made.body[-1], len(made.lengths) - 1
    if not all(map(_is_spelled, inner)):
        return None
    floats = [o.dtype for operation in inner for o in operation.operands if o.dtype.kind == "f"]
    if not floats:
        return None
    widest = max(dtype.itemsize for dtype in floats)
    lanes, length = vector_bits // (8 * widest), made.lengths[-1]
    while lanes > length or (length % lanes and not can_overlap(made)):
        lanes //= 2
    chunks = -(-length // lanes)
    if lanes < 4 or chunks > CHUNKS or len(column_sums(made)) * chunks > SUMS:
        return None
    return lanes if all(_is_in_vectors(operation, last) for operation in inner) else None


def _is_in_vectors(operation: Operation, axis: int) -> bool:
    """Return whether what an operation reads or writes along an axis is a vector, or one number for all."""
    access = operation.access
    if access and access.strides[axis] != access.dtype.itemsize:
        return not access.strides[axis] and operation.name == "load"
    return operation.name != "join_memory" or (
        operation.reduction == "sum" and operation.operands[0].dtype.kind == "f"
    )


def _is_spelled(operation: Operation) -> bool:
    """Return whether an operation is written in vectors."""
    if operation.name in ("load", "store"):
        return True
    dtype = operation.operands[-1].dtype
    if operation.name == "astype" and operation.result and operation.result.dtype.kind == "b":
        return False
    return (
        operation.name in SPELLED
        or (operation.name in _FLOATS and dtype.kind == "f")
        or (operation.name in ("logical_not", "invert") and dtype.kind == "b")
    )


def column_sums(made: Nest) -> list[Operation]:
    """Return the sums over all loops but the innermost."""
    return [
        operation
        for operation in made.body[-1]
        if operation.name == "join_memory" and operation.access and not any(operation.access.strides[:-1])
    ]


def can_overlap(made: Nest) -> bool:
    """Return whether the last vector may begin earlier, and compute some channels a second time.

    It may not where these are no longer what they were: in a loop that writes to what it reads.
    """
    loaded = {o.access.pointer for level in made.body for o in level if o.access and o.name == "load"}
    joined = [o for o in made.body[-1] if o.name == "join_memory"]
    places = {made.pointers[number] for number in made.stored}
    return len(joined) == len(column_sums(made)) and places.isdisjoint(made.pointers[n] for n in loaded)


def part_of(made: Nest) -> int:
    """Return the turns of the outermost loop that make a part of a sum; the last part may have fewer."""
    return min(made.lengths[0], max(1, PART // math.prod(made.lengths[1:-1])))


def parts_of(made: Nest) -> int:
    """Return the number of parts of a sum."""
    return -(-made.lengths[0] // part_of(made))


def can_share_sums(made: Nest) -> bool:
    """Return whether threads can share the outermost loop, each with some parts of each sum."""
    sums = column_sums(made)
    stored = [
        o.access for level in made.body for o in level if o.access and o.name in ("store", "join_memory")
    ]
    others = [access for access in stored if access not in [o.access for o in sums]]
    return (
        len(sums) == len(made.fills) > 0
        and made.lengths[0] > part_of(made)
        and all(access.strides[0] for access in others)
    )


def bytes_of_parts(made: Nest) -> int:
    """Return the bytes of memory for the parts of all sums, where threads share them."""
    count = parts_of(made)
    return sum(count * made.lengths[-1] * o.operands[0].dtype.itemsize for o in column_sums(made))


def additions_of_parts(made: Nest) -> list[tuple[int, int, str]]:
    """Return for each sum its pointer, the offset of its parts, and the text of what adds them up.

    The text is that of a function ``void(ptr parts, ptr sum)``; its name is to be put for ``{name}``.
    """
    found, offset = [], 0
    count, length = parts_of(made), made.lengths[-1]
    for operation in column_sums(made):
        assert operation.access
        dtype = operation.access.dtype
        kind, wide = f"<{length} x {TYPES[dtype]}>", f"<{length} x double>"
        text = _ADD_PARTS.format(
            kind=kind,
            wide=wide,
            extended="%term = " + _extended(dtype, length, "%part"),
            rounded="%result = " + _rounded(dtype, length, "%new"),
            bytes=length * dtype.itemsize,
            count=count,
            name="{name}",
        )
        found.append((operation.access.pointer, offset, text))
        offset += count * length * dtype.itemsize
    return found


_ADD_PARTS: Final = """\
define internal void @{name}(ptr noalias %parts, ptr noalias %sum) noinline {{
entry:
  br label %body
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %total = phi {wide} [ zeroinitializer, %entry ], [ %new, %body ]
  %far = mul nuw nsw i64 %i, {bytes}
  %place = getelementptr inbounds i8, ptr %parts, i64 %far
  %part = load {kind}, ptr %place, align 1
  {extended}
  %new = fadd {wide} %total, %term
  %next = add nuw nsw i64 %i, 1
  %more = icmp ult i64 %next, {count}
  br i1 %more, label %body, label %done
done:
  {rounded}
  store {kind} %result, ptr %sum, align 1
  ret void
}}
"""


def _extended(dtype: np.dtype[Any], length: int, value: str) -> str:
    """Return the instruction that makes float64 of a vector of floats."""
    if dtype.itemsize == 8:
        return f"bitcast <{length} x double> {value} to <{length} x double>"
    return f"fpext <{length} x float> {value} to <{length} x double>"


def _rounded(dtype: np.dtype[Any], length: int, value: str) -> str:
    """Return the instruction that makes floats of a vector of float64."""
    if dtype.itemsize == 8:
        return f"bitcast <{length} x double> {value} to <{length} x double>"
    return f"fptrunc <{length} x double> {value} to <{length} x float>"


def function(
    made: Nest,
    declared: set[str],
    functions: set[tuple[str, np.dtype[Any]]],
    lanes: int,
    *,
    cut: bool = False,
) -> str:
    """Return the text of a function that runs a nest of loops, as `llvm.function` does.

    Where threads share sums, its range is one of the outermost loop, and its last argument is a pointer to
    memory for their parts, which `additions_of_parts` adds up.
    """
    return _Columns(made, declared, functions, lanes, cut=cut).text()


class _Columns(_Function):
    """The work of :func:`function`."""

    def __init__(
        self,
        made: Nest,
        declared: set[str],
        functions: set[tuple[str, np.dtype[Any]]],
        lanes: int,
        *,
        cut: bool,
    ):
        super().__init__(made, declared, functions, cut=cut)
        self.shares_sums = cut and can_share_sums(made)
        if self.shares_sums:
            self.ranged = 0
            self.further_arguments.append("ptr noalias %parts")
        self.lanes = lanes
        channels = made.lengths[-1]
        self.starts = [min(start, channels - lanes) for start in range(0, channels, lanes)]
        self.chunk: int | None = None  # the first channel of the vector that is being written
        self.sums = column_sums(made)
        self.splats: dict[str, str] = {}
        self.parts: dict[tuple[Access, int], str] = {}  # the register of a sum, for each vector

    def kind(self, dtype: np.dtype[Any]) -> str:
        kind = TYPES[dtype]
        return kind if self.chunk is None else f"<{self.lanes} x {kind}>"

    # Loops -----------------------------------------------------------------------------------------------

    def fill(self, pointer: int, count: int, value: Literal) -> None:
        if not self.shares_sums:  # then the sums are written at the end
            super().fill(pointer, count, value)

    def enter(self, depth: int) -> None:
        if depth == len(self.nest.lengths) - 1:
            self.channels(depth)
        elif depth == 0 and self.sums and (self.shares_sums or self.ranged is None):
            self.in_parts()
        else:
            super().enter(depth)

    def in_parts(self) -> None:
        """Spell the outermost loop in parts, whose sums are added up, or stored where threads share them."""
        length, part, wide = self.nest.lengths[0], part_of(self.nest), f"<{self.lanes} x double>"
        channels, far, even = self.nest.lengths[-1], 0, length % part == 0
        sums: list[tuple[Access, int, str, str, int]] = []
        for operation in self.sums:
            access = operation.access
            assert access
            for start in self.starts:
                kind = f"<{self.lanes} x {TYPES[access.dtype]}>"
                name, total = self.variable(kind), "" if self.shares_sums else self.variable(wide)
                self.parts[access, start] = name
                sums.append((access, start, name, total, far + start * access.dtype.itemsize))
                if total:
                    self.add(f"store {wide} zeroinitializer, ptr {total}")
            far += parts_of(self.nest) * channels * access.dtype.itemsize

        def run(number: str) -> None:
            for access, _, name, _, _ in sums:
                self.add(f"store <{self.lanes} x {TYPES[access.dtype]}> zeroinitializer, ptr {name}")
            begin = self.make(f"mul nuw nsw i64 {number}, {part}")
            end = self.make(f"add nuw nsw i64 {begin}, {part}")
            if not even:
                self.declared.add("declare i64 @llvm.umin.i64(i64, i64)")
                end = self.make(f"call i64 @llvm.umin.i64(i64 {end}, i64 {length})")
            self.loop(begin, end, self.turn(0))
            for access, _, name, total, offset in sums:
                kind = f"<{self.lanes} x {TYPES[access.dtype]}>"
                value = self.make(f"load {kind}, ptr {name}")
                if total:
                    term = self.make(_extended(access.dtype, self.lanes, value))
                    old = self.make(f"load {wide}, ptr {total}")
                    self.add(f"store {wide} {self.make(f'fadd {wide} {old}, {term}')}, ptr {total}")
                    continue
                at = self.make(f"mul nuw nsw i64 {number}, {channels * access.dtype.itemsize}")
                at = self.make(f"add nuw nsw i64 {at}, {offset}")
                place = self.make(f"getelementptr inbounds i8, ptr %parts, i64 {at}")
                self.add(f"store {kind} {value}, ptr {place}, align 1")

        if self.shares_sums:
            begin, last = self.make(f"udiv i64 %begin, {part}"), self.make("sub nuw nsw i64 %end, 1")
            end = self.make(f"add nuw nsw i64 {self.make(f'udiv i64 {last}, {part}')}, 1")
            self.loop(begin, end, run)
            return
        self.loop("0", str(parts_of(self.nest)), run)
        for access, start, _, total, _ in sums:
            value = self.make(_rounded(access.dtype, self.lanes, self.make(f"load {wide}, ptr {total}")))
            offset = start * access.dtype.itemsize
            place = self.make(f"getelementptr inbounds i8, ptr %p{access.pointer}, i64 {offset}")
            self.add(f"store <{self.lanes} x {TYPES[access.dtype]}> {value}, ptr {place}, align 1")

    def channels(self, depth: int) -> None:
        """Spell the innermost loop, vector by vector."""
        outside = dict(self.registers)
        for start in self.starts:
            self.chunk = start
            self.registers = dict(outside)
            self.splats = {}
            self.loops.append(str(start))
            self.known.append({})
            for operation in self.nest.body[depth + 1]:
                self.operation(operation)
            self.known.pop()
            self.loops.pop()
        self.chunk = None
        self.registers = outside

    def join_memory(self, access: Access, value: str, reduction: str) -> None:
        name = self.parts.get((access, self.chunk if self.chunk is not None else -1))
        if name is None:
            super().join_memory(access, value, reduction)
            return
        kind = self.kind(access.dtype)
        old = self.make(f"load {kind}, ptr {name}")
        self.add(f"store {kind} {self.make(f'fadd {kind} {old}, {value}')}, ptr {name}")

    # Memory ----------------------------------------------------------------------------------------------

    def load(self, access: Access) -> str:
        if self.chunk is None or not access.strides[-1]:
            chunk, self.chunk = self.chunk, None
            value = super().load(access)
            self.chunk = chunk
            return value if chunk is None else self.splat(value, TYPES[access.dtype])
        kind = f"<{self.lanes} x {memory_type(access.dtype)}>"
        value = self.make(f"load {kind}, ptr {self.address(access)}, align 1")
        return self.make(f"icmp ne {kind} {value}, zeroinitializer") if access.dtype.kind == "b" else value

    def store(self, access: Access, value: str) -> None:
        if self.chunk is None:
            super().store(access, value)
            return
        kind = f"<{self.lanes} x {memory_type(access.dtype)}>"
        if access.dtype.kind == "b":
            value = self.make(f"zext <{self.lanes} x i1> {value} to {kind}")
        self.add(f"store {kind} {value}, ptr {self.address(access)}, align 1")

    # Operations ------------------------------------------------------------------------------------------

    def splat(self, value: str, kind: str) -> str:
        """Return a vector of a number."""
        if value not in self.splats:
            first = self.make(f"insertelement <{self.lanes} x {kind}> poison, {kind} {value}, i64 0")
            zeros = f"<{self.lanes} x i32> zeroinitializer"
            self.splats[value] = self.make(
                f"shufflevector <{self.lanes} x {kind}> {first}, <{self.lanes} x {kind}> poison, {zeros}"
            )
        return self.splats[value]

    def operand(self, operand: Operand) -> str:
        if self.chunk is None:
            return super().operand(operand)
        if isinstance(operand, Literal):
            number = f"{TYPES[operand.dtype]} {literal(operand.value, operand.dtype)}"
            return f"<{', '.join([number] * self.lanes)}>"
        value = self.registers[operand.number]
        within = operand.depth == len(self.nest.lengths)
        return value if within else self.splat(value, TYPES[operand.dtype])

    def computed(self, operation: Operation, result: Register) -> str:
        if self.chunk is not None and result.depth < len(self.nest.lengths):
            raise AssertionError("what is the same for all channels is computed before")
        if self.chunk is None:
            return super().computed(operation, result)
        name = operation.name
        dtype = operation.operands[-1].dtype
        if dtype.kind == "f" and name in _FLOATS:
            kind = self.kind(dtype)
            return _FLOATS[name](self, kind, *map(self.operand, operation.operands))
        return super().computed(operation, result)

    def call(self, intrinsic: str, kind: str, *operands: str) -> str:
        if self.chunk is None:
            return super().call(intrinsic, kind, *operands)
        element = kind.rpartition(" ")[2].rstrip(">")
        suffix = f"v{self.lanes}" + {"float": "f32", "double": "f64"}.get(element, element)
        self.declared.add(f"declare {kind} @{intrinsic}.{suffix}({', '.join([kind] * len(operands))})")
        spelled = ", ".join(f"{kind} {operand}" for operand in operands)
        return self.make(f"call {kind} @{intrinsic}.{suffix}({spelled})")

    def invert(self, operands: Any, result: Register, kind: str, a: str) -> str:
        return self.make(f"xor {kind} {a}, <{', '.join(['i1 true'] * self.lanes)}>")

    def logical_not(self, operands: Any, result: Register, kind: str, a: str) -> str:
        return self.invert(operands, result, kind, a)

    def of_two(self, kind: str, a: str, b: str, comparison: str) -> str:
        """Return the larger of floats, or the smaller; NaN if one of them is: `functions.maximum`."""
        beyond = self.make(f"fcmp {comparison} {kind} {b}, {a}")
        bits = f"<{self.lanes} x i1>"
        chosen = self.make(f"select {bits} {beyond}, {kind} {b}, {kind} {a}")
        unknown = self.make(f"fcmp uno {kind} {b}, {b}")
        return self.make(f"select {bits} {unknown}, {kind} {b}, {kind} {chosen}")


_FLOATS: Final[dict[str, Callable[..., str]]] = {
    "maximum": lambda code, kind, a, b: code.of_two(kind, a, b, "ogt"),
    "minimum": lambda code, kind, a, b: code.of_two(kind, a, b, "olt"),
    "negative": lambda code, kind, a: code.make(f"fneg {kind} {a}"),
    "absolute": lambda code, kind, a: code.call("llvm.fabs", kind, a),
    "sqrt": lambda code, kind, a: code.call("llvm.sqrt", kind, a),
    "isnan": lambda code, kind, a: code.make(f"fcmp uno {kind} {a}, {a}"),
}
"""The operations on floats that are functions where LLVM makes the vectors."""
