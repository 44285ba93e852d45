"""Evaluate the model of a run, or the mean of several, on the test part of its data, or of other data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import class_heading, notify, print_table, show
from tinygrad_mnist.numbers import count_text

if TYPE_CHECKING:
    from tinygrad_mnist.training import Checkpoint, CheckpointEvaluation, ModelFile

NAME: Final = "evaluate"
HELP: Final = "evaluate a trained model on pictures that it has not seen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoints",
        metavar="RUN",
        nargs="+",
        help="a run directory, or a checkpoint; of several, the mean of their probabilities is evaluated",
    )
    shared_options.add_data(parser, "the data (default: what the model was trained on)")
    shared_options.add_tta(parser)
    shared_options.add_model(parser)
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the accuracy, and that of each class."""
    shared_options.use_threads(arguments)

    from tinygrad_mnist.numbers import percent_text
    from tinygrad_mnist.training import evaluate_ensemble

    runs = _load(arguments.checkpoints, arguments.model)
    found = evaluate_ensemble(runs, arguments.data, notify, tta=arguments.tta)
    show(*_summary(found, arguments.checkpoints, arguments.tta))
    rows = [
        (name, f"{images:,}", percent_text(correct / images) if images else "-", confused_with)
        for name, images, correct, confused_with in found.classes
    ]
    heading = class_heading(name for name, *_ in rows)
    print_table((heading, "images", "accuracy", "taken most often for"), rows)
    return 0


def _load(paths: list[str], model: ModelFile | None) -> list[tuple[str, Checkpoint]]:
    """Load the runs; each counts once, so to name one twice is a mistake.

    A model file is for those runs that have one. If none has, loading says so.
    """
    from tinygrad_mnist.training import RecipeError
    from tinygrad_mnist.training.checkpoint import recipe_of_checkpoint

    twice = [path for index, path in enumerate(paths) if path in paths[:index]]
    if twice:
        raise RecipeError(f"{twice[0]} was named twice; name each run once")
    of_file = [path for path in paths if model is not None and recipe_of_checkpoint(path).model_file]
    takers = of_file or paths
    return [(path, shared_options.load_run(path, model if path in takers else None)) for path in paths]


def _summary(found: CheckpointEvaluation, paths: list[str], tta: bool) -> list[str]:
    """Return the accuracy in a line, and what was averaged, if anything was, in others."""
    from tinygrad_mnist.numbers import percent_text
    from tinygrad_mnist.training.training_data import data_title

    lines = [
        f"test accuracy {percent_text(found.accuracy)} on {count_text(found.images, 'test image')} of "
        f"{data_title(found.data, found.source)} "
        f"({found.images - found.correct:,} wrong), loss {found.loss:.4f}"
    ]
    averaged = ["the image and its four shifts by one pixel"] * tta
    if len(paths) > 1:
        averaged.insert(0, f"{len(paths)} runs")
    if averaged:
        lines.append(f"probabilities averaged over {', and for each over '.join(averaged)}")
    if len(paths) > 1:
        lines += [
            f"{percent_text(accuracy)} by {path} alone"
            for path, accuracy in zip(paths, found.accuracies, strict=True)
        ]
    return lines
