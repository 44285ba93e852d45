"""Write the report of a run anew, or a page that compares several runs."""

from __future__ import annotations

import argparse
from typing import Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.inputs import files_of_run, require_no_input
from tinygrad_mnist.cli.output import notify, show
from tinygrad_mnist.numbers import printable

NAME: Final = "report"
HELP: Final = "write the report of a run, or compare several"

COMPARISON: Final = "comparison.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="a run directory: its report.html is written anew; several are compared in a page of their own",
    )
    parser.add_argument(
        "--out",
        type=shared_options.name,
        metavar="FILE",
        help=f"the page that compares runs (default: {COMPARISON}); only an earlier one is replaced",
    )
    shared_options.add_model(parser)
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page, and name it."""
    shared_options.use_threads(arguments)

    from tinygrad_mnist.training import RecipeError

    paths: list[str] = arguments.runs
    twice = [path for index, path in enumerate(paths) if path in paths[:index]]
    if twice:
        raise RecipeError(f"{twice[0]} was named twice; name each run once")
    if len(paths) > 1:
        return _compare(paths, arguments)
    if arguments.out is not None:
        raise RecipeError("--out is for the page that compares several runs; that of one is in its directory")

    from tinygrad_mnist.training.report.trained_run import read_run
    from tinygrad_mnist.training.report.write import write_report

    path = write_report(read_run(paths[0], model=arguments.model, notify=notify))
    show(f"report {printable(str(path))}")
    return 0


def _compare(paths: list[str], arguments: argparse.Namespace) -> int:
    from tinygrad_mnist.training.report.write import require_comparison_path, write_comparison

    out = arguments.out or COMPARISON
    require_comparison_path(out)
    require_no_input("--out", out, *(file for path in paths for file in files_of_run(path)))
    path = write_comparison(paths, out, model=arguments.model, notify=notify)
    show(f"comparison {printable(str(path))}")
    return 0
