"""What a model makes of images, in batches and in evaluation mode: probabilities, loss, accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import batches
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import Module
from tinygrad_mnist.nn import functional as F

Standardize = Callable[[NDArray[Any]], NDArray[Any]]

BATCH = 1024
"""Images at a time: enough for BLAS, and little memory."""


@dataclass(frozen=True)
class Evaluation:
    """How a model did on some images.

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
    model: Module,
    images: NDArray[Any],
    labels: NDArray[Any],
    standardize: Standardize,
    *,
    label_smoothing: float = 0.0,
    batch_size: int = BATCH,
) -> Evaluation:
    """Judge a model on images and their labels.

    Parameters
    ----------
    model : Module
        From rows of pixels to logits; it is in the mode that it was in when this returns.
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

    Returns
    -------
    Evaluation
    """
    probabilities = predict(model, images, standardize, batch_size)
    right = np.count_nonzero(probabilities.argmax(axis=1) == labels)
    # a probability may be 0 in float32: then it is taken as the smallest that float32 can say
    surprise = -np.log(np.maximum(probabilities, np.finfo(np.float32).tiny), dtype=np.float64)
    loss = surprise[np.arange(len(labels)), labels].mean()
    if label_smoothing:
        loss = (1 - label_smoothing) * loss + label_smoothing * surprise.mean()
    return Evaluation(float(loss), float(right / len(labels)), probabilities)


def predict(
    model: Module, images: NDArray[Any], standardize: Standardize, batch_size: int = BATCH
) -> NDArray[np.float32]:
    """The probabilities that a model gives each class, float32 of shape (n, classes); see `evaluate`."""
    parts = []
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            for drawn, _ in batches(images, np.empty(len(images)), batch_size, standardize=standardize):
                parts.append(F.softmax(model(Tensor(drawn)), dim=1).numpy())
    finally:
        model.train(was_training)
    return np.concatenate(parts)
