"""A picture of a data set: some images of each class, and what augmentation makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from tinygrad_mnist import plots
from tinygrad_mnist.data import Augmentation, Augmenter, Dataset
from tinygrad_mnist.training.errors import writing

IMAGES: Final = 2
"""Images of each class that are drawn."""
VERSIONS: Final = 6
"""Augmented versions beside each of them."""
MOST_CLASSES: Final = 100
"""Classes that are drawn: a page of more is too long to look at."""


def draw_data(dataset: Dataset, title: str, augmentation: Augmentation, path: Path, seed: int) -> Path:
    """Draw training images of each class, chosen at random, each beside its augmented versions.

    Parameters
    ----------
    dataset : Dataset
        The images.
    title : str
        The name of the data set on the page.
    augmentation : Augmentation
        The versions are those of epochs 0, 1, 2 ...
    path : Path
        The file to write; its ending names the format.
    seed : int
        Chooses the images and how they are changed; at least 0.

    Returns
    -------
    Path

    Raises
    ------
    RunError
        If the file cannot be written.
    ImportError
        If matplotlib is not installed.
    """
    names = dataset.class_names[:MOST_CLASSES]
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(dataset.train_labels == k) for k in range(len(names))]
    chosen = np.concatenate([rng.permutation(of_class)[:IMAGES] for of_class in members])
    images = dataset.train_images[chosen]
    augment = Augmenter(augmentation, dataset.image_shape, seed)
    versions = np.stack([augment(images, chosen, epoch) for epoch in range(VERSIONS)], axis=1)
    classes = f"{dataset.classes:,} classes"
    if len(names) < dataset.classes:
        classes = f"the first {len(names)} of {classes}"
    with writing(path):
        plots.plot_augmentation(
            images,
            versions,
            dataset.train_labels[chosen],
            path,
            names=names,
            title=f"{classes} of {title}",
            below=f"framed: an image as it is; beside it augmented: {augmentation}",
        )
    return path
