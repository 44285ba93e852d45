"""One thread and two, alone and beside a busy process: what `--threads 2` costs where cores are shared.

Each number of threads has a process of its own, which may use all cores and keeps its network; they are asked
for a measurement in turn, and the busy process runs only while it is wanted.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.harness import CORES, SkippedError, Table, Target, Timing, interleave
from benchmarks.networks import LARGE, LENET, SMALL, Network
from tinygrad_mnist.compiler import machine

AT_MOST, AT_MOST_BUSY = {"eager": 1.5, "jit": 0.62}, {"eager": 1.5, "jit": 1.3}
AT_MOST_LENET = 0.60
CALLS = 10
BUSY = "while True: pass"


class Worker:
    """A process that trains with so many threads, a turn whenever it is asked."""

    def __init__(self, threads: int, network: Network, cores: tuple[int, ...], how: str = "eager") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.thread_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.threads = self.ask(f"{how} {threads} {network.name} {','.join(map(str, cores))}")
        self.measure()  # warms up

    def ask(self, question: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def measure(self) -> float:
        """Seconds a step, over some steps."""
        return float(self.ask(str(CALLS)))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that computes without end, pinned as we are."""
    process = subprocess.Popen([sys.executable, "-S", "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def beside_busy(measure: Callable[[], float]) -> Callable[[], float]:
    """Measure beside the busy process."""

    def run() -> float:
        with busy_process():
            return measure()

    return run


def run(rounds: int = 15) -> list[Table]:
    """Measure all four in turn, on two networks; and compiled, on the large one and on LeNet."""
    if len(CORES) < 2:
        raise SkippedError("two threads need two cores, and a system that says which there are")
    tables = [on(network, rounds) for network in (SMALL, LARGE)]
    if machine.available():
        tables += [on(network, rounds, "jit") for network in (LARGE, LENET)]
    return tables


def on(network: Network, rounds: int, how: str = "eager") -> Table:
    """One network on two cores; the busy process has our own core, which is one of them.

    Parameters
    ----------
    network, rounds
        What is trained, and how often each is measured.
    how
        ``"eager"`` or ``"jit"``.
    """
    with ExitStack() as stack:
        workers = {count: stack.enter_context(Worker(count, network, CORES[-2:], how)) for count in (1, 2)}
        rivals: dict[str, Any] = {}
        for count, worker in workers.items():
            rivals[named(count)] = worker.measure
            rivals[named(count, busy=True)] = beside_busy(worker.measure)
        values = interleave(rivals, rounds)
        notes = tuple(
            f"asked for {count} thread{'s' * (count > 1)}, BLAS computes with {worker.threads}"
            for count, worker in workers.items()
        )
    return Table(
        f"{'compiled, ' * (how == 'jit')}threads, {network.title}",
        "µs",
        named(2),
        {name: Timing.of(taken) for name, taken in values.items()},
        (
            Target(named(2), named(1), AT_MOST_LENET if network is LENET else AT_MOST[how]),
            Target(named(2, busy=True), named(1, busy=True), AT_MOST_BUSY[how]),
        ),
        notes,
    )


def named(count: int, *, busy: bool = False) -> str:
    """Return the name of a number of threads in the table."""
    return f"{'two threads' if count == 2 else 'one thread'}{' beside a busy process' * busy}"
