"""A trial: a call that runs as it is, after which everything is as it was.

A trace has Tensors in the place of arrays. Whether the function returns an array, one of NumPy's scalars or a
Tensor is seen only when it returns. So a program whose results are not known for certain is preceded by a
trial, and then runs itself: what the first call computes is what a later one would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from tinygrad_mnist.compiler.slots import BufferSlot, DrawSlot
from tinygrad_mnist.compiler.traced import Traced
from tinygrad_mnist.engine.structure import array_replaced
from tinygrad_mnist.nn import init
from tinygrad_mnist.optim.schedules import LRScheduler


def can_be_tried(traced: Traced) -> bool:
    """Return whether a call changes nothing but what a trace sees, and so can be undone."""
    return not any(instruction.effect for instruction in traced.program.instructions)


@contextmanager
def trial(traced: Traced, leaves: Sequence[Any]) -> Iterator[None]:
    """Put back, after a call of the function that was traced, all that it has changed.

    If the call raises an error, what it has done stays, as it does without `jit`.

    Parameters
    ----------
    traced : Traced
        The trace, which says what the function changes.
    leaves : sequence
        The leaves of the arguments.
    """
    before = _Before()
    _note(before, traced, leaves)
    try:
        yield
    except Exception:
        raise
    except BaseException:  # an interrupt
        before.restore()
        raise
    before.restore()


def _note(before: _Before, traced: Traced, leaves: Sequence[Any]) -> None:
    """Note what a call changes."""
    slots = dict(zip(traced.program.inputs, traced.slots, strict=True))
    for _, target in traced.program.writes:
        before.note(slots[target].fetch(leaves))
    for slot in traced.slots:
        if isinstance(slot, BufferSlot):
            before.note_item(slot.namespace, slot.name)
        elif isinstance(slot, DrawSlot):
            if slot.rng is None:  # each draw has a new generator, a child of the root
                before.note_root()
            else:
                before.note(slot.make(slot.rng))
    for place, _ in (*traced.gradients, *traced.presence):
        leaf = leaves[place].origin if isinstance(place, int) else place
        before.note_attribute(leaf, "grad")
        if leaf.grad is not None:
            before.note(leaf.grad._array)
    for place, _ in traced.assigned:
        tensor = leaves[place] if isinstance(place, int) else place
        before.note_attribute(tensor, "_array")
        before.note_attribute(tensor, "origin")
        before.note(tensor._array)
    for flat, _, _ in traced.progress:
        before.note(flat.progress)
    for schedule in traced.schedules:
        before.note(schedule)


class _Before:
    """The content of some places, containers, arrays and generators, to be put back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._noted: dict[int, Any] = {}

    def restore(self) -> None:
        """Put everything back."""
        for undo in self._undo:
            undo()
        array_replaced()  # arrays that were replaced are fetched anew

    def note_attribute(self, holder: Any, name: str) -> None:
        """Note what an attribute is."""
        self._undo.append(partial(setattr, holder, name, getattr(holder, name)))

    def note_item(self, holder: dict[str, Any], name: str) -> None:
        """Note what is in a dict under a name."""
        self._undo.append(partial(holder.__setitem__, name, holder[name]))
        self.note(holder[name])

    def note_root(self) -> None:
        """Note how many generators were made of the seed of `nn.manual_seed`."""
        root = init.root_seed()
        if root is not None:
            count = root.n_children_spawned
            root = np.random.SeedSequence(
                root.entropy, spawn_key=root.spawn_key, pool_size=root.pool_size, n_children_spawned=count
            )
        self._undo.append(partial(init.set_root_seed, root))

    def note(self, value: Any) -> None:
        """Note what an array, a container, a generator or a schedule holds."""
        if id(value) in self._noted:
            return
        self._noted[id(value)] = value
        if isinstance(value, np.ndarray):
            if value.flags.writeable:
                self._undo.append(partial(np.copyto, value, value.copy()))
        elif isinstance(value, np.random.Generator):
            state = value.bit_generator.state
            self._undo.append(partial(setattr, value.bit_generator, "state", state))
        elif isinstance(value, LRScheduler):
            self.note(vars(value))
            for group in value.optimizer.param_groups:
                self.note(group)
        elif isinstance(value, dict):
            self._undo.append(partial(_fill_dict, value, dict(value)))
            for part in list(value.values()):
                self.note(part)
        elif isinstance(value, list):
            self._undo.append(partial(value.__setitem__, slice(None), list(value)))
            for part in list(value):
                self.note(part)
        elif isinstance(value, tuple):
            for part in value:
                self.note(part)


def _fill_dict(holder: dict[Any, Any], before: dict[Any, Any]) -> None:
    """Let a dict hold what it held before."""
    holder.update(before)
    for name in holder.keys() - before.keys():
        del holder[name]
