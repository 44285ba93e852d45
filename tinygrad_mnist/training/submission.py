"""Predictions for images without labels, as a table that Kaggle takes: ``ImageId,Label``, a line an image."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import Any

from numpy.typing import NDArray

from tinygrad_mnist.files import PathLike, write
from tinygrad_mnist.numbers import size_text
from tinygrad_mnist.training.checkpoint import Checkpoint
from tinygrad_mnist.training.errors import CheckpointError, writing
from tinygrad_mnist.training.prediction import predict_by_checkpoint

HEADING = ("ImageId", "Label")


def write_submission(
    path: PathLike, checkpoint: Checkpoint, images: NDArray[Any], *, tta: bool = False
) -> Counter[str]:
    r"""Predict the class of each image, and write a table of them, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; an older one is replaced.
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
        If the file cannot be written.

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
    if images.shape[1:] != checkpoint.image_shape:
        raise CheckpointError(
            f"the model takes images of {size_text(checkpoint.image_shape)} pixels, but these have "
            f"{size_text(images.shape[1:])}; name other images, or train on images of that size"
        )
    probabilities = predict_by_checkpoint(checkpoint, images, tta=tta)
    names = [checkpoint.class_names[index] for index in probabilities.argmax(axis=1)]
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADING)
    table.writerows(enumerate(names, start=1))
    with writing(path):
        write(path, text.getvalue())
    return Counter(names)
