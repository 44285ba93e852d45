"""The network of a checkpoint as a file of ONNX, with what one needs to use it in the file's metadata."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from tinygrad_mnist._version import __version__
from tinygrad_mnist.exchange.onnx.save import Exported, save
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.training import Checkpoint
from tinygrad_mnist.training.checkpoints.version import model_version

__all__ = ["save_checkpoint_network"]


def save_checkpoint_network(
    checkpoint: Checkpoint, path: str | os.PathLike[str], *, standardize: bool = False
) -> Exported:
    """Write the network of a checkpoint, from images to logits and probabilities.

    The metadata of the file hold the name and the version of the model, its classes as JSON, and the
    standardisation: ``mean`` and ``std`` in grey values, the ``crop``, and the size of pictures.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model, and how its pictures are standardised.
    path : path-like
        The file.
    standardize : bool
        Whether the file takes pictures, uint8 of shape (batch, height, width), and standardises them; else
        it takes standardised images, float32 of shape (batch, 1, height, width) without the border.

    Returns
    -------
    Exported
        What was written.

    Raises
    ------
    ExportError
        If the model cannot be written.
    """
    model, standardizer = checkpoint.model, checkpoint.standardizer
    height, width = checkpoint.image_shape
    pictures = np.random.default_rng(0).integers(0, 256, (4, height, width), dtype=np.uint8)

    def network(images: Any) -> dict[str, Any]:
        logits = model(images)
        return {"logits": logits, "probabilities": F.softmax(logits, 1)}

    return save(
        network,
        standardizer(pictures),
        path,
        standardizer=standardizer if standardize else None,
        metadata={
            "name": checkpoint.recipe.model_name,
            "version": model_version(checkpoint),
            "classes": json.dumps(checkpoint.class_names),
            "height": str(height),
            "width": str(width),
            "crop": str(standardizer.crop),
            "mean": repr(standardizer.mean),
            "std": repr(standardizer.std),
            "takes": "grey values" if standardize else "standardised images",
            "tinygrad_mnist": __version__,
        },
        description=f"{checkpoint.recipe.model_name}, trained by tinygrad_mnist",
    )
