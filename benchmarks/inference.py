"""One image, and 1,000, through the model of the recipe `mlp`: what a user of the model waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.harness import DisagreementError, Table, Target, race
from benchmarks.networks import JIT, require_compiler
from tinygrad_mnist import Tensor, jit, no_grad
from tinygrad_mnist.training import RECIPES
from tinygrad_mnist.training.recipe.models import build_model

OURS = "tinygrad_mnist, no_grad"
AGAINST, FASTEST = "PyTorch, no_grad", "PyTorch, inference_mode"
TARGETS = {
    1: (Target(JIT, FASTEST, 0.30), Target(OURS, AGAINST, 0.50)),
    1000: (Target(JIT, FASTEST, 0.75),),
}
"""The targets by the number of images."""


def run(rounds: int = 40) -> list[Table]:
    """Race with one image and with many."""
    return [on(images, rounds) for images in TARGETS]


def on(images: int, rounds: int) -> Table:
    """Race ours and PyTorch's, from an array of pixels to an array of logits."""
    rng = np.random.default_rng(0)
    model = build_model(RECIPES["mlp"], (28, 28), 10, rng=rng)
    for _ in range(3):  # so that the running statistics are not those of an untrained network
        model(Tensor(rng.normal(size=(128, 1, 28, 28)).astype(np.float32)))
    model.eval()
    pixels = rng.normal(size=(images, 1, 28, 28)).astype(np.float32)

    def ours_by(function: Callable[[Any], Any]) -> Callable[[], Any]:
        def infer() -> Any:
            with no_grad():
                return function(Tensor(pixels)).numpy()

        return infer

    rivals = {OURS: ours_by(model)}

    def enter_jit() -> None:
        require_compiler()
        rivals[JIT] = ours_by(jit(model))

    def enter_pytorch() -> None:
        import torch

        from benchmarks.peers.torch_recipe import twin

        theirs = twin(model).eval()

        def without(recording: Any) -> Callable[[], Any]:
            def infer() -> Any:
                with recording():
                    return theirs(torch.from_numpy(pixels)).numpy()

            return infer

        rivals[AGAINST] = without(torch.no_grad)
        rivals[FASTEST] = without(torch.inference_mode)

    peers.take_part("jit", enter_jit)
    peers.take_part("PyTorch", enter_pytorch)
    logits = {name: infer() for name, infer in rivals.items()}
    for name, values in logits.items():
        if (error := float(np.abs(values - logits[OURS]).max())) > 1e-5:
            raise DisagreementError(f"the logits of {name} differ from ours by {error:.1e}; no time counts")
    ran = race(rivals, rounds, calls=max(5, 100 // images))
    what = "one 28 x 28 image" if images == 1 else f"{images:,} images of 28 x 28"
    title = f"inference, {what}, the model of recipe mlp"
    best = JIT if JIT in rivals else OURS
    return Table(title, "µs", best, ran.timings, TARGETS[images], share=ran.share)
