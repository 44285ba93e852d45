"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.loop.compilation import JitDecision
from tinygrad_mnist.training.loop.history import History, Record
from tinygrad_mnist.training.prediction import Forward
from tinygrad_mnist.training.recipe.plan import Plan


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
    communicator : Communicator or None
        The processes that trained, those that were there at the end.
    waiting_share : float
        The share of the time that this one spent on exchanges with the others, evaluations included.
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
    communicator: Communicator | None = None
    waiting_share: float = 0.0

    @property
    def images(self) -> int:
        """The samples, where they are images."""
        return self.samples
