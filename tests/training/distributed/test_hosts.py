"""Two network namespaces as two machines: a connection that goes down, and a machine that vanishes.

Each has a name, an address and a loopback of its own, and a virtual cable joins them. What MPI starts on the
other by ``ssh`` is started by ``ip netns exec`` here. Only root may make them.
"""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.ranks import ROOT

pytestmark = pytest.mark.slow

LIMIT = 4.0

PROGRAM = """
    import os, signal, sys, time
    import numpy as np
    from mpi4py import MPI
    from tinygrad_mnist.training.distributed.communicator import Communicator

    folder, steps = sys.argv[1], int(sys.argv[2])
    ranks = Communicator(MPI.COMM_WORLD, time_limit=float(sys.argv[3]))
    signal.signal(signal.SIGTERM, lambda *_: None)  # as one that saves at the end of a step
    with open(f"{folder}/pid{ranks.rank}", "w") as file:
        file.write(str(os.getpid()))
    for step in range(steps):
        [total] = ranks.sum([np.full(100, ranks.rank + 1.0)])
        assert (total == 3).all()
        if ranks.rank == 0 and step == 3:
            print(*ranks.hosts, flush=True)
        time.sleep(0.01)
    if ranks.rank == 0:
        open(f"{folder}/complete", "w").close()
"""


class Hosts:
    """Two machines that are none, and what runs on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.names = folder, [f"tgm{os.getpid()}{letter}" for letter in "ab"]
        self.ends = [f"v{os.getpid()}{letter}" for letter in "ab"]
        self.agent = folder / "agent"
        self.process: subprocess.Popen[str] | None = None

    def make(self) -> None:
        (one, two), (end, other) = self.names, self.ends
        for command in (
            *(f"netns add {name}" for name in self.names),
            f"link add {end} netns {one} type veth peer name {other} netns {two}",
            *(f"-n {name} link set lo up" for name in self.names),
            f"-n {one} addr add 10.77.0.1/24 dev {end}",
            f"-n {two} addr add 10.77.0.2/24 dev {other}",
            f"-n {one} link set {end} up",
            f"-n {two} link set {other} up",
        ):
            subprocess.run(["ip", *command.split()], check=True, capture_output=True)
        self.agent.write_text(f"#!/bin/sh\nshift\n{self._on(1, '$*')}\n")
        self.agent.chmod(0o755)

    def _on(self, number: int, command: str) -> str:
        name = self.names[number]
        return f"""exec ip netns exec {name} unshare --uts sh -c "hostname host{number}; {command}" """

    def remove(self) -> None:
        for name in self.names:
            with suppress(ProcessLookupError):
                for pid in self.pids(name):
                    os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        if self.process is not None:
            self.process.communicate()

    def pids(self, name: str) -> list[int]:
        found = subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def start(self, steps: int) -> "subprocess.Popen[str]":
        """Start a program on both; it prints a line after some steps."""
        program = self.folder / "program.py"
        program.write_text(textwrap.dedent(PROGRAM))
        mpiexec = Path(sys.executable).with_name("mpiexec")
        command = (
            f"{mpiexec} --bind-to none --prtemca plm_ssh_agent {self.agent} "
            f"--host 10.77.0.1:1,10.77.0.2:1 -n 2 {sys.executable} {program} {self.folder} {steps} {LIMIT}"
        )
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        self.process = subprocess.Popen(
            ["sh", "-c", self._on(0, command)],
            env={**os.environ, **root, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def disconnect(self) -> None:
        """Let the cable be pulled: nothing arrives any more, and nobody is told."""
        subprocess.run(["ip", "-n", self.names[0], "link", "set", self.ends[0], "down"], check=True)

    @property
    def complete(self) -> bool:
        return (self.folder / "complete").exists()

    def still_running(self) -> list[int]:
        """Return the ranks that run five seconds later, at most."""
        ranks = [int((self.folder / f"pid{rank}").read_text()) for rank in range(2)]
        until = time.monotonic() + 5
        while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in ranks):
            time.sleep(0.05)
        return [pid for pid in ranks if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def hosts(tmp_path):
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    if not (shutil.which("ip") and shutil.which("unshare")) or os.geteuid() != 0:
        pytest.skip("two network namespaces need Linux, root, ip and unshare")
    hosts = Hosts(tmp_path)
    try:
        hosts.make()
    except subprocess.CalledProcessError as error:
        hosts.remove()
        pytest.skip(f"this system allows no network namespaces: {error.stderr.decode().strip()}")
    yield hosts
    hosts.remove()


def test_two_hosts_exchange_and_are_known_by_name(hosts):
    output, errors = hosts.start(steps=20).communicate(timeout=60)
    assert output.split() == ["host0", "host1"], errors
    assert hosts.complete


def test_a_connection_that_goes_down_ends_all_within_the_limit_past_sigterm(hosts):
    process = hosts.start(steps=1_000_000)
    assert process.stdout is not None
    assert process.stdout.readline() == "host0 host1\n"
    hosts.disconnect()
    began = time.monotonic()
    for rank in range(2):  # they wait in an exchange: its handler cannot run
        os.kill(int((hosts.folder / f"pid{rank}").read_text()), signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 5 * LIMIT  # the limit, MPI's time to end the others, and the launcher's
    assert process.returncode != 0
    assert "rank 0 on host0 waits in exchange" in errors
    assert "there is no word from rank 1 on host1 for" in errors
    assert hosts.still_running() == []
    assert not hosts.complete


def test_where_a_host_vanishes_the_rest_ends_whatever_the_launcher_says_and_the_files_tell(hosts):
    process = hosts.start(steps=1_000_000)
    assert process.stdout is not None
    assert process.stdout.readline() == "host0 host1\n"
    hosts.disconnect()
    for pid in hosts.pids(hosts.names[1]):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)  # Open MPI ends with status 0 here
    assert hosts.still_running() == []
    assert not hosts.complete
