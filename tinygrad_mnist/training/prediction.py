"""Prediction: the probability of each class, for arrays of images and for one picture from anywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.data import DataError, shifted
from tinygrad_mnist.data.images import Picture, PictureLike, find_picture
from tinygrad_mnist.data.placement import Placement, after, resized
from tinygrad_mnist.data.prepare import Preparation, Prepared
from tinygrad_mnist.data.scaling import PAGES
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn.module import evaluation_mode
from tinygrad_mnist.numbers import size_text
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint, require_checkpoint
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.distributed.sharing import chunks_of, joined
from tinygrad_mnist.training.errors import CheckpointError

Standardize = Callable[[NDArray[Any]], NDArray[Any]]
Forward = Callable[[Tensor], Tensor]

BATCH: Final = 1000
"""Images at a time: enough for BLAS, and little memory.

MNIST's test part is whole batches, and with 3,000 images for validation both other parts are. Each size of a
batch is a program of its own where the model is compiled.
"""


def predict(
    model: Forward,
    images: NDArray[Any],
    standardize: Standardize,
    batch_size: int = BATCH,
    *,
    tta: bool = False,
    background: int = 0,
    communicator: Communicator | None = None,
) -> NDArray[np.float32]:
    """Return the probabilities that a model gives each class.

    Several threads may predict with the same model at the same time, even while another trains it: the mode
    of the model is not switched.

    Parameters
    ----------
    model : Module or callable
        From standardised images to logits; used as in evaluation mode, whatever mode it is in. It may be
        compiled:
        ``jit(model)``, made once for several calls.
    images : ndarray
        Shape (n, height, width), as `standardize` takes them; n is 1 or more.
    standardize : callable
        Usually a `tinygrad_mnist.data.Standardizer`.
    batch_size : int
        Images at a time.
    tta : bool
        Whether to average over each image and its four shifts by one pixel (test-time augmentation).
    background : int
        The value of the pixels that come in by these shifts.
    communicator : Communicator, optional
        Processes that share the work: each takes some of the groups of `batch_size` images, and all of them
        get the probabilities, with the same bits as one process. All of them call this.

    Returns
    -------
    ndarray
        float32, shape (n, classes).
    """

    def group(start: int) -> NDArray[np.float32]:
        part = images[start : start + batch_size]
        copies = shifted(part, background) if tta else part[np.newaxis]
        found = [F.softmax(model(Tensor(standardize(copy))), dim=1).numpy() for copy in copies]
        mean: NDArray[Any] = sum(found[1:], start=found[0]) / np.float32(len(found)) if tta else found[0]
        return mean

    starts = range(0, len(images), batch_size)
    own = chunks_of(len(starts), communicator)
    with no_grad(), evaluation_mode():
        return np.concatenate(joined(lambda: [group(starts[number]) for number in own], communicator))


@dataclass(frozen=True, eq=False)
class Prediction:
    """The class that a model predicts for a picture.

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
    placement : ndarray
        Shape (2, 3): where each point of `image` lies on the picture that was given; see
        `tinygrad_mnist.data.placement`.
    """

    name: str
    confidence: float
    probabilities: NDArray[np.float32]
    image: NDArray[np.uint8]
    placement: Placement


def predict_picture(
    checkpoint: Checkpoint, picture: PictureLike, index: int | None = None, *, tta: bool = False
) -> Prediction:
    """Predict the class of a picture.

    A picture for a model of digits, or of other drawn signs, is prepared as those of MNIST were. For every
    other model it is scaled as a whole, as the pictures were that the model was trained on.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    picture : path-like, binary file, PIL.Image.Image or array_like
        What `tinygrad_mnist.data.images.read_image` reads: a path (``file:7`` is number 7 of several in it),
        an open binary file, an array, or an image of Pillow. Equal pictures have equal predictions.
    index : int, optional
        The number among several, from 0, if the path does not say.
    tta : bool
        Whether to average over shifts: see `predict`.

    Returns
    -------
    Prediction

    Raises
    ------
    DataError
        If it cannot be read, or shows nothing.
    TypeError
        If it is none of these, the index is no whole number, or no `Checkpoint` but its path is given.
    CheckpointError
        If the model's images are not square, or its weights are so large that it has no finite output.

    Examples
    --------
    >>> from tinygrad_mnist.data import load_digits
    >>> from tinygrad_mnist.training import choose, train
    >>> choice = choose("digits", changes={"epochs": 1})
    >>> checkpoint = train(choice.recipe, choice.dataset).checkpoint
    >>> paper = np.full((40, 40), 255, np.uint8)
    >>> paper[5:35, 18:22] = 0
    >>> found = predict_picture(checkpoint, paper)
    >>> found.image.shape, found.placement.shape
    ((8, 8), (2, 3))
    """
    preparation_of(checkpoint)  # before anything is read
    if isinstance(picture, str | os.PathLike):
        path = os.fspath(picture)
        file, own_index = _with_index(path)
        found = replace(find_picture(file, index if own_index is None else own_index), name=path)
    else:
        found = find_picture(picture, index)
    prepared = prepare_found(checkpoint, found)
    probabilities = predict_by_checkpoint(checkpoint, prepared.image[np.newaxis], tta=tta)[0]
    best = int(probabilities.argmax())
    return Prediction(
        checkpoint.class_names[best],
        float(probabilities[best]),
        probabilities,
        prepared.image,
        prepared.placement,
    )


def prepare_found(checkpoint: Checkpoint, found: Picture) -> Prepared:
    """Make of a picture what a model is shown.

    For a model of digits, or of other drawn signs, it is made as MNIST's were, or as those of UCI for one of
    8 x 8 pixels. For every other model it is scaled as a whole, on the page of the training pictures.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    found : Picture
        The picture. The placement is on it as it was given, before a large one was scaled down while it was
        read.

    Raises
    ------
    DataError
        If it shows nothing; it is named.
    CheckpointError
        If the model's images are not square, as only square ones are drawn.
    """
    try:
        prepared = preparation_of(checkpoint)(found.grey)
    except DataError as error:  # it does not know where the picture came from
        raise DataError(f"{found.name}: {error}") from error
    shape = found.grey.shape[0], found.grey.shape[1]
    if shape == found.size:
        return prepared
    return replace(prepared, placement=after(prepared.placement, resized(found.size, shape)))


def note_on_digits(checkpoint: Checkpoint) -> str | None:
    """Return the sentence that a model of the bundled digits is not made for other people's handwriting."""
    if checkpoint.origin.get("data") != "digits":
        return None
    images = checkpoint.origin.get("train_images")
    count = f"{images:,} " if isinstance(images, int) else ""
    return (
        f"this model was trained on {count}small digits of {size_text(checkpoint.image_shape)} pixels, and "
        "often errs on other people's handwriting; train on MNIST to have your own recognised"
    )


