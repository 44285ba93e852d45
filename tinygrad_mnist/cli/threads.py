"""The option ``--threads``, which every command that computes has."""

from __future__ import annotations

import argparse
import sys

from tinygrad_mnist.cli import values


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--threads",
        type=values.thread_count,
        default=1,
        metavar="N",
        help="threads that BLAS computes with (default 1: more can take ten times as long where cores are "
        "shared; small models are trained by one, where threadpoolctl is installed)",
    )


def use_threads(arguments: argparse.Namespace) -> None:
    """Do as the option says, before NumPy is imported; what cannot be done is said on standard error."""
    from tinygrad_mnist.training.threads import set_threads

    if problem := set_threads(arguments.threads):
        print(f"tinygrad-mnist: {problem}", file=sys.stderr)
