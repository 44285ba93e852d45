"""The command lines that repeat a run, from the recipe and where its values came from."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import replace
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


EXTENDED: Final = "extended"
"""The entry of a checkpoint's origin with the `Extension` of each time that a run was made longer."""

AGAIN: Final = "again"
"""The directory in the commands that repeat a run which was made longer."""


class Extension(NamedTuple):
    """A run when it was made longer: its epochs, the steps done, and whether it had ended by itself."""

    epochs: float
    steps: int
    ended: bool


def extensions(origin: Mapping[str, Any]) -> list[Extension]:
    """Return the extensions in the origin of a checkpoint; what is none of one is left out.

    Examples
    --------
    >>> extensions({"extended": [[20, 800, True], "x"]})
    [Extension(epochs=20.0, steps=800, ended=True)]
    """
    entries = origin.get(EXTENDED)
    return [
        Extension(float(entry[0]), entry[1], bool(entry[2]))
        for entry in (entries if isinstance(entries, list | tuple) else ())
        if isinstance(entry, list | tuple)
        and len(entry) == len(Extension._fields)
        and isinstance(entry[0], int | float)
        and 0 < entry[0] < math.inf
        and isinstance(entry[1], int)
    ]


class Reproduction(NamedTuple):
    """A command, the file of the recipe that it reads, if options cannot say it, and those that go on."""

    command: str
    recipe_file: str | None
    further: tuple[str, ...] = ()


def reproduction(recipe: Recipe, origin: Mapping[str, Any]) -> Reproduction:
    """Return the command that repeats a training.

    Parameters
    ----------
    recipe : Recipe
        The recipe that was followed, with its changes.
    origin : mapping
        ``data`` and ``seed``, and if they are known ``threads``, ``jit`` and ``processes`` (how many trained
        together); and its `extensions`.

    Examples
    --------
    >>> recipe = find_recipe("mlp").changed(lr=0.01, hidden=(64,))
    >>> reproduction(recipe, {"data": "mnist", "seed": 3, "threads": 1}).command
    'tinygrad-mnist train --recipe mlp --lr 0.01 --hidden 64 --data mnist --seed 3 --threads 1'
    >>> longer = recipe.changed(epochs=12)
    >>> reproduction(longer, {"data": "mnist", "seed": 3, "extended": [[5, 4690, True]]}).further
    ('tinygrad-mnist train --resume again --epochs 12',)
    """
    lengths = [*(one.epochs for one in extensions(origin)), recipe.epochs]
    recipe = replace(recipe, epochs=lengths[0])
    options = _options(recipe)
    file = None
    if options is None:
        options = {"recipe": FILE}
        file = recipe_text(recipe)
    for name in ("data", "seed", "threads", "jit", "processes"):
        if origin.get(name) is not None:
            options[name] = str(origin[name])
    if lengths[1:]:
        options["out"] = AGAIN
    words = (f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in options.items())
    several = f" --processes {options['processes']}" if "processes" in options else ""
    further = (
        f"tinygrad-mnist train --resume {AGAIN} --epochs {_text('epochs', x)}{several}" for x in lengths[1:]
    )
    return Reproduction(" ".join(["tinygrad-mnist train", *words]), file, tuple(further))


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
