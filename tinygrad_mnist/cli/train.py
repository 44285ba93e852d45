"""Train a digit recogniser, evaluate it on digits that it has not seen, and write a run directory."""

from __future__ import annotations

import argparse
import math
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tinygrad_mnist.cli import processes, shared_options
from tinygrad_mnist.cli.interrupts import ignore_interrupts, raised_in_imports
from tinygrad_mnist.cli.output import FAILED, class_heading, outlasting_readers
from tinygrad_mnist.numbers import count_text, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinygrad_mnist.cli.progress import Log
    from tinygrad_mnist.data import Dataset
    from tinygrad_mnist.training import Choice, Outcome, Recipe
    from tinygrad_mnist.training.distributed.communicator import Communicator

NAME: Final = "train"
HELP: Final = "train a digit recogniser"
COMMAND: Final = "tinygrad-mnist"

FEW_STEPS: Final = 100
MANY_STEPS: Final = 500
"""The number of steps that is suggested where a recipe takes less than `FEW_STEPS`."""


def _changes() -> dict[str, dict[str, Any]]:
    """Return the options that change a value of the recipe, by the value's name, as argparse takes them."""
    from tinygrad_mnist.data import AUGMENTATIONS
    from tinygrad_mnist.training import ACTIVATIONS, NORMS, OPTIMIZERS, SCHEDULES

    decoupled = ", ".join(name for name, choice in OPTIMIZERS.items() if choice.decoupled)
    return {
        "epochs": {"type": shared_options.number, "metavar": "X", "help": "passes through the data"},
        "batch_size": {"type": shared_options.batch_size, "metavar": "N", "help": "images a step, or 'full'"},
        "lr": {"type": shared_options.number, "metavar": "X", "help": "learning rate"},
        "hidden": {
            "type": shared_options.hidden,
            "metavar": "256,128",
            "help": "units of the hidden layers of the recipe mlp, or 'none'",
        },
        "activation": {"metavar": "|".join(ACTIVATIONS), "help": "after each hidden layer"},
        "norm": {"metavar": "|".join(NORMS), "help": "normalisation between a layer and its activation"},
        "dropout": {
            "type": shared_options.number,
            "metavar": "X",
            "help": "share of the hidden units that are dropped in training",
        },
        "optimizer": {
            "metavar": "|".join(OPTIMIZERS),
            "help": "optimiser; comes with a learning rate of its own unless --lr is given",
        },
        "schedule": {"metavar": "|".join(SCHEDULES), "help": "course of the learning rate"},
        "weight_decay": {
            "type": shared_options.number,
            "metavar": "X",
            "help": f"L2 penalty; decoupled in {decoupled}",
        },
        "clip_norm": {"type": shared_options.number, "metavar": "X", "help": "greatest norm of the gradient"},
        "patience": {
            "type": shared_options.at_least(1),
            "metavar": "N",
            "help": "end training after N evaluations none of which was the best; the best state is kept",
        },
        "augmentation": {
            "metavar": "TEXT",
            "help": f"how training images are changed each time they are drawn: one of "
            f"{', '.join(AUGMENTATIONS)}, or ranges as in 'rotation 10 shift 1', or a name and the ranges "
            "that replace its own ('tinygrad-mnist show-data' draws it)",
        },
    }


