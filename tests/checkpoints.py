"""Models that were not trained, whose answers are none the less decided and whose statistics have moved."""

import numpy as np

from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.training import RECIPES, Checkpoint
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.recipe.recipes import Recipe

SMALL = Recipe("small", "a single layer")
"""What is computed in no time, where the answers do not matter."""


def untrained(recipe: str | Recipe, *, shape: tuple[int, int] | None = None, **origin: object) -> Checkpoint:
    """A checkpoint with random weights, biases and running statistics."""
    recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
    shape = shape or ((8, 8) if recipe.data == "digits" else (28, 28))
    rng = np.random.default_rng(0)
    model = build_model(recipe, shape, 10, rng=rng)
    state = model.state_dict()
    for name, values in state.items():
        if name.endswith("running_var"):
            state[name] = rng.uniform(0.1, 2, values.shape).astype(np.float32)
        elif values.ndim == 1:  # what shifts and scales, and the running means
            state[name] = rng.normal(1, 0.5, values.shape).astype(np.float32)
        elif values.ndim:
            state[name] = 2 * values
    model.load_state_dict(state)
    names = tuple(map(str, range(10)))
    standardizer = Standardizer(33.25, 78.5, recipe.crop)
    return Checkpoint(model, recipe, shape, names, standardizer, {"data": "mnist", "seed": 0, **origin})
