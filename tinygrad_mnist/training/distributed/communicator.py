"""What several processes say to each other, over MPI: sums, flags, and whatever can be pickled.

Every method is collective: all ranks call it, in the same order.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.shards import Refused
from tinygrad_mnist.training.errors import TrainingError

Array = NDArray[Any]

_CALLS: Final = 1024
"""The number of a call is sent by this modulus, so that it is exact in float32 for thousands of ranks."""


class Communicator:
    """The processes that train together.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        What joins them, such as ``MPI.COMM_WORLD``. It is duplicated, so that nothing else is mixed in.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        How many there are.
    host : str
        The name of this machine.
    waited : float
        Seconds spent in exchanges so far.
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm.Dup()
        self.rank, self.size = int(self._comm.rank), int(self._comm.size)
        self.host = socket.gethostname()
        self.waited = 0.0
        self._calls = 0
        self._buffers: dict[tuple[int, Any], Array] = {}

    @property
    def is_writer(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def sum(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the sum of each array over all ranks: new arrays, of the same bits in each rank."""
        return self._summed(arrays, refuses=False)

    def refuse(self, arrays: Sequence[Array]) -> None:
        """Take part in a sum without values, so that it raises `Refused` everywhere."""
        with suppress(Refused):
            self._summed(arrays, refuses=True)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any rank."""
        return bool(self.sum([np.array([flag], np.float64)])[0][0])

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order, in each of them."""
        began = perf_counter()
        found: list[Any] = self._comm.allgather(value)
        self.waited += perf_counter() - began
        return found

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Return the value of one rank, in each of them."""
        began = perf_counter()
        found = self._comm.bcast(value, root=root)
        self.waited += perf_counter() - began
        return found

    def _summed(self, arrays: Sequence[Array], *, refuses: bool) -> list[Array]:
        dtype = np.result_type(np.float32, *(array.dtype for array in arrays))
        size = sum(array.size for array in arrays)
        buffer = self._buffers.get((size, dtype))
        if buffer is None:
            buffer = self._buffers[size, dtype] = np.empty(size + 2, dtype)
        end = 0
        for array in arrays:
            begin, end = end, end + array.size
            buffer[begin:end] = 0 if refuses else array.ravel()
        self._calls = (self._calls + 1) % _CALLS
        buffer[size:] = self._calls, refuses
        began = perf_counter()
        self._comm.Allreduce(_in_place(), buffer)
        self.waited += perf_counter() - began
        if buffer[size] != self._calls * self.size:
            raise TrainingError(
                "the processes are out of step: one of them made another exchange than the others; a model "
                "or a callback that does other things in one process than in another is the usual cause"
            )
        if buffer[size + 1]:
            raise Refused
        found, end = [], 0
        for array in arrays:
            begin, end = end, end + array.size
            found.append(buffer[begin:end].reshape(array.shape).astype(array.dtype))
        return found


def _in_place() -> Any:
    from mpi4py import MPI

    return MPI.IN_PLACE


def as_communicator(given: Any) -> Communicator | None:
    """Return the communicator of what a user gave: one of mpi4py's or of ours; None for one process."""
    if given is None or hasattr(given, "refuse"):  # what tests have in its place is one, too
        found: Communicator | None = given
        return found
    return Communicator(given)
