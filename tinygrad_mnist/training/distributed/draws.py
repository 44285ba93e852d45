"""A look at the first step of several processes, for random numbers that are drawn for the own rows alone.

All processes have the same generators, each has other rows. Dropout and `nn.functional.random_rows` draw for
the rows of all. What else is drawn is the same in every process, and nobody would notice.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_mnist.engine.shards import Shard
from tinygrad_mnist.nn.batch_draws import watch
from tinygrad_mnist.training.checkpoints.random_state import generators_of

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training


class Draws:
    """The draws of the first step on a shard, of the generators that modules hold and of the global ones.

    Parameters
    ----------
    training : Training
        The training.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._is_done = False
        self._known: set[bytes] = set()  # the states that generators have by what is drawn for all rows

    @contextmanager
    def watched(self, shard: Shard | None) -> Iterator[None]:
        """Warn of generators that are drawn from inside for something else than all rows; once."""
        if shard is None or self._is_done:
            yield
            return
        self._known = set(self._states().values())
        token = watch.set(self._for_all_rows)
        try:
            yield
        finally:
            watch.reset(token)
        self._is_done = True
        found = [place for place, state in self._states().items() if state not in self._known]
        if found:
            self._training.warn(_told(found))

    @contextmanager
    def _for_all_rows(self) -> Iterator[None]:
        """Note the states that generators have after a draw for all rows."""
        before = self._states()
        yield
        after = self._states()
        self._known.update(after[place] for place in before if before[place] in self._known)

    def _states(self) -> dict[str, bytes]:
        """Return the states of generators by place. A step that is repeated has put them back."""
        found = generators_of({"model": self._training.model, "loss": self._training.loss_function})
        states = [pickle.dumps(one["state"]) for one in found["generators"]]
        return {
            **{place: states[number] for place, number in found["places"].items()},
            "numpy.random": pickle.dumps(np.random.get_state(legacy=False)),  # noqa: NPY002 - a user's, too
            "random": pickle.dumps(random.getstate()),
        }


def _told(places: list[str]) -> str:
    """Return the warning.

    Examples
    --------
    >>> print(_told(["model.1.rng"]))
    model.1.rng was drawn from in a step by something else than dropout: each process draws the same numbers \
for other rows of the batch; draw those of rows by nn.functional.random_rows. Numbers that are for the whole \
batch are right as they are
    """
    named = f"{', '.join(places[:3])}{', ...' if len(places) > 3 else ''}"
    return (
        f"{named} {'was' if len(places) == 1 else 'were'} drawn from in a step by something else than "
        "dropout: each process draws the same numbers for other rows of the batch; draw those of rows by "
        "nn.functional.random_rows. Numbers that are for the whole batch are right as they are"
    )
