"""Ranks that are slower than the others: each step takes as long as on the slowest."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, median_low
from time import perf_counter
from typing import Final

from tinygrad_mnist.training.distributed.communicator import Communicator

FACTOR: Final = 1.5
"""A rank is slow if it takes this many times the median of all."""

FEWEST: Final = 5
"""Steps, at least, of which a rank's time is told: the first take longer everywhere."""

LEAST: Final = 1.0
"""Seconds that the others must have waited for a slow rank: of small steps now and then one takes longer."""


class StepTimes:
    """The time of this rank's own work in each step, without what it waits for the others.

    Parameters
    ----------
    communicator : Communicator
        The processes.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> alone = SimpleNamespace(waited=0.0, hosts=["here"], gather=lambda value: [value])
    >>> times = StepTimes(alone)
    >>> for _ in range(5):
    ...     times.begin()
    ...     times.end()
    >>> times.report()
    []
    """

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator
        self._times: list[float] = []
        self._reported: set[int] = set()
        self.begin()

    def begin(self) -> None:
        """Begin a step."""
        self._began, self._waited = perf_counter(), self._communicator.waited

    def end(self) -> None:
        """End a step."""
        waited = self._communicator.waited - self._waited
        self._times.append(perf_counter() - self._began - waited)

    def report(self) -> list[str]:
        """Return a sentence for each rank that was slow since the last call, and was not named before.

        All ranks call it, and get the same.
        """
        communicator = self._communicator
        enough = len(self._times) >= FEWEST
        found: list[float] = communicator.gather(median(self._times) if enough else 0.0)
        steps = len(self._times)  # the same in all ranks
        self._times.clear()
        usual, sentences = median_low(found), []
        for rank in slow_ranks(found):
            if rank not in self._reported and (found[rank] - usual) * steps >= LEAST:
                self._reported.add(rank)
                sentences.append(
                    f"rank {rank} on {communicator.hosts[rank]} is slow: a step takes "
                    f"{1000 * found[rank]:.3g} ms there, "
                    f"{found[rank] / usual:.1f} times the median, and the others wait for it"
                )
        return sentences


def slow_ranks(seconds: Sequence[float]) -> list[int]:
    """Return the ranks that take 1.5 times the median or more; none, where a time is 0, for unknown.

    Examples
    --------
    >>> slow_ranks([1.0, 1.1, 2.0, 1.2]), slow_ranks([2.0, 1.0]), slow_ranks([0.0, 1.0])
    ([2], [0], [])
    """
    usual = median_low(seconds)
    if not min(seconds) > 0:
        return []
    return [rank for rank, own in enumerate(seconds) if own >= FACTOR * usual]
