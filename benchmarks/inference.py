"""One image through the model of the recipe `default`: what a user of the trained model waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.harness import DisagreementError, Table, Target, race
from tinygrad_mnist import Tensor, no_grad
from tinygrad_mnist.training import RECIPES
from tinygrad_mnist.training.choices import build_model

OURS = "tinygrad_mnist, no_grad"
AGAINST = "PyTorch, no_grad"


def run(rounds: int = 40) -> list[Table]:
    """Race ours and PyTorch's, from an array of pixels to an array of logits."""
    rng = np.random.default_rng(0)
    model = build_model(RECIPES["default"], 784, 10, rng=rng)
    for _ in range(3):  # so that the running statistics are not those of an untrained network
        model(Tensor(rng.normal(size=(128, 784)).astype(np.float32)))
    model.eval()
    image = rng.normal(size=(1, 784)).astype(np.float32)

    def ours() -> Any:
        with no_grad():
            return model(Tensor(image)).numpy()

    rivals: dict[str, Callable[[], Any]] = {OURS: ours}

    def enter_pytorch() -> None:
        import torch

        from benchmarks.peers.torch_recipe import twin

        theirs = twin(model).eval()

        def without(recording: Any) -> Callable[[], Any]:
            def infer() -> Any:
                with recording():
                    return theirs(torch.from_numpy(image)).numpy()

            return infer

        rivals[AGAINST] = without(torch.no_grad)
        rivals["PyTorch, inference_mode"] = without(torch.inference_mode)

    peers.take_part("PyTorch", enter_pytorch)
    logits = {name: infer() for name, infer in rivals.items()}
    for name, values in logits.items():
        if (error := float(np.abs(values - logits[OURS]).max())) > 1e-5:
            raise DisagreementError(f"the logits of {name} differ from ours by {error:.1e}; no time counts")
    ran = race(rivals, rounds, calls=100)
    title = "inference, one 28 x 28 image, the model of recipe default"
    return [Table(title, "µs", OURS, ran.timings, (Target(OURS, AGAINST, 0.50),), share=ran.share)]
