"""The checks of the arguments of a training, each with a sentence for what is not so."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_mnist import nn
from tinygrad_mnist.optim import LRScheduler, Optimizer
from tinygrad_mnist.training.errors import TrainingError


def require_settings(
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


def require_fit(model: nn.Module, optimizer: Optimizer, schedule: LRScheduler | None) -> None:
    """Raise an error unless the model has parameters, the optimiser holds them, and the schedule moves it."""
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
    if schedule is not None and schedule.optimizer is not optimizer:
        raise TrainingError("the schedule was made for another optimiser, so it would change nothing")
