"""A program that has everything imported, and forks children that train; they are ended by a signal.

A line of JSON on standard input is a job: ``arguments`` of the command line or of `run_small`, and ``signal``
with the number of ``seconds`` after which it comes, or the ``file`` that has to be there first. The answer is
the status of the child, negative for a signal that killed it.
"""

import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from tests.training.small_data import noisy_patterns
from tinygrad_mnist.cli import main
from tinygrad_mnist.training import RECIPES, Recipe, resume_run, train
from tinygrad_mnist.training.runs import run


def recipe() -> Recipe:
    """One with all that is random, over in a moment."""
    return RECIPES["digits"].changed(
        hidden=(8,), epochs=3, batch_size=16, evaluate_every=0.5, validation=0.2, dropout=0.2, ema=0.9
    )


def run_small(kind: str, out: str, seed: int) -> int:
    """Train, or go on, and save the state after each step."""
    if kind == "train":
        train(recipe(), noisy_patterns(), seed=seed, out=out, report=False, checkpoint_every="1 step")
    else:
        resume_run(out, data=noisy_patterns(), report=False, checkpoint_every="1 step")
    return 0


def run_command(*arguments: str) -> int:
    """Run the command line as a program does."""
    sys.argv[1:] = arguments
    return main()


def do(job: dict[str, Any]) -> int:
    """Do a job in a child; return its status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            status = globals()[job["call"]](*job["arguments"])
        finally:
            os._exit(status)
    if job["signal"]:
        until = time.monotonic() + job.get("seconds", 60.0)
        while time.monotonic() < until and not ("file" in job and os.path.exists(job["file"])):
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, job["signal"])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    run.draw_pictures = lambda *_: ((), ())  # type: ignore[assignment]
    for line in sys.stdin:
        print(do(json.loads(line)), flush=True)
