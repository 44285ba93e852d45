"""Training by a recipe: what the recipe names is built, and `fit`'s loop goes through it.

It knows a recipe, a model and the parts of a data set; nothing of files, of the test part or of a screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.training.distributed.agreement import agreed
from tinygrad_mnist.training.distributed.communicator import Communicator, as_communicator
from tinygrad_mnist.training.evaluation import evaluate
from tinygrad_mnist.training.loop.callbacks import Callback
from tinygrad_mnist.training.loop.course import Training
from tinygrad_mnist.training.loop.metrics import Measured
from tinygrad_mnist.training.loop.passes import Passes
from tinygrad_mnist.training.loop.result import Fit
from tinygrad_mnist.training.loop.spread import steps_of
from tinygrad_mnist.training.prediction import Forward
from tinygrad_mnist.training.recipe.choices import build_optimizer, build_schedule
from tinygrad_mnist.training.recipe.models import costs, model_input
from tinygrad_mnist.training.recipe.plan import Plan
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.training_data import Parts


def follow(
    recipe: Recipe,
    model: nn.Module,
    parts: Parts,
    *,
    rngs: Mapping[str, np.random.Generator],
    callbacks: Sequence[Callback] = (),
    jit: str = "auto",
    lint: bool = True,
    resume: Mapping[str, Any] | None = None,
    communicator: Any = None,
) -> Fit:
    """Train a model by a recipe, and leave it in the best state seen.

    Parameters
    ----------
    recipe : Recipe
        How to train.
    model : Module
        From standardised images, shape (n, 1, height, width), to logits; trained in place.
    parts : Parts
        The images to train and to validate on.
    rngs : mapping
        Generators for ``"order"``, ``"sample"``, ``"augmentation"`` and ``"hard"``, as `seeds.generators`
        returns them.
    callbacks : sequence of Callback
        They are told how it goes.
    jit : str
        Whether the steps and the evaluations are compiled by `tinygrad_mnist.jit`: a name in `JIT`. With
        ``"auto"`` they are where the steps of the recipe are worth the time of compiling, by their number and
        the sizes alone; a model that cannot be compiled is then trained as it is.
    lint : bool
        Whether to say what is wrong with the training; see `fit`.
    resume : mapping, optional
        The state of a training by this recipe, as `Training.state_dict` returned it: training goes on from
        it, and ends in the same bits as without an interruption. With other epochs, the schedule is laid out
        over the new number of steps, and goes on from the step that was reached.
    communicator : mpi4py.MPI.Comm or Communicator, optional
        The processes that train together; see `fit`.

    Returns
    -------
    Fit

    Raises
    ------
    DivergedError
        If a loss is not finite.
    TrainingError, JitError
        If ``jit`` is no name in `JIT`; or if it is ``"on"``, and nothing, or not this model, can be compiled.
    CheckpointError
        If ``resume`` is the state of another training.
    KeyboardInterrupt
        If the user pressed Ctrl-C before the first step was done; later that ends training and no more.
    """
    ranks = as_communicator(communicator)
    with agreed(ranks):
        training = planned(
            recipe, model, parts, rngs=rngs, callbacks=callbacks, jit=jit, lint=lint, communicator=ranks
        )
    return training.run(resume)


def steps_per_epoch(recipe: Recipe, samples: int) -> int:
    """Return the steps of a pass through some samples; a batch that would not be full is left out."""
    return -(-(samples // min(recipe.batch_size or samples, samples)) // recipe.accumulate)


def planned(
    recipe: Recipe,
    model: nn.Module,
    parts: Parts,
    *,
    rngs: Mapping[str, np.random.Generator],
    callbacks: Sequence[Callback] = (),
    jit: str = "auto",
    lint: bool = True,
    communicator: Any = None,
) -> Training:
    """Return the training of a model by a recipe, which has not begun."""
    samples = len(parts.train_images)
    batch_size = min(recipe.batch_size or samples, samples)
    steps = steps_of(recipe.epochs, steps_per_epoch(recipe, samples))
    optimizer = build_optimizer(recipe, model)
    ranks = as_communicator(communicator)
    measure = _Measure(recipe, parts, rngs["sample"], ranks)
    return Training(
        model,
        optimizer,
        Passes(recipe, parts, batch_size, steps, rngs),
        loss=nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing),
        epochs=recipe.epochs,
        evaluate=measure,
        schedule=build_schedule(recipe, optimizer, steps),
        callbacks=callbacks,
        clip_norm=recipe.clip_norm,
        accumulate=recipe.accumulate,
        ema=recipe.ema,
        patience=recipe.patience,
        evaluate_every=recipe.evaluate_every,
        jit=jit,
        lint=lint,
        costs=costs(recipe, model, parts.image_shape, parts.classes),
        batch_size=batch_size,
        evaluated=2 * len(parts.validation_images),
        communicator=ranks,
        plan=Plan(
            recipe=recipe,
            parameters=sum(parameter.size for parameter in model.parameters()),
            train_images=samples,
            validation_images=len(parts.validation_images),
            image_shape=model_input(recipe, parts.image_shape),
            classes=parts.classes,
            steps_per_epoch=steps_per_epoch(recipe, samples),
            steps=steps,
        ),
    )


class _Measure:
    """The evaluation of a model on the validation part, and on a sample of the training part.

    The training accuracy on the way is that of a sample as large as the validation part, always the same one:
    to evaluate all images so often would take a good part of the time of training.
    """

    def __init__(
        self, recipe: Recipe, parts: Parts, rng: np.random.Generator, communicator: Communicator | None
    ) -> None:
        self.recipe, self.parts, self.communicator = recipe, parts, communicator
        samples, size = len(parts.train_images), len(parts.validation_images)
        self.sample: NDArray[np.intp] = np.sort(rng.choice(samples, size=min(samples, size), replace=False))

    def __call__(self, forward: Forward) -> Measured:
        parts = self.parts
        validation = evaluate(
            forward,
            parts.validation_images,
            parts.validation_labels,
            parts.standardizer,
            label_smoothing=self.recipe.label_smoothing,
            communicator=self.communicator,
        )
        train = evaluate(
            forward,
            parts.train_images[self.sample],
            parts.train_labels[self.sample],
            parts.standardizer,
            communicator=self.communicator,
        )
        return Measured(validation.loss, validation.accuracy, train.accuracy)
