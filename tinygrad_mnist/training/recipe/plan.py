"""The plan of a training that follows a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_mnist.training.recipe.recipes import Recipe


@dataclass(frozen=True)
class Plan:
    """The training that is about to begin.

    Parameters
    ----------
    recipe : Recipe
        The model and how it is trained.
    parameters : int
        Numbers that are learned.
    train_images : int
        Images to train on.
    validation_images : int
        Images to validate on.
    image_shape : tuple of int
        Height and width of the images that the model takes.
    classes : int
        Width of the output.
    steps_per_epoch : int
        Steps in an epoch.
    steps : int
        Steps in all.
    """

    recipe: Recipe
    parameters: int
    train_images: int
    validation_images: int
    image_shape: tuple[int, int]
    classes: int
    steps_per_epoch: int
    steps: int
