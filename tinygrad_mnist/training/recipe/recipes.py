"""Recipes: what is trained, and how, as plain data.

A `Recipe` holds numbers and names only. It builds nothing and needs no NumPy: `choices` and `models` make
what its names stand for, and `loop` follows it. A changed recipe is made by `Recipe.changed`, which the
command line uses for its options. `RECIPES`, at the end, has them by name; one more is one more row.

The recipes were chosen by their accuracy on a validation part that was cut from the training part.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Final

from tinygrad_mnist.data.augmentation import find_augmentation
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.training.errors import RecipeError
from tinygrad_mnist.training.recipe.choices import ACTIVATIONS, NORMS, OPTIMIZERS, SCHEDULES
from tinygrad_mnist.training.recipe.layers import MOST_LAYERS, LayerError, parsed
from tinygrad_mnist.training.recipe.model_file import ModelFile
from tinygrad_mnist.training.recipe.models import MODELS


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
        Units of each hidden layer of the model ``mlp``; empty for none (softmax regression).
    model : str
        One of `MODELS`: ``mlp``, linear layers of `hidden` units; ``layers``, what `layers` says; or
        ``file``, what the function in `model_file` builds.
    layers : tuple of str
        The layers of the model ``layers`` in their order, as texts: ``("conv 16 5x5 stride 2", "norm",
        "activation", "flatten")``; see `tinygrad_mnist.training.recipe.layers`. The linear layer to the
        classes follows by itself.
    activation : str
        One of `ACTIVATIONS`, after each hidden layer of the model ``mlp``; what ``activation`` among the
        `layers` stands for.
    batch_norm : bool
        Whether a batch norm stands between each hidden layer of the model ``mlp`` and its activation.
    norm : str
        One of `NORMS`: what ``norm`` among the `layers` stands for.
    dropout : float
        Probability with which a hidden unit is dropped in training, at least 0 and less than 1; among the
        `layers`, that of a ``dropout`` that says none.
    crop : int
        Pixels that are cut from each side of an image, at least 0.
    augmentation : str
        How training images are changed each time they are drawn: one of `tinygrad_mnist.data.AUGMENTATIONS`,
        or ranges as in "rotation 10 shift 1", or a name and the ranges that replace its own.
    hard : tuple of float, or None
        ``(k, share)``: a pass that does not go through the whole training part takes the images that a linear
        classifier finds hard. They are drawn with weights ``exp(-k r)``, where r is the rank of the margin (0
        the hardest, 1 the easiest), but the first ``share`` of them at random. None takes all at random.
    one_hot : bool
        Whether labels go into the loss as rows of zeros with a one; the loss is the same.
    label_smoothing : float
        Share of the targets that is spread over all classes, at least 0 and less than 1.
    optimizer : str
        One of `OPTIMIZERS`. ``weight_decay`` is an L2 penalty, but decoupled for ``adamw``.
    lr : float
        Learning rate, above 0; the greatest where there is a schedule.
    betas : tuple of float, or None
        The two decay rates of an optimiser that has them; None for its own.
    schedule : str
        One of `SCHEDULES`: the learning rate stays, falls to 0 along half a cosine, rises and falls once far
        below where it began, or rises from a tenth and falls to a hundredth.
    warmup : float
        Share of the steps in which the rate rises, if it does by the schedule; at least 0 and less than 1.
    weight_decay : float
        At least 0.
    decay_biases : bool
        Whether biases, and what scales and shifts after a norm, decay too, as matrices and filters do.
    ema : float
        Decay rate of the moving average of the weights, at least 0 and less than 1. The average is what is
        evaluated and kept; 0 for none.
    clip_norm : float or None
        Greatest norm of all gradients together, above 0; None leaves them as they are.
    batch_size : int or None
        Images a step; None for all of them in each step, so that an epoch is one iteration.
    epochs : float
        How often training goes through the training part; not necessarily a whole number.
    evaluate_every : float
        Epochs between two evaluations, about: they are evenly spaced, and the last step is followed by one.
    validation : float
        Share of the training part that is set aside for validation, above 0 and less than 1.
    data : str
        The data set that the recipe is for, if no other is asked for: a name in `DATASETS`, or a directory.
    model_file : ModelFile or None
        The function of the model ``file``; None for the other models. See `changes_for`.
    patience : int or None
        Evaluations without a better one after which training stops, at least 1; None to go on to the end.
    accumulate : int
        Batches whose mean gradient makes one step, at least 1: a step of ``accumulate * batch_size`` images
        in the memory of one batch.

    Raises
    ------
    RecipeError
        If a value is of a wrong type or out of range.

    Examples
    --------
    >>> recipe = RECIPES["mlp"].changed(epochs=1, hidden=(64,))
    >>> recipe.epochs, recipe.architecture
    (1, '64')
    >>> recipe.changed(lr=-1.0)
    Traceback (most recent call last):
    tinygrad_mnist.training.errors.RecipeError: lr must be a finite number above 0, not -1.0
    """

    name: str
    description: str
    hidden: tuple[int, ...] = ()
    model: str = "mlp"
    layers: tuple[str, ...] = ()
    activation: str = "relu"
    batch_norm: bool = False
    norm: str = "batch"
    dropout: float = 0.0
    crop: int = 0
    augmentation: str = "none"
    hard: tuple[float, float] | None = None
    one_hot: bool = False
    label_smoothing: float = 0.0
    optimizer: str = "adam"
    lr: float = 0.001
    betas: tuple[float, float] | None = None
    schedule: str = "constant"
    warmup: float = 0.3
    weight_decay: float = 0.0
    decay_biases: bool = True
    ema: float = 0.0
    clip_norm: float | None = None
    batch_size: int | None = 128
    epochs: float = 10
    evaluate_every: float = 1.0
    validation: float = 0.1
    data: str = "auto"
    model_file: ModelFile | None = None
    patience: int | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            if expected := check(getattr(self, name)):
                raise RecipeError(f"{name} must be {expected}", name)
        for field, expected, is_wrong in _CONTRADICTIONS:
            if is_wrong(self):
                raise RecipeError(f"{field} must be {expected.format(self)}", field)

    @property
    def architecture(self) -> str:
        """The layers before the classes in short, as ``256-128`` or ``c5-24 s2, pool 2, 128``."""
        if self.model == "layers":
            return ", ".join(short for text in self.layers if (short := parsed(text).short)) or "none"
        if self.model_file is not None:
            return str(self.model_file)
        return "-".join(map(str, self.hidden)) or "none"

    @property
    def model_name(self) -> str:
        """The name of a model that was trained so, where it is used.

        A recipe's model has the recipe's name. A model of one's own has not, as ``cnn`` would say what it is
        not: it is called by its file and function, without the directories, which are nobody else's business.
        """
        return self.name if self.model_file is None else self.model_file.short

    @property
    def full_batch(self) -> bool:
        """True if each step sees the whole training part."""
        return self.batch_size is None

    def changed(self, **changes: Any) -> Recipe:
        """Replace some values, and return the new recipe.

        Another optimiser without a learning rate gets the rate that suits it (`OPTIMIZERS`), and betas of its
        own, as they do not carry over from one to another.

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
            changes = {"lr": OPTIMIZERS[optimizer].lr, "betas": None, **changes}
        return replace(self, **changes)

    def changes(self) -> dict[str, Any]:
        """Return the values that differ from the recipe of this name, or all where there is none."""
        values = self.to_dict()
        del values["description"]
        name = ALIASES.get(self.name, self.name)
        original = RECIPES[name].to_dict() | {"name": self.name} if name in RECIPES else {}
        return {name: value for name, value in values.items() if value != original.get(name)}

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data that JSON can hold."""
        values = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild what `to_dict` returned.

        Raises
        ------
        RecipeError
            If an entry without a default is missing, or one is unexpected or out of range.
        """
        defaults = {field.name: field.default for field in fields(cls) if field.default is not MISSING}
        values, names = {**defaults, **_ADDED, **values}, _CHECKS.keys()
        faults = [
            f"{what} {', '.join(sorted(found))}"
            for what, found in (("lacks", names - values.keys()), ("has the unknown", values.keys() - names))
            if found
        ]
        if faults:
            raise RecipeError(f"the recipe {' and '.join(faults)}")
        found: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        if isinstance(found["model_file"], Mapping):
            found["model_file"] = ModelFile.from_dict(found["model_file"])
        return cls(**found)


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


def _augmentation(value: Any) -> str | None:
    """Check the text of an augmentation."""
    if not isinstance(value, str):
        return f"a text, as 'affine' or 'rotation 10 shift 1', not {value!r}"
    try:
        find_augmentation(value)
    except DataError as error:
        return f"a name, ranges or both, but {error}"
    return None


def _shown(value: Any) -> str:
    """Return a value as the command line takes it, where it takes lists."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else repr(value)


