"""Predict the digit on a picture: PNG or JPEG (of any size, dark on light or not), NPY, IDX, or one piped in.

Or predict those of a file of images without labels, and write a table of them that Kaggle takes.
"""

from __future__ import annotations

import argparse
import sys
from typing import BinaryIO, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import FAILED, class_heading, explain, notify, print_table, show

NAME: Final = "predict"
HELP: Final = "predict the digit, or another class, on a picture"
STANDARD_INPUT: Final = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        help="a picture of one digit, or of what else the model knows; FILE:7 is number 7, from 0, of the "
        "pictures in an IDX or NPY file, and - is standard input",
    )
    parser.add_argument(
        "--index",
        type=shared_options.whole_number,
        metavar="N",
        help="the picture to take from files named without a number",
    )
    parser.add_argument("--probabilities", action="store_true", help="print the probability of each class")
    parser.add_argument(
        "--data",
        type=shared_options.name,
        metavar="PATH",
        help="images without labels: a CSV file with one in each row, as Kaggle's test.csv, an IDX file, or "
        "a folder of pictures; comes with --submission",
    )
    parser.add_argument(
        "--submission",
        type=shared_options.name,
        metavar="FILE",
        help="the table to write for --data: ImageId,Label, with the ids that a CSV file has, or the names "
        "of files; an older table is replaced, and no other file",
    )
    shared_options.add_tta(parser)
    shared_options.add_model(parser)
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each picture; or write the table of a file."""
    _require_one_of_both(arguments)
    shared_options.use_threads(arguments)
    return _predict_pictures(arguments) if arguments.images else _write_submission(arguments)


def _require_one_of_both(arguments: argparse.Namespace) -> None:
    """Raise an error if neither pictures nor a file with a table were named, or both."""
    from tinygrad_mnist.training import RecipeError

    if arguments.images and (arguments.data or arguments.submission):
        raise RecipeError("name pictures, or --data with --submission, but not both")
    if not arguments.images and not (arguments.data and arguments.submission):
        raise RecipeError("name an IMAGE; or a file of images by --data, and the table by --submission")
    if arguments.images.count(STANDARD_INPUT) > 1:
        raise RecipeError(f"standard input can be read once: name {STANDARD_INPUT} once")
    if not arguments.images and (arguments.probabilities or arguments.index is not None):
        raise RecipeError("--probabilities and --index are for pictures, not for --submission")


def _predict_pictures(arguments: argparse.Namespace) -> int:
    """Print a line for each picture; a picture that cannot be read has its sentence on standard error."""
    from tinygrad_mnist.numbers import percent_text
    from tinygrad_mnist.training import predict_picture

    checkpoint = shared_options.load_run(arguments.checkpoint, arguments.model)
    classes = checkpoint.class_names if arguments.probabilities else ()
    rows, status = [], 0
    for name in arguments.images:
        try:
            picture = _standard_input() if name == STANDARD_INPUT else name
            found = predict_picture(checkpoint, picture, arguments.index, tta=arguments.tta)
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
        shared_options.warn_of_small_digits(checkpoint)
    return status


def _standard_input() -> BinaryIO:
    """Return standard input, unless it is one that nobody pipes a picture into."""
    from tinygrad_mnist.data import DataError

    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("no picture comes by standard input; pipe one into it, as by < seven.png")
    return sys.stdin.buffer


def _write_submission(arguments: argparse.Namespace) -> int:
    """Predict all images of a file, write the table, and print how often each class stands in it."""
    from collections import Counter

    from tinygrad_mnist.data.unlabelled import read_to_predict
    from tinygrad_mnist.numbers import count_text
    from tinygrad_mnist.training import submission

    path, data = arguments.submission, arguments.data
    submission.require_replaceable(path, data)  # before the work
    checkpoint = shared_options.load_run(arguments.checkpoint, arguments.model)
    found = read_to_predict(data, checkpoint.image_shape)
    predicted = submission.predicted_names(checkpoint, found.images, tta=arguments.tta)
    submission.write_predictions(path, predicted, found.ids, found.id_heading)
    shifts = ", probabilities averaged over each image and its four shifts by one pixel" * arguments.tta
    show(f"{path}: {count_text(len(predicted), 'prediction')} for {data}{shifts}")
    if found.labels is not None:
        show(f"{data}: {submission.labels_text(found.labels, predicted, checkpoint.class_names)}")
    counts = Counter(predicted)
    names = checkpoint.class_names
    print_table((class_heading(names), "predicted"), [(name, f"{counts[name]:,}") for name in names])
    return 0
