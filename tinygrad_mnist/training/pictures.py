"""The pictures of a run; where matplotlib is not installed there are none, and that is said."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import plots
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training.directory import PREDICTIONS, TRAINING, RunDirectory
from tinygrad_mnist.training.errors import RunError
from tinygrad_mnist.training.files import replacing
from tinygrad_mnist.training.history import History
from tinygrad_mnist.training.wording import percent

POINTS: Final = 120
"""About how many points the curve of the loss has."""

_COLUMNS, _ROWS = 10, 3


def draw_pictures(
    directory: RunDirectory,
    dataset: Dataset,
    probabilities: NDArray[np.float32],
    history: History,
    title: str,
    full_batch: bool,
    rng: np.random.Generator,
    note: Callable[[str], None],
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Draw sample digits with what was made of them, and the course of training.

    Parameters
    ----------
    directory : RunDirectory
        Receives ``predictions.png`` and ``training.png``.
    dataset : Dataset
        Its test images are drawn.
    probabilities : ndarray
        Of each class for each test image.
    history : History
        The course.
    title : str
        What was trained.
    full_batch : bool
        Whether an epoch is one iteration, and called so.
    rng : numpy.random.Generator
        Chooses the samples.
    note : callable
        Is told if there can be no pictures.

    Returns
    -------
    pictures : tuple of Path
        Those that were drawn.
    faults : tuple of str
        A sentence for each that could not be written: that is no reason to lose the rest of a run.
    """
    time = "iterations" if full_batch else None
    drawings: dict[str, Callable[[Path], object]] = {
        PREDICTIONS: partial(_draw_predictions, dataset=dataset, probabilities=probabilities, rng=rng),
        TRAINING: partial(plots.plot_training, course(history), title=title, time=time),
    }
    pictures: list[Path] = []
    faults: list[str] = []
    for name, draw in drawings.items():
        path = directory.file(name)
        try:
            with replacing(path) as temporary:
                draw(temporary)
            pictures.append(path)
        except RunError as error:
            faults.append(str(error))
        except ImportError as error:
            note(f"no pictures were drawn: {error}")
            break
    return tuple(pictures), tuple(faults)


def course(history: History) -> list[dict[str, Any]]:
    """The records, and between them rows that have the training loss alone, as a curve wants it."""
    records = {record.step: record for record in history.records}
    total = len(history.losses)
    ends = {round(total * part / POINTS) for part in range(1, POINTS + 1)} | set(records)
    rows: list[dict[str, Any]] = []
    begin = 0
    for end in sorted(ends - {0}):
        row = records[end].to_dict() if end in records else {"epoch": end / history.steps_per_epoch}
        rows.append({**row, "train_loss": float(np.mean(history.losses[begin:end]))})
        begin = end
    return rows


def _draw_predictions(
    path: Path, *, dataset: Dataset, probabilities: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Rows of digits drawn at random, and a row of mistakes, if there are any."""
    guesses = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(guesses != dataset.test_labels)
    some = rng.permutation(len(guesses))[: _COLUMNS * _ROWS]
    mistakes = rng.permutation(wrong)[:_COLUMNS]
    shown = np.concatenate([np.sort(some), np.sort(mistakes)])
    accuracy = 1 - len(wrong) / len(guesses)
    title = f"{percent(accuracy)} of {len(guesses):,} unseen digits are recognised: {len(some)} of them"
    if len(mistakes):
        title += f", and {len(mistakes)} of the {len(wrong):,} mistakes"
    plots.plot_predictions(
        dataset.test_images[shown],
        guesses[shown],
        dataset.test_labels[shown],
        probabilities[shown, guesses[shown]],
        path,
        title=title,
        columns=_COLUMNS,
    )
