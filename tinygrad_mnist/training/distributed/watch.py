"""The time limit of an exchange: a process that waits too long for the others says so, and ends all.

An exchange runs in C, where neither an exception nor a handler of a signal can interrupt it. So a thread of
its own looks at the clock.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.training.distributed.launcher_link import tell_end_of_all
from tinygrad_mnist.training.distributed.liveness import WORKING, Liveness, State
from tinygrad_mnist.training.errors import TrainingError

VARIABLE: Final = "TINYGRAD_MNIST_EXCHANGE_SECONDS"
"""The variable of the environment that sets the limit."""

DEFAULT_SECONDS: Final = 60.0

STATUS: Final = 75
"""The exit status of a process that has waited too long: EX_TEMPFAIL of sysexits.h, as one may try again."""

ABORT_SECONDS: Final = 5.0
"""How long MPI may take to end the others."""

LAUNCHERS: Final = ("prterun", "prted", "mpiexec", "mpirun", "orted")
"""What starts the processes of a machine with Open MPI."""

LAUNCHER_SECONDS: Final = 10.0
"""How long it may take to end, or as long as the limit, if that is less; one that reaches all machines takes
about one second."""


def seconds_of(limit: float | None) -> float:
    """Return the time limit that holds: what is given, else that of the environment, else the default.

    Raises
    ------
    TrainingError
        If it is no number above 0.

    Examples
    --------
    >>> seconds_of(2.5)
    2.5
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
    return min(seconds, threading.TIMEOUT_MAX)


class Watch:
    """A thread that ends all processes when this one has waited in one exchange for longer than a limit.

    The time for which some process works does not count. For that MPI has to allow calls from several
    threads, as mpi4py asks it to; where it does not, the limit holds as it is.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        A communicator for the messages of this thread alone.
    hosts : sequence of str
        The machine of each rank.
    seconds : float
        The limit.
    advise : callable
        Returns what to do where all end, as a part of a sentence that begins with a semicolon, or nothing.

    Attributes
    ----------
    state : tuple
        What this process does, as the fields of a `State`; who exchanges sets it.
    """

    def __init__(
        self, comm: Any, hosts: Sequence[str], seconds: float, advise: Callable[[], str] = str
    ) -> None:
        from mpi4py import MPI

        now = perf_counter()
        self.comm, self._advise = comm, advise
        self.state: tuple[float, int, int, int] = (now, WORKING, 0, 0)
        self._liveness = Liveness(int(comm.rank), hosts, seconds, now)
        threaded = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        self._messages = [_Messages(comm, peer) for peer in self._liveness.peers] if threaded else []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="time limit of exchanges", daemon=True)
        if len(hosts) > 1:
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for messages in self._messages:
            messages.cancel()
        self._messages = []

    def _watch(self) -> None:
        liveness = self._liveness
        while not self._stopped.wait(liveness.interval):
            now, own = perf_counter(), State(*self.state)
            for messages in self._messages:
                for state in messages.received(now):
                    liveness.hear(messages.peer, state, now)
            told = liveness.tell(own, now)
            for messages in self._messages:
                messages.send(told, now)
            if self._messages and (sentence := liveness.notice(own, now)):
                say(sentence)
            if (sentence := liveness.contradiction(own)) is not None:
                say(f"{sentence}; all end{self._advise()}")
                end_all(self.comm, 1)
            if not own.works and now > liveness.deadline(own):
                finding = liveness.finding(own, now)
                say(f"{finding}; all end{self._advise()}{_MORE_SECONDS}")
                _kill_launcher_later(min(liveness.seconds, LAUNCHER_SECONDS))
                end_all(self.comm, STATUS)


