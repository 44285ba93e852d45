"""How this process was started: alone, or as one of several, by mpiexec, by Slurm's srun, or by our launcher.

It is read off the environment, so that nothing of MPI is loaded where there is one process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

LAUNCHER: Final = "TINYGRAD_MNIST_LAUNCHER"
"""The variable of the environment that has the path of our launcher's socket."""


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

In a batch script Slurm sets ``SLURM_PROCID`` and ``SLURM_NTASKS`` for the script itself, which is one process:
only a step that srun has started has ``SLURM_STEP_NUM_TASKS``.
"""


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
        if rank is None:
            continue
        size = next(filter(None, (_number(variables.get(key)) for key in sizes)), None)
        if size is None and not name.startswith("PMIX"):
            continue
        return None if size == 1 else Start(rank, size, by)
    return None


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
