"""Lints: what is wrong with a training, each fault said once, in plain words.

`LINTS` is the table of them. `lint` looks at a model, a loss and a batch, for a loop that is written by hand;
`Lints` is the callback by which `fit` does so while it trains. A lint changes nothing: it works on a copy of
the model, draws from no generator of the training, and its own errors end nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from tinygrad_mnist import nn
from tinygrad_mnist.training import lint_rules as rules
from tinygrad_mnist.training.looks import Look, Loss

BATCH: Final = "batch"
"""When a lint looks: at the first batch, before it is learned from."""

Rule = Callable[[Look], Iterator[str]]


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


LINTS: Final[Mapping[str, LintRule]] = {
    "labels": LintRule(BATCH, rules.wrong_labels, "labels that are no classes, or not integers"),
    "broadcast": LintRule(BATCH, rules.broadcast_targets, "targets of another shape than the outputs"),
    "not-finite-data": LintRule(BATCH, rules.not_finite_data, "NaN or infinity in the data"),
    "softmax-before-loss": LintRule(
        BATCH, rules.squashed_before_loss, "a softmax or sigmoid that the loss computes too"
    ),
    "probabilities-to-nll": LintRule(
        BATCH, rules.probabilities_to_nll, "outputs before NLLLoss that are no log-probabilities"
    ),
    "no-gradient": LintRule(BATCH, rules.without_gradient, "parameters that receive no gradient"),
    "not-in-optimizer": LintRule(BATCH, rules.not_in_optimizer, "parameters that the optimiser does not hold"),
    "evaluation-mode": LintRule(
        BATCH, rules.evaluation_mode_in_training, "layers in evaluation mode while the model is trained"
    ),
    "training-mode": LintRule(
        BATCH, rules.training_mode_in_evaluation, "dropout or changing statistics in evaluation"
    ),
    "float64": LintRule(BATCH, rules.accidental_float64, "float64 in a model of float32"),
    "float16": LintRule(BATCH, rules.float16_parameters, "trained parameters of float16"),
    "unscaled-inputs": LintRule(BATCH, rules.unscaled_inputs, "inputs that are not standardised"),
    "dead-relu": LintRule(BATCH, rules.dead_relu, "layers of which half the units are always 0"),
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
    >>> x, y = np.eye(4, dtype=np.float32), np.array([1, 2, 3, 1])
    >>> for fault in lint(model, nn.CrossEntropyLoss(), x, y):
    ...     print(f"{fault.name}: {fault}")
    labels: the labels go from 1 to 3, but the 3 outputs stand for the classes 0 to 2: subtract 1 from the labels
    >>> lint(nn.Linear(4, 3, rng=0), nn.CrossEntropyLoss(), x, y - 1)
    []
    """
    return list(_lints_of(BATCH, Look(model, loss, inputs, targets, optimizer)))


def _lints_of(when: str, *given: Any) -> Iterator[Lint]:
    """Yield the faults that the rules of one time find; a rule that raises an error finds nothing."""
    for name, rule in LINTS.items():
        if rule.when == when:
            with suppress(Exception):
                for sentence in rule.check(*given):
                    yield Lint(name, sentence)
