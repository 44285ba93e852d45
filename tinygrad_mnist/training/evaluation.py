"""Evaluation: loss and accuracy of a model, on arrays of images and on the test part of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, Dataset
from tinygrad_mnist.numbers import printable, size_text
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint, require_checkpoint
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.errors import CheckpointError
from tinygrad_mnist.training.prediction import BATCH, Forward, Standardize, predict, predict_by_checkpoint
from tinygrad_mnist.training.training_data import load_data


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy of a model on some images.

    Parameters
    ----------
    loss : float
        Mean cross-entropy in nats.
    accuracy : float
        Share of the images that are recognised, 0 to 1.
    probabilities : ndarray
        float32, shape (n, classes).
    """

    loss: float
    accuracy: float
    probabilities: NDArray[np.float32]


def evaluate(
    model: Forward,
    images: NDArray[Any],
    labels: NDArray[Any],
    standardize: Standardize,
    *,
    label_smoothing: float = 0.0,
    batch_size: int = BATCH,
    communicator: Communicator | None = None,
) -> Evaluation:
    """Evaluate a model on images and their labels.

    Parameters
    ----------
    model : Module or callable
        From standardised images to logits; used as in evaluation mode, whatever mode it is in. It may be
        compiled,
        as for `predict`.
    images : ndarray
        Shape (n, height, width), as `standardize` takes them; n is 1 or more.
    labels : ndarray
        Integers, shape (n,).
    standardize : callable
        Usually a `tinygrad_mnist.data.Standardizer`.
    label_smoothing : float
        Share of the targets that is spread over all classes, in the loss.
    batch_size : int
        Images at a time.
    communicator : Communicator, optional
        Processes that share the work, as for `predict`.

    Returns
    -------
    Evaluation
    """
    probabilities = predict(model, images, standardize, batch_size, communicator=communicator)
    return _compared(probabilities, labels, label_smoothing)


def _compared(
    probabilities: NDArray[np.float32], labels: NDArray[Any], label_smoothing: float = 0.0
) -> Evaluation:
    """Return loss and accuracy of probabilities beside the true labels."""
    correct = np.count_nonzero(probabilities.argmax(axis=1) == labels)
    # A probability may be 0 in float32: then it is taken as the smallest that float32 can say. The sum is in
    # float64, as tens of thousands of terms in float32 would cost digits that are printed.
    surprise = -np.log(np.maximum(probabilities, np.finfo(np.float32).tiny), dtype=np.float64)
    loss = surprise[np.arange(len(labels)), labels].mean()
    if label_smoothing:
        # the mean over all classes is the loss of a target that is spread evenly
        loss = (1 - label_smoothing) * loss + label_smoothing * surprise.mean()
    return Evaluation(float(loss), float(correct / len(labels)), probabilities)


class ClassEvaluation(NamedTuple):
    """The accuracy of a model on the images of one class, in numbers of images.

    ``confused_with`` is the class that was most often predicted wrongly for them, ``-`` if none was.
    """

    name: str
    images: int
    correct: int
    confused_with: str


@dataclass(frozen=True, eq=False)
class CheckpointEvaluation:
    """Loss and accuracy of a trained model, or of several together, on the test part of a data set.

    Parameters
    ----------
    data : str
        The data set's name.
    source : str
        The name in `DATASETS`, or the file or directory, by which it is loaded again.
    images : int
        The number of images.
    correct : int
        The number of them that were recognised.
    loss : float
        Mean cross-entropy in nats.
    classes : tuple of ClassEvaluation
        The same for each class.
    accuracies : tuple of float
        The accuracy of each model by itself.
    confusion : ndarray
        The confusion matrix, int64, shape (classes, classes): entry (i, j) counts the images of class i that
        were predicted as class j.
    """

    data: str
    source: str
    images: int
    correct: int
    loss: float
    classes: tuple[ClassEvaluation, ...]
    accuracies: tuple[float, ...]
    confusion: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of the images that were recognised."""
        return self.correct / self.images

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data that JSON can hold."""
        return {
            "data": self.data,
            "data_source": self.source,
            "images": self.images,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "class_names": [one.name for one in self.classes],
            "classes": [
                {**one._asdict(), "accuracy": one.correct / one.images if one.images else None}
                for one in self.classes
            ],
            "confusion": self.confusion.tolist(),
            "accuracies": list(self.accuracies),
        }


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    data: str | None = None,
    notify: Callable[[str], None] | None = None,
    *,
    tta: bool = False,
) -> CheckpointEvaluation:
    """Evaluate a trained model on the test part of a data set.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    data : str, optional
        A name in `DATASETS`, or a file or directory; the data that the model was trained on by default.
    notify : callable, optional
        Is told if the data is other than one might expect.
    tta : bool
        Whether to average over the shifts of each image: see `predict`.

    Returns
    -------
    CheckpointEvaluation

    Raises
    ------
    CheckpointError
        If the images are of another size than the model's, or of classes that it does not know by their
        names; or if the model's weights are so large that it has no finite output.
    DataError
        If the data cannot be had.
    TypeError
        If it is no `Checkpoint`, such as the path of one.
    """
    return evaluate_ensemble([("the model", checkpoint)], data, notify, tta=tta)


