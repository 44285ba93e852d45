"""A small run for tests, here and in the programs of several processes: a recipe, and callbacks."""

import signal
from typing import Any

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
"""16 steps on `noisy_patterns`, with all that looks at the whole of a batch."""


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
