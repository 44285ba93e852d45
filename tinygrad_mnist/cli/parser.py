"""The parser of all commands. Mistakes are one sentence on standard error."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tinygrad_mnist import __version__
from tinygrad_mnist.cli import (
    evaluate,
    export,
    gradcheck,
    graph,
    predict,
    recipes,
    report,
    runs,
    serve,
    show_data,
    train,
    verify_resume,
)
from tinygrad_mnist.cli.output import MISUSED, notify
from tinygrad_mnist.cli.start import speaks


class Parser(argparse.ArgumentParser):
    """A parser that prints one sentence on what is wrong and where there is help, and not the usage."""

    def error(self, message: str) -> NoReturn:
        """End with the sentence and the status of a misused command."""
        if speaks():  # of several processes all have the same command
            notify(f"{message} (see {self.prog} --help)")
        self.exit(MISUSED)


class CommandParser(Parser):
    """The parser of one command, which declares its options when it is used and not before.

    The help of an option lists what can be chosen. To load that takes longer than the help of all commands.
    """

    declare: Callable[[argparse.ArgumentParser], None]

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; if an argument is left over, end with a sentence that points to the help of this command."""
        self.declare(self)
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of ``tinygrad-mnist``; ``run`` in what it parses is the function of the command."""
    parser = Parser(
        prog="tinygrad-mnist",
        description="Train a digit recogniser on an autograd engine made of NumPy, and use it.",
        epilog="Begin with: tinygrad-mnist train",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-mnist {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    for command in (
        *(train, report, runs, evaluate, predict, serve, export),
        *(graph, recipes, show_data, gradcheck, verify_resume),
    ):
        own = commands.add_parser(
            command.NAME, help=command.HELP, description=command.__doc__, allow_abbrev=False
        )
        own.declare = command.add_arguments
        own.set_defaults(run=command.run)
    return parser
