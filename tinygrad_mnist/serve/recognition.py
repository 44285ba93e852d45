"""Recognition: what the service and the page ask of a model, without anything of HTTP.

A picture is prepared, a batch of prepared pictures goes through the network once, and an answer is explained
by the gradient of the engine and by what the first layer sees. Each of the three may be asked for alone, so
that a service can prepare pictures in several threads, and put those that wait together into one batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.data.images import PictureLike, find_picture
from tinygrad_mnist.data.prepare import Prepared
from tinygrad_mnist.engine.observe import Recorder, also_observed_by
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn.module import evaluation_mode
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint
from tinygrad_mnist.training.errors import CheckpointError
from tinygrad_mnist.training.prediction import is_drawn, prepare_found, require_drawable

MOST_UNITS: Final = 24
"""The units of the first layer that an explanation shows at most."""


def model_version(checkpoint: Checkpoint) -> str:
    """Return the first 12 hex digits of a SHA-256 over the weights and the standardisation of a model.

    Equal weights under equal names have equal versions, wherever they are stored.
    """
    digest = hashlib.sha256()
    for name, values in sorted(checkpoint.model.state_dict().items()):
        array = np.asarray(values)
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    standardizer = checkpoint.standardizer
    digest.update(f"mean {standardizer.mean!r} std {standardizer.std!r} crop {standardizer.crop}".encode())
    return digest.hexdigest()[:12]


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
    """

    def __init__(self, checkpoint: Checkpoint, *, threshold: float = 0.7) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"the threshold is a probability, 0 to 1, not {threshold}")
        require_drawable(checkpoint)
        self.checkpoint = checkpoint
        self.threshold = threshold
        self.version = model_version(checkpoint)
        self._model = deepcopy(checkpoint.model).requires_grad_(False).eval()

    def describe(self) -> dict[str, Any]:
        """Return what a page has to know of the model, as plain data.

        ``page`` is what the model's pictures lie on, ``"dark"`` or ``"light"``; None where it was trained on
        both, so that pictures are never turned to their negative.
        """
        checkpoint = self.checkpoint
        page = checkpoint.origin.get("page")
        if is_drawn(checkpoint):
            preparation = "uci" if checkpoint.image_shape == (8, 8) else "mnist"
            page = "light" if page == "light" else "dark"
        else:
            preparation = "whole"
        return {
            "name": checkpoint.recipe.name,
            "version": self.version,
            "classes": list(checkpoint.class_names),
            "image_shape": list(checkpoint.image_shape),
            "crop": checkpoint.standardizer.crop,
            "preparation": preparation,
            "page": page,
            "threshold": self.threshold,
            "keeps": False,
            "note": None,
        }

    def prepare(self, picture: PictureLike) -> Prepared:
        """Make of a picture what the model is shown.

        Parameters
        ----------
        picture : path-like, binary file, PIL.Image.Image or array_like
            What `tinygrad_mnist.data.images.read_image` reads: an array, or ``io.BytesIO`` of a PNG or JPEG.

        Raises
        ------
        DataError
            If it cannot be read, or shows nothing.
        TypeError
            If it is none of these.
        """
        return prepare_found(self.checkpoint, find_picture(picture))

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability of each class, shape (n, classes), for prepared images (n, h, w).

        Raises
        ------
        CheckpointError
            If they are not finite, as weights from a file may be too large to compute with.
        """
        inputs = self.checkpoint.standardizer(images)
        with no_grad(), evaluation_mode(), np.errstate(all="ignore"):
            found = F.softmax(self._model(Tensor(inputs)), dim=1).numpy()
        if not np.isfinite(found).all():
            raise CheckpointError("the weights of the model are too large to compute with; train it again")
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
            layer on the picture itself. Numbers are rounded to five digits of the largest.

        Raises
        ------
        CheckpointError
            If a gradient is not finite.
        """
        inputs = self.checkpoint.standardizer(prepared.image[np.newaxis])
        x = Tensor(inputs, requires_grad=True)
        first = _FirstLayer()
        with evaluation_mode(), np.errstate(all="ignore"):
            with also_observed_by(first):
                logits = self._model(x)
            logits[0, index].backward()
            units = _units(first, inputs)
        gradient = np.zeros_like(inputs) if x.grad is None else x.grad.numpy()
        saliency = np.pad(gradient[0, 0], self.checkpoint.standardizer.crop)
        return {"saliency": _plain(saliency), "first_layer": self._named(first.module, units)}

    def _named(self, layer: nn.Module | None, units: list[dict[str, Any]] | None) -> dict[str, Any] | None:
        """Return the units of a layer with its name in the model and its kind."""
        if units is None:
            return None
        name = next(name for name, module in self._model.named_modules() if module is layer)
        return {"module": name, "kind": type(layer).__name__, "units": units}

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
            probabilities = self.probabilities(np.stack([one.image for one in prepared]))
        return {
            "model": {"name": self.checkpoint.recipe.name, "version": self.version},
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


# ---- what the first layer sees -----------------------------------------------------------------------------


class _FirstLayer(Recorder):
    """A recorder that notes the first module to run that has parameters of its own, and what it was given."""

    module: nn.Module | None = None
    given: NDArray[np.float32]

    def entered(self, module: Any, given: Any = ()) -> None:
        """Note the module, if none was noted before."""
        if self.module is None and next(module.parameters(recurse=False), None) is not None:
            positional, named = given
            first = next(iter((*positional, *named.values())), ())
            self.module = module
            self.given = np.asarray(first.detach() if isinstance(first, Tensor) else first)


def _units(first: _FirstLayer, inputs: NDArray[np.float32]) -> list[dict[str, Any]] | None:
    """Return what the units of the first layer see; None if there is no picture of it."""
    see = _VIEWS.get(type(first.module))
    if see is None:
        return None
    with no_grad():
        return see(first.module, first.given, inputs)


def _channels(
    layer: nn.Conv2d, given: NDArray[np.float32], inputs: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """Return the output of each channel of a convolution, with its largest value."""
    outputs = layer(Tensor(given)).numpy()[0, :MOST_UNITS]
    return [
        {"unit": unit, "value": float(output.max()), "map": _plain(output)}
        for unit, output in enumerate(outputs)
    ]


def _most_active(
    layer: nn.Linear, given: NDArray[np.float32], inputs: NDArray[np.float32]
) -> list[dict[str, Any]] | None:
    """Return the units of largest output, and what each pixel adds to it: its weight times its value."""
    if given.shape != (1, inputs.size) or not np.array_equal(given[0], inputs.ravel()):
        return None  # it sees something else than the picture
    outputs = layer(Tensor(given)).numpy()[0]
    picture, weight = inputs[0, 0], layer.weight.numpy()
    return [
        {
            "unit": int(unit),
            "value": float(outputs[unit]),
            "map": _plain(weight[unit].reshape(picture.shape) * picture),
        }
        for unit in np.argsort(-outputs, kind="stable")[:MOST_UNITS]
    ]


_VIEWS: Final[dict[Any, Callable[..., list[dict[str, Any]] | None]]] = {
    nn.Conv2d: _channels,
    nn.Linear: _most_active,
}
"""For each kind of layer a function of it, what it was given, and the picture: what its units see."""


def _plain(values: NDArray[np.float32]) -> list[list[float]]:
    """Return numbers as lists, rounded to five digits of the largest, so that they are short as JSON.

    Raises
    ------
    CheckpointError
        If one is not finite.
    """
    largest = float(np.abs(values).max())
    if not np.isfinite(largest):
        raise CheckpointError("the weights of the model are too large to compute with; train it again")
    digits = 4 - int(np.floor(np.log10(largest))) if largest > 0 else 0
    rounded: list[list[float]] = values.astype(np.float64).round(digits).tolist()
    return rounded
