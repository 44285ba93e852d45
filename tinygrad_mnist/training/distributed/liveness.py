"""The knowledge of one process about the others: whether they work or wait, and how long it waits for them.

A rank that draws pictures or waits for a slow disk must not be taken for lost. So each tells rank 0 what it
does, again and again, and rank 0 tells each whether somebody works. The time limit holds while nobody does.
There are neither threads nor messages here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from tinygrad_mnist.numbers import count_text

BEATS: Final = 12
"""How often, in the time of the limit, a process tells what it does."""

MISSED: Final = 3
"""After so many times without a word it is not known any more what a process does."""

WORKING, SUM, GATHERING, BROADCAST, ENDING = range(5)
"""What a process does; all but the first wait for the others."""

_NAMES: Final = {SUM: "a sum", GATHERING: "a gathering", BROADCAST: "a broadcast", ENDING: "the end of all"}

NAMED: Final = 5
"""Ranks that a sentence names, at most."""


class State(NamedTuple):
    """The doing of a process: it works, or waits in an exchange.

    Parameters
    ----------
    since : float
        When it began, by the clock of the process that keeps this.
    kind : int
        One of the constants above.
    number : int
        The number of the exchange; of the last one, where it works.
    size : int
        How many values are summed.
    """

    since: float
    kind: int
    number: int
    size: int

    @property
    def works(self) -> bool:
        """True unless it waits for the others."""
        return self.kind == WORKING

    def __str__(self) -> str:
        if self.works:
            return f"works, after exchange {self.number:,}"
        size = f" of {count_text(self.size, 'value')}" if self.kind == SUM else ""
        return f"waits in exchange {self.number:,}, {_NAMES[self.kind]}{size}"


class Liveness:
    """The knowledge of one process about the others: that of rank 0 about all, of the others about rank 0.

    Parameters
    ----------
    rank : int
        The rank of this process.
    hosts : sequence of str
        The machine of each rank.
    seconds : float
        The time limit.
    now : float
        The time.
    """

    def __init__(self, rank: int, hosts: Sequence[str], seconds: float, now: float) -> None:
        self.rank, self.hosts, self.seconds = rank, hosts, seconds
        self.interval = seconds / BEATS
        self.peers = range(1, len(hosts)) if rank == 0 else range(1)
        self.heard = dict.fromkeys(self.peers, now)
        self.states = dict.fromkeys(self.peers, State(now, WORKING, 0, 0))
        self._worked = -inf  # when somebody was last known to work
        self._noticed = -inf

    def hear(self, peer: int, state: State, now: float) -> None:
        """Note what another process has told."""
        self.heard[peer], self.states[peer] = now, state
        if self.rank != 0 and state.works:
            self._worked = now

    def tell(self, own: State, now: float) -> State:
        """Return what to tell the others: the state of this process; of rank 0 also that somebody works."""
        if self.rank == 0 and self.working(own, now):
            self._worked = now
            return own._replace(kind=WORKING)
        return own

    def working(self, own: State, now: float) -> list[int]:
        """Return the ranks that work, as far as is known."""
        known = [peer for peer in self.peers if now - self.heard[peer] < MISSED * self.interval]
        working = [peer for peer in known if self.states[peer].works]
        return [self.rank, *working] if own.works else working

    def deadline(self, own: State) -> float:
        """Return when a process that waits may wait no longer: rank 0 first, as it knows most."""
        late = 0 if self.rank == 0 else MISSED * self.interval
        return max(own.since, self._worked) + self.seconds + late

    def notice(self, own: State, now: float) -> str | None:
        """Return a sentence, now and then, where others wait for ranks that work for long."""
        waiting = [state.since for state in (own, *self.states.values()) if not state.works]
        busy = self.working(own, now)
        if self.rank != 0 or not busy or not waiting:
            return None
        if now - max(min(waiting), self._noticed) <= self.seconds:
            return None
        self._noticed = now
        return (
            f"{self._named(busy)} {'works' if len(busy) == 1 else 'work'} for long: others have waited for "
            f"{now - min(waiting):.0f} seconds"
        )

    def finding(self, own: State, now: float) -> str:
        """Return a sentence on who waits in what, and who is not heard."""
        parts = [f"{self.name(self.rank)} {own} for more than {self.seconds:g} seconds"]
        silent = [peer for peer in self.peers if now - self.heard[peer] > MISSED * self.interval]
        other = [p for p in self.peers if p not in silent and self.states[p][1:] != own[1:]]
        if silent:
            longest = max(now - self.heard[peer] for peer in silent)
            parts.append(f"there is no word from {self._named(silent)} for {longest:.0f} seconds")
        parts += [f"{self.name(peer)} {self.states[peer]}" for peer in other[:NAMED]]
        if len(parts) == 1:
            parts.append("so does each other that it hears of: a connection is down, or too slow")
        return "; ".join(parts)

    def contradiction(self, own: State) -> str | None:
        """Return a sentence if one waits in an exchange in which another, at its end, takes no part."""
        states = {self.rank: own, **self.states}
        ending = [(state.number, rank) for rank, state in states.items() if state.kind == ENDING]
        waiting = [
            (state.number, rank)
            for rank, state in states.items()
            if state.kind in (SUM, GATHERING, BROADCAST)
        ]
        if not (ending and waiting):
            return None
        (last, ended), (number, waits) = min(ending), max(waiting)
        if number <= last:  # the one that is at its end has done its part
            return None
        return f"{self.name(ended)} has ended its program, while {self.name(waits)} {states[waits]}"

    def name(self, rank: int) -> str:
        """Return a rank with its machine."""
        return f"rank {rank} on {self.hosts[rank]}"

    def _named(self, ranks: Sequence[int]) -> str:
        names = [self.name(rank) for rank in ranks[:NAMED]]
        return ", ".join(names + [f"{len(ranks) - NAMED} more"] * (len(ranks) > NAMED))
