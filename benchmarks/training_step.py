"""One training step of four networks with batch norm: ours, by hand in NumPy, and the peers'."""

from __future__ import annotations

from functools import partial

from benchmarks import networks, peers
from benchmarks.hand_written import HandWrittenStep
from benchmarks.harness import Table, Target, race
from benchmarks.networks import DEFAULT, JIT, LARGE, OURS, SMALL, TINY, Network, Step

BY_HAND = "NumPy by hand"
PRODUCTS = "its matrix products alone"
FUSED = "PyTorch, fused optimizer"
TORCH_COMPILED = "PyTorch, torch.compile"
COMPILED = "JAX, compiled"
AT_MOST = {
    SMALL: {FUSED: 0.60, COMPILED: 0.95, BY_HAND: 1.18},
    LARGE: {FUSED: 1.10, COMPILED: 1.05, BY_HAND: 1.04},
}
AT_MOST_JIT = {
    SMALL: {FUSED: 0.27, TORCH_COMPILED: 0.30, COMPILED: 0.42, BY_HAND: 0.55, PRODUCTS: 1.20},
    DEFAULT: {FUSED: 0.53, TORCH_COMPILED: 0.60, COMPILED: 0.72, BY_HAND: 0.64, PRODUCTS: 1.22},
    LARGE: {FUSED: 0.82, TORCH_COMPILED: 0.85, COMPILED: 0.82, BY_HAND: 0.74, PRODUCTS: 1.22},
    TINY: {FUSED: 0.03},
}


def rivals_on(network: Network) -> dict[str, Step]:
    """Return the steps of all who can take part, from the same weights."""
    state, ours = networks.our_step(network)
    rivals: dict[str, Step] = {OURS: ours, BY_HAND: HandWrittenStep(network, state)}

    def enter_jit() -> None:
        rivals[JIT] = networks.our_jit_step(network)

    def enter_pytorch() -> None:
        from benchmarks.peers.torch_step import make_step

        rivals[FUSED] = make_step(network, state)
        rivals["PyTorch, default optimizer"] = make_step(network, state, fused=False)

    def enter_torch_compile() -> None:
        from benchmarks.peers.torch_step import make_step

        rivals[TORCH_COMPILED] = make_step(network, state, compiled=True)

    def enter_jax() -> None:
        from benchmarks.peers.jax_step import make_step

        rivals[COMPILED] = make_step(network, state)

    def enter_mygrad() -> None:
        from benchmarks.peers.mygrad_step import make_step

        rivals["MyGrad"] = make_step(network, state)

    def enter_autograd() -> None:
        from benchmarks.peers.autograd_step import make_step

        rivals["autograd"] = make_step(network, state)

    peers.take_part("jit", enter_jit)
    peers.take_part("PyTorch", enter_pytorch)
    peers.take_part("PyTorch", enter_torch_compile)
    peers.take_part("JAX", enter_jax)
    if not network.decoupled:  # their steps are written for Adam with L2, and labels that are not smoothed
        peers.take_part("MyGrad", enter_mygrad)
        peers.take_part("autograd", enter_autograd)
    return rivals


def run(rounds: int = 40) -> list[Table]:
    """Race the steps on all networks."""
    return [on(network, rounds) for network in AT_MOST_JIT]


def on(network: Network, rounds: int) -> Table:
    """Race the steps on one network."""
    rivals, data = rivals_on(network), networks.batches(network)
    networks.check_agreement(rivals, data)
    steps = {name: partial(step, *data[0]) for name, step in rivals.items()}
    ran = race({**steps, PRODUCTS: networks.matrix_products(network)}, rounds)
    targets = [Target(JIT, rival, at_most) for rival, at_most in AT_MOST_JIT[network].items()]
    targets += [Target(OURS, rival, at_most) for rival, at_most in AT_MOST.get(network, {}).items()]
    best = JIT if JIT in rivals else OURS
    return Table(network.title, "µs", best, ran.timings, tuple(targets), share=ran.share)
