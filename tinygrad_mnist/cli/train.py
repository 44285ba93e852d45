"""Train a digit recogniser, judge it on digits that it has not seen, and write a run directory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tinygrad_mnist.cli import values
from tinygrad_mnist.cli.threads import add_threads, use_threads

NAME: Final = "train"
HELP: Final = "train a digit recogniser"

_CHANGES: Final = ("epochs", "batch_size", "lr", "hidden", "optimizer", "weight_decay", "clip_norm")
"""The options that change a value of the recipe."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--recipe",
        type=values.name,
        metavar="NAME",
        help="what to train (default: default; 'tinygrad-mnist recipes' lists them)",
    )
    parser.add_argument(
        "--data",
        type=values.name,
        metavar="auto|mnist|digits|DIR",
        help="auto (the default) takes MNIST where it is at hand or can be downloaded, and else the bundled "
        "digits; DIR has the four files of MNIST",
    )
    changes = parser.add_argument_group("changes to the recipe")
    changes.add_argument("--epochs", type=values.whole_number, metavar="N", help="passes through the data")
    changes.add_argument(
        "--batch-size",
        type=values.batch_size,
        metavar="N",
        help="images a step, or 'full'",
        default=argparse.SUPPRESS,
    )
    changes.add_argument("--lr", type=values.number, metavar="X", help="learning rate")
    changes.add_argument(
        "--hidden", type=values.hidden, metavar="256,128", help="units of the hidden layers, or 'none'"
    )
    changes.add_argument(
        "--optimizer",
        metavar="sgd|momentum|rmsprop|adam|adamw",
        help="optimiser; comes with a learning rate of its own unless --lr is given",
    )
    changes.add_argument(
        "--weight-decay", type=values.number, metavar="X", help="L2 penalty; decoupled in adamw"
    )
    changes.add_argument("--clip-norm", type=values.number, metavar="X", help="greatest norm of the gradient")
    parser.add_argument(
        "--seed", type=values.seed, default=0, metavar="N", help="equal seeds give equal results (default 0)"
    )
    add_threads(parser)
    parser.add_argument(
        "--out",
        type=values.name,
        metavar="DIR",
        help="run directory (default runs/RECIPE-TIME); an earlier run in it is replaced",
    )
    parser.add_argument("--quiet", action="store_true", help="print the summary line only")


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    from tinygrad_mnist.training.recipes import find_recipe

    changes = _changes(arguments)
    with _options_as_typed():  # what is misused is said before NumPy is there
        find_recipe(arguments.recipe or "default").changed(**changes)
    use_threads(arguments)

    from tinygrad_mnist.cli.failure import FAILED
    from tinygrad_mnist.cli.progress import make_reporter
    from tinygrad_mnist.cli.report import describe_data, print_outcome, summary_line
    from tinygrad_mnist.training import choose, train

    with _options_as_typed():
        choice = choose(arguments.recipe, changes, arguments.data, notify=_note)
    if not arguments.quiet:
        print(describe_data(choice.dataset), flush=True)
    outcome = train(
        choice.recipe,
        choice.dataset,
        seed=arguments.seed,
        out=arguments.out,
        source=choice.source,
        reporter=make_reporter(sys.stdout, arguments.quiet, _note),
    )
    if arguments.quiet:
        print(summary_line(outcome))
    else:
        print_outcome(outcome)
    for fault in outcome.faults:
        _note(fault)
    return FAILED if outcome.faults else 0


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the user wants otherwise. The batch size may be None, which means something."""
    given = vars(arguments)
    return {
        name: given[name]
        for name in _CHANGES
        if name in given and (given[name] is not None or name == "batch_size")
    }


@contextmanager
def _options_as_typed() -> Iterator[None]:
    """Have an error about a value of the recipe name the option that gave it."""
    from tinygrad_mnist.training.errors import RecipeError

    try:
        yield
    except RecipeError as error:
        value, space, rest = str(error).partition(" ")
        if value not in _CHANGES:
            raise
        raise RecipeError(f"--{value.replace('_', '-')}{space}{rest}") from error


def _note(sentence: str) -> None:
    sys.stdout.flush()
    print(f"tinygrad-mnist: {sentence}", file=sys.stderr, flush=True)
