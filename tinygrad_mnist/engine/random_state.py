"""Which random numbers layers draw: while a checkpointed function runs again, those of the first time.

Apart from the transforms, so that layers know no more of them than this.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np


class Draws:
    """The generators that layers drew from, as they were before: noted the first time, handed out later."""

    def __init__(self, before: list[np.random.Generator], again: bool) -> None:
        self.before = before
        self.again = again
        self.around = draws.get()  # of a checkpointed function that calls this one
        self.next = 0

    def generator(self, make: Callable[[], np.random.Generator]) -> np.random.Generator:
        """What a layer is to draw from; ``make`` gives the generator that it asked for."""
        if self.again and self.next < len(self.before):
            self.next += 1
            return copy.deepcopy(self.before[self.next - 1])
        made = make() if self.around is None else self.around.generator(make)
        if not self.again:
            self.before.append(copy.deepcopy(made))
        return made

    def is_replay(self) -> bool:
        """Whether this function, or one that calls it, is being run again."""
        return self.again or (self.around is not None and self.around.is_replay())

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note or hand out inside."""
        token = draws.set(self)
        try:
            yield
        finally:
            draws.reset(token)


draws: ContextVar[Draws | None] = ContextVar("draws", default=None)
"""Where layers' random numbers come from while a checkpointed function runs."""


def is_replay() -> bool:
    """Whether a checkpointed function is being run again: running statistics have seen this batch then."""
    drawn = draws.get()
    return drawn is not None and drawn.is_replay()
