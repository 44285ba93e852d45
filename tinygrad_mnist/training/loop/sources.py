"""Sources of batches: a training goes through one again and again, a pass an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from tinygrad_mnist.data import Batches
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.training.errors import TrainingError


class Source(Protocol):
    """Batches that can be gone through again and again, a pass an epoch, as `tinygrad_mnist.data.Batches`.

    It may have two more methods. ``state_dict()`` returns the state with which the pass that is under way
    began, and between two passes that with which the next one begins; ``load_state_dict(state)`` goes back to
    it. Without them, each pass has to be the same. ``from_batch(first)`` begins a pass at a later batch.
    """

    def __len__(self) -> int:
        """Return the number of batches in a pass."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Go through the batches once, each inputs and targets."""


def as_source(data: Any, batch_size: int, rng: np.random.Generator | None) -> Source:
    """Return what was given as data: the batches themselves, or those of a pair of arrays.

    Raises
    ------
    TrainingError
        If it is neither, or cannot be gone through again.
    """
    if isinstance(data, tuple):
        if len(data) != 2:
            raise TrainingError(f"data is a pair of arrays, inputs and targets, not {len(data)} of them")
        inputs, targets = (np.asarray(part.data if isinstance(part, Tensor) else part) for part in data)
        if not (inputs.ndim and targets.ndim and len(inputs)):
            raise TrainingError(
                f"there is nothing to go through: inputs have shape {inputs.shape}, targets {targets.shape}"
            )
        return Batches(inputs, targets, min(batch_size, len(inputs)), rng=rng)
    if not hasattr(data, "__iter__") or isinstance(data, np.ndarray):
        raise TrainingError(
            f"data is a pair of arrays, (inputs, targets), or batches of them, not a {type(data).__name__}"
        )
    if hasattr(data, "__next__"):
        raise TrainingError(
            f"data is a {type(data).__name__}, which can be gone through once, and each epoch is a pass; "
            "give arrays, data.Batches, or a list of batches"
        )
    if not hasattr(data, "__len__"):
        raise TrainingError(f"a {type(data).__name__} does not say how many batches it has: give it __len__")
    if not len(data):
        raise TrainingError("there is nothing to go through: data has no batches")
    source: Source = data
    return source


def opened(source: Source, first: int) -> Iterator[tuple[Any, Any]]:
    """Return the batches of a pass from number ``first`` on, 1 or more, after drawing those before it."""
    if hasattr(source, "from_batch"):
        drawn: Iterator[tuple[Any, Any]] = source.from_batch(first - 1)
        next(drawn, None)  # so that the pass has begun
        return drawn
    drawn = iter(source)
    for _ in range(first):
        next(drawn, None)
    return drawn
