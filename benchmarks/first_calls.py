"""The process that `compiling` starts: makes three training steps, prints the seconds of their first calls.

They are seconds of the processor, of all threads and of the programs that were started.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial

EAGER, JIT = "tinygrad_mnist", "tinygrad_mnist, jit"
TORCH, TORCH_COMPILED, JAX = "PyTorch", "PyTorch, torch.compile", "JAX, compiled"


def processor_seconds() -> float:
    """Return what this process has used of the processor, and what it started that has ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def main() -> None:
    """Make the steps of one who is named on the command line, and call each once."""
    from benchmarks import networks
    from benchmarks.networks import DEFAULT, LARGE, SMALL, Network, Step

    def torch_step(network: Network, *, compiled: bool) -> Step:
        from benchmarks.peers.torch_step import make_step

        return make_step(network, networks.our_step(network)[0], compiled=compiled)

    def jax_step(network: Network) -> Step:
        from benchmarks.peers.jax_step import make_step

        return make_step(network, networks.our_step(network)[0])

    makers: dict[str, Callable[[Network], Step]] = {
        EAGER: lambda network: networks.our_step(network)[1],
        JIT: networks.our_jit_step,
        TORCH: partial(torch_step, compiled=False),
        TORCH_COMPILED: partial(torch_step, compiled=True),
        JAX: jax_step,
    }
    make = makers[sys.argv[1]]
    steps = [(make(network), networks.batches(network, 1)[0]) for network in (SMALL, DEFAULT, LARGE)]
    began = processor_seconds()
    for step, batch in steps:
        step(*batch)
    print(processor_seconds() - began)


if __name__ == "__main__":
    main()