def _flag(field: str) -> str:
    """Return the option for a value of the recipe."""
    return f"--{field.replace('_', '-')}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from tinygrad_mnist.training import JIT

    shared_options.add_recipe(parser, "what to train, and how")
    shared_options.add_model(
        parser,
        "train the model that a function of your own builds, in place of the recipe's. The file is run, by "
        "later commands too",
    )
    shared_options.add_data(
        parser,
        "auto (the default) takes MNIST where it is at hand or can be downloaded, and else the bundled "
        "digits; PATH is data of your own: a directory of IDX files as MNIST's, of a folder of pictures for "
        "each class, or of CSV files as Kaggle's; or a .npz or .csv file",
    )
    changes = parser.add_argument_group("changes to the recipe")
    for field, settings in _changes().items():
        # without a default, since None is a batch size: what was not given is not there at all
        changes.add_argument(_flag(field), default=argparse.SUPPRESS, **settings)
    parser.add_argument(
        "--seed",
        type=shared_options.at_least(0),
        metavar="N",
        help="equal seeds give equal results (default 0)",
    )
    parser.add_argument(
        "--jit",
        type=shared_options.jit,
        default="auto",
        metavar="|".join(JIT),
        help="whether the steps are compiled, which pays from some hundred steps on: auto (the default) "
        "decides by the recipe and the sizes. Compiled, weights differ in their last digits",
    )
    shared_options.add_threads(parser)
    parser.set_defaults(threads=None)  # so that a run goes on with as many as before
    processes.add_processes(parser)
    parser.add_argument(
        "--out",
        type=shared_options.name,
        metavar="DIR",
        help="run directory (default runs/RECIPE-TIME); an earlier run in it is replaced",
    )
    parser.add_argument(
        "--resume",
        type=shared_options.name,
        metavar="RUN",
        help="go on with the run in this directory where it was interrupted or killed, to the same results; "
        "--epochs trains longer, and nothing else can be changed",
    )
    parser.add_argument(
        "--checkpoint-every",
        type=_interval,
        default="30 seconds",
        metavar="TEXT",
        help="how often the state to go on from is saved: '500 steps', '2 minutes' (default 30 seconds)",
    )
    parser.add_argument(
        "--no-report", action="store_true", help="write no report.html, which takes a few seconds"
    )
    parser.add_argument("--quiet", action="store_true", help="print notices and the summary only")
    parser.add_argument(
        "--log",
        choices=("text", "jsonl"),
        default="text",
        help="how training is printed: text (the default), which a terminal keeps up to date, or jsonl, a "
        "JSON object a line for programs",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write event files for TensorBoard into the run directory"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train. What is learned is in files, so it goes on where nobody reads the output any longer."""
    with outlasting_readers():
        return _train(arguments)


def _train(arguments: argparse.Namespace) -> int:
    """Train; return the exit status."""
    from tinygrad_mnist.training.display import tensorboard
    from tinygrad_mnist.training.loop import compilation

    # what is misused is said at once, before NumPy is there
    chosen = None
    if arguments.resume is None:
        chosen = _recipe(arguments)
    else:
        _require_same(arguments)
    compilation.require(arguments.jit)
    if arguments.tensorboard:
        tensorboard.require_tensorboard()
    if (status := processes.launched(arguments, chosen and chosen[0])) is not None:
        return status
    shared_options.use_threads(arguments)
    with processes.together() as communicator:
        outcome = _train_here(arguments, chosen, communicator)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return FAILED if outcome.missing else 0


def _train_here(
    arguments: argparse.Namespace,
    chosen: tuple[Recipe, dict[str, Any]] | None,
    communicator: Communicator | None,
) -> Outcome:
    """Train in this process, which may be one of several."""
    from tinygrad_mnist.cli.progress import LOGS

    log = LOGS[arguments.log](sys.stdout, arguments.quiet)
    if chosen is None:
        call = _going_on(arguments, log, communicator)
    else:
        call = _beginning(arguments, chosen, log, communicator)
    with raised_in_imports():
        outcome = call()
        if communicator is not None and not communicator.is_writer:
            ignore_interrupts()  # the first one draws, and is the one to end that
        log.end(outcome, (_summary_line(outcome) if arguments.quiet else _summary(outcome)).split("\n"))
    return outcome


def _beginning(
    arguments: argparse.Namespace,
    chosen: tuple[Recipe, dict[str, Any]],
    log: Log,
    communicator: Communicator | None,
) -> Callable[[], Outcome]:
    """Return the training of a new run."""
    from tinygrad_mnist.training import choose, train
    from tinygrad_mnist.training.distributed.agreement import agreed

    with agreed(communicator):
        choice = choose(*chosen, arguments.data, log.notify)
    _warn_of_few_steps(choice, log.notify)
    if communicator is not None:
        processes.warn_of_little_work(choice, communicator)
    log.show(_data_line(choice.dataset))
    return lambda: train(
        choice.recipe,
        choice.dataset,
        seed=arguments.seed or 0,
        out=arguments.out,
        source=choice.source,
        jit=arguments.jit,
        **_shared(arguments, log, communicator),
    )


def _going_on(
    arguments: argparse.Namespace, log: Log, communicator: Communicator | None
) -> Callable[[], Outcome]:
    """Return the training of a run that goes on."""
    from tinygrad_mnist.training import RecipeError, resume_run

    def call() -> Outcome:
        try:
            return resume_run(
                arguments.resume,
                _given(arguments),
                data=arguments.data,
                model=arguments.model,
                seed=arguments.seed,
                threads=arguments.threads,
                jit=arguments.jit,
                **_shared(arguments, log, communicator),
            )
        except RecipeError as error:
            if error.field is None:
                raise
            raise RecipeError(f"{_flag(error.field)}{str(error).removeprefix(error.field)}") from error

    return call


def _shared(arguments: argparse.Namespace, log: Log, communicator: Communicator | None) -> dict[str, Any]:
    """Return what a run is told whether it begins or goes on."""
    return {
        "callbacks": [log.callback()],
        "tensorboard": arguments.tensorboard,
        "report": not arguments.no_report,
        "checkpoint_every": arguments.checkpoint_every,
        "communicator": communicator,
    }


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the recipe that were given."""
    return {field: value for field, value in vars(arguments).items() if field in _changes()}


def _require_same(arguments: argparse.Namespace) -> None:
    """Raise an error for what makes no sense when a run goes on."""
    from tinygrad_mnist.training import RecipeError

    if arguments.recipe is not None:
        raise RecipeError("--recipe cannot be changed when a run goes on, which has its own; leave it out")
    if arguments.out is not None:
        raise RecipeError("--out cannot be changed when a run goes on, in its own directory; leave it out")


def _interval(text: str) -> str:
    """Return how often something is done, if it can be read."""
    from tinygrad_mnist.training import TrainingError
    from tinygrad_mnist.training.checkpoints.checkpointing import interval

    try:
        interval(text)
    except TrainingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _recipe(arguments: argparse.Namespace) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe that was asked for with its changes, and the changes."""
    from tinygrad_mnist.training import RecipeError
    from tinygrad_mnist.training.recipe.recipe_file import read_recipe
    from tinygrad_mnist.training.recipe.recipes import DEFAULT, OF_THE_LAYERS, changes_for

    changes = _given(arguments)
    # only the perceptron has hidden layers that are given by their units
    recipe = read_recipe(arguments.recipe or ("mlp" if "hidden" in changes else DEFAULT))
    if arguments.model is not None:
        for field in changes:
            if field in OF_THE_LAYERS:
                raise RecipeError(
                    f"{_flag(field)} is for the layers of a recipe, but {arguments.model} has its own"
                )
        changes |= changes_for(arguments.model)
    elif recipe.model == "mlp" and changes.get("norm") in ("none", "batch"):
        changes["batch_norm"] = changes.pop("norm") == "batch"
    try:
        return recipe.changed(**changes), changes
    except RecipeError as error:
        if error.field not in changes:
            raise
        raise RecipeError(f"{_flag(error.field)}{str(error).removeprefix(error.field)}") from error


def _warn_of_few_steps(choice: Choice, notify: Callable[[str], None]) -> None:
    """Tell the user if the epochs of a recipe, which suit the data that it is made for, are few on this."""
    from tinygrad_mnist.training import RECIPES

    recipe = choice.recipe
    if recipe.name not in RECIPES or recipe.epochs != RECIPES[recipe.name].epochs:
        return  # somebody has chosen them for this data
    images = len(choice.dataset.train_images) * (1 - recipe.validation)
    steps = recipe.epochs * max(1, images // (recipe.batch_size or images))
    if steps < FEW_STEPS:
        notify(
            f"the recipe {recipe.name} is made for more images: these are trained on in "
            f"{count_text(max(1, round(steps)), 'step')}; take more epochs, such as --epochs "
            f"{math.ceil(MANY_STEPS / steps * recipe.epochs)}"
        )


def _data_line(dataset: Dataset) -> str:
    """Return the size of a data set, in a line."""
    from tinygrad_mnist.numbers import size_text

    form = f" ({dataset.form})" if dataset.form else ""
    return (
        f"data {dataset.name}{form}: {len(dataset.train_images):,} training and "
        f"{len(dataset.test_images):,} test images of {size_text(dataset.image_shape)} pixels, "
        f"{dataset.classes} classes"
    )


def _summary_line(outcome: Outcome) -> str:
    """Return all that matters of a run, in one line."""
    from tinygrad_mnist.numbers import percent_text

    summary, model_file = outcome.summary, outcome.checkpoint.recipe.model_file
    model = f"model {model_file}, " if model_file is not None else ""
    return (
        f"{model}recipe {summary['recipe']}, {_title(outcome)}: "
        f"test accuracy {percent_text(summary['test_accuracy'])} "
        f"(training {percent_text(summary['train_accuracy'])}, "
        f"validation {percent_text(summary['validation_accuracy'])}), "
        f"{_epochs(outcome)} in {summary['train_seconds']:.2f} s"
        f"{', interrupted' if summary['interrupted'] else ''}, {outcome.directory}"
    )


def _summary(outcome: Outcome) -> str:
    """Return the accuracies, times and files of a run."""
    from tinygrad_mnist.numbers import percent_text

    summary = outcome.summary
    step = "iteration" if outcome.checkpoint.recipe.full_batch else "step"
    test, validation, training = (
        percent_text(summary[f"{part}_accuracy"]) for part in ("test", "validation", "train")
    )
    noun = "digits" if class_heading(summary["class_names"]) == "digit" else "pictures"
    there = outcome.directory.iterdir() if outcome.directory.is_dir() else []
    entries = sorted(entry for entry in there if not entry.name.startswith("."))
    files = [entry for entry in entries if entry != outcome.report]
    return "\n".join(
        [
            "",
            f"test accuracy {test} on {summary['test_images']:,} unseen {noun} ({_title(outcome)}); "
            f"validation {validation}, training {training} (now on all its images)",
            f"kept: the state after {step} {summary['best_step']:,} of {summary['steps']:,}, the best on the "
            "validation part",
            f"trained{', until it was interrupted,' if summary['interrupted'] else ''} for "
            f"{summary['train_seconds']:.2f} s: {_epochs(outcome)}, "
            f"{summary['images_per_second']:,.0f} images a second",
            *(f"  {printable(str(path))}" for path in files),
            *([] if outcome.report is None else [f"report {printable(str(outcome.report))}"]),
            *_what_next(outcome),
        ]
    )


def _what_next(outcome: Outcome) -> list[str]:
    """Return the line that says how to draw on the page of the model, where it can be served."""
    from tinygrad_mnist.serve.packages import missing_packages
    from tinygrad_mnist.training import CheckpointError
    from tinygrad_mnist.training.prediction import preparation_of

    try:
        preparation_of(outcome.checkpoint)
    except CheckpointError:
        return []
    if missing_packages():
        return []
    return [f"draw on its page: {_command()} serve {shlex.quote(printable(str(outcome.directory)))}"]


def _command() -> str:
    """Return what starts this program: ``make train`` starts it by its path, which need not be on PATH."""
    called = sys.argv[0]
    is_found = shutil.which(COMMAND) is not None or Path(called).stem != COMMAND
    return COMMAND if is_found else shlex.quote(called)


def _epochs(outcome: Outcome) -> str:
    """Return the number of epochs, or of iterations, where each sees all images."""
    unit = "iteration" if outcome.checkpoint.recipe.full_batch else "epoch"
    return count_text(outcome.summary["epochs"], unit)


def _title(outcome: Outcome) -> str:
    """Return what a sentence calls the data of a run."""
    from tinygrad_mnist.training.training_data import data_title

    return data_title(outcome.summary["data"], outcome.summary["data_source"])
