"""List the runs in a directory: what was trained, how well, when, and whether it ended."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import notify, print_table, show
from tinygrad_mnist.numbers import duration_text, percent_text

if TYPE_CHECKING:
    from tinygrad_mnist.training.report.listing import RunRow

NAME: Final = "runs"
HELP: Final = "list the runs, with their accuracies"

_LONGEST: Final = 60
"""Signs of the changes to a recipe that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        type=shared_options.name,
        default="runs",
        help="the directory that holds them (default: runs)",
    )
    parser.add_argument(
        "--sort",
        choices=("time", "accuracy", "name", "seconds"),
        default="time",
        help="by what; the latest, best or longest comes last (default: time)",
    )
    parser.add_argument("--json", action="store_true", help="print all that is known of them as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print a table."""
    from tinygrad_mnist.training.report.listing import INCOMPLETE, list_runs
    from tinygrad_mnist.training.runs.directory import LAST

    rows = list_runs(arguments.directory, arguments.sort)
    if arguments.json:
        print(json.dumps([row.to_dict() for row in rows], indent=2, ensure_ascii=True))
        return 0
    if not rows:
        show(f"{arguments.directory} holds no runs; 'tinygrad-mnist train' writes them to runs/")
        return 0
    heading = ("run", "recipe", "data", "test", "epochs", "time", "when", "state")
    print_table(heading, [_cells(row) for row in rows])
    for row in rows:
        if row.state == INCOMPLETE and os.path.exists(os.path.join(row.path, LAST)):
            notify(f"{row.name} goes on with: tinygrad-mnist train --resume {row.path}")
    return 0


def _cells(row: RunRow) -> tuple[str, ...]:
    """Return the texts of a row."""
    from tinygrad_mnist.training.report.listing import changes_text

    changed = changes_text(row.training_changes)
    if len(changed) > _LONGEST:
        changed = f"{changed[: _LONGEST - 1]}…"
    model = "" if row.model is None else f", {row.model}"
    return (
        row.name,
        "-" if row.recipe is None else f"{row.recipe}{model}{f' ({changed})' if changed else ''}",
        row.data or "-",
        "-" if row.test_accuracy is None else percent_text(row.test_accuracy),
        "-" if row.epochs is None else f"{round(row.epochs, 2):g}",
        "-" if row.seconds is None else f"{_time(row.seconds)}{_processes(row)}",
        row.time,
        f"{row.state}{f': {row.note}' if row.note else ''}",
    )


def _processes(row: RunRow) -> str:
    return f", {row.processes} processes" if row.processes is not None and row.processes > 1 else ""


def _time(seconds: float) -> str:
    return duration_text(seconds) if seconds >= 60 else f"{seconds:.2f} s"
