"""The history of a training: loss and rate of each step, the evaluations, norms of gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

Metric = float | list[list[int]]
"""The value of a metric: a number, or a matrix of counts."""


def known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some values that are fields of a dataclass: a file of a later version may have more."""
    return {one.name: values[one.name] for one in fields(kind) if one.name in values}


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
    train_accuracy : float or None
        Of a fixed sample of the training part, in evaluation mode; 0 to 1, as all accuracies. None where it
        is not measured.
    validation_loss : float
        On the whole validation part, in evaluation mode; the loss that is trained, label smoothing included.
    validation_accuracy : float or None
        On the whole validation part, in evaluation mode. None where there are no classes.
    metrics : dict
        Other metrics of the validation part by name; numbers, and matrices as lists of lists.
    """

    step: int
    epoch: float
    seconds: float
    lr: float
    train_loss: float
    train_accuracy: float | None
    validation_loss: float
    validation_accuracy: float | None
    metrics: dict[str, Metric] = field(default_factory=dict)

    def better_than(self, other: Record | None) -> bool:
        """Return whether its validation accuracy is higher or, if equal, its validation loss lower.

        Of records without an accuracy, the one with the lower loss is better.
        """
        if other is None:
            return True
        own, others = self.validation_accuracy, other.validation_accuracy
        if own is not None and others is not None and own != others:
            return own > others
        return self.validation_loss <= other.validation_loss

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """Rebuild what `to_dict` returned; what a later version may have besides is left out."""
        return cls(**known(cls, values))


@dataclass(frozen=True)
class GradientNorms:
    """The Euclidean norms of the gradients of one step, before clipping.

    Parameters
    ----------
    step : int
        The number of the step, from 1.
    norms : dict
        The norm for each parameter that had a gradient, by its name in the model.
    """

    step: int
    norms: dict[str, float]


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
    rates : list of float
        The learning rate of each step, of the first parameter group.
    gradients : list of GradientNorms
        The norms of the gradients in some 100 steps, evenly spaced.
    clipped : int
        The number of steps in which clipping made the gradients smaller.

    Examples
    --------
    >>> history = History(2, losses=[4.0, 2.0, 1.0], rates=[0.1, 0.1, 0.1])
    >>> History.from_dict(history.to_dict()) == history
    True
    """

    steps_per_epoch: int
    losses: list[float] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    gradients: list[GradientNorms] = field(default_factory=list)
    clipped: int = 0

    def recent_loss(self) -> float:
        """Return the mean loss of the steps since the last record; nan where there are none."""
        losses = self.losses[self.records[-1].step if self.records else 0 :]
        return sum(losses) / len(losses) if losses else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return the history as plain data that JSON can hold; no list is shared with it."""
        return {
            "steps_per_epoch": self.steps_per_epoch,
            "losses": list(self.losses),
            "records": [record.to_dict() for record in self.records],
            "rates": list(self.rates),
            "gradients": [{"step": one.step, "norms": dict(one.norms)} for one in self.gradients],
            "clipped": self.clipped,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """Rebuild what `to_dict` returned."""
        return cls(
            steps_per_epoch=values["steps_per_epoch"],
            losses=list(values["losses"]),
            records=[Record.from_dict(record) for record in values["records"]],
            rates=list(values["rates"]),
            gradients=[GradientNorms(one["step"], dict(one["norms"])) for one in values["gradients"]],
            clipped=values["clipped"],
        )
