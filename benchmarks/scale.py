"""Two processes and one, one thread each: whole trainings, and their steps alone; and what a model predicts.

Each is started anew in each round, in turn. The model is that of `scale_model`, of a step by one process with
half of the rows, and of sums of arrays between two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import CORES, SkippedError, Table, Target, Timing, interleave
from benchmarks.scale_model import network_between, work_of
from tinygrad_mnist.compiler import machine

RECIPE = "cnn-best"
ROWS = 64
AT_MOST = 0.60
STEPS = 200
ONE, TWO = "one process", "two processes"
SHARES = (16, 32, 64, 128)
"""Rows of the steps that the model is made of."""


def run(rounds: int = 5) -> list[Table]:
    """Measure whole trainings, then steps, and set the model beside them."""
    if len(CORES) < 2:
        raise SkippedError("two processes need two cores, and a system that says which there are")
    if find_spec("mpi4py") is None:
        raise SkippedError('two processes need mpi4py: pip install "tinygrad_mnist[mpi]"')
    if not machine.available():
        raise SkippedError(str(machine.why_unavailable()))
    from benchmarks.recipe import mnist

    mnist()
    return [whole(rounds), steps(rounds)]


def whole(rounds: int) -> Table:
    """Measure the wall time of a whole `train`, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        rivals = {ONE: partial(seconds_of_training, folder, 1), TWO: partial(seconds_of_training, folder, 2)}
        for processes in (1, 2):
            seconds_of_training(folder, processes, "--epochs", "1")  # compiles, and keeps it
        values = interleave(rivals, rounds)
    return Table(
        f"processes, recipe {RECIPE}, the whole command",
        "s",
        TWO,
        {name: Timing.of(taken) for name, taken in values.items()},
        (Target(TWO, ONE, AT_MOST),),
    )


def seconds_of_training(folder: str, processes: int, *options: str) -> float:
    """Train by the command line, and return the seconds."""
    command = [
        *(sys.executable, "-m", "tinygrad_mnist", "train", "--recipe", RECIPE, "--data", "mnist"),
        *("--jit", "on", "--threads", "1", "--quiet", "--no-report", "--out", f"{folder}/{processes}"),
        *(("--processes", str(processes)) if processes > 1 else ()),
        *options,
    ]
    began = time.perf_counter()
    _run(command)
    return time.perf_counter() - began


def steps(rounds: int) -> Table:
    """Measure the steps alone, and say how near the model comes."""
    rivals: dict[str, Callable[[], float]] = {}
    found: dict[str, list[dict[str, Any]]] = {}

    def enter(name: str, processes: int, *arguments: Any) -> None:
        def measure() -> float:
            answer = asked(processes, *arguments)
            found.setdefault(name, []).append(answer)
            return median(answer["seconds"]) if isinstance(answer["seconds"], list) else 0.0

        rivals[name] = measure

    for rows in SHARES:
        enter(str(rows), 1, "steps", RECIPE, STEPS, rows)
    enter(TWO, 2, "steps", RECIPE, STEPS, ROWS)
    enter("sums", 2, "exchanges")
    values = interleave(rivals, rounds)
    sums = {
        int(size): median(answer["seconds"][size] for answer in found["sums"])
        for size in found["sums"][0]["seconds"]
    }
    network, call = network_between(sums)
    exchanges = {int(size): number for size, number in found[TWO][0]["exchanges"].items()}
    work = work_of({rows: median(values[str(rows)]) for rows in SHARES}, call, exchanges)
    predicted, measured = work.step(ROWS, 2, network), median(values[TWO])
    waited = median(median(answer["waited"]) for answer in found[TWO])
    return Table(
        f"processes, recipe {RECIPE}, a step of {ROWS} images",
        "ms",
        TWO,
        {ONE: Timing.of(values[str(ROWS)]), TWO: Timing.of(values[TWO])},
        (Target(TWO, ONE, AT_MOST),),
        (
            f"the model predicts {predicted * 1e3:.2f} ms, {predicted / measured - 1:+.0%} of what was "
            f"measured; {waited / measured:.0%} of a step of two processes is exchanging and waiting",
            f"a step of one process takes {work.fixed * 1e3:.2f} ms and {work.row * 1e6:.1f} µs a row",
            f"a sum between two processes takes {call * 1e6:.0f} µs and {network.byte * 1e9:.2f} ns a byte",
            "a step exchanges "
            + ", ".join(f"{number:g} times {size:,} bytes" for size, number in sorted(exchanges.items())),
        ),
    )


def asked(processes: int, *arguments: Any) -> dict[str, Any]:
    """Return what `scale_worker` answers, run by so many processes."""
    command = [sys.executable, "-m", "benchmarks.scale_worker", *map(str, arguments)]
    if processes > 1:
        from tinygrad_mnist.training.distributed.launcher import find_launch

        made = find_launch(processes, command)
        output = _run(list(made.command), made.environment)
    else:
        output = _run(command)
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command on all cores, and return what it prints."""
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
        preexec_fn=lambda: os.sched_setaffinity(0, CORES),  # this process keeps to one of them
        check=False,
    )
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or ["it said nothing"]
        raise SkippedError(f"{' '.join(command[:6])} ... ended with {ran.returncode}: {said[-1]}")
    return ran.stdout
