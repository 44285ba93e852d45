"""The training of any model: a loop over batches, and everything that a good loop looks after.

`fit` is thin over the loop that one writes oneself, and gives the same bits:

    for epoch in range(epochs):
        for x, y in batches:
            optimizer.zero_grad()
            value = loss(model(x), y)
            value.backward()
            optimizer.step()
            schedule.step()

It knows nothing of recipes, of files of a run, or of a screen. How training goes is remembered in a `History`
and told to callbacks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.data import Batches
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.optim import LRScheduler, Optimizer
from tinygrad_mnist.training.average import WeightAverage
from tinygrad_mnist.training.callbacks import Callback, CallbackList
from tinygrad_mnist.training.checkpoint import load_state, save_state
from tinygrad_mnist.training.checkpointing import EVERY, Checkpointing
from tinygrad_mnist.training.compilation import JitDecision, decide, work_a_step
from tinygrad_mnist.training.errors import CheckpointError, DivergedError, TrainingError
from tinygrad_mnist.training.history import GradientNorms, History, Record
from tinygrad_mnist.training.interrupts import Interrupts, deferred
from tinygrad_mnist.training.metrics import Measured, MetricNames, Validation, find_metrics
from tinygrad_mnist.training.models import Costs, estimated_costs
from tinygrad_mnist.training.plan import Plan
from tinygrad_mnist.training.prediction import BATCH, Forward
from tinygrad_mnist.training.random_state import random_state, set_random_state
from tinygrad_mnist.training.steps import Loss, step_functions
from tinygrad_mnist.training.threads import threads_for, threads_in_use

State = dict[str, NDArray[Any]]
"""The values of a model by name."""

Evaluate = Callable[[Forward], Measured]
"""A function that evaluates a model, which may be compiled, on a validation part."""

FEW_IMAGES: Final = 5000
"""Images that are evaluated as fast as an evaluation is compiled."""

GRADIENT_SAMPLES: Final = 200
"""The number of steps, about, in which norms of gradients are taken: enough for a picture, few enough to cost
little."""


class Source(Protocol):
    """Batches that can be gone through again and again, a pass an epoch: such as `tinygrad_mnist.data.Batches`.

    It may have two more methods. ``state_dict()`` returns the state with which the pass that is under way
    began, and between two passes that with which the next one begins; ``load_state_dict(state)`` goes back to
    it. Without them, each pass has to be the same. ``from_batch(first)`` begins a pass at a later batch.
    """

    def __len__(self) -> int:
        """Return the number of batches in a pass."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Go through the batches once, each inputs and targets."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of a training; the model has the best state.

    Parameters
    ----------
    plan : Plan or None
        The training as it was planned, where it followed a recipe.
    history : History
        Losses and records.
    best : Record or None
        The record of the state that was kept; None without a validation part, where the last is kept.
    seconds : float
        Training time: drawing and standardising batches, forward, backward, clipping, updates. Not the
        evaluations, nor reading and splitting the data, nor writing checkpoints.
    samples : int
        Samples seen in that time, each as often as it was seen.
    interrupted : bool
        Whether the user ended it.
    stopped : bool
        Whether it ended early: by `patience`, or by a callback.
    decision : JitDecision
        Whether the steps were compiled, and why.
    forward : callable
        The model; compiled, if the steps were and there was much to evaluate.
    """

    plan: Plan | None
    history: History
    best: Record | None
    seconds: float
    samples: int
    interrupted: bool
    stopped: bool
    decision: JitDecision
    forward: Forward

    @property
    def images(self) -> int:
        """The samples, where they are images."""
        return self.samples


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    data: Source | tuple[Any, Any],
    *,
    loss: Loss,
    epochs: float,
    validation: Source | tuple[Any, Any] | None = None,
    batch_size: int = 64,
    schedule: LRScheduler | None = None,
    metrics: MetricNames | None = None,
    callbacks: Sequence[Callback] = (),
    clip_norm: float | None = None,
    accumulate: int = 1,
    ema: float = 0.0,
    patience: int | None = None,
    evaluate_every: float = 1.0,
    seed: int = 0,
    jit: str = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: str = EVERY,
    resume: str | os.PathLike[str] | None = None,
) -> Fit:
    """Train a model, and leave it in the best state seen, in evaluation mode.

    Parameters
    ----------
    model : Module
        Any model of one input; trained in place.
    optimizer : Optimizer
        Made for the parameters of the model.
    data : tuple of array, or batches
        Inputs and targets, shapes (n, ...); their batches are drawn in a new order in each epoch. Or anything
        that can be gone through again and again, a pass an epoch, and has a length: see `Source`.
    loss : callable
        ``loss(model(x), y)`` is the mean loss of a batch.
    epochs : float
        Passes through the data; not necessarily a whole number.
    validation : tuple of array, or batches, optional
        What the model is evaluated on.
    batch_size : int
        Samples in a batch, where data is arrays.
    schedule : LRScheduler, optional
        It is stepped after each step of the optimiser.
    metrics : str, sequence or mapping, optional
        What is measured on the validation part besides loss and accuracy: names in `METRICS`, "top-3",
        functions of all outputs and all targets, or functions by name. The accuracy is always measured where
        targets are classes.
    callbacks : sequence of Callback
        They are told how it goes.
    clip_norm : float, optional
        The greatest norm of all gradients together.
    accumulate : int
        Batches that make one step: of the mean of their gradients, as if they were one batch.
    ema : float
        Decay rate of the moving average of the weights, which is what is evaluated and kept; 0 for none.
    patience : int, optional
        Evaluations without a better one after which training stops.
    evaluate_every : float
        Epochs between two evaluations, about: they are evenly spaced, and the last step is followed by one.
    seed : int
        Of the order of the samples, where data is arrays.
    jit : str
        Whether steps and evaluations are compiled: "auto", "on" or "off". Compiled steps round otherwise.
    checkpoint : path-like, optional
        A file for the state of the training, to go on with it after an interruption.
    checkpoint_every : str
        How often it is written: "500 steps", "30 seconds", "2 minutes".
    resume : path-like, optional
        A file that was written so. Training goes on where it was, and ends in the same bits as without an
        interruption.

    Returns
    -------
    Fit

    Raises
    ------
    TrainingError, JitError
        If an argument does not fit the others; or if ``jit`` is "on", and this model cannot be compiled.
    DivergedError
        If a loss is not finite.
    CheckpointError
        If ``resume`` is the checkpoint of another training.
    KeyboardInterrupt
        If Ctrl-C was pressed before the first step was done, or twice. Later the first one ends training and
        no more, once the step is done; so does SIGTERM.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn, optim, training
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)).astype(np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(np.int64)
    >>> model = nn.Linear(2, 2, rng=0)
    >>> optimizer = optim.Adam(model.parameters(), lr=0.1)
    >>> done = training.fit(
    ...     model, optimizer, (x[:150], y[:150]), loss=nn.CrossEntropyLoss(), epochs=10,
    ...     validation=(x[150:], y[150:]),
    ... )
    >>> len(done.history.losses), done.best.validation_accuracy > 0.9
    (30, True)
    """
    source = as_source(data, batch_size, np.random.default_rng(seed))
    evaluate = None
    if validation is not None:
        evaluate = Validation(as_source(validation, BATCH, None), loss, find_metrics(metrics))
    elif metrics is not None:
        raise TrainingError("metrics are measured on the validation part; give validation=")
    told = list(callbacks)
    if checkpoint is not None:
        path = checkpoint
        told.append(Checkpointing(lambda training: save_state(path, training.state_dict()), checkpoint_every))
    shape = source.inputs.shape[1:] if isinstance(source, Batches) else ()
    training = Training(
        model,
        optimizer,
        source,
        loss=loss,
        epochs=epochs,
        evaluate=evaluate,
        schedule=schedule,
        callbacks=told,
        clip_norm=clip_norm,
        accumulate=accumulate,
        ema=ema,
        patience=patience,
        evaluate_every=evaluate_every,
        jit=jit,
        costs=estimated_costs(model, shape[-2:])._replace(numbers=math.prod(shape)),
        batch_size=source.batch_size if isinstance(source, Batches) else batch_size,
    )
    if resume is not None:
        training.load_state_dict(load_state(resume))
    return training.run()


def as_source(data: Any, batch_size: int, rng: np.random.Generator | None) -> Source:
    """Return what was given as data: the batches themselves, or those of a pair of arrays.

    Raises
    ------
    TrainingError
        If it is neither, or cannot be gone through again.
    """
    if isinstance(data, tuple):
        if len(data) != 2:
            raise TrainingError(f"data is a pair of arrays, inputs and targets, not {len(data)} of them")
        inputs, targets = (np.asarray(part.data if isinstance(part, Tensor) else part) for part in data)
        if not (inputs.ndim and targets.ndim and len(inputs)):
            raise TrainingError(
                f"there is nothing to go through: inputs have shape {inputs.shape}, targets {targets.shape}"
            )
        return Batches(inputs, targets, min(batch_size, len(inputs)), rng=rng)
    if not hasattr(data, "__iter__") or isinstance(data, np.ndarray):
        raise TrainingError(
            f"data is a pair of arrays, (inputs, targets), or batches of them, not a {type(data).__name__}"
        )
    if hasattr(data, "__next__"):
        raise TrainingError(
            f"data is a {type(data).__name__}, which can be gone through once, and each epoch is a pass; give "
            "arrays, data.Batches, or a list of batches"
        )
    if not hasattr(data, "__len__"):
        raise TrainingError(f"a {type(data).__name__} does not say how many batches it has: give it __len__")
    if not len(data):
        raise TrainingError("there is nothing to go through: data has no batches")
    source: Source = data
    return source


class Training:
    """A training that is under way, as callbacks see it; `fit` makes it.

    Parameters
    ----------
    model, optimizer, loss, epochs, schedule, callbacks, clip_norm, accumulate, ema, patience, \
    evaluate_every, jit
        As `fit` takes them.
    data : Source
        The batches.
    evaluate : callable, optional
        Evaluates a model.
    costs : Costs
        The work of the forward pass of one sample, about.
    batch_size : int
        Samples in a batch, about.
    evaluated : int, optional
        Samples that an evaluation goes through, if that is known.
    plan : Plan, optional
        The plan, where a recipe is followed.

    Attributes
    ----------
    step : int
        Steps that are done.
    steps : int
        Steps in all.
    steps_per_epoch : int
        Steps in an epoch.
    loss : float
        The loss of the last step; nan before the first.
    lr : float
        The learning rate of the last step, or of the first before it.
    history : History
        Losses, rates and records so far.
    best : Record or None
        The best record so far.
    average : WeightAverage or None
        The moving average of the weights.
    decision : JitDecision
        Whether steps are compiled, and why.
    batch : tuple or None
        Inputs and targets of the last batch.
    is_whole : bool
        Whether no step is half done, so that the state can be saved.
    interrupted, stopped : bool
        Whether training was ended by an interrupt, or early.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        data: Source,
        *,
        loss: Loss,
        epochs: float,
        evaluate: Evaluate | None = None,
        schedule: LRScheduler | None = None,
        callbacks: Sequence[Callback] = (),
        clip_norm: float | None = None,
        accumulate: int = 1,
        ema: float = 0.0,
        patience: int | None = None,
        evaluate_every: float = 1.0,
        jit: str = "auto",
        costs: Costs = Costs(0, 0, 0),
        batch_size: int = 64,
        evaluated: int | None = None,
        plan: Plan | None = None,
    ) -> None:
        _require_settings(epochs, accumulate, ema, clip_norm, patience, evaluate_every)
        _require_held(model, optimizer)
        if patience is not None and evaluate is None:
            raise TrainingError("patience counts evaluations; give a validation part, or leave it out")
        self.batches = len(data)
        if accumulate > self.batches:
            raise TrainingError(
                f"accumulate is {accumulate}, but a pass through the data has "
                f"{count_text(self.batches, 'batch')}"
            )
        self.model, self.optimizer, self.data, self.schedule = model, optimizer, data, schedule
        self.plan, self.costs, self.batch_size, self.evaluated = plan, costs, batch_size, evaluated
        self.epochs, self.accumulate, self.patience = epochs, accumulate, patience
        self.clip_norm, self.ema, self.evaluate_every = clip_norm, ema, evaluate_every
        self.steps_per_epoch = -(-self.batches // accumulate)
        self.steps = steps_of(epochs, self.steps_per_epoch)
        self.average = WeightAverage(model, ema) if ema else None
        self.history = History(self.steps_per_epoch)
        self.best: Record | None = None
        self.loss, self.lr = math.nan, float(optimizer.param_groups[0]["lr"])
        self.step = self.samples = 0
        self.seconds = 0.0
        self.batch: tuple[Any, Any] | None = None
        self.is_whole, self.interrupted, self.stopped = True, False, False
        self._jit = jit
        numbers, convolved = work_a_step(costs, sum(p.size for p in model.parameters()), batch_size)
        self.decision = decide(jit, self.steps, numbers * accumulate, convolved * accumulate)
        self._uncompiled = step_functions(model, loss, optimizer, clip_norm)
        self._functions, self.forward = self._uncompiled, model
        self._evaluate_model = evaluate
        self._best_state: State | None = None
        self._callbacks = CallbackList(callbacks)
        self._batch = 0  # batches of the pass that is under way that are done
        self._drawn: Iterator[tuple[Any, Any]] | None = None  # the others of a pass that is gone on with
        self._phase = _DONE
        self._interrupts: Interrupts | None = None
        self._greatest_lr = max(group.get("max_lr", group["lr"]) for group in optimizer.param_groups)
        self._named = list(model.named_parameters())
        self._lay_out()

    def _lay_out(self) -> None:
        """Choose the steps after which to evaluate, and those in which norms of gradients are taken.

        Both are evenly spaced. The last step is one of them, so that the last state is evaluated too. If
        there are more evaluations than steps, some fall together.
        """
        evaluations = max(1, round(self.epochs / self.evaluate_every)) if self._evaluate_model else 0
        self.evaluation_steps = _spread(self.steps, evaluations)
        self._gradient_steps = _spread(self.steps, min(self.steps, GRADIENT_SAMPLES))

    @property
    def epoch(self) -> float:
        """Passes that are done."""
        return self.step / self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to do."""
        return self.stopped or self.step >= self.steps

    def stop(self) -> None:
        """End training after the step that is under way; the last state is evaluated, the best is kept."""
        self.stopped = True

    def notify(self, sentence: str) -> None:
        """Give all callbacks a sentence for the user."""
        self._tell("on_notice", sentence)

    def averaged(self) -> AbstractContextManager[None]:
        """Let the model have the moving average as its weights inside, if there is one: what is evaluated."""
        return nullcontext() if self.average is None else self.average.in_use()

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Let the time inside count as no training time."""
        began = perf_counter()
        try:
            yield
        finally:
            self._began += perf_counter() - began

    # ---- the course ----------------------------------------------------------------------------------------

    def run(self) -> Fit:
        """Train to the end, and leave the model in the best state."""
        if self.finished:
            self.notify(f"this training is finished: all {count_text(self.step, 'step')} are done")
        else:
            with (
                deferred() as self._interrupts,
                threads_for(self.batch_size * self.costs.largest) as notice,
                # NumPy's warnings would come once and name no step: what overflows shows in the loss, which
                # is checked in each step
                np.errstate(over="ignore", invalid="ignore", divide="ignore"),
            ):
                try:
                    self._train(notice)
                except KeyboardInterrupt as interrupt:
                    self._end_by(interrupt)
                self._finish()
                self.interrupted |= self._interrupts.pending is not None
        if self._best_state is not None:
            self.model.load_state_dict(self._best_state)
        self.model.eval()
        return Fit(
            plan=self.plan,
            history=self.history,
            best=self.best,
            seconds=self.seconds,
            samples=self.samples,
            interrupted=self.interrupted,
            stopped=self.stopped,
            decision=self.decision,
            forward=self.forward,
        )

    def _train(self, notice: str | None) -> None:
        """Do all steps, with the evaluations among them."""
        self._began = perf_counter()
        if (
            not self.model.training
        ):  # modules that are to stay in evaluation mode may do so in a model that is not
            self.model.train()
        self._tell("on_train_begin")
        if notice:
            self.notify(notice)
        self._compile(self.decision)
        self._at_boundary()
        while not self.finished:
            self._pass()

    def _pass(self) -> None:
        """Go through the data once, or through what is left of a pass."""
        if self._batch == 0:
            self._tell("on_epoch_begin")
        self._began = perf_counter()
        drawn = self._drawn or iter(self.data)
        self._drawn = None
        while True:
            self.is_whole = False
            self._step(drawn)
            self._phase = _STEPPED
            self.is_whole = True
            self._tell("on_step_end")
            self.seconds += perf_counter() - self._began
            self._at_boundary()
            if self.finished or self._batch == 0:
                return
            self._began = perf_counter()

    def _at_boundary(self) -> None:
        """Do what comes between two steps, or what of it was not done before an interruption."""
        if self._phase == _STEPPED:
            if self.step in self.evaluation_steps:
                self._evaluate()
            self._phase = _EVALUATED
        if self._phase == _EVALUATED:
            self._phase = _DONE
            if self._batch == 0:
                self._tell("on_epoch_end")
        if self._interrupts is not None:
            self._interrupts.take()

    def _end_by(self, interrupt: KeyboardInterrupt) -> None:
        """End training by the first interrupt; raise it if nothing was learned, and any later one."""
        assert self._interrupts is not None
        if not self.history.losses or self._interrupts.pending not in (None, interrupt):
            raise interrupt
        self._interrupts.pending = interrupt
        self.interrupted = True
        self._tell("on_interrupt")

    def _finish(self) -> None:
        """Evaluate the last state where nothing else would be kept, and tell that training has ended."""
        is_evaluated = bool(self.history.records) and self.history.records[-1].step == self.step
        if self._evaluate_model and not is_evaluated and (self.best is None or not self.interrupted):
            self._evaluate()
        if self._evaluate_model is None and self.average is not None:
            with self.averaged():
                self._best_state = self.model.state_dict()
        self._tell("on_train_end")

    # ---- a step --------------------------------------------------------------------------------------------

    def _step(self, drawn: Iterator[tuple[Any, Any]]) -> None:
        """Do one step on the next batches."""
        if self.accumulate == 1:
            x, y = self._next(drawn)
            inputs = Tensor(x), Tensor(y)
            self.batch = inputs
            found, norm = self._call("whole", *inputs)
            value = float(found)
            self.samples += len(x)
        else:
            value, norm = self._accumulated(drawn)
        if self._batch == self.batches:
            self._end_pass(drawn)
        self.step += 1
        self.loss = value
        if not math.isfinite(value):
            raise self._diverged(f"the loss became {value} in step {self.step:,} of {self.steps:,}")
        self._note(value, norm)
        if self.schedule is not None:
            self.schedule.step()
        if self.average is not None:
            self.average.update()

    def _next(self, drawn: Iterator[tuple[Any, Any]]) -> tuple[Any, Any]:
        batch = next(drawn, None)
        if batch is None:
            raise TrainingError(
                f"a pass through the data ended after {self._batch} batches, but its length is {self.batches}"
            )
        self._batch += 1
        return batch

    def _accumulated(self, drawn: Iterator[tuple[Any, Any]]) -> tuple[float, float | None]:
        """Do one step on the mean of several batches' gradients; return the loss and the gradients' norm."""
        count = min(self.accumulate, self.batches - self._batch)
        batches = [self._next(drawn) for _ in range(count)]
        samples = sum(len(x) for x, _ in batches)
        self.samples += samples
        total, norm = 0.0, None
        for number, (x, y) in enumerate(batches):
            inputs, share = (Tensor(x), Tensor(y)), len(x) / samples
            self.batch = inputs
            if count == 1:
                value, norm = self._call("whole", *inputs)
            elif number == count - 1:
                value, norm = self._call("last", *inputs, share)
            else:
                value = self._call("further" if number else "first", *inputs, share)
            total += share * float(value)
        return total, norm

    def _end_pass(self, drawn: Iterator[tuple[Any, Any]]) -> None:
        """Let the batches know that the pass has ended, so that their state is that of the next one."""
        if next(drawn, None) is not None:
            raise TrainingError(f"a pass through the data goes on after {self.batches} batches, its length")
        self._batch = 0

    def _note(self, value: float, norm: float | None) -> None:
        """Write a step into the history."""
        history = self.history
        history.losses.append(value)
        self.lr = self.optimizer.param_groups[0]["lr"]  # of this step: the schedule sets that of the next
        history.rates.append(self.lr)
        factor = 1.0
        if norm is not None and self.clip_norm is not None:
            factor = min(1.0, self.clip_norm / (norm + 1e-6))
            history.clipped += factor < 1
        if self.step in self._gradient_steps:
            history.gradients.append(GradientNorms(self.step, self._gradient_norms(factor)))

    def _gradient_norms(self, factor: float) -> dict[str, float]:
        """Return the norms of the gradients before they were scaled by a factor."""
        norms = {}
        for name, parameter in self._named:
            if parameter.grad is not None:
                gradient = parameter.grad.data.ravel("K")
                norm = math.sqrt(float(gradient.dot(gradient)))  # in its own dtype, which is fast
                norms[name] = norm / factor if factor else math.inf
        return norms

    def _diverged(self, finding: str) -> DivergedError:
        """Return the error for the first loss that is NaN or infinite: no later step could learn anything."""
        error = (
            f"{finding}: training has diverged; take a lower learning rate (it was {self._greatest_lr:g}) or "
            "clip the gradients to a smaller norm"
        )
        reasons = [method(self) for method in self._callbacks.methods["on_diverge"]]
        return DivergedError("; ".join([error, *filter(None, reasons)]))

    # ---- compiling and evaluating --------------------------------------------------------------------------

    def _compile(self, decision: JitDecision) -> None:
        """Follow the decision: what is compiled is so when it is first called."""
        self.decision = decision
        threads = threads_in_use() or 1
        self._functions = type(self._uncompiled)(*(decision.applied(f, threads) for f in self._uncompiled))
        # evaluations of few images, as those of the bundled digits, take less time than compiling them
        pays = self.evaluated is None or self.evaluated * len(self.evaluation_steps) >= FEW_IMAGES
        self.forward = self.model
        if self._evaluate_model is not None and (pays or decision.jit != "auto"):
            self.forward = decision.applied(self.model, threads)
        self._tell("on_compile", decision)

    def _call(self, name: str, *inputs: Any) -> Any:
        """Call a function of the step; if it turns out to be none that can be compiled, once more without."""
        try:
            return getattr(self._functions, name)(*inputs)
        except JitError as error:  # before anything has changed
            self._compile(self.decision.failed(error))
            return getattr(self._functions, name)(*inputs)

    def _measured(self, evaluate: Evaluate) -> Measured:
        """Evaluate the model; if it turns out to be none that can be compiled, once more without."""
        try:
            return evaluate(self.forward)
        except JitError as error:
            self._compile(self.decision.failed(error))
            return evaluate(self.forward)

    def _evaluate(self) -> None:
        evaluate = self._evaluate_model
        assert evaluate is not None
        with self.averaged():
            measured = self._measured(evaluate)
            if not math.isfinite(measured.loss):
                raise self._diverged(f"the loss on the validation part became {measured.loss}")
            record = Record(
                step=self.step,
                epoch=self.epoch,
                seconds=self.seconds,
                lr=float(self.lr),
                train_loss=self.history.recent_loss(),
                train_accuracy=measured.train_accuracy,
                validation_loss=measured.loss,
                validation_accuracy=measured.accuracy,
                metrics=measured.metrics,
            )
            best = record.better_than(self.best)
            if best:
                self.best, self._best_state = record, self.model.state_dict()  # a copy, as training goes on
        self.history.records.append(record)
        self._phase = _EVALUATED
        if self.patience is not None and self._evaluations_since_best() >= self.patience:
            self.stop()
        self._tell("on_evaluate", record, best)

    def _evaluations_since_best(self) -> int:
        assert self.best is not None
        return sum(record.step > self.best.step for record in self.history.records)

    def _tell(self, event: str, *details: Any) -> None:
        """Tell all callbacks; Ctrl-C in one of them waits until the others have heard it too."""
        for method in self._callbacks.methods[event]:
            try:
                method(self, *details)
            except KeyboardInterrupt as interrupt:
                if self._interrupts is None:
                    raise
                self._interrupts.note(interrupt)

    # ---- the state -----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on later, to the same bits: plain data and arrays.

        Raises
        ------
        TrainingError
            If an interrupt ended the last step half-way.
        """
        if not self.is_whole:
            raise TrainingError("a step is half done, so this state is none that training could go on from")
        source, schedule, average = self.data, self.schedule, self.average
        best = None
        if self.best is not None:
            best = {"record": self.best.to_dict(), "state": self._best_state}
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if schedule is None else schedule.state_dict(),
            "average": None if average is None else average.state_dict(),
            "data": source.state_dict() if hasattr(source, "state_dict") else None,
            "random": random_state(self.model),
            "position": {
                "step": self.step,
                "batch": self._batch,
                "phase": self._phase,
                "samples": self.samples,
                "seconds": self.seconds,
                "stopped": self.stopped,
            },
            "settings": self._settings(),
            "history": self.history.to_dict(),
            "best": best,
            "callbacks": self._callbacks.state_dict(),
            "decision": asdict(self.decision),
        }

    def _settings(self) -> dict[str, Any]:
        """Return what has to be the same when training goes on; with other epochs it goes on longer."""
        return {
            "epochs": self.epochs,
            "batches": self.batches,
            "accumulate": self.accumulate,
            "clip_norm": self.clip_norm,
            "ema": self.ema,
            "patience": self.patience,
            "evaluate_every": self.evaluate_every,
            "optimizer": type(self.optimizer).__name__,
            "schedule": None if self.schedule is None else type(self.schedule).__name__,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another training was when it returned this from `state_dict`.

        With other epochs, the schedule stays as it was made here, and goes on from the step that was reached.

        Parameters
        ----------
        state : mapping
            The state.

        Raises
        ------
        CheckpointError
            If it is the state of another model, or of a training with other settings; the message names what
            differs.
        """
        _require_same_model(state["model"], self.model.state_dict())
        saved, own = state["settings"], self._settings()
        differ = [name for name in own if name != "epochs" and saved.get(name) != own[name]]
        if differ:
            name = differ[0]
            raise CheckpointError(
                f"the checkpoint is that of another training: {name} was {saved.get(name)!r} there, and is "
                f"{own[name]!r} here"
            )
        self._load_decision(state["decision"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            schedule = state["schedule"]
            if saved["epochs"] != self.epochs:  # laid out anew, over the new number of steps
                schedule = _moved(self.schedule.state_dict(), schedule)
            self.schedule.load_state_dict(schedule)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self._load_position(state)
        if state["data"] is not None:
            self.data.load_state_dict(state["data"])  # type: ignore[attr-defined]
        self._drawn = _opened(self.data, self._batch) if self._batch else None
        left = self._callbacks.load_state_dict(state["callbacks"])
        set_random_state(self.model, state["random"])  # last: to open a pass may draw from the same generator
        if left:
            self.notify(f"the checkpoint has states of callbacks that are not here: {', '.join(left)}")

    def _load_position(self, state: Mapping[str, Any]) -> None:
        position = state["position"]
        self.step, self._batch, self._phase = position["step"], position["batch"], position["phase"]
        self.samples, self.seconds = position["samples"], position["seconds"]
        self.stopped = position["stopped"] and state["settings"]["epochs"] == self.epochs
        self.history = History.from_dict(state["history"])
        self.lr = self.history.rates[-1] if self.history.rates else self.lr
        self.loss = self.history.losses[-1] if self.history.losses else math.nan
        self.best = self._best_state = None
        if state["best"] is not None:
            self.best = Record.from_dict(state["best"]["record"])
            self._best_state = state["best"]["state"]

    def _load_decision(self, values: Mapping[str, Any]) -> None:
        """Take over the decision whether to compile, since compiled steps round otherwise."""
        saved = JitDecision(**values)
        if saved.compiled != self.decision.compiled and self._jit != "auto":
            were = "" if saved.compiled else "not "
            raise CheckpointError(
                f"the steps were {were}compiled until now, so that jit={self._jit!r} would change the results; "
                "leave it out"
            )
        if saved.compiled and self.decision.missed:
            self.notify(
                f"the steps were compiled until now, but {self.decision.reason}; so results will differ in "
                "their last digits"
            )
            return
        self.decision = saved


_STEPPED, _EVALUATED, _DONE = range(3)
"""How far a training is between two steps: the step is done, or evaluated too, or all else as well."""


def steps_of(epochs: float, steps_per_epoch: int) -> int:
    """Return the number of steps in some epochs, at least 1."""
    return max(1, round(epochs * steps_per_epoch))


def _spread(steps: int, count: int) -> set[int]:
    """Return that many steps, evenly spaced; the last is one of them."""
    return {max(1, round(steps * part / count)) for part in range(1, count + 1)}


def _opened(source: Source, first: int) -> Iterator[tuple[Any, Any]]:
    """Return the batches of a pass from number ``first`` on, 1 or more, after drawing those before it."""
    if hasattr(source, "from_batch"):
        drawn: Iterator[tuple[Any, Any]] = source.from_batch(first - 1)
        next(drawn, None)  # so that the pass has begun
        return drawn
    drawn = iter(source)
    for _ in range(first):
        next(drawn, None)
    return drawn


def _moved(own: dict[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a schedule as it was made, at the step that another one had reached."""
    return {**own, "last_epoch": saved["last_epoch"]}


# ---- checks ----------------------------------------------------------------------------------------------


def _require_settings(
    epochs: float,
    accumulate: int,
    ema: float,
    clip_norm: float | None,
    patience: int | None,
    evaluate_every: float,
) -> None:
    """Raise an error for a number that is out of range."""

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    def is_count(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1

    checks = {
        "epochs": (epochs, "a finite number above 0", is_number(epochs) and epochs > 0),
        "accumulate": (accumulate, "a whole number of at least 1", is_count(accumulate)),
        "ema": (ema, "at least 0 and less than 1", is_number(ema) and 0 <= ema < 1),
        "clip_norm": (
            clip_norm,
            "a finite number above 0, or None",
            clip_norm is None or (is_number(clip_norm) and clip_norm > 0),
        ),
        "patience": (
            patience,
            "a whole number of at least 1, or None",
            patience is None or is_count(patience),
        ),
        "evaluate_every": (
            evaluate_every,
            "a finite number above 0",
            is_number(evaluate_every) and evaluate_every > 0,
        ),
    }
    for name, (value, expected, holds) in checks.items():
        if not holds:
            raise TrainingError(f"{name} must be {expected}, not {value!r}")


def _require_held(model: nn.Module, optimizer: Optimizer) -> None:
    """Raise an error for a model that has no parameters, and for an optimiser that has not those."""
    own = {id(parameter) for parameter in model.parameters()}
    if not own:
        raise TrainingError(
            f"the model, a {type(model).__name__}, has no parameters, so nothing can be learned"
        )
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not own & held:
        raise TrainingError(
            "the optimiser holds no parameter of the model, so training would change nothing; make it for "
            "model.parameters()"
        )


def _require_same_model(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise an error that names what differs between the state of a model and this model."""
    faults = [f"{name} is missing there" for name in own if name not in saved]
    faults += [f"{name} is not in this model" for name in saved if name not in own]
    for name in own.keys() & saved.keys():
        there, here = np.asarray(saved[name]), np.asarray(own[name])
        if (there.shape, there.dtype) != (here.shape, here.dtype):
            faults.append(f"{name} is {there.dtype} {there.shape} there, and {here.dtype} {here.shape} here")
    if faults:
        raise CheckpointError(f"the checkpoint is that of another model: {'; '.join(sorted(faults)[:3])}")
