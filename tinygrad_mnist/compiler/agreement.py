"""Agreement: what one process finds in its rows, all have to know.

Where a program does not hold, the call runs as it is, and that makes its exchanges anew. So it has to run as
it is in all processes. Each exchange is given the conditions that are known by then. A process in which one
does not hold takes part by `refuse`, and all others learn it. Conditions behind the last exchange are the
same in all processes if they depend on exchanged values alone; otherwise one more comes at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.convolutions import CONVOLUTIONS
from tinygrad_mnist.compiler.program import ELEMENTWISE, REDUCTIONS, VIEWS, Instruction, Program, Value
from tinygrad_mnist.compiler.slots import BufferSlot, Slot, StateSlot, TensorSlot
from tinygrad_mnist.engine import shards

_SAME: Final = (TensorSlot, BufferSlot, StateSlot)
"""What all processes have the same of: parameters, statistics, and the states of optimisers."""

_SPELLED: Final = ELEMENTWISE | REDUCTIONS | VIEWS | CONVOLUTIONS | {"matmul"}
"""Instructions that raise no error."""


def ends_apart(program: Program, slots: Iterable[Slot]) -> bool:
    """Return whether processes may disagree at the end of a program on whether it holds.

    Parameters
    ----------
    program : Program
        What each of them computes of its rows.
    slots : iterable of Slot
        Where its inputs lie.
    """
    own = {
        value for value, slot in zip(program.inputs, slots, strict=True) if not isinstance(slot, _SAME)
    }
    looked_at = {*program.conditions, *program.watched}
    is_open = not own.isdisjoint(looked_at)  # whether something is to be told to the others
    for instruction in program.instructions:
        if instruction.refuse is not None:
            is_open = False
        elif not own.isdisjoint(instruction.inputs):
            own.update(instruction.outputs)
            is_open |= instruction.name not in _SPELLED or not looked_at.isdisjoint(instruction.outputs)
    return is_open


def agreement(value: Value) -> Instruction:
    """Return an exchange of nothing but whether the program holds; ``value`` is its result, which is True."""

    def run() -> np.bool_:
        if _exchange().any(False):
            raise shards.Refused
        return np.True_

    def refuse() -> None:
        _exchange().any(True)

    return Instruction("agreement", (), (value,), {}, run, effect=True, refuse=refuse)


def _exchange() -> shards.Exchange:
    """Return what joins the processes now: it may be another one than when the program was made."""
    shard = shards.current()
    assert shard is not None, "the key of the call says that there is one"
    return shard.exchange


def telling(exchange: Instruction, conditions: Sequence[Value]) -> Instruction:
    """Return an exchange that is given conditions, too, and is refused where one does not hold."""
    count, given, refuse = len(exchange.inputs), exchange.run, exchange.refuse
    assert refuse is not None

    def run(*arrays: Any) -> Any:
        if not all(arrays[count:]):
            refuse()
            raise shards.Refused
        return given(*arrays[:count])

    return replace(exchange, inputs=(*exchange.inputs, *conditions), run=run)
