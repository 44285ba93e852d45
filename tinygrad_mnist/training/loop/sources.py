"""Sources of batches: a training goes through one again and again, a pass an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import Batches
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.training.errors import TrainingError


class Source(Protocol):
    """Batches that can be gone through again and again, a pass an epoch, as `tinygrad_mnist.data.Batches`.

    It may have two more methods. ``state_dict()`` returns the state with which the pass that is under way
    began, and between two passes that with which the next one begins; ``load_state_dict(state)`` goes back to
    it. Without them, each pass has to be the same. ``from_batch(first)`` begins a pass at a later batch, and
    ``portions(first, rank, ranks)`` one of the rows of one of several processes, as `Batches` has it.
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
        _require_one_input(*data)
        inputs, targets = (_array(name, part) for name, part in zip(("inputs", "targets"), data, strict=True))
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


def pair_of(batch: Any) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a batch as Tensors.

    Raises
    ------
    TrainingError
        If one of them is no array of numbers.
    """
    x, y = batch
    return _tensor("inputs", x), _tensor("targets", y)


def _tensor(name: str, values: Any) -> Tensor:
    try:
        return Tensor(values)
    except (TypeError, ValueError):
        _array(name, values)  # raises a sentence for what it knows
        raise


def _require_one_input(inputs: Any, targets: Any) -> None:
    """Raise an error for two batches in the place of two arrays, and for several inputs."""
    several = _are_arrays(inputs)
    if isinstance(inputs, tuple) and isinstance(targets, tuple) and several and _are_arrays(targets):
        raise TrainingError(
            "data is a pair of pairs of arrays; where these are batches, give a list of them: [(x, y), ...]"
        )
    if isinstance(inputs, Mapping) or (several and len(inputs) != len(targets)):
        raise TrainingError(
            f"the inputs are a {type(inputs).__name__} of {len(inputs)} arrays, but a model that is trained "
            "by fit has one input; put them together, as np.concatenate((x1, x2), axis=1), and take them "
            "apart in forward"
        )


def _are_arrays(part: Any) -> bool:
    """Return whether it is a tuple or list of arrays."""
    return isinstance(part, tuple | list) and all(isinstance(one, np.ndarray | Tensor) for one in part)


def _array(name: str, values: Any) -> NDArray[Any]:
    """Return values as an array of numbers."""
    try:
        array = np.asarray(values.data if isinstance(values, Tensor) else values)
    except ValueError:  # of rows of several lengths
        raise TrainingError(
            f"the {name} are a {type(values).__name__} of parts that make no array, as their shapes differ; "
            "bring them to one shape, by padding or cutting"
        ) from None
    _require_numbers(name, array)
    return array


def _require_numbers(name: str, array: Any) -> None:
    """Raise an error for an array of texts or objects."""
    dtype = np.asarray(array).dtype
    if dtype.kind in "UST":
        raise TrainingError(
            f"the {name} are texts, {dtype}; give numbers: names, numbers = np.unique({name}, "
            "return_inverse=True)"
        )
    if dtype.kind not in "biuf":
        raise TrainingError(f"the {name} are {dtype}; give real numbers, as np.asarray({name}, np.float32)")


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
