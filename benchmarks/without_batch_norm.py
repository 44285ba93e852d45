"""One training step without batch norm, which scikit-learn's MLPClassifier does not have."""

from __future__ import annotations

from functools import partial

from benchmarks import networks, peers
from benchmarks.harness import Table, race
from benchmarks.networks import OURS, Network, Step

# No L2 either, which scikit-learn does not apply to biases. And an eps that is next to nothing, since its
# Adam adds eps before the moments are corrected, and the others after.
NETWORK = Network((784, 64, 32, 16, 10), 128, batch_norm=False, weight_decay=0.0, eps=1e-12)


def run(rounds: int = 40) -> list[Table]:
    """Race ours, PyTorch's and scikit-learn's ``partial_fit`` on a batch."""
    state, ours = networks.our_step(NETWORK)
    rivals: dict[str, Step] = {OURS: ours}

    def enter_pytorch() -> None:
        from benchmarks.peers.torch_step import make_step

        rivals["PyTorch, fused Adam"] = make_step(NETWORK, state, fused=True)

    def enter_sklearn() -> None:
        from benchmarks.peers.sklearn_step import make_step

        rivals["scikit-learn, partial_fit"] = make_step(NETWORK, state)

    peers.take_part("PyTorch", enter_pytorch)
    peers.take_part("scikit-learn", enter_sklearn)
    data = networks.batches(NETWORK)
    networks.check_agreement(rivals, data)
    ran = race({name: partial(step, *data[0]) for name, step in rivals.items()}, rounds)
    return [Table(NETWORK.title, "µs", OURS, ran.timings, share=ran.share)]
