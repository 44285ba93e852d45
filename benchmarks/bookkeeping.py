"""What is paid for seeing a training and never losing it: `train` beside the loop that one writes oneself.

Both train the recipe `mlp` on MNIST, compiled, and evaluate the same images after the same steps. `train`
shows its progress, takes norms of gradients, looks for faults, keeps the history, and writes checkpoints and
metrics to the disk. The clock runs from the first step to the last checkpoint: without reading the data,
evaluating the test part and drawing pictures, which come before and after.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import DisagreementError, Table, Target, Timing, interleave
from benchmarks.networks import require_compiler
from benchmarks.recipe import mnist
from tinygrad_mnist import Tensor, jit, nn
from tinygrad_mnist.training import RECIPES, Callback, Progress, evaluate, train
from tinygrad_mnist.training.loop.passes import Passes
from tinygrad_mnist.training.recipe.choices import build_optimizer, build_schedule
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import split

RECIPE = RECIPES["mlp"]
OURS, AGAINST = "train, with progress, metrics and checkpoints", "a loop by hand, compiled by jit"


def by_hand(dataset: Any, seed: int) -> tuple[float, list[float]]:
    """Train by a plain loop; return the seconds, and the losses."""
    rngs = generators(seed)
    parts = split(dataset, RECIPE.validation, rngs["split"], RECIPE.crop)
    model = build_model(
        RECIPE, parts.image_shape, parts.classes, rng=rngs["initialisation"], dropout_rng=rngs["dropout"]
    )
    assert RECIPE.batch_size is not None
    steps = round(RECIPE.epochs * (len(parts.train_images) // RECIPE.batch_size))
    evaluations = round(RECIPE.epochs / RECIPE.evaluate_every)
    due = {round(steps * part / evaluations) for part in range(1, evaluations + 1)}
    size = len(parts.validation_images)
    sample = np.sort(rngs["sample"].choice(len(parts.train_images), size=size, replace=False))
    began = time.perf_counter()
    optimizer = build_optimizer(RECIPE, model)
    schedule = build_schedule(RECIPE, optimizer, steps)
    assert schedule is not None
    criterion = nn.CrossEntropyLoss(label_smoothing=RECIPE.label_smoothing)
    forward = jit(model)

    @jit
    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses: list[float] = []
    best = 0.0
    for _ in range(RECIPE.epochs):
        for x, y in Passes(RECIPE, parts, RECIPE.batch_size, steps, rngs):
            losses.append(step(Tensor(x), Tensor(y)).item())
            schedule.step()
            if len(losses) in due:
                found = evaluate(
                    forward, parts.validation_images, parts.validation_labels, parts.standardizer
                ).accuracy
                evaluate(forward, parts.train_images[sample], parts.train_labels[sample], parts.standardizer)
                if found >= best:
                    best, _ = found, model.state_dict()
                model.train()
    return time.perf_counter() - began, losses


class Clock(Callback):
    """A callback that notes when training begins and ends, checkpoints and all."""

    def on_train_begin(self, training: Any) -> None:
        """Start the clock; the first of the callbacks is told first."""
        self.began = time.perf_counter()

    def on_exit(self, training: Any) -> None:
        """Stop it: all callbacks have heard that training has ended."""
        self.seconds = time.perf_counter() - self.began
        self.losses = list(training.history.losses)


class Terminal(io.StringIO):
    """A terminal that nobody looks at."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def by_train(dataset: Any, seed: int) -> tuple[float, list[float]]:
    """Train by `train` into a new directory; return the seconds, and the losses."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        train(
            RECIPE,
            dataset,
            seed=seed,
            out=Path(folder, "run"),
            callbacks=[clock, Progress(Terminal())],
            jit="on",
            report=False,
        )
    return clock.seconds, clock.losses


def run(rounds: int = 7) -> list[Table]:
    """Measure both in turn, with the seeds 0, 1, 2 and so on."""
    require_compiler()
    dataset = mnist()
    found: dict[tuple[str, int], list[float]] = {}

    def timed(name: str, run: Callable[[Any, int], tuple[float, list[float]]]) -> Callable[[], float]:
        seeds = count()

        def measure() -> float:
            seed = next(seeds)
            seconds, losses = run(dataset, seed)
            found[name, seed] = losses
            if found.get((OURS, seed), losses) != found.get((AGAINST, seed), losses):
                raise DisagreementError("the losses of train and of the loop by hand differ in a bit")
            return seconds

        return measure

    rivals = {OURS: timed(OURS, by_train), AGAINST: timed(AGAINST, by_hand)}
    wall, own = time.perf_counter(), time.process_time()
    values = interleave(rivals, rounds)
    share = min(1.0, (time.process_time() - own) / (time.perf_counter() - wall))
    timings = {name: Timing.of(seconds) for name, seconds in values.items()}
    title = "recipe mlp, what progress, metrics and checkpoints cost"
    return [Table(title, "s", OURS, timings, (Target(OURS, AGAINST, 1.03),), share=share)]
