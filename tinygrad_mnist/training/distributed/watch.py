"""The time limit of an exchange: a process that waits too long for the others says so, and ends all.

An exchange runs in C, where neither an exception nor a handler of a signal can interrupt it. So a thread of
its own looks at the clock. It also tells the other processes that this one is alive, as a rank that draws
pictures or waits for a slow disk must not be taken for lost: the time limit holds while nobody works.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.errors import TrainingError

VARIABLE: Final = "TINYGRAD_MNIST_EXCHANGE_SECONDS"
"""The variable of the environment that sets the limit."""

DEFAULT_SECONDS: Final = 60.0

STATUS: Final = 75
"""The exit status of a process that has waited too long: EX_TEMPFAIL of sysexits.h, as one may try again."""

BEATS: Final = 12
"""How often, in the time of the limit, a process tells that it is alive."""

WORKING, SUM, GATHERING, BROADCAST, ENDING = range(5)
"""What a process does; all but the first wait for the others."""

_NAMES: Final = {SUM: "a sum", GATHERING: "a gathering", BROADCAST: "a broadcast", ENDING: "the end of all"}


class State(NamedTuple):
    """What a process does.

    Parameters
    ----------
    since : float
        When it began, by the clock of the process that keeps this.
    kind : int
        One of the constants above.
    number : int
        The number of the exchange; of the last one, where it works.
    size : int
        The numbers that are exchanged, where that is known.
    """

    since: float
    kind: int
    number: int
    size: int

    def __str__(self) -> str:
        if self.kind == WORKING:
            return f"works since exchange {self.number:,}"
        size = f" ({count_text(self.size, 'value')})" if self.kind == SUM else ""
        return f"waits in exchange {self.number:,}, {_NAMES[self.kind]}{size}"


def seconds_of(limit: float | None) -> float:
    """Return the time limit that holds: what is given, else that of the environment, else the default.

    Raises
    ------
    TrainingError
        If it is no number above 0.
    """
    name, given = "time_limit", str(limit)
    if limit is None:
        name, given = VARIABLE, os.environ.get(VARIABLE, str(DEFAULT_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise TrainingError(f"{name} is {given}; give seconds, a number above 0")
    return seconds


class Watch:
    """A thread that ends all processes when this one has waited in one exchange for longer than a limit.

    The time for which some process works does not count: each tells rank 0 what it does, and rank 0 tells
    each whether one works. MPI has to allow calls from several threads for that, as mpi4py asks it to; where
    it does not, the limit holds as it is.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        A communicator for these messages alone.
    hosts : sequence of str
        The machine of each rank.
    seconds : float
        The limit.

    Attributes
    ----------
    state : State
        What this process does; who exchanges sets it.
    """

    def __init__(self, comm: Any, hosts: Sequence[str], seconds: float) -> None:
        from mpi4py import MPI

        self.comm, self.hosts, self.seconds = comm, hosts, seconds
        self.rank = int(comm.rank)
        self.interval = seconds / BEATS
        self.state = State(perf_counter(), WORKING, 0, 0)
        self._limited_from = -np.inf  # when somebody was known to work
        self._told = 0.0
        self._messages = None
        if MPI.Query_thread() == MPI.THREAD_MULTIPLE:
            peers = range(1, comm.size) if self.rank == 0 else range(1)
            self._messages = {peer: _Messages(comm, peer) for peer in peers}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="time limit of exchanges", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(self.interval):
            now = perf_counter()
            if self._messages is not None:
                self._exchange_states(now)
            state = self.state
            if state.kind != WORKING and now > self._deadline(state):
                self._end_all(now, state)

    def _deadline(self, state: State) -> float:
        """Return when this process ends, if it still waits then and hears nothing; rank 0 is the first."""
        late = 0 if self.rank == 0 else 2 * self.interval
        return max(state.since + self.seconds, self._limited_from + self.seconds / 2) + late

    def _exchange_states(self, now: float) -> None:
        """Tell the others what this process does, and hear what they do."""
        assert self._messages is not None
        state = self.state
        for messages in self._messages.values():
            messages.receive(now)
        works = state.kind == WORKING
        if self.rank == 0:
            busy = [rank for rank, other in self._messages.items() if other.works(now, 3 * self.interval)]
            self._tell_who_works(now, [0, *busy] if works else busy)
            works |= bool(busy)
        elif self._messages[0].state.kind == WORKING:
            self._limited_from = max(self._limited_from, self._messages[0].heard)
        if works:
            self._limited_from = now
        told = state._replace(kind=WORKING) if works else state
        for messages in self._messages.values():
            messages.send(told, now)

    def _tell_who_works(self, now: float, busy: list[int]) -> None:
        """Say now and then that others wait for ranks that work for long."""
        assert self._messages is not None
        states = [self.state, *(messages.state for messages in self._messages.values())]
        waiting = [state.since for state in states if state.kind != WORKING]
        if busy and waiting and now - max(min(waiting), self._told) > self.seconds:
            self._told = now
            ranks, others = ", ".join(map(self._name, busy[:5])), count_text(len(waiting), "other")
            _say(
                f"{ranks} still works; the longest of {others} has waited for {now - min(waiting):.0f} seconds"
            )

    def _name(self, rank: int) -> str:
        return f"rank {rank} on {self.hosts[rank]}"

    def _end_all(self, now: float, state: State) -> None:
        lines = [f"{self._name(self.rank)} {state}, for more than {self.seconds:g} seconds, and ends"]
        for rank, messages in (self._messages or {}).items():
            silent = now - messages.heard
            if silent > self.seconds / 3:
                lines.append(f"no word from {self._name(rank)} for {silent:.0f} seconds")
            elif messages.state[1:] != state[1:]:
                lines.append(f"{self._name(rank)} {messages.state}")
        if len(lines) == 1:
            lines.append("all others wait in the same exchange")
        shown = "; ".join(lines[:8]) + ("; ..." if len(lines) > 8 else "")
        _say(f"{shown}; go on from the last checkpoint with --resume, or set {VARIABLE} to more seconds")
        end_all(self.comm, STATUS)


class _Messages:
    """What two processes tell each other of what they do.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        What joins them.
    peer : int
        The other.
    """

    def __init__(self, comm: Any, peer: int) -> None:
        self._comm, self._peer = comm, peer
        self.heard = perf_counter()
        self.state = State(self.heard, WORKING, 0, 0)
        self._received: NDArray[np.int64] = np.empty(4, np.int64)
        self._receiving: Any = None
        self._sent: Any = None
        self._sending: NDArray[np.int64] = np.empty(4, np.int64)

    def receive(self, now: float) -> None:
        """Take what has come."""
        with suppress(Exception):  # a lost rank: it is not heard
            while True:
                if self._receiving is None:
                    self._receiving = self._comm.Irecv(self._received, source=self._peer)
                if not self._receiving.Test():
                    return
                self._receiving = None
                self.heard = now
                milliseconds, *rest = map(int, self._received)
                self.state = State(now - milliseconds / 1000, *rest)

    def send(self, state: State, now: float) -> None:
        """Send what this process does, unless the last message is still under way."""
        with suppress(Exception):
            if self._sent is None or self._sent.Test():
                self._sending[:] = 1000 * (now - state.since), *state[1:]
                self._sent = self._comm.Isend(self._sending, dest=self._peer)

    def works(self, now: float, seconds: float) -> bool:
        """Return whether the other has told within some seconds that it works."""
        return self.state.kind == WORKING and now - self.heard < seconds


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def end_all(comm: Any, status: int) -> None:
    """End all processes, and in any case this one: MPI may not reach the others any more."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 5)  # its signal ends a process, even one that hangs in C
    with suppress(Exception):
        comm.Abort(status)
    os._exit(status)