def evaluate_ensemble(
    checkpoints: Sequence[tuple[str, Checkpoint]],
    data: str | None = None,
    notify: Callable[[str], None] | None = None,
    *,
    tta: bool = False,
) -> CheckpointEvaluation:
    """Evaluate the mean of the probabilities of several trained models on the test part of a data set.

    Parameters
    ----------
    checkpoints : sequence of (str, Checkpoint)
        The models, each with the name that a sentence calls it; one or more.
    data, notify, tta
        As in `evaluate_checkpoint`; by default the data is that which all models were trained on.

    Returns
    -------
    CheckpointEvaluation

    Raises
    ------
    CheckpointError, DataError
        As `evaluate_checkpoint` does, for any of the models; or if they differ in the size of their images,
        in their classes, or in the data that they were trained on, where none is named.
    TypeError
        If one is no `Checkpoint`, such as the path of one.
    """
    for _, checkpoint in checkpoints:
        require_checkpoint(checkpoint)
    _require_agreement(checkpoints)
    asked = _trained_on(checkpoints[0][1]) if data is None else data
    dataset, source = load_data(asked, notify)
    if data is None:
        _require_same_data(checkpoints, dataset)
    # one list of classes for all of them, as they agree
    labels = _outputs(*checkpoints[0], dataset)[dataset.test_labels]
    found = [predict_by_checkpoint(checkpoint, dataset.test_images, tta=tta) for _, checkpoint in checkpoints]
    together = _compared(np.mean(found, axis=0) if len(found) > 1 else found[0], labels)
    names = checkpoints[0][1].class_names
    counts = confusion_matrix(labels, together.probabilities.argmax(axis=1), len(names))
    classes = by_class(counts, names)
    return CheckpointEvaluation(
        data=dataset.name,
        source=source,
        images=len(labels),
        correct=sum(one.correct for one in classes),
        loss=together.loss,
        classes=classes,
        accuracies=tuple(float(np.mean(each.argmax(axis=1) == labels)) for each in found),
        confusion=counts,
    )


def confusion_matrix(labels: NDArray[Any], predicted: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Return how often each class was predicted as each class.

    Parameters
    ----------
    labels, predicted : ndarray
        The true and the predicted class of each image, integers of shape (n,).
    classes : int
        The number of classes.

    Returns
    -------
    ndarray
        int64, shape (classes, classes): a row for each true class, a column for each predicted one.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def by_class(counts: NDArray[np.int64], names: Sequence[str]) -> tuple[ClassEvaluation, ...]:
    """Return the evaluation of each class by its row of the confusion matrix."""
    correct = np.diagonal(counts)
    wrong = counts - np.diag(correct)
    return tuple(
        ClassEvaluation(
            name=name,
            images=int(counts[i].sum()),
            correct=int(correct[i]),
            confused_with=names[int(wrong[i].argmax())] if wrong[i].any() else "-",
        )
        for i, name in enumerate(names)
    )


def _outputs(name: str, checkpoint: Checkpoint, dataset: Dataset) -> NDArray[np.int64]:
    """Return the output of a model for each class of a data set, which may have fewer, in another order.

    Classes are the same if they have the same name. Where one side has numbers for names, as data without
    such a list has, and both have as many, they are the same by their position.
    """
    names = checkpoint.class_names
    numbers = tuple(map(str, range(len(names))))
    unknown = [one for one in dataset.class_names if one not in names]
    if dataset.image_shape == checkpoint.image_shape:
        if not unknown:
            return np.array([names.index(one) for one in dataset.class_names])
        if dataset.classes == len(names) and numbers in (names, dataset.class_names):
            return np.arange(len(names))
    raise CheckpointError(
        f"{name} takes images of {size_text(checkpoint.image_shape)} pixels in {len(names)} classes, but "
        f"{dataset.name} has {size_text(dataset.image_shape)} in {dataset.classes}"
        f"{f', among them {printable(unknown[0])}' if unknown else ''}; name other data"
    )


def _trained_on(checkpoint: Checkpoint) -> str:
    """Return what is to be asked for to get the data that a model was trained on."""
    return str(checkpoint.origin.get("data", "auto"))


def _require_same_data(checkpoints: Sequence[tuple[str, Checkpoint]], dataset: Dataset) -> None:
    """Raise an error for the first of several models that was trained on other data than the first.

    The same data may be named ``mnist`` for one and by its directory for another: what is found there counts.
    """
    first, asked = checkpoints[0][0], _trained_on(checkpoints[0][1])
    same = {asked}
    for name, checkpoint in checkpoints[1:]:
        other = _trained_on(checkpoint)
        if other not in same and not _is_same(dataset, other):
            raise CheckpointError(
                f"{first} and {name} were trained on different data, {printable(asked)} and "
                f"{printable(other)}; say by --data on which to evaluate them"
            )
        same.add(other)


def _is_same(dataset: Dataset, asked: str) -> bool:
    """Return whether what is asked for can be had, and is a data set of the same images and labels."""
    try:
        other, _ = load_data(asked, lambda sentence: None)
    except (DataError, ImportError):
        return False
    parts = ("train_images", "train_labels", "test_images", "test_labels")
    return dataset.class_names == other.class_names and all(
        np.array_equal(getattr(dataset, part), getattr(other, part)) for part in parts
    )


def _require_agreement(checkpoints: Sequence[tuple[str, Checkpoint]]) -> None:
    """Raise an error for the first of several models whose outputs cannot be averaged with the first's."""
    first, one = checkpoints[0]
    for name, other in checkpoints[1:]:
        if other.image_shape != one.image_shape:
            raise CheckpointError(
                f"{first} and {name} cannot be averaged: they take images of {size_text(one.image_shape)} "
                f"and of {size_text(other.image_shape)} pixels"
            )
        if other.class_names != one.class_names:
            raise CheckpointError(
                f"{first} and {name} cannot be averaged: they have different classes, "
                f"{_some(one.class_names)} and {_some(other.class_names)}"
            )


def _some(names: Sequence[str]) -> str:
    """Return the first of some names, and how many there are."""
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} ({len(names)})"
