"""The pictures of a run: digits with their predictions, the course of training, the graph of a training step.

Where matplotlib, or the program that lays out graphs, is not installed there are none, and the user is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import graph, nn, plots
from tinygrad_mnist.data import DataError, Dataset, Standardizer
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.files import replacing
from tinygrad_mnist.numbers import percent_text, size_text
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint, require_checkpoint
from tinygrad_mnist.training.errors import RunError, writing
from tinygrad_mnist.training.loop.history import History
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.runs.data_picture import is_drawn_as_ink
from tinygrad_mnist.training.runs.directory import (
    GRAPH_PAGE,
    GRAPH_PICTURE,
    PREDICTIONS,
    TRAINING,
    RunDirectory,
)
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import Choice, load_data

Notify = Callable[[str], None]
Draw = Callable[[Path], object]
"""A function that draws one picture into a file."""

POINTS: Final = 120
"""The number of points, about, of the curve of the loss."""

IMAGES: Final = 128
"""Images in a step that is drawn, where the recipe takes all."""

MOST_RANDOM_IMAGES: Final = 4096
"""Images in a step that is drawn with random ones, where the recipe says more: a file may say anything."""

_COLUMNS, _ROWS = 10, 3
_WIDTH: Final = 11.5
"""Inches that so many columns need: the mistakes have a row of their own."""


def draw_pictures(
    directory: RunDirectory,
    checkpoint: Checkpoint,
    dataset: Dataset,
    probabilities: NDArray[np.float32],
    history: History,
    title: str,
    rng: np.random.Generator,
    notify: Notify,
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Draw all pictures of a run into its directory.

    Parameters
    ----------
    directory : RunDirectory
        Receives ``predictions.png``, ``training.png``, ``graph.svg`` and ``graph.html``.
    checkpoint : Checkpoint
        The model, whose graph is drawn.
    dataset : Dataset
        Its test images are drawn; some of its training images go through the graph.
    probabilities : ndarray
        Of each class for each test image.
    history : History
        The course of the training.
    title : str
        The title of the curves.
    rng : numpy.random.Generator
        Chooses the samples.
    notify : callable
        Is told if there can be no pictures, and of each that could not be written: that is no reason to lose
        the rest of a run.

    Returns
    -------
    drawn, missing : tuple of Path
        The pictures, and those that could not be written.
    """
    recipe = checkpoint.recipe
    time = "iterations" if recipe.full_batch else None
    count = recipe.batch_size or IMAGES
    step = graph_of_step(
        checkpoint.model,
        recipe,
        dataset.train_images[:count],
        dataset.train_labels[:count],
        checkpoint.standardizer,
    )
    plotted, unplotted = _draw(
        directory,
        {
            PREDICTIONS: lambda path: _draw_predictions(path, dataset, probabilities, rng),
            TRAINING: lambda path: plots.save(
                plots.plot_training(loss_curve(history), title=title, time=time), path
            ),
        },
        "no pictures were drawn",
        notify,
    )
    laid_out, not_laid_out = _draw(
        directory,
        {
            GRAPH_PICTURE: lambda path: path.write_text(step.svg(), "utf-8"),
            GRAPH_PAGE: lambda path: path.write_text(step.html(), "utf-8"),
        },
        "no graph was drawn",
        notify,
    )
    return plotted + laid_out, unplotted + not_laid_out


