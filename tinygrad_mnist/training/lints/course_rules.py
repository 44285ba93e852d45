"""The rules of the lints on the course of a training: its first batches, its rates, its losses, its data.

They are functions of plain numbers and arrays, and yield a sentence for each fault.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.engine.dtypes import is_integer
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.training.lints.looks import Evaluated, array_of, evaluated, is_rectifier
from tinygrad_mnist.training.loop.history import GradientNorms

Array = NDArray[Any]

FIRST_STEPS: Final = 12
"""The steps at the beginning whose batches and rates are looked at."""

# ---- the first batches -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchSummary:
    """The little that is kept of a batch of the first steps.

    Parameters
    ----------
    checksum : int
        Of a part of the inputs, and of the targets.
    rows : int
        The length of the batch.
    labels : tuple of int, optional
        The smallest and the largest label; None where the targets are not one integer each row.
    """

    checksum: int
    rows: int
    labels: tuple[int, int] | None

    @classmethod
    def of(cls, inputs: Any, targets: Any) -> BatchSummary | None:
        """Return the summary of a batch; None where it is not two arrays."""
        x, y = array_of(inputs), array_of(targets)
        if x is None or y is None or not x.ndim or not y.ndim:
            return None
        flat = x.reshape(-1)
        part = flat[:: max(1, flat.size // 128)]
        checksum = zlib.crc32(part.tobytes(), zlib.crc32(y.tobytes()))
        labels = (int(y.min()), int(y.max())) if y.ndim == 1 and y.size and is_integer(y) else None
        return cls(checksum, len(x), labels)


SAME: Final = 5
"""The equal batches one after the other that are no accident."""

SORTED: Final = 10
"""The batches of one label alone that are no accident, where each has at least `FEWEST` rows."""

FEWEST: Final = 8


@dataclass
class Beginning:
    """The first steps of a training.

    Parameters
    ----------
    batches : list of BatchSummary
        Their batches; empty where these are not arrays.
    steps_per_epoch : int
        The batches of a pass.
    rates : list of float
        The largest learning rate of a parameter group in each step.
    targets : ndarray, optional
        Those of all data, where it is held in an array.
    """

    batches: list[BatchSummary]
    steps_per_epoch: int
    rates: list[float]
    targets: Array | None = None

    def add(self, inputs: Any, targets: Any, rate: float) -> None:
        """Add a step."""
        if (summary := BatchSummary.of(inputs, targets)) is not None:
            self.batches.append(summary)
        self.rates.append(rate)


def repeated_batch(beginning: Beginning) -> Iterator[str]:
    """Find that each step is given the same batch, although a pass has several."""
    first, several = beginning.batches[:SAME], beginning.steps_per_epoch
    if len(first) == SAME and several > 1 and len({batch.checksum for batch in first}) == 1:
        yield (
            f"the first {SAME} steps were given the same batch, although a pass has {several:,} batches: "
            "does the data yield the next rows each time?"
        )


def sorted_labels(beginning: Beginning) -> Iterator[str]:
    """Find that the data is sorted by its labels, so that a batch has a single one."""
    first = beginning.batches[:SORTED]
    if len(first) < SORTED or any(batch.labels is None or batch.rows < FEWEST for batch in first):
        return
    if len({batch.checksum for batch in first}) == 1 or any(low != high for low, high in _labels(first)):
        return
    if beginning.targets is not None and _is_common(beginning.targets, sum(batch.rows for batch in first)):
        return
    is_one = beginning.targets is None and len(set(_labels(first))) == 1
    yield (
        f"each of the first {SORTED} batches has a single label, so the data seems to be sorted by its "
        f"labels{', unless it has no other' if is_one else ''}: shuffle it, data.Batches(x, y, "
        "rng=np.random.default_rng(0)), as the model forgets one class while it sees the others"
    )


CHANCE: Final = 1e-4
"""The probability of what is no accident."""


def _is_common(targets: Array, rows: int) -> bool:
    """Return whether one label is so common that rows drawn at random may well be of it alone."""
    most = np.unique(targets, return_counts=True)[1].max() / targets.size
    return bool(most**rows > CHANCE)


def _labels(batches: Sequence[BatchSummary]) -> Iterator[tuple[int, int]]:
    return (batch.labels for batch in batches if batch.labels is not None)


# ---- rates and losses --------------------------------------------------------------------------------------


def zero_learning_rate(beginning: Beginning) -> Iterator[str]:
    """Find that the learning rate of all groups was 0 in each of the first steps."""
    first = beginning.rates[:FIRST_STEPS]
    if len(first) == FIRST_STEPS and not any(first):
        yield (
            f"the learning rate was 0 in each of the first {FIRST_STEPS} steps, so nothing was learned: give "
            "the optimiser another lr, or look at the schedule"
        )


LEAST: Final = 1e-12
"""The loss up to which there is nothing left to learn: that of errors of float32's rounding."""


