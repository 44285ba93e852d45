"""The processor's time of compiling three training steps, in fresh processes: cold, and from the disk cache.

It is the time of the first calls, less that of the first calls of the same steps without compiling.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.first_calls import EAGER, JAX, JIT, TORCH, TORCH_COMPILED
from benchmarks.harness import SkippedError, Table, Target, Timing, interleave, limit
from tinygrad_mnist.compiler import cache, machine

COLD, WARM = f"{JIT}: cold", f"{JIT}: from the disk cache"
AT_MOST = {COLD: 1.0, WARM: 0.1}
"""Seconds."""


def seconds(who: str, directory: str, bytecode: str) -> float:
    """Return the processor's seconds of the first calls in a new process.

    Machine code is kept in one directory, and Python's bytecode in another, also where the environment
    forbids to write it beside the source.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    kept = {cache.VARIABLE: directory, "TORCHINDUCTOR_CACHE_DIR": directory, "PYTHONPYCACHEPREFIX": bytecode}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_calls", who],
        env={**environment, **kept},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SkippedError(f"the first calls of {who} failed: {ran.stderr.strip()[-300:]}")
    return float(ran.stdout)


def cold(who: str, bytecode: str) -> float:
    """Return the seconds where no machine code was kept before."""
    with tempfile.TemporaryDirectory() as directory:
        return seconds(who, directory, bytecode)


def run(rounds: int = 5) -> list[Table]:
    """Measure ours in turn, and the peers, which take long, once."""
    if (reason := machine.why_unavailable()) is not None:
        raise SkippedError(reason)
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as bytecode:
        seconds(JIT, directory, bytecode)
        rivals: dict[str, Callable[[], float]] = {
            EAGER: partial(cold, EAGER, bytecode),
            COLD: partial(cold, JIT, bytecode),
            WARM: partial(seconds, JIT, directory, bytecode),
        }
        values = interleave(rivals, rounds)
        bytes_kept = sum(path.stat().st_size for path in Path(directory).iterdir())
        timings = {name: Timing.of(less(values[name], values[EAGER])) for name in (COLD, WARM)}

        def enter_pytorch() -> None:
            import torch  # noqa: F401  (only whether it is there)

            uncompiled, compiled = (cold(who, bytecode) for who in (TORCH, TORCH_COMPILED))
            timings[TORCH_COMPILED] = Timing.of([compiled - uncompiled])

        def enter_jax() -> None:
            import jax  # noqa: F401  (only whether it is there)

            timings[JAX] = Timing.of([cold(JAX, bytecode)])

        peers.take_part("PyTorch", enter_pytorch)
        peers.take_part("JAX", enter_jax)
    targets = []
    for name, most in AT_MOST.items():
        amount = limit(most, "s")
        timings.update(amount)
        targets.append(Target(name, *amount, 1.0))
    note = f"the three steps take {bytes_kept:,} bytes on disk"
    return [Table("compiling three training steps", "s", COLD, timings, tuple(targets), (note,))]


def less(first: list[float], second: list[float]) -> list[float]:
    """Return the differences of measurements of the same rounds."""
    return [a - b for a, b in zip(first, second, strict=True)]
