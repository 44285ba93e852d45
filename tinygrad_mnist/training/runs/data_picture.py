"""A picture of a data set: some images of each class, and what augmentation makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from tinygrad_mnist import plots
from tinygrad_mnist.data import Augmentation, Augmenter, Dataset, background_of
from tinygrad_mnist.data.scaling import page_of
from tinygrad_mnist.training.errors import writing

IMAGES: Final = 2
"""Images of each class that are drawn."""
VERSIONS: Final = 6
"""Augmented versions beside each of them."""
IMAGES_ALONE: Final = 10
"""Images of each class that are drawn where nothing is augmented."""
MOST_CLASSES: Final = 100
"""Classes that are drawn: a page of more is too long to look at."""


def draw_data(dataset: Dataset, title: str, augmentation: Augmentation, path: Path, seed: int) -> Path:
    """Draw training images of each class, chosen at random, each beside its augmented versions.

    Without augmentation there are no versions, and more images in their place.

    Parameters
    ----------
    dataset : Dataset
        The images. Classes that have none are left out.
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
    present = np.unique(dataset.train_labels)
    shown = present[:MOST_CLASSES]
    is_augmented = augmentation != Augmentation()
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(dataset.train_labels == k) for k in shown]
    count = IMAGES if is_augmented else IMAGES_ALONE
    chosen = np.concatenate([rng.permutation(of_class)[:count] for of_class in members])
    images = dataset.train_images[chosen]
    augment = Augmenter(augmentation, dataset.image_shape, seed, background_of(dataset.train_images[:1000]))
    epochs = range(VERSIONS if is_augmented else 0)
    versions = np.empty((len(images), len(epochs), *dataset.image_shape), np.float32)
    for epoch in epochs:
        versions[:, epoch] = augment(images, chosen, epoch)
    classes = f"{dataset.classes:,} classes"
    if len(shown) < len(present):
        classes = f"the first {len(shown)} of {classes}"
    elif len(shown) < dataset.classes:
        classes = f"{len(shown)} of {classes}"
    with writing(path):
        figure = plots.plot_augmentation(
            images,
            versions,
            dataset.train_labels[chosen],
            names=dataset.class_names,
            title=f"{classes} of {title}",
            below=f"framed: an image as it is; beside it augmented: {augmentation}"
            if is_augmented
            else "images as they are, without augmentation",
            as_ink=is_drawn_as_ink(dataset),
        )
        plots.save(figure, path)
    return path


def is_drawn_as_ink(dataset: Dataset) -> bool:
    """Return whether the pictures are light on dark, and drawn as ink on paper; others are drawn as they are.

    Of drawn signs some may reach the border, so that it does not tell the page.
    """
    page = page_of(dataset.train_images[:1000])
    return page == "dark" or (page is None and dataset.is_centred)
