"""Evaluate the model of a run on the test part of its data, or of other data."""

from __future__ import annotations

import argparse
from typing import Final

from tinygrad_mnist.cli.output import class_heading, notify, print_table, show
from tinygrad_mnist.cli.shared_options import add_data, add_threads, use_threads

NAME: Final = "evaluate"
HELP: Final = "evaluate a trained model on pictures that it has not seen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    add_data(parser, "the data (default: what the model was trained on)")
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the accuracy, and that of each class."""
    use_threads(arguments)

    from tinygrad_mnist.numbers import percent_text
    from tinygrad_mnist.training import evaluate_checkpoint, load_checkpoint
    from tinygrad_mnist.training.training_data import data_title

    found = evaluate_checkpoint(load_checkpoint(arguments.checkpoint), arguments.data, notify)
    show(
        f"test accuracy {percent_text(found.accuracy)} on {found.images:,} test images of "
        f"{data_title(found.data, found.source)} "
        f"({found.images - found.correct:,} wrong), loss {found.loss:.4f}"
    )
    rows = [
        (name, f"{images:,}", percent_text(correct / images) if images else "-", confused_with)
        for name, images, correct, confused_with in found.classes
    ]
    print_table(
        (class_heading(name for name, *_ in rows), "images", "accuracy", "taken most often for"), rows
    )
    return 0
