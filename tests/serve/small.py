"""A small model that was not trained, and pictures for it: what it answers does not matter."""

import io
from typing import Any

import numpy as np
from PIL import Image

from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.training import Checkpoint, Recipe
from tinygrad_mnist.training.recipe.models import build_model


def small_checkpoint() -> Checkpoint:
    """Return a checkpoint that can be saved and loaded."""
    recipe = Recipe("small", "a single layer")
    model = build_model(recipe, (28, 28), 10, rng=np.random.default_rng(0))
    names = tuple("0123456789")
    origin = {"data": "mnist", "seed": 0}
    return Checkpoint(model, recipe, (28, 28), names, Standardizer(0.0, 255.0), origin)


def small_recogniser() -> Recogniser:
    """Return what answers by the small model."""
    return Recogniser(small_checkpoint())


def drawing(height: int = 60, width: int = 80) -> Any:
    """Return an upright stroke on paper."""
    paper = np.full((height, width), 255, np.uint8)
    paper[height // 6 : -height // 6, width // 2 : width // 2 + width // 10] = 0
    return paper


def encoded(picture: Any, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


PNG = encoded(drawing())
