"""Whole trainings on MNIST: the recipe `mlp` until it knows 98 % of the validation part, and `cnn-fast`.

The data is loaded and split before the clock starts; evaluations are within, and so is compiling, of which
nothing is kept on disk. All start from the same weights and see the same batches. `cnn-fast` is evaluated
once, at its end, as it is made to know 99 % then. `cnn-best`, which takes a minute, is trained once by each,
and not by ours without compiling.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.harness import SkippedError, Table, Target, Timing, interleave
from benchmarks.networks import JIT, require_compiler, require_equal
from tinygrad_mnist.compiler import cache
from tinygrad_mnist.data import DataError, load
from tinygrad_mnist.training import RECIPES, Callback, Recipe, evaluate, follow
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import split

OURS, AGAINST = "tinygrad_mnist", "PyTorch, fused AdamW"


@dataclass(frozen=True)
class Training:
    """A recipe, and what is timed of it.

    Parameters
    ----------
    recipe : Recipe
        What is trained.
    title : str
        The title of its table.
    targets : tuple of Target
        What ours is to reach.
    tolerances : dict
        The largest difference of two losses, by the number of steps that it holds for.
    accuracy : float or None
        The accuracy on the validation part at which the clock stops; None for the end of the recipe.
    is_long : bool
        Whether it is trained once alone, and not by ours without compiling.
    """

    recipe: Recipe
    title: str
    targets: tuple[Target, ...]
    tolerances: dict[int, float]
    accuracy: float | None = None
    is_long: bool = False


# The gradient of a pixel that is always blank is rounding, since batch norm takes away what is the same for
# all images, and Adam makes whole steps of it: so two programs drift apart in float32.
TRAININGS = (
    Training(
        RECIPES["mlp"],
        "recipe mlp, wall time to 98% on MNIST",
        (Target(JIT, AGAINST, 0.60), Target(OURS, AGAINST, 0.60)),
        {5: 1e-4, 50: 1e-2},
        accuracy=0.98,
    ),
    Training(RECIPES["mlp"], "recipe mlp, all of its epochs", (), {5: 1e-4, 50: 1e-2}),
    Training(
        RECIPES["cnn-fast"],
        "recipe cnn-fast, whole",
        (Target(JIT, AGAINST, 0.60),),
        {3: 1e-3, 20: 5e-2},
    ),
    Training(
        RECIPES["cnn-best"],
        "recipe cnn-best, whole",
        (Target(JIT, AGAINST, 0.65),),
        {3: 1e-3, 20: 5e-2},
        is_long=True,
    ),
)


class Course:
    """The times of all runs of one rival."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.seconds: list[float] = []
        self.epochs: list[float] = []
        self.test: list[float] = []
        self.losses: list[float] = []

    def start(self) -> None:
        self.began, self.reached = time.perf_counter(), False

    def evaluated(self, epoch: float, accuracy: float) -> None:
        aim = self.training.accuracy
        if aim is not None and not self.reached and accuracy >= aim:
            self._stop(epoch)

    def end(self, losses: list[float]) -> float:
        if self.training.accuracy is None:
            self._stop(self.training.recipe.epochs)
        self.losses = losses[: max(self.training.tolerances)]
        if not self.reached:
            raise SkippedError(f"{self.training.title}: it was not reached in one run, so it has no time")
        return self.seconds[-1]

    def _stop(self, epoch: float) -> None:
        self.reached = True
        self.seconds.append(time.perf_counter() - self.began)
        self.epochs.append(epoch)


class _Clock(Callback):
    def __init__(self, course: Course) -> None:
        self.course = course

    def on_evaluate(self, training: Any, record: Any, best: bool) -> None:
        self.course.evaluated(record.epoch, record.validation_accuracy)


def our_run(dataset: Any, course: Course, seeds: Any, jit: str) -> Callable[[], float]:
    """Return a function that trains ours with the next seed, and returns the seconds."""
    recipe = course.training.recipe

    def run() -> float:
        os.environ[cache.VARIABLE] = "0"
        rngs = generators(next(seeds))
        parts = split(dataset, recipe.validation, rngs["split"], recipe.crop)
        model = build_model(recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"])
        course.start()
        done = follow(recipe, model, parts, rngs=rngs, callbacks=[_Clock(course)], jit=jit)
        seconds = course.end(done.history.losses)
        evaluation = evaluate(model, dataset.test_images, dataset.test_labels, parts.standardizer)
        course.test.append(evaluation.accuracy)
        return seconds

    return run


def their_run(dataset: Any, course: Course, seeds: Any) -> Callable[[], float]:
    """Return the same for PyTorch."""
    from benchmarks.peers import torch_recipe

    recipe = course.training.recipe

    def run() -> float:
        rngs = generators(next(seeds))
        parts = split(dataset, recipe.validation, rngs["split"], recipe.crop)
        ours = build_model(recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"])
        model = torch_recipe.twin(ours)
        course.start()
        training = torch_recipe.Training(recipe, model, parts, rngs)
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
    """Measure all trainings, each in turn, with the seeds 0, 1, 2 and so on."""
    dataset = mnist()
    return [on(training, dataset, rounds) for training in TRAININGS]


def on(training: Training, dataset: Any, rounds: int) -> Table:
    """Measure one training."""
    courses: dict[str, Course] = {}
    rivals: dict[str, Callable[[], float]] = {}
    if training.is_long:
        rounds = 1
    else:
        courses[OURS] = Course(training)
        rivals[OURS] = our_run(dataset, courses[OURS], iter(range(rounds)), "off")

    def enter_jit() -> None:
        require_compiler()
        rivals[JIT] = our_run(dataset, course := Course(training), iter(range(rounds)), "on")
        courses[JIT] = course

    def enter_pytorch() -> None:
        rivals[AGAINST] = their_run(dataset, course := Course(training), iter(range(rounds)))
        courses[AGAINST] = course

    peers.take_part("jit", enter_jit)
    peers.take_part("PyTorch", enter_pytorch)
    if not rivals:
        raise SkippedError(f"{training.title}: it takes too long without a compiler, and PyTorch is not here")
    best = JIT if JIT in rivals else OURS if OURS in rivals else ""
    wall, own = time.perf_counter(), time.process_time()
    interleave(rivals, rounds)
    share = min(1.0, (time.process_time() - own) / (time.perf_counter() - wall))
    first = next(iter(courses.values()))
    for name, course in courses.items():
        for steps, tolerance in training.tolerances.items():
            require_equal(name, course.losses[:steps], first.losses[:steps], tolerance)
    notes = tuple(
        f"{name}: the clock stopped after {median(course.epochs):.2g} of {training.recipe.epochs} epochs "
        f"(medians of {rounds}); test accuracy at the end {np.mean(course.test):.2%}"
        for name, course in courses.items()
    )
    timings = {name: Timing.of(course.seconds) for name, course in courses.items()}
    return Table(training.title, "s", best, timings, training.targets, notes, share)
