"""A training that is under way: its steps, what comes between two of them, and its end.

It knows a model, batches and a way to evaluate; nothing of recipes, of files of a run, or of a screen. How
training goes is remembered in a `History` and told to callbacks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.data.batching import Portion
from tinygrad_mnist.engine.shards import sharded
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.optim import LRScheduler, Optimizer
from tinygrad_mnist.training.checkpoints.resumption import DONE, EVALUATED, STEPPED, frozen, restore, state_of
from tinygrad_mnist.training.distributed.abort import ending_all
from tinygrad_mnist.training.distributed.agreement import agreed, mark_agreed, ranks_text
from tinygrad_mnist.training.distributed.communicator import Communicator, as_communicator
from tinygrad_mnist.training.distributed.draws import Draws
from tinygrad_mnist.training.distributed.gradients import GradientSum
from tinygrad_mnist.training.distributed.recovery import Recovery, again_if_lost
from tinygrad_mnist.training.distributed.settings import Settings
from tinygrad_mnist.training.distributed.sharing import Drawn, portions, shard_of, share_of
from tinygrad_mnist.training.distributed.slowness import StepTimes
from tinygrad_mnist.training.distributed.together import Boundary, begin, require_same_state, whole_batch
from tinygrad_mnist.training.errors import DivergedError, TrainingError
from tinygrad_mnist.training.lints.lints import Lints
from tinygrad_mnist.training.loop.average import WeightAverage
from tinygrad_mnist.training.loop.callbacks import Callback, CallbackList
from tinygrad_mnist.training.loop.compilation import JitDecision, decide, work_a_step
from tinygrad_mnist.training.loop.history import GradientNorms, History, Record
from tinygrad_mnist.training.loop.interrupts import Interrupts, deferred
from tinygrad_mnist.training.loop.metrics import Measured
from tinygrad_mnist.training.loop.requirements import require_fit, require_kinds, require_settings
from tinygrad_mnist.training.loop.result import Fit
from tinygrad_mnist.training.loop.sources import Source, opened, pair_of
from tinygrad_mnist.training.loop.spread import Spread, steps_of
from tinygrad_mnist.training.loop.steps import Loss, StepFunctions, step_functions
from tinygrad_mnist.training.loop.threads import threads_for, threads_in_use
from tinygrad_mnist.training.prediction import Forward
from tinygrad_mnist.training.recipe.models import Costs
from tinygrad_mnist.training.recipe.plan import Plan

State = dict[str, NDArray[Any]]
"""The values of a model by name."""

Evaluate = Callable[[Forward], Measured]
"""A function that evaluates a model, which may be compiled, on a validation part."""

NO_COSTS: Final = Costs(0, 0, 0)
"""Those of a model of which nothing is known but its parameters."""

FEW_IMAGES: Final = 5000
"""Images that are evaluated as fast as an evaluation is compiled."""

GRADIENT_SAMPLES: Final = 100
"""The number of steps, about, in which norms of gradients are taken: enough for a picture, few enough to cost
little."""


class Training:
    """A training that is under way, as callbacks see it; `fit` makes it.

    Parameters
    ----------
    model, optimizer, loss, epochs, schedule, callbacks, clip_norm, accumulate, ema, patience, \
    evaluate_every, jit, lint
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
    communicator : Communicator or mpi4py.MPI.Comm, optional
        The processes that train together, of which this is one.

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
        Inputs and targets of the last batch; of several processes, the rows of this one.
    communicator : Communicator or None
        The processes that train together; None for one.
    rows : int
        Samples of a batch that one process has, at most.
    gradients : GradientSum or None
        The sum of gradients over all processes.
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
        lint: bool = True,
        costs: Costs = NO_COSTS,
        batch_size: int = 64,
        evaluated: int | None = None,
        plan: Plan | None = None,
        communicator: Any = None,
    ) -> None:
        require_kinds(model, optimizer, loss, schedule)
        require_settings(epochs, accumulate, ema, clip_norm, patience, evaluate_every)
        require_fit(model, optimizer, schedule)
        if patience is not None and evaluate is None:
            raise TrainingError("patience counts evaluations; give a validation part, or leave it out")
        self.batches = len(data)
        if accumulate > self.batches:
            raise TrainingError(
                f"accumulate is {accumulate}, but a pass through the data has "
                f"{count_text(self.batches, 'batch')}"
            )
        self.communicator = as_communicator(communicator)
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
        self._portion: Portion | None = None
        self.is_whole, self.interrupted, self.stopped = True, False, False
        self._asked_to_stop = False
        self.jit, self.loss_function = jit, loss
        ranks = 1 if self.communicator is None else self.communicator.size
        self.rows = -(-batch_size // ranks)
        # by whole batches, so that it is decided alike for any number of processes
        numbers, convolved = work_a_step(costs, sum(p.size for p in model.parameters()), batch_size)
        self.decision = decide(jit, self.steps, numbers * accumulate, convolved * accumulate)
        self.gradients = self._summed()
        self.noted, self._draws = Drawn(), Draws(self)
        if self.communicator is not None:  # now: a checkpoint may be loaded in one process alone
            self.settings = Settings.of(model, loss, optimizer, schedule)
        self._uncompiled = step_functions(model, loss, optimizer, clip_norm, self.gradients)
        self._functions = self._uncompiled
        self.forward: Forward = model
        self._evaluate_model = evaluate
        self.best_state: State | None = None
        self.validation = getattr(evaluate, "batches", None)
        self.frozen_at_first = frozen(self)  # a callback may thaw some of them
        # lints first, so that a state that another callback saves says what they have found
        self.callbacks = CallbackList([Lints(), *callbacks] if lint else callbacks, is_writer=self.is_writer)
        self.batch_number = 0  # batches of the pass that is under way that are done
        self.drawn: Iterator[tuple[Any, Any]] | None = None  # the others of a pass that is gone on with
        self.phase = DONE
        self._has_begun = False
        self._pass_began_at = -1  # the step after which callbacks were told so last
        self._recovery = Recovery.of(self)
        self._interrupts: Interrupts | None = None
        self._greatest_lr = max(group.get("max_lr", group["lr"]) for group in optimizer.param_groups)
        self._named = list(model.named_parameters())
        self._lay_out()

    def _summed(self) -> GradientSum | None:
        """Return the sum of gradients over all processes, if there are several."""
        if self.communicator is None:
            return None
        loss = self.loss_function
        named = [*self.model.named_parameters()]
        if isinstance(loss, nn.Module):
            named += [(f"{name} of the loss", parameter) for name, parameter in loss.named_parameters()]
        groups = self.optimizer.param_groups
        named += [("a parameter of the optimiser", one) for group in groups for one in group["params"]]
        return GradientSum(named, self.communicator, self.communicator.size)

    def _lay_out(self) -> None:
        """Choose the steps after which to evaluate, and those in which norms of gradients are taken.

        Both are evenly spaced. The last step is one of them, so that the last state is evaluated too. If
        there are more evaluations than steps, some fall together.
        """
        evaluations = max(1, round(self.epochs / self.evaluate_every)) if self._evaluate_model else 0
        self.evaluation_steps = Spread(self.steps, evaluations)
        self._gradient_steps = Spread(self.steps, GRADIENT_SAMPLES)

    @property
    def epoch(self) -> float:
        """Passes that are done."""
        return self.step / self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """True if no step is left."""
        return self.stopped or self.step >= self.steps

    @property
    def complete(self) -> bool:
        """True if all steps are done, and the last state is evaluated."""
        is_evaluated = self._evaluate_model is None or (
            bool(self.history.records) and self.history.records[-1].step == self.step
        )
        return self.finished and self.phase != STEPPED and is_evaluated

    @property
    def is_writer(self) -> bool:
        """True in the one process that writes files and prints."""
        return self.communicator is None or self.communicator.is_writer

    def stop(self) -> None:
        """End training after the step that is under way; the last state is evaluated, the best is kept.

        Where several processes train together, one that stops ends the training in all.
        """
        if self.communicator is None:
            self.stopped = True
        else:
            self._asked_to_stop = True  # until all know

    def opened(self, first: int) -> Iterator[tuple[Any, Any]]:
        """Begin a pass through the data, with batch number ``first``; return the batches."""
        if self.communicator is not None:
            return portions(self.data, first, self.communicator, self.noted)
        return opened(self.data, first) if first else iter(self.data)

    def notify(self, sentence: str) -> None:
        """Give all callbacks a sentence for the user."""
        self._tell("on_notice", sentence)

    def warn(self, sentence: str, category: type[Warning] = RuntimeWarning) -> None:
        """Give all callbacks a sentence that must not get lost; where none listens, it is a warning."""
        if self.callbacks.methods["on_notice"]:
            self.notify(sentence)
        elif self.is_writer:
            warnings.warn(sentence, category, stacklevel=2)

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

    def run(self, resume: Mapping[str, Any] | None = None) -> Fit:
        """Train to the end, and leave the model in the best state.

        Parameters
        ----------
        resume : mapping, optional
            A state to go on from, as by `load_state_dict`. Of several processes the first one loads it, once
            they know that they train the same, and sends it to the others.
        """
        if resume is not None and self.communicator is None:
            self.load_state_dict(resume)
        began, waited = perf_counter(), self._waited()
        with (
            ending_all(self.communicator),
            deferred() as self._interrupts,
            threads_for(self.rows * self.costs.largest) as notice,
            # NumPy's warnings would come once and name no step: what overflows shows in the loss, which is
            # checked in each step
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            if self.communicator is not None:
                begin(self, self.communicator, resume)
                self._times, self._boundary = StepTimes(self.communicator), Boundary(self.communicator)
            if self.complete:
                done = count_text(self.step, "step")
                self.notify(f"this training is finished, after {done}; for more, name more epochs")
                self._apply(self.decision)  # whatever is evaluated now rounds as it would have then
                self._keep_average()
            else:
                self._run(notice)
            pending = self._interrupts.pending is not None
            if self.communicator is not None:
                pending = again_if_lost(self.communicator, partial(self.communicator.any, pending))
            self.interrupted |= pending
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)
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
            communicator=self.communicator,
            waiting_share=(self._waited() - waited) / (perf_counter() - began),
        )

    def _waited(self) -> float:
        return 0.0 if self.communicator is None else self.communicator.waited

    def _run(self, notice: str | None) -> None:
        """Train to the end, or until an interrupt ends it."""
        try:
            if self._recovery is None:
                self._to_end(notice)
            else:
                self._recovery.guard(partial(self._to_end, notice))
            self._keep_average()
            self._tell("on_train_end")
        finally:
            self._tell("on_exit")

    def _to_end(self, notice: str | None) -> None:
        """Do all steps and evaluations; those that are left, where a process was lost."""
        try:
            self._train(notice)
        except KeyboardInterrupt as interrupt:
            self._end_by(interrupt)
        self._evaluate_last()

    def _train(self, notice: str | None) -> None:
        """Do all steps, with the evaluations among them."""
        self._began = perf_counter()
        if not self.model.training:  # modules of a model in training mode may stay in evaluation mode
            self.model.train()
        if not self._has_begun:
            with agreed(self.communicator):  # as where one cannot write
                self._tell("on_train_begin")
            self._has_begun = True  # not before: where a process was lost meanwhile, all begin again
            if notice:
                self.notify(notice)
            self._compile(self.decision)
        self._at_boundary()
        while not self.finished:
            self._pass()

    def _pass(self) -> None:
        """Go through the data once, or through what is left of a pass."""
        if self.batch_number == 0 and self._pass_began_at != self.step:
            self._pass_began_at = self.step
            self._tell("on_epoch_begin")
        self._began = perf_counter()
        drawn = self._left() or self.opened(0)
        while True:
            if self._recovery is not None:
                self._recovery.note()
            self.is_whole = False
            self._step(drawn)
            self.phase = STEPPED
            self.is_whole = True
            self._tell("on_step_end")
            self.seconds += perf_counter() - self._began
            self._at_boundary()
            if self.finished or self.batch_number == 0:
                return
            drawn = self._left() or drawn  # another one, with the state of another process
            self._began = perf_counter()

    def _left(self) -> Iterator[tuple[Any, Any]] | None:
        """Return what is left of a pass that is gone on with, once."""
        drawn, self.drawn = self.drawn, None
        return drawn

    def _at_boundary(self) -> None:
        """Do what comes between two steps, or what of it was not done before an interruption."""
        if self.phase == STEPPED:
            if self.communicator is not None and (
                self.step in self.evaluation_steps or not self.batch_number
            ):
                self._compare(self.communicator)
            if self.step in self.evaluation_steps:
                self._evaluate()
            self.phase = EVALUATED
        if self.phase == EVALUATED:
            self.phase = DONE
            if self.batch_number == 0:
                self._tell("on_epoch_end")
        if self.communicator is not None:
            self.stopped |= self._boundary.agree(
                stop=self._asked_to_stop, interrupts=self._interrupts, drawn=self.noted
            )
        elif self._interrupts is not None:
            self._interrupts.take()

    def _compare(self, communicator: Communicator) -> None:
        """Let all processes have the same weights, if one has others, and tell which of them are slow."""
        require_same_state(self, communicator)
        for sentence in self._times.report():
            self.notify(sentence)

    def _end_by(self, interrupt: KeyboardInterrupt) -> None:
        """End training by the first interrupt; raise it if nothing was learned, and any later one."""
        assert self._interrupts is not None
        # of several processes, one that was interrupted by itself is not where the others are
        expected = (interrupt,) if self.communicator is not None else (None, interrupt)
        if not self.history.losses or self._interrupts.pending not in expected:
            raise interrupt
        self._interrupts.pending = interrupt
        self.interrupted = True
        if self.best is None:
            self.history.records.clear()  # of an evaluation that was interrupted
        self._tell("on_interrupt")

    def _evaluate_last(self) -> None:
        """Evaluate the last state where nothing else would be kept."""
        is_evaluated = bool(self.history.records) and self.history.records[-1].step == self.step
        if self._evaluate_model and not is_evaluated and (self.best is None or not self.interrupted):
            self._evaluate()

    def _keep_average(self) -> None:
        """Let the average be the state that is kept, where no evaluation has chosen one."""
        if self._evaluate_model is None and self.average is not None:
            with self.averaged():
                self.best_state = self.model.state_dict()

    # ---- a step --------------------------------------------------------------------------------------------

    def _step(self, drawn: Iterator[tuple[Any, Any]]) -> None:
        """Do one step on the next batches."""
        if self.communicator is not None:
            value, norm = self._shared(drawn, self.communicator)
        elif self.accumulate == 1:
            x, y = self._next(drawn)
            inputs = pair_of((x, y))
            self.batch = inputs
            found, norm = self._call("whole", *inputs)
            value = float(found)
            self.samples += len(x)
        else:
            value, norm = self._accumulated(drawn)
        if self.batch_number == self.batches:
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

    def _next(self, drawn: Iterator[Any]) -> Any:
        batch: object = next(drawn, None)
        if isinstance(batch, tuple | list) and len(batch) == 2:
            self.batch_number += 1
            return batch  # of several processes, with the place of its rows
        if batch is None:
            raise TrainingError(
                f"a pass through the data ended after {self.batch_number} batches, but its length is "
                f"{self.batches}"
            )
        raise TrainingError(
            f"a batch is a pair, (inputs, targets), not a {type(batch).__name__}; where data is two arrays, "
            "give a tuple of them"
        )

    def _accumulated(self, drawn: Iterator[tuple[Any, Any]]) -> tuple[float, float | None]:
        """Do one step on the mean of several batches' gradients; return the loss and the gradients' norm."""
        count = min(self.accumulate, self.batches - self.batch_number)
        batches = [self._next(drawn) for _ in range(count)]
        samples = sum(len(x) for x, _ in batches)
        self.samples += samples
        total, norm = 0.0, None
        for number, (x, y) in enumerate(batches):
            inputs, share = pair_of((x, y)), len(x) / samples
            self.batch = inputs
            if count == 1:
                value, norm = self._call("whole", *inputs)
            elif number == count - 1:
                value, norm = self._call("last", *inputs, share)
            else:
                value = self._call("further" if number else "first", *inputs, share)
            total += share * float(value)
        return total, norm

    def _shared(self, drawn: Iterator[Any], communicator: Communicator) -> tuple[float, float | None]:
        """Do one step together with the other processes; return the loss of all rows, and the norm."""
        self._times.begin()
        count = min(self.accumulate, self.batches - self.batch_number)
        communicator.step = self.step + 1
        batches: list[Portion] = [self._next(drawn) for _ in range(count)]
        samples = sum(batch.total for batch in batches)
        self.samples += samples
        total, before, found, norm = 0.0, None, None, None
        for number, batch in enumerate(batches):
            inputs, share = pair_of(batch), share_of(batch, samples, communicator)
            self.batch, self._portion = inputs, batch
            shard = shard_of(batch, communicator)
            with self._draws.watched(shard), sharded(shard):
                if count == 1:
                    found, norm = self._call("whole", *inputs, share)
                elif number == count - 1:
                    found, norm = self._call("last", *inputs, share, before)
                else:
                    value = self._call("further" if number else "first", *inputs, share)
                    total += share * float(value)
                    # an array, as each other number would be compiled into another program
                    before = np.array(total, value.dtype)
        assert found is not None
        self._times.end()
        return float(found), norm

    def _end_pass(self, drawn: Iterator[tuple[Any, Any]]) -> None:
        """Let the batches know that the pass has ended, so that their state is that of the next one."""
        if next(drawn, None) is not None:
            raise TrainingError(f"a pass through the data goes on after {self.batches} batches, its length")
        self.batch_number = 0

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
                norm = _norm(parameter.grad.data)
                norms[name] = norm / factor if factor else math.inf
        return norms

    def _diverged(self, finding: str) -> DivergedError:
        """Return the error for the first loss that is NaN or infinite: no later step could learn anything."""
        rate = f"{self._greatest_lr:g}"
        advice = f"take a lower learning rate (it was {rate}) or clip the gradients to a smaller norm"
        if self.step == 1 and not math.isfinite(self.loss):
            advice = "no step was taken before, so look at the data, the first weights and the loss"
        communicator = self.communicator
        if communicator is not None and self._portion is not None:
            self.batch = whole_batch(self._portion, communicator)  # the cause may lie in the rows of another
        reasons = list(filter(None, [method(self) for method in self.callbacks.methods["on_diverge"]]))
        if communicator is not None:
            reasons = communicator.broadcast(reasons)
        return DivergedError("; ".join([f"{finding}: training has diverged", *(reasons or [advice])]))

    # ---- compiling and evaluating --------------------------------------------------------------------------

    def _compile(self, decision: JitDecision) -> None:
        """Follow a decision, and tell it."""
        self._apply(decision)
        self._tell("on_compile", decision)

    def _apply(self, decision: JitDecision) -> None:
        """Follow a decision: what is compiled is so when it is first called."""
        self.decision = decision
        self._prepared: set[tuple[Any, ...]] = set()
        threads = threads_in_use() or 1
        self._functions = StepFunctions(*(decision.applied(f, threads) for f in self._uncompiled))
        # evaluations of few images, as those of the bundled digits, take less time than compiling them
        pays = self.evaluated is None or self.evaluated * len(self.evaluation_steps) >= FEW_IMAGES
        self.forward = self.model
        if self._evaluate_model is not None and (pays or decision.jit != "auto"):
            self.forward = decision.applied(self.model, threads)

    def share_out_again(self) -> None:
        """Let steps and evaluations be those of the processes that are left."""
        assert self.communicator is not None
        assert self.gradients is not None
        self._times = StepTimes(self.communicator)
        self.gradients.ranks = self.communicator.size
        self.noted.clear()
        self._uncompiled = step_functions(
            self.model, self.loss_function, self.optimizer, self.clip_norm, self.gradients
        )
        self._apply(self.decision)

    def _agree_to_compile(self, name: str, *inputs: Any) -> None:
        """Compile a function of the step for a new size of the batch, in all processes or in none.

        What is compiled rounds otherwise, so that the weights would no longer be the same in all.
        """
        communicator, batch = self.communicator, self._portion
        assert communicator is not None
        assert batch is not None
        new = name, batch.total  # the same in all of them
        if new in self._prepared or not self.decision.compiled:
            return
        self._prepared.add(new)
        try:
            with agreed(communicator):
                is_compiled = getattr(self._functions, name).prepare(*inputs)
            other = communicator.gather(is_compiled)
            if len(set(other)) > 1:
                ranks = ranks_text([rank for rank, flag in enumerate(other) if not flag], communicator.hosts)
                raise JitError(f"a step would run as it is in {ranks}, and compiled in others")
        except JitError as error:
            mark_agreed(error)
            self._compile(self.decision.failed(error))

    def _call(self, name: str, *inputs: Any) -> Any:
        """Call a function of the step; if it turns out to be none that can be compiled, once more without."""
        if self.communicator is not None:
            self._agree_to_compile(name, *inputs)
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
            if self.communicator is not None:  # clocks differ, and metrics of the user's may
                record = self.communicator.broadcast(record)
            self.history.records.append(record)
            best = record.better_than(self.best)
            if best:
                self.best, self.best_state = record, self.model.state_dict()  # a copy, as training goes on
        self.phase = EVALUATED
        if self.patience is not None and self._evaluations_since_best() >= self.patience:
            self.stopped = True  # in all processes: they have the same history
        self._tell("on_evaluate", record, best)

    def _evaluations_since_best(self) -> int:
        assert self.best is not None
        return sum(record.step > self.best.step for record in self.history.records)

    def _tell(self, event: str, *details: Any) -> None:
        """Tell all callbacks; Ctrl-C in one of them waits until the others have heard it too."""
        for method in self.callbacks.methods[event]:
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
        return state_of(self)

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
        restore(self, state)


def _norm(gradient: NDArray[Any]) -> float:
    """Return the Euclidean norm of an array."""
    flat = gradient.ravel("K")  # in the order in memory, which needs no copy
    square = float(flat.dot(flat))  # in its own dtype, which is fast
    if flat.dtype == np.float16 or not 1e-30 < square < math.inf:  # rounded much, or beyond its range
        square = float(np.square(flat, dtype=np.float64).sum())
    return math.sqrt(square)
