"""A model of the time of a training step that several ranks share: computing, and exchanging what they found.

A step of B rows on p ranks takes what a rank computes for B / p rows, and what its exchanges take: one of all
gradients, and for each batch norm a small one forward and one backward. Each has a latency, a time for each
byte on its way, and a time for each byte that is added to another. The costs of the algorithms are those of
R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of Collective Communication Operations in MPICH",
International Journal of High Performance Computing Applications 19(1), 2005.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2


@dataclass(frozen=True)
class Network:
    """What a message between two ranks takes.

    Parameters
    ----------
    latency : float
        Seconds of a message without content.
    byte : float
        Seconds of each byte on its way.
    adding : float
        Seconds for adding a byte of one array to that of another.
    """

    latency: float
    byte: float
    adding: float = 0.0


def network_of(gigabits: float, latency: float, adding: float) -> Network:
    """Return a network of so many gigabits a second."""
    return Network(latency, 8 / (gigabits * 1e9), adding)


def doubling(size: float, ranks: int, network: Network) -> float:
    """Return the seconds of a sum by recursive doubling: in each round whole arrays are swapped in pairs."""
    return ceil(log2(ranks)) * (network.latency + size * (network.byte + network.adding))


def tree(size: float, ranks: int, network: Network) -> float:
    """Return the seconds of a sum by Rabenseifner's algorithm: halving to sum, doubling to hand on."""
    return 2 * ceil(log2(ranks)) * network.latency + _moved(size, ranks, network)


def ring(size: float, ranks: int, network: Network) -> float:
    """Return the seconds of a sum around a ring: p - 1 rounds to sum, p - 1 to hand on."""
    return 2 * (ranks - 1) * network.latency + _moved(size, ranks, network)


def _moved(size: float, ranks: int, network: Network) -> float:
    return (ranks - 1) / ranks * size * (2 * network.byte + network.adding)


def allreduce(size: float, ranks: int, network: Network) -> float:
    """Return the seconds of a sum by the algorithm that is quickest for so many bytes and ranks."""
    return min(how(size, ranks, network) for how in (doubling, tree, ring)) if ranks > 1 else 0.0


@dataclass(frozen=True)
class Work:
    """A training: what a step computes and exchanges.

    Parameters
    ----------
    fixed : float
        Seconds of a step that do not depend on its rows: the update, and starting each operation.
    row : float
        Seconds a row.
    call : float
        Seconds that an exchange takes besides the network: Python before and after it.
    exchanges : mapping
        How many exchanges a step has, by their bytes.
    """

    fixed: float
    row: float
    call: float
    exchanges: Mapping[int, float]

    def compute(self, rows: float) -> float:
        """Return the seconds that one rank computes in a step."""
        return self.fixed + self.row * rows

    def exchange(self, ranks: int, network: Network) -> float:
        """Return the seconds of all exchanges of a step."""
        if ranks == 1:
            return 0.0
        return sum(
            number * (self.call + allreduce(size, ranks, network)) for size, number in self.exchanges.items()
        )

    def step(self, rows: float, ranks: int, network: Network) -> float:
        """Return the seconds of a step of a global batch; the rank with most rows is waited for."""
        return self.compute(ceil(rows / ranks)) + self.exchange(ranks, network)

    def speedup(self, rows: float, ranks: int, network: Network) -> float:
        """Return how many times as fast as one rank some ranks are with the same global batch."""
        return self.step(rows, 1, network) / self.step(rows, ranks, network)

    def rows_at(self, efficiency: float, ranks: int, network: Network) -> int:
        """Return the rows of a global batch from which on that part of the ranks' time is not lost.

        The efficiency is the speedup by the number of ranks; a larger batch has a higher one.
        """
        lowest = ranks
        while self.speedup(lowest, ranks, network) < efficiency * ranks:
            lowest *= 2
            if lowest > 1e12:
                raise ValueError(f"{ranks} ranks do not reach an efficiency of {efficiency:.0%}")
        low, high = lowest // 2, lowest
        while high - low > ranks:
            middle = (low + high) // 2
            low, high = (
                (middle, high) if self.speedup(middle, ranks, network) < efficiency * ranks else (low, middle)
            )
        return ceil(high / ranks) * ranks


def work_of(seconds: Mapping[int, float], call: float, exchanges: Mapping[int, float]) -> Work:
    """Return the work of a step of which the seconds are known by the rows: the line next to them.

    Each measurement counts by its relative distance (weighted least squares).
    """
    weights = {rows: 1 / taken**2 for rows, taken in seconds.items()}
    total = sum(weights.values())
    mean_rows = sum(weights[rows] * rows for rows in seconds) / total
    mean_seconds = sum(weights[rows] * taken for rows, taken in seconds.items()) / total
    row = sum(
        weights[rows] * (rows - mean_rows) * (taken - mean_seconds) for rows, taken in seconds.items()
    ) / sum(weights[rows] * (rows - mean_rows) ** 2 for rows in seconds)
    return Work(mean_seconds - row * mean_rows, row, call, dict(exchanges))


def network_between(seconds: Mapping[int, float]) -> tuple[Network, float]:
    """Return the network between two ranks whose sums take so long, by their bytes, and the time of a call.

    Two ranks swap whole arrays once, so that the latency is in the time of a call, and adding in that of a
    byte. The smallest array gives the one, the largest the other.
    """
    small, large = min(seconds), max(seconds)
    byte = (seconds[large] - seconds[small]) / (large - small)
    return Network(0.0, byte), seconds[small]
