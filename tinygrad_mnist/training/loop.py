"""The training loop: steps, evaluations on the validation part, and the best state kept.

It knows a recipe, a model and the parts of a data set; nothing of files, of the test part or of a screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.data import batches, one_hot
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.optim import clip_grad_norm_
from tinygrad_mnist.training.errors import DivergedError
from tinygrad_mnist.training.history import History, Record
from tinygrad_mnist.training.metrics import evaluate
from tinygrad_mnist.training.model import build_optimizer, build_schedule
from tinygrad_mnist.training.parts import Parts
from tinygrad_mnist.training.recipes import Recipe
from tinygrad_mnist.training.reporter import Plan, Reporter
from tinygrad_mnist.training.threads import threads_for

State = dict[str, NDArray[Any]]
"""The values of a model by name."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What training came to; the model has the best state.

    Parameters
    ----------
    plan : Plan
        What was to be trained.
    history : History
        Losses and records.
    best : Record
        The record of the state that was kept.
    seconds : float
        Training time: drawing and standardising batches, forward, backward, clipping, updates. Not the
        evaluations, nor reading and splitting the data.
    images : int
        Images seen in that time, each as often as it was seen.
    interrupted : bool
        Whether the user ended it.
    """

    plan: Plan
    history: History
    best: Record
    seconds: float
    images: int
    interrupted: bool


def fit(
    recipe: Recipe,
    model: nn.Module,
    parts: Parts,
    *,
    rngs: Mapping[str, np.random.Generator],
    reporter: Reporter | None = None,
) -> Fit:
    """Train a model by a recipe, and leave it in the best state seen.

    Parameters
    ----------
    recipe : Recipe
        How to train.
    model : Module
        From rows of pixels to logits; trained in place.
    parts : Parts
        What to train and to validate on.
    rngs : mapping
        Generators for ``"order"`` and ``"sample"``; see `seeds`.
    reporter : Reporter, optional
        Is told how it goes.

    Returns
    -------
    Fit

    Raises
    ------
    DivergedError
        If a loss is not finite.
    KeyboardInterrupt
        If the user pressed Ctrl-C before the first step was done; later that ends training and no more.
    """
    training = _Training(recipe, model, parts, rngs, reporter or Reporter())
    return training.run()


class _Training:
    """The state of one call of `fit`."""

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        parts: Parts,
        rngs: Mapping[str, np.random.Generator],
        reporter: Reporter,
    ) -> None:
        samples = len(parts.train_images)
        self.recipe, self.model, self.parts, self.reporter = recipe, model, parts, reporter
        self.batch_size = min(recipe.batch_size or samples, samples)
        steps_per_epoch = samples // self.batch_size
        self.plan = Plan(
            recipe=recipe,
            parameters=sum(parameter.size for parameter in model.parameters()),
            train_images=samples,
            validation_images=len(parts.validation_images),
            features=parts.features,
            classes=parts.classes,
            steps_per_epoch=steps_per_epoch,
            steps=recipe.epochs * steps_per_epoch,
        )
        evaluations = max(1, round(recipe.epochs / recipe.evaluate_every))
        self.evaluation_steps = {
            max(1, round(self.plan.steps * part / evaluations)) for part in range(1, evaluations + 1)
        }
        self.order = rngs["order"]
        self.sample = np.sort(
            rngs["sample"].choice(samples, size=min(samples, len(parts.validation_images)), replace=False)
        )
        self.optimizer = build_optimizer(recipe, model)
        self.schedule = build_schedule(recipe, self.optimizer, self.plan.steps)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.history = History(steps_per_epoch)
        self.best: Record | None = None
        self.best_state: State = {}
        self.seconds = 0.0

    def run(self) -> Fit:
        self.reporter.started(self.plan)
        interrupted = False
        try:
            largest = max((p.size for p in self.model.parameters()), default=0)
            with threads_for(self.batch_size * largest) as remark:
                if remark:
                    self.reporter.note(remark)
                # what overflows shows in the loss, which is looked at
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    self._train()
        except KeyboardInterrupt:
            if not self.history.losses:
                raise
            interrupted = True
            self.reporter.interrupted()
            if self.best is None:
                self._evaluate()
        assert self.best is not None
        self.model.load_state_dict(self.best_state)
        self.model.eval()
        return Fit(
            plan=self.plan,
            history=self.history,
            best=self.best,
            seconds=self.seconds,
            images=len(self.history.losses) * self.batch_size,
            interrupted=interrupted,
        )

    def _train(self) -> None:
        self.model.train()
        began = perf_counter()
        for step, (x, y) in enumerate(self._batches(), start=1):
            self._step(step, x, y)
            now = perf_counter()
            self.seconds += now - began
            began = now
            if step in self.evaluation_steps:
                self._evaluate()
                began = perf_counter()

    def _batches(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """All batches of all epochs; of each, in its own order, what does not fill a batch is left out."""
        parts = self.parts
        labels = parts.train_labels
        if self.recipe.one_hot:
            labels = one_hot(labels, parts.classes)
        if self.batch_size == self.plan.train_images:  # one batch, always the same: made once
            rows = parts.standardizer(parts.train_images)
            for _ in range(self.recipe.epochs):
                yield rows, labels
            return
        for _ in range(self.recipe.epochs):
            yield from batches(
                parts.train_images,
                labels,
                self.batch_size,
                rng=self.order,
                drop_last=True,
                standardize=parts.standardizer,
            )

    def _step(self, step: int, x: NDArray[Any], y: NDArray[Any]) -> None:
        self.optimizer.zero_grad()
        loss = self.loss(self.model(Tensor(x)), Tensor(y))
        value = float(loss)
        if not math.isfinite(value):
            self._diverged(f"the loss became {value} in step {step:,} of {self.plan.steps:,}")
        loss.backward()
        if self.recipe.clip_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.lr = self.optimizer.param_groups[0]["lr"]
        if self.schedule is not None:
            self.schedule.step()
        self.history.losses.append(value)
        self.reporter.stepped(step, value)

    def _evaluate(self) -> None:
        parts, history = self.parts, self.history
        smoothing = self.recipe.label_smoothing
        validation = evaluate(
            self.model,
            parts.validation_images,
            parts.validation_labels,
            parts.standardizer,
            label_smoothing=smoothing,
        )
        if not math.isfinite(validation.loss):
            self._diverged(f"the loss on the validation part became {validation.loss}")
        train = evaluate(
            self.model, parts.train_images[self.sample], parts.train_labels[self.sample], parts.standardizer
        )
        record = Record(
            step=len(history.losses),
            epoch=len(history.losses) / history.steps_per_epoch,
            seconds=self.seconds,
            lr=float(self.lr),
            train_loss=history.recent_loss(),
            train_accuracy=train.accuracy,
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
        )
        history.records.append(record)
        best = record.better_than(self.best)
        if best:
            self.best_state, self.best = self.model.state_dict(), record
        self.reporter.evaluated(record, best)

    def _diverged(self, what: str) -> None:
        raise DivergedError(
            f"{what}: training has diverged; take a lower learning rate (it was {self.recipe.lr:g}) or clip "
            "the gradients to a smaller norm"
        )
