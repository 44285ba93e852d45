"""Training by several processes, as the command line has it: ``--processes``, mpiexec and srun.

What can be checked without MPI is checked before it is started, which takes more than a second.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import notify
from tinygrad_mnist.cli.start import find_start, join, speaks, tie
from tinygrad_mnist.numbers import count_text

if TYPE_CHECKING:
    from tinygrad_mnist.training import Choice
    from tinygrad_mnist.training.distributed.communicator import Communicator


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


def launched(arguments: argparse.Namespace) -> int | None:
    """Start the processes that are asked for, stay until they have ended, and return their exit status.

    Returns
    -------
    int or None
        None in a process that trains: one alone, or one of several.

    Raises
    ------
    RecipeError
        If several processes are asked for in each of several.
    """
    from tinygrad_mnist.training.errors import RecipeError

    start = find_start()
    if start is not None:
        if arguments.processes is not None and tie() is None:
            raise RecipeError(
                f"--processes starts processes, but {start.by} has started this one as one of "
                f"{'several' if start.size is None else start.size} already; leave it out"
            )
        return None
    if arguments.processes in (None, 1):
        return None
    from tinygrad_mnist.training.distributed.launcher import find_launch, launch, usable_cores

    made = find_launch(arguments.processes, _program(arguments.words))
    threads, cores = arguments.processes * (arguments.threads or 1), usable_cores()
    if threads > cores:
        notify(
            f"{count_text(threads, 'thread')} of {arguments.processes} processes wait for each other on "
            f"{count_text(cores, 'core')}, which takes longer than fewer processes do"
        )
    return launch(made, notify)


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
    if (launcher := tie()) is not None:
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
    images = round(len(dataset.train_images) * (1 - recipe.validation))
    batch = min(recipe.batch_size or images, images) * recipe.accumulate
    found = estimate(
        processes=processes,
        steps=max(1, round(recipe.epochs * images / batch)),
        images=batch,
        convolved=costs.convolved,
        numbers=costs.numbers,
        parameters=parameters,
    )
    return advice(found, parameters)
