"""A training step of LeNet, and 10,000 images through it: ours, eager and compiled, and the peers'."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks import networks, peers
from benchmarks.harness import DisagreementError, Table, Target, race
from benchmarks.networks import JIT, LENET, OURS, Step
from tinygrad_mnist import Tensor, jit, no_grad

DEFAULT_LAYOUT, CHANNELS_LAST = "PyTorch, default layout", "PyTorch, channels_last"
COMPILED = "JAX, compiled"
TARGETS = (
    Target(JIT, CHANNELS_LAST, 0.50),
    Target(JIT, DEFAULT_LAYOUT, 0.30),
    Target(JIT, COMPILED, 0.12),
    Target(OURS, DEFAULT_LAYOUT, 1.25),
    Target(OURS, CHANNELS_LAST, 2.0),
)
AGREE = 10, 2e-3
"""So many losses of each rival differ from ours by so much at most.

PyTorch's two layouts, too, differ by 1e-3 after 10 steps: where a gradient is little more than rounding, Adam
makes a whole step of it all the same.
"""
IMAGES = 10_000
AT_ONCE = 1000
"""Images of a batch in inference, as `evaluate` takes them."""


def rivals() -> dict[str, Step]:
    """Return the steps of all who can take part, from the same weights."""
    state, ours = networks.our_step(LENET)
    found: dict[str, Step] = {OURS: ours}

    def enter_jit() -> None:
        found[JIT] = networks.our_jit_step(LENET)

    def enter_pytorch() -> None:
        from benchmarks.peers.torch_step import make_step

        found[DEFAULT_LAYOUT] = make_step(LENET, state)
        found[CHANNELS_LAST] = make_step(LENET, state, channels_last=True)

    def enter_jax() -> None:
        from benchmarks.peers.jax_lenet import make_step

        found[COMPILED] = make_step(LENET, state)

    peers.take_part("jit", enter_jit)
    peers.take_part("PyTorch", enter_pytorch)
    peers.take_part("JAX", enter_jax)
    return found


def run(rounds: int = 15) -> list[Table]:
    """Race the steps, and inference."""
    return [training(rounds), inference(rounds)]


def training(rounds: int) -> Table:
    """Race the training steps."""
    steps, tolerance = AGREE
    found, data = rivals(), networks.batches(LENET, steps)
    networks.check_agreement(found, data, tolerance)
    ran = race({name: partial(step, *data[0]) for name, step in found.items()}, rounds, calls=3)
    best = JIT if JIT in found else OURS
    return Table(LENET.title, "ms", best, ran.timings, TARGETS, share=ran.share)


def inference(rounds: int) -> Table:
    """Race from an array of images to an array of logits, in batches."""
    model, _ = networks.our_model(LENET)
    for images, _ in networks.batches(LENET, 3):  # the running statistics become those of some images
        model(Tensor(images))
    model.eval()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(IMAGES, *LENET.input_shape)).astype(np.float32)

    def in_batches(infer: Callable[[Any], Any]) -> Callable[[], Any]:
        return lambda: np.concatenate(
            [infer(images[start : start + AT_ONCE]) for start in range(0, IMAGES, AT_ONCE)]
        )

    def by(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def infer(x: Any) -> Any:
            with no_grad():
                return function(Tensor(x)).numpy()

        return infer

    found = {OURS: in_batches(by(model))}

    def enter_jit() -> None:
        networks.require_compiler()
        found[JIT] = in_batches(by(jit(model)))

    def enter_pytorch() -> None:
        from benchmarks.peers.torch_step import inference

        state = {name: np.array(value) for name, value in model.state_dict().items()}
        found[DEFAULT_LAYOUT] = in_batches(inference(LENET, state))
        found[CHANNELS_LAST] = in_batches(inference(LENET, state, channels_last=True))

    peers.take_part("jit", enter_jit)
    peers.take_part("PyTorch", enter_pytorch)
    logits = {name: infer() for name, infer in found.items()}
    for name, values in logits.items():
        if not (error := float(np.abs(values - logits[OURS]).max())) <= 1e-4:
            raise DisagreementError(f"the logits of {name} differ from ours by {error:.1e}; no time counts")
    ran = race(found, max(3, rounds // 2), calls=1)
    best = JIT if JIT in found else OURS
    targets = (Target(JIT, CHANNELS_LAST, 0.60),)
    return Table(f"inference, {IMAGES:,} images, LeNet", "ms", best, ran.timings, targets, share=ran.share)
