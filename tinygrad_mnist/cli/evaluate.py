"""Judge the model of a run on the test part of its data, or of other data."""

from __future__ import annotations

import argparse
from typing import Final

from tinygrad_mnist.cli import values
from tinygrad_mnist.cli.threads import add_threads, use_threads

NAME: Final = "evaluate"
HELP: Final = "judge a trained model on digits that it has not seen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    parser.add_argument(
        "--data",
        type=values.name,
        metavar="mnist|digits|DIR",
        help="the data (default: what the model was trained on)",
    )
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the accuracy, and that of each digit."""
    use_threads(arguments)

    from tinygrad_mnist.cli.table import print_table
    from tinygrad_mnist.training import judge, load_checkpoint
    from tinygrad_mnist.training.wording import name_data, percent

    checkpoint = load_checkpoint(arguments.checkpoint)
    verdict = judge(checkpoint, arguments.data)
    print(
        f"test accuracy {percent(verdict.accuracy)} on {verdict.images:,} test images of "
        f"{name_data(verdict.data, verdict.source)} "
        f"({verdict.images - verdict.right:,} wrong), loss {verdict.loss:.4f}"
    )
    rows = [
        (name, f"{total:,}", percent(right / total) if total else "-", confused)
        for name, total, right, confused in verdict.classes
    ]
    print_table(("digit", "images", "accuracy", "taken most often for"), rows)
    return 0
