"""The training loop: steps, evaluations on the validation part, and the best state kept.

It knows a recipe, a model and the parts of a data set; nothing of files, of the test part or of a screen. How
training goes is remembered in a `History` and told to a `Reporter`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.optim import Optimizer, clip_grad_norm_
from tinygrad_mnist.training.average import WeightAverage
from tinygrad_mnist.training.choices import build_optimizer, build_schedule
from tinygrad_mnist.training.compilation import JitDecision, decide, work_a_step
from tinygrad_mnist.training.errors import DivergedError
from tinygrad_mnist.training.evaluation import Evaluation, evaluate
from tinygrad_mnist.training.models import costs, model_input
from tinygrad_mnist.training.passes import draw_batches
from tinygrad_mnist.training.prediction import Forward
from tinygrad_mnist.training.recipes import Recipe
from tinygrad_mnist.training.threads import threads_for, threads_in_use
from tinygrad_mnist.training.training_data import Parts

State = dict[str, NDArray[Any]]
"""The values of a model by name."""

Result = TypeVar("Result")

FEW_IMAGES: Final = 5000
"""Images that are evaluated as fast as an evaluation is compiled."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of a training; the model has the best state.

    Parameters
    ----------
    plan : Plan
        The training as it was planned.
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
    decision : JitDecision
        Whether the steps were compiled, and why.
    forward : callable
        The model; compiled, if the steps were and there was much to evaluate.
    """

    plan: Plan
    history: History
    best: Record
    seconds: float
    images: int
    interrupted: bool
    decision: JitDecision
    forward: Forward


def fit(
    recipe: Recipe,
    model: nn.Module,
    parts: Parts,
    *,
    rngs: Mapping[str, np.random.Generator],
    reporter: Reporter | None = None,
    jit: str = "auto",
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
    reporter : Reporter, optional
        Is told how it goes.
    jit : str
        Whether the steps and the evaluations are compiled by `tinygrad_mnist.jit`: a name in `JIT`. With
        ``"auto"`` they are where the steps of the recipe are worth the time of compiling, by their number and
        the sizes alone; a model that cannot be compiled is then trained as it is.

    Returns
    -------
    Fit

    Raises
    ------
    DivergedError
        If a loss is not finite.
    TrainingError, JitError
        If ``jit`` is no name in `JIT`; or if it is ``"on"``, and nothing, or not this model, can be compiled.
    KeyboardInterrupt
        If the user pressed Ctrl-C before the first step was done; later that ends training and no more.
    """
    training = _Training(recipe, model, parts, rngs, reporter or Reporter(), jit)
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
        jit: str,
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
            image_shape=model_input(recipe, parts.image_shape),
            classes=parts.classes,
            steps_per_epoch=steps_per_epoch,
            steps=max(1, round(recipe.epochs * steps_per_epoch)),
        )
        # The steps after which to evaluate are evenly spaced. The last step is one of them, so that the last
        # state is evaluated too. If there are more evaluations than steps, some fall together.
        evaluations = max(1, round(recipe.epochs / recipe.evaluate_every))
        self.evaluation_steps = {
            max(1, round(self.plan.steps * part / evaluations)) for part in range(1, evaluations + 1)
        }
        self.rngs = rngs
        # The training accuracy on the way is that of a sample as large as the validation part, always the
        # same one: to evaluate all images so often would take a good part of the time of training.
        self.sample = np.sort(
            rngs["sample"].choice(samples, size=min(samples, len(parts.validation_images)), replace=False)
        )
        self.costs = costs(recipe, model, parts.image_shape, parts.classes)
        work = work_a_step(self.costs, self.plan.parameters, self.batch_size)
        self.decision = decide(jit, self.plan.steps, *work)
        self.optimizer = build_optimizer(recipe, model)
        self.schedule = build_schedule(recipe, self.optimizer, self.plan.steps)
        loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.average = WeightAverage(model, recipe.ema) if recipe.ema else None
        self.uncompiled = _update(model, loss, self.optimizer, recipe.clip_norm)
        self.history = History(steps_per_epoch)
        self.best: tuple[Record, State] | None = None
        self.seconds = 0.0

    def run(self) -> Fit:
        self.reporter.started(self.plan)
        interrupted = False
        try:
            self._train()
            best = self._load_best()
        except KeyboardInterrupt:
            if not self.history.losses:
                raise  # nothing was learned yet: there is nothing to keep
            interrupted = True
            self.reporter.interrupted()
            if self.best is None:
                self.history.records.clear()  # of an evaluation that was interrupted
                self._evaluate()
            best = self._load_best()
        return Fit(
            plan=self.plan,
            history=self.history,
            best=best,
            seconds=self.seconds,
            images=len(self.history.losses) * self.batch_size,
            interrupted=interrupted,
            decision=self.decision,
            forward=self.forward,
        )

    def _load_best(self) -> Record:
        """Put the model into the best state; return its record."""
        assert self.best is not None
        record, state = self.best
        self.model.load_state_dict(state)
        self.model.eval()
        return record

    def _compile(self, decision: JitDecision) -> None:
        """Follow the decision: what is compiled is so when it is first called."""
        self.decision = decision
        threads = threads_in_use() or 1
        self.update = decision.applied(self.uncompiled, threads)
        # evaluations of few images, as those of the bundled digits, take less time than compiling them
        images = 2 * len(self.parts.validation_images) * len(self.evaluation_steps)
        pays = images >= FEW_IMAGES or decision.jit != "auto"
        self.forward = decision.applied(self.model, threads) if pays else self.model
        self.reporter.compiling(decision)

    def _attempt(self, compute: Callable[[], Result]) -> Result:
        """Compute with what is compiled; if it turns out to be none that can be, once more without."""
        try:
            return compute()
        except JitError as error:  # before anything has changed
            self._compile(self.decision.failed(error))
            return compute()

    def _train(self) -> None:
        """Do all steps, with the evaluations among them. To stop early would be to leave the loop here."""
        with threads_for(self.batch_size * self.costs.largest) as notice:
            if notice:
                self.reporter.notify(notice)
            self._compile(self.decision)
            # NumPy's warnings would come once and name no step: what overflows shows in the loss, which is
            # checked in each step
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                self.model.train()
                began = perf_counter()
                drawn = draw_batches(self.recipe, self.parts, self.batch_size, self.plan.steps, self.rngs)
                for step, (x, y) in enumerate(drawn, start=1):
                    self._step(step, x, y)
                    now = perf_counter()
                    self.seconds += now - began
                    began = now
                    if step in self.evaluation_steps:
                        self._evaluate()
                        began = perf_counter()  # evaluations are not training time

    def _step(self, step: int, x: NDArray[Any], y: NDArray[Any]) -> None:
        inputs = Tensor(x), Tensor(y)
        value = self._attempt(lambda: float(self.update(*inputs)))
        if not math.isfinite(value):
            raise self._diverged(f"the loss became {value} in step {step:,} of {self.plan.steps:,}")
        self.lr = self.optimizer.param_groups[0]["lr"]  # of this step: the schedule sets that of the next
        if self.schedule is not None:
            self.schedule.step()
        if self.average is not None:
            self.average.update()
        self.history.losses.append(value)
        self.reporter.stepped(step, value)

    def _evaluate(self) -> None:
        with nullcontext() if self.average is None else self.average.in_use():
            self._record()

    def _record(self) -> None:
        parts, history = self.parts, self.history
        smoothing = self.recipe.label_smoothing
        validation = self._evaluated(parts.validation_images, parts.validation_labels, smoothing)
        if not math.isfinite(validation.loss):
            raise self._diverged(f"the loss on the validation part became {validation.loss}")
        train = self._evaluated(parts.train_images[self.sample], parts.train_labels[self.sample])
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
        best = record.better_than(self.best and self.best[0])
        if best:
            self.best = record, self.model.state_dict()  # a copy, as training goes on; at once, for Ctrl-C
        self.reporter.evaluated(record, best)

    def _evaluated(
        self, images: NDArray[Any], labels: NDArray[Any], label_smoothing: float = 0.0
    ) -> Evaluation:
        standardize = self.parts.standardizer
        return self._attempt(
            lambda: evaluate(self.forward, images, labels, standardize, label_smoothing=label_smoothing)
        )

    def _diverged(self, finding: str) -> DivergedError:
        """Return the error for the first loss that is NaN or infinite: no later step could learn anything."""
        return DivergedError(
            f"{finding}: training has diverged; take a lower learning rate (it was {self.recipe.lr:g}) or "
            "clip the gradients to a smaller norm"
        )


