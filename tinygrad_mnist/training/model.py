"""The layers and the optimiser that a recipe asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from tinygrad_mnist import nn, optim
from tinygrad_mnist.training.recipes import Recipe

_ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


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
        Its hidden layers, activation, batch norm and dropout are used.
    features, classes : int
        Width of the input and of the output.
    rng : numpy.random.Generator, optional
        Draws the weights.
    dropout_rng : numpy.random.Generator, optional
        Draws what is dropped in training.

    Returns
    -------
    Sequential
        From rows of pixels, shape (n, features), to logits, shape (n, classes): the softmax is the loss's.

    Examples
    --------
    >>> from tinygrad_mnist.training import RECIPES
    >>> model = build_model(RECIPES["digits"].changed(hidden=(5,)), 64, 10)
    >>> sorted(model.state_dict())[:3]
    ['0.bias', '0.weight', '1.bias']
    """
    layers: list[nn.Module] = []
    width = features
    for units in recipe.hidden:
        layers.append(nn.Linear(width, units, rng=rng))
        if recipe.batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(_ACTIVATIONS[recipe.activation]())
        if recipe.dropout:
            layers.append(nn.Dropout(recipe.dropout, rng=dropout_rng))
        width = units
    layers.append(nn.Linear(width, classes, rng=rng))
    return nn.Sequential(*layers)


def build_optimizer(recipe: Recipe, model: nn.Module) -> optim.Optimizer:
    """The optimiser of a recipe for the parameters of a model."""
    parameters, lr, weight_decay = list(model.parameters()), recipe.lr, recipe.weight_decay
    match recipe.optimizer:
        case "sgd":
            return optim.SGD(parameters, lr=lr, weight_decay=weight_decay)
        case "momentum":
            return optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=weight_decay)
        case "rmsprop":
            return optim.RMSprop(parameters, lr=lr, weight_decay=weight_decay)
        case "adam":
            return optim.Adam(parameters, lr=lr, weight_decay=weight_decay)
        case _:
            return optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


def build_schedule(recipe: Recipe, optimizer: optim.Optimizer, steps: int) -> optim.LRScheduler | None:
    """The schedule of a recipe over that many steps; None where the learning rate stays."""
    match recipe.schedule:
        case "one-cycle" if steps > 1:
            has_momentum = recipe.optimizer not in ("sgd", "rmsprop")
            return optim.OneCycleLR(
                optimizer, max_lr=recipe.lr, total_steps=steps, cycle_momentum=has_momentum
            )
        case "cosine":
            return optim.CosineAnnealingLR(optimizer, T_max=steps)
        case _:
            return None
