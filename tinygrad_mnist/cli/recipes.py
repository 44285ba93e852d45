"""List the recipes that 'train --recipe NAME' follows."""

from __future__ import annotations

import argparse
from typing import Final

from tinygrad_mnist.cli.output import print_table

NAME: Final = "recipes"
HELP: Final = "list the recipes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options: there are none."""


def run(arguments: argparse.Namespace) -> int:
    """Print a table."""
    from tinygrad_mnist.training import RECIPES

    rows = [
        (
            recipe.name,
            recipe.architecture,
            f"{recipe.optimizer} {recipe.lr:g}",
            "full" if recipe.batch_size is None else str(recipe.batch_size),
            f"{recipe.epochs:g}",
            recipe.description,
        )
        for recipe in RECIPES.values()
    ]
    print_table(("recipe", "layers", "optimiser", "batch", "epochs", "what"), rows)
    return 0
