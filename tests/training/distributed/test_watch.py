"""The time limit of an exchange: who waits for nobody ends, past SIGTERM; who waits for work does not."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.ranks import ROOT, run_processes
from tinygrad_mnist.training.distributed.watch import STATUS, VARIABLE, seconds_of
from tinygrad_mnist.training.errors import TrainingError


def test_the_limit_is_what_is_given_else_that_of_the_environment_else_a_minute(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert seconds_of(None) == 60
    monkeypatch.setenv(VARIABLE, "2.5")
    assert seconds_of(None) == 2.5
    assert seconds_of(7) == 7
    assert 1e6 < seconds_of(float("inf")) < float("inf")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "a minute", ""])
def test_another_limit_is_refused_by_its_name(monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(TrainingError, match=re.escape(f"{VARIABLE} is {value}; give seconds")):
        seconds_of(None)
    with pytest.raises(TrainingError, match="time_limit is -3"):
        seconds_of(-3)


PROGRAM = """
    import os, signal, sys, threading, time
    import numpy as np
    from mpi4py import MPI
    from tinygrad_mnist.training.distributed.communicator import Communicator

    limit, case = float(sys.argv[1]), sys.argv[2]
    ranks = Communicator(MPI.COMM_WORLD, time_limit=limit)
    signal.signal(signal.SIGTERM, lambda *_: print("a handler", flush=True))
    ranks.any(True)
    if ranks.rank == 0:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()  # while it waits
    elif case == "is stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif case == "is elsewhere":
        ranks.gather(1)
    elif case == "ends alone":
        sys.exit()
    elif case == "works":
        time.sleep(2.5 * limit)
    ranks.sum([np.ones(5)])
    print(f"the end of rank {ranks.rank}", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "finding"),
    [
        ("is stopped", "there is no word from rank 1 on {host} for "),
        ("is elsewhere", "rank 1 on {host} waits in exchange 2, a gathering"),
    ],
)
def test_a_rank_that_waits_for_nobody_ends_all_and_says_why_also_past_sigterm(case, finding):
    end = run_processes(2, PROGRAM, "1.5", case, timeout=30)
    assert end.returncode == STATUS
    host = socket.gethostname()
    assert (
        f"rank 0 on {host} waits in exchange 2, a sum of 5 values for more than 1.5 seconds; " in end.stderr
    )
    assert finding.format(host=host) in end.stderr
    assert f"all end; set {VARIABLE} to more seconds" in end.stderr  # nothing is there to go on from
    assert "the end of rank 0" not in end.stdout


@pytest.mark.slow
def test_a_rank_that_ends_its_program_ends_the_others_that_wait_for_it_before_the_limit():
    end = run_processes(2, PROGRAM, "30", "ends alone", timeout=25)
    assert end.returncode == 1
    host = socket.gethostname()
    assert (
        f"rank 1 on {host} has ended its program, while rank 0 on {host} waits in exchange 2, a sum of "
        "5 values; all end\n"
    ) in end.stderr


@pytest.mark.slow
def test_a_rank_that_ends_before_the_others_have_begun_ends_them_after_the_limit():
    program = """
        from mpi4py import MPI
        from tinygrad_mnist.training.distributed.communicator import Communicator

        if MPI.COMM_WORLD.rank == 0:
            Communicator(MPI.COMM_WORLD, time_limit=1)
    """
    end = run_processes(2, program, timeout=30)
    assert end.returncode == STATUS
    assert "waits for the others to begin for more than 1 seconds; one may have ended" in end.stderr


@pytest.mark.slow
def test_a_rank_that_works_longer_than_the_limit_is_waited_for_and_named():
    end = run_processes(2, PROGRAM, "3", "works", timeout=30)
    assert end.returncode == 0
    assert end.stdout.count("the end") == 2
    assert f"rank 1 on {socket.gethostname()} works for long: others have waited for" in end.stderr


@pytest.mark.skipif(
    not Path("/proc/self/comm").exists(), reason="processes have names in /proc on Linux alone"
)
@pytest.mark.parametrize(("name", "seconds", "status"), [("prterun", 30, -signal.SIGKILL), ("other", 1, 0)])
def test_a_launcher_that_does_not_end_is_killed_and_nothing_else(tmp_path, name, seconds, status):
    launcher = tmp_path / name
    launcher.symlink_to(shutil.which("sh"))
    program = "from tinygrad_mnist.training.distributed.watch import _kill_launcher_later as kill; kill(0.1)"
    command = [str(launcher), "-c", f"{sys.executable} -c '{program}'; sleep {seconds}"]
    end = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    assert end.returncode == status


def test_a_process_ends_though_mpi_hangs_in_a_call_that_nothing_interrupts():
    program = """
        import re, types
        from tinygrad_mnist.training.distributed import watch

        watch.ABORT_SECONDS = 0.1
        hangs = lambda status: re.match("(a+)+b", "a" * 60)  # for ages in C, with Python's lock
        watch.end_all(types.SimpleNamespace(Abort=hangs), 75)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    end = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False, capture_output=True
    )
    assert (end.returncode, end.stderr) == (1, b"")