def nothing_learned(losses: Sequence[float], guess: float | None) -> Iterator[str]:
    """Find that a whole epoch made the loss no better than that of a constant guess.

    Parameters
    ----------
    losses : sequence of float
        Those of the first epoch.
    guess : float or None
        The loss of the best constant output; None if it is not known.
    """
    steps = len(losses)
    if guess is None or steps < 50:
        return
    beginning = sum(losses[:10]) / 10
    half = losses[steps // 2 :]
    end = sum(half) / len(half)
    if end >= 0.999 * beginning and end >= guess and end > LEAST:  # sums are rounded
        yield (
            f"the loss did not fall in the first epoch: it is {end:.4g}, and was {beginning:.4g} in the "
            f"first 10 steps; to give the same answer to every input has a loss of {guess:.4g}. Check that "
            "inputs and targets belong together, and try another learning rate"
        )


def loss_of_guess(loss: Any, targets: Array) -> float | None:
    """Return the loss of the best constant output; None for another loss than cross-entropy and MSE.

    Examples
    --------
    >>> round(loss_of_guess(nn.CrossEntropyLoss(), np.array([0, 1, 0, 1])), 4)
    0.6931
    >>> loss_of_guess(nn.MSELoss(), np.array([1.0, 3.0]))
    1.0
    """
    if loss is F.mse_loss or (isinstance(loss, nn.MSELoss) and loss.reduction == "mean"):
        return float(np.mean(np.var(targets, axis=0)))
    plain = isinstance(loss, nn.CrossEntropyLoss) and loss.weight is None and loss.reduction == "mean"
    if not (loss is F.cross_entropy or plain) or targets.ndim != 1 or not is_integer(targets):
        return None
    counts = np.unique(targets, return_counts=True)[1]
    if getattr(loss, "label_smoothing", 0):
        return None
    shares = counts / len(targets)
    return float(-np.sum(shares * np.log(shares)))


FEWEST_SAMPLES: Final = 5
"""The steps whose gradients were all 0, from which on they are looked at."""


def seem_zero(gradients: Sequence[GradientNorms]) -> bool:
    """Return whether the gradient of a parameter was 0 in all steps that were sampled."""
    if len(gradients) < FEWEST_SAMPLES or all(gradients[-1].norms.values()):
        return False
    return any(not any(one.norms.get(name) for one in gradients) for name in gradients[-1].norms)


# ---- training and validation data --------------------------------------------------------------------------

ROWS_COMPARED: Final = 200
"""The training rows that are looked for in the validation part, and at most four times as many of it."""


def shared_rows(train: Array, validation: Array) -> Iterator[str]:
    """Find that a part of the training rows stands in the validation part, too.

    Rows of few values, which come again by themselves, prove nothing: nothing is said if rows of a sample of
    the training part are equal to each other.
    """
    if train.shape[1:] != validation.shape[1:] or train.dtype != validation.dtype or train.ndim < 2:
        return
    own = _row_bytes(train, ROWS_COMPARED)
    others = _row_bytes(validation, 4 * ROWS_COMPARED)
    distinct = set(own)
    if len(own) < 20 or len(distinct) < 0.99 * len(own):
        return
    # A row of the sample may be equal to one of the validation part that was not drawn.
    seen = len(distinct & set(others)) * len(validation) / len(others)
    share = seen / len(own)
    if share * len(train) >= 0.02 * len(validation) and len(distinct & set(others)) >= 3:
        of = min(1.0, share * len(train) / len(validation))
        yield (
            f"about {of:.0%} of the validation part are rows of the training part, too, so that it does not "
            "tell how well the model does on new data: split the data so that each row is in one part"
        )


def _row_bytes(rows: Array, most: int) -> list[bytes]:
    """Return evenly spaced rows as bytes."""
    return [row.tobytes() for row in rows[:: -(-len(rows) // most)]] if len(rows) else []


# ---- dead ReLUs --------------------------------------------------------------------------------------------

DEAD: Final = 0.5
"""The share of the units of a layer from which on dead ones are spoken of."""

FEWEST_DEAD: Final = 8
"""The dead units that are spoken of where others are alive: of a narrow layer, a few die by chance."""

FEWEST_ROWS: Final = 64
"""The rows that a unit must be 0 for, so that it may be called dead."""


class DeadUnits:
    """A count of the units behind ReLUs that were 0 for all rows that were looked at.

    Parameters
    ----------
    model : Module
        The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.rows = 0
        self.alive: dict[str, Array] = {}

    def look(self, inputs: Any) -> None:
        """Let some inputs go through a copy of the model, in evaluation mode."""
        evaluation = evaluated(self.model, inputs)
        for place, units in _alive_units(evaluation):
            before = self.alive.get(place)
            self.alive[place] = units if before is None or before.shape != units.shape else before | units
        array = array_of(inputs)
        self.rows += 0 if array is None else len(array)

    def layers(self) -> list[tuple[str, int, int]]:
        """Return the layers with a large share of dead units: the place of each, its dead units, all."""
        counts = [(place, int(np.count_nonzero(~alive)), len(alive)) for place, alive in self.alive.items()]
        return [
            (place, dead, units)
            for place, dead, units in counts
            if dead >= DEAD * units and (dead >= FEWEST_DEAD or dead == units)
        ]


def dead_relu(units: DeadUnits) -> Iterator[str]:
    """Find layers of which at least half the units were 0 for all rows."""
    layers = units.layers()
    if not layers or units.rows < FEWEST_ROWS:
        return
    shown = ", ".join(f"{dead} of {all_} units of {place}" for place, dead, all_ in layers[:3])
    rest = f" and {len(layers) - 3} layers more" if len(layers) > 3 else ""
    yield (
        f"dead ReLUs: {shown}{rest} are 0 for each of {units.rows} inputs, and learn nothing any more; take "
        "a lower learning rate, inputs that are standardised, or LeakyReLU"
    )


def _alive_units(evaluation: Evaluated) -> Iterator[tuple[str, Array]]:
    """Yield, for each ReLU that ran, its place and which of its units or channels were not 0 for all rows."""
    calls: dict[str, int] = {}
    for one in evaluation.operations:
        if not is_rectifier(one):
            continue
        if isinstance(one.out, np.ndarray) and one.out.ndim >= 2:
            place = evaluation.name_of(one.module)
            calls[place] = number = calls.get(place, 0) + 1
            axes = tuple(axis for axis in range(one.out.ndim) if axis != 1)
            yield place if number == 1 else f"{place}, call {number}", np.any(one.out, axis=axes)
