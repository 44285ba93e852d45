"""The command line that repeats a run, from the recipe and where its values came from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tinygrad_mnist.training.errors import RecipeError
from tinygrad_mnist.training.recipe.recipe_file import recipe_text
from tinygrad_mnist.training.recipe.recipes import DEFAULT, RECIPES, Recipe, changes_for, find_recipe

OPTIONS: Final = (
    "epochs",
    "batch_size",
    "lr",
    "hidden",
    "activation",
    "norm",
    "dropout",
    "optimizer",
    "schedule",
    "weight_decay",
    "clip_norm",
    "patience",
    "augmentation",
)
"""The values of a recipe that ``train`` has an option for; a test holds them together with the command."""

FILE: Final = "recipe.toml"


class Reproduction(NamedTuple):
    """A command, and the file of the recipe that it reads, if options cannot say it."""

    command: str
    recipe_file: str | None


def reproduction(recipe: Recipe, origin: Mapping[str, Any]) -> Reproduction:
    """Return the command that repeats a training.

    Parameters
    ----------
    recipe : Recipe
        The recipe that was followed, with its changes.
    origin : mapping
        ``data`` and ``seed``, and if they are known ``threads`` and ``jit``.

    Examples
    --------
    >>> recipe = find_recipe("mlp").changed(lr=0.01, hidden=(64,))
    >>> reproduction(recipe, {"data": "mnist", "seed": 3, "threads": 1}).command
    'tinygrad-mnist train --recipe mlp --lr 0.01 --hidden 64 --data mnist --seed 3 --threads 1'
    """
    options = _options(recipe)
    file = None
    if options is None:
        options = {"recipe": FILE}
        file = recipe_text(recipe)
    for name in ("data", "seed", "threads", "jit"):
        if origin.get(name) is not None:
            options[name] = str(origin[name])
    words = (f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in options.items())
    return Reproduction(" ".join(["tinygrad-mnist train", *words]), file)


def _options(recipe: Recipe) -> dict[str, str] | None:
    """Return the options that give this recipe, or None if options cannot."""
    base = find_recipe(recipe.name) if recipe.name in RECIPES else None
    model_file = recipe.model_file
    if base is None:
        if model_file is None:
            return None
        base = find_recipe(DEFAULT)
    options = {"recipe": base.name}
    changes: dict[str, Any] = {}
    if model_file is not None:
        options["model"] = f"{model_file.path}:{model_file.function}"
        changes |= changes_for(model_file)
    for name in OPTIONS:
        value = getattr(recipe, name)
        if value != getattr(base, name) and name not in changes:
            if value is None and name != "batch_size":
                return None  # there is no word for it on the command line
            changes[name] = value
            options[name] = _text(name, value)
    if recipe.batch_norm != base.batch_norm and model_file is None:
        changes["batch_norm"] = recipe.batch_norm
        options["norm"] = "batch" if recipe.batch_norm else "none"
    try:
        found = base.changed(**changes)
    except RecipeError:
        found = None
    return options if found == recipe or model_file is not None else None


def _text(name: str, value: Any) -> str:
    """Return a value as its option takes it."""
    if value is None:
        return "full"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
