"""The way this process was started: alone, or as one of several, by mpiexec, by srun, or by our launcher.

It is read off the environment, so that nothing of MPI is loaded where there is one process. Of several, the
first one alone prints; if it is lost, the one that writes in its place.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from tinygrad_mnist.training.distributed.communicator import Communicator
    from tinygrad_mnist.training.distributed.launcher_link import LauncherLink


FIRST_SPEAKS: Final = 2.0
"""Seconds that the other processes give the first one to say what is wrong."""


class Start(NamedTuple):
    """A process that was started as one of several.

    Parameters
    ----------
    rank : int
        Its number.
    size : int or None
        How many there are; None where what started them does not say.
    by : str
        What started them.
    """

    rank: int
    size: int | None
    by: str


_VARIABLES: Final = (
    # of the rank, of the number of ranks, what sets both
    ("OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",), "mpiexec"),
    ("PMIX_RANK", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), "srun"),
    ("SLURM_PROCID", ("SLURM_STEP_NUM_TASKS",), "srun"),
    ("PMI_RANK", ("PMI_SIZE",), "mpiexec"),
)
"""What says that a process is one of several; the first row that is there counts.

In a batch script Slurm sets ``SLURM_PROCID`` and ``SLURM_NTASKS`` for the script itself, which is one
process: only a step that srun has started has ``SLURM_STEP_NUM_TASKS``.
"""


_RANKS_ON_A_MACHINE: Final = ("OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID")
"""What numbers the processes of a machine."""


def find_start(environment: Mapping[str, str] | None = None) -> Start | None:
    """Return how this process was started as one of several; None if it is alone.

    Parameters
    ----------
    environment : mapping, optional
        The variables to read; those of this process by default.

    Examples
    --------
    >>> find_start({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"})
    Start(rank=1, size=4, by='mpiexec')
    >>> find_start({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None  # a batch script
    True
    """
    variables = os.environ if environment is None else environment
    for name, sizes, by in _VARIABLES:
        rank = _number(variables.get(name))
        size = next(filter(None, (_number(variables.get(key)) for key in sizes)), None)
        if rank is None or (size is None and name != "PMIX_RANK"):
            continue
        return None if size == 1 else Start(rank, size, by)
    return None


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


_communicator: Communicator | None = None


def join(communicator: Communicator) -> None:
    """Let the process that writes print from now on."""
    global _communicator
    _communicator = communicator


def speaks() -> bool:
    """Return whether this process prints: of several, the first one does, or who writes in its place."""
    if _communicator is not None:
        return _communicator.is_writer
    start = find_start()
    return start is None or start.rank == 0


class _OfOne:
    """A stream of several processes: what they write goes nowhere, but for that of the one that prints."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(text) if speaks() else len(text)

    def isatty(self) -> bool:
        return speaks() and self.stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


_kept: str | None = None


def keep(sentence: str) -> None:
    """Keep a sentence that this process does not print, as it is not the first one."""
    global _kept
    _kept = sentence


def _leads_its_machine() -> bool:
    """Return whether this is the first process on its machine."""
    return any(os.environ.get(name) == "0" for name in _RANKS_ON_A_MACHINE)


def _say_alone(rank: int) -> None:
    """Print the sentence that was kept, if the first process does not end all with its own within seconds.

    What is wrong with a machine, as a package or a file that is missing, is found by each process for itself.
    If one ended before the first has printed it, mpiexec would end that one too, and the user would not learn
    of it. On one machine it is the same for all, and so the first one of each machine speaks.
    """
    if _kept is not None and _leads_its_machine():
        import platform

        time.sleep(FIRST_SPEAKS)
        sys.stderr.write(f"tinygrad-mnist: rank {rank} on {platform.node()}: {_kept}\n")


_link: LauncherLink | None = None


def launcher_link() -> LauncherLink | None:
    """Return the link of this process to our launcher; None if it was started otherwise."""
    return _link


@contextmanager
def as_one_of_several() -> Iterator[Callable[[int], int]]:
    """Be one process of several inside, if this is one; else it does nothing.

    Yields a function that is given the exit status, tells our launcher of it, and returns it.
    """
    global _link, _communicator
    start = find_start()
    if start is None:
        yield lambda status: status
        return
    output = sys.stdout
    try:
        _link = _find_link(start.rank)
        if start.rank:
            sys.stdout = _OfOne(output)
        elif _link is None:
            os.environ["TERM"] = "dumb"  # mpiexec lets a file look like a terminal
        if hasattr(signal, "SIGUSR1") and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
            signal.signal(signal.SIGUSR1, _terminate)
        yield lambda status: _told(status, start.rank)
    except BaseException:  # Python prints it
        _told(1, 0)
        raise
    finally:
        sys.stdout = output
        _link = _communicator = None


def _find_link(rank: int) -> LauncherLink | None:
    from tinygrad_mnist.training.distributed.launcher_link import find_link

    return find_link(rank)


def _told(status: int, rank: int) -> int:
    is_silent = status != 0 and rank != 0 and "mpi4py.MPI" not in sys.modules
    if _link is not None:
        sys.stdout.flush()
        _link.end(status, _kept if is_silent else None, is_first=speaks())
    elif is_silent:
        _say_alone(rank)
    return status


def _terminate(number: int, frame: FrameType | None) -> None:
    """Take SIGUSR1 for SIGTERM: mpiexec passes it on, and does not kill all half a second later."""
    signal.raise_signal(signal.SIGTERM)
