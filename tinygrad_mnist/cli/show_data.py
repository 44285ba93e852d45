"""Draw some images of each class, and beside each what augmentation makes of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.inputs import require_no_input
from tinygrad_mnist.cli.output import notify, show

if TYPE_CHECKING:
    from tinygrad_mnist.data import Augmentation

NAME: Final = "show-data"
HELP: Final = "draw images of each class, as they are and augmented"

SUFFIXES: Final = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from tinygrad_mnist.data import AUGMENTATIONS

    shared_options.add_data(parser, "the data (default: auto)")
    parser.add_argument(
        "--augmentation",
        type=_augmentation,
        metavar="TEXT",
        help=f"one of {', '.join(AUGMENTATIONS)}, or ranges as in 'rotation 10 shift 1', or a name and the "
        "ranges that replace its own: 'affine shift 2' (default: what suits the size of the images)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=_picture,
        default="data.png",
        metavar="FILE",
        help=f"the file to write; its suffix says what: {' '.join(SUFFIXES)} (default: data.png)",
    )
    parser.add_argument(
        "--seed",
        type=shared_options.at_least(0),
        default=0,
        metavar="N",
        help="chooses the images and how they are changed (default 0)",
    )
    shared_options.add_threads(parser)


def _augmentation(text: str) -> Augmentation:
    """Return the augmentation that a text spells."""
    from tinygrad_mnist.data import DataError, find_augmentation

    try:
        return find_augmentation(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _picture(text: str) -> str:
    """Return the name of a file that can be written, and that ends as a picture."""
    from tinygrad_mnist.files import require_writable, write_error

    if not shared_options.name(text).lower().endswith(SUFFIXES):
        raise argparse.ArgumentTypeError(f"{text} ends in none of {' '.join(SUFFIXES)}")
    try:
        require_writable(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(write_error(text, error)) from None
    return text


def run(arguments: argparse.Namespace) -> int:
    """Draw, and print a line about the data."""
    shared_options.use_threads(arguments)
    require_no_input("--out", arguments.out, arguments.data)

    from pathlib import Path

    from tinygrad_mnist.data import background_of
    from tinygrad_mnist.data.augmentation import suited_to
    from tinygrad_mnist.numbers import size_text
    from tinygrad_mnist.training.runs.data_picture import draw_data
    from tinygrad_mnist.training.training_data import data_title, load_data, notify_of_background

    dataset, source = load_data(arguments.data or "auto", notify)
    augmentation = arguments.augmentation or suited_to(dataset.image_shape)
    notify_of_background(augmentation, background_of(dataset.train_images[:1000]), notify)
    title = data_title(dataset.name, source)
    path = draw_data(dataset, title, augmentation, Path(arguments.out), arguments.seed)
    counts = f"{len(dataset.train_images):,} training and {len(dataset.test_images):,} test images"
    size = f"{size_text(dataset.image_shape)} pixels in {dataset.classes:,} classes"
    show(f"{path}: {title}, {counts} of {size}; augmentation: {augmentation}")
    return 0
