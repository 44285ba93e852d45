"""Metrics: how good the outputs of a model are, on the whole of a validation part.

A metric is a function of all outputs and all targets, as arrays. So it is exact whatever the size of the
batches: nothing is averaged over them. One more row in `METRICS` is all that a new one needs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.data import Batches
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn.module import evaluation_mode
from tinygrad_mnist.numbers import number_text, percent_text
from tinygrad_mnist.ops.loss import IGNORED
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.distributed.sharing import chunks_of, joined
from tinygrad_mnist.training.errors import TrainingError
from tinygrad_mnist.training.loop.history import Metric
from tinygrad_mnist.training.loop.sources import pair_of

MetricFunction = Callable[[NDArray[Any], NDArray[Any]], Any]
"""A function of outputs, shape (n, ...), and targets, shape (n, ...)."""

MetricNames = str | Sequence[str | MetricFunction] | Mapping[str, MetricFunction]
"""Names in `METRICS`, functions, or functions by name."""


@dataclass(frozen=True)
class Measured:
    """The result of one evaluation.

    Parameters
    ----------
    loss : float
        The loss on the validation part.
    accuracy : float or None
        The share of its samples that are recognised, 0 to 1; None where there are no classes.
    train_accuracy : float or None
        The same of a sample of the training part, where it is measured.
    metrics : dict
        Other metrics by name.
    """

    loss: float
    accuracy: float | None = None
    train_accuracy: float | None = None
    metrics: dict[str, Metric] = field(default_factory=dict)


# ---- the table -------------------------------------------------------------------------------------------


def accuracy(outputs: NDArray[Any], targets: NDArray[Any], ignored: int = IGNORED) -> float:
    """Return the share of the samples whose greatest output is that of their class.

    Parameters
    ----------
    outputs : ndarray
        Shape (n, classes) or (n, classes, ...).
    targets : ndarray
        Integers of shape (n, ...), or rows of `one_hot` in the shape of the outputs.
    ignored : int
        The label of samples that do not count, as the losses have it by the name ``ignore_index``.

    Examples
    --------
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, -100]))
    1.0
    """
    rows, labels = _labelled(outputs, targets, ignored)
    return float(np.mean(rows.argmax(axis=1) == labels))


@dataclass(frozen=True)
class _AmongTheGreatest:
    """The share of the samples whose class is among the k greatest outputs."""

    k: int

    def __call__(self, outputs: NDArray[Any], targets: NDArray[Any], ignored: int = IGNORED) -> float:
        rows, labels = _labelled(outputs, targets, ignored)
        own = np.take_along_axis(rows, labels[:, None], axis=1)
        # of equal outputs the one of the first class comes first, as argmax has it
        before = (rows > own) | ((rows == own) & (np.arange(rows.shape[1]) < labels[:, None]))
        return float(np.mean(np.count_nonzero(before, axis=1) < self.k))


def top(k: int) -> MetricFunction:
    """Return the metric that counts a sample as recognised if its class is among the k greatest outputs.

    Examples
    --------
    >>> top(2)(np.array([[0.1, 0.5, 0.4], [0.8, 0.2, 0.0]]), np.array([2, 2]))
    0.5
    """
    return _AmongTheGreatest(k)


def confusion(outputs: NDArray[Any], targets: NDArray[Any], ignored: int = IGNORED) -> list[list[int]]:
    """Return how many samples of each class (rows) were taken for each class (columns).

    Examples
    --------
    >>> confusion(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([1, 1, 1]))
    [[0, 0], [1, 2]]
    """
    rows, labels = _labelled(outputs, targets, ignored)
    classes = rows.shape[1]
    pairs = labels.astype(np.intp) * classes + rows.argmax(axis=1)
    counts: list[list[int]] = np.bincount(pairs, minlength=classes**2).reshape(classes, classes).tolist()
    return counts


def mean_squared_error(outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Return the mean of the squared differences, summed in float64.

    Examples
    --------
    >>> mean_squared_error(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    2.0
    """
    return float(np.mean(np.square(_differences(outputs, targets))))


