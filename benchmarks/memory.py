"""The greatest memory of a whole process: `train --recipe mlp`, without jit, and the same in PyTorch."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial

from benchmarks import peers
from benchmarks.harness import SkippedError, Table, Target, Timing, interleave, limit
from benchmarks.recipe import mnist

OURS, AGAINST = "tinygrad-mnist train --recipe mlp", "the same in PyTorch"
EAGER, ADDED = f"{OURS} --jit off", "what compiling adds"
MOST_ADDED = 90e6
"""Bytes."""
LAUNCHER = """
import resource, subprocess, sys
ran = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, ran.returncode)
"""
# Linux counts in KiB, macOS in bytes.
UNIT = 1 if sys.platform == "darwin" else 1024


def peak(command: list[str]) -> float:
    """Bytes of memory that a command had at most.

    A small process starts it: a child counts the memory of who started it as its own until it is loaded.
    """
    ran = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *command], capture_output=True, text=True, check=True
    )
    kibibytes, code = map(int, ran.stdout.split())
    if code:
        raise SkippedError(f"{' '.join(command[1:5])} ended with {code}: {ran.stderr.strip()[-300:]}")
    return kibibytes * UNIT


def run(rounds: int = 3) -> list[Table]:
    """Measure in turn."""
    if sys.platform == "win32":
        raise SkippedError("the greatest memory of a process is not to be had on Windows")
    mnist()
    with tempfile.TemporaryDirectory() as directory:
        train = ["-m", "tinygrad_mnist", "train", "--recipe", "mlp", "--data", "mnist", "--quiet"]
        rivals: dict[str, Callable[[], float]] = {
            OURS: partial(peak, [sys.executable, *train, "--out", f"{directory}/run"]),
            EAGER: partial(peak, [sys.executable, *train, "--jit", "off", "--out", f"{directory}/eager"]),
        }

        def enter_pytorch() -> None:
            import torch  # noqa: F401  (only whether it is there)

            rivals[AGAINST] = partial(peak, [sys.executable, "-m", "benchmarks.peers.torch_recipe"])

        peers.take_part("PyTorch", enter_pytorch)
        values = interleave(rivals, rounds)
    timings = {name: Timing.of(taken) for name, taken in values.items()}
    added = [compiled - eager for compiled, eager in zip(values[OURS], values[EAGER], strict=True)]
    most = limit(MOST_ADDED, "MB")
    return [
        Table(
            "greatest memory of the whole process, recipe mlp on MNIST",
            "MB",
            OURS,
            timings,
            (Target(OURS, AGAINST, 0.50),),
        ),
        Table(
            "greatest memory of the whole process, compiled and not",
            "MB",
            ADDED,
            {ADDED: Timing.of(added), **most},
            (Target(ADDED, *most, 1.0),),
        ),
    ]