def _update(
    model: nn.Module, loss_of: nn.CrossEntropyLoss, optimizer: Optimizer, clip_norm: float | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function of a batch that changes the parameters, and returns the loss before the change."""

    def update(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = loss_of(model(x), y)
        loss.backward()
        if clip_norm is not None:
            clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        return loss

    return update


# ---- how training goes, as data; and the reporter that is told ---------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The training that is about to begin.

    Parameters
    ----------
    recipe : Recipe
        The model and how it is trained.
    parameters : int
        Numbers that are learned.
    train_images : int
        Images to train on.
    validation_images : int
        Images to validate on.
    image_shape : tuple of int
        Height and width of the images that the model takes.
    classes : int
        Width of the output.
    steps_per_epoch : int
        Steps in an epoch.
    steps : int
        Steps in all.
    """

    recipe: Recipe
    parameters: int
    train_images: int
    validation_images: int
    image_shape: tuple[int, int]
    classes: int
    steps_per_epoch: int
    steps: int


@dataclass(frozen=True)
class Record:
    """One evaluation in the course of training.

    Parameters
    ----------
    step : int
        Steps done.
    epoch : float
        The same in epochs.
    seconds : float
        Training time so far, evaluations excluded.
    lr : float
        The learning rate of the last step.
    train_loss : float
        Mean loss of the steps since the last record, in training mode.
    train_accuracy : float
        Of a fixed sample of the training part, in evaluation mode; 0 to 1, as all accuracies.
    validation_loss : float
        On the whole validation part, in evaluation mode; the loss that is trained, label smoothing included.
    validation_accuracy : float
        On the whole validation part, in evaluation mode.
    """

    step: int
    epoch: float
    seconds: float
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float

    def better_than(self, other: Record | None) -> bool:
        """Return whether its validation accuracy is higher or, if equal, its validation loss lower."""
        if other is None or self.validation_accuracy != other.validation_accuracy:
            return other is None or self.validation_accuracy > other.validation_accuracy
        return self.validation_loss <= other.validation_loss

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain data that JSON can hold."""
        return asdict(self)


@dataclass
class History:
    """The losses and evaluations of a training, in order.

    Parameters
    ----------
    steps_per_epoch : int
        Steps in an epoch.
    losses : list of float
        The loss of each step, in training mode.
    records : list of Record
        The evaluations.
    """

    steps_per_epoch: int
    losses: list[float] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def recent_loss(self) -> float:
        """Return the mean loss of the steps since the last record; nan where there are none."""
        losses = self.losses[self.records[-1].step if self.records else 0 :]
        return sum(losses) / len(losses) if losses else float("nan")


class Reporter:
    """The methods that training calls as it goes on. They do nothing here; those of the command line print.

    Override those that you want. Time spent in `stepped` counts as training.
    """

    def started(self, plan: Plan) -> None:
        """Receive the plan before training begins."""

    def compiling(self, decision: JitDecision) -> None:
        """Receive whether steps are compiled, before the first; once more if the model cannot be."""

    def stepped(self, step: int, loss: float) -> None:
        """Receive the loss of step number ``step``, counted from 1; called after each step."""

    def evaluated(self, record: Record, best: bool) -> None:
        """Receive an evaluation on the validation part; ``best`` is True if none before was better."""

    def interrupted(self) -> None:
        """Note that the user pressed Ctrl-C after something had been learned, so that training ends."""

    def notify(self, sentence: str) -> None:
        """Receive a sentence for the user, for example that a file could not be written."""
