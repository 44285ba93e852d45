"""Recipes: what is trained, and how, as plain data.

A `Recipe` holds numbers and names only. It builds nothing and needs no NumPy; `model` builds its layers and
`loop` follows it. A changed recipe is made by `Recipe.changed`, which the command line uses for its options.

The recipes were chosen by their accuracy on a validation part that was cut from the training part.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from tinygrad_mnist.training.errors import RecipeError

OPTIMIZERS: Final = {"sgd": 0.1, "momentum": 0.1, "rmsprop": 0.001, "adam": 0.003, "adamw": 0.01}
"""The optimisers by name, and the learning rate that each gets in a recipe that was made for another one."""

ACTIVATIONS: Final = ("relu", "leaky-relu", "gelu", "tanh", "sigmoid")
SCHEDULES: Final = ("constant", "cosine", "one-cycle")


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained.

    Parameters
    ----------
    name, description : str
        What the recipe is called, and one line about it.
    hidden : tuple of int
        Units of each hidden layer; empty for none (softmax regression).
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
        The data set that the recipe is for, if no other is asked for: what `tinygrad_mnist.data.load` takes.

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
        hidden: Any = self.hidden
        if not isinstance(hidden, tuple) or not all(_is_int(units) and units > 0 for units in hidden):
            raise RecipeError(
                f"hidden must be whole numbers above 0, as in 256,128, not {_shown(self.hidden)}"
            )
        _check_choice("activation", self.activation, ACTIVATIONS)
        _check_choice("optimizer", self.optimizer, tuple(OPTIMIZERS))
        _check_choice("schedule", self.schedule, SCHEDULES)
        for name in ("dropout", "label_smoothing"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value < 1):
                raise RecipeError(f"{name} must be at least 0 and less than 1, not {value!r}")
        for name in ("lr", "clip_norm", "evaluate_every"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 < value < math.inf) and not (
                value is None and name == "clip_norm"
            ):
                raise RecipeError(f"{name} must be a finite number above 0, not {value!r}")
        if not (_is_number(self.weight_decay) and 0 <= self.weight_decay < math.inf):
            raise RecipeError(
                f"weight_decay must be a finite number of at least 0, not {self.weight_decay!r}"
            )
        if not (_is_number(self.validation) and 0 < self.validation < 1):
            raise RecipeError(f"validation must be above 0 and less than 1, not {self.validation!r}")
        if not (_is_int(self.epochs) and self.epochs > 0):
            raise RecipeError(f"epochs must be a whole number above 0, not {self.epochs!r}")
        least = 2 if self.batch_norm else 1
        if self.batch_size is not None and not (_is_int(self.batch_size) and self.batch_size >= least):
            why = ", as batch norm takes statistics over the batch" if self.batch_norm else ""
            raise RecipeError(
                f"batch_size must be a whole number of at least {least}{why}, not {self.batch_size!r}"
            )

    @property
    def layers(self) -> str:
        """The hidden layers in short: ``256-128``."""
        return "-".join(map(str, self.hidden)) or "none"

    @property
    def full_batch(self) -> bool:
        """Whether each step sees the whole training part."""
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
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise RecipeError(f"a recipe has no {', '.join(unknown)}")
        if changes.get("optimizer", self.optimizer) != self.optimizer:
            _check_choice("optimizer", changes["optimizer"], tuple(OPTIMIZERS))
            changes = {"lr": OPTIMIZERS[changes["optimizer"]], **changes}
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data that JSON can hold."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild what `to_dict` returned.

        Raises
        ------
        RecipeError
            If an entry is missing, unexpected or out of range.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            faults = [
                f"{what} {', '.join(sorted(found))}"
                for what, found in (("lacks", names - set(values)), ("has the unknown", set(values) - names))
                if found
            ]
            raise RecipeError(f"the recipe {' and '.join(faults)}")
        hidden = values["hidden"]
        return cls(**{**values, "hidden": tuple(hidden) if isinstance(hidden, list) else hidden})


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

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


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else repr(value)


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        near = difflib.get_close_matches(str(value).lower(), choices, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise RecipeError(f"{name} must be one of {', '.join(choices)}, not {value!r}{hint}")


RECIPES: Final[dict[str, Recipe]] = {
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
