"""What is remembered of a training: the loss of each step, and a record of each evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


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
    validation_loss, validation_accuracy : float
        On the whole validation part, in evaluation mode; the loss is the one that is trained, label smoothing
        included.
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
        """Whether this one has the higher validation accuracy; if equal, the lower validation loss."""
        if other is None or self.validation_accuracy != other.validation_accuracy:
            return other is None or self.validation_accuracy > other.validation_accuracy
        return self.validation_loss <= other.validation_loss

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data that JSON can hold."""
        return asdict(self)


@dataclass
class History:
    """All of it, in order.

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

    def column(self, name: str) -> list[float]:
        """One value of all records, by its name."""
        return [float(getattr(record, name)) for record in self.records]

    def recent_loss(self) -> float:
        """Mean loss of the steps since the last record; nan where there is none."""
        losses = self.losses[self.records[-1].step if self.records else 0 :]
        return sum(losses) / len(losses) if losses else float("nan")
