"""What starts processes by Open MPI, as data, and how its mpiexec is found."""

import socket
import sys
from pathlib import Path

import pytest

from tinygrad_mnist.training.distributed import open_mpi
from tinygrad_mnist.training.distributed.open_mpi import find_launch, find_mpiexec, launch_of
from tinygrad_mnist.training.errors import TrainingError

pytestmark = pytest.mark.skipif(not hasattr(socket, "send_fds"), reason="needs Unix sockets")


def test_the_command_and_its_environment_are_data() -> None:
    settings = {"cores": 2, "environment": {"HOME": "/home/me", "PRTE_MCA_ras": "mine"}}
    found = launch_of(2, ["python", "-m", "x"], "bin/mpiexec", survives=True, **settings)
    assert " ".join(found.command) == (
        "bin/mpiexec --with-ft ulfm --bind-to none --oversubscribe -n 2 python -m x"
    )
    assert found.environment["HOME"] == "/home/me"
    assert found.environment["PRTE_MCA_ras"] == "mine"  # what the user says goes before
    assert "OMPI_ALLOW_RUN_AS_ROOT" not in found.environment
    assert "OMPI_MCA_mpi_yield_when_idle" not in found.environment
    as_root = launch_of(3, ["x"], "mpiexec", survives=False, is_root=True, **settings)
    assert "--with-ft" not in as_root.command
    assert as_root.environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] == "1"
    assert as_root.environment["OMPI_MCA_mpi_yield_when_idle"] == "1"


def test_without_mpi4py_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_mpi, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"mpi4py is needed to train by several processes: .*\[mpi\]"):
        find_launch(2, ["x"])


def test_an_mpiexec_that_is_missing_or_of_another_mpi_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(open_mpi, "_script_folders", lambda: iter([str(tmp_path)]))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError, match="there is no mpiexec"):
        find_mpiexec()
    other = tmp_path / "mpiexec"
    other.write_text("#!/bin/sh\necho HYDRA build details\n")
    other.chmod(0o755)
    with pytest.raises(TrainingError, match="is not of Open MPI"):
        find_mpiexec()
    other.write_text("#!/bin/sh\necho 'mpiexec (Open MPI) 5.0.8'\n")
    assert find_mpiexec() == str(other)