def _numbers(value: Any, count: int) -> bool:
    """Return whether a value is a tuple of that many finite numbers."""
    return (
        isinstance(value, tuple)
        and len(value) == count
        and all((isinstance(x, float) or _is_int(x)) and math.isfinite(x) for x in value)
    )


def _layers(value: Any) -> str | None:
    """Check the texts of layers: the place of the first that is none, and why."""
    if not (isinstance(value, tuple) and all(isinstance(text, str) for text in value)):
        return f"texts such as 'conv 16 5x5', not {_shown(value)}"
    if len(value) > MOST_LAYERS:
        return f"at most {MOST_LAYERS:,} texts, not {len(value):,}"
    for number, text in enumerate(value, start=1):
        try:
            parsed(text)
        except LayerError as error:
            return f"texts such as 'conv 16 5x5', but number {number}, {text!r}, is none: {error}"
    return None


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
    "layers": _layers,
    "activation": _one_of(ACTIVATIONS),
    "batch_norm": _FLAG,
    "norm": _one_of(NORMS),
    "dropout": _SHARE,
    "crop": _check("a whole number of at least 0", lambda n: _is_int(n) and n >= 0),
    "augmentation": _augmentation,
    "hard": _optional(
        _check(
            "two numbers, at least 0, and 0 to 1, as in 3,0.1",
            lambda pair: _numbers(pair, 2) and pair[0] >= 0 and 0 <= pair[1] <= 1,
        )
    ),
    "one_hot": _FLAG,
    "label_smoothing": _SHARE,
    "optimizer": _one_of(OPTIMIZERS),
    "lr": _ABOVE_0,
    "betas": _optional(
        _check(
            "two numbers of at least 0 and less than 1, as in 0.9,0.99",
            lambda pair: _numbers(pair, 2) and all(0 <= beta < 1 for beta in pair),
        )
    ),
    "schedule": _one_of(SCHEDULES),
    "warmup": _SHARE,
    "weight_decay": _number("a finite number of at least 0", lambda x: 0 <= x < math.inf),
    "decay_biases": _FLAG,
    "ema": _SHARE,
    "clip_norm": _optional(_ABOVE_0),
    "batch_size": _optional(_check("a whole number above 0", lambda n: _is_int(n) and n > 0)),
    # schedules count steps in int64
    "epochs": lambda value: _ABOVE_0(value) or _number("at most 1e12", lambda x: x <= 1e12)(value),
    "evaluate_every": _ABOVE_0,
    "validation": _number("above 0 and less than 1", lambda x: 0 < x < 1),
    "data": _TEXT,
    "model_file": _optional(
        _check("named by --model FILE.py:FUNCTION", lambda value: isinstance(value, ModelFile))
    ),
    "patience": _optional(_check("a whole number above 0", lambda n: _is_int(n) and n > 0)),
    "accumulate": _check("a whole number above 0", lambda n: _is_int(n) and n > 0),
}
"""The check of each field of a `Recipe`."""


