"""Training: recipes, the loop, checkpoints, run directories.

`choose` finds a recipe and its data, `train` follows the recipe and writes a run directory, `load_checkpoint`
reads its model back, and `evaluate_checkpoint` and `predict_picture` use it. Recipes are plain data and need
no NumPy, nor do the names here until one of the others is asked for.

Examples
--------
>>> from tinygrad_mnist.training import RECIPES
>>> RECIPES["mlp"].architecture
'256-128'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_mnist.training.choices import (
    ACTIVATIONS,
    DATASETS,
    JIT,
    NORMS,
    OPTIMIZERS,
    SCHEDULES,
    DatasetChoice,
    JitChoice,
    NormChoice,
    OptimizerChoice,
)
from tinygrad_mnist.training.compilation import JitDecision
from tinygrad_mnist.training.errors import (
    CheckpointError,
    DivergedError,
    ModelFileError,
    RecipeError,
    RunError,
    TrainingError,
)
from tinygrad_mnist.training.layers import LAYERS
from tinygrad_mnist.training.model_file import ModelFile, find_model_file
from tinygrad_mnist.training.models import MODELS
from tinygrad_mnist.training.recipes import ALIASES, RECIPES, Recipe, find_recipe
from tinygrad_mnist.training.threads import set_threads, threads_in_use

if TYPE_CHECKING:
    from tinygrad_mnist.training.checkpoint import (
        Checkpoint,
        load_checkpoint,
        load_state,
        save_checkpoint,
        save_state,
    )
    from tinygrad_mnist.training.evaluation import (
        CheckpointEvaluation,
        Evaluation,
        evaluate,
        evaluate_checkpoint,
        evaluate_ensemble,
    )
    from tinygrad_mnist.training.loop import Fit, Plan, Record, Reporter, fit
    from tinygrad_mnist.training.prediction import Prediction, predict, predict_picture
    from tinygrad_mnist.training.run import Outcome, train
    from tinygrad_mnist.training.submission import write_submission
    from tinygrad_mnist.training.training_data import Choice, choose

__all__ = [
    "ACTIVATIONS",
    "ALIASES",
    "DATASETS",
    "JIT",
    "LAYERS",
    "MODELS",
    "NORMS",
    "OPTIMIZERS",
    "RECIPES",
    "SCHEDULES",
    "Checkpoint",
    "CheckpointError",
    "CheckpointEvaluation",
    "Choice",
    "JitDecision",
    "DatasetChoice",
    "DivergedError",
    "Evaluation",
    "Fit",
    "JitChoice",
    "ModelFile",
    "ModelFileError",
    "NormChoice",
    "OptimizerChoice",
    "Outcome",
    "Plan",
    "Prediction",
    "Recipe",
    "RecipeError",
    "Record",
    "Reporter",
    "RunError",
    "TrainingError",
    "choose",
    "evaluate",
    "evaluate_checkpoint",
    "evaluate_ensemble",
    "find_model_file",
    "find_recipe",
    "fit",
    "load_checkpoint",
    "load_state",
    "predict",
    "predict_picture",
    "save_checkpoint",
    "save_state",
    "set_threads",
    "threads_in_use",
    "train",
    "write_submission",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tinygrad_mnist.training import (
            checkpoint,
            evaluation,
            loop,
            prediction,
            run,
            submission,
            training_data,
        )

        for module in (
            checkpoint,
            evaluation,
            loop,
            prediction,
            run,
            submission,
            training_data,
        ):
            found = vars(module).get(name)
            if getattr(found, "__module__", None) == module.__name__:  # not where it is only imported
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
