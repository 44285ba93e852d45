"""Recipes: what is trained, and how, as plain data.

A `Recipe` holds numbers and names only. It builds nothing and needs no NumPy: `choices` makes what its names
stand for, and `loop` follows it. A changed recipe is made by `Recipe.changed`, which the command line uses
for its options. `RECIPES`, at the end, has them by name; one more is one more row.

The recipes were chosen by their accuracy on a validation part that was cut from the training part.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from tinygrad_mnist.training.choices import ACTIVATIONS, MODELS, OPTIMIZERS, SCHEDULES
from tinygrad_mnist.training.errors import RecipeError


@dataclass(frozen=True)
class Recipe:
    """A model, and the way in which it is trained.

    Parameters
    ----------
    name : str
        The name by which it is found.
    description : str
        One line about it.
    hidden : tuple of int
        Units of each hidden layer; empty for none (softmax regression).
    model : str
        One of `MODELS`, which are in `choices` as the activations, optimisers and schedules are.
    activation : str
        One of `ACTIVATIONS`, after each hidden layer.
    batch_norm : bool
        Whether a batch norm stands between each hidden layer and its activation.
    dropout : float
        Probability with which a hidden unit is dropped in training, at least 0 and less than 1.
    one_hot : bool
        Whether labels go into the loss as rows of zeros with a one; the loss is the same.
    label_smoothing : float
        Share of the targets that is spread over all classes, at least 0 and less than 1.
    optimizer : str
        One of `OPTIMIZERS`. ``weight_decay`` is an L2 penalty, but decoupled for ``adamw``.
    lr : float
        Learning rate, above 0; the greatest where there is a schedule.
    schedule : str
        One of `SCHEDULES`: the learning rate stays, falls to 0 along half a cosine, or rises and falls once.
    weight_decay : float
        At least 0.
    clip_norm : float or None
        Greatest norm of all gradients together, above 0; None leaves them as they are.
    batch_size : int or None
        Images a step; None for all of them in each step, so that an epoch is one iteration.
    epochs : int
        How often training goes through the training part.
    evaluate_every : float
        Epochs between two evaluations, about: they are evenly spaced, and the last step is followed by one.
    validation : float
        Share of the training part that is set aside for validation, above 0 and less than 1.
    data : str
        The data set that the recipe is for, if no other is asked for: a name in `DATASETS`, or a directory.

    Raises
    ------
    RecipeError
        If a value is of a wrong type or out of range.

    Examples
    --------
    >>> recipe = RECIPES["default"].changed(epochs=1, hidden=(64,))
    >>> recipe.epochs, recipe.layers
    (1, '64')
    >>> recipe.changed(lr=-1.0)
    Traceback (most recent call last):
    tinygrad_mnist.training.errors.RecipeError: lr must be a finite number above 0, not -1.0
    """

    name: str
    description: str
    hidden: tuple[int, ...]
    model: str = "mlp"
    activation: str = "relu"
    batch_norm: bool = False
    dropout: float = 0.0
    one_hot: bool = False
    label_smoothing: float = 0.0
    optimizer: str = "adam"
    lr: float = 0.001
    schedule: str = "constant"
    weight_decay: float = 0.0
    clip_norm: float | None = None
    batch_size: int | None = 128
    epochs: int = 10
    evaluate_every: float = 1.0
    validation: float = 0.1
    data: str = "auto"

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            if expected := check(getattr(self, name)):
                raise RecipeError(f"{name} must be {expected}", name)
        if self.batch_norm and self.batch_size == 1:
            raise RecipeError(
                "batch_size must be at least 2, as batch norm takes statistics over the batch, not 1",
                "batch_size",
            )

    @property
    def layers(self) -> str:
        """The hidden layers in short, as ``256-128``."""
        return "-".join(map(str, self.hidden)) or "none"

    @property
    def full_batch(self) -> bool:
        """True if each step sees the whole training part."""
        return self.batch_size is None

    def changed(self, **changes: Any) -> Recipe:
        """Replace some values, and return the new recipe.

        Another optimiser without a learning rate gets the rate that suits it (`OPTIMIZERS`), as rates do not
        carry over from one to another.

        Parameters
        ----------
        **changes
            New values by the names of the parameters.

        Returns
        -------
        Recipe

        Raises
        ------
        RecipeError
            If a name is unknown, or a value out of range.
        """
        unknown = sorted(changes.keys() - _CHECKS.keys())
        if unknown:
            raise RecipeError(f"a recipe has no {', '.join(unknown)}")
        optimizer = changes.get("optimizer", self.optimizer)
        if optimizer != self.optimizer and _CHECKS["optimizer"](optimizer) is None:
            changes = {"lr": OPTIMIZERS[optimizer].lr, **changes}
        return replace(self, **changes)

    def changes(self) -> dict[str, Any]:
        """Return the values that differ from the recipe of this name, or all where there is none."""
        values = self.to_dict()
        del values["description"]
        original = RECIPES[self.name].to_dict() if self.name in RECIPES else {}
        return {name: value for name, value in values.items() if value != original.get(name)}

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data that JSON can hold."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild what `to_dict` returned.

        Raises
        ------
        RecipeError
            If an entry is missing, unexpected or out of range.
        """
        values, names = {**_ADDED, **values}, _CHECKS.keys()
        faults = [
            f"{what} {', '.join(sorted(found))}"
            for what, found in (("lacks", names - values.keys()), ("has the unknown", values.keys() - names))
            if found
        ]
        if faults:
            raise RecipeError(f"the recipe {' and '.join(faults)}")
        hidden = values["hidden"]
        return cls(**{**values, "hidden": tuple(hidden) if isinstance(hidden, list) else hidden})


