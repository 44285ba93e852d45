"""The batches of a training: which images each pass goes through, in which order, and how they are changed.

All that is random here comes of the generators of the run, and each kind from one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import (
    Augmentation,
    Augmenter,
    find_augmentation,
    hard_images,
    one_hot,
    ridge_margins,
)
from tinygrad_mnist.training.recipes import Recipe
from tinygrad_mnist.training.training_data import Parts

Batch = tuple[NDArray[Any], NDArray[Any]]


def draw_batches(
    recipe: Recipe, parts: Parts, batch_size: int, steps: int, rngs: Mapping[str, np.random.Generator]
) -> Iterator[Batch]:
    """Yield the standardised images and the labels of each step.

    Parameters
    ----------
    recipe : Recipe
        Its augmentation, hard images and one-hot labels are used.
    parts : Parts
        Their training part is used.
    batch_size : int
        Images a step; of a pass, those that do not fill a batch are left out.
    steps : int
        The number of batches.
    rngs : mapping
        Generators for ``"order"``, ``"augmentation"`` and ``"hard"``.

    Yields
    ------
    images, labels : ndarray
        float32, shape (batch_size, 1, height, width); the labels, or rows of them.
    """
    images, labels = parts.train_images, parts.train_labels
    if recipe.one_hot:
        labels = one_hot(labels, parts.classes)
    augment = _augmenter(recipe, parts, rngs["augmentation"])
    if batch_size == len(images) and augment is None:  # one batch, always the same: made once
        rows = parts.standardizer(images)
        for _ in range(steps):
            yield rows, labels
        return
    for number, order in enumerate(_passes(recipe, parts, batch_size, steps, rngs)):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            drawn: NDArray[Any] = images.take(chosen, axis=0)  # faster than images[chosen]
            if augment is not None:
                drawn = augment(drawn, chosen, number)
            yield parts.standardizer(drawn), labels.take(chosen, axis=0)


def _passes(
    recipe: Recipe, parts: Parts, batch_size: int, steps: int, rngs: Mapping[str, np.random.Generator]
) -> Iterator[NDArray[np.intp]]:
    """Yield the numbers of the images of each pass in their order, whole batches of them.

    A pass that is not whole takes the hard images, where the recipe says so.
    """
    samples = len(parts.train_images)
    whole, left = divmod(steps, samples // batch_size)
    for _ in range(whole):
        yield rngs["order"].permutation(samples)[: samples - samples % batch_size]
    if not left:
        return
    if recipe.hard is None:
        yield rngs["order"].permutation(samples)[: left * batch_size]
        return
    margins = ridge_margins(parts.train_images, parts.train_labels)
    yield hard_images(margins, left * batch_size / samples, *recipe.hard, rngs["hard"])


def _augmenter(
    recipe: Recipe, parts: Parts, rng: np.random.Generator
) -> Callable[[NDArray[Any], NDArray[Any], int], NDArray[np.float32]] | None:
    """Return the function that changes a batch by the recipe's augmentation; None for no augmentation."""
    ranges = find_augmentation(recipe.augmentation)
    if ranges == Augmentation():
        return None
    return Augmenter(ranges, parts.image_shape, int(rng.integers(1 << 32)), parts.background)
