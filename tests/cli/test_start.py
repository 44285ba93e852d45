"""How a process knows that it is one of several: by what mpiexec and Slurm put into the environment."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tinygrad_mnist.cli import start
from tinygrad_mnist.cli.output import notify, show
from tinygrad_mnist.cli.start import Start, find_start

SECOND = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}
"""What mpiexec gives the second of two processes."""

BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_NNODES": "2"}
"""What Slurm gives a batch script that asks for four tasks."""

STEP = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
"""What srun gives the last of four tasks."""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({**SECOND, "PMIX_RANK": "1"}, Start(1, 2, "mpiexec")),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}, None),
        (BATCH, None),
        (STEP, Start(3, 4, "srun")),
        ({**STEP, "PMIX_RANK": "3"}, Start(3, 4, "srun")),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),  # srun --pty bash
        # mpiexec in a shell that srun has started
        ({**STEP, "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3"}, Start(0, 3, "mpiexec")),
        ({"PMI_RANK": "2", "PMI_SIZE": "3"}, Start(2, 3, "mpiexec")),  # MPICH and others
        ({"PMIX_RANK": "2"}, Start(2, None, "srun")),
        ({"OMPI_COMM_WORLD_RANK": "one", "OMPI_COMM_WORLD_SIZE": "2"}, None),
    ],
)
def test_the_environment_says_it(environment: dict[str, str], expected: Start | None) -> None:
    assert find_start(environment) == expected


def run(source: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


WRONG = (
    "import sys; from tinygrad_mnist.cli import main, start; start.FIRST_SPEAKS = 0;"
    "sys.exit(main(['train', {!r}, 'nothing.toml']))"
)
FIRST = {**SECOND, "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}


def test_of_several_processes_the_first_says_what_is_wrong() -> None:
    first = run(WRONG.format("--nothing"), **FIRST)
    assert first.returncode == 2
    assert first.stderr == (
        "tinygrad-mnist: unrecognized arguments: --nothing nothing.toml (see tinygrad-mnist train --help)\n"
    )
    # the words of a command are wrong everywhere
    second = run(WRONG.format("--nothing"), **SECOND, OMPI_COMM_WORLD_LOCAL_RANK="0")
    assert (second.returncode, second.stderr) == (2, "")


def test_what_is_wrong_with_a_machine_the_first_process_on_it_says() -> None:
    first = run(WRONG.format("--recipe"), **FIRST)
    assert first.stderr.startswith("tinygrad-mnist: ")
    assert "nothing.toml" in first.stderr
    beside_the_first = run(WRONG.format("--recipe"), **SECOND, OMPI_COMM_WORLD_LOCAL_RANK="1")
    assert (beside_the_first.returncode, beside_the_first.stderr) == (first.returncode, "")
    elsewhere = run(WRONG.format("--recipe"), **SECOND, OMPI_COMM_WORLD_LOCAL_RANK="0")
    assert elsewhere.stderr.startswith("tinygrad-mnist: rank 1 on ")
    assert elsewhere.stderr.endswith(first.stderr.removeprefix("tinygrad-mnist: "))


def test_an_interrupt_at_the_very_start_is_said_by_the_first_process() -> None:
    source = (
        "import sys; from tinygrad_mnist.cli import main, start\n"
        "def interrupted(rank): raise KeyboardInterrupt(15)\n"
        "start._find_link = interrupted; sys.exit(main(['train']))"
    )
    for rank, sentence in (("0", "tinygrad-mnist: interrupted\n"), ("1", "")):
        ran = run(source, **{**SECOND, "OMPI_COMM_WORLD_RANK": rank})
        assert (ran.returncode, ran.stderr) == (130, sentence)


def test_who_writes_in_the_place_of_a_lost_first_one_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECOND.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ranks: Any = SimpleNamespace(is_writer=False)

    def say(what: str) -> None:
        show(f"shown {what}")
        notify(f"told {what}")

    with start.as_one_of_several():
        say("at first")
        start.join(ranks)
        say("joined")
        ranks.is_writer = True
        say("as the one that writes")
    assert capsys.readouterr() == (
        "shown as the one that writes\n",
        "tinygrad-mnist: told as the one that writes\n",
    )


def test_neither_mpi_nor_numpy_is_loaded_to_know_it() -> None:
    source = (
        "import sys; from tinygrad_mnist.cli import main; status = main(['--version']);"
        "print(status, sorted({'mpi4py', 'numpy'} & set(sys.modules)))"
    )
    assert run(source).stdout.splitlines()[-1] == "0 []"


def test_tasks_that_do_not_find_each_other_are_refused() -> None:
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    first = {**STEP, "SLURM_PROCID": "0"}
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("OMPI", "PMI", "SLURM"))}
    ran = subprocess.run(
        [sys.executable, "-m", "tinygrad_mnist", "train", "--data", "digits"],
        env={**alone, **first},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("tinygrad-mnist: srun has started 4 processes, but mpi4py's MPI, ")
    assert ran.stderr.endswith("finds 1: start them by srun --mpi=pmix\n")
