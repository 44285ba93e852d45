"""Loops as LLVM IR: text that `machine` compiles.

Arithmetic is strict: no flag assumes that a NaN, an infinity or a signed zero is absent. Only the additions
of a sum may be reassociated, so that it runs in vectors: it is then a sum of many partial sums, as NumPy's
pairwise one is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.functions import FUNCTIONS
from tinygrad_mnist.compiler.loops import (
    BOOL,
    Access,
    Accumulator,
    Literal,
    Nest,
    Operand,
    Operation,
    Register,
    identity,
)

TYPES: Final[Mapping[np.dtype[Any], str]] = {
    np.dtype("?"): "i1",
    **{np.dtype(f"{sign}{size}"): f"i{8 * size}" for sign in "iu" for size in (1, 2, 4, 8)},
    np.dtype("f4"): "float",
    np.dtype("f8"): "double",
}
"""The type of a register, for each dtype."""

BLOCK: Final = 1024
"""A longer innermost sum is a sum of blocks of so many elements: its rounding error does not grow with its
length."""

UNIT: Final = 16
"""A loop whose length is a multiple of this has its range in units of it. So LLVM knows that vectors leave no
rest, and writes none: half as much, in half the time."""

SINGLE: Final = (
    "!0 = distinct !{!0, !1}",
    '!1 = !{!"llvm.loop.interleave.count", i32 1}',
)
"""What tells LLVM that a loop runs one vector at a time. Several at once help where each turn waits for the
one before, as in a sum; else they are more code, and no faster."""

ARITHMETIC: Final = {
    "add": ("fadd", "add", "add"),
    "subtract": ("fsub", "sub", "sub"),
    "multiply": ("fmul", "mul", "mul"),
    "divide": ("fdiv", "", ""),
}
"""Of floats, of signed and of unsigned integers."""

COMPARISONS: Final = {
    "equal": ("oeq", "eq", "eq"),
    "not_equal": ("une", "ne", "ne"),
    "less": ("olt", "slt", "ult"),
    "less_equal": ("ole", "sle", "ule"),
    "greater": ("ogt", "sgt", "ugt"),
    "greater_equal": ("oge", "sge", "uge"),
}

BITWISE: Final = {
    "logical_and": "and",
    "logical_or": "or",
    "logical_xor": "xor",
    "bitwise_and": "and",
    "bitwise_or": "or",
    "bitwise_xor": "xor",
}


def memory_type(dtype: np.dtype[Any]) -> str:
    """Return the type of an element of memory: a bool takes a byte."""
    return "i8" if dtype.kind == "b" else TYPES[dtype]


def literal(value: Any, dtype: np.dtype[Any]) -> str:
    """Return a number as LLVM writes it: of a float the bits of a double.

    >>> literal(1.5, np.dtype("f4")), literal(-3, np.dtype("i8")), literal(True, np.dtype(bool))
    ('0x3FF8000000000000', '-3', 'true')
    """
    if dtype.kind == "b":
        return "true" if value else "false"
    if dtype.kind == "f":
        return "0x" + struct.pack(">d", float(dtype.type(value))).hex().upper()
    return str(int(value))


def short(dtype: np.dtype[Any]) -> str:
    """Return the name of a float type in the names of functions.

    >>> short(np.dtype("f4"))
    'f32'
    """
    return f"f{8 * dtype.itemsize}"


def ranged(made: Nest, *, cut: bool = False) -> int | None:
    """Return the loop whose range is an argument of the function; None if there is none.

    Of loops that threads share it is the outermost one whose turns do not depend on each other.
    Of a single loop it is: then loops that differ only in their lengths, such as the updates of all
    parameters, are one function. A long sum needs its length, to be cut into blocks.
    """
    if cut:
        return made.split
    return 0 if len(made.lengths) == 1 and not long_sums(made) else None


def unit_of(made: Nest, *, cut: bool = False) -> int:
    """Return the unit in which the range of a loop is given: 1, or `UNIT`."""
    return 1 if cut or made.lengths[0] % UNIT else UNIT


def long_sums(made: Nest) -> frozenset[int]:
    """Return the accumulators that are sums of more than a block of floats."""
    return frozenset(
        number
        for number, accumulator in enumerate(made.accumulators)
        if accumulator.reduction == "sum"
        and accumulator.dtype.kind == "f"
        and math.prod(made.lengths[accumulator.depth :]) > BLOCK
    )


def function(
    made: Nest, declared: set[str], functions: set[tuple[str, np.dtype[Any]]], *, cut: bool = False
) -> str:
    """Return the text of a function that runs a nest of loops; its name is to be put for ``{name}``.

    Its arguments are a pointer for each of the nest's, and the range of a loop if `ranged` says so.

    Parameters
    ----------
    made : Nest
        The loops.
    declared : set of str
        Declarations that the text needs are added to it.
    functions : set of (str, dtype)
        So are the functions of `functions` that it calls.
    cut : bool
        Whether threads share a loop: the one that is split.
    """
    return _Function(made, declared, functions, cut=cut).text()


class _Function:
    """The work of :func:`function`: lines are appended one by one."""

    def __init__(
        self, made: Nest, declared: set[str], functions: set[tuple[str, np.dtype[Any]]], *, cut: bool
    ):
        self.nest = made
        self.declared, self.functions = declared, functions
        self.cut = cut
        self.ranged = loop = ranged(made, cut=cut)
        self.unit = 1 if loop is None else unit_of(made, cut=cut)
        self.further_arguments: list[str] = []
        self.lines: list[str] = []
        self.start: list[str] = []
        self.count = 0
        self.registers: dict[int, str] = {}
        self.loops: list[str] = []
        self.known: list[dict[Any, str]] = [{}]  # in each loop that is open, the addresses that were computed
        self.single = loop is not None and all(each.reduction in ("any", "all") for each in made.accumulators)
        self.long = long_sums(made) if loop != len(made.lengths) - 1 else frozenset()

    def text(self) -> str:
        made = self.nest
        for fill in made.fills:
            self.fill(fill.pointer, fill.count, fill.value)
        self.level(0)
        arguments = [f"ptr noalias %p{number}" for number in range(len(made.pointers))]
        arguments += self.further_arguments
        if self.ranged is not None and self.unit == 1:
            arguments += ["i64 %begin", "i64 %end"]
        elif self.ranged is not None:
            arguments += ["i64 %first", "i64 %last"]
            for name, given in (("begin", "first"), ("end", "last")):
                self.start.append(f"  %{name} = mul nuw nsw i64 %{given}, {self.unit}")
        body = "\n".join(["entry:", *self.start, "  br label %body", "body:", *self.lines, "  ret void"])
        return f"define internal void @{{name}}({', '.join(arguments)}) noinline #0 {{\n{body}\n}}\n"

    # Lines -----------------------------------------------------------------------------------------------

    def add(self, line: str) -> None:
        self.lines.append("  " + line)

    def kind(self, dtype: np.dtype[Any]) -> str:
        """Return the type of what is computed."""
        return TYPES[dtype]

    def fresh(self) -> str:
        self.count += 1
        return f"%t{self.count}"

    def make(self, line: str) -> str:
        name = self.fresh()
        self.add(f"{name} = {line}")
        return name

    def variable(self, kind: str) -> str:
        """Return memory for a variable, which LLVM turns into registers."""
        name = self.fresh()
        self.start.append(f"  {name} = alloca {kind}")
        return name

    def label(self, name: str) -> None:
        self.add(f"br label %{name}")
        self.lines.append(f"{name}:")

    def call(self, intrinsic: str, kind: str, *operands: str) -> str:
        suffix = {"float": "f32", "double": "f64"}.get(kind, kind)
        arguments = ", ".join([kind] * len(operands))
        self.declared.add(f"declare {kind} @{intrinsic}.{suffix}({arguments})")
        spelled = ", ".join(f"{kind} {operand}" for operand in operands)
        return self.make(f"call {kind} @{intrinsic}.{suffix}({spelled})")

    # Loops -----------------------------------------------------------------------------------------------

    def loop(self, begin: str, end: str, inside: Callable[[str], None]) -> None:
        """Spell a loop that is entered at least once."""
        self.count += 1
        tag = f"loop{self.count}"
        counter = self.variable("i64")
        self.add(f"store i64 {begin}, ptr {counter}")
        self.label(tag)
        inside(self.make(f"load i64, ptr {counter}"))
        old = self.make(f"load i64, ptr {counter}")
        after = self.make(f"add nuw nsw i64 {old}, 1")
        self.add(f"store i64 {after}, ptr {counter}")
        more = self.make(f"icmp ult i64 {after}, {end}")
        kind = ""
        if self.single:
            self.declared.update(SINGLE)
            kind = ", !llvm.loop !0"
        self.add(f"br i1 {more}, label %{tag}, label %{tag}end{kind}")
        self.lines.append(f"{tag}end:")

    def fill(self, pointer: int, count: int, value: Literal) -> None:
        kind = memory_type(value.dtype)
        spelled = literal(value.value, value.dtype)
        spelled = {"true": "1", "false": "0"}.get(spelled, spelled)

        def store(counter: str) -> None:
            at = self.make(f"getelementptr inbounds {kind}, ptr %p{pointer}, i64 {counter}")
            self.add(f"store {kind} {spelled}, ptr {at}")

        # Where threads share the loop along what is filled, each fills its part.
        begin, end = ("%begin", "%end") if self.cut else ("0", str(count))
        self.loop(begin, end, store)

    def level(self, depth: int) -> None:
        """Spell what is done inside of `depth` loops, and the loops in it."""
        accumulators = {
            number: accumulator
            for number, accumulator in enumerate(self.nest.accumulators)
            if accumulator.depth == depth
        }
        for number, accumulator in accumulators.items():
            self.begin(number, accumulator)
        for operation in self.nest.body[depth]:
            self.operation(operation)
        if depth < len(self.nest.lengths):
            self.enter(depth)
        for number, accumulator in accumulators.items():
            self.finish(number, accumulator)

    def enter(self, depth: int) -> None:
        length = self.nest.lengths[depth]
        if self.ranged == depth:
            self.loop("%begin", "%end", self.turn(depth))
        elif depth == len(self.nest.lengths) - 1 and self.long:
            self.blocks(depth, length)
        else:
            self.loop("0", str(length), self.turn(depth))

    def turn(self, depth: int) -> Callable[[str], None]:
        def inside(counter: str) -> None:
            self.loops.append(counter)
            self.known.append({})
            self.level(depth + 1)
            self.known.pop()
            self.loops.pop()

        return inside

    # Reductions ------------------------------------------------------------------------------------------

    def blocks(self, depth: int, length: int) -> None:
        """Spell the innermost loop in blocks; a long sum has a part of its own for each."""

        def block(begin: str, end: str) -> None:
            for number in self.long:
                kind = TYPES[self.nest.accumulators[number].dtype]
                self.add(f"store {kind} 0.0, ptr %part{number}")
            self.loop(begin, end, self.turn(depth))
            for number in self.long:
                self.add_up(number)

        def one_of_several(number: str) -> None:
            begin = self.make(f"mul nuw nsw i64 {number}, {BLOCK}")
            full = self.make(f"add nuw nsw i64 {begin}, {BLOCK}")
            self.declared.add("declare i64 @llvm.umin.i64(i64, i64)")
            block(begin, self.make(f"call i64 @llvm.umin.i64(i64 {full}, i64 {length})"))

        if length <= BLOCK:
            block("0", str(length))
        else:
            self.loop("0", str(-(-length // BLOCK)), one_of_several)

    def add_up(self, number: int) -> None:
        """Add the sum of a block to the whole: in float64, or for float64 with what rounding took."""
        dtype = self.nest.accumulators[number].dtype
        part = self.make(f"load {TYPES[dtype]}, ptr %part{number}")
        if dtype.itemsize == 4:
            part = self.make(f"fpext float {part} to double")
        total = self.make(f"load double, ptr %sum{number}")
        new = self.make(f"fadd double {total}, {part}")
        self.add(f"store double {new}, ptr %sum{number}")
        if dtype.itemsize == 8:
            # Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B: total + part = new + lost,
            # exactly.
            taken = self.make(f"fsub double {new}, {total}")
            rest = self.make(f"fsub double {new}, {taken}")
            first = self.make(f"fsub double {total}, {rest}")
            second = self.make(f"fsub double {part}, {taken}")
            lost = self.make(f"fadd double {first}, {second}")
            before = self.make(f"load double, ptr %lost{number}")
            self.add(f"store double {self.make(f'fadd double {before}, {lost}')}, ptr %lost{number}")

    def begin(self, number: int, accumulator: Accumulator) -> None:
        """Spell the start of an accumulator."""
        kind = TYPES[accumulator.dtype]
        if number in self.long:
            self.start += [f"  %sum{number} = alloca double", f"  %lost{number} = alloca double"]
            self.start.append(f"  %part{number} = alloca {kind}")
            self.add(f"store double 0.0, ptr %sum{number}")
            self.add(f"store double 0.0, ptr %lost{number}")
        else:
            start = identity(accumulator.reduction, accumulator.dtype)
            self.start.append(f"  %acc{number} = alloca {kind}")
            self.add(f"store {kind} {literal(start.value, start.dtype)}, ptr %acc{number}")

    def finish(self, number: int, accumulator: Accumulator) -> None:
        """Spell the end of an accumulator: its number goes to memory."""
        kind = TYPES[accumulator.dtype]
        if number in self.long:
            value = self.make(f"load double, ptr %sum{number}")
            if accumulator.dtype.itemsize == 8:
                lost = self.make(f"load double, ptr %lost{number}")
                both = self.make(f"fadd double {value}, {lost}")
                # Where the sum is infinite, what was lost is NaN.
                known = self.make(f"fcmp ord double {lost}, 0.0")
                value = self.make(f"select i1 {known}, double {both}, double {value}")
            else:
                value = self.make(f"fptrunc double {value} to float")
        else:
            value = self.make(f"load {kind}, ptr %acc{number}")
        if accumulator.joins:
            self.join_memory(accumulator.access, value, accumulator.reduction)
        else:
            self.store(accumulator.access, value)

    def join(self, operation: Operation) -> None:
        """Spell a step of an accumulator."""
        accumulator = self.nest.accumulators[operation.accumulator]
        kind = TYPES[accumulator.dtype]
        number = operation.accumulator
        name = f"%part{number}" if number in self.long else f"%acc{number}"
        old = self.make(f"load {kind}, ptr {name}")
        new = self.joined(operation.reduction, accumulator.dtype, old, self.operand(operation.operands[0]))
        self.add(f"store {kind} {new}, ptr {name}")

    def join_memory(self, access: Access, value: str, reduction: str) -> None:
        old = self.load(access)
        self.store(access, self.joined(reduction, access.dtype, old, value))

    def joined(self, reduction: str, dtype: np.dtype[Any], first: str, second: str) -> str:
        kind = self.kind(dtype)
        if reduction in ("any", "all"):
            return self.make(f"{'or' if reduction == 'any' else 'and'} i1 {first}, {second}")
        if reduction == "sum":
            return self.make(f"{'fadd reassoc' if dtype.kind == 'f' else 'add'} {kind} {first}, {second}")
        if reduction == "prod":
            return self.make(f"{'fmul' if dtype.kind == 'f' else 'mul'} {kind} {first}, {second}")
        if dtype.kind == "f":
            return self.call("llvm.maximum" if reduction == "max" else "llvm.minimum", kind, first, second)
        return self.call(f"llvm.{'u' if dtype.kind == 'u' else 's'}{reduction}", kind, first, second)

    # Memory ----------------------------------------------------------------------------------------------

    # An array of the caller may begin anywhere. What is in the arena is aligned, but processors with vectors
    # do not ask for it, and kernels that differ in it alone are one.

    def address(self, access: Access) -> str:
        total = ""
        for counter, stride in zip(self.loops, access.strides, strict=False):
            if stride:
                moved = self.once(f"mul nsw i64 {counter}, {stride}")
                total = self.once(f"add nsw i64 {total}, {moved}") if total else moved
        if not total:
            return f"%p{access.pointer}"
        return self.once(f"getelementptr inbounds i8, ptr %p{access.pointer}, i64 {total}")

    def once(self, line: str) -> str:
        """Return the result of a line that was added before in a loop that is open; else add it."""
        for known in self.known:
            if line in known:
                return known[line]
        self.known[-1][line] = name = self.make(line)
        return name

    def load(self, access: Access) -> str:
        kind = memory_type(access.dtype)
        value = self.make(f"load {kind}, ptr {self.address(access)}, align 1")
        return self.make(f"icmp ne i8 {value}, 0") if access.dtype.kind == "b" else value

    def store(self, access: Access, value: str) -> None:
        if access.dtype.kind == "b":
            value = self.make(f"zext i1 {value} to i8")
        kind = memory_type(access.dtype)
        self.add(f"store {kind} {value}, ptr {self.address(access)}, align 1")

    # Operations ------------------------------------------------------------------------------------------

    def operand(self, operand: Operand) -> str:
        if isinstance(operand, Literal):
            return literal(operand.value, operand.dtype)
        return self.registers[operand.number]

    def operation(self, operation: Operation) -> None:
        access = operation.access
        if operation.name == "join":
            self.join(operation)
        elif operation.name == "join_memory":
            assert access
            self.join_memory(access, self.operand(operation.operands[0]), operation.reduction)
        elif operation.name == "store":
            assert access
            self.store(access, self.operand(operation.operands[0]))
        elif operation.name == "load":
            assert access
            assert operation.result
            self.registers[operation.result.number] = self.load(access)
        else:
            assert operation.result
            self.registers[operation.result.number] = self.computed(operation, operation.result)

    def computed(self, operation: Operation, result: Register) -> str:
        name, operands = operation.name, operation.operands
        dtype = operands[-1].dtype
        kind = self.kind(dtype)
        which = {"f": 0, "i": 1}.get(dtype.kind, 2)
        a = [self.operand(operand) for operand in operands]
        if name in ARITHMETIC:
            return self.make(f"{ARITHMETIC[name][which]} {kind} {a[0]}, {a[1]}")
        if name in COMPARISONS:
            compare = "fcmp" if which == 0 else "icmp"
            return self.make(f"{compare} {COMPARISONS[name][which]} {kind} {a[0]}, {a[1]}")
        if name in BITWISE:
            return self.make(f"{BITWISE[name]} {kind} {a[0]}, {a[1]}")
        if which == 0 and name in FUNCTIONS:
            self.functions.add((name, dtype))
            arguments = ", ".join(f"{kind} {operand}" for operand in a)
            # Of numbers, a long function is worth one copy alone.
            apart = " noinline" if name == "power" and result.depth == 0 else ""
            return self.make(f"call {TYPES[result.dtype]} @tg_{name}_{short(dtype)}({arguments}){apart}")
        if name == "power":  # as the library of C has it
            return self.call("llvm.pow", kind, *a)
        if name in ("floor", "ceil", "rint", "trunc"):
            return a[0]  # of an integer
        return getattr(self, name)(operands, result, kind, *a)  # type: ignore[no-any-return]

    def where(
        self, operands: Any, result: Register, kind: str, condition: str, first: str, second: str
    ) -> str:
        return self.make(f"select {self.kind(BOOL)} {condition}, {kind} {first}, {kind} {second}")

    def astype(self, operands: tuple[Operand, ...], result: Register, kind: str, a: str) -> str:
        old, new = operands[0].dtype, result.dtype
        to = self.kind(new)
        if new.kind == "b":
            return self.make(f"fcmp une {kind} {a}, 0.0" if old.kind == "f" else f"icmp ne {kind} {a}, 0")
        if old.kind == "f":
            return self.make(f"{'fpext' if new.itemsize > old.itemsize else 'fptrunc'} {kind} {a} to {to}")
        if new.kind == "f":
            return self.make(f"{'sitofp' if old.kind == 'i' else 'uitofp'} {kind} {a} to {to}")
        if TYPES[old] == TYPES[new]:
            return a
        if new.itemsize < old.itemsize:
            return self.make(f"trunc {kind} {a} to {to}")
        return self.make(f"{'sext' if old.kind == 'i' else 'zext'} {kind} {a} to {to}")

    # Of integers, as those of floats are in `functions`.

    def negative(self, operands: Any, result: Register, kind: str, a: str) -> str:
        return self.make(f"sub {kind} 0, {a}")

    def absolute(self, operands: Any, result: Register, kind: str, a: str) -> str:
        if result.dtype.kind != "i":
            return a
        below = self.make(f"icmp slt {kind} {a}, 0")
        return self.make(f"select i1 {below}, {kind} {self.make(f'sub {kind} 0, {a}')}, {kind} {a}")

    def sign(self, operands: Any, result: Register, kind: str, a: str) -> str:
        some = self.make(f"icmp ne {kind} {a}, 0")
        above = self.make(f"select i1 {some}, {kind} 1, {kind} 0")
        if result.dtype.kind == "u":
            return above
        below = self.make(f"icmp slt {kind} {a}, 0")
        return self.make(f"select i1 {below}, {kind} -1, {kind} {above}")

    def invert(self, operands: Any, result: Register, kind: str, a: str) -> str:
        return self.make(f"xor {kind} {a}, {'true' if result.dtype.kind == 'b' else '-1'}")

    def logical_not(self, operands: Any, result: Register, kind: str, a: str) -> str:
        return self.make(f"xor i1 {a}, true")

    def isnan(self, operands: Any, result: Register, kind: str, a: str) -> str:
        return "false"

    def isinf(self, operands: Any, result: Register, kind: str, a: str) -> str:
        return "false"

    def isfinite(self, operands: Any, result: Register, kind: str, a: str) -> str:
        return "true"

    def maximum(self, operands: Any, result: Register, kind: str, a: str, b: str) -> str:
        return self.larger(result, kind, a, b, "gt")

    def minimum(self, operands: Any, result: Register, kind: str, a: str, b: str) -> str:
        return self.larger(result, kind, a, b, "lt")

    fmax, fmin = maximum, minimum

    def larger(self, result: Register, kind: str, a: str, b: str, comparison: str) -> str:
        sign = "s" if result.dtype.kind == "i" else "u"
        first = self.make(f"icmp {sign}{comparison} {kind} {a}, {b}")
        return self.make(f"select i1 {first}, {kind} {a}, {kind} {b}")
