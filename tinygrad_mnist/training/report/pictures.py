"""The pictures of a run, drawn by `plots`: on the page as SVG, and beside it as files of SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn, plots
from tinygrad_mnist.numbers import printable
from tinygrad_mnist.training.errors import RunError, writing
from tinygrad_mnist.training.evaluation import confusion_matrix
from tinygrad_mnist.training.report.gradient_reading import layer_norms
from tinygrad_mnist.training.report.saliency import saliency
from tinygrad_mnist.training.report.trained_run import TrainedRun
from tinygrad_mnist.training.runs.data_picture import is_drawn_as_ink

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH: Final = 4.63
"""Inches. On a telephone, where they are 384 pixels, the smallest text is then 11 pixels high."""

SUFFIXES: Final = (".svg", ".png")
SAMPLES, MISTAKES, SALIENT, WEIGHTS = 24, 16, 12, 25


class Picture(NamedTuple):
    """A picture for a page: its name, and itself as an ``<svg>`` element."""

    name: str
    svg: str


@dataclass(frozen=True, eq=False)
class Examples:
    """The test images that a report shows, by their numbers.

    Parameters
    ----------
    samples : ndarray
        Some at random, in their order.
    mistakes : ndarray
        Those that are taken for another class, the most confident first.
    salient : ndarray
        Those whose saliency is drawn: up to four of the mistakes, then samples.
    """

    samples: NDArray[np.intp]
    mistakes: NDArray[np.intp]
    salient: NDArray[np.intp]


def choose_examples(run: TrainedRun) -> Examples | None:
    """Choose the test images that are shown; None if nobody knows what is predicted for them."""
    if run.right is None or run.probabilities is None:
        return None
    order = np.random.default_rng(0).permutation(len(run.right))
    wrong = np.flatnonzero(~run.right)
    sure = run.probabilities[wrong].max(axis=1)
    mistakes = wrong[np.argsort(-sure, kind="stable")][:MISTAKES]
    salient = np.concatenate([order[: SALIENT - min(4, len(mistakes))], mistakes[:4]])
    return Examples(np.sort(order[:SAMPLES]), mistakes, salient)


def draw(run: TrainedRun, examples: Examples | None, folder: Path | None) -> tuple[list[Picture], list[str]]:
    """Draw all pictures that can be drawn.

    Parameters
    ----------
    run : TrainedRun
        The run.
    examples : Examples or None
        The images that are shown.
    folder : Path or None
        Receives each as a file of SVG and one of PNG; made if it is not there.

    Returns
    -------
    pictures : list of Picture
    missing : list of str
        Sentences on what could not be drawn or written.
    """
    pictures: list[Picture] = []
    missing: list[str] = []
    for name, make in DRAWINGS.items():
        try:
            figure = make(run, examples)
        except ImportError as error:  # matplotlib is not installed, for none of them
            return pictures, [f"No curves were drawn: {error}"]
        except ValueError as error:
            missing.append(f"The picture {name} was not drawn: {printable(str(error))}")
            figure = None
        if figure is None:
            if folder is not None:
                _remove(folder, name)
            continue
        pictures.append(Picture(name, plots.svg(figure)))
        if folder is not None:
            try:
                save(figure, folder, name)
            except RunError as error:
                missing.append(f"{error}.")
                folder = None  # it would be the same for the next one
    return pictures, missing


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a picture as SVG and as PNG.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    with writing(folder):
        folder.mkdir(exist_ok=True)
    for suffix in SUFFIXES:
        path = folder / f"{name}{suffix}"
        with writing(path):
            plots.save(figure, path)


def _remove(folder: Path, name: str) -> None:
    """Remove what an earlier report drew by a name: it would be taken for a picture of the run as it is."""
    for suffix in SUFFIXES:
        with suppress(OSError):
            (folder / f"{name}{suffix}").unlink()


# ---- each picture -----------------------------------------------------------------------------------------


def _curves(run: TrainedRun, examples: Examples | None) -> Figure | None:
    history = run.history
    if not history.records:
        return None
    known = bool(history.losses)
    return plots.plot_training(
        [record.to_dict() for record in history.records],
        losses=history.losses if known else None,
        steps_per_epoch=history.steps_per_epoch if known else None,
        title="Loss and accuracy",
        width=WIDTH,
    )


def _learning_rate(run: TrainedRun, examples: Examples | None) -> Figure | None:
    history = run.history
    if not history.rates:
        return None
    return plots.plot_schedule(history.rates, steps_per_epoch=history.steps_per_epoch, width=WIDTH)


def _gradients(run: TrainedRun, examples: Examples | None) -> Figure | None:
    history = run.history
    if not history.gradients:
        return None
    found = layer_norms(history.gradients, run.checkpoint.model)
    return plots.plot_gradient_norms(
        found.steps,
        found.norms,
        clip=run.checkpoint.recipe.clip_norm,
        steps_per_epoch=history.steps_per_epoch,
        width=WIDTH,
    )


def _confusion(run: TrainedRun, examples: Examples | None) -> Figure | None:
    if run.dataset is None or run.predicted is None:
        return None
    names = run.checkpoint.class_names
    return plots.plot_confusion(
        confusion_matrix(run.dataset.test_labels, run.predicted, len(names)), names=names, width=WIDTH
    )


def _class_accuracy(run: TrainedRun, examples: Examples | None) -> Figure | None:
    if run.dataset is None or run.predicted is None:
        return None
    names = run.checkpoint.class_names
    counts = confusion_matrix(run.dataset.test_labels, run.predicted, len(names))
    return plots.plot_class_accuracy(counts, names=names, width=WIDTH)


def _samples(run: TrainedRun, examples: Examples | None) -> Figure | None:
    return None if examples is None else _predictions(run, examples.samples, None)


def _most_confident_mistakes(run: TrainedRun, examples: Examples | None) -> Figure | None:
    if examples is None or not len(examples.mistakes):
        return None
    return _predictions(run, examples.mistakes, "The most confident mistakes")


def _predictions(run: TrainedRun, chosen: NDArray[np.intp], title: str | None) -> Figure:
    assert run.dataset is not None
    assert run.predicted is not None
    assert run.probabilities is not None
    said = run.predicted[chosen]
    return plots.plot_predictions(
        run.dataset.test_images[chosen],
        said,
        run.dataset.test_labels[chosen],
        run.probabilities[chosen, said],
        title=title,
        names=run.checkpoint.class_names,
        as_ink=is_drawn_as_ink(run.dataset),
        width=WIDTH,
    )


def first_layer(run: TrainedRun) -> nn.Linear | nn.Conv2d | None:
    """Return the first layer of a run's model that multiplies by weights."""
    modules = run.checkpoint.model.modules()
    return next((module for module in modules if isinstance(module, nn.Linear | nn.Conv2d)), None)


