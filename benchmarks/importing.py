"""How long `from tinygrad_mnist import Tensor, nn, optim` takes in a fresh process, against NumPy alone."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks import peers
from benchmarks.harness import Table, Target, Timing, interleave

OURS, AGAINST = "from tinygrad_mnist import Tensor, nn, optim", "import numpy"
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds(statement: str) -> float:
    """What a statement takes in a new process; the start of the interpreter is not counted."""
    ran = subprocess.run(
        [sys.executable, "-c", TIMED.format(statement)], capture_output=True, text=True, check=True
    )
    return float(ran.stdout)


def run(rounds: int = 30) -> list[Table]:
    """Import in turn; one round that is not counted fills the caches."""
    statements = [OURS, AGAINST]

    def enter_pytorch() -> None:
        import torch  # noqa: F401  (only whether it is there)

        statements.append("import torch")

    peers.take_part("PyTorch", enter_pytorch)
    rivals = {statement: partial(seconds, statement) for statement in statements}
    interleave(rivals, 1)
    timings = {name: Timing.of(taken) for name, taken in interleave(rivals, rounds).items()}
    return [Table("import, in a fresh process", "ms", OURS, timings, (Target(OURS, AGAINST, 1.15),))]
