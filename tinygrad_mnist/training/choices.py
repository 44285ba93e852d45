"""The choices that are made by name: models, activations, optimisers, schedules, data, jit. A table each.

A row is a name and the function that makes what the name stands for. Everything else reads the tables: the
checks of `Recipe` and their messages, the help of the command line, the tests. So one more row is all that a
new choice needs:

>>> from tinygrad_mnist import optim
>>> from tinygrad_mnist.training import OPTIMIZERS, RECIPES, OptimizerChoice
>>> OPTIMIZERS["heavy"] = OptimizerChoice(
...     lambda parameters, **options: optim.SGD(parameters, momentum=0.99, **options), lr=0.01
... )
>>> RECIPES["digits"].changed(optimizer="heavy").lr
0.01
>>> del OPTIMIZERS["heavy"]

Names can be checked and listed without NumPy, which takes longer to load than the command line needs for its
help. Hence the makers import what they make, when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from tinygrad_mnist import nn, optim
    from tinygrad_mnist.data import Dataset
    from tinygrad_mnist.training.recipes import Recipe


def _optim(name: str, **defaults: Any) -> Callable[..., Any]:
    """Return a function that makes an object of a class of `tinygrad_mnist.optim`."""

    def make(*args: Any, **options: Any) -> Any:
        from tinygrad_mnist import optim

        return getattr(optim, name)(*args, **defaults, **options)

    return make


def _nn(name: str) -> Callable[[], nn.Module]:
    """Return a function that makes a module of a class of `tinygrad_mnist.nn`."""

    def make() -> nn.Module:
        from tinygrad_mnist import nn

        module: nn.Module = getattr(nn, name)()
        return module

    return make


# ---- optimisers ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OptimizerChoice:
    """A row of `OPTIMIZERS`.

    Parameters
    ----------
    make : callable
        Is given the list of parameters, ``lr=`` and ``weight_decay=``; returns the optimiser.
    lr : float
        The learning rate in a recipe that was made for another optimiser, as rates do not carry over.
    decoupled : bool
        Whether the weight decay is decoupled from the gradient; otherwise it is an L2 penalty.
    """

    make: Callable[..., optim.Optimizer]
    lr: float
    decoupled: bool = False


OPTIMIZERS: dict[str, OptimizerChoice] = {
    "sgd": OptimizerChoice(_optim("SGD"), lr=0.1),
    "momentum": OptimizerChoice(_optim("SGD", momentum=0.9), lr=0.1),
    "rmsprop": OptimizerChoice(_optim("RMSprop"), lr=0.001),
    "adam": OptimizerChoice(_optim("Adam"), lr=0.003),
    "adamw": OptimizerChoice(_optim("AdamW"), lr=0.01, decoupled=True),
}
"""The optimisers by name."""


def build_optimizer(recipe: Recipe, model: nn.Module) -> optim.Optimizer:
    """Build the optimiser of a recipe for the parameters of a model."""
    choice = OPTIMIZERS[recipe.optimizer]
    return choice.make(list(model.parameters()), lr=recipe.lr, weight_decay=recipe.weight_decay)


# ---- schedules -------------------------------------------------------------------------------------------


def _constant(optimizer: optim.Optimizer, steps: int) -> None:
    """Leave the learning rate as it is."""


def _cosine(optimizer: optim.Optimizer, steps: int) -> optim.LRScheduler:
    """Let the learning rate fall to 0 along half a cosine."""
    from tinygrad_mnist import optim

    return optim.CosineAnnealingLR(optimizer, T_max=steps)


def _one_cycle(optimizer: optim.Optimizer, steps: int) -> optim.LRScheduler | None:
    """Let the learning rate rise and fall once, and the momentum, if there is one, fall and rise."""
    from tinygrad_mnist import optim

    if steps == 1:
        return None  # a cycle of one step would be its end alone, where the rate is nearly 0
    (group,) = optimizer.param_groups
    # Adam calls its momentum betas[0]. Plain SGD has a momentum too, of 0, and is to stay without.
    has_momentum = "betas" in group or bool(group.get("momentum"))
    return optim.OneCycleLR(optimizer, max_lr=group["lr"], total_steps=steps, cycle_momentum=has_momentum)


SCHEDULES: dict[str, Callable[[optim.Optimizer, int], optim.LRScheduler | None]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
}
"""The schedules by name: a function of the optimiser, at the greatest rate, and of the number of steps.

It returns None where the learning rate stays.
"""


def build_schedule(recipe: Recipe, optimizer: optim.Optimizer, steps: int) -> optim.LRScheduler | None:
    """Build the schedule of a recipe over that many steps; None where the learning rate stays."""
    return SCHEDULES[recipe.schedule](optimizer, steps)


# ---- models and their activations ------------------------------------------------------------------------

StateEntry = tuple[str, tuple[int, ...], str]
"""An entry of a state dict in outline: name, shape and the name of the dtype."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": _nn("ReLU"),
    "leaky-relu": _nn("LeakyReLU"),
    "gelu": _nn("GELU"),
    "tanh": _nn("Tanh"),
    "sigmoid": _nn("Sigmoid"),
}
"""The activations by name: a function without arguments that returns the module."""


