"""Say which digit is on a picture: PNG (any size, dark on light or light on dark), NPY, IDX."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import values
from tinygrad_mnist.cli.threads import add_threads, use_threads

if TYPE_CHECKING:
    from tinygrad_mnist.training import Checkpoint

NAME: Final = "predict"
HELP: Final = "recognise the digit on a picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a picture of one digit; FILE:7 is number 7, from 0, of the pictures in an IDX or NPY file",
    )
    parser.add_argument(
        "--index",
        type=values.whole_number,
        metavar="N",
        help="the picture to take from files named without a number",
    )
    parser.add_argument("--probabilities", action="store_true", help="print the probability of each digit")
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each picture; a picture that cannot be read has its sentence on standard error."""
    use_threads(arguments)

    from tinygrad_mnist.cli.failure import FAILED, explain
    from tinygrad_mnist.cli.table import print_table
    from tinygrad_mnist.training import load_checkpoint, recognise
    from tinygrad_mnist.training.wording import percent

    checkpoint = load_checkpoint(arguments.checkpoint)
    rows, status = [], 0
    for name in arguments.images:
        try:
            seen = recognise(checkpoint, name, arguments.index)
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            print(f"tinygrad-mnist: {explained[0]}", file=sys.stderr)
            status = FAILED
            continue
        rest = [percent(p, 1) for p in seen.probabilities] if arguments.probabilities else []
        rows.append((name, seen.name, percent(seen.confidence, 1), *rest))
    if rows:
        heading = (
            "image",
            "digit",
            "confidence",
            *(checkpoint.class_names if arguments.probabilities else ()),
        )
        print_table(heading, rows)
        _warn_of_small_digits(checkpoint)
    return status


def _warn_of_small_digits(checkpoint: Checkpoint) -> None:
    """Say what a model of the bundled digits is not made for."""
    if checkpoint.origin.get("data") != "digits":
        return
    images = checkpoint.origin.get("train_images")
    count = f"{images:,} " if isinstance(images, int) else ""
    height, width = checkpoint.image_shape
    sys.stdout.flush()
    print(
        f"tinygrad-mnist: this model was trained on {count}small digits of {height} x {width} pixels, and "
        "often errs on other people's handwriting; train on MNIST to have your own recognised",
        file=sys.stderr,
    )
