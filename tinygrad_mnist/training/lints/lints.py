"""Lints: what is wrong with a training, each fault said once, in plain words.

`LINTS` is the table of them. `lint` looks at a model, a loss and a batch, for a loop that is written by hand;
`Lints` is the callback by which `fit` does so while it trains. A lint changes nothing: it works on a copy of
the model, draws from no generator of the training, and its own errors end nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

from tinygrad_mnist import nn
from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.training.lints import batch_rules, course_rules
from tinygrad_mnist.training.lints.divergence import Snapshots, origin, spoiled_batch
from tinygrad_mnist.training.lints.looks import Look, Loss, array_of, few_rows, not_finite_rows
from tinygrad_mnist.training.loop.callbacks import Callback
from tinygrad_mnist.training.loop.history import Record

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training

Batch = tuple[Any, Any]
"""Inputs and targets."""

BATCH: Final = "batch"
"""The time of lints that look at a batch: before the first step; after it where the data is no arrays."""

DATA: Final = "data"
"""The time of lints that compare the training and the validation part: before the first step."""

EVALUATION: Final = "evaluation"
"""The time of lints that look at evaluations 1, 8, 64 and so on; at epochs where there are none."""

GRADIENTS: Final = "gradients"
"""The time of lints that look at gradients: at an evaluation, if they were 0 in all sampled steps."""

BEGINNING: Final = "first steps"
"""The time of lints that compare the batches and rates of the first steps."""

EPOCH: Final = "first epoch"
"""The time of lints that look at the end of the first epoch."""


@dataclass(frozen=True)
class LintRule:
    """A row of `LINTS`.

    Parameters
    ----------
    when : str
        When it looks.
    check : callable
        Yields a sentence for each fault.
    finds : str
        What it finds, in a few words.
    """

    when: str
    check: Callable[..., Iterator[str]]
    finds: str


@dataclass(frozen=True)
class Lint:
    """A fault of a training.

    Parameters
    ----------
    name : str
        The name of the rule in `LINTS`.
    sentence : str
        What was found, with its numbers and the module, and what to do.
    """

    name: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class LintWarning(UserWarning):
    """A fault of a training, where no callback listens to what is said of it."""


LINTS: Final[Mapping[str, LintRule]] = {
    "labels": LintRule(BATCH, batch_rules.wrong_labels, "labels that are no classes, or not integers"),
    "broadcast": LintRule(BATCH, batch_rules.broadcast_targets, "targets of another shape than the outputs"),
    "not-finite-data": LintRule(BATCH, batch_rules.not_finite_data, "NaN or infinity in the data"),
    "softmax-before-loss": LintRule(
        BATCH, batch_rules.squashed_before_loss, "a softmax or sigmoid that the loss computes too"
    ),
    "relu-before-loss": LintRule(
        BATCH, batch_rules.rectified_before_loss, "a ReLU as the last layer before the loss of logits"
    ),
    "probabilities-to-nll": LintRule(
        BATCH, batch_rules.probabilities_to_nll, "outputs before NLLLoss that are no log-probabilities"
    ),
    "no-gradient": LintRule(
        BATCH, batch_rules.without_gradient, "parameters that the loss does not depend on"
    ),
    "zero-gradient": LintRule(
        GRADIENTS, batch_rules.gradient_of_zero, "parameters with a gradient of exactly 0"
    ),
    "not-in-optimizer": LintRule(
        BATCH, batch_rules.not_in_optimizer, "parameters that the optimiser does not hold"
    ),
    "evaluation-mode": LintRule(
        BATCH, batch_rules.evaluation_mode_in_training, "layers in evaluation mode while the model is trained"
    ),
    "training-mode": LintRule(
        BATCH, batch_rules.training_mode_in_evaluation, "dropout or changing statistics in evaluation"
    ),
    "float64": LintRule(BATCH, batch_rules.accidental_float64, "float64 in a model of float32"),
    "float16": LintRule(BATCH, batch_rules.float16_parameters, "trained parameters of float16"),
    "unscaled-inputs": LintRule(BATCH, batch_rules.unscaled_inputs, "inputs that are not standardised"),
    "dead-relu": LintRule(EVALUATION, course_rules.dead_relu, "layers of which half the units are always 0"),
    "shared-rows": LintRule(DATA, course_rules.shared_rows, "validation data that is training data, too"),
    "same-batch": LintRule(BEGINNING, course_rules.repeated_batch, "the same batch in each step"),
    "sorted-labels": LintRule(BEGINNING, course_rules.sorted_labels, "batches of a single label"),
    "zero-learning-rate": LintRule(BEGINNING, course_rules.zero_learning_rate, "a learning rate of 0"),
    "nothing-learned": LintRule(EPOCH, course_rules.nothing_learned, "a loss that does not fall in an epoch"),
}
"""The lints by name, in the order in which they are looked for."""


def lint(model: nn.Module, loss: Loss, inputs: Any, targets: Any, optimizer: Any = None) -> list[Lint]:
    """Return what is wrong with a training, as far as one batch shows it.

    Nothing changes: neither the model, its mode and its gradients, nor a generator.

    Parameters
    ----------
    model : Module
        The model, in training mode.
    loss : callable
        ``loss(outputs, targets)``, a scalar.
    inputs, targets : array_like
        A batch, or all data: of it, all labels are checked, and the first rows go through the model.
    optimizer : Optimizer, optional
        The optimiser.

    Returns
    -------
    list of Lint
        The faults; empty, if none was found.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Softmax(dim=1))
    >>> x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0])
    >>> for fault in lint(model, nn.CrossEntropyLoss(), x, y):
    ...     print(fault)
    the softmax in layer '1' (Softmax) comes before cross-entropy, which applies a softmax itself: ...
    >>> lint(nn.Linear(4, 3, rng=0), nn.CrossEntropyLoss(), x, y + 1)[0].name
    'labels'
    >>> lint(nn.Linear(4, 3, rng=0), nn.CrossEntropyLoss(), x, y)
    []
    """
    found: list[Lint] = []
    with suppress(Exception):  # of a model that raises an error: training will raise it
        look = Look(model, loss, inputs, targets, optimizer)
        found += _lints_of(BATCH, look)
        found += _lints_of(GRADIENTS, look)
        units = course_rules.DeadUnits(model)
        units.look(few_rows(inputs, targets, ROWS_FOR_DEAD)[0])
        found += _lints_of(EVALUATION, units)
    return found


def _lints_of(when: str, *given: Any) -> Iterator[Lint]:
    """Yield the faults that the rules of one time find; a rule that raises an error finds nothing."""
    for name, rule in LINTS.items():
        if rule.when == when:
            with suppress(Exception):
                for sentence in rule.check(*given):
                    yield Lint(name, sentence)


# ---- while training goes on ------------------------------------------------------------------------------

LOOKS: Final = frozenset(8**k for k in range(10))
"""The numbers of the evaluations at which units are looked at."""

FEWEST_ROWS: Final = 16
"""The rows that units are looked at with first."""

ROWS_FOR_DEAD: Final = 256
"""The rows that units are looked at with, before they are called dead."""


class Lints(Callback):
    """The callback that says what is wrong with a training, each fault once; `fit` adds it.

    It looks at the first batch, at the batches and rates of the first steps, after the first epoch, and at
    the evaluations 1, 8, 64 and so on (epochs, if there is no evaluation). In all other steps it costs
    nothing. It keeps copies of the weights on the way, so that a loss that is not finite can be explained.

    Examples
    --------
    >>> Lints().state_dict()
    {}
    """

    on_every_rank = False

    def __init__(self) -> None:
        self.said: list[str] = []
        self._snapshots = Snapshots()
        self._evaluations = 0
        self._has_looked = False
        self._float64_settled: bool | None = None  # of the model, while its own warning waits for the look
        self._beginning: course_rules.Beginning | None = None  # of a training that is in its first steps
        self._units: course_rules.DeadUnits | None = (
            None  # those that seem dead, until enough rows were looked at
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the names of the faults that were said, if any."""
        return {"said": list(self.said)} if self.said else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the names of the faults that were said, so that none is said again."""
        self.said = list(state["said"])

    # ---- what the training tells -----------------------------------------------------------------------

    def on_train_begin(self, training: Training) -> None:
        """Prepare to look at the first steps, unless training goes on."""
        self._snapshots = Snapshots(training.model)
        self._snapshots.take(training.step)
        if training.step:  # what was to be said was said
            self._hold_float64(training, "float64" in self.said)
            training.callbacks.listen(self, "on_step_end", False)
            return
        self._hold_float64(training, True)
        data = _arrays_of(training.data)
        targets = None if data is None else data[1]
        self._beginning = course_rules.Beginning([], training.steps_per_epoch, [], targets)

    def on_exit(self, training: Training) -> None:
        """Let the model warn of float64 again, if that was not said."""
        self._release_float64(training)

    def on_epoch_begin(self, training: Training) -> None:
        """Look at the data before the first step, where it is arrays: the others have begun to listen."""
        if training.step == 0:
            self._say(training, self._faults_of_data(training))
            if self._has_looked:
                self._release_float64(training)

    def on_step_end(self, training: Training) -> None:
        """Look, in the first steps and in some after an evaluation."""
        self._snapshots.note(training.step)
        if training.batch is not None:
            self._say(training, self._faults_of_step(training, training.batch))
            self._release_float64(training)
        if self._beginning is None and self._units is None:
            training.callbacks.listen(self, "on_step_end", False)

    def on_epoch_end(self, training: Training) -> None:
        """Look at the losses of the first epoch; and as after an evaluation, if there are none."""
        if not training.evaluation_steps:
            self._look_at_units(training)
        data = _arrays_of(training.data)
        if training.step == training.steps_per_epoch and data is not None:
            guess = course_rules.loss_of_guess(training.loss_function, data[1])
            self._say(training, _lints_of(EPOCH, training.history.losses, guess))

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Look at units behind ReLUs and at gradients of 0."""
        training.callbacks.listen(self, "on_step_end", True)  # for the mode that the evaluation left
        self._look_at_units(training)

    def on_train_end(self, training: Training) -> None:
        """Say which units are dead, if there were too few steps left to look at more rows in."""
        if self._units is not None and training.batch is not None:
            with suppress(Exception):
                units = course_rules.DeadUnits(training.model)
                units.look(few_rows(*training.batch, ROWS_FOR_DEAD)[0])
                found = units if units.rows > self._units.rows else self._units
                self._say(training, _lints_of(EVALUATION, found))

    def _look_at_units(self, training: Training) -> None:
        """Look at units and gradients; again at units in the next steps, if some seem dead."""
        self._evaluations += 1
        if training.batch is None:
            return
        if "zero-gradient" not in self.said and course_rules.seem_zero(training.history.gradients):
            self._say(training, self._faults_of_gradients(training, *training.batch))
        if self._evaluations in LOOKS and "dead-relu" not in self.said:
            with suppress(Exception):
                units = course_rules.DeadUnits(training.model)
                units.look(few_rows(*training.batch, FEWEST_ROWS)[0])
                self._units = units if units.layers() else None
            if self._units is not None and not self._say_of_all_data(training):
                training.callbacks.listen(self, "on_step_end", True)  # for the rows of the next batches

    def _say_of_all_data(self, training: Training) -> bool:
        """Say which units are dead for rows of all data; return whether that is known."""
        data = _arrays_of(training.data)
        if data is None:
            return False
        with suppress(Exception):  # of a transform that the model needs, say
            units = course_rules.DeadUnits(training.model)
            rows = few_rows(*data, ROWS_FOR_DEAD)[0]
            standardize = getattr(training.data, "standardize", None)
            units.look(rows if standardize is None else standardize(rows))
            self._units = None
            self._say(training, _lints_of(EVALUATION, units))
            return True
        return False

    def on_diverge(self, training: Training) -> str | None:
        """Return why the loss is not finite."""
        with suppress(Exception):
            if math.isfinite(training.loss):  # it is the loss on the validation part that is not
                return next(filter(None, starmap(spoiled_batch, training.validation or ())), None)
            if training.batch is not None and (spoiled := spoiled_batch(*training.batch)) is not None:
                return spoiled + _samples_text(training.data)
            batches = {training.step - 1: _batch_before(training), training.step: training.batch}
            given = {step: batch for step, batch in batches.items() if batch is not None}
            losses, lr = training.history.losses, training.lr
            snapshots = self._snapshots
            if training.best is not None and training.best_state is not None:
                snapshots.add(training.best.step, training.best_state)
            return origin(training.model, training.loss_function, given, snapshots, losses, lr)
        return None

    # ---- the model's own warning of float64 ------------------------------------------------------------

    def _hold_float64(self, training: Training, hold: bool) -> None:
        """Keep the model from warning that it computes in float64: a lint says it, with its cause."""
        if hold and self._float64_settled is None:
            self._float64_settled = training.model._float64_settled
            vars(training.model)["_float64_settled"] = True

    def _release_float64(self, training: Training) -> None:
        """Let the model warn again, unless a lint has said it."""
        if self._float64_settled is not None and "float64" not in self.said:
            vars(training.model)["_float64_settled"] = self._float64_settled
        self._float64_settled = None

    # ---- looks -----------------------------------------------------------------------------------------

    def _faults_of_data(self, training: Training) -> Iterator[Lint]:
        """Yield what arrays show before the first step."""
        data, validation = _arrays_of(training.data), _arrays_of(training.validation)
        if data is None:
            return
        x, y = few_rows(*data)
        standardize = getattr(training.data, "standardize", None)
        if standardize is None:
            yield from self._faults_of_batch(training, x, y, *data)
        else:  # of all data it is not known what the model is given
            yield from self._faults_of_batch(training, standardize(x), y, None, data[1])
        if validation is not None:
            yield from _lints_of(DATA, data[0], validation[0])

    def _faults_of_batch(self, training: Training, x: Any, y: Any, *data: Any) -> Iterator[Lint]:
        self._has_looked = True
        look = Look(training.model, training.loss_function, x, y, training.optimizer, *data)
        yield from _lints_of(BATCH, look)

    def _faults_of_gradients(self, training: Training, x: Any, y: Any) -> Iterator[Lint]:
        yield from _lints_of(GRADIENTS, Look(training.model, training.loss_function, x, y))

    def _faults_of_step(self, training: Training, batch: Batch) -> Iterator[Lint]:
        """Yield what a step shows, at the beginning and after an evaluation."""
        if not self._has_looked:
            yield from self._faults_of_batch(training, *batch)
        if not training.model.training:
            yield from (
                Lint("evaluation-mode", text) for text in batch_rules.left_in_evaluation(training.model)
            )
        if self._beginning is not None:
            self._beginning.add(*batch, max(group["lr"] for group in training.optimizer.param_groups))
            if training.step >= course_rules.FIRST_STEPS:
                beginning, self._beginning = self._beginning, None
                yield from _lints_of(BEGINNING, beginning)
        if self._units is not None:
            self._units.look(few_rows(*batch, FEWEST_ROWS)[0])
            if self._units.rows >= ROWS_FOR_DEAD or not self._units.layers():
                units, self._units = self._units, None
                yield from _lints_of(EVALUATION, units)

    def _say(self, training: Training, found: Iterable[Lint]) -> None:
        """Notify of each fault whose name was not said yet; an error while they are looked for is none."""
        lints: list[Lint] = []
        with suppress(Exception):
            for one in found:  # what was found before an error is kept
                lints.append(one)  # noqa: PERF402
        for one in lints:
            if one.name in self.said:
                continue
            self.said.append(one.name)
            training.warn(one.sentence, LintWarning)


def _arrays_of(data: Any) -> Batch | None:
    """Return the inputs and targets of all data; None where it is not held in arrays."""
    x, y = (array_of(getattr(data, name, None)) for name in ("inputs", "targets"))
    return None if x is None or y is None else (x, y)


def _samples_text(data: Any) -> str:
    """Return in words which samples of all data are not finite; an empty string where that is not known."""
    arrays = _arrays_of(data)
    for array in arrays or ():
        if is_float(array) and len(rows := not_finite_rows(array)):
            shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            return f"; of all data, {'sample' if len(rows) == 1 else 'samples'} {shown}"
    return ""


def _batch_before(training: Training) -> Batch | None:
    """Return the batch of the step before the last one, drawn again; None where it cannot be.

    To keep it at every step would take time: another block of memory would be written to.
    """
    source: Any = training.data
    number = training.batch_number if training.batch_number else training.batches
    if training.accumulate > 1 or number < 2 or not hasattr(source, "from_batch"):
        return None
    state = source.state_dict()
    try:
        source.load_state_dict(state)
        found: Batch = next(source.from_batch(number - 2))
    finally:
        source.load_state_dict(state)
    return found