def _mlp(
    recipe: Recipe,
    features: int,
    classes: int,
    rng: np.random.Generator | None,
    dropout_rng: np.random.Generator | None,
) -> nn.Sequential:
    """Build a multi-layer perceptron: linear layers, with batch norm, activation and dropout between them."""
    from tinygrad_mnist import nn

    layers: list[nn.Module] = []
    width = features
    for units in recipe.hidden:
        layers.append(nn.Linear(width, units, rng=rng))
        if recipe.batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(ACTIVATIONS[recipe.activation]())
        if recipe.dropout:
            layers.append(nn.Dropout(recipe.dropout, rng=dropout_rng))
        width = units
    layers.append(nn.Linear(width, classes, rng=rng))
    return nn.Sequential(*layers)


def _mlp_state(recipe: Recipe, features: int, classes: int) -> Iterator[StateEntry]:
    """Yield the state dict of `_mlp` in outline."""
    activation = ACTIVATIONS[recipe.activation]().state_dict()
    width, position = features, 0
    for units in recipe.hidden:
        yield f"{position}.weight", (units, width), "float32"
        yield f"{position}.bias", (units,), "float32"
        position += 1
        if recipe.batch_norm:
            for name in ("weight", "bias", "running_mean", "running_var"):
                yield f"{position}.{name}", (units,), "float32"
            yield f"{position}.num_batches_tracked", (), "int64"
            position += 1
        for name, value in activation.items():
            yield f"{position}.{name}", value.shape, value.dtype.name
        position += 2 if recipe.dropout else 1
        width = units
    yield f"{position}.weight", (classes, width), "float32"
    yield f"{position}.bias", (classes,), "float32"


_STATES: dict[Callable[..., Any], Callable[[Recipe, int, int], Iterator[StateEntry]]] = {_mlp: _mlp_state}
"""For functions in `MODELS`, one that yields the state dict in outline. There need not be one."""

MODELS: dict[str, Callable[..., nn.Sequential]] = {"mlp": _mlp}
"""The models by name: a function of what `build_model` takes, in its order."""


def build_model(
    recipe: Recipe,
    features: int,
    classes: int,
    *,
    rng: np.random.Generator | None = None,
    dropout_rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """Build the model of a recipe, with new weights.

    Parameters
    ----------
    recipe : Recipe
        Its model, hidden layers, activation, batch norm and dropout are used.
    features, classes : int
        Width of the input and of the output.
    rng : numpy.random.Generator, optional
        Draws the weights.
    dropout_rng : numpy.random.Generator, optional
        Draws what is dropped in training.

    Returns
    -------
    Sequential
        From rows of pixels, shape (n, features), to logits, shape (n, classes): the loss has the softmax.

    Examples
    --------
    >>> from tinygrad_mnist.training import RECIPES
    >>> model = build_model(RECIPES["digits"].changed(hidden=(5,)), 64, 10)
    >>> sorted(model.state_dict())[:3]
    ['0.bias', '0.weight', '1.bias']
    """
    return MODELS[recipe.model](recipe, features, classes, rng, dropout_rng)


def state_outline(recipe: Recipe, features: int, classes: int) -> Iterator[StateEntry]:
    """Yield the entries of the state dict of `build_model`, if possible without building the model.

    A file says how large a model is, and may say anything: it is compared with this before memory is taken.

    Yields
    ------
    StateEntry
        Name, shape and the name of the dtype.

    Examples
    --------
    >>> from tinygrad_mnist.training import RECIPES
    >>> list(state_outline(RECIPES["digits"].changed(hidden=()), 64, 10))
    [('0.weight', (10, 64), 'float32'), ('0.bias', (10,), 'float32')]
    """
    outline = _STATES.get(MODELS[recipe.model])
    if outline is not None:
        yield from outline(recipe, features, classes)
        return
    for name, value in build_model(recipe, features, classes).state_dict().items():
        yield name, value.shape, value.dtype.name


# ---- data sets -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DatasetChoice:
    """A row of `DATASETS`.

    Parameters
    ----------
    load : callable
        Is given a function that notifies the user, or None; returns the data set.
    title : str
        The name of the data set in a sentence.
    """

    load: Callable[[Callable[[str], None] | None], Dataset]
    title: str


def _data(name: str) -> Callable[[Callable[[str], None] | None], Dataset]:
    """Return a function that loads a data set of `tinygrad_mnist.data`."""

    def load(notify: Callable[[str], None] | None) -> Dataset:
        from tinygrad_mnist import data

        return data.load(name, notify=notify)

    return load


DATASETS: dict[str, DatasetChoice] = {
    "auto": DatasetChoice(_data("auto"), "MNIST or the bundled digits"),
    "mnist": DatasetChoice(_data("mnist"), "MNIST"),
    "digits": DatasetChoice(_data("digits"), "the bundled digits"),
}
"""The data sets by name. Whatever else is asked for is a file or a directory with data of one's own."""


# ---- whether the steps are compiled ----------------------------------------------------------------------


@dataclass(frozen=True)
class JitChoice:
    """A row of `JIT`.

    Parameters
    ----------
    compiles : callable
        Is given whether the work is worth the time that compiling takes; returns whether to compile.
    required : bool
        Whether it is an error if nothing can be compiled. Otherwise the work is done uncompiled, and the user
        is told.
    """

    compiles: Callable[[bool], bool]
    required: bool = False


JIT: dict[str, JitChoice] = {
    "auto": JitChoice(lambda worth_it: worth_it),
    "on": JitChoice(lambda worth_it: True, required=True),
    "off": JitChoice(lambda worth_it: False),
}
"""The answers to whether a training is compiled, by name."""
