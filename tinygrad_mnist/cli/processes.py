"""Training by several processes, as the command line has it: ``--processes``, mpiexec and srun.

What can be checked without MPI is checked before it is started, which takes more than a second.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import notify
from tinygrad_mnist.cli.start import find_start, join, launcher_link, speaks
from tinygrad_mnist.numbers import count_text

if TYPE_CHECKING:
    from tinygrad_mnist.training import Choice, Recipe
    from tinygrad_mnist.training.distributed.communicator import Communicator


MOST_ON_A_CORE: Final = 8
"""Processes for each core that are started at most."""


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Declare ``--processes``."""
    parser.add_argument(
        "--processes",
        type=shared_options.at_least(1),
        metavar="N",
        help="train by N processes on this machine, each of which takes its share of every batch (needs the "
        "extra mpi). It pays for convolutional networks and as many cores; on several machines mpiexec or "
        "srun starts the command, without this option",
    )


# ---- the start of them -----------------------------------------------------------------------------------


def launched(arguments: argparse.Namespace, recipe: Recipe | None) -> int | None:
    """Start the processes that are asked for, stay until they have ended, and return their exit status.

    Parameters
    ----------
    arguments : argparse.Namespace
        The options of the command.
    recipe : Recipe or None
        What is trained; None if a run goes on.

    Returns
    -------
    int or None
        None in a process that trains: one alone, or one of several.

    Raises
    ------
    RecipeError
        If several processes are asked for in each of several, or more than make sense.
    RunError
        If the run directory cannot be written to.
    """
    from tinygrad_mnist.training.errors import RecipeError

    start = find_start()
    if start is not None:
        if arguments.processes is not None and launcher_link() is None:
            raise RecipeError(
                f"--processes starts processes, but {start.by} has started this one as one of "
                f"{'several' if start.size is None else start.size} already; leave it out"
            )
        if start.size is not None:
            _require_images(start.size, recipe)
        return None
    if arguments.processes in (None, 1):
        return None
    from tinygrad_mnist.training.distributed.launcher import launch
    from tinygrad_mnist.training.distributed.open_mpi import find_launch, usable_cores

    cores = usable_cores()
    _require_cores(arguments.processes, cores)
    _require_images(arguments.processes, recipe)
    made = find_launch(arguments.processes, _program(arguments.words))
    _require_directory(arguments)
    if sentence := crowded(arguments.processes, arguments.threads or 1, cores):
        notify(sentence)
    return launch(made, notify)


def _require_cores(processes: int, cores: int) -> None:
    """Raise an error for many more processes than this machine has cores."""
    from tinygrad_mnist.training.errors import RecipeError

    if processes > MOST_ON_A_CORE * cores:
        raise RecipeError(
            f"--processes {processes} is more than {MOST_ON_A_CORE} for each core of this machine, which has "
            f"{cores}; give {cores} at most, or start them on several machines: "
            f"mpiexec -n {processes} --hostfile hosts tinygrad-mnist train ..."
        )


def _require_images(processes: int, recipe: Recipe | None) -> None:
    """Raise an error if there are more processes than images in a batch."""
    from tinygrad_mnist.training.errors import RecipeError

    if recipe is not None and recipe.batch_size is not None and processes > recipe.batch_size:
        raise RecipeError(
            f"{processes} processes are more than the {count_text(recipe.batch_size, 'image')} of a batch, "
            f"so that some would have none; start {recipe.batch_size} at most, or give a larger --batch-size"
        )


def _require_directory(arguments: argparse.Namespace) -> None:
    """Raise an error if the run directory cannot be made or written to; it is left as it was."""
    from tinygrad_mnist.training.runs.directory import RunDirectory

    if arguments.resume is not None:
        RunDirectory.of_run(arguments.resume).release()
    elif arguments.out is not None:
        RunDirectory(arguments.out, "").release()


def crowded(processes: int, threads: int, cores: int) -> str | None:
    """Return a sentence if processes and their threads are more than the cores, and what to give; else None.

    Examples
    --------
    >>> print(crowded(2, 4, 2))
    2 processes of 4 threads each wait for each other on 2 cores, which takes longer than fewer do; give \
--threads 1
    """
    if processes * threads <= cores:
        return None
    if processes > cores:
        advice = f"--processes {cores}" if cores > 1 else "no --processes"
        advice += " and --threads 1" if threads > 1 else ""
    else:
        advice = f"--threads {cores // processes}"
    each = f" of {threads} threads each" if threads > 1 else ""
    return (
        f"{processes} processes{each} wait for each other on {count_text(cores, 'core')}, which takes longer "
        f"than fewer do; give {advice}"
    )


def _program(words: Sequence[str] | None) -> list[str]:
    """Return the command of this process, for each of several."""
    if words is None:
        return [sys.executable, *sys.orig_argv[1:]]
    return [sys.executable, "-m", "tinygrad_mnist", *words]


# ---- one of them -----------------------------------------------------------------------------------------


@contextmanager
def together() -> Iterator[Communicator | None]:
    """Join the other processes; an exception inside ends them too.

    Yields None in a process that is alone.
    """
    start = find_start()
    if start is None:
        yield None
        return
    from tinygrad_mnist.training.distributed.world import find_world

    comm = find_world(start.size, start.by)
    if comm is None:
        yield None
        return
    from tinygrad_mnist.training.distributed.abort import ending_all
    from tinygrad_mnist.training.distributed.communicator import Communicator

    communicator = Communicator(comm)
    join(communicator)
    if (launcher := launcher_link()) is not None:
        launcher.join()
    with ending_all(communicator):
        yield communicator


def warn_of_little_work(choice: Choice, communicator: Communicator) -> None:
    """Tell the user if a training has so little to compute that several processes do not make it faster."""
    if speaks() and (sentence := little_work(choice, communicator.size)):
        notify(sentence)


def little_work(choice: Choice, processes: int) -> str | None:
    """Return a sentence if several processes hardly make a training faster; None for a model of one's own.

    Parameters
    ----------
    choice : Choice
        The recipe and the data.
    processes : int
        How many there are.
    """
    from tinygrad_mnist.training.distributed.speedup_estimate import advice, estimate
    from tinygrad_mnist.training.loop.by_recipe import steps_per_epoch
    from tinygrad_mnist.training.loop.spread import steps_of
    from tinygrad_mnist.training.recipe.models import known_costs, state_outline

    recipe, dataset = choice.recipe, choice.dataset
    costs = known_costs(recipe, dataset.image_shape, dataset.classes)
    if costs is None:
        return None
    entries = state_outline(recipe, dataset.image_shape, dataset.classes)
    parameters = sum(
        math.prod(shape)
        for name, shape, _ in entries
        if not name.split(".")[-1].startswith(("running", "num"))  # the statistics of batch norm
    )
    samples = len(dataset.train_images)
    samples -= round(samples * recipe.validation)
    found = estimate(
        processes=processes,
        steps=steps_of(recipe.epochs, steps_per_epoch(recipe, samples)),
        images=min(recipe.batch_size or samples, samples) * recipe.accumulate,
        convolved=costs.convolved,
        numbers=costs.numbers,
        parameters=parameters,
    )
    return advice(found, parameters)
