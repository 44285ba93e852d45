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
class Line:
    """The seconds of a step by its rows.

    Parameters
    ----------
    fixed : float
        What does not depend on the rows: the update, and starting each operation.
    row : float
        Seconds of each row.
    """

    fixed: float
    row: float

    def at(self, rows: float) -> float:
        """Return the seconds of a step of so many rows."""
        return self.fixed + self.row * rows


@dataclass(frozen=True)
class Work:
    """A training: what a step computes and exchanges.

    Parameters
    ----------
    alone : Line
        A step of one process.
    rank : Line
        A step of one rank of several, but for the time on the network: with all that it does for exchanges.
    exchanges : mapping
        How many exchanges a step has, by their bytes.
    """

    alone: Line
    rank: Line
    exchanges: Mapping[int, float]

    def exchange(self, ranks: int, network: Network) -> float:
        """Return the seconds of all exchanges of a step on the network."""
        return sum(number * allreduce(size, ranks, network) for size, number in self.exchanges.items())

    def step(self, rows: float, ranks: int, network: Network) -> float:
        """Return the seconds of a step of a global batch; the rank with most rows is waited for."""
        if ranks == 1:
            return self.alone.at(rows)
        return self.rank.at(ceil(rows / ranks)) + self.exchange(ranks, network)

    def speedup(self, rows: float, ranks: int, network: Network) -> float:
        """Return how many times as fast as one process some ranks are with the same global batch."""
        return self.step(rows, 1, network) / self.step(rows, ranks, network)

    def rows_at(self, efficiency: float, ranks: int, network: Network) -> int:
        """Return the smallest global batch, in as many rows for each rank, of that efficiency.

        It is the speedup by the number of ranks, and the larger the batch, the higher it is.

        Raises
        ------
        ValueError
            If no batch has it.
        """
        if self.alone.row <= efficiency * self.rank.row:
            raise ValueError(f"no batch of {ranks} ranks has an efficiency of {efficiency:.0%}")
        # alone.at(n p) = efficiency p (rank.at(n) + exchange), solved for the rows n of a rank
        each = self.rank.fixed + self.exchange(ranks, network)
        rows = (efficiency * each - self.alone.fixed / ranks) / (self.alone.row - efficiency * self.rank.row)
        return max(1, ceil(rows)) * ranks


def line_through(seconds: Mapping[int, float]) -> Line:
    """Return the line by rows that is nearest to measured seconds, by relative distances."""
    weights = {rows: 1 / taken**2 for rows, taken in seconds.items()}
    total = sum(weights.values())
    mean_rows = sum(weights[rows] * rows for rows in seconds) / total
    mean = sum(weights[rows] * taken for rows, taken in seconds.items()) / total
    above = sum(weights[rows] * (rows - mean_rows) * (taken - mean) for rows, taken in seconds.items())
    row = above / sum(weights[rows] * (rows - mean_rows) ** 2 for rows in seconds)
    return Line(mean - row * mean_rows, row)


def network_between(two: Mapping[int, float], one: Mapping[int, float]) -> Network:
    """Return the network between two ranks, of the seconds of sums of so many bytes by two and by one alone.

    Two ranks swap whole arrays once. The smallest array gives the latency, the largest the time of a byte,
    which includes adding it.
    """
    small, large = min(two), max(two)
    latency = max(0.0, two[small] - one[small])
    return Network(latency, max(0.0, two[large] - one[large] - latency) / large)
