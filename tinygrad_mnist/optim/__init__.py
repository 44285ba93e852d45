"""Optimisers, learning-rate schedules and gradient clipping: formulae on plain arrays, no gradient code.

Names, defaults and arithmetic are PyTorch's. An optimiser is made for parameters, reads their ``grad`` and
writes their ``data``; a schedule is made for an optimiser and sets its learning rate. A new optimiser is a
subclass of `Optimizer` in a file of its own, and a line here.

Examples
--------
>>> import numpy as np
>>> from tinygrad_mnist.optim import AdamW, OneCycleLR, clip_grad_norm_
>>> from tinygrad_mnist import Tensor
>>> weight = Tensor(np.array([1.0, -2.0]), requires_grad=True)
>>> optimizer = AdamW([weight])
>>> schedule = OneCycleLR(optimizer, max_lr=0.5, total_steps=40)
>>> for _ in range(40):
...     optimizer.zero_grad()
...     weight.grad = Tensor(2 * weight.data)  # as (weight**2).sum().backward() would
...     norm = clip_grad_norm_([weight], max_norm=1.0)
...     optimizer.step()
...     schedule.step()
>>> bool(np.all(np.abs(weight.data) < 0.1))
True
"""

from typing import TYPE_CHECKING, Any

from tinygrad_mnist.engine.pytorch_names import missing_name
from tinygrad_mnist.optim.adam import Adam, AdamW
from tinygrad_mnist.optim.clipping import clip_grad_norm_, clip_grad_value_
from tinygrad_mnist.optim.optimizer import Optimizer
from tinygrad_mnist.optim.rmsprop import RMSprop
from tinygrad_mnist.optim.schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
    StepLR,
)
from tinygrad_mnist.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LinearLR",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]


if not TYPE_CHECKING:  # to a type checker an unknown name stays an error

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name)
