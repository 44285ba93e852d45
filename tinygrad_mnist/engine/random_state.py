"""The random numbers of layers inside a checkpointed function: the second run repeats those of the first.

`transforms.checkpoint` runs a function twice. A dropout in it must drop the same units both times, so the
generators are copied at the first run and handed out again at the second. It stands in the engine because the
layers and the transforms both need it, and neither knows the other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np


class Draws:
    """Copies of the generators that layers drew from: made in the first run, handed out in the second."""

    def __init__(self, before: list[np.random.Generator], again: bool) -> None:
        self.before = before
        self.again = again
        self.around = draws.get()  # of a checkpointed function that calls this one
        self.next = 0

    def generator(self, make: Callable[[], np.random.Generator]) -> np.random.Generator:
        """Return the generator that a layer is to draw from; ``make`` makes the one that it asked for."""
        # A copy each time: a layer that draws advances its generator, and each run must start alike.
        if self.again and self.next < len(self.before):
            self.next += 1
            return copy.deepcopy(self.before[self.next - 1])
        # In a checkpoint within a checkpoint the outer one may be repeating; then its copy is the source.
        made = make() if self.around is None else self.around.generator(make)
        if not self.again:
            self.before.append(copy.deepcopy(made))
        return made

    def is_replay(self) -> bool:
        """Return whether this function, or one that calls it, is being run again."""
        return self.again or (self.around is not None and self.around.is_replay())

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Copy generators, or hand them out, for the layers that run inside."""
        token = draws.set(self)
        try:
            yield
        finally:
            draws.reset(token)


draws: ContextVar[Draws | None] = ContextVar("draws", default=None)
"""The copies in use while a checkpointed function runs, in this thread or task."""


def is_replay() -> bool:
    """Return whether a checkpointed function is being run again.

    Running statistics must not be updated then: they have seen this batch already.
    """
    drawn = draws.get()
    return drawn is not None and drawn.is_replay()
