"""The rows of a batch that this process has, where several processes train one model on one batch.

What looks at a whole batch asks here: batch norm for the sums of all rows, a dropout mask for the rows that
are this process's, a mean for the weights of all rows. It stands in the engine because layers, losses, the
walk and the compiler need it, and none of them knows how processes talk to each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.surroundings import surroundings

Array = NDArray[Any]


class Exchange(Protocol):
    """The exchange of sums between the processes, which all of them call in the same order."""

    def sum(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the sum of each array over all processes: new arrays, of the same bits in each process.

        Raises
        ------
        Refused
            If one process has taken part by `refuse`.
        """

    def refuse(self, arrays: Sequence[Array]) -> None:
        """Take part in a sum of such arrays without values, so that `sum` raises everywhere else."""

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any process."""


def prepared(exchange: Exchange, likes: Sequence[Array]) -> Callable[[Sequence[Array]], Sequence[Array]]:
    """Return what sums arrays that look as some do, again and again.

    It is quicker than `Exchange.sum` where the exchange has a method ``prepared``. The sums hold until the
    next exchange.
    """
    make: Any = getattr(exchange, "prepared", None)
    found: Callable[[Sequence[Array]], Sequence[Array]] = exchange.sum if make is None else make(likes)
    return found


class ExchangeFailure(Exception):
    """The base of errors of an exchange: no operation and no module is their cause."""


class Refused(ExchangeFailure):
    """Raised by a sum in which one process could not take part, as its program does not hold for its rows."""


@dataclass(frozen=True, eq=False)
class Shard:
    """The rows of a global batch that this process has.

    Parameters
    ----------
    start : int
        The number of its first row.
    rows : int
        How many it has, at least 1.
    total : int
        Rows of the global batch.
    exchange : Exchange
        Sums over all processes.
    """

    start: int
    rows: int
    total: int
    exchange: Exchange

    def sum(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the sum of each array over all processes, and count the exchange."""
        made.latest, made.count = self.exchange, made.count + 1
        return self.exchange.sum(arrays)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any process, and count the exchange."""
        made.latest, made.count = self.exchange, made.count + 1
        return self.exchange.any(flag)

    def rows_of_all(self, rows: int) -> int:
        """Return how many rows all processes have of something, if this one has so many."""
        return rows * self.total // self.rows


class _Made(threading.local):
    """The exchanges that were made in this thread: how many, and through what the latest went."""

    count: int = 0
    latest: Exchange | None = None


made = _Made()
"""The exchanges of this thread. What may have to be done again looks here whether it made any."""


def agreed(before: int, *flags: bool) -> tuple[bool, ...]:
    """Return what any process says of each flag, if there were exchanges since a count; else the flags.

    What has made exchanges and is done again makes them again: all processes do so, or none.
    """
    if made.count == before or made.latest is None:
        return flags
    (sums,) = made.latest.sum([np.array(flags, np.float64)])
    return tuple(bool(one) for one in sums)


_current: ContextVar[Shard | None] = ContextVar("shard", default=None)


def current() -> Shard | None:
    """Return the shard that is computed on in this thread or task; None where the batch is whole."""
    return _current.get()


class sharded:
    """A context in which batches are the rows of a shard; also where a checkpointed function runs later.

    Parameters
    ----------
    shard : Shard or None
        The rows; None where the batch is whole.
    """

    __slots__ = ("_around", "_shard", "_token")

    def __init__(self, shard: Shard | None) -> None:
        self._shard = shard

    def __enter__(self) -> None:
        self._token = _current.set(self._shard)
        self._around = surroundings.set((*surroundings.get(), partial(sharded, self._shard)))

    def __exit__(self, *_: object) -> None:
        surroundings.reset(self._around)
        _current.reset(self._token)
