"""The launcher: what it does while ranks live and die.

A small program stands for mpiexec, and small programs for the ranks: MPI takes seconds to start.
"""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tinygrad_mnist.training.distributed import launcher
from tinygrad_mnist.training.distributed.launcher import launch
from tinygrad_mnist.training.distributed.open_mpi import Launch

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
from tinygrad_mnist.training.distributed.launcher_link import find_link
rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
print("lost ")  # before it has the streams of the launcher
sys.stdout.flush()
link = find_link(rank)
def end(status):
    link.end(status, is_first=rank == 0)
    sys.exit(status)
"""


def made(source: str, processes: int = 2) -> Launch:
    program = textwrap.dedent(RANK) + textwrap.dedent(source)
    command = (sys.executable, "-c", MPIEXEC, str(processes), program)
    return Launch(processes, command, {**os.environ, "PYTHONPATH": str(ROOT)})


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
        link.join()
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
        link.join()
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
        link.join()
        if rank == 0:
            os._exit(0)
        link.end(0, is_first=True)
    """
    assert launch(made(source), said.append) == 0
    assert said == []


def test_a_rank_that_ends_all_has_the_last_word_and_the_others_end_at_once() -> None:
    said: list[str] = []
    source = """
        from tinygrad_mnist.training.distributed.launcher_link import tell_end_of_all
        link.join()
        time.sleep(0.3)
        if rank == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        tell_end_of_all(75)
        sys.exit(75)
    """
    assert launch(made(f"        import signal{source}"), said.append) == 75
    assert said == []


def test_a_rank_that_mpi_does_not_bring_to_the_others_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "START_LIMIT", 1.0)
    said: list[str] = []
    source = """
        if rank == 0:
            link.join()
        time.sleep(60)
    """
    assert launch(made(source), said.append) == 1
    (sentence,) = said
    assert sentence.startswith("MPI has not brought all processes together after 1 s")


def test_a_program_that_starts_no_rank_is_explained_by_what_it_prints() -> None:
    said: list[str] = []
    prints = "print('-' * 74); print('no  slots\\0'); print('[warn] Epoll MOD(1)'); print('-' * 74)"
    command = (sys.executable, "-c", prints)
    assert launch(Launch(2, command, dict(os.environ)), said.append) == 1
    assert said == ["mpiexec has started none of the 2 processes; MPI says: no slots"]


def test_nothing_is_left_of_processes_that_have_not_told_of_themselves(tmp_path: Path) -> None:
    said: list[str] = []
    child = (
        "import os, sys, time; name = sys.argv[1]; open(name + 'part', 'w').write(str(os.getpid()));"
        "os.rename(name + 'part', name); time.sleep(60)"
    )
    source = f"""
        import glob, subprocess
        folder = {str(tmp_path)!r}
        os.setpgid(0, 0)
        link.join()
        subprocess.Popen([sys.executable, "-c", {child!r}, f"{{folder}}/{{rank}}"], stdout=-3, stderr=-3)
        while len(glob.glob(f"{{folder}}/?")) < 2:
            time.sleep(0.02)
        end(0)
    """
    assert launch(made(source), said.append) == 0
    until = time.monotonic() + 10  # what is killed ends when the system comes to it
    for file in tmp_path.iterdir():
        while not has_ended(int(file.read_text())):
            assert time.monotonic() < until
            time.sleep(0.02)


def has_ended(pid: int) -> bool:
    """Say whether a process has ended, though perhaps nobody has asked for its status."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:  # it has ended just now, or the system has no such files
        return False


def test_what_the_second_process_finds_before_mpi_is_said_by_the_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launcher, "KILL_LIMIT", 0.2)
    said: list[str] = []
    source = """
        if rank == 1:
            link.end(1, "a package is missing")
            sys.exit(1)
        time.sleep(60)
    """
    assert launch(made(source), said.append) == 1
    assert said == ["rank 1 of 2: a package is missing"]


def test_where_a_rank_has_ended_all_and_said_why_nothing_is_added() -> None:
    said: list[str] = []
    command = (sys.executable, "-c", "print('MPI_ABORT was invoked on rank 1')")
    assert launch(Launch(2, command, dict(os.environ)), said.append) == 1
    assert said == []


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
        link.join()
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


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread alone"
)
def test_a_signal_that_the_program_takes_otherwise_reaches_no_rank(tmp_path: Path) -> None:
    came: list[int] = []
    said: list[str] = []
    source = f"""
        link.join()
        open({str(tmp_path)!r} + f"/{{rank}}", "w").close()
        while not os.path.exists({str(tmp_path)!r} + "/go"):
            time.sleep(0.02)
        end(rank)
    """

    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)
        threading.Event().wait(0.3)
        (tmp_path / "go").touch()

    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert launch(made(source), said.append) == 0  # of the first rank, which lives
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert came == [signal.SIGUSR1]
    assert said == []


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
        "from tinygrad_mnist.training.distributed.launcher import launch\n"
        "from tinygrad_mnist.training.distributed.open_mpi import Launch\n"
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
