"""The data of a training: which data set goes with a recipe, and the parts that training may see of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import Augmentation, Dataset, Standardizer, background_of, load, stratified_split
from tinygrad_mnist.numbers import printable
from tinygrad_mnist.training.recipe.choices import DATASETS
from tinygrad_mnist.training.recipe.recipes import DEFAULT, INSTEAD_ON_DIGITS, Recipe, find_recipe


@dataclass(frozen=True, eq=False)
class Choice:
    """A recipe, and the data set to train it on.

    Parameters
    ----------
    recipe : Recipe
        The recipe, with all changes.
    dataset : Dataset
        The data.
    source : str
        What is to be asked for to get the same data again: a name in `DATASETS`, or a file or directory.
    """

    recipe: Recipe
    dataset: Dataset
    source: str


def choose(
    recipe: str | Recipe = DEFAULT,
    changes: Mapping[str, Any] | None = None,
    data: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> Choice:
    """Find the recipe and the data set that belong together.

    The recipe ``cnn`` is made for MNIST. On the bundled digits, which are a fortieth as many and smaller,
    ``cnn-digits`` takes its place, and the user is told; so does ``digits`` in the place of ``mlp``. Any
    other recipe is followed on whatever data is asked for.

    Parameters
    ----------
    recipe : str or Recipe
        A name; or a recipe to which ``changes`` have been made already.
    changes : mapping, optional
        Values that replace the recipe's; see `Recipe.changed`.
    data : str, optional
        A name in `DATASETS`, or a file or directory of any format that `tinygrad_mnist.data.load` reads; the
        data that the recipe is for, if not given.
    notify : callable, optional
        Is told, in a sentence each, what is done otherwise than one might expect.

    Returns
    -------
    Choice

    Raises
    ------
    RecipeError
        If there is no such recipe, or a change is out of range; before any data is looked for.
    DataError
        If the data cannot be had.
    """
    changes = changes or {}
    chosen = recipe if isinstance(recipe, Recipe) else find_recipe(recipe).changed(**changes)
    dataset, source = load_data(chosen.data if data is None else data, notify)
    is_as_named = chosen.name in INSTEAD_ON_DIGITS and chosen == find_recipe(chosen.name).changed(**changes)
    if is_as_named and dataset.name == "digits":
        instead = INSTEAD_ON_DIGITS[chosen.name]
        if notify is not None:
            notify(
                f"On the bundled digits the recipe {instead!r} takes the place of {chosen.name!r}, which is "
                "for MNIST."
            )
        chosen = find_recipe(instead).changed(**changes)
    return Choice(chosen, dataset, source)


def load_data(asked: str, notify: Callable[[str], None] | None = None) -> tuple[Dataset, str]:
    """Load a data set by its name in `DATASETS`, or one's own from a file or a directory.

    Returns
    -------
    dataset : Dataset
    source : str
        What is to be asked for to get the same data again.
    """
    if asked in DATASETS:
        dataset = DATASETS[asked].load(notify)
        return dataset, dataset.name if asked == "auto" else asked  # whatever may be at hand next time
    return load(asked, notify=notify), str(Path(os.path.expanduser(asked)).resolve())


def data_title(name: str, source: str) -> str:
    """Return the name of a data set in a sentence, by its source: a directory may be called ``digits`` too.

    A file or directory may be called anything, so its name is made printable.

    Examples
    --------
    >>> data_title("digits", "digits"), data_title("digits", "/home/me/digits")
    ('the bundled digits', 'digits')
    """
    return DATASETS[source].title if source in DATASETS else printable(name)


def notify_of_background(augmentation: Augmentation, background: int, notify: Callable[[str], None]) -> None:
    """Say what augmentation fills in, where it is light."""
    if background and augmentation != Augmentation():
        notify(
            f"The pictures have a light background: augmentation fills in its grey value, {background}, at "
            "the border and where it erases something."
        )


@dataclass(frozen=True, eq=False)
class Parts:
    """Training and validation images (uint8) with labels, and the standardisation fitted on the former.

    The test part is not here: nothing in training can look at it.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[Any]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[Any]
    classes: int
    standardizer: Standardizer

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of the images, before they are cropped."""
        height, width = self.train_images.shape[1:]
        return height, width

    @property
    def background(self) -> int:
        """The grey value that goes on beyond the borders of the images."""
        return background_of(self.train_images[:1000])


def split(dataset: Dataset, validation: float, rng: np.random.Generator, crop: int = 0) -> Parts:
    """Set a stratified share of the training part aside, and fit the standardisation on the rest.

    Parameters
    ----------
    dataset : Dataset
        Its training part is used, and nothing else of it.
    validation : float
        The share to set aside, between 0 and 1.
    rng : numpy.random.Generator
        Chooses the images.
    crop : int
        Pixels that the standardisation cuts off each side.

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
        # mean and deviation of the images that are learned from: those of the others would be a look at them
        standardizer=Standardizer.fit(train_images, crop),
    )