@contextmanager
def limited(comm: Any, seconds: float, what: str) -> Iterator[None]:
    """End all processes if what is done inside takes longer: for the time before there is a `Watch`."""

    def end() -> None:
        say(
            f"rank {comm.rank} on {socket.gethostname()} waits for {what} for more than {seconds:g} seconds; "
            f"one may have ended, or works for long; all end{_MORE_SECONDS}"
        )
        _kill_launcher_later(min(seconds, LAUNCHER_SECONDS))
        end_all(comm, STATUS)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_MORE_SECONDS: Final = f"; set {VARIABLE} to more seconds if they need them"


class _Messages:
    """The messages between this process and another one; no call waits.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        What joins them.
    peer : int
        The rank of the other.
    """

    def __init__(self, comm: Any, peer: int) -> None:
        self._comm, self.peer = comm, peer
        self._received: NDArray[np.int64] = np.empty(4, np.int64)
        self._sent: NDArray[np.int64] = np.empty(4, np.int64)
        self._receiving: Any = None
        self._sending: Any = None

    def received(self, now: float) -> list[State]:
        """Return what has come."""
        found = []
        with suppress(Exception):  # of MPI, where the other is lost: nothing comes
            while True:
                if self._receiving is None:
                    self._receiving = self._comm.Irecv(self._received, source=self.peer)
                if not self._receiving.Test():
                    break
                self._receiving = None
                milliseconds, kind, number, size = map(int, self._received)
                found.append(State(now - milliseconds / 1000, kind, number, size))
        return found

    def send(self, state: State, now: float) -> None:
        """Send a state, unless the last one is still under way."""
        with suppress(Exception):
            if self._sending is None or self._sending.Test():
                self._sent[:] = 1000 * (now - state.since), *state[1:]
                self._sending = self._comm.Isend(self._sent, dest=self.peer)

    def cancel(self) -> None:
        """Receive nothing any more; buffers that MPI may still use are kept to the end."""
        with suppress(Exception):
            if self._receiving is not None:
                self._receiving.Cancel()
        for request, buffer in (self._receiving, self._received), (self._sending, self._sent):
            with suppress(Exception):
                if request is None or request.Test():
                    continue
            _kept.append((request, buffer))


_kept: Final[list[Any]] = []


def say(text: str) -> None:
    """Print a line to stderr, whatever becomes of this process."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _kill_launcher_later(seconds: float) -> None:
    """Kill the process of Open MPI that started this one, if it is still there some seconds after the end.

    Where a connection is down it waits for a machine that it cannot reach: by its defaults for eight minutes,
    past SIGTERM (``oob_tcp_keepalive_time`` and those beside it set how long).
    """
    pid = os.getppid()
    command = Path(f"/proc/{pid}/comm")
    with suppress(OSError):  # where there is no /proc
        name = command.read_text().strip()
        if is_of_this_job(name, os.environ.get("PMIX_NAMESPACE", "")):
            script = f'sleep {seconds}; [ "$(cat {command})" = {name} ] && kill -KILL {pid}'
            quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, **quiet)


def is_of_this_job(name: str, namespace: str) -> bool:
    """Return whether what started this process ends with its job: no daemon that waits for other jobs.

    Parameters
    ----------
    name : str
        The name of the parent process.
    namespace : str
        What PRRTE calls the job: the name of what it began with, ``prte`` for daemons that stay.

    Examples
    --------
    >>> is_of_this_job("prted", "prterun-node1-2801@1"), is_of_this_job("prted", "prte-node1-2801@7")
    (True, False)
    """
    return name in LAUNCHERS and not namespace.startswith(("prte-", "prted-"))


def end_all(comm: Any, status: int) -> None:
    """End all processes, and in any case this one: MPI may not reach the others any more."""
    tell_end_of_all(status)
    with suppress(Exception), open(os.devnull, "w") as nowhere:
        # a thread in C, which no call that hangs can stop
        faulthandler.dump_traceback_later(ABORT_SECONDS, exit=True, file=nowhere)
        for stream in sys.stdout, sys.stderr:
            with suppress(Exception):  # nobody reads it any longer
                stream.flush()
        comm.Abort(status)
    os._exit(status)