def _has_batch_norm(recipe: Recipe) -> bool:
    return recipe.batch_norm or (recipe.norm == "batch" and "norm" in recipe.layers)


_CONTRADICTIONS: Final[tuple[tuple[str, str, Callable[[Recipe], Any]], ...]] = (
    (
        "hidden",
        "empty where the model is 'layers', whose 'layers' say all; take the model 'mlp'",
        lambda recipe: recipe.model == "layers" and recipe.hidden,
    ),
    (
        "batch_norm",
        "False where the model is 'layers', whose 'norm' says which it is",
        lambda recipe: recipe.model == "layers" and recipe.batch_norm,
    ),
    (
        "layers",
        "empty where the model is 'mlp', which has 'hidden'; take the model 'layers'",
        lambda recipe: recipe.model == "mlp" and recipe.layers,
    ),
    (
        "norm",
        "batch where the model is 'mlp', whose 'batch_norm' says whether there is one",
        lambda recipe: recipe.model == "mlp" and recipe.norm != "batch",
    ),
    (
        "model",
        "'file' where a file builds it, and there alone; name it by --model FILE.py:FUNCTION",
        lambda recipe: (recipe.model == "file") != (recipe.model_file is not None),
    ),
    (
        "layers",
        "empty where a file builds the model, layers and all",
        lambda recipe: recipe.model == "file" and recipe.layers,
    ),
    (
        "hidden",
        "empty where a file builds the model, layers and all",
        lambda recipe: recipe.model == "file" and recipe.hidden,
    ),
    (
        "dropout",
        "0 where no layer is 'dropout', as there is nothing to drop",
        lambda recipe: recipe.model == "layers" and recipe.dropout and "dropout" not in recipe.layers,
    ),
    (
        "betas",
        "None where the optimiser is {0.optimizer}, which has none",
        lambda recipe: recipe.betas is not None and not OPTIMIZERS[recipe.optimizer].has_betas,
    ),
    (
        "accumulate",
        "1 where each step sees all images, in one batch",
        lambda recipe: recipe.accumulate > 1 and recipe.batch_size is None,
    ),
    (
        "batch_size",
        "at least 2, as batch norm takes statistics over the batch, not 1",
        lambda recipe: recipe.batch_size == 1 and _has_batch_norm(recipe),
    ),
)
"""The fields that do not go with others: what is expected of each, and when it is not so."""

