"""Ranks for tests: threads that exchange in memory, and processes under mpiexec.

Threads are quick, and need no MPI: what computes on shards is tested with them. What starts, writes and fails
is tested with processes.
"""

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.engine.shards import Refused
from tinygrad_mnist.training.distributed.launcher import find_mpiexec
from tinygrad_mnist.training.errors import TrainingError

ROOT = Path(__file__).parents[1]


class ThreadCommunicator:
    """A rank that is a thread; it has the methods of `Communicator`. Sums are made in the order of ranks."""

    def __init__(
        self,
        rank: int,
        size: int,
        table: list[Any],
        barrier: threading.Barrier,
        meeting: threading.Barrier,
    ) -> None:
        self.rank, self.size, self.host, self.waited = rank, size, "here", 0.0
        self.hosts, self.members, self.step = [self.host] * size, list(range(size)), None
        self._table, self._barrier, self._meeting = table, barrier, meeting

    @property
    def is_writer(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        self._table[self.rank] = value
        self._barrier.wait(60)
        found = list(self._table)
        self._barrier.wait(60)
        return found

    def broadcast(self, value: Any, root: int = 0) -> Any:
        return self.gather(value)[root]

    def any(self, flag: bool) -> bool:
        return any(self.gather(bool(flag)))

    def sum(self, arrays: Sequence[Any], *, lent: bool = False) -> list[Any]:
        everybody = self.gather(("sum", [np.array(array) for array in arrays]))
        return self._sums(everybody)

    def refuse(self, arrays: Sequence[Any]) -> None:
        self.gather(("refuse", []))

    def meet(self, seconds: float = 60) -> int | None:
        try:
            self._meeting.wait(seconds)
        except threading.BrokenBarrierError:
            return None
        return 0

    def end_all(self, status: int) -> None:
        self._barrier.abort()
        self._meeting.abort()

    def _sums(self, everybody: list[Any]) -> list[Any]:
        if any(kind == "refuse" for kind, _ in everybody):
            raise Refused
        given = zip(*(arrays for _, arrays in everybody), strict=True)
        return [sum(parts[1:], start=parts[0].copy()) for parts in given]


def run_threads(size: int, function: Callable[[Any], Any]) -> list[Any]:
    """Return what a function returns for each of some ranks, which run at the same time."""
    table: list[Any] = [None] * size
    results: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size
    barrier, meeting = threading.Barrier(size), threading.Barrier(size)

    def run(rank: int) -> None:
        try:
            results[rank] = function(ThreadCommunicator(rank, size, table, barrier, meeting))
        except BaseException as error:
            errors[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [error for error in errors if error is not None]
    for error in found:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    if found:
        raise found[0]
    return results


def run_processes(
    size: int,
    source: str,
    *arguments: str,
    options: Sequence[str] = (),
    timeout: float = 60,
    **environment: str,
) -> "subprocess.CompletedProcess[str]":
    """Return the end of a program of Python that some ranks run under mpiexec; it may not take longer."""
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    mpiexec, fault = _mpiexec()
    if fault is not None:
        pytest.skip(fault)
    command = [
        *(mpiexec, "--oversubscribe", "--bind-to", "none"),
        *(*options, "-n", str(size), sys.executable, "-c", textwrap.dedent(source), *arguments),
    ]
    return run_launcher(command, timeout, **environment)


@cache
def _mpiexec() -> tuple[str, str | None]:
    """Return its path, and why there is none."""
    try:
        return find_mpiexec(), None
    except TrainingError as error:
        return "", str(error)


def run_launcher(
    command: Sequence[str], timeout: float, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Return the end of a command that starts ranks; past its time, it and they are killed."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    process = subprocess.Popen(
        command,
        env={**os.environ, **root, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # it ends the ranks
        try:
            output, errors = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
        raise AssertionError(f"no end after {timeout:g} seconds\n{output}\n{errors}") from None
    return subprocess.CompletedProcess(command, process.returncode, output, errors.replace("\0", ""))
