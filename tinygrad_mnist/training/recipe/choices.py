"""The choices that are made by name: optimisers, schedules, activations, norms, data, jit. A table each.

A row is a name and the function that makes what the name stands for. Everything else reads the tables: the
checks of `Recipe` and their messages, the help of the command line, the tests. So one more row is all that a
new choice needs (those of models are in `models`, and those of layers in `layers`):

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

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygrad_mnist import nn, optim
    from tinygrad_mnist.data import Dataset
    from tinygrad_mnist.training.recipe.recipes import Recipe


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
    has_betas : bool
        Whether it takes ``betas=``, two decay rates.
    """

    make: Callable[..., optim.Optimizer]
    lr: float
    decoupled: bool = False
    has_betas: bool = False


OPTIMIZERS: dict[str, OptimizerChoice] = {
    "sgd": OptimizerChoice(_optim("SGD"), lr=0.1),
    "momentum": OptimizerChoice(_optim("SGD", momentum=0.9), lr=0.1),
    "rmsprop": OptimizerChoice(_optim("RMSprop"), lr=0.001),
    "adam": OptimizerChoice(_optim("Adam"), lr=0.003, has_betas=True),
    "adamw": OptimizerChoice(_optim("AdamW"), lr=0.01, decoupled=True, has_betas=True),
}
"""The optimisers by name."""


def build_optimizer(recipe: Recipe, model: nn.Module) -> optim.Optimizer:
    """Build the optimiser of a recipe for the parameters of a model.

    If the biases do not decay, nor what scales and shifts after a norm, they are a second parameter group.
    """
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.betas is not None:
        options["betas"] = recipe.betas
    parameters = list(model.parameters())
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    if recipe.decay_biases or not recipe.weight_decay or len(vectors) in (0, len(parameters)):
        return OPTIMIZERS[recipe.optimizer].make(parameters, **options)
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2]},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[recipe.optimizer].make(groups, **options)


# ---- schedules -------------------------------------------------------------------------------------------


def _constant(optimizer: optim.Optimizer, steps: int, warmup: float) -> None:
    """Leave the learning rate as it is."""


def _cosine(optimizer: optim.Optimizer, steps: int, warmup: float) -> optim.LRScheduler:
    """Let the learning rate fall to 0 along half a cosine."""
    from tinygrad_mnist import optim

    return optim.CosineAnnealingLR(optimizer, T_max=steps)


def _one_cycle(optimizer: optim.Optimizer, steps: int, warmup: float) -> optim.LRScheduler | None:
    """Let the learning rate rise and fall once, and the momentum, if there is one, fall and rise."""
    group = optimizer.param_groups[0]
    # Adam calls its momentum betas[0]. Plain SGD has a momentum too, of 0, and is to stay without.
    has_momentum = "betas" in group or bool(group.get("momentum"))
    return _cycle(optimizer, steps, pct_start=warmup, cycle_momentum=has_momentum)


def _warmup_cosine(optimizer: optim.Optimizer, steps: int, warmup: float) -> optim.LRScheduler | None:
    """Let the learning rate rise from a tenth, and fall to a hundredth, both along half a cosine."""
    return _cycle(
        optimizer, steps, pct_start=warmup, cycle_momentum=False, div_factor=10.0, final_div_factor=10.0
    )


def _cycle(optimizer: optim.Optimizer, steps: int, **options: Any) -> optim.LRScheduler | None:
    from tinygrad_mnist import optim

    if steps == 1:
        return None  # a cycle of one step would be its end alone, where the rate is nearly 0
    lr = optimizer.param_groups[0]["lr"]
    return optim.OneCycleLR(optimizer, max_lr=lr, total_steps=steps, **options)


SCHEDULES: dict[str, Callable[[optim.Optimizer, int, float], optim.LRScheduler | None]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "warmup-cosine": _warmup_cosine,
}
"""The schedules by name: a function of the optimiser, at the greatest rate, of the number of steps, and of
the share of them in which the rate rises, if it does.

It returns None where the learning rate stays.
"""


def build_schedule(recipe: Recipe, optimizer: optim.Optimizer, steps: int) -> optim.LRScheduler | None:
    """Build the schedule of a recipe over that many steps; None where the learning rate stays."""
    return SCHEDULES[recipe.schedule](optimizer, steps, recipe.warmup)


# ---- activations and norms -------------------------------------------------------------------------------

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


@dataclass(frozen=True)
class NormChoice:
    """A row of `NORMS`.

    Parameters
    ----------
    make : callable
        Is given the shape of an image or of features, (channels, ...); returns the module.
    entries : tuple of str
        The names in its state dict; all have the shape (channels,) but ``num_batches_tracked``, a number.
    removes_bias : bool
        Whether it subtracts the mean of each channel by itself, so that a bias before it does nothing.
    """

    make: Callable[[tuple[int, ...]], nn.Module]
    entries: tuple[str, ...] = ("weight", "bias")
    removes_bias: bool = False


def _no_norm(shape: tuple[int, ...]) -> nn.Module:
    from tinygrad_mnist import nn

    return nn.Identity()


def _batch_norm(shape: tuple[int, ...]) -> nn.Module:
    from tinygrad_mnist import nn

    return nn.BatchNorm1d(shape[0]) if len(shape) == 1 else nn.BatchNorm2d(shape[0])


def _layer_norm(shape: tuple[int, ...]) -> nn.Module:
    """Return a norm over all of an image; it scales and shifts by channel, as fits convolutions."""
    from tinygrad_mnist import nn

    return nn.GroupNorm(1, shape[0])


def _group_norm(shape: tuple[int, ...]) -> nn.Module:
    """Return a norm over groups of 8 channels, or over all where 8 does not divide them."""
    from tinygrad_mnist import nn

    return nn.GroupNorm(1 if shape[0] % 8 else shape[0] // 8, shape[0])


NORMS: dict[str, NormChoice] = {
    "none": NormChoice(_no_norm, ()),
    "batch": NormChoice(
        _batch_norm,
        ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
        removes_bias=True,
    ),
    "layer": NormChoice(_layer_norm),
    "group": NormChoice(_group_norm),
}
"""What ``norm`` among the layers of a recipe stands for, by name."""


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
