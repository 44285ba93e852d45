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
from benchmarks.scale_model import Line, Work, line_through, network_between
from tinygrad_mnist.compiler import machine

RECIPE = "cnn-best"
BATCHES = (64, 128)
"""Images in a batch of the steps that are measured: the recipe's own, and one that is large enough."""
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
    return [whole(rounds), *steps(rounds)]


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


def steps(rounds: int) -> list[Table]:
    """Measure the steps alone, and say how near the model comes."""
    found: dict[str, list[dict[str, Any]]] = {}

    def asking(name: str, ranks: int | None, *arguments: Any) -> Callable[[], float]:
        def measure() -> float:
            answer = asked(ranks, *arguments)
            found.setdefault(name, []).append(answer)
            return float(answer["median"])

        return measure

    rivals = {
        "two sums": asking("two sums", 2, "exchanges"),
        "one sums": asking("one sums", 1, "exchanges"),
    }
    for rows in BATCHES:
        rivals[f"two {rows}"] = asking(f"two {rows}", 2, "steps", RECIPE, STEPS, rows)
    for rows in SHARES:
        rivals[f"alone {rows}"] = asking(f"alone {rows}", None, "steps", RECIPE, STEPS, rows)
        rivals[f"rank {rows}"] = asking(f"rank {rows}", 1, "steps", RECIPE, STEPS, rows)
    values = interleave(rivals, rounds)

    def line(name: str) -> Line:
        return line_through({rows: median(values[f"{name} {rows}"]) for rows in SHARES})

    def sums(name: str) -> dict[int, float]:
        answers = [answer["seconds"] for answer in found[name]]
        return {int(size): median(answer[size] for answer in answers) for size in answers[0]}

    network = network_between(sums("two sums"), sums("one sums"))
    exchanges = {int(size): number for size, number in found[f"two {BATCHES[0]}"][0]["exchanges"].items()}
    work = Work(line("alone"), line("rank"), exchanges)
    notes = (
        f"a step of one process takes {work.alone.fixed * 1e3:.2f} ms and {work.alone.row * 1e6:.1f} µs "
        f"a row, that of a rank {work.rank.fixed * 1e3:.2f} ms and {work.rank.row * 1e6:.1f} µs",
        f"between two processes a message takes {network.latency * 1e6:.1f} µs, and a byte "
        f"{network.byte * 1e9:.2f} ns",
        "a step exchanges "
        + ", ".join(f"{number:g} times {size:,} bytes" for size, number in sorted(exchanges.items())),
    )

    def table(rows: int) -> Table:
        predicted, measured = work.step(rows, 2, network), median(values[f"two {rows}"])
        waited = median(answer["waited"] for answer in found[f"two {rows}"])
        return Table(
            f"processes, recipe {RECIPE}, a step of {rows} images",
            "ms",
            TWO,
            {ONE: Timing.of(values[f"alone {rows}"]), TWO: Timing.of(values[f"two {rows}"])},
            (Target(TWO, ONE, AT_MOST),),
            (
                f"the model predicts {predicted * 1e3:.2f} ms, {predicted / measured - 1:+.0%} from what was "
                f"measured; two processes exchange and wait in {waited / measured:.0%} of a step",
                *(notes if rows == BATCHES[0] else ()),
            ),
        )

    return [table(rows) for rows in BATCHES]


def asked(ranks: int | None, *arguments: Any) -> dict[str, Any]:
    """Return what `scale_worker` answers, run by so many ranks; by a process without MPI for None."""
    command = [sys.executable, "-m", "benchmarks.scale_worker", *map(str, arguments)]
    if ranks is None:
        output = _run(command)
    else:
        from tinygrad_mnist.training.distributed.open_mpi import find_launch

        made = find_launch(ranks, command)
        output = _run(list(made.command), made.environment)
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
