"""Recognition: what the service and the page ask of a model, without anything of HTTP.

A picture is prepared, a batch of prepared pictures goes through the network once, and an answer is explained
by the gradient of the engine and by what the first layer sees. Each of the three may be asked for alone, so
that a service can prepare pictures in several threads, and put those that wait together into one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.images import Picture, PictureLike, find_picture
from tinygrad_mnist.data.placement import affine
from tinygrad_mnist.data.prepare import Prepared
from tinygrad_mnist.serve.first_layer import FirstLayer
from tinygrad_mnist.serve.network import BATCHES, Network
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint
from tinygrad_mnist.training.checkpoints.version import model_version
from tinygrad_mnist.training.prediction import note_on_digits, preparation_of, prepare_found, require_finite
from tinygrad_mnist.training.recipe.models import model_input


class Recogniser:
    """A trained model, asked about pictures.

    All methods may be called from several threads at the same time. The model of the checkpoint is copied:
    what is trained further does not change the answers, and no parameter gets a gradient.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    threshold : float
        The probability from which a prediction is sure, 0 to 1.

    Raises
    ------
    CheckpointError
        If pictures cannot be prepared for the model.
    ValueError
        If the threshold is out of range.
    TypeError
        If it is no `Checkpoint`, such as the path of one.
    """

    def __init__(self, checkpoint: Checkpoint, *, threshold: float = 0.7) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"the threshold is a probability, 0 to 1, not {threshold}")
        self.checkpoint = checkpoint
        self.preparation = preparation_of(checkpoint)
        self.threshold = threshold
        self.version = model_version(checkpoint)
        model = deepcopy(checkpoint.model).requires_grad_(False).eval()
        self._network = Network(model)
        self._first = FirstLayer(model, model_input(checkpoint.recipe, checkpoint.image_shape))

    def warm_up(self) -> None:
        """Compile what answers, where that can be done, before the first picture comes."""
        blank = np.zeros(self.checkpoint.image_shape, np.uint8)
        for size in BATCHES:
            self.probabilities(np.stack([blank] * size))
        self.explain(Prepared(blank, affine()), 0)

    def describe(self) -> dict[str, Any]:
        """Return what a page has to know of the model, as plain data.

        ``page`` is what the model's pictures lie on, ``"dark"`` or ``"light"``; None where it was trained on
        both, so that pictures are never turned to their negative.
        """
        checkpoint = self.checkpoint
        return {
            "name": checkpoint.recipe.model_name,
            "version": self.version,
            "classes": list(checkpoint.class_names),
            "image_shape": list(checkpoint.image_shape),
            "crop": checkpoint.standardizer.crop,
            "preparation": self.preparation.name,
            "page": self.preparation.page,
            "threshold": self.threshold,
            "keeps": False,
            "note": note_on_digits(checkpoint),
        }

    def prepare(self, picture: PictureLike | Picture) -> Prepared:
        """Make of a picture what the model is shown.

        Parameters
        ----------
        picture : path-like, binary file, PIL.Image.Image, array_like or Picture
            What `tinygrad_mnist.data.images.read_image` reads: an array, or ``io.BytesIO`` of a PNG or JPEG;
            or what `tinygrad_mnist.data.images.find_picture` returned.

        Raises
        ------
        DataError
            If it cannot be read, or shows nothing.
        TypeError
            If it is none of these.
        """
        found = picture if isinstance(picture, Picture) else find_picture(picture)
        return prepare_found(self.checkpoint, found)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability of each class, shape (n, classes), for prepared images (n, h, w).

        Raises
        ------
        CheckpointError
            If they are not finite, as weights from a file may be too large to compute with.
        """
        if not len(images):
            return np.empty((0, len(self.checkpoint.class_names)), np.float32)
        found = self._network.probabilities(self.checkpoint.standardizer(images))
        require_finite(found)
        return found

    def explain(self, prepared: Prepared, index: int) -> dict[str, Any]:
        """Return what the answer depends on: the saliency of a class, and what the first layer sees.

        Parameters
        ----------
        prepared : Prepared
            The picture.
        index : int
            The number of the class.

        Returns
        -------
        dict
            ``saliency``: the gradient of the class's logit by the standardised picture, as rows of the
            picture's size, 0 where the model crops. ``first_layer``: what the units of the first layer see,
            with the name of its ``module`` and its ``kind``; None if it is neither a convolution nor a linear
            layer on the picture itself. Numbers are rounded to six digits of the largest.

        Raises
        ------
        CheckpointError
            If one of them is not finite.
        """
        inputs = self.checkpoint.standardizer(prepared.image[np.newaxis])
        slope = self._network.slope(inputs, index, len(self.checkpoint.class_names))
        units = self._first.units(inputs)
        require_finite([value for _, value, _ in units or ()])
        return {
            "saliency": _plain(np.pad(slope[0, 0], self.checkpoint.standardizer.crop)),
            "first_layer": units
            and {
                "module": self._first.name,
                "kind": self._first.kind,
                "units": [{"unit": unit, "value": value, "map": _plain(seen)} for unit, value, seen in units],
            },
        }

    def answer(
        self,
        prepared: Sequence[Prepared],
        probabilities: NDArray[np.float32] | None = None,
        *,
        explain: bool = False,
    ) -> dict[str, Any]:
        """Return the answer to some pictures, as plain data that JSON takes.

        Parameters
        ----------
        prepared : sequence of Prepared
            The pictures.
        probabilities : ndarray, optional
            What `probabilities` returned for them, shape (n, classes); it is computed where it is not given.
        explain : bool
            Whether each answer is explained; see `explain`.
        """
        if probabilities is None:
            images = np.array([one.image for one in prepared], np.uint8)
            probabilities = self.probabilities(images.reshape(-1, *self.checkpoint.image_shape))
        return {
            "model": {"name": self.checkpoint.recipe.model_name, "version": self.version},
            "classes": list(self.checkpoint.class_names),
            "predictions": [
                self._prediction(one, row, explain=explain)
                for one, row in zip(prepared, probabilities, strict=True)
            ],
        }

    def _prediction(self, prepared: Prepared, row: NDArray[np.float32], *, explain: bool) -> dict[str, Any]:
        index = int(row.argmax())
        probability = float(row[index])
        found = {
            "class": self.checkpoint.class_names[index],
            "index": index,
            "probability": probability,
            "sure": probability >= self.threshold,
            "probabilities": row.tolist(),
            "image": prepared.image.tolist(),
            "placement": prepared.placement.tolist(),
        }
        if explain:
            found["explanation"] = self.explain(prepared, index)
        return found


def _plain(values: NDArray[np.float32]) -> list[list[float]]:
    """Return numbers as lists, rounded to six digits of the largest, so that they are short as JSON.

    Raises
    ------
    CheckpointError
        If one is not finite.
    """
    require_finite(values)
    largest = float(np.abs(values).max())
    digits = 5 - int(np.floor(np.log10(largest))) if largest > 0 else 0
    rounded: list[list[float]] = values.astype(np.float64).round(digits).tolist()
    return rounded
