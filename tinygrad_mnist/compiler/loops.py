"""Loops as plain data: what a kernel does at each depth of its loops, not yet in any language.

:func:`nest` spells a kernel as a :class:`Nest`. Each instruction stands at the depth that its index needs, so
that what is the same for all elements of an inner loop is computed before it. A sum along the innermost loops
has an accumulator of its own; one along an outer loop adds to memory. Then loops that run through memory as
one are joined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np

from tinygrad_mnist.compiler.fuse import Index, Kernel, Plan, broadcast, moved, space_index
from tinygrad_mnist.compiler.memory import Memory, Place
from tinygrad_mnist.compiler.prepare import exponent, only_moves_axes
from tinygrad_mnist.compiler.program import REDUCTIONS, Instruction, Value

BOOL: Final = np.dtype(bool)


@dataclass(frozen=True, slots=True)
class Literal:
    """A number that stands in the code."""

    value: Any
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Register:
    """The result of an operation, and the depth of loops at which it is made."""

    number: int
    dtype: np.dtype[Any]
    depth: int


Operand: TypeAlias = Register | Literal


@dataclass(frozen=True, slots=True)
class Access:
    """An element of memory: a pointer, and for each loop how many bytes it moves on."""

    pointer: int
    strides: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """An instruction of a loop.

    Attributes
    ----------
    name : str
        ``load``, ``store``, ``join`` (a reduction adds an element to its accumulator), ``join_memory`` (to an
        element of memory) or one of `program.ELEMENTWISE`.
    operands : tuple
        What it reads, all of one dtype but for ``where`` and ``astype``.
    result : Register, optional
        What it makes.
    access : Access, optional
        The element of memory.
    reduction : str
        Of a join: the name of the reduction.
    accumulator : int
        Of a join: which.
    """

    name: str
    operands: tuple[Operand, ...] = ()
    result: Register | None = None
    access: Access | None = None
    reduction: str = ""
    accumulator: int = -1


@dataclass(frozen=True, slots=True)
class Accumulator:
    """The number that a reduction along the innermost loops makes, for each element of the loops around them.

    Attributes
    ----------
    reduction : str
        Its name.
    dtype : dtype
        Of the accumulator.
    depth : int
        The number of loops around those that are reduced.
    access : Access
        Where the result goes.
    joins : bool
        Whether it is joined with what is there, as a loop around is reduced too; else it is stored.
    """

    reduction: str
    dtype: np.dtype[Any]
    depth: int
    access: Access
    joins: bool


@dataclass(frozen=True, slots=True)
class Fill:
    """Memory of `count` elements that is filled before the loops, as a reduction begins with it."""

    pointer: int
    count: int
    value: Literal


@dataclass(eq=False)
class Nest:
    """Loops, one within the other.

    Attributes
    ----------
    lengths : tuple of int
        Of each loop, the outermost first.
    pointers : list of Place
        Where the memory begins that pointer number i points to.
    stored : set of int
        The pointers that are stored through.
    body : list of list of Operation
        ``body[depth]``: what is done inside of `depth` loops, before the next one is entered.
    fills : list of Fill
        What is done before all loops.
    accumulators : list of Accumulator
        The reductions along the innermost loops.
    split : int or None
        The outermost loop whose turns do not depend on each other, so that threads can share them.
    """

    lengths: tuple[int, ...]
    pointers: list[Place] = field(default_factory=list)
    stored: set[int] = field(default_factory=set)
    body: list[list[Operation]] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    accumulators: list[Accumulator] = field(default_factory=list)
    split: int | None = None

    def accesses(self) -> list[Access]:
        """Return all elements of memory that are loaded, stored or joined."""
        found = [operation.access for level in self.body for operation in level if operation.access]
        return found + [accumulator.access for accumulator in self.accumulators]


def identity(reduction: str, dtype: np.dtype[Any]) -> Literal:
    """Return the number that a reduction begins with."""
    if reduction in ("max", "min"):
        if dtype.kind == "f":
            return Literal(-math.inf if reduction == "max" else math.inf, dtype)
        limits = np.iinfo(dtype)
        return Literal(limits.min if reduction == "max" else limits.max, dtype)
    return Literal({"sum": 0, "prod": 1, "any": False, "all": True}[reduction], dtype)


def nest(plan: Plan, memory: Memory, kernel: Kernel) -> Nest:
    """Spell a kernel as loops.

    Parameters
    ----------
    plan : Plan
        What is kept.
    memory : Memory
        Where it lies.
    kernel : Kernel
        One of the plan's.
    """
    made = _Spelling(plan, memory, kernel, tuple(range(len(kernel.space)))).nest
    order = _best_order(made)
    if order != tuple(range(len(kernel.space))):
        made = _Spelling(plan, memory, kernel, order).nest
    made = _joined(made)
    made.split = _independent(made)
    return made


class _Spelling:
    """The work of :func:`nest`, for one order of the loops."""

    def __init__(self, plan: Plan, memory: Memory, kernel: Kernel, order: tuple[int, ...]):
        self.ready, self.kept, self.memory = plan.ready, plan.kept, memory
        self.inside = set(kernel.values)
        # Axis i of the space is loop number position[i].
        self.position = {axis: loop for loop, axis in enumerate(order)}
        self.depth = len(kernel.space)
        self.nest = Nest(tuple(kernel.space[axis] for axis in order))
        self.nest.body = [[] for _ in range(self.depth + 1)]
        self.numbers: dict[Place, int] = {}
        self.known: dict[Any, Operand] = {}
        self.registers = 0
        stores: list[Operation] = []
        for value in kernel.values:
            producer = self.ready.producers[value]
            if producer.name in REDUCTIONS:
                self.reduce(producer)
            else:
                stores.append(self.store(value, value))
        stores += [self.store(new, target) for new, target in kernel.writes]
        # After all loads: what a kernel writes to, it may read too.
        self.nest.body[self.depth] += stores

    def loops(self, shape: tuple[int, ...]) -> Index:
        """Return the index of a value whose axes are the space."""
        return tuple(None if i is None else self.position[i] for i in space_index(shape))

    def access(self, value: Value, index: Index, *, stored: bool = False) -> Access:
        """Return the element of memory that a value has at an index."""
        layout = self.ready.layouts[value]
        base = self.memory.places[self.ready.roots[value]]
        place = Place(base.entry, base.offset + layout.offset)
        number = self.numbers.setdefault(place, len(self.numbers))
        if number == len(self.nest.pointers):
            self.nest.pointers.append(place)
        if stored:
            self.nest.stored.add(number)
        strides = [0] * self.depth
        for loop, stride in zip(index, layout.strides, strict=True):
            if loop is not None:
                strides[loop] += stride
        return Access(number, tuple(strides), value.dtype)

    def put(
        self, depth: int, name: str, dtype: np.dtype[Any], *operands: Operand, access: Access | None = None
    ) -> Register:
        """Append an operation at a depth and return its result; the same one twice is done once."""
        key = (name, dtype, operands, access)
        known = self.known.get(key)
        if known is None:
            known = Register(self.registers, dtype, depth)
            self.registers += 1
            self.nest.body[depth].append(Operation(name, operands, known, access))
            self.known[key] = known
        assert isinstance(known, Register)
        return known

    def value(self, value: Value, index: Index) -> Operand:
        """Return an element of a value: a number, loaded from memory or computed."""
        key = (value, index)
        if key not in self.known:
            self.known[key] = self.computed(value, index)
        return self.known[key]

    def computed(self, value: Value, index: Index) -> Operand:
        root = self.ready.roots[value]
        if root in self.ready.uniform:
            return Literal(self.ready.uniform[root], value.dtype)
        if root not in self.ready.producers or (root in self.kept and root not in self.inside):
            access = self.access(value, index)
            depth = max((loop + 1 for loop, stride in enumerate(access.strides) if stride), default=0)
            return self.put(depth, "load", value.dtype, access=access)
        producer = self.ready.producers[value]
        if self.ready.kinds[producer] == "view":
            assert only_moves_axes(producer), producer
            return self.value(producer.inputs[0], moved(producer, index))
        return self.elementwise(producer, index)

    def elementwise(self, instruction: Instruction, index: Index) -> Operand:
        result = instruction.outputs[0].dtype
        arguments = [self.value(v, broadcast(index, v.shape)) for v in instruction.inputs]
        name = instruction.name
        if name == "power" and (by := exponent(instruction, self.ready.uniform)) is not None:
            return self.power(self.cast(arguments[0], result), by)
        if name in ("astype", "identity", "positive"):
            return self.cast(arguments[0], result)
        if name == "where":
            arguments = [self.cast(arguments[0], BOOL), *(self.cast(a, result) for a in arguments[1:])]
        else:
            works_in = operand_dtype(instruction)
            arguments = [self.cast(argument, works_in) for argument in arguments]
        if name == "square":
            name, arguments = "multiply", [arguments[0], arguments[0]]
        return self.operate(name, result, *arguments)

    def operate(self, name: str, dtype: np.dtype[Any], *operands: Operand) -> Register:
        depth = max((o.depth for o in operands if isinstance(o, Register)), default=0)
        return self.put(depth, name, dtype, *operands)

    def power(self, base: Operand, by: float) -> Operand:
        if by == 1:
            return base
        if by == 0.5:
            return self.operate("sqrt", base.dtype, base)
        if by == -1:
            return self.operate("reciprocal", base.dtype, base)
        squared = self.operate("multiply", base.dtype, base, base)
        return squared if by == 2 else self.operate("multiply", base.dtype, squared, base)

    def cast(self, operand: Operand, dtype: np.dtype[Any]) -> Operand:
        if operand.dtype == dtype:
            return operand
        if isinstance(operand, Literal):
            with np.errstate(all="ignore"):
                return Literal(np.asarray(operand.value).astype(dtype)[()], dtype)
        return self.operate("astype", dtype, operand)

    def store(self, new: Value, target: Value) -> Operation:
        index = self.loops(new.shape)
        operand = self.value(new, index)
        return Operation(
            "store", (operand,), None, self.access(target, self.loops(target.shape), stored=True)
        )

    def reduce(self, instruction: Instruction) -> None:
        """Join the elements of an argument: in an accumulator, in memory, or both."""
        (argument,), (result,) = instruction.inputs, instruction.outputs
        index = self.loops(argument.shape)
        axes = instruction.static["axis"]
        kept_axes = [axis for axis in range(argument.ndim) if axis not in axes]
        out = tuple(index[axis] for axis in kept_axes)
        if instruction.static.get("keepdims"):
            out = tuple(None if axis in axes else index[axis] for axis in range(argument.ndim))
        element = self.cast(self.value(argument, index), result.dtype)
        access = self.access(result, out, stored=True)
        inner = max((loop + 1 for loop in out if loop is not None), default=0)
        reduced = [loop for axis, loop in enumerate(index) if axis in axes and loop is not None]
        joins = any(loop < inner for loop in reduced)
        start = identity(instruction.name, result.dtype)
        if joins:
            self.nest.fills.append(Fill(access.pointer, result.size, start))
        body = self.nest.body[self.depth]
        if inner < self.depth:
            number = len(self.nest.accumulators)
            self.nest.accumulators.append(Accumulator(instruction.name, result.dtype, inner, access, joins))
            body.append(Operation("join", (element,), None, None, instruction.name, number))
        elif joins:
            body.append(Operation("join_memory", (element,), None, access, instruction.name))
        else:  # nothing is reduced but axes of length 1
            body.append(Operation("store", (element,), None, access))


def operand_dtype(instruction: Instruction) -> np.dtype[Any]:
    """Return the dtype that an elementwise operation works in: its arguments are cast to it."""
    name = instruction.name
    if name.startswith("logical_"):
        return BOOL
    if instruction.outputs[0].dtype == bool:
        return np.result_type(*(value.dtype for value in instruction.inputs))
    return instruction.outputs[0].dtype


def _best_order(made: Nest) -> tuple[int, ...]:
    """Return the order of the loops in which most accesses go through memory step by step.

    The loops are sorted by how far the accesses move on in them; where that is the same, they stay as they
    are.
    """
    accesses = made.accesses()
    far = [sum(abs(access.strides[loop]) for access in accesses) for loop in range(len(made.lengths))]
    return tuple(sorted(range(len(far)), key=lambda loop: -far[loop]))


def _joined(made: Nest) -> Nest:
    """Join loops that run through memory as one."""
    for loop in range(len(made.lengths) - 2, -1, -1):
        if all(
            a.strides[loop] == a.strides[loop + 1] * made.lengths[loop + 1] for a in made.accesses()
        ) and all(
            # Its inner loops have to stay reduced, and those around them not.
            accumulator.depth != loop + 1
            for accumulator in made.accumulators
        ):
            made = _without(made, loop)
    return made


def _without(made: Nest, loop: int) -> Nest:
    """Return the loops with one joined to the next."""

    def access(old: Access | None) -> Access | None:
        return old and replace(old, strides=old.strides[:loop] + old.strides[loop + 1 :])

    def register(old: Register) -> Register:
        return replace(old, depth=old.depth - (old.depth > loop))

    def operation(old: Operation) -> Operation:
        operands = tuple(register(o) if isinstance(o, Register) else o for o in old.operands)
        return replace(
            old, operands=operands, result=old.result and register(old.result), access=access(old.access)
        )

    lengths = list(made.lengths)
    lengths[loop : loop + 2] = [lengths[loop] * lengths[loop + 1]]
    body = [[operation(o) for o in level] for level in made.body]
    body[loop + 1 : loop + 3] = [body[loop + 1] + body[loop + 2]]
    accumulators = []
    for old in made.accumulators:
        moved_access = access(old.access)
        assert moved_access
        accumulators.append(replace(old, depth=old.depth - (old.depth > loop), access=moved_access))
    return Nest(tuple(lengths), made.pointers, made.stored, body, made.fills, accumulators)


def _independent(made: Nest) -> int | None:
    """Return the outermost loop in which everything that is stored moves on."""
    stored: list[Access] = [a.access for a in made.accumulators]
    stored += [
        o.access for level in made.body for o in level if o.access and o.name in ("store", "join_memory")
    ]
    for loop in range(len(made.lengths)):
        if all(access.strides[loop] for access in stored):
            return loop
    return None


def can_be_shared(made: Nest) -> bool:
    """Return whether threads can share the loop that is split: each fills no more than its own part, too."""
    split = made.split
    return split is not None and all(
        fill.count == made.lengths[split]
        and all(
            access.strides[split] == fill.value.dtype.itemsize
            for access in made.accesses()
            if access.pointer == fill.pointer
        )
        for fill in made.fills
    )
