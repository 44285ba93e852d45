"""The program: what a traced call computes, as plain data.

A :class:`Program` is a straight line of :class:`Instruction`, each of which makes a new :class:`Value` of
older ones. Nothing in it is a Tensor, a module or an optimiser: what a call reads is an input, what it leaves
behind is an output or a write into the memory of an input. :func:`interpret` runs it by NumPy, instruction
by instruction; that is the meaning of a program, and what compiled code is tested against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import numpy as np

VIEWS: Final = frozenset({"reshape", "transpose", "broadcast_to", "getitem"})
"""Instructions that move no numbers: a loop reads its argument at other places. See `Instruction`."""

REDUCTIONS: Final = frozenset({"sum", "max", "min", "prod", "any", "all"})
"""Instructions that join the elements along some axes."""

ELEMENTWISE: Final = frozenset(
    (  # noqa: SIM905  (a literal of 50 strings is harder to read)
        "add subtract multiply divide negative absolute reciprocal sqrt square exp expm1 exp2 log log1p log2 "
        "log10 sin cos tanh erf sign floor ceil rint trunc power maximum minimum fmax fmin copysign where "
        "astype positive identity equal not_equal less less_equal greater greater_equal logical_and "
        "logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor invert isnan isinf isfinite"
    ).split()
)
"""Instructions that compute each element of the result of one element of each argument, which broadcast."""


@dataclass(eq=False, slots=True)  # not frozen, which takes three times as long to make
class Value:
    """An array that does not exist yet: its shape and dtype. Two values are equal if they are the same one.

    Attributes
    ----------
    number : int
        Values are numbered in the order in which they are made.
    shape : tuple of int
        The length of each axis.
    dtype : dtype
        NumPy's dtype, in the byte order of the machine.
    """

    number: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"%{self.number}:{self.dtype.char}{list(self.shape)}"


@dataclass(eq=False, slots=True)
class Instruction:
    """One operation of a program.

    Attributes
    ----------
    name : str
        What it does. Those that a loop can spell are the names in `ELEMENTWISE`, `REDUCTIONS` and `VIEWS`,
        and ``matmul``; with any other name, NumPy has to run it.
    inputs : tuple of Value
        Its arguments.
    outputs : tuple of Value
        Its results, usually one.
    static : mapping
        Of a reduction ``axis`` (a sorted tuple of non-negative numbers) and ``keepdims``; of ``transpose``
        ``axes`` (a tuple of all axes); of ``getitem`` ``index`` (a tuple of slices, numbers, None and
        Ellipsis); of ``reshape`` and ``broadcast_to`` nothing, as the result has the shape; of ``astype``
        nothing, as the result has the dtype. For any other name it only describes.
    run : callable
        ``run(*arrays)`` does it by NumPy, and returns an array, or a tuple where there are several results.
    line : str
        The user's line that asked for it, for `explain` and errors.
    effect : bool
        Whether it does something beside its results, so that it may neither be left out nor be moved.
    refuse : callable, optional
        Of an exchange with other processes: ``refuse()`` takes part in it without values, and the call runs
        as it is in all of them. There ``run`` raises `Refused`.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    static: Mapping[str, Any]
    run: Callable[..., Any]
    line: str = ""
    effect: bool = False
    refuse: Callable[..., None] | None = None

    def __repr__(self) -> str:
        outs = ", ".join(map(repr, self.outputs))
        static = "".join(f", {name}={value!r}" for name, value in self.static.items())
        return f"{outs} = {self.name}({', '.join(map(repr, self.inputs))}{static})"


@dataclass
class Program:
    """A straight line of instructions, and what goes in and comes out.

    Attributes
    ----------
    inputs : list of Value
        Arrays that each call is given, in this order.
    strides : list of tuple of int
        How each of them lies in memory: NumPy's strides, in bytes.
    scalars : list of Value
        Numbers that each call is given: values of shape () and dtype float64.
    constants : dict of Value to ndarray
        Arrays that are the same in each call.
    instructions : list of Instruction
        In an order in which they can run.
    outputs : list of Value
        Arrays that each call returns, each in memory of its own.
    numbers : list of Value
        Numbers that each call returns: values of shape () and dtype float64.
    writes : list of (Value, Value)
        ``(new, input)``: what the memory of an input holds after the call. All writes happen at the end,
        and only if all conditions hold: a call does all or nothing.
    conditions : list of Value
        Values of shape () and dtype bool; if one is False, the call returns nothing and writes nothing.
    watched : list of Value
        Arrays of floats; if one holds NaN, the call returns nothing and writes nothing.
    """

    inputs: list[Value] = field(default_factory=list)
    strides: list[tuple[int, ...]] = field(default_factory=list)
    scalars: list[Value] = field(default_factory=list)
    constants: dict[Value, np.ndarray[Any, Any]] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    numbers: list[Value] = field(default_factory=list)
    writes: list[tuple[Value, Value]] = field(default_factory=list)
    conditions: list[Value] = field(default_factory=list)
    watched: list[Value] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(map(repr, self.instructions))


def interpret(
    program: Program, arrays: Sequence[Any], scalars: Sequence[float] = ()
) -> tuple[list[Any], list[float]] | None:
    """Run a program by NumPy, and return its outputs and numbers; None if a condition does not hold.

    Parameters
    ----------
    program : Program
        What to run.
    arrays : sequence of ndarray
        The inputs. Those that the program writes to are changed.
    scalars : sequence of float
        The numbers that go in.
    """
    known: dict[Value, Any] = dict(program.constants)
    known.update(zip(program.inputs, arrays, strict=True))
    known.update((value, np.array(number)) for value, number in zip(program.scalars, scalars, strict=True))
    with np.errstate(all="ignore"):
        for instruction in program.instructions:
            results = instruction.run(*(known[value] for value in instruction.inputs))
            if len(instruction.outputs) == 1:
                results = (results,)
            as_array = np.asarray if instruction.refuse is None else np.array  # sums hold for a while only
            known.update(zip(instruction.outputs, map(as_array, results), strict=True))
    if not all(known[value] for value in program.conditions):
        return None
    if any(np.isnan(known[value]).any() for value in program.watched):
        return None
    outputs = [np.array(known[value], copy=True) for value in program.outputs]
    numbers = [float(known[value]) for value in program.numbers]
    new = [(known[value].copy(), known[target]) for value, target in program.writes]
    for value, target in new:
        target[...] = value
    return outputs, numbers


def digest(static: Any) -> str:
    """Return what tells static arguments apart: arrays by all their elements."""
    if isinstance(static, Mapping):
        return ", ".join(f"{name}={digest(static[name])}" for name in sorted(static))
    if isinstance(static, (list, tuple)):
        return f"({', '.join(map(digest, static))})"
    if isinstance(static, np.ndarray):
        return f"{static.dtype} {static.shape} {sha256(static.tobytes()).hexdigest()}"
    return repr(static)
