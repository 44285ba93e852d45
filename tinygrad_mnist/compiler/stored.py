"""Programs that were compiled before: found on disk by what they compute, without planning them again.

The key of a program is a text of all of it: its instructions, shapes, dtypes and constants, and whatever else
its machine code depends on. What is found is the code, and the few numbers that a call needs to run it.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler import machine, products
from tinygrad_mnist.compiler.cache import DiskCache, directory_of_machine_code
from tinygrad_mnist.compiler.convolutions import CONVOLUTIONS
from tinygrad_mnist.compiler.fuse import Plan
from tinygrad_mnist.compiler.layout import Layout
from tinygrad_mnist.compiler.memory import Memory, assign
from tinygrad_mnist.compiler.prepare import Prepared
from tinygrad_mnist.compiler.program import ELEMENTWISE, REDUCTIONS, VIEWS, Program, Value

_SPELLED: Final = ELEMENTWISE | REDUCTIONS | VIEWS | CONVOLUTIONS | {"matmul"}
"""The instructions that a name, shapes and options describe wholly; others are Python."""


@dataclass(frozen=True)
class Stored:
    """A program that was compiled before.

    Attributes
    ----------
    ready : Prepared
        The outputs and numbers of the program, and how they lie; nothing else of it.
    memory : Memory
        The places of what goes in and comes out.
    code : bytes
        The machine code, as an object file.
    symbols : list of str
        The functions outside that the text of the code declares.
    needed : list of str
        The names outside that the code refers to.
    threads : int
        How many threads share the work.
    """

    ready: Prepared
    memory: Memory
    code: bytes
    symbols: list[str]
    needed: list[str]
    threads: int


def key_of_program(program: Program, threads: int) -> str | None:
    """Return the key of a program; None for one that holds Python, or if the compiler has no source.

    Parameters
    ----------
    program : Program
        What is computed.
    threads : int
        How many threads may share the work.
    """
    if any(i.name not in _SPELLED or i.effect for i in program.instructions):
        return None
    compiler = _compiler()
    blas = [found and found.integer for found in map(products.blas, (np.dtype("f4"), np.dtype("f8")))]
    bits = f"{machine.vector_bits()} {machine.preferred_vector_bits()}"
    return compiler and machine.key("program", compiler, repr(blas), bits, str(threads), _text(program))


def _text(program: Program) -> str:
    """Return a text of all that a program is, in which values are numbered in their order."""
    numbers: dict[Value, int] = {}
    lines = []

    def new(value: Value) -> str:
        numbers[value] = len(numbers)
        return f"{value.dtype.char}{value.shape}"

    for value, strides in zip(program.inputs, program.strides, strict=True):
        lines.append(f"input {new(value)} {strides}")
    lines += [f"scalar {new(value)}" for value in program.scalars]
    for value, array in program.constants.items():
        lines.append(f"constant {new(value)} {sha256(array.tobytes()).hexdigest()}")
    for instruction in program.instructions:
        inputs = [numbers[value] for value in instruction.inputs]
        static = dict(instruction.static) or ""
        lines.append(f"{instruction.name} {inputs} {static} {[*map(new, instruction.outputs)]}")
    for name in ("outputs", "numbers", "conditions", "watched"):
        lines.append(f"{name} {[numbers[value] for value in getattr(program, name)]}")
    lines.append(f"writes {[(numbers[new], numbers[target]) for new, target in program.writes]}")
    return "\n".join(lines)


@cache
def _compiler() -> str | None:
    """Return a hash of the compiler's source, and NumPy's version; None without a source."""
    digest = sha256(np.__version__.encode())
    paths = sorted(Path(__file__).parent.glob("*.py"))
    try:
        for path in paths:
            digest.update(path.read_bytes())
    except OSError:
        return None
    return digest.hexdigest() if paths else None


def find(program: Program, key: str | None) -> Stored | None:
    """Return what was kept under the key of a program; None if there is nothing."""
    content = None if key is None else DiskCache(directory_of_machine_code()).get(key)
    if content is None:
        return None
    header, _, code = content.partition(b"\n")
    try:
        found = json.loads(header)
        ready, memory = _frame(program, found["outputs"], found["constants"])
        memory.arena = found["arena"]
        return Stored(ready, memory, code, found["symbols"], found["needed"], found["threads"])
    except (ValueError, KeyError, TypeError):  # of another program that uses the same folder
        return None


def keep(
    key: str,
    given: Container[Value],
    plan: Plan,
    memory: Memory,
    code: machine.Compiled,
    symbols: Sequence[str],
    threads: int,
) -> None:
    """Keep a compiled program under its key.

    Parameters
    ----------
    key : str
        Its key.
    given : container of Value
        The constants that the program had before it was prepared; those that came in are kept too.
    plan, memory : Plan, Memory
        How it runs, and where everything lies.
    code : Compiled
        Its code, which is one function.
    symbols : sequence of str
        The functions outside that its text declares.
    threads : int
        How many threads share the work.
    """
    constants = [array for value, array in plan.ready.program.constants.items() if value not in given]
    header = {
        "constants": [(array.dtype.str, array.shape, array.tobytes().hex()) for array in constants],
        "outputs": [plan.ready.layouts[value].strides for value in plan.ready.program.outputs],
        "arena": memory.arena,
        "symbols": sorted(symbols),
        "needed": code.needed,
        "threads": threads,
    }
    DiskCache(directory_of_machine_code()).put(key, json.dumps(header).encode() + b"\n" + code.object_bytes)


def _frame(program: Program, outputs: Sequence[Any], constants: Sequence[Any]) -> tuple[Prepared, Memory]:
    """Return a program without instructions that goes in and comes out as a compiled one, and its memory."""
    frame = Program(program.inputs, program.strides, program.scalars, dict(program.constants))
    for dtype, shape, content in constants:
        array = np.frombuffer(bytes.fromhex(content), dtype).reshape(shape)
        frame.constants[Value(0, array.shape, array.dtype)] = array
    frame.writes = program.writes
    ready = Prepared(frame)
    frame.numbers = [Value(number, (), np.dtype("f8")) for number in range(len(program.numbers))]
    for old, strides in zip(program.outputs, outputs, strict=True):
        value = Value(0, old.shape, old.dtype)
        frame.outputs.append(value)
        ready.roots[value], ready.layouts[value] = value, Layout(0, tuple(strides))
    return ready, assign(Plan(ready, set(), [], []))
