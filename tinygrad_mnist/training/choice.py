"""Which recipe is trained on which data, from what the user asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_mnist.data import Dataset, load
from tinygrad_mnist.training.recipes import Recipe, find_recipe


@dataclass(frozen=True, eq=False)
class Choice:
    """What is to be trained.

    Parameters
    ----------
    recipe : Recipe
        The recipe, with all changes.
    dataset : Dataset
        The data.
    source : str
        What to load to get the same data again: a name, or the path of a directory.
    """

    recipe: Recipe
    dataset: Dataset
    source: str


def choose(
    recipe: str | None = None,
    changes: Mapping[str, Any] | None = None,
    data: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> Choice:
    """Find the recipe and the data set that belong together.

    The recipe ``default`` is made for MNIST. On the bundled digits, which are a fortieth as many, ``digits``
    takes its place, and that is said. Any other recipe is followed on whatever data is asked for.

    Parameters
    ----------
    recipe : str, optional
        A name; ``default`` if not given.
    changes : mapping, optional
        Values that replace the recipe's; see `Recipe.changed`.
    data : str, optional
        What `tinygrad_mnist.data.load` takes; what the recipe is for if not given.
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
    found = find_recipe("default" if recipe is None else recipe)
    changed = found.changed(**(changes or {}))
    asked = found.data if data is None else data
    dataset = load(asked, notify=notify)
    source = dataset.name if asked in ("auto", "mnist", "digits") else _absolute(asked)
    if found.name == "default" and dataset.name == "digits":
        changed = find_recipe("digits").changed(**(changes or {}))
        if notify is not None:
            notify(
                "On the bundled digits the recipe 'digits' takes the place of 'default', which is for MNIST."
            )
    return Choice(changed, dataset, source)


def _absolute(directory: str) -> str:
    return str(Path(os.path.expanduser(directory)).resolve())
