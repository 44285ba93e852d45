"""Predict the digit on a picture: PNG (any size, dark on light or light on dark), NPY, IDX."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli.output import FAILED, class_heading, explain, notify, print_table
from tinygrad_mnist.cli.shared_options import add_threads, use_threads, whole_number

if TYPE_CHECKING:
    from tinygrad_mnist.training import Checkpoint

NAME: Final = "predict"
HELP: Final = "predict the digit, or another class, on a picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a picture of one digit, or of what else the model knows; FILE:7 is number 7, from 0, of the "
        "pictures in an IDX or NPY file",
    )
    parser.add_argument(
        "--index",
        type=whole_number,
        metavar="N",
        help="the picture to take from files named without a number",
    )
    parser.add_argument("--probabilities", action="store_true", help="print the probability of each class")
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each picture; a picture that cannot be read has its sentence on standard error."""
    use_threads(arguments)

    from tinygrad_mnist.numbers import percent_text
    from tinygrad_mnist.training import load_checkpoint, predict_picture

    checkpoint = load_checkpoint(arguments.checkpoint)
    classes = checkpoint.class_names if arguments.probabilities else ()
    rows, status = [], 0
    for name in arguments.images:
        try:
            found = predict_picture(checkpoint, name, arguments.index)
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            notify(explained[0])
            status = FAILED
            continue
        shares = [percent_text(share, 1) for share in found.probabilities] if arguments.probabilities else []
        rows.append((name, found.name, percent_text(found.confidence, 1), *shares))
    if rows:
        print_table(("image", class_heading(checkpoint.class_names), "confidence", *classes), rows)
        _warn_of_small_digits(checkpoint)
    return status


def _warn_of_small_digits(checkpoint: Checkpoint) -> None:
    """Tell the user that a model of the bundled digits is not made for other people's handwriting."""
    if checkpoint.origin.get("data") != "digits":
        return
    from tinygrad_mnist.numbers import size_text

    images = checkpoint.origin.get("train_images")
    count = f"{images:,} " if isinstance(images, int) else ""
    notify(
        f"this model was trained on {count}small digits of {size_text(checkpoint.image_shape)} pixels, and "
        "often errs on other people's handwriting; train on MNIST to have your own recognised"
    )
