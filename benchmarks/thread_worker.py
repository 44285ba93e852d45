"""The process that `threads` asks: trains with a number of threads that is set as ``--threads`` sets it.

The first line that it reads is its setting, and it answers with BLAS's own number of threads; each further
line is a number of steps, and it answers with the seconds a step. A compiled step has threads of its own, and
leaves BLAS one.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise

from tinygrad_mnist.training.loop.threads import set_threads, threads_for, threads_in_use


def main() -> None:
    """Read, measure and answer until the input ends."""
    how, threads, name, cores = sys.stdin.readline().split()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(map(int, cores.split(","))))
    set_threads(1 if how == "jit" else int(threads))

    from benchmarks import networks
    from benchmarks.harness import seconds_of

    network = networks.NETWORKS[name]
    if how == "jit":
        step = networks.our_jit_step(network, int(threads))
    else:
        _, step = networks.our_step(network)
    ((x, labels),) = networks.batches(network, 1)
    largest = max(rows * columns for rows, columns in pairwise(network.sizes))
    with threads_for(network.batch_size * largest):  # as training does
        print(threads_in_use() or "an unknown number", flush=True)
        for line in sys.stdin:
            calls = int(line)
            print(seconds_of(lambda: step(x, labels), calls, calls), flush=True)


if __name__ == "__main__":
    main()
