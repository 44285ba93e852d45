"""Predictions as a table that Kaggle takes: ``ImageId,Label``, and a line for each picture."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from numpy.typing import NDArray

from tinygrad_mnist.data.csv_sets import ID_COLUMNS
from tinygrad_mnist.data.unlabelled import NUMBERED
from tinygrad_mnist.files import PathLike, require_writable, write, write_error
from tinygrad_mnist.numbers import percent_text, size_text
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint, require_checkpoint
from tinygrad_mnist.training.errors import CheckpointError, RecipeError, RunError, writing
from tinygrad_mnist.training.prediction import predict_by_checkpoint

LABEL: Final = "Label"
"""The heading of the predicted classes; in small letters beside ids whose heading is so."""

_LONGEST_HEADING: Final = 200


def write_submission(
    path: PathLike, checkpoint: Checkpoint, images: NDArray[Any], *, tta: bool = False
) -> Counter[str]:
    r"""Predict the class of each image, and write a table of them, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; an older table of predictions is replaced.
    checkpoint : Checkpoint
        The model.
    images : ndarray
        uint8, shape (n, height, width). They are numbered from 1.
    tta : bool
        Whether the probabilities are averaged over shifts of each image; see `predict`.

    Returns
    -------
    Counter
        How many images were predicted to be of each class.

    Raises
    ------
    CheckpointError
        If the images are of another size than the model's.
    RunError
        If the file cannot be written, or is there and is no table of predictions.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tinygrad_mnist.data import load_digits
    >>> from tinygrad_mnist.training import train, RECIPES
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = train(RECIPES["digits"].changed(epochs=1), load_digits(), out=f"{folder}/run")
    ...     path = Path(folder, "submission.csv")
    ...     counts = write_submission(path, run.checkpoint, load_digits().test_images[:5])
    ...     path.read_text("utf-8").split("\n")[0], counts.total()
    ('ImageId,Label', 5)
    """
    names = predicted_names(checkpoint, images, tta=tta)
    write_predictions(path, names)
    return Counter(names)


def predicted_names(checkpoint: Checkpoint, images: NDArray[Any], *, tta: bool = False) -> list[str]:
    """Return the name of the class that a model predicts for each image; see `write_submission`."""
    require_checkpoint(checkpoint)
    if images.shape[1:] != checkpoint.image_shape:
        raise CheckpointError(
            f"the model takes images of {size_text(checkpoint.image_shape)} pixels, but these have "
            f"{size_text(images.shape[1:])}; name other images, or train on images of that size"
        )
    probabilities = predict_by_checkpoint(checkpoint, images, tta=tta)
    return [checkpoint.class_names[index] for index in probabilities.argmax(axis=1)]


def write_predictions(
    path: PathLike, names: Sequence[str], ids: Sequence[str] | None = None, id_heading: str = NUMBERED
) -> None:
    """Write a table of predicted classes beside ids, by default numbers from 1."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow((id_heading, LABEL if id_heading[:1].isupper() else LABEL.lower()))
    table.writerows(zip(range(1, len(names) + 1) if ids is None else ids, names, strict=True))
    with writing(path):
        _require_table(path)
        write(path, text.getvalue())


# ---- what may be replaced --------------------------------------------------------------------------------


def require_replaceable(path: PathLike, data: PathLike) -> None:
    """Raise if a table of predictions for some data may not be written to a path, before any work for it.

    Raises
    ------
    RecipeError
        It is the file of the data itself, by whatever name or link; or it cannot be written.
    RunError
        It is there, and is no table of predictions.
    """
    try:
        require_writable(path)
    except OSError as error:
        raise RecipeError(f"--submission {write_error(path, error)}") from error
    is_same = False
    with suppress(OSError):  # one of them is not there
        is_same = os.path.samefile(path, os.path.expanduser(data))
    if is_same:
        raise RecipeError(
            f"--submission {os.fspath(path)} is the file of --data, which would be lost; name another file"
        )
    _require_table(path)


def _require_table(path: PathLike) -> None:
    """Raise if a file is there that is no table of predictions, and not empty."""
    if not os.path.isfile(path):
        return  # nothing there, or a device, which is written to and not replaced
    try:
        with open(path, "rb") as file:
            start = file.readline(_LONGEST_HEADING).decode("utf-8-sig", "replace")
    except OSError as error:
        raise RunError(write_error(path, error)) from error
    if start and not _is_heading(next(csv.reader([start.strip()]), [])):
        raise RunError(
            f"{os.fspath(path)} is there, and is no table of predictions; name another file, or remove it"
        )


def _is_heading(cells: Sequence[str]) -> bool:
    """Return whether the first line of a table is one that `write_predictions` writes."""
    return len(cells) == 2 and cells[0].casefold() in ID_COLUMNS and cells[1] in (LABEL, LABEL.lower())


# ---- labels beside the pictures --------------------------------------------------------------------------


def labels_text(labels: Sequence[str], names: Sequence[str], class_names: Sequence[str]) -> str:
    """Return a sentence on labels that the data has: the accuracy of the predicted names by them.

    Parameters
    ----------
    labels : sequence of str
        The label of each picture; empty where there is none.
    names : sequence of str
        The predicted classes.
    class_names : sequence of str
        All classes of the model.

    Examples
    --------
    >>> labels_text(["a", "b", "b", ""], ["a", "b", "a", "a"], ["a", "b"])
    'it has labels for 3 of 4 pictures, which were not used; by them the accuracy is 66.67 %'
    >>> labels_text(["0", "1"], ["cat", "dog"], ["cat", "dog"])
    'it has labels, which were not used; by them the accuracy is 100.00 %'
    """
    known = set(class_names)
    if known.isdisjoint(labels):
        labels = _by_number(labels, class_names)
    if known.isdisjoint(labels):
        return "it has labels, which were not used; none is a class of the model"
    pairs = [pair for pair in zip(labels, names, strict=True) if pair[0]]
    some = f" for {len(pairs):,} of {len(names):,} pictures" if len(pairs) < len(names) else ""
    share = sum(label == name for label, name in pairs) / len(pairs)
    return f"it has labels{some}, which were not used; by them the accuracy is {percent_text(share)}"


def _by_number(labels: Sequence[str], class_names: Sequence[str]) -> Sequence[str]:
    """Return the names of labels that number the classes from 0; the labels, where they do not."""
    numbers = {str(number): name for number, name in enumerate(class_names)}
    if "0" not in labels or not numbers.keys() >= set(labels):
        return labels
    return [numbers[label] for label in labels]
