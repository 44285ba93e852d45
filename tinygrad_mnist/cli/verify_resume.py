"""Prove that a training by a recipe can be interrupted at any moment, and ends in the same bits."""

from __future__ import annotations

import argparse
from typing import Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import FAILED, notify, show
from tinygrad_mnist.cli.start import find_start

NAME: Final = "verify-resume"
HELP: Final = "prove that a training goes on to the same bits after an interruption"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from tinygrad_mnist.training import JIT

    parser.add_argument(
        "recipe", type=shared_options.name, metavar="RECIPE", help="a name, or a .toml file: see 'recipes'"
    )
    shared_options.add_model(parser, "the model that a function of your own builds, in place of the recipe's")
    shared_options.add_data(
        parser, "the data, some images of which are trained on; that of the recipe by default"
    )
    parser.add_argument(
        "--steps",
        type=shared_options.at_least(4),
        default=60,
        metavar="N",
        help="steps of the training (default 60), in two and a half passes through some images",
    )
    parser.add_argument(
        "--points",
        type=shared_options.at_least(1),
        default=6,
        metavar="N",
        help="interruptions (default 6), each followed by a new process",
    )
    parser.add_argument("--seed", type=shared_options.at_least(0), default=0, metavar="N", help="default 0")
    parser.add_argument(
        "--jit",
        type=shared_options.jit,
        default="auto",
        metavar="|".join(JIT),
        help="whether steps are compiled; auto (the default) is as in the whole training",
    )
    shared_options.add_threads(parser)
    parser.add_argument("--processes", type=shared_options.at_least(1), default=1, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Verify; the status is 1 if something differs."""
    from tinygrad_mnist.training.errors import RecipeError
    from tinygrad_mnist.training.loop import compilation
    from tinygrad_mnist.training.recipe.recipe_file import read_recipe
    from tinygrad_mnist.training.recipe.recipes import changes_for

    if arguments.processes > 1 or find_start() is not None:
        raise RecipeError(
            "verify-resume trains by one process, and proves that such a training goes on to the same bits "
            "from wherever it was interrupted; a run by several goes on by train --resume RUN --processes N, "
            "or by mpiexec and train --resume RUN"
        )
    recipe = read_recipe(arguments.recipe)  # what is misused is said at once, before NumPy is there
    changes = changes_for(arguments.model) if arguments.model is not None else {}
    recipe = recipe.changed(**changes)
    compilation.require(arguments.jit)
    shared_options.use_threads(arguments)

    from tinygrad_mnist.training import choose
    from tinygrad_mnist.training.runs.verification import CAUSES, verify_resume

    found = verify_resume(
        choose(recipe, changes, arguments.data, notify),
        steps=arguments.steps,
        points=arguments.points,
        seed=arguments.seed,
        jit=arguments.jit,
        tell=show,
    )
    if found.difference:
        notify(f"{found.difference}; {CAUSES}")
        return FAILED
    show(
        f"equal to the bit after {len(found.points)} interruptions: {found.steps} losses, {found.records} "
        f"evaluations, and {found.arrays} arrays of weights, optimiser and random numbers"
    )
    return 0
