"""A data set as training sees it: a training part, a validation part cut from it, the standardisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import Dataset, Standardizer, stratified_split


@dataclass(frozen=True, eq=False)
class Parts:
    """Training and validation images (uint8) with labels, and the z-score of the training images.

    The test part is not here: nothing in training can look at it.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[Any]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[Any]
    classes: int
    standardizer: Standardizer

    @property
    def features(self) -> int:
        """Pixels of an image."""
        height, width = self.train_images.shape[1:]
        return int(height * width)


def split(dataset: Dataset, validation: float, rng: np.random.Generator) -> Parts:
    """Set a stratified share of the training part aside, and fit the standardisation on the rest.

    Parameters
    ----------
    dataset : Dataset
        Only its training part is looked at.
    validation : float
        The share to set aside, between 0 and 1.
    rng : numpy.random.Generator
        Chooses the images.

    Returns
    -------
    Parts

    Raises
    ------
    DataError
        If a part would be empty, or all pixels are equal.
    """
    kept, held_out = stratified_split(dataset.train_labels, validation, rng)
    train_images = dataset.train_images[kept]
    return Parts(
        train_images=train_images,
        train_labels=dataset.train_labels[kept],
        validation_images=dataset.train_images[held_out],
        validation_labels=dataset.train_labels[held_out],
        classes=dataset.classes,
        standardizer=Standardizer.fit(train_images),
    )
