"""Who is told how training goes. The default says nothing; the command line prints."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_mnist.training.history import Record
from tinygrad_mnist.training.recipes import Recipe


@dataclass(frozen=True)
class Plan:
    """What is about to be trained.

    Parameters
    ----------
    recipe : Recipe
        The model and how it is trained.
    parameters : int
        Numbers that are learned.
    train_images, validation_images : int
        Size of the two parts.
    features, classes : int
        Width of the input and of the output.
    steps_per_epoch, steps : int
        Steps in an epoch and in all.
    """

    recipe: Recipe
    parameters: int
    train_images: int
    validation_images: int
    features: int
    classes: int
    steps_per_epoch: int
    steps: int


class Reporter:
    """Is told what happens; override what you want to hear. Time spent in `stepped` counts as training."""

    def started(self, plan: Plan) -> None:
        """Training begins."""

    def stepped(self, step: int, loss: float) -> None:
        """Step number ``step``, counted from 1, is done; called after each one."""

    def evaluated(self, record: Record, best: bool) -> None:
        """The model was evaluated; ``best`` if never better before."""

    def interrupted(self) -> None:
        """The user pressed Ctrl-C after something had been learned; training ends."""

    def note(self, sentence: str) -> None:
        """Something that the user should know."""