def _draw(
    directory: RunDirectory, drawings: Mapping[str, Draw], nothing: str, notify: Notify
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Draw pictures that need the same program; return those that are there and those that are missing."""
    drawn: list[Path] = []
    missing: list[Path] = []
    for name, draw in drawings.items():
        path = directory.file(name)
        try:
            with writing(path), replacing(path) as unfinished:
                draw(unfinished)
            drawn.append(path)
        except RunError as error:
            notify(str(error))
            missing.append(path)
        except (ImportError, graph.LayoutError) as error:  # it would be the same for the next one
            notify(f"{nothing}: {error}")
            break
    return tuple(drawn), tuple(missing)


def loss_curve(history: History) -> list[dict[str, Any]]:
    """Return the records, and between them rows that have the training loss alone, as a curve wants it."""
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
    path: Path, dataset: Dataset, probabilities: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Draw rows of images chosen at random, and a row of mistakes, if there are any."""
    guesses = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(guesses != dataset.test_labels)
    some = rng.permutation(len(guesses))[: _COLUMNS * _ROWS]
    mistakes = rng.permutation(wrong)[:_COLUMNS]
    shown = np.concatenate([np.sort(some), np.sort(mistakes)])
    accuracy = 1 - len(wrong) / len(guesses)
    noun = "digits" if all(name in tuple("0123456789") for name in dataset.class_names) else "pictures"
    title = f"{percent_text(accuracy)} of {len(guesses):,} unseen {noun} are recognised: {len(some)} of them"
    if len(mistakes):
        which = f"{len(mistakes)} of the" if len(mistakes) < len(wrong) else "all"
        title += f", and {which} {len(wrong):,} mistakes" if len(wrong) > 1 else ", and the only mistake"
    figure = plots.plot_predictions(
        dataset.test_images[shown],
        guesses[shown],
        dataset.test_labels[shown],
        probabilities[shown, guesses[shown]],
        title=title,
        columns=_COLUMNS,
        width=_WIDTH,
        names=dataset.class_names,
        as_ink=is_drawn_as_ink(dataset),
    )
    plots.save(figure, path)


# ---- the graph of a training step, forward and backward ---------------------------------------------------


def graph_of_checkpoint(
    checkpoint: Checkpoint, data: str | None, profile: bool, notify: Notify
) -> graph.Graph:
    """Return the graph of a training step of a trained model.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model; it stays as it is.
    data : str, optional
        A name in `DATASETS`, or a file or directory; the data that the model was trained on by default.
    profile : bool
        Whether to measure times and memory.
    notify : callable
        Is told if the data is not at hand, and random images take its place.

    Raises
    ------
    DataError
        If data was asked for by name and cannot be had, or has images of another size.
    TypeError
        If it is no `Checkpoint`, such as the path of one.
    """
    require_checkpoint(checkpoint)
    asked = str(checkpoint.origin.get("data", "auto")) if data is None else data
    count = checkpoint.recipe.batch_size or IMAGES
    try:
        dataset, _ = load_data(asked, notify)
        images, labels = dataset.train_images[:count], dataset.train_labels[:count]
        classes = len(checkpoint.class_names)
        if images.shape[1:] != checkpoint.image_shape or dataset.classes > classes:
            raise DataError(
                f"the model takes images of {size_text(checkpoint.image_shape)} pixels in {classes} classes, "
                f"not those of {dataset.name}"
            )
    except DataError as error:
        if data is not None:
            raise
        notify(f"The graph is drawn with random images: {error}")
        rng = np.random.default_rng(0)
        count = min(count, MOST_RANDOM_IMAGES)
        images = rng.integers(0, 256, (count, *checkpoint.image_shape), np.uint8)
        labels = rng.integers(0, len(checkpoint.class_names), count)
    return graph_of_step(
        checkpoint.model, checkpoint.recipe, images, labels, checkpoint.standardizer, profile
    )


def graph_of_choice(choice: Choice, profile: bool) -> graph.Graph:
    """Return the graph of the first training step of a recipe, with the weights of seed 0."""
    recipe, dataset = choice.recipe, choice.dataset
    count = recipe.batch_size or IMAGES
    images, labels = dataset.train_images[:count], dataset.train_labels[:count]
    rngs = generators(0)
    model = build_model(
        recipe, dataset.image_shape, dataset.classes, rng=rngs["initialisation"], dropout_rng=rngs["dropout"]
    )
    standardizer = Standardizer.fit(dataset.train_images, recipe.crop)
    return graph_of_step(model, recipe, images, labels, standardizer, profile)


def graph_of_step(
    model: nn.Module,
    recipe: Recipe,
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    standardizer: Standardizer,
    profile: bool = False,
) -> graph.Graph:
    """Return the graph of one training step of a copy of a model, which itself stays as it is."""
    twin, x = deepcopy(model).train(), Tensor(standardizer(images))  # a Tensor, as in training
    rng = generators(0)["dropout"]  # so that a model drops the same each time it is drawn
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.rng = rng
    names = {"images": x, "labels": labels}
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    if profile:
        return graph.profile(twin, x, labels, loss=criterion, names=names)
    with graph.record(twin, names) as tape:
        criterion(twin(x), labels).backward()
    found = tape.graph()
    if recipe.model_file is not None:
        return found
    # every line of source is one of this package's own, which tells the user of the command line nothing
    return replace(found, nodes=tuple(replace(node, line="") for node in found.nodes))