def _weights(run: TrainedRun, examples: Examples | None) -> Figure | None:
    """Draw the first layer that takes images; None if it takes something else."""
    first = first_layer(run)
    crop = run.checkpoint.recipe.crop
    height, width = (side - 2 * crop for side in run.checkpoint.image_shape)
    if first is None or (isinstance(first, nn.Linear) and first.weight.shape[1] != height * width):
        return None
    if isinstance(first, nn.Conv2d) and max(first.weight.shape[2:]) < 3:
        return None  # filters of single pixels are no pictures
    shape = (height, width) if isinstance(first, nn.Linear) else None
    return plots.plot_weights(first.weight.detach().numpy(), shape=shape, most=WEIGHTS, width=WIDTH)


def _saliency(run: TrainedRun, examples: Examples | None) -> Figure | None:
    if examples is None or run.dataset is None or run.predicted is None:
        return None
    chosen = examples.salient
    inputs = run.checkpoint.standardizer(run.dataset.test_images[chosen])
    gradients = saliency(run.checkpoint.model, inputs)[:, 0]
    crop = run.checkpoint.recipe.crop
    images = run.dataset.test_images[chosen]
    if crop:
        images = images[:, crop:-crop, crop:-crop]
    names = run.checkpoint.class_names
    captions = [
        f"{names[said]}" if said == true else f"✗ {names[said]}, is {names[true]}"
        for said, true in zip(run.predicted[chosen], run.dataset.test_labels[chosen], strict=True)
    ]
    return plots.plot_saliency(
        images, gradients, captions=captions, as_ink=is_drawn_as_ink(run.dataset), width=WIDTH
    )


def _calibration(run: TrainedRun, examples: Examples | None) -> Figure | None:
    if run.probabilities is None or run.dataset is None:
        return None
    return plots.plot_calibration(run.probabilities, run.dataset.test_labels, width=WIDTH)


Make = Callable[[TrainedRun, Examples | None], "Figure | None"]

DRAWINGS: Final[Mapping[str, Make]] = {
    "curves": _curves,
    "learning_rate": _learning_rate,
    "gradients": _gradients,
    "confusion": _confusion,
    "class_accuracy": _class_accuracy,
    "samples": _samples,
    "mistakes": _most_confident_mistakes,
    "weights": _weights,
    "saliency": _saliency,
    "calibration": _calibration,
}
"""For each picture a function that draws it; it returns None where what it needs is not known."""
