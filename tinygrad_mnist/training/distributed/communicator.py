"""The exchanges of several processes, over MPI: sums, flags, and whatever can be pickled.

Every method is collective: all ranks call it, in the same order. Python's handlers of signals run between
exchanges, not in one.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import socket
import sys
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import accumulate, pairwise
from math import inf
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.shards import Exchange, Refused
from tinygrad_mnist.training.distributed.errors import ExchangeError, OutOfStepError, RankLostError
from tinygrad_mnist.training.distributed.liveness import BROADCAST, ENDING, GATHERING, SUM, WORKING
from tinygrad_mnist.training.distributed.watch import (
    DEFAULT_SECONDS,
    Watch,
    end_all,
    limited,
    say,
    seconds_of,
)
from tinygrad_mnist.training.errors import TrainingError

Array = NDArray[Any]

PATIENCE: Final = 2.0
"""Seconds for which a process with an exception waits whether the others have one too."""

_CODES: Final = 1021
"""What is sent of the number of an exchange is below this: its sum over thousands of ranks is exact in
float32; a prime number, so that sizes that differ by a power of two differ."""

_LAYOUTS: Final = 256
"""How many layouts are kept: a model has one of gradients, and a few of batch norms."""


@runtime_checkable
class Ranks(Exchange, Protocol):
    """Processes, or threads that stand for them, which exchange as a `Communicator` does."""

    rank: int
    size: int

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order."""

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Return the value of one rank."""


class Communicator:
    """The processes that train together.

    From the time that it is made, an exception that nobody catches in one of them ends all: so make it first
    thing. Two threads of a process may not exchange at the same time, and a forked one may not at all.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        What joins them, such as ``MPI.COMM_WORLD``. It is duplicated, so that nothing else is mixed in.
    time_limit : float, optional
        Seconds that an exchange may take. A process that waits longer says so and ends. Without it, the
        variable of the environment ``TINYGRAD_MNIST_EXCHANGE_SECONDS`` sets it; else it is 60.

    Attributes
    ----------
    mpi : mpi4py.MPI.Comm
        The duplicate.
    rank : int
        The number of this process, from 0.
    size : int
        How many there are.
    host : str
        The name of this machine.
    hosts : list of str
        The machine of each rank.
    waited : float
        Seconds spent in exchanges so far.
    step : int or None
        The step of training that is under way, for messages; who trains sets it.
    members : list of int
        The number that each rank had at first: of those that are left after `shrink`.
    lost : list of str
        The processes that were lost, in words.
    checkpoint : Path or None
        Where the state to go on from is written, if it is; who writes it sets it.

    Raises
    ------
    TrainingError
        In all of them, if the time limit of one is no number above 0.
    """

    def __init__(self, comm: Any, *, time_limit: float | None = None) -> None:
        from mpi4py import MPI

        self.host = socket.gethostname()
        self.hosts: list[str] = []
        self.members: list[int] = []
        self.step: int | None = None
        self.checkpoint: Path | None = None
        self.waited = 0.0
        self._layouts: dict[Any, _Layout] = {}  # by the shapes and dtypes of what is summed
        self.closed = self._busy = self._lost = self._has_met = False
        self._calls = 0
        self._in_place = MPI.IN_PLACE
        self.lost: list[str] = []
        self._pid = os.getpid()
        self.mpi = comm
        try:
            with limited(comm, _limit_at_first(time_limit), "the others to begin"):
                self.mpi = comm.Dup()
                self.mpi.Set_errhandler(MPI.ERRORS_RETURN)
                self.rank, self.size = int(self.mpi.rank), int(self.mpi.size)
                self._seconds = self._agreed_limit(time_limit)
                self.members = list(range(self.size))
                self._watch = Watch(self.mpi.Dup(), self.hosts, self._seconds, self.advice)
        except MPI.Exception as error:
            raise self._told(error) from error
        atexit.register(self._at_exit)

    def _agreed_limit(self, time_limit: float | None) -> float:
        """Return the time limit, and note the hosts; no rank may fail before, as the others wait for it."""
        seconds, fault = inf, None
        try:
            seconds = seconds_of(time_limit)
        except TrainingError as error:
            fault = str(error)
        found: list[tuple[str, str | None]] = self.mpi.allgather((self.host, fault))
        self.hosts = [host for host, _ in found]
        faults = [f"rank {rank} on {host}: {said}" for rank, (host, said) in enumerate(found) if said]
        if faults:
            self.mpi.Free()
            raise TrainingError(fault or faults[0])
        return seconds

    @property
    def is_writer(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def advice(self) -> str:
        """Return the end of a sentence on what to do where all end, if there is something to go on from."""
        is_there = self.checkpoint is not None and self.checkpoint.exists()
        return "; go on from the last checkpoint with --resume" if is_there else ""

    def sum(self, arrays: Sequence[Array], *, lent: bool = False) -> list[Array]:
        """Return the sum of each array over all ranks: new arrays, of the same bits in each rank.

        Those that are ``lent`` hold until the next exchange: they lie in the buffer that was exchanged.
        Integers are summed exactly, float16 is in float32. Of truth values it is whether any is true.

        Raises
        ------
        Refused
            If a rank has taken part by `refuse`.
        OutOfStepError
            If the ranks made different exchanges.
        RankLostError
            If a rank is lost.
        """
        layout = self._layout_of(arrays)
        for view, array in zip(layout.views, arrays, strict=True):
            view[...] = array
        self._sum_in(layout.buffer, layout.size, layout.code)
        found = zip(layout.views, arrays, strict=True)
        return [view.astype(array.dtype, copy=not lent) for view, array in found]

    def prepared(self, likes: Sequence[Array]) -> Callable[[Sequence[Array]], Sequence[Array]]:
        """Return what sums arrays that look as some do; it returns the same lent arrays at each call.

        What arrays look like is not asked again, which takes as long as a small exchange.
        """
        buffer, views, size, code = self._layout_of(likes)
        if any(view.dtype != like.dtype for view, like in zip(views, likes, strict=True)):
            return partial(self.sum, lent=True)

        def summed(arrays: Sequence[Array]) -> Sequence[Array]:
            for view, array in zip(views, arrays, strict=True):
                view[...] = array
            self._sum_in(buffer, size, code)
            return views

        return summed

    def refuse(self, arrays: Sequence[Array]) -> None:
        """Take part in a sum without values, so that it raises `Refused` everywhere."""
        layout = self._layout_of(arrays)
        layout.buffer[:] = 0
        with suppress(Refused):
            self._sum_in(layout.buffer, layout.size, layout.code, refuses=True)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any rank."""
        return bool(self.sum([np.array([flag], np.float64)])[0][0])

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order, in each of them; they are pickled."""
        found: list[_Sealed] = self._exchange(GATHERING, 0, self.mpi.allgather, _Sealed.of(value))
        return [self._opened(one) for one in found]

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Return the value of one rank, in each of them; it is pickled."""
        sealed = _Sealed.of(value) if self.rank == root else None
        return self._opened(self._exchange(BROADCAST, 0, self.mpi.bcast, sealed, root))

    def meet(self, seconds: float = inf, *, has_ended: bool = False) -> int | None:
        """Return how many ranks have ended, once all come here; None if they do not within some seconds.

        Then it is of no more use. A process that waits here does not spin, and its handlers of signals run.

        Parameters
        ----------
        seconds : float
            How long to wait.
        has_ended : bool
            Whether this one makes no other exchange after it.
        """
        if self._lost:
            return None
        own, ended = np.array([has_ended], np.int64), np.zeros(1, np.int64)
        began = perf_counter()
        if has_ended and seconds == inf:  # who comes here takes no part in any other exchange
            self._watch.state = (began, ENDING, self._calls, 0)
        try:
            request = self.mpi.Iallreduce(own, ended)
            while not request.Test():
                if perf_counter() > began + seconds:
                    _kept.append((request, own, ended))
                    return None
                sleep(0.005)
        except Exception:  # a rank is lost
            self._lost = True
            return None
        finally:
            self._watch.state = (perf_counter(), WORKING, self._calls, 0)
        self._has_met = ended[0] > 0  # others end, so that this one does not wait for them when it does
        return int(ended[0])

    def end_all(self, status: int) -> None:
        """End all processes at once, and this one with an exit status."""
        end_all(self.mpi, status)

    def close(self) -> None:
        """Free what belongs to it; all ranks call this, and use it no more."""
        if not self.closed:
            self.abandon()
            self._watch.comm.Free()
            self.mpi.Free()

    def abandon(self) -> None:
        """Use it no more, without the others: for one that has lost a rank."""
        self.closed = True
        atexit.unregister(self._at_exit)
        self._watch.stop()

    def _at_exit(self) -> None:
        """Wait for the others before MPI ends, which cannot be interrupted; end them if this one failed."""
        if os.getpid() != self._pid:
            return
        failed = getattr(sys, "last_value", None) is not None  # an exception that nobody caught
        met = self._has_met or self.meet(PATIENCE if failed else inf, has_ended=True) is not None
        if failed and not met:
            say(f"rank {self.members[self.rank]} on {self.host} ended by this exception, and ends all")
            end_all(self.mpi, 1)
        self._watch.stop()
        if not met:  # MPI waits for a lost rank as long as it is a member
            with suppress(Exception):
                self.mpi.Revoke()
                self.mpi.Shrink()
        if (self.lost or not met) and hasattr(signal, "setitimer"):
            # where a rank was lost, the end of MPI hangs now and then: this signal ends the process then
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, _END_SECONDS)

    def _layout_of(self, arrays: Sequence[Array]) -> _Layout:
        key = tuple([(array.shape, array.dtype) for array in arrays])
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[key] = _Layout.of(arrays)
        return layout

    def _sum_in(self, buffer: Array, size: int, code: int, *, refuses: bool = False) -> None:
        """Sum what lies in the buffer of a layout over all ranks, in place."""
        code = (self._calls * 31 + code) % _CODES
        buffer[size], buffer[size + 1] = code, refuses
        self._exchange(SUM, size, self.mpi.Allreduce, self._in_place, buffer)
        if buffer.item(size) != code * self.size:
            raise self._told(OutOfStepError(_OUT_OF_STEP))
        if buffer.item(size + 1):
            raise Refused

    def _exchange(self, kind: int, size: int, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a collective method of MPI, under the time limit."""
        if _pid != self._pid:
            raise ExchangeError("a process that was forked from a rank takes no part in its exchanges")
        if self._busy:
            raise ExchangeError(
                "two threads exchange over one communicator at the same time; give each training its own, "
                "as MPI.COMM_WORLD.Dup()"
            )
        began, watch = perf_counter(), self._watch
        try:
            self._busy = True
            self._calls += 1
            watch.state = began, kind, self._calls, size
            return method(*arguments)
        except Exception as error:
            raise self._told(error) from error
        finally:
            ended = perf_counter()
            watch.state = ended, WORKING, self._calls, 0
            self._busy = False
            self.waited += ended - began

    def _told(self, error: Exception) -> Exception:
        """Return the error of ours for one of MPI's; that a rank is lost explains any other."""
        from mpi4py import MPI

        kind = error.Get_error_class() if isinstance(error, MPI.Exception) else None
        if kind in (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED) or self._has_lost():
            self._lost = True
            failed = sorted(MPI.Group.Translate_ranks(self.mpi.Get_failed(), None, self.mpi.group))
            if not self.members:  # it has not begun
                return RankLostError(failed, ["an unknown host"] * len(failed), advice=_BEGUN)
            self.mpi.Revoke()  # so that nobody waits in an exchange in which this process takes no part
            ranks, hosts = [self.members[rank] for rank in failed], [self.hosts[rank] for rank in failed]
            return RankLostError(ranks, hosts, self.step, self.advice())
        if kind == MPI.ERR_TRUNCATE:
            return OutOfStepError(_OUT_OF_STEP)
        if isinstance(error, MPI.Exception):
            return ExchangeError(f"an exchange between the processes failed: {error.Get_error_string()}")
        return error

    def _has_lost(self) -> bool:
        """Return whether a rank is lost; what went wrong may be known a moment before the cause is."""
        if not is_fault_tolerant():
            return False
        until = perf_counter() + _KNOWN_AFTER
        while perf_counter() < until:
            if self.mpi.Is_revoked() or self.mpi.Get_failed().size:
                return True
            with suppress(Exception):
                self.mpi.Iprobe()  # lets MPI hear of it
            sleep(0.01)
        return False

    def _opened(self, sealed: Any) -> Any:
        """Return what was sent. Of an exchange with a rank that is lost MPI may return anything."""
        if not isinstance(sealed, _Sealed) or zlib.crc32(sealed.pickled) != sealed.checksum:
            raise self._told(OutOfStepError(_OUT_OF_STEP))
        return pickle.loads(sealed.pickled)

    # ---- going on without a rank that is lost --------------------------------------------------------------

    def settled(self, is_done: bool) -> bool:
        """Return whether all ranks are done with something, and none was lost; the same in all that are left.

        It is an exchange that works where others fail. Where it returns False, all of them `shrink`.
        """
        if not is_fault_tolerant():
            return is_done
        began = perf_counter()
        self._watch.state = (began, GATHERING, self._calls, 0)
        if not is_done:
            self.mpi.Revoke()
        try:
            return bool(self.mpi.Agree(int(is_done)))
        except Exception:  # that a rank is lost, which all of them are told
            return False
        finally:
            self._watch.state = (perf_counter(), WORKING, self._calls, 0)
            self.waited += perf_counter() - began

    def shrink(self) -> list[str]:
        """Go on without the ranks that are lost; return them, in words. All that are left call this.

        They keep their order, and have the numbers from 0 again. What it replaces is not freed: parts of
        exchanges that broke off may still arrive, and MPI would give them to the next communicator that has
        its number.
        """
        from mpi4py import MPI

        began = perf_counter()
        self._watch.state = (began, GATHERING, self._calls, 0)
        before = self.mpi
        before.Revoke()
        self.mpi = before.Shrink()
        self.mpi.Set_errhandler(MPI.ERRORS_RETURN)
        left = MPI.Group.Translate_ranks(self.mpi.group, None, before.group)
        gone = [rank for rank in range(self.size) if rank not in left]
        lost = [f"rank {self.members[rank]} on {self.hosts[rank]}" for rank in gone]
        self.lost += lost
        self.members, self.hosts = [self.members[rank] for rank in left], [self.hosts[rank] for rank in left]
        self.rank, self.size = int(self.mpi.rank), int(self.mpi.size)
        self._calls, self._lost = 0, False
        self._watch.stop()
        try:
            self._watch = Watch(self.mpi.Dup(), self.hosts, self._seconds, self.advice)
        except MPI.Exception:  # one more is lost, which the next exchange tells all
            self.mpi.Revoke()
        self.waited += perf_counter() - began
        return lost


_pid = os.getpid()  # to ask the system costs as much as a third of a small exchange


def _after_fork() -> None:
    global _pid
    _pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Sealed(NamedTuple):
    """A value as it is sent, pickled, with a checksum."""

    pickled: bytes
    checksum: int

    @classmethod
    def of(cls, value: Any) -> _Sealed:
        pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return cls(pickled, zlib.crc32(pickled))


_kept: Final[list[Any]] = []
"""What MPI may still write to."""

_FAULT_TOLERANCE: Final = "OMPI_MCA_mpi_ft_enable"
"""The variable of the environment by which Open MPI tells that it was started so."""


def is_fault_tolerant() -> bool:
    """Return whether MPI goes on where a rank is lost: whether it was started with ``--with-ft ulfm``."""
    return os.environ.get(_FAULT_TOLERANCE, "0") not in ("", "0", "false")


_END_SECONDS: Final = 3.0
"""Seconds that the end of MPI may take where a rank was lost; it takes some milliseconds."""

_BEGUN: Final = " before the training began; begin again"

_KNOWN_AFTER: Final = 2.0
"""Seconds after which a process knows of a rank that is lost."""

_OUT_OF_STEP: Final = (
    "the processes are out of step: one of them made another exchange than the others; a model or a callback "
    "that does other things in one process than in another is the usual cause"
)


class _Layout(NamedTuple):
    """The places of arrays in the buffer that is exchanged, one after the other; two numbers are behind them.

    Parameters
    ----------
    buffer : ndarray
        The buffer.
    views : tuple of ndarray
        The places of the arrays in it.
    size : int
        How many values they have.
    code : int
        A number that is another one for most other shapes, and the same in all processes.
    """

    buffer: Array
    views: tuple[Array, ...]
    size: int
    code: int

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> _Layout:
        ends = [0, *accumulate(array.size for array in arrays)]
        dtype = _dtype_of(arrays)
        buffer = np.empty(ends[-1] + 2, dtype)
        places = zip(pairwise(ends), arrays, strict=True)
        views = tuple([buffer[begin:end].reshape(array.shape) for (begin, end), array in places])
        return cls(buffer, views, ends[-1], hash((dtype.num, *(array.shape for array in arrays))) % _CODES)


def _dtype_of(arrays: Sequence[Array]) -> np.dtype[Any]:
    """Return the dtype in which arrays are summed."""
    for array in arrays:
        if array.dtype.kind not in "biufc":
            raise TypeError(f"only numbers can be summed over processes, not an array of {array.dtype}")
    if arrays and all(array.dtype.kind in "iub" for array in arrays):
        return np.dtype(np.int64)
    return np.result_type(np.float32, *(array.dtype for array in arrays))


def as_communicator(given: Any) -> Communicator | None:
    """Return the communicator of what a user gave: one of mpi4py's or of ours; None for one process.

    Of one of mpi4py's, one is made and kept, for all trainings that are given it, until that is freed.

    Raises
    ------
    TrainingError
        If it is something else.

    Examples
    --------
    >>> as_communicator(4)
    Traceback (most recent call last):
    tinygrad_mnist.training.errors.TrainingError: communicator is 4; give mpi4py's, for example MPI.COMM_WORLD
    """
    if given is None or isinstance(given, Ranks):
        found: Any = given
        ranks: Communicator | None = found
        return ranks
    try:
        _require_intracommunicator(given)
    except TrainingError as error:
        atexit.register(_end_all_unless_caught, error)
        raise
    made: Communicator | None = given.Get_attr(_made())  # by an earlier training: one for all of them
    if made is None or made.closed:
        made = Communicator(given)
        given.Set_attr(_made(), made)
    return made


def _limit_at_first(limit: float | None) -> float:
    """Return the time limit before all of them have agreed on it: the usual one where it is none."""
    try:
        return seconds_of(limit)
    except TrainingError:
        return DEFAULT_SECONDS


def _require_intracommunicator(given: Any) -> None:
    """Raise an error if something is no communicator of mpi4py's that joins processes."""
    if not hasattr(given, "Get_attr"):
        raise TrainingError(f"communicator is {given!r}; give mpi4py's, for example MPI.COMM_WORLD")
    from mpi4py import MPI

    if given == MPI.COMM_NULL:
        kind = "MPI.COMM_NULL, which joins no processes, or was freed"
    elif isinstance(given, MPI.Intercomm):
        kind = "one between two groups of processes"
    else:
        return
    raise TrainingError(f"communicator is {kind}; give mpi4py's, for example MPI.COMM_WORLD")


def _end_all_unless_caught(error: TrainingError) -> None:
    """End all at the end of this process, if it is by an error in what it was given that others had not.

    The others may wait for it in the making of their communicator.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or getattr(sys, "last_value", None) is not error or not mpi.Is_initialized():
        return
    with suppress(Exception):
        request, until = mpi.COMM_WORLD.Ibarrier(), perf_counter() + PATIENCE
        while not request.Test():
            if perf_counter() > until:
                rank = mpi.COMM_WORLD.rank
                say(f"rank {rank} on {socket.gethostname()} ended by this exception, and ends all")
                end_all(mpi.COMM_WORLD, 1)
            sleep(0.005)


@cache
def _made() -> int:
    """Return the key by which one of MPI's communicators keeps that of ours that was made of it."""
    from mpi4py import MPI

    def close(comm: Any, keyval: int, made: Communicator) -> None:
        """Close ours when MPI's is freed, which all ranks do, or when another one takes its place."""
        with suppress(Exception):
            made.close()

    return MPI.Comm.Create_keyval(delete_fn=close, nopython=False)
