"""List the recipes that 'train --recipe' follows, or write one as a file to change and to follow."""

from __future__ import annotations

import argparse
from typing import Final

from tinygrad_mnist.cli.output import print_table
from tinygrad_mnist.cli.shared_options import name

NAME: Final = "recipes"
HELP: Final = "list the recipes, or write one as a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--show",
        type=name,
        metavar="NAME|FILE.toml",
        help="write a recipe as TOML, with a comment on each value; change what you like, and train by it: "
        "recipes --show cnn > my.toml, train --recipe my.toml",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a table, or a recipe."""
    from tinygrad_mnist.training import RECIPES
    from tinygrad_mnist.training.recipe.recipe_file import read_recipe, recipe_text

    if arguments.show is not None:
        print(recipe_text(read_recipe(arguments.show)), end="")
        return 0
    rows = [(recipe.name, recipe.architecture, recipe.description) for recipe in RECIPES.values()]
    print_table(("recipe", "layers", "what"), rows)
    return 0