def preparation_of(checkpoint: Checkpoint) -> Preparation:
    """Return how pictures are made what a model is shown.

    Raises
    ------
    CheckpointError
        If the model's images are not square, as only square ones are drawn.
    TypeError
        If it is no `Checkpoint`, such as the path of one.
    """
    require_checkpoint(checkpoint)
    is_centred = bool(checkpoint.origin.get("is_centred", True))
    page = checkpoint.origin.get("page")
    height, width = checkpoint.image_shape
    if is_centred and height != width:
        raise CheckpointError(
            f"the model takes images of {size_text((height, width))} pixels; only square ones are drawn"
        )
    if page not in PAGES:  # signs are drawn light on dark where nothing else is known
        page = "dark" if is_centred else None
    return Preparation((height, width), is_centred, page)


def predict_by_checkpoint(
    checkpoint: Checkpoint, images: NDArray[Any], *, tta: bool = False
) -> NDArray[np.float32]:
    """Return the probabilities that a trained model gives each class, all of them finite.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    images : ndarray
        Shape (n, height, width).
    tta : bool
        Whether to average over shifts: see `predict`.

    Raises
    ------
    CheckpointError
        If a probability is not finite, as weights from a file may be too large to compute with.
    TypeError
        If it is no `Checkpoint`, such as the path of one.
    """
    require_checkpoint(checkpoint)
    with np.errstate(all="ignore"):
        probabilities = predict(
            checkpoint.model, images, checkpoint.standardizer, tta=tta, background=_background(checkpoint)
        )
    require_finite(probabilities)
    return probabilities


def require_finite(values: ArrayLike) -> None:
    """Raise `CheckpointError` if something that a model computed of a picture is not finite."""
    if not np.isfinite(values).all():
        raise CheckpointError("the weights of the model are too large to compute with; train it again")


def _background(checkpoint: Checkpoint) -> int:
    """Return the grey value around the pictures of a model, which earlier versions did not write down."""
    found = checkpoint.origin.get("background")
    if isinstance(found, int) and 0 <= found <= 255:
        return found
    return 255 if checkpoint.origin.get("page") == "light" else 0


def _with_index(path: str) -> tuple[Path, int | None]:
    """Return ``file:7`` as file and number, unless there is a file of that very name."""
    match = re.fullmatch(r"(.+):(-?\d+)", path, re.DOTALL)
    if match is None or os.path.exists(path):
        return Path(os.path.expanduser(path)), None
    return Path(os.path.expanduser(match[1])), int(match[2])
