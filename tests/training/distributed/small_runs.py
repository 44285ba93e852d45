"""A small run for tests, here and in the programs of several processes: data, a recipe, and callbacks."""

import signal
from typing import Any

import numpy as np

from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import RECIPES
from tinygrad_mnist.training.loop.callbacks import Callback

RECIPE = RECIPES["digits"].changed(
    hidden=(8,),
    epochs=2,
    batch_size=16,
    evaluate_every=0.5,
    validation=0.2,
    dropout=0.2,
    batch_norm=True,
    augmentation="shift 1",
    ema=0.5,
    clip_norm=1.0,
)
"""16 steps on `patterns`, with all that looks at the whole of a batch."""


def patterns(seed: int = 7) -> Dataset:
    """Return four noisy patterns of 5 x 5 pixels, 160 to train on and 60 to test on."""
    rng = np.random.default_rng(seed)
    shapes = rng.integers(0, 2, size=(4, 5, 5)) * 180

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 4
        noise = rng.integers(0, 75, size=(count, 5, 5))
        return (shapes[labels] + noise).astype(np.uint8), labels.astype(np.int64)

    return Dataset("patterns", *draw(160), *draw(60), classes=4)


class Presses(Callback):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, training: Any) -> None:
        if training.step == self.step:
            signal.raise_signal(signal.SIGINT)


class Losses(Callback):
    """The losses of all steps, at the end."""

    def on_exit(self, training: Any) -> None:
        self.losses = list(training.history.losses)


def losses_of(function: Any, *arguments: Any, callbacks: Any = (), **options: Any) -> tuple[list[float], Any]:
    """Return the losses of a run, which is not compiled and has no report, and its outcome."""
    losses = Losses()
    outcome = function(*arguments, callbacks=[losses, *callbacks], report=False, jit="off", **options)
    return losses.losses, outcome
