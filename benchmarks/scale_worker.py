"""A rank that `scale` starts: takes steps of a recipe and says how long each took, or times exchanges.

``python -m benchmarks.scale_worker steps RECIPE STEPS ROWS`` trains on batches of ROWS images, all ranks on
one batch; ``python -m benchmarks.scale_worker exchanges`` sums arrays of several sizes. Under mpiexec all
take part, and the first one prints a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any

FIRST = 10
"""Steps that are not counted: they compile, and what they need is not yet in the caches."""

SIZES = (4, 256, 4096, 65536, 131072)
"""Numbers of float32 whose sums are timed."""


def communicator() -> Any:
    """Return the ranks that train together, which counts what they exchange; None for a process alone."""
    if "OMPI_COMM_WORLD_SIZE" not in os.environ:
        return None
    from mpi4py import MPI

    from tinygrad_mnist.training.distributed.communicator import Communicator

    class Counting(Communicator):
        def __init__(self, comm: Any) -> None:
            super().__init__(comm)
            self.counted: Counter[int] = Counter()

        def _exchange(self, kind: int, size: int, *arguments: Any) -> Any:
            if size:  # of a sum: the buffer, whose last two numbers are not summed for anybody
                self.counted[size * arguments[-1].itemsize] += 1
            return super()._exchange(kind, size, *arguments)

    return Counting(MPI.COMM_WORLD)


def steps(name: str, count: int, rows: int) -> dict[str, Any]:
    """Train by a recipe for some steps; return the seconds of each, and what was exchanged in them.

    The exchanges are sizes in bytes, and how often a step has one of that size.
    """
    from tinygrad_mnist.data import load
    from tinygrad_mnist.training import RECIPES, Callback, follow
    from tinygrad_mnist.training.recipe.models import build_model
    from tinygrad_mnist.training.seeds import generators
    from tinygrad_mnist.training.training_data import split

    ranks = communicator()

    class Clock(Callback):
        def __init__(self) -> None:
            self.at: list[float] = []
            self.waited: list[float] = []

        def on_step_end(self, training: Any) -> None:
            self.at.append(time.perf_counter())
            self.waited.append(0.0 if ranks is None else ranks.waited)
            if ranks is not None and training.step == FIRST:
                ranks.counted.clear()
            if training.step == FIRST + count:
                self.exchanged = {} if ranks is None else dict(ranks.counted)
                training.stop()

    recipe = RECIPES[name].changed(batch_size=rows, evaluate_every=1000)
    dataset, rngs = load(recipe.data or "mnist", download=False), generators(0)
    parts = split(dataset, recipe.validation, rngs["split"], recipe.crop)
    model = build_model(recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"])
    clock = Clock()
    follow(recipe, model, parts, rngs=rngs, callbacks=[clock], jit="on", lint=False, communicator=ranks)
    return {
        "median": median(after - before for before, after in pairwise(clock.at[FIRST - 1 :])),
        "waited": median(after - before for before, after in pairwise(clock.waited[FIRST - 1 :])),
        "exchanges": {size: number / count for size, number in clock.exchanged.items()},
        "parameters": sum(parameter.size for parameter in model.parameters()),
    }


def exchanges() -> dict[str, Any]:
    """Sum arrays of several sizes as training does; return the median of the seconds by the bytes."""
    import numpy as np

    ranks = communicator()
    found = {}
    for size in SIZES:
        array, seconds = np.ones(size, np.float32), []
        for _ in range(100 if size < 100_000 else 20):
            ranks.any(False)  # so that all begin at the same time
            began = time.perf_counter()
            ranks.sum([array])
            seconds.append(time.perf_counter() - began)
        found[array.nbytes] = median(seconds)
    return {"median": found[min(found)], "seconds": found}


def main(arguments: Sequence[str]) -> None:
    """Do what the arguments say, and let the first rank print what came of it."""
    what, *rest = arguments
    result = exchanges() if what == "exchanges" else steps(rest[0], int(rest[1]), int(rest[2]))
    if os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "0":
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
