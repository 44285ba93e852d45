"""Loops over the channels of pixels, in vectors: what LLVM's own vectoriser makes too little of.

The innermost loop of a kernel over images runs over channels, some 16 to 64 of them: a few vectors. Here it
is written as these vectors, one by one. So a sum over all pixels stays in registers, a vector for each sum
and for each few channels, where a loop would read and write memory for each pixel.

Such a sum has parts of some hundred pixels, which are added to the whole: its rounding error does not grow
with the number of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.llvm import ARITHMETIC, BITWISE, COMPARISONS, TYPES, Function, literal, memory_type
from tinygrad_mnist.compiler.loops import Access, Literal, Nest, Operand, Operation, Register

CHUNKS: Final = 4
"""The most vectors that stand side by side in the code."""

SUMS: Final = 16
"""The most registers that sums may take."""

PART: Final = 1024
"""The most pixels of a part of a sum."""

SPELLED: Final = frozenset({*ARITHMETIC, *COMPARISONS, *BITWISE, "where", "astype", "load", "store", "join_memory"})
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
    while lanes > 1 and length % lanes:
        lanes //= 2
    if lanes < 4 or length // lanes > CHUNKS:
        return None
    if len(column_sums(made)) * (length // lanes) > SUMS:
        return None
    for operation in inner:
        access = operation.access
        if access and access.strides[last] != access.dtype.itemsize and (
            access.strides[last] or operation.name != "load"
        ):
            return None
        if operation.name == "join_memory" and (
            operation.reduction != "sum" or operation.operands[0].dtype.kind != "f"
        ):
            return None
    return lanes


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


def part_of(made: Nest) -> int:
    """Return the turns of the outermost loop whose pixels make a part of a sum: a divisor of its length."""
    turns, pixels = made.lengths[0], math.prod(made.lengths[1:-1])
    return max(n for n in range(1, turns + 1) if turns % n == 0 and (n * pixels <= PART or n == 1))


def function(
    made: Nest,
    declared: set[str],
    functions: set[tuple[str, np.dtype[Any]]],
    lanes: int,
    *,
    cut: bool = False,
) -> str:
    """Return the text of a function that runs a nest of loops, as `llvm.function` does."""
    return _Columns(made, declared, functions, lanes, cut=cut).text()


class _Columns(Function):
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
        self.lanes = lanes
        self.chunk: int | None = None  # the first channel of the vector that is being written
        self.sums = column_sums(made)
        self.splats: dict[str, str] = {}
        self.parts: dict[tuple[Access, int], str] = {}  # the register of a sum, for each vector

    def kind(self, dtype: np.dtype[Any]) -> str:
        kind = TYPES[dtype]
        return kind if self.chunk is None else f"<{self.lanes} x {kind}>"

    # Loops -----------------------------------------------------------------------------------------------

    def enter(self, depth: int) -> None:
        if depth == len(self.nest.lengths) - 1:
            self.channels(depth)
        elif depth == 0 and self.sums and self.ranged is None:
            self.in_parts()
        else:
            super().enter(depth)

    def in_parts(self) -> None:
        """Spell the outermost loop in parts, whose sums are added to the whole one after the other."""
        length, part = self.nest.lengths[0], part_of(self.nest)
        kinds = {}
        for operation in self.sums:
            assert operation.access
            for start in range(0, self.nest.lengths[-1], self.lanes):
                kind = f"<{self.lanes} x {TYPES[operation.access.dtype]}>"
                name = self.variable(kind)
                self.parts[operation.access, start] = name
                kinds[name] = kind

        def run(number: str) -> None:
            for name, kind in kinds.items():
                self.add(f"store {kind} zeroinitializer, ptr {name}")
            begin = self.make(f"mul nuw nsw i64 {number}, {part}")
            self.loop(begin, self.make(f"add nuw nsw i64 {begin}, {part}"), self.turn(0))
            for (access, start), name in self.parts.items():
                kind = kinds[name]
                offset = start * access.dtype.itemsize
                place = self.make(f"getelementptr inbounds i8, ptr %p{access.pointer}, i64 {offset}")
                whole = self.make(f"load {kind}, ptr {place}, align 1")
                new = self.make(f"load {kind}, ptr {name}")
                self.add(f"store {kind} {self.make(f'fadd {kind} {whole}, {new}')}, ptr {place}, align 1")

        self.loop("0", str(length // part), run)

    def channels(self, depth: int) -> None:
        """Spell the innermost loop, vector by vector."""
        outside = dict(self.registers)
        for start in range(0, self.nest.lengths[depth], self.lanes):
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