_ADDED: Final[dict[str, Any]] = {
    "model": "mlp",
    "layers": (),
    "norm": "batch",
    "crop": 0,
    "augmentation": "none",
    "hard": None,
    "betas": None,
    "warmup": 0.3,
    "decay_biases": True,
    "ema": 0.0,
    "model_file": None,
    "patience": None,
    "accumulate": 1,
}
"""Fields that recipes in files of earlier versions lack, and the value that those versions trained by.

This need not be the default of today: an old file means what it meant when it was written. A field that
is not here gets its default.
"""


# ---- the recipes -----------------------------------------------------------------------------------------


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name, or of an alias.

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
    name = ALIASES.get(name, name)
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name.lower(), [*RECIPES, *ALIASES], n=2, cutoff=0.7)
    names = ", ".join(RECIPES)
    hint = f"did you mean {' or '.join(near)}? (all: {names})" if near else f"choose one of {names}"
    raise RecipeError(f"there is no recipe {name!r}; {hint}")


OF_THE_LAYERS: Final = ("hidden", "layers", "activation", "batch_norm", "norm", "dropout")
"""The fields that say what the layers of a recipe's model are; a model of a file has layers of its own."""


def changes_for(model_file: ModelFile) -> dict[str, Any]:
    """Return the changes with which a recipe trains the model of a file, in place of its own."""
    defaults = {field.name: field.default for field in fields(Recipe) if field.name in OF_THE_LAYERS}
    return {**defaults, "model": "file", "model_file": model_file}


def _small_net(first: str, *others: str) -> tuple[str, ...]:
    """Return convolutions, a norm and an activation after each, a pool after the last, and 128 units."""
    between = ("norm", "activation")
    texts = [text for conv in (first, *others[:-1]) for text in (conv, *between)]
    return (*texts, others[-1], "max-pool 2", *between, "flatten", "linear 128", *between)


_CNN: Final[dict[str, Any]] = {
    "model": "layers",
    "label_smoothing": 0.1,
    "optimizer": "adamw",
    "lr": 0.01,
    "betas": (0.9, 0.99),
    "schedule": "warmup-cosine",
    "warmup": 0.25,
    "weight_decay": 0.01,
    "decay_biases": False,
    "batch_size": 64,
    "validation": 0.05,
}
"""What the recipes with convolutions have in common."""

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="cnn",
            description="two convolutions",
            layers=_small_net("conv 24 5x5 stride 2", "conv 48 3x3"),
            crop=2,
            epochs=2,
            evaluate_every=0.5,
            **_CNN,
        ),
        Recipe(
            name="cnn-fast",
            description="smaller, on hard images",
            layers=_small_net("conv 16 5x5 stride 2", "conv 32 3x3"),
            crop=2,
            hard=(3.0, 0.1),
            epochs=0.6,
            **_CNN,
        ),
        Recipe(
            name="cnn-best",
            description="larger, distorted images",
            layers=_small_net("conv 24 5x5 stride 2", "conv 48 3x3", "conv 48 3x3"),
            augmentation="elastic",
            epochs=6,
            evaluate_every=2,
            **{**_CNN, "warmup": 0.2},
        ),
        Recipe(
            name="cnn-digits",
            description="the bundled digits, distorted",
            layers=(
                *("conv 32 3x3 padding 1", "norm", "activation"),
                *("conv 32 3x3 padding 1", "max-pool 2", "norm", "activation"),
                *("conv 64 3x3 padding 1", "max-pool 2", "norm", "activation"),
                *("flatten", "linear 128", "norm", "activation"),
            ),
            augmentation="affine-8x8",
            epochs=40,
            evaluate_every=40,
            data="digits",
            **_CNN,
        ),
        Recipe(
            name="mlp",
            description="no convolutions; batch norm",
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
            description="the same, full batch",
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

DEFAULT: Final = "cnn"
"""The recipe that is followed where none is named."""

INSTEAD_ON_DIGITS: Final = {"cnn": "cnn-digits", "mlp": "digits"}
"""The recipes that take the place of others on the bundled digits, which are few and small."""

ALIASES: dict[str, str] = {"default": "mlp"}
"""Other names of recipes: what earlier versions called ``default`` is ``mlp`` now."""
