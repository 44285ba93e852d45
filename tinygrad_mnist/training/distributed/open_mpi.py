"""Open MPI on this machine: its mpiexec, and the command and environment that start processes by it.

Neither NumPy nor MPI is loaded here.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tinygrad_mnist.extras import missing_package
from tinygrad_mnist.training.errors import TrainingError


@dataclass(frozen=True)
class Launch:
    """A command that starts processes, and its environment.

    Parameters
    ----------
    processes : int
        How many.
    command : tuple of str
        The words of the command.
    environment : dict
        Its variables.
    """

    processes: int
    command: tuple[str, ...]
    environment: dict[str, str]


def launch_of(
    processes: int,
    program: Sequence[str],
    mpiexec: str,
    *,
    survives: bool,
    cores: int,
    environment: Mapping[str, str],
    is_root: bool = False,
) -> Launch:
    """Return what starts a program in some processes on this machine.

    Parameters
    ----------
    processes : int
        How many.
    program : sequence of str
        The words of its command.
    mpiexec : str
        The path of Open MPI's.
    survives : bool
        Whether Open MPI can go on after a process has died (ULFM).
    cores : int
        The cores that may be used.
    environment : mapping
        The variables of this process.
    is_root : bool
        Whether the user is root, whom Open MPI refuses unless it is told twice.

    Examples
    --------
    >>> made = launch_of(2, ["python", "a.py"], "mpiexec", survives=False, cores=1, environment={})
    >>> print(*made.command)
    mpiexec --bind-to none --oversubscribe -n 2 python a.py
    """
    options = [
        *(("--with-ft", "ulfm") if survives else ()),
        *("--bind-to", "none"),  # with threads of BLAS, a process needs more than the one core
        *("--oversubscribe", "-n", str(processes)),
    ]
    own = {
        # inside an allocation of a cluster, too, only this machine is used
        "PRTE_MCA_ras": "^slurm,pbs,lsf,gridengine,flux",
        "PRTE_MCA_plm": "^slurm,pbs,lsf,tm",
    }
    if processes > cores:
        own["OMPI_MCA_mpi_yield_when_idle"] = "1"  # a process that waits keeps another one from its core
    if is_root:
        own |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return Launch(processes, (mpiexec, *options, *program), {**own, **environment})


def find_launch(processes: int, program: Sequence[str]) -> Launch:
    """Return what starts a program in some processes on this machine, with the MPI of this environment.

    Raises
    ------
    ImportError
        If mpi4py is not installed.
    TrainingError
        If there is no mpiexec, or that of another MPI than Open MPI; or on a system without Unix sockets.
    """
    if not hasattr(socket, "send_fds"):
        raise TrainingError("several processes on one machine need Linux or macOS")
    if find_spec("mpi4py") is None:
        raise missing_package("to train by several processes", "mpi", "mpi4py")
    mpiexec = find_mpiexec()
    return launch_of(
        processes,
        program,
        mpiexec,
        survives=_survives(mpiexec),
        cores=usable_cores(),
        environment=os.environ,
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
    )


def find_mpiexec() -> str:
    """Return the path of Open MPI's mpiexec: that of this environment, or else the one on PATH.

    Raises
    ------
    TrainingError
        If there is none.
    """
    folders = [Path(sys.executable).parent, *map(Path, _script_folders())]
    own = (str(folder / "mpiexec") for folder in folders if os.access(folder / "mpiexec", os.X_OK))
    found = next(own, None) or shutil.which("mpiexec")
    if found is None:
        raise TrainingError(
            "there is no mpiexec, which starts the processes: install Open MPI's with "
            'pip install "tinygrad_mnist[mpi]"'
        )
    version = _output([found, "--version"])
    if "Open MPI" not in version:
        raise TrainingError(
            f"{found} is not of Open MPI, and --processes knows its options only; start the processes "
            "yourself: mpiexec -n 2 tinygrad-mnist train ..., by the mpiexec of the MPI that mpi4py has"
        )
    return found


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _script_folders() -> Iterator[str]:
    """Yield where pip puts programs: those of the environment, and those of the user."""
    for scheme in (None, f"{os.name}_user"):
        with suppress(KeyError):
            yield sysconfig.get_path("scripts") if scheme is None else sysconfig.get_path("scripts", scheme)


def _survives(mpiexec: str) -> bool:
    """Return whether this Open MPI is built with ULFM."""
    info = Path(mpiexec).with_name("ompi_info")
    return "ft_mpi_support:yes" in _output([str(info), "--parsable"])


def _output(command: Sequence[str]) -> str:
    """Return what a program prints; nothing if it is not there or hangs."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).decode(errors="replace")