def mean_absolute_error(outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Return the mean of the absolute differences, summed in float64.

    Examples
    --------
    >>> mean_absolute_error(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.0
    """
    return float(np.mean(np.abs(_differences(outputs, targets))))


METRICS: dict[str, MetricFunction] = {
    "accuracy": accuracy,
    "top-5": top(5),
    "confusion": confusion,
    "mean-squared-error": mean_squared_error,
    "mean-absolute-error": mean_absolute_error,
}
"""The metrics by name: functions of all outputs and all targets.

Beside them there are ``top-k`` for any k, and ``loss``, that of the training, which is always measured.
"""

LOSS: Final = "loss"

ACCURACY: Final = "accuracy"

TOP_K: Final = re.compile(r"top-([1-9]\d*)")


def find_metrics(names: MetricNames | None) -> dict[str, MetricFunction]:
    """Return the functions of metrics by name.

    Raises
    ------
    TrainingError
        If a name is unknown; the nearest is suggested.

    Examples
    --------
    >>> list(find_metrics(["accuracy", "top-3"]))
    ['accuracy', 'top-3']
    >>> find_metrics("acuracy")
    Traceback (most recent call last):
    tinygrad_mnist.training.errors.TrainingError: there is no metric 'acuracy'; did you mean accuracy? ...
    """
    if names is None:
        return {}
    if isinstance(names, Mapping):
        found: dict[str, MetricFunction] = dict(names)
    else:
        entries = [names] if isinstance(names, str) or callable(names) else names
        found = dict(_named(entry) for entry in entries if entry != LOSS)
    for name, function in found.items():
        if not callable(function):
            raise TrainingError(
                f"the metric {name!r} is {function!r}; give a function of all outputs and all targets"
            )
    return found


def metric_text(name: str, value: float) -> str:
    """Return the value of a metric: in percent, where its name says that it is a share of the samples.

    Examples
    --------
    >>> metric_text("top-5", 0.9991), metric_text("mean-absolute-error", 0.25)
    ('99.91 %', '0.25')
    """
    return percent_text(value) if TOP_K.fullmatch(name) or name == ACCURACY else number_text(value)


def _named(entry: str | MetricFunction) -> tuple[str, MetricFunction]:
    if not isinstance(entry, str):
        return getattr(entry, "__name__", type(entry).__name__), entry
    if entry in METRICS:
        return entry, METRICS[entry]
    if match := TOP_K.fullmatch(entry):
        return entry, top(int(match[1]))
    near = difflib.get_close_matches(entry.lower().replace("_", "-"), METRICS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise TrainingError(
        f"there is no metric {entry!r}; {hint}(all: {', '.join(METRICS)}, top-k for any k, {LOSS}; or a "
        "function of outputs and targets)"
    )


def _labelled(
    outputs: NDArray[Any], targets: NDArray[Any], ignored: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the outputs as rows, and the class of each, without those whose label is ignored."""
    labels = _labels(outputs, targets)
    kept = labels != ignored if labels is targets else np.ones(labels.shape, np.bool_)
    if not kept.any():
        raise TrainingError(f"all labels are {ignored}, which is ignored, so there is nothing to measure")
    return np.moveaxis(outputs, 1, -1)[kept], labels[kept]


def _labels(outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """Return the class of each sample as a number."""
    if outputs.ndim >= 2:
        if targets.shape == outputs.shape:
            labels: NDArray[Any] = targets.argmax(axis=1)
            return labels
        if targets.dtype.kind in "iu" and targets.shape == (len(outputs), *outputs.shape[2:]):
            return targets
    raise TrainingError(
        "metrics of classes need outputs of shape (n, classes), and whole numbers of shape (n,) or rows with "
        f"a one as targets; here outputs have shape {outputs.shape}, and targets {targets.dtype} of shape "
        f"{targets.shape}"
    )


def _differences(outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
    if outputs.shape != targets.shape:
        raise TrainingError(
            f"errors of numbers need targets in the shape of the outputs; they have {targets.shape} and "
            f"{outputs.shape}"
        )
    differences: NDArray[np.float64] = np.subtract(outputs, targets, dtype=np.float64)
    return differences


# ---- measuring --------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """The outputs and targets of one batch, the sum of its losses, and how much it counts."""

    outputs: Any
    targets: NDArray[Any]
    loss: float
    samples: int


class Validation:
    """A validation part, with what is measured on it.

    Parameters
    ----------
    batches : iterable
        Batches of inputs and targets, that can be gone through again and again.
    loss : callable
        A function of outputs and targets, the mean over a batch.
    metrics : mapping
        Functions by name, as `find_metrics` returns them.
    communicator : Communicator, optional
        Processes that share the work: each takes some of the batches, and all of them get the result.
    """

    def __init__(
        self,
        batches: Iterable[tuple[Any, Any]],
        loss: Callable[[Any, Any], Any],
        metrics: Mapping[str, MetricFunction],
        communicator: Communicator | None = None,
    ) -> None:
        self.batches, self.loss, self.metrics = batches, loss, metrics
        self.communicator = communicator

    def __call__(self, forward: Callable[[Tensor], Any]) -> Measured:
        """Evaluate a model on all batches, in evaluation mode; the modes of its modules stay as they are."""
        ignored = getattr(self.loss, "ignore_index", IGNORED)
        with no_grad(), evaluation_mode():
            parts = joined(
                lambda: [self._part(forward, batch, ignored) for batch in self._own()], self.communicator
            )
        outputs, targets = [part.outputs for part in parts], [part.targets for part in parts]
        total, samples = sum(part.loss for part in parts), sum(part.samples for part in parts)
        if not outputs:
            raise TrainingError("the validation part has no batches")
        if not samples:
            raise TrainingError(f"all labels of the validation part are {ignored}, which is ignored")
        values = self._values(outputs, targets, ignored)
        share = values.pop(ACCURACY, None)
        return Measured(total / samples, share if isinstance(share, float) else None, metrics=values)

    def _own(self) -> Iterator[tuple[Any, Any]]:
        """Yield the batches of this process: all of one process."""
        communicator, batches = self.communicator, self.batches
        if communicator is None:
            yield from batches
            return
        assert isinstance(batches, Sized)
        own = chunks_of(len(batches), communicator)
        if isinstance(batches, Batches) and batches.rng is None:  # those before and after need not be made
            yield from islice(batches.from_batch(own.start), len(own))
            return
        yield from (batch for number, batch in enumerate(batches) if number in own)

    def _part(self, forward: Callable[[Tensor], Any], batch: tuple[Any, Any], ignored: int) -> _Part:
        """Return what a model makes of one batch."""
        with _noted(batch):
            x, expected = pair_of(batch)
            found = forward(x)
            outputs = np.asarray(found.data) if isinstance(found, Tensor) else found
            targets = np.asarray(expected.data)
            count = _count(outputs, targets, ignored)  # the mean over none is nan
            return _Part(outputs, targets, float(self.loss(found, expected)) * count if count else 0.0, count)

    def _knows_axis(self, outputs: NDArray[Any], targets: NDArray[Any]) -> bool:
        """Return whether classes can be along axis 1 alone: (n, 5, 5) may be 5 places with 5 classes each."""
        if outputs.ndim == 2 or targets.shape != outputs.shape[:-1]:
            return True
        ours = isinstance(self.loss, nn.CrossEntropyLoss | nn.NLLLoss)
        return ours or self.loss in (F.cross_entropy, F.nll_loss)

    def _values(self, outputs: list[Any], targets: list[NDArray[Any]], ignored: int) -> dict[str, Metric]:
        """Return the values of the metrics on all batches; of none, if these do not make one array."""
        if not (_are_of_one_array(outputs) and _are_of_one_array(targets)):
            if self.metrics:
                raise TrainingError(
                    f"metrics ({', '.join(self.metrics)}) need outputs and targets that are arrays, of the "
                    f"same shape but for their length in each batch; the outputs are {_kind_text(outputs)}, "
                    f"the targets {_kind_text(targets)}: leave metrics out, or measure in a callback"
                )
            return {}
        all_outputs, all_targets = np.concatenate(outputs), np.concatenate(targets)
        names = dict(self.metrics)
        if _has_classes(all_outputs, all_targets) and self._knows_axis(all_outputs, all_targets):
            names.setdefault(ACCURACY, accuracy)
        return {
            name: _plain(function(all_outputs, all_targets, *((ignored,) if _ignores(function) else ())))
            for name, function in names.items()
        }


@contextmanager
def _noted(batch: Any) -> Iterator[None]:
    """Let an error say that it is one of the validation part, as the model and the loss do not know it."""
    try:
        yield
    except Exception as error:
        shapes = " and ".join(str(getattr(part, "shape", type(part).__name__)) for part in batch)
        error.add_note(f"This batch is one of the validation part; its inputs and targets: {shapes}")
        raise


def _ignores(function: MetricFunction) -> bool:
    """Return whether a metric is one of this file that leaves out the label that the loss ignores."""
    return function in (accuracy, confusion) or isinstance(function, _AmongTheGreatest)


def _count(outputs: Any, targets: NDArray[Any], ignored: int) -> int:
    """Return how much a batch counts: its labels that are not ignored, or its samples where it has none."""
    if not isinstance(outputs, np.ndarray) or not _has_classes(outputs, targets):
        return len(targets)
    return int(np.count_nonzero(targets != ignored))


def _are_of_one_array(parts: list[Any]) -> bool:
    """Return whether the parts of all batches can be put together."""
    return (
        all(isinstance(part, np.ndarray) and part.ndim for part in parts)
        and len({part.shape[1:] for part in parts}) == 1
    )


def _kind_text(parts: list[Any]) -> str:
    if not isinstance(parts[0], np.ndarray):
        return f"a {type(parts[0]).__name__}"
    return "of shape " + " and ".join(dict.fromkeys(str(part.shape) for part in (parts[0], parts[-1])))


def _has_classes(outputs: NDArray[Any], targets: NDArray[Any]) -> bool:
    """Return whether the targets are classes, and the outputs a number for each along axis 1."""
    return (
        targets.dtype.kind in "iu"
        and outputs.ndim == targets.ndim + 1 >= 2
        and targets.shape == (len(outputs), *outputs.shape[2:])
    )


def _plain(value: Any) -> Metric:
    """Return the value of a metric as plain data."""
    array = np.asarray(value)
    if array.ndim == 0:
        return float(array)
    rows: list[list[int]] = array.tolist()
    return rows
