"""Evaluate the model of a run, or the mean of several, on the test part of its data, or of other data."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.inputs import files_of_run, require_no_input
from tinygrad_mnist.cli.output import class_heading, notify, print_table, show
from tinygrad_mnist.numbers import count_text, printable

if TYPE_CHECKING:
    from tinygrad_mnist.training import Checkpoint, CheckpointEvaluation, ModelFile

STDOUT: Final = "-"
NAME: Final = "evaluate"
HELP: Final = "evaluate a trained model on pictures that it has not seen"

_MOST_CLASSES: Final = 20
"""Classes up to which the confusion matrix is printed: more would not fit on a screen."""
_LONGEST: Final = 8
"""Signs of the name of a class at the head of a column."""


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
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        type=shared_options.name,
        metavar="FILE",
        help="write accuracy, loss, the confusion matrix and all else as JSON: to FILE, or in place of the "
        "tables",
    )
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the accuracy, that of each class, and the confusion matrix."""
    shared_options.use_threads(arguments)
    if arguments.json not in (None, STDOUT):
        _require_writable(arguments)

    from tinygrad_mnist.numbers import percent_text
    from tinygrad_mnist.training import evaluate_ensemble

    runs = _load(arguments.checkpoints, arguments.model)
    found = evaluate_ensemble(runs, arguments.data, notify, tta=arguments.tta)
    if arguments.json is not None:
        runs_and_tta = {"runs": arguments.checkpoints, "tta": arguments.tta}
        values = {**runs_and_tta, **found.to_dict()}
        if arguments.json == STDOUT:
            print(json.dumps(values, indent=2))
            return 0
        _write(arguments.json, values)
    show(*_summary(found, arguments.checkpoints, arguments.tta))
    rows = [
        (name, f"{images:,}", percent_text(correct / images) if images else "-", confused_with)
        for name, images, correct, confused_with in found.classes
    ]
    heading = class_heading(name for name, *_ in rows)
    print_table((heading, "images", "accuracy", "taken most often for"), rows)
    if len(found.classes) <= _MOST_CLASSES:
        _print_confusion(found, heading)
    return 0


def _print_confusion(found: CheckpointEvaluation, heading: str) -> None:
    """Print the confusion matrix, a row for each true class."""
    names = [printable(one.name) for one in found.classes]
    heads = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    cells = [[f"{count:,}" if count else "." for count in row] for row in found.confusion.tolist()]
    widths = [
        max(len(head), *map(len, column))
        for head, column in zip(heads, zip(*cells, strict=True), strict=True)
    ]
    first = max(len(heading), *map(len, names))
    show("", f"how often each {heading} (a row) was taken for each (a column)")
    for name, row in ((heading, heads), *zip(names, cells, strict=True)):
        show(
            f"{name:{first}}  "
            + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        )


def _require_writable(arguments: argparse.Namespace) -> None:
    """Raise the error for a file of JSON that cannot be written, or that is read, before the work."""
    from tinygrad_mnist.files import require_writable, write_error
    from tinygrad_mnist.training import RecipeError

    try:
        require_writable(arguments.json)
    except OSError as error:
        raise RecipeError(f"--json {write_error(arguments.json, error)}") from error
    model = None if arguments.model is None else arguments.model.path
    files = [file for run in arguments.checkpoints for file in files_of_run(run)]
    require_no_input("--json", arguments.json, arguments.data, model, *files)


def _write(path: str, values: dict[str, Any]) -> None:
    from tinygrad_mnist.files import write_json
    from tinygrad_mnist.training.errors import writing

    with writing(path):
        write_json(path, values)


def _load(paths: list[str], model: ModelFile | None) -> list[tuple[str, Checkpoint]]:
    """Load the runs; each counts once, so to name one twice is a mistake.

    A model file is for those runs that have one. If none has, loading says so.
    """
    from tinygrad_mnist.training import RecipeError
    from tinygrad_mnist.training.checkpoints.checkpoint import recipe_of_checkpoint

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
