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

from tinygrad_mnist.training.errors import (
    CheckpointError,
    DivergedError,
    ModelFileError,
    RecipeError,
    RunError,
    TrainingError,
)
from tinygrad_mnist.training.loop.compilation import JitDecision
from tinygrad_mnist.training.loop.threads import set_threads, threads_in_use
from tinygrad_mnist.training.recipe.choices import (
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
from tinygrad_mnist.training.recipe.layers import LAYERS
from tinygrad_mnist.training.recipe.model_file import ModelFile, find_model_file
from tinygrad_mnist.training.recipe.models import MODELS
from tinygrad_mnist.training.recipe.recipes import ALIASES, RECIPES, Recipe, find_recipe

if TYPE_CHECKING:
    from tinygrad_mnist.training.checkpoints.checkpoint import (
        Checkpoint,
        load_checkpoint,
        load_state,
        save_checkpoint,
        save_state,
    )
    from tinygrad_mnist.training.display.progress import Progress
    from tinygrad_mnist.training.display.tensorboard import TensorBoard
    from tinygrad_mnist.training.evaluation import (
        CheckpointEvaluation,
        Evaluation,
        evaluate,
        evaluate_checkpoint,
        evaluate_ensemble,
    )
    from tinygrad_mnist.training.lints.lints import LINTS, Lint, Lints, lint
    from tinygrad_mnist.training.loop.by_recipe import follow
    from tinygrad_mnist.training.loop.callbacks import Callback
    from tinygrad_mnist.training.loop.course import Training
    from tinygrad_mnist.training.loop.fitting import fit
    from tinygrad_mnist.training.loop.history import GradientNorms, History, Record
    from tinygrad_mnist.training.loop.metrics import METRICS
    from tinygrad_mnist.training.loop.result import Fit
    from tinygrad_mnist.training.prediction import Prediction, predict, predict_picture
    from tinygrad_mnist.training.recipe.plan import Plan
    from tinygrad_mnist.training.recipe.rates import schedule_rates
    from tinygrad_mnist.training.runs.resumed_run import resume_run
    from tinygrad_mnist.training.runs.run import Outcome, train
    from tinygrad_mnist.training.submission import write_submission
    from tinygrad_mnist.training.training_data import Choice, choose

__all__ = [
    "ACTIVATIONS",
    "ALIASES",
    "DATASETS",
    "JIT",
    "LAYERS",
    "LINTS",
    "METRICS",
    "MODELS",
    "NORMS",
    "OPTIMIZERS",
    "RECIPES",
    "SCHEDULES",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "CheckpointEvaluation",
    "Choice",
    "JitDecision",
    "DatasetChoice",
    "DivergedError",
    "Evaluation",
    "Fit",
    "GradientNorms",
    "History",
    "JitChoice",
    "Lint",
    "Lints",
    "ModelFile",
    "ModelFileError",
    "NormChoice",
    "OptimizerChoice",
    "Outcome",
    "Plan",
    "Prediction",
    "Progress",
    "Recipe",
    "RecipeError",
    "Record",
    "RunError",
    "TensorBoard",
    "Training",
    "TrainingError",
    "choose",
    "evaluate",
    "evaluate_checkpoint",
    "evaluate_ensemble",
    "find_model_file",
    "find_recipe",
    "fit",
    "follow",
    "lint",
    "load_checkpoint",
    "load_state",
    "predict",
    "predict_picture",
    "save_checkpoint",
    "save_state",
    "schedule_rates",
    "resume_run",
    "set_threads",
    "threads_in_use",
    "train",
    "write_submission",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tinygrad_mnist.training import evaluation, prediction, submission, training_data
        from tinygrad_mnist.training.checkpoints import checkpoint
        from tinygrad_mnist.training.display import progress, tensorboard
        from tinygrad_mnist.training.lints import lints
        from tinygrad_mnist.training.loop import (
            by_recipe,
            callbacks,
            course,
            fitting,
            history,
            metrics,
            result,
        )
        from tinygrad_mnist.training.recipe import plan, rates
        from tinygrad_mnist.training.runs import resumed_run, run

        for module in (
            callbacks,
            checkpoint,
            course,
            evaluation,
            fitting,
            history,
            lints,
            by_recipe,
            metrics,
            plan,
            prediction,
            progress,
            rates,
            result,
            resumed_run,
            run,
            submission,
            tensorboard,
            training_data,
        ):
            found = vars(module).get(name)
            # not where it is only imported; a table has no module of its own
            if found is not None and getattr(found, "__module__", module.__name__) == module.__name__:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
