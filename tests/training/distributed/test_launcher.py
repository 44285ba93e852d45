"""The launcher: its command and environment as data, and what it does while ranks live and die.

A small program stands for mpiexec, and small programs for the ranks: MPI takes seconds to start.
"""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tinygrad_mnist.training.distributed import launcher
from tinygrad_mnist.training.distributed.launcher import Launch, find_launch, find_mpiexec, launch, launch_of
from tinygrad_mnist.training.errors import TrainingError

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(not hasattr(socket, "send_fds"), reason="needs Unix sockets")

MPIEXEC = """
import os, signal, subprocess, sys
def end(number, frame):
    for rank in ranks:
        rank.kill()
signal.signal(signal.SIGTERM, end)
print("what MPI prints", flush=True)
ranks = [
    subprocess.Popen(
        [sys.executable, "-c", sys.argv[2]], env={**os.environ, "OMPI_COMM_WORLD_RANK": str(rank)}
    )
    for rank in range(int(sys.argv[1]))
]
sys.exit(max([rank.wait() for rank in ranks]) and 77)
"""

RANK = """
import os, sys, time
from tinygrad_mnist.training.distributed.launcher_link import find_tie
rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
print("lost ")  # before it has the streams of the launcher
sys.stdout.flush()
tie = find_tie(rank)
def end(status):
    tie.end(status, is_first=rank == 0)
    sys.exit(status)
"""


def made(source: str, processes: int = 2) -> Launch:
    program = textwrap.dedent(RANK) + textwrap.dedent(source)
    command = (sys.executable, "-c", MPIEXEC, str(processes), program)
    return Launch(processes, command, {**os.environ, "PYTHONPATH": str(ROOT)})


# ---- what is started -------------------------------------------------------------------------------------


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
    monkeypatch.setattr(launcher, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"mpi4py is needed to train by several processes: .*\[mpi\]"):
        find_launch(2, ["x"])


def test_an_mpiexec_that_is_missing_or_of_another_mpi_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launcher, "_script_folders", lambda: iter([str(tmp_path)]))
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


# ---- while it runs ---------------------------------------------------------------------------------------


def test_ranks_write_to_the_launchers_streams_and_the_first_tells_the_status(
    capfd: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    source = """
        sys.stdout.write("in one piece\\n" * (rank == 0)); sys.stdout.flush()
        os.write(2, b"error\\n" * rank)
        end(3 if rank == 0 else 0)
    """
    assert launch(made(source), said.append) == 3
    assert capfd.readouterr() == ("in one piece\n", "error\n")
    assert said == []  # the rank has told the user itself, and what MPI prints is no news


def test_a_rank_that_dies_before_all_are_joined_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "KILL_LIMIT", 0.2)
    said: list[str] = []
    source = """
        if rank == 1:
            os._exit(0)
        time.sleep(60)
    """
    assert launch(made(source), said.append) == 1
    assert said == ["rank 1 of 2 ended before the training was done; MPI says: what MPI prints lost lost"]


def test_a_rank_that_dies_later_does_not_matter_if_the_first_one_is_content() -> None:
    said: list[str] = []
    source = """
        tie.join()
        time.sleep(0.5)
        if rank == 1:
            os.kill(os.getpid(), 9)
        time.sleep(0.5)
        end(0)
    """
    assert launch(made(source), said.append) == 0
    assert said == []


@pytest.mark.parametrize(
    ("ending", "sentence"),
    [
        ("time.sleep(0.5); os._exit(0)", "rank 0 of 2 ended before the training was done"),
        (
            "os.kill(os.getppid(), 9); time.sleep(60)",
            "mpiexec was ended by SIGKILL before the training was done",
        ),
    ],
)
def test_a_training_has_ended_well_only_if_its_first_rank_says_so(ending: str, sentence: str) -> None:
    said: list[str] = []
    source = f"""
        tie.join()
        if rank == 0:
            time.sleep(0.5)
            {ending}
        end(0)
    """
    assert launch(made(source), said.append) == 1
    assert [one.split("; MPI says")[0] for one in said] == [sentence]


def test_a_rank_that_has_taken_over_tells_the_status() -> None:
    said: list[str] = []
    source = """
        tie.join()
        if rank == 0:
            os._exit(0)
        tie.end(0, is_first=True)
    """
    assert launch(made(source), said.append) == 0
    assert said == []


def test_a_rank_that_ends_all_has_the_last_word_and_the_others_end_at_once() -> None:
    said: list[str] = []
    source = """
        from tinygrad_mnist.training.distributed.launcher_link import tell_end_of_all
        tie.join()
        time.sleep(0.3)
        if rank == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        tell_end_of_all(75)
        sys.exit(75)
    """
    assert launch(made(f"        import signal{source}"), said.append) == 75
    assert said == []


def test_a_program_that_starts_no_rank_is_explained_by_what_it_prints() -> None:
    said: list[str] = []
    command = (sys.executable, "-c", "print('-' * 74); print('no  slots'); print('-' * 74)")
    assert launch(Launch(2, command, dict(os.environ)), said.append) == 1
    assert said == ["mpiexec has started none of the 2 processes; MPI says: no slots"]


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread alone"
)
def test_a_signal_reaches_the_first_rank_which_takes_its_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    said: list[str] = []
    source = f"""
        import signal
        came = []
        signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
        tie.join()
        open({str(tmp_path)!r} + f"/{{rank}}", "w").close()
        while not came and rank == 0:
            time.sleep(0.02)
        time.sleep(1)
        end(143 if came else 0)
    """

    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    assert launch(made(source), said.append) == 143
    sender.join()
    assert said == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_ranks_save_and_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    source = f"""
        import signal
        came = []
        signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
        open({str(tmp_path)!r} + f"/there{{rank}}", "w").close()
        while not came:
            time.sleep(0.02)
        open({str(tmp_path)!r} + f"/saved{{rank}}", "w").close()
        os.rename({str(tmp_path)!r} + f"/saved{{rank}}", {str(tmp_path)!r} + f"/whole{{rank}}")
    """
    found = made(source)
    program = (
        "import os, sys\n"
        "from tinygrad_mnist.training.distributed.launcher import Launch, launch\n"
        "launch(Launch(2, tuple(sys.argv[1:]), dict(os.environ)), print)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *found.command], env=found.environment, stdout=subprocess.DEVNULL
    )
    wait_for(tmp_path, "there")
    process.kill()
    process.wait()
    wait_for(tmp_path, "whole")


def wait_for(folder: Path, name: str) -> None:
    pause = threading.Event()
    for _ in range(1500):
        if len(list(folder.glob(f"{name}?"))) == 2:
            return
        pause.wait(0.02)
    raise AssertionError(f"{name} is not there: {[path.name for path in folder.iterdir()]}")
