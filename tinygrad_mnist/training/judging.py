"""What a trained model makes of a data set, and of a single picture."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, load
from tinygrad_mnist.data.images import prepare_digit, read_image
from tinygrad_mnist.training.checkpoint import Checkpoint
from tinygrad_mnist.training.errors import CheckpointError
from tinygrad_mnist.training.metrics import evaluate, predict


@dataclass(frozen=True)
class Verdict:
    """How a model did on the test part of a data set.

    Parameters
    ----------
    data : str
        The data set's name.
    source : str
        What was loaded: a name that `tinygrad_mnist.data.load` knows, or a directory.
    images, right : int
        How many there are, and how many of them were recognised.
    loss : float
        Mean cross-entropy in nats.
    classes : tuple
        For each class its name, its images, how many of them were recognised, and the name of the class that
        the others were taken for most often (``-`` if there are none).
    """

    data: str
    source: str
    images: int
    right: int
    loss: float
    classes: tuple[tuple[str, int, int, str], ...]

    @property
    def accuracy(self) -> float:
        """Share of the images that were recognised."""
        return self.right / self.images


def judge(checkpoint: Checkpoint, data: str | None = None) -> Verdict:
    """Judge a model on the test part of a data set.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    data : str, optional
        What `tinygrad_mnist.data.load` takes; what the model was trained on by default.

    Returns
    -------
    Verdict

    Raises
    ------
    CheckpointError
        If the images are of another size than the model's, or of other classes.
    DataError
        If the data cannot be had.
    """
    asked = str(checkpoint.origin.get("data", "auto")) if data is None else data
    dataset = load(asked)
    source = dataset.name if asked == "auto" else asked
    if dataset.image_shape != checkpoint.image_shape or dataset.classes != len(checkpoint.class_names):
        raise CheckpointError(
            f"the model takes images of {_size(checkpoint.image_shape)} pixels in "
            f"{len(checkpoint.class_names)} classes, but {dataset.name} has {_size(dataset.image_shape)} in "
            f"{dataset.classes}; name other data"
        )
    result = evaluate(checkpoint.model, dataset.test_images, dataset.test_labels, checkpoint.standardizer)
    guesses, truths = result.probabilities.argmax(axis=1), dataset.test_labels
    counts = np.zeros((dataset.classes, dataset.classes), np.int64)
    np.add.at(counts, (truths, guesses), 1)
    right = np.diagonal(counts)
    wrong = counts - np.diag(right)
    names = checkpoint.class_names
    classes = tuple(
        (
            names[i],
            int(counts[i].sum()),
            int(right[i]),
            names[int(wrong[i].argmax())] if wrong[i].any() else "-",
        )
        for i in range(dataset.classes)
    )
    return Verdict(dataset.name, source, len(truths), int(right.sum()), result.loss, classes)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


@dataclass(frozen=True, eq=False)
class Recognition:
    """What a model sees on a picture.

    Parameters
    ----------
    name : str
        The most probable class.
    confidence : float
        Its probability.
    probabilities : ndarray
        Of each class, float32.
    image : ndarray
        The picture as the model was shown it, before standardisation; uint8.
    """

    name: str
    confidence: float
    probabilities: NDArray[np.float32]
    image: NDArray[np.uint8]


def recognise(checkpoint: Checkpoint, path: str | os.PathLike[str], index: int | None = None) -> Recognition:
    """Recognise the digit on a picture.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    path : path-like
        A file that `tinygrad_mnist.data.images.read_image` reads; ``file:7`` is number 7 of several in it.
    index : int, optional
        Which of several, from 0, if the path does not say.

    Returns
    -------
    Recognition

    Raises
    ------
    DataError
        If it cannot be read, or shows nothing.
    CheckpointError
        If the model's images are not square.
    """
    side, other = checkpoint.image_shape
    if side != other:
        raise CheckpointError(
            f"the model takes images of {_size((side, other))} pixels; only square ones are drawn"
        )
    file, own_index = _with_index(os.fspath(path))
    picture = read_image(file, index if own_index is None else own_index)
    try:
        image = prepare_digit(picture, side)
    except DataError as error:  # it does not know where the picture came from
        raise DataError(f"{os.fspath(path)}: {error}") from error
    probabilities = predict(checkpoint.model, image[np.newaxis], checkpoint.standardizer)[0]
    best = int(probabilities.argmax())
    return Recognition(checkpoint.class_names[best], float(probabilities[best]), probabilities, image)


def _with_index(path: str) -> tuple[Path, int | None]:
    """``file:7`` as file and number, unless there is a file of that very name."""
    match = re.fullmatch(r"(.+):(-?\d+)", path, re.DOTALL)
    if match is None or os.path.exists(path):
        return Path(os.path.expanduser(path)), None
    return Path(os.path.expanduser(match[1])), int(match[2])
