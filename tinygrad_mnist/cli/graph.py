"""Draw the computation graph of a training step: of a trained model, or of a recipe with new weights."""

from __future__ import annotations

import argparse
import os
import sys
from shutil import get_terminal_size
from typing import Any, Final

from tinygrad_mnist.cli import values
from tinygrad_mnist.cli.threads import add_threads, use_threads

NAME: Final = "graph"
HELP: Final = "draw what a model computes, forward and back"

VIEWS: Final = ("modules", "operations", "backward", "profile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("checkpoint", metavar="RUN", nargs="?", help="a run directory, or a checkpoint")
    what.add_argument(
        "--recipe",
        type=values.name,
        metavar="NAME",
        help="a recipe, with new weights ('tinygrad-mnist recipes' lists them; default: default)",
    )
    parser.add_argument(
        "--data",
        type=values.name,
        metavar="auto|mnist|digits|DIR",
        help="whose images go through the model (default: what it was, or would be, trained on)",
    )
    parser.add_argument(
        "--view",
        choices=VIEWS,
        default="modules",
        help="a box a module (default), every operation, the gradients, or times and memory",
    )
    parser.add_argument("--depth", type=values.level, metavar="N", help="how many levels of modules to open")
    parser.add_argument(
        "--expand", action="append", default=[], metavar="PATH", help="a module to open all the same: model/3"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=values.name,
        metavar="FILE",
        help="where to write; the suffix says what: .svg .png .pdf .html .dot .mmd .txt .json (default: an "
        "outline on the terminal)",
    )
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw."""
    use_threads(arguments)

    if arguments.output is not None:
        _refuse_unwritable(arguments.output)

    from tinygrad_mnist.graph import LayoutError
    from tinygrad_mnist.training import choose, load_checkpoint
    from tinygrad_mnist.training.errors import TrainingError
    from tinygrad_mnist.training.graphs import graph_of_checkpoint, graph_of_choice

    profile = arguments.view == "profile"
    options = {"depth": arguments.depth, "expand": arguments.expand}
    if arguments.checkpoint is not None:
        checkpoint = load_checkpoint(arguments.checkpoint)
        found = graph_of_checkpoint(checkpoint, arguments.data, profile, _note)
    else:
        found = graph_of_choice(choose(arguments.recipe, {}, arguments.data, notify=_note), profile)
    try:
        if arguments.output is None:
            print(found.text(arguments.view, **options, **_terminal()))
        else:
            path = found.save(arguments.output, arguments.view, **options)
            print(f"{path}: {found.draw(arguments.view, **options).title}")
    except (ValueError, LayoutError) as error:  # the sentences of the room `graph`
        raise TrainingError(str(error)) from error
    except OSError as error:
        raise TrainingError(f"{arguments.output} cannot be written: {error.strerror}") from error
    return 0


def _terminal() -> dict[str, Any]:
    """The width of the terminal, and whether it has colours; nothing where the text goes elsewhere."""
    if not sys.stdout.isatty():
        return {}
    return {"width": get_terminal_size().columns, "color": not os.environ.get("NO_COLOR")}


def _refuse_unwritable(path: str) -> None:
    """Say before the work that its result could not be written."""
    from tinygrad_mnist.graph.methods import writer_of
    from tinygrad_mnist.training.errors import RecipeError

    try:
        writer_of(path)
    except ValueError as error:
        raise RecipeError(f"--output: {error}") from error
    except OSError as error:
        raise RecipeError(f"--output {path} cannot be written: {error.strerror}") from error


def _note(sentence: str) -> None:
    print(f"tinygrad-mnist: {sentence}", file=sys.stderr, flush=True)
