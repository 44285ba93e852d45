"""One training step of two networks with batch norm: ours, by hand in NumPy, and the peers'."""

from __future__ import annotations

from functools import partial

from benchmarks import networks, peers
from benchmarks.hand_written import HandWrittenStep
from benchmarks.harness import Table, Target, race
from benchmarks.networks import LARGE, OURS, SMALL, Network, Step

BY_HAND = "NumPy by hand"
PRODUCTS = "its matrix products alone"
FUSED = "PyTorch, fused Adam"
COMPILED = "JAX, compiled"
AT_MOST = {
    SMALL: {FUSED: 0.60, COMPILED: 0.95, BY_HAND: 1.18},
    LARGE: {FUSED: 1.10, COMPILED: 1.05, BY_HAND: 1.04},
}


def rivals_on(network: Network) -> dict[str, Step]:
    """Return the steps of all who can take part, from the same weights."""
    state, ours = networks.our_step(network)
    rivals: dict[str, Step] = {OURS: ours, BY_HAND: HandWrittenStep(network, state)}

    def enter_pytorch() -> None:
        from benchmarks.peers.torch_step import make_step

        rivals[FUSED] = make_step(network, state, fused=True)
        rivals["PyTorch, default Adam"] = make_step(network, state, fused=False)

    def enter_jax() -> None:
        from benchmarks.peers.jax_step import make_step

        rivals[COMPILED] = make_step(network, state)

    def enter_mygrad() -> None:
        from benchmarks.peers.mygrad_step import make_step

        rivals["MyGrad"] = make_step(network, state)

    def enter_autograd() -> None:
        from benchmarks.peers.autograd_step import make_step

        rivals["autograd"] = make_step(network, state)

    peers.take_part("PyTorch", enter_pytorch)
    peers.take_part("JAX", enter_jax)
    peers.take_part("MyGrad", enter_mygrad)
    peers.take_part("autograd", enter_autograd)
    return rivals


def run(rounds: int = 40) -> list[Table]:
    """Race the steps on both networks."""
    tables = []
    for network in (SMALL, LARGE):
        rivals, data = rivals_on(network), networks.batches(network)
        networks.check_agreement(rivals, data)
        steps = {name: partial(step, *data[0]) for name, step in rivals.items()}
        ran = race({**steps, PRODUCTS: networks.matrix_products(network)}, rounds)
        targets = tuple(Target(OURS, rival, at_most) for rival, at_most in AT_MOST[network].items())
        tables.append(Table(network.title, "µs", OURS, ran.timings, targets, share=ran.share))
    return tables