# ---- the checks of its values -----------------------------------------------------------------------------

Check = Callable[[Any], "str | None"]
"""A function of a value of a recipe: returns None if it is in range, and else what is expected instead."""


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check(expected: str, holds: Callable[[Any], bool]) -> Check:
    """Return a check that a value passes if ``holds`` is true of it."""
    return lambda value: None if holds(value) else f"{expected}, not {_shown(value)}"


def _number(expected: str, in_range: Callable[[float], bool]) -> Check:
    """Return a check for a number in a range; NaN is in none."""
    return _check(expected, lambda x: (isinstance(x, float) or _is_int(x)) and in_range(x))


def _optional(check: Check) -> Check:
    """Return a check that None passes, too."""
    return lambda value: None if value is None else check(value)


def _one_of(table: Mapping[str, Any]) -> Check:
    """Return a check for the names in a table, as it is when the check is made: rows may be added."""

    def check(value: Any) -> str | None:
        if isinstance(value, str) and value in table:
            return None
        near = difflib.get_close_matches(str(value).lower(), table, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"one of {', '.join(table)}, not {value!r}{hint}"

    return check


def _shown(value: Any) -> str:
    """Return a value as the command line takes it, where it takes lists."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else repr(value)


_TEXT = _check("a text", lambda value: isinstance(value, str))
_FLAG = _check("True or False", lambda value: isinstance(value, bool))
_SHARE = _number("at least 0 and less than 1", lambda x: 0 <= x < 1)
_ABOVE_0 = _number("a finite number above 0", lambda x: 0 < x < math.inf)

_CHECKS: Final[dict[str, Check]] = {
    "name": _TEXT,
    "description": _TEXT,
    "hidden": _check(
        "whole numbers above 0, as in 256,128",
        lambda hidden: isinstance(hidden, tuple) and all(_is_int(units) and units > 0 for units in hidden),
    ),
    "model": _one_of(MODELS),
    "activation": _one_of(ACTIVATIONS),
    "batch_norm": _FLAG,
    "dropout": _SHARE,
    "one_hot": _FLAG,
    "label_smoothing": _SHARE,
    "optimizer": _one_of(OPTIMIZERS),
    "lr": _ABOVE_0,
    "schedule": _one_of(SCHEDULES),
    "weight_decay": _number("a finite number of at least 0", lambda x: 0 <= x < math.inf),
    "clip_norm": _optional(_ABOVE_0),
    "batch_size": _optional(_check("a whole number above 0", lambda n: _is_int(n) and n > 0)),
    "epochs": _check("a whole number above 0", lambda n: _is_int(n) and n > 0),
    "evaluate_every": _ABOVE_0,
    "validation": _number("above 0 and less than 1", lambda x: 0 < x < 1),
    "data": _TEXT,
}
"""The check of each field of a `Recipe`."""

_ADDED: Final[dict[str, Any]] = {"model": "mlp"}
"""Fields that recipes in files of earlier versions lack, and the value that those versions trained by.

This need not be the default of today: an old file means what it meant when it was written.
"""


# ---- the recipes -----------------------------------------------------------------------------------------


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name.

    Raises
    ------
    RecipeError
        If there is none; the nearest names are suggested.

    Examples
    --------
    >>> find_recipe("digit")
    Traceback (most recent call last):
    tinygrad_mnist.training.errors.RecipeError: there is no recipe 'digit'; did you mean digits? ...
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name.lower(), RECIPES, n=2, cutoff=0.5)
    names = ", ".join(RECIPES)
    hint = f"did you mean {' or '.join(near)}? (all: {names})" if near else f"choose one of {names}"
    raise RecipeError(f"there is no recipe {name!r}; {hint}")


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="default",
            description="batch norm, one cycle of the rate",
            hidden=(256, 128),
            batch_norm=True,
            optimizer="adamw",
            lr=0.015,
            schedule="one-cycle",
            weight_decay=0.01,
            label_smoothing=0.05,
            batch_size=128,
            epochs=3,
            evaluate_every=0.5,
            validation=0.05,
        ),
        Recipe(
            name="batchnorm-deep",
            description="batch norm, L2, one-hot labels",
            hidden=(64, 32, 16),
            batch_norm=True,
            one_hot=True,
            optimizer="adam",
            lr=0.005,
            schedule="one-cycle",
            weight_decay=1e-4,
            batch_size=128,
            epochs=10,
            validation=0.05,
        ),
        Recipe(
            name="batchnorm-deep-fullbatch",
            description="the same, all images in each step",
            hidden=(64, 32, 16),
            batch_norm=True,
            one_hot=True,
            optimizer="adam",
            lr=0.01,
            weight_decay=1e-4,
            batch_size=None,
            epochs=1000,
            evaluate_every=50,
            validation=0.05,
        ),
        Recipe(
            name="three-layer",
            description="no batch norm; gradients clipped",
            hidden=(256, 128),
            optimizer="adam",
            lr=0.003,
            schedule="one-cycle",
            clip_norm=1.0,
            batch_size=128,
            epochs=8,
            validation=0.05,
        ),
        Recipe(
            name="digits",
            description="the bundled 8 x 8 digits",
            hidden=(256,),
            batch_norm=True,
            dropout=0.2,
            label_smoothing=0.1,
            optimizer="adamw",
            lr=0.01,
            schedule="one-cycle",
            weight_decay=0.01,
            batch_size=32,
            epochs=40,
            evaluate_every=5,
            validation=0.1,
            data="digits",
        ),
    )
}
"""The recipes by name."""
