"""The parser of all commands. Mistakes are one sentence on standard error."""

from __future__ import annotations

import argparse
from typing import NoReturn

from tinygrad_mnist import __version__
from tinygrad_mnist.cli import evaluate, gradcheck, predict, recipes, train
from tinygrad_mnist.cli.failure import MISUSED


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and where there is help, instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        """End with the sentence and the status of a misused command."""
        self.exit(MISUSED, f"tinygrad-mnist: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``tinygrad-mnist``; ``run`` in what it returns is the function of the command."""
    parser = Parser(
        prog="tinygrad-mnist",
        description="Train a digit recogniser on an autograd engine made of NumPy, and use it.",
        epilog="Begin with: tinygrad-mnist train",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-mnist {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (train, evaluate, predict, recipes, gradcheck):
        own = commands.add_parser(
            command.NAME, help=command.HELP, description=command.__doc__, allow_abbrev=False
        )
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser
