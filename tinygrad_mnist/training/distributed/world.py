"""The communicator of all processes that were started together, and the refusal of those that do not meet."""

from __future__ import annotations

from typing import Any, Final

from tinygrad_mnist.extras import missing_package
from tinygrad_mnist.training.errors import TrainingError

EXTRA: Final = "mpi"


def find_world(size: int | None, by: str) -> Any:
    """Return the communicator of all processes, by mpi4py; None if there is one after all.

    Parameters
    ----------
    size : int or None
        How many were started, where that is known.
    by : str
        What started them: mpiexec or srun.

    Raises
    ------
    ImportError
        If mpi4py is not installed.
    TrainingError
        If it finds no MPI, or another number of processes than were started.
    """
    try:
        from mpi4py import MPI
    except ModuleNotFoundError:
        raise missing_package("to train by several processes", EXTRA, "mpi4py") from None
    except (ImportError, RuntimeError) as error:
        raise TrainingError(
            f"mpi4py cannot load MPI ({error}): install Open MPI with "
            f'pip install "tinygrad_mnist[{EXTRA}]"'
        ) from error
    comm = MPI.COMM_WORLD
    if size is not None and comm.size != size:
        library = MPI.Get_library_version().split(",")[0].strip("\0 \n")
        advice = "srun --mpi=pmix" if by == "srun" else "the mpiexec that belongs to it"
        raise TrainingError(
            f"{by} has started {size} processes, but mpi4py's MPI, {library}, finds {comm.size}: start them "
            f"by {advice}"
        )
    return comm if comm.size > 1 else None
