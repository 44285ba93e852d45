"""Draw the computation graph of a training step: of a trained model, or of a recipe with new weights."""

from __future__ import annotations

import argparse
import os
import sys
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.inputs import files_of_run, require_no_input
from tinygrad_mnist.cli.output import notify
from tinygrad_mnist.numbers import printable

if TYPE_CHECKING:
    from tinygrad_mnist.graph import Graph

NAME: Final = "graph"
HELP: Final = "draw what a model computes, forward and back"

# The views and formats of `graph`, said once more: it needs NumPy, which may not be loaded before the number
# of threads is set. A test holds the two together.
VIEWS: Final = ("modules", "operations", "backward", "profile")
SUFFIXES: Final = (".svg", ".png", ".pdf", ".html", ".dot", ".mmd", ".txt", ".json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("checkpoint", metavar="RUN", nargs="?", help="a run directory, or a checkpoint")
    shared_options.add_recipe(what, "what to draw with new weights")
    shared_options.add_model(
        parser,
        "the function of your own that builds the model, with new weights; or, with RUN, where the file that "
        "built the model is now",
    )
    shared_options.add_data(
        parser, "the images that go through the model (default: what it was, or would be, trained on)"
    )
    parser.add_argument(
        "--view",
        choices=VIEWS,
        default="modules",
        help="a box a module (default), every operation, the gradients, or times and memory",
    )
    parser.add_argument(
        "--depth", type=shared_options.at_least(0), metavar="N", help="how many levels of modules to open"
    )
    parser.add_argument(
        "--expand", action="append", default=[], metavar="PATH", help="a module to open all the same: model/3"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=shared_options.name,
        metavar="FILE",
        help=f"the file to write; its suffix says what: {' '.join(SUFFIXES)} (default: an outline on the "
        "terminal)",
    )
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw."""
    shared_options.use_threads(arguments)

    if arguments.output is not None:
        _require_writable(arguments.output)
        require_no_input("--output", arguments.output, *_inputs(arguments))

    from tinygrad_mnist.graph import LayoutError
    from tinygrad_mnist.training import TrainingError, choose
    from tinygrad_mnist.training.recipe.recipe_file import read_recipe
    from tinygrad_mnist.training.recipe.recipes import DEFAULT, changes_for
    from tinygrad_mnist.training.runs.pictures import graph_of_checkpoint, graph_of_choice

    profile = arguments.view == "profile"
    if arguments.checkpoint is not None:
        checkpoint = shared_options.load_run(arguments.checkpoint, arguments.model)
        found = graph_of_checkpoint(checkpoint, arguments.data, profile, notify)
    else:
        changes = {} if arguments.model is None else changes_for(arguments.model)
        recipe = read_recipe(arguments.recipe or DEFAULT).changed(**changes)
        choice = choose(recipe, changes, arguments.data, notify)
        found = graph_of_choice(choice, profile)
    try:
        print(_drawn(found, arguments))
    except (ValueError, LayoutError) as error:  # an unknown module, or nothing that lays out
        raise TrainingError(str(error)) from error
    return 0


def _drawn(found: Graph, arguments: argparse.Namespace) -> str:
    """Return the outline for the terminal; or write the file, and return a line about it."""
    from tinygrad_mnist.training.errors import writing

    view = {"depth": arguments.depth, "expand": arguments.expand}
    if arguments.output is None:
        return found.text(arguments.view, **view, **_terminal())
    with writing(arguments.output):
        path = found.save(arguments.output, arguments.view, **view)
    return f"{printable(str(path))}: {found.draw(arguments.view, **view).title}"


def _terminal() -> dict[str, Any]:
    """Return the width of the terminal, and whether it has colours; nothing where the text goes elsewhere."""
    if not sys.stdout.isatty():
        return {}
    return {"width": get_terminal_size().columns, "color": not os.environ.get("NO_COLOR")}


def _inputs(arguments: argparse.Namespace) -> list[str | os.PathLike[str] | None]:
    """Return the files and directories that are read; of a run, those that are no pictures."""
    model = None if arguments.model is None else arguments.model.path
    run = arguments.checkpoint
    return [arguments.data, arguments.recipe, model, *([] if run is None else files_of_run(run))]


def _require_writable(path: str) -> None:
    """Raise the error for a file that could not be written, before the work."""
    from tinygrad_mnist.files import write_error
    from tinygrad_mnist.graph.formats import FORMATS, writer_of
    from tinygrad_mnist.training import RecipeError

    try:
        writer_of(path, FORMATS)
    except ValueError as error:
        raise RecipeError(f"--output: {error}") from error
    except OSError as error:
        raise RecipeError(f"--output {write_error(path, error)}") from error
