"""The checks of the arguments of a training, each with a sentence for what is not so."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from tinygrad_mnist import nn
from tinygrad_mnist.data import Batches
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.optim import LRScheduler, Optimizer
from tinygrad_mnist.training.errors import TrainingError
from tinygrad_mnist.training.lints.looks import copy_of, unchanged


def require_arguments(
    *,
    batch_size: Any,
    seed: Any,
    lint: Any,
    checkpoint: Any,
    checkpoint_every: str | None,
    resume: Any,
) -> None:
    """Raise an error for an argument of `fit` alone that is of another kind, or without its companion."""

    def is_whole(value: Any) -> bool:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)

    def is_file(value: Any) -> bool:
        # no bytes, though they are paths too: files of ours have names that are printed
        return value is None or (isinstance(value, str | os.PathLike) and bool(os.fspath(value)))

    a_file = "the path of a file, a text or a pathlib.Path, or None"
    _require(
        {
            "batch_size": (
                batch_size,
                "a whole number of at least 1",
                is_whole(batch_size) and batch_size >= 1,
            ),
            "seed": (seed, "a whole number of at least 0", is_whole(seed) and seed >= 0),
            "lint": (lint, "True or False", isinstance(lint, bool)),
            "checkpoint": (checkpoint, a_file, is_file(checkpoint)),
            "resume": (resume, a_file, is_file(resume)),
        }
    )
    if checkpoint_every is not None and checkpoint is None:
        raise TrainingError(
            f"checkpoint_every is {checkpoint_every!r}, but there is no file to write: give checkpoint="
        )


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

    _require(
        {
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
    )


def _require(checks: dict[str, tuple[Any, str, bool]]) -> None:
    """Raise an error for the first value that is not as expected."""
    for name, (value, expected, holds) in checks.items():
        if not holds:
            raise TrainingError(f"{name} must be {expected}, not {value!r}")


def require_kinds(model: Any, optimizer: Any, loss: Any, schedule: Any) -> None:
    """Raise an error for a model, optimiser, loss or schedule that is something else."""
    if isinstance(model, Optimizer) and isinstance(optimizer, nn.Module):
        raise TrainingError(
            "the optimiser stands in the place of the model: fit(model, optimizer, data, ...)"
        )
    make = {
        "model": "make a class of nn.Module, whose forward it is" if callable(model) else "give the module",
        "optimizer": "make one, as optim.Adam(model.parameters())",
        "schedule": "make one, as optim.CosineAnnealingLR(optimizer, T_max=steps)",
        "loss": "make one, as nn.CrossEntropyLoss(), or give a function of outputs and targets",
    }
    checks = {
        "model": (model, "a module of nn", isinstance(model, nn.Module)),
        "optimizer": (optimizer, "an optimiser of optim", isinstance(optimizer, Optimizer)),
        "schedule": (
            schedule,
            "a schedule of optim, or None",
            schedule is None or isinstance(schedule, LRScheduler),
        ),
        "loss": (loss, "a function", callable(loss) and not isinstance(loss, type)),
    }
    for name, (value, expected, holds) in checks.items():
        if not holds:
            raise TrainingError(f"{name} must be {expected}, not {_kind_text(value)}; {make[name]}")


def require_last_batch(model: nn.Module, source: Any) -> None:
    """Raise an error if a pass ends in a batch of one sample, and batch norm can take no statistics of it.

    It would be raised by the last step of the first pass, after all the others. Whether one sample has
    several values a channel is for the model to say, so that one goes through a copy of it.
    """
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    if not isinstance(source, Batches) or not any(isinstance(one, norms) for one in model.modules()):
        return
    rest = len(source.inputs) % source.batch_size
    if (source.drop_last or rest != 1) and source.batch_size != 1:
        return
    x = source.inputs[:1]
    try:
        with unchanged(model), no_grad(), np.errstate(all="ignore"):
            twin = copy_of(model)
            if not twin.training:  # as training will do
                twin.train()
            twin(Tensor(x if source.standardize is None else source.standardize(x)))
    except Exception as error:  # another one than that of batch norm is for the first step to raise
        if "batch norm in training needs more than one value" not in str(error):
            return
        batches = f"{count_text(len(source.inputs), 'sample')} in batches of {source.batch_size}"
        raise TrainingError(
            f"{batches} leave a batch of one, of which batch norm in training can take no statistics; give "
            f"another batch_size, or leave it out: data.Batches(x, y, {max(2, source.batch_size)}, "
            "rng=np.random.default_rng(0), drop_last=True)"
        ) from error


def _kind_text(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    is_short = value is None or isinstance(value, str | int | float)
    return f"{value!r:.60}" if is_short else f"a {type(value).__name__}"


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
