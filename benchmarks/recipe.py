"""The recipe `default` on MNIST, from the first step until 98 % of the validation part are recognised.

The data is loaded and split before the clock starts; evaluations, every half epoch, are within, and so is
compiling, of which nothing is kept on disk. All start from the same weights and see the same images in the
same order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.harness import SkippedError, Table, Target, Timing, interleave
from benchmarks.networks import JIT, require_compiler, require_equal
from tinygrad_mnist.compiler import cache
from tinygrad_mnist.data import DataError, load
from tinygrad_mnist.training import RECIPES, Reporter, evaluate, fit
from tinygrad_mnist.training.models import build_model
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import split

OURS, AGAINST = "tinygrad_mnist", "PyTorch, fused AdamW"
ACCURACY = 0.98
RECIPE = RECIPES["mlp"]
TOLERANCES = {5: 1e-4, 50: 1e-2}
"""The largest difference of two losses, by the number of steps that it holds for.

The gradient of a pixel that is always blank is rounding, since batch norm takes away what is the same for all
images, and Adam makes whole steps of it: so two programs drift apart in float32.
"""


class Course:
    """The times of all runs of one rival: to the accuracy that was asked for, and to the end."""

    def __init__(self) -> None:
        self.reached: list[float] = []
        self.whole: list[float] = []
        self.epochs: list[float] = []
        self.test: list[float] = []
        self.losses: list[float] = []

    def start(self) -> None:
        self.began, self.found = time.perf_counter(), False

    def evaluated(self, epoch: float, accuracy: float) -> None:
        if not self.found and accuracy >= ACCURACY:
            self.found = True
            self.reached.append(time.perf_counter() - self.began)
            self.epochs.append(epoch)

    def end(self, losses: list[float]) -> float:
        self.whole.append(time.perf_counter() - self.began)
        self.losses = losses[: max(TOLERANCES)]
        if not self.found:
            raise SkippedError(f"the recipe did not reach {ACCURACY:.0%} in one run, so it has no time to it")
        return self.reached[-1]


class _Clock(Reporter):
    def __init__(self, course: Course) -> None:
        self.course = course

    def evaluated(self, record: Any, best: bool) -> None:
        self.course.evaluated(record.epoch, record.validation_accuracy)


def our_run(dataset: Any, course: Course, seeds: Any, jit: str) -> Callable[[], float]:
    """Return a function that trains ours with the next seed, and returns the seconds."""

    def run() -> float:
        os.environ[cache.VARIABLE] = "0"
        rngs = generators(next(seeds))
        parts = split(dataset, RECIPE.validation, rngs["split"])
        model = build_model(RECIPE, parts.image_shape, parts.classes, rng=rngs["initialisation"])
        course.start()
        done = fit(RECIPE, model, parts, rngs=rngs, reporter=_Clock(course), jit=jit)
        seconds = course.end(done.history.losses)
        evaluation = evaluate(model, dataset.test_images, dataset.test_labels, parts.standardizer)
        course.test.append(evaluation.accuracy)
        return seconds

    return run


def their_run(dataset: Any, course: Course, seeds: Any) -> Callable[[], float]:
    """Return the same for PyTorch."""
    from benchmarks.peers.torch_recipe import Training, twin

    def run() -> float:
        rngs = generators(next(seeds))
        parts = split(dataset, RECIPE.validation, rngs["split"])
        ours = build_model(RECIPE, parts.image_shape, parts.classes, rng=rngs["initialisation"])
        model = twin(ours)
        course.start()
        training = Training(RECIPE, model, parts, rngs)
        training.run(lambda step, accuracy: course.evaluated(step / training.steps_per_epoch, accuracy))
        seconds = course.end(training.losses)
        course.test.append(training.accuracy(dataset.test_images, dataset.test_labels))
        return seconds

    return run


def mnist() -> Any:
    """Return MNIST, or raise a sentence about why this is left out."""
    if not os.environ.get("TINYGRAD_MNIST_DATA"):
        raise SkippedError("set TINYGRAD_MNIST_DATA to the directory with the four files of MNIST")
    try:
        return load("mnist", download=False)
    except DataError as error:
        raise SkippedError(str(error)) from None


def run(rounds: int = 5) -> list[Table]:
    """Train in turn, with the seeds 0, 1, 2 and so on."""
    dataset = mnist()
    courses = {OURS: Course()}
    rivals = {OURS: our_run(dataset, courses[OURS], iter(range(rounds)), "off")}

    def enter_jit() -> None:
        require_compiler()
        rivals[JIT] = our_run(dataset, course := Course(), iter(range(rounds)), "on")
        courses[JIT] = course

    def enter_pytorch() -> None:
        rivals[AGAINST] = their_run(dataset, course := Course(), iter(range(rounds)))
        courses[AGAINST] = course

    peers.take_part("jit", enter_jit)
    peers.take_part("PyTorch", enter_pytorch)
    best = JIT if JIT in rivals else OURS
    wall, own = time.perf_counter(), time.process_time()
    interleave(rivals, rounds)
    share = min(1.0, (time.process_time() - own) / (time.perf_counter() - wall))
    for name, course in courses.items():
        for steps, tolerance in TOLERANCES.items():
            require_equal(name, course.losses[:steps], courses[OURS].losses[:steps], tolerance)
    notes = tuple(
        f"{name}: reached after {median(course.epochs):.2g} of {RECIPE.epochs} epochs (medians of {rounds}); "
        f"test accuracy at the end {np.mean(course.test):.2%}"
        for name, course in courses.items()
    )
    return [
        Table(
            f"recipe default, wall time to {ACCURACY:.0%} on MNIST",
            "s",
            best,
            {name: Timing.of(course.reached) for name, course in courses.items()},
            (Target(JIT, AGAINST, 0.60), Target(OURS, AGAINST, 0.60)),
            notes,
            share,
        ),
        Table(
            "recipe default, all of its epochs",
            "s",
            best,
            {name: Timing.of(course.whole) for name, course in courses.items()},
            share=share,
        ),
    ]
