"""The time of `from tinygrad_mnist import Tensor, nn, optim` in a fresh process, against NumPy alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial

from benchmarks import peers
from benchmarks.harness import Table, Target, Timing, interleave

OURS, AGAINST = "from tinygrad_mnist import Tensor, nn, optim", "import numpy"
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds(statement: str, cache: str) -> float:
    """Return the seconds that a statement takes in a new process, without the start of the interpreter.

    Python's bytecode is kept in ``cache``, also where the environment forbids to write it beside the source.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(
        [sys.executable, "-c", TIMED.format(statement)],
        env={**environment, "PYTHONPYCACHEPREFIX": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ran.stdout)


def run(rounds: int = 30) -> list[Table]:
    """Import in turn; one round that is not counted compiles the sources and fills the caches."""
    statements = [OURS, AGAINST]

    def enter_pytorch() -> None:
        import torch  # noqa: F401  (only whether it is there)

        statements.append("import torch")

    peers.take_part("PyTorch", enter_pytorch)
    with tempfile.TemporaryDirectory() as cache:
        rivals = {statement: partial(seconds, statement, cache) for statement in statements}
        interleave(rivals, 1)
        timings = {name: Timing.of(taken) for name, taken in interleave(rivals, rounds).items()}
    return [Table("import, in a fresh process", "ms", OURS, timings, (Target(OURS, AGAINST, 1.15),))]
