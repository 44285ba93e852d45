"""Training: recipes, the loop, checkpoints, run directories.

`choose` finds a recipe and its data, `train` follows the recipe and writes a run directory, `load_checkpoint`
reads its model back, and `judge` and `recognise` use it. Recipes are plain data and need no NumPy, nor do the
names here until one of the others is asked for.

Examples
--------
>>> from tinygrad_mnist.training import RECIPES
>>> RECIPES["default"].layers
'256-128'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_mnist.training.errors import (
    CheckpointError,
    DivergedError,
    RecipeError,
    RunError,
    TrainingError,
)
from tinygrad_mnist.training.recipes import RECIPES, Recipe, find_recipe
from tinygrad_mnist.training.threads import set_threads, threads_in_use

if TYPE_CHECKING:
    from tinygrad_mnist.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from tinygrad_mnist.training.choice import Choice, choose
    from tinygrad_mnist.training.judging import Recognition, Verdict, judge, recognise
    from tinygrad_mnist.training.loop import Fit, fit
    from tinygrad_mnist.training.reporter import Plan, Reporter
    from tinygrad_mnist.training.run import Outcome, train

__all__ = [
    "RECIPES",
    "Checkpoint",
    "CheckpointError",
    "Choice",
    "DivergedError",
    "Fit",
    "Outcome",
    "Plan",
    "Recipe",
    "RecipeError",
    "Recognition",
    "Reporter",
    "RunError",
    "TrainingError",
    "Verdict",
    "choose",
    "find_recipe",
    "fit",
    "judge",
    "load_checkpoint",
    "recognise",
    "save_checkpoint",
    "set_threads",
    "threads_in_use",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tinygrad_mnist.training import checkpoint, choice, judging, loop, reporter, run

    for module in (checkpoint, choice, judging, loop, reporter, run):
        if hasattr(module, name) and getattr(module, name).__module__ == module.__name__:
            globals()[name] = getattr(module, name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
