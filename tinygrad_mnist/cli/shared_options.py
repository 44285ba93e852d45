"""Options of several commands, and the values of options from text; ranges are checked by `Recipe`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinygrad_mnist.cli.output import notify
from tinygrad_mnist.cli.start import launcher_link

if TYPE_CHECKING:
    from tinygrad_mnist.training import Checkpoint, ModelFile


def name(text: str) -> str:
    """Return a name or a path, which is not empty, as that of a shell variable that is not set would be."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; is a variable not set?")
    return text


def whole_number(text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def at_least(least: int) -> Callable[[str], int]:
    """Return a function that reads a whole number which is not less than ``least``."""

    def read(text: str) -> int:
        number = whole_number(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is not {least} or more")
        return number

    return read


def number(text: str) -> float:
    """Return a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def batch_size(text: str) -> int | None:
    """Return a number of images, or None for ``full``, which means all of them."""
    return None if text == "full" else whole_number(text)


def hidden(text: str) -> tuple[int, ...]:
    """Return the units of the hidden layers, as in ``256,128``; ``none`` is for no hidden layer."""
    if text == "none":
        return ()
    try:
        return tuple(int(units) for units in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, as in 256,128") from None


def jit(text: str) -> str:
    """Return a name in the table `JIT`."""
    from tinygrad_mnist.training import JIT

    if text not in JIT:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(JIT)}")
    return text


def model_file(text: str) -> ModelFile:
    """Return the model file that ``FILE.py:FUNCTION`` names; it is read, and not run."""
    from tinygrad_mnist.training import ModelFileError, find_model_file

    try:
        return find_model_file(name(text))
    except ModelFileError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# ---- options of several commands -------------------------------------------------------------------------


def add_recipe(parser: argparse._ActionsContainer, purpose: str) -> None:
    """Declare ``--recipe``."""
    from tinygrad_mnist.training.recipe.recipes import DEFAULT, INSTEAD_ON_DIGITS

    parser.add_argument(
        "--recipe",
        type=name,
        metavar="NAME|FILE.toml",
        help=f"{purpose}: a recipe by its name, or in a file (default: {DEFAULT}, on the bundled digits "
        f"{INSTEAD_ON_DIGITS[DEFAULT]}; 'tinygrad-mnist recipes' lists them, and writes files)",
    )


def add_data(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Declare ``--data``."""
    from tinygrad_mnist.training import DATASETS

    parser.add_argument("--data", type=name, metavar="|".join([*DATASETS, "PATH"]), help=purpose)


def add_tta(parser: argparse.ArgumentParser) -> None:
    """Declare ``--tta``."""
    parser.add_argument(
        "--tta",
        action="store_true",
        help="average the probabilities over each image and its four shifts by one pixel",
    )


def add_threshold(parser: argparse.ArgumentParser, default: float | None = 0.7) -> None:
    """Declare ``--threshold``; its default is 0.7, also where None says that it was not given."""
    parser.add_argument(
        "--threshold",
        type=_probability,
        default=default,
        metavar="P",
        help="the probability below which the page says 'not sure' (default 0.7)",
    )


def _probability(text: str) -> float:
    """Return a probability."""
    probability = number(text)
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no probability, which are 0 to 1")
    return probability


def add_model(parser: argparse.ArgumentParser, purpose: str | None = None) -> None:
    """Declare ``--model``."""
    parser.add_argument(
        "--model",
        type=model_file,
        metavar="FILE.py:FUNCTION",
        help=purpose
        or "where the file that built the model is now, if it is no longer in its place or has changed",
    )


def load_run(path: str, model: ModelFile | None) -> Checkpoint:
    """Load a checkpoint; tell the user which file of Python is run for it, if one is."""
    from tinygrad_mnist.training import load_checkpoint

    return load_checkpoint(path, model=model, notify=notify)


def warn_of_small_digits(checkpoint: Checkpoint) -> None:
    """Tell the user of a model of the bundled digits that it is not made for everybody's handwriting."""
    from tinygrad_mnist.training.prediction import note_on_digits

    if note := note_on_digits(checkpoint):
        notify(note)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Declare ``--threads``, which every command that computes has."""
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=1,
        metavar="N",
        help="threads that BLAS computes with (default 1). More can be ten times slower where other programs "
        "use the cores. Where threadpoolctl is installed, a small model is trained by one in any case",
    )


def use_threads(arguments: argparse.Namespace) -> None:
    """Set the number of threads, before NumPy is imported; tell the user what cannot be done."""
    from tinygrad_mnist.training.loop.threads import set_threads

    # our launcher has told of all threads of all processes
    if problem := set_threads(arguments.threads or 1, warn_of_cores=launcher_link() is None):
        notify(problem)
