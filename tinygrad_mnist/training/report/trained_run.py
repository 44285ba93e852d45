"""A training that is over, as its directory has it: what a report and a comparison are made from.

Runs of earlier versions lack some of it, data may be gone: then there is a sentence in its place.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, Dataset
from tinygrad_mnist.numbers import printable
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, load_state
from tinygrad_mnist.training.errors import CheckpointError, TrainingError
from tinygrad_mnist.training.loop.history import History, Record
from tinygrad_mnist.training.prediction import predict_by_checkpoint
from tinygrad_mnist.training.recipe.model_file import ModelFile
from tinygrad_mnist.training.runs.directory import LAST, METRICS, SUMMARY
from tinygrad_mnist.training.training_data import load_data

_LARGEST: Final = 1 << 26
"""Bytes of the largest summary or metrics that are read: more is no run of this package."""


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A training that is over.

    Parameters
    ----------
    path : Path
        The run directory.
    checkpoint : Checkpoint
        The model in its best state.
    summary : dict
        As ``summary.json`` has it; a run that did not end has none, and it is empty.
    history : History or None
        The course of the training, as far as it is known; its ``losses`` are empty in an old run.
    dataset : Dataset or None
        The data, if it is at hand.
    missing : tuple of str
        Sentences on what is not known, and why.
    """

    path: Path
    checkpoint: Checkpoint
    summary: Mapping[str, Any]
    history: History
    dataset: Dataset | None = None
    missing: tuple[str, ...] = ()
    given: NDArray[np.float32] | None = field(default=None, repr=False)
    """The probabilities, where whoever trained has them already."""

    @property
    def name(self) -> str:
        """The name of the directory."""
        return printable(self.path.resolve().name)

    @cached_property
    def probabilities(self) -> NDArray[np.float32] | None:
        """The probability of each class for each test image, shape (n, classes); None without data."""
        if self.dataset is None or self.given is not None:
            return self.given
        return predict_by_checkpoint(self.checkpoint, self.dataset.test_images)

    @cached_property
    def predicted(self) -> NDArray[np.intp] | None:
        """The class that is predicted for each test image."""
        return None if self.probabilities is None else self.probabilities.argmax(axis=1)

    @cached_property
    def right(self) -> NDArray[np.bool_] | None:
        """True for each test image that is recognised."""
        if self.dataset is None or self.predicted is None:
            return None
        right: NDArray[np.bool_] = np.equal(self.predicted, self.dataset.test_labels)
        return right

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of the training and the test part; empty without data."""
        return {} if self.dataset is None else data_hashes(self.dataset)


def data_hashes(dataset: Dataset) -> dict[str, str]:
    """Return the SHA-256 of each part of a data set: its shape, its pixels and its labels as int64.

    Parts are equal, whatever files they come from, if their hashes are.

    Examples
    --------
    >>> from tinygrad_mnist.data import load_digits
    >>> sorted(data_hashes(load_digits()))
    ['test', 'train']
    """
    found = {}
    for part in ("train", "test"):
        images, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        digest = hashlib.sha256(json.dumps([images.shape, dataset.class_names]).encode())
        digest.update(np.ascontiguousarray(images).data)
        digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
        found[part] = digest.hexdigest()
    return found


Notify = Callable[[str], None]


def read_run(
    directory: str | os.PathLike[str],
    *,
    model: ModelFile | None = None,
    notify: Notify | None = None,
    datasets: dict[str, Dataset] | None = None,
) -> TrainedRun:
    """Read what a training left in its directory.

    Parameters
    ----------
    directory : path-like
        The run directory; it has a checkpoint at least.
    model : ModelFile, optional
        The file that builds the model, where it is not in its place any more.
    notify : callable, optional
        Is told which file of Python is run, if one is.
    datasets : dict, optional
        Data sets that were loaded already, by what was asked for; it is added to.

    Returns
    -------
    TrainedRun

    Raises
    ------
    TrainingError
        If there is no checkpoint, or it cannot be read.
    """
    directory = Path(os.path.expanduser(directory))
    if directory.exists() and not directory.is_dir():
        raise CheckpointError(
            f"{directory} is no run directory; name one that 'tinygrad-mnist train' has written"
        )
    missing: list[str] = []
    checkpoint = load_checkpoint(directory, model=model, notify=notify)
    summary = _read_summary(directory / SUMMARY, missing)
    history = _read_history(directory, missing)
    dataset = _read_data(checkpoint, missing, {} if datasets is None else datasets)
    found = TrainedRun(directory, checkpoint, summary, history, dataset, tuple(missing))
    trained_on = summary.get("data_sha256")
    if dataset is not None and isinstance(trained_on, Mapping) and trained_on != found.hashes:
        missing.append(
            "The data is not the one of the training: its SHA-256 differs. So the numbers on the test part "
            "differ from those that the training ended with."
        )
    return TrainedRun(directory, checkpoint, summary, history, dataset, tuple(missing))


def _read_summary(path: Path, missing: list[str]) -> dict[str, Any]:
    """Return what ``summary.json`` holds; nothing if it is not there or is damaged."""
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(file.read(_LARGEST))
        if isinstance(found, dict):
            return found
        missing.append(f"{SUMMARY} holds no summary.")
    except FileNotFoundError:
        goes_on = f" 'tinygrad-mnist train --resume {path.parent}' goes on with it."
        missing.append(
            f"There is no {SUMMARY}: the training did not come to its end."
            f"{goes_on if (path.parent / LAST).exists() else ''}"
        )
    except (OSError, ValueError, RecursionError) as error:
        missing.append(f"{SUMMARY} cannot be read ({printable(str(error))[:200]}).")
    return {}


def _read_history(directory: Path, missing: list[str]) -> History:
    """Return the history in ``last.npz``; without one the evaluations in ``metrics.jsonl``."""
    if (directory / LAST).exists():
        try:
            return History.from_dict(load_state(directory / LAST)["history"])
        except (TrainingError, KeyError, TypeError, ValueError) as error:
            missing.append(f"{LAST} cannot be used ({printable(str(error))[:200]}).")
    else:
        missing.append(
            f"There is no {LAST}: the loss of each step, the learning rates and the gradient norms are not "
            "known."
        )
    return History(1, records=_read_metrics(directory / METRICS, missing))


def _read_metrics(path: Path, missing: list[str]) -> list[Record]:
    """Return the evaluations in ``metrics.jsonl``, as far as they can be read."""
    records: list[Record] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file.read(_LARGEST).splitlines():
                record = Record.from_dict(json.loads(line))
                records.append(record)  # not all at once: those before a damaged line are kept
    except FileNotFoundError:
        missing.append(f"There is no {METRICS}: the course of the training is not known.")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        fault = printable(str(error))[:200]
        missing.append(f"{METRICS} cannot be read beyond line {len(records)} ({fault}).")
    return records


def _read_data(checkpoint: Checkpoint, missing: list[str], datasets: dict[str, Dataset]) -> Dataset | None:
    """Return the data that a model was trained on, if it is at hand."""
    asked = str(checkpoint.origin.get("data", "auto"))
    try:
        if asked not in datasets:
            datasets[asked], _ = load_data(asked, lambda sentence: None)
    except (DataError, ImportError, OSError) as error:
        missing.append(f"The data is not at hand, so nothing could be evaluated: {printable(str(error))}")
        return None
    dataset = datasets[asked]
    if dataset.image_shape == checkpoint.image_shape and dataset.class_names == checkpoint.class_names:
        return dataset
    missing.append(
        f"What is now at {printable(asked)} has other classes or sizes than the model, so nothing could be "
        "evaluated."
    )
    return None
