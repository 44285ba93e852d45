"""One end for all processes: an exception in one of them must not leave the others waiting.

An exception that all processes have is raised in each. One that only some have ends all: whoever has it says
so, with its rank and machine, and MPI ends the others.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import Final

from tinygrad_mnist.data import DataError
from tinygrad_mnist.training.distributed.agreement import is_agreed, mark_agreed
from tinygrad_mnist.training.distributed.communicator import PATIENCE, Communicator
from tinygrad_mnist.training.distributed.errors import RankLostError
from tinygrad_mnist.training.distributed.watch import say
from tinygrad_mnist.training.errors import TrainingError, is_interrupt
from tinygrad_mnist.training.recipe.model_file import explain

INTERRUPTED: Final = 130


@contextmanager
def ending_all(communicator: Communicator | None) -> Iterator[None]:
    """Let an exception inside end all processes with its message and a non-zero exit status.

    Where all processes have an exception within seconds, each raises its own; nothing is printed here but
    messages that differ from that of rank 0, who prints its own. All ranks enter and leave it together. With
    None, for one process, it does nothing.

    Parameters
    ----------
    communicator : Communicator or None
        The processes.

    Examples
    --------
    >>> with ending_all(None):
    ...     print("one process")
    one process
    """
    try:
        yield
    except BaseException as error:
        if communicator is not None and not is_agreed(error):
            _end_unless_all_failed(communicator, error)
        raise


def _end_unless_all_failed(communicator: Communicator, error: BaseException) -> None:
    if isinstance(error, RankLostError):
        left = [rank for rank in range(communicator.size) if rank not in error.ranks]
        if communicator.rank != left[0]:
            sleep(PATIENCE)  # they all have the same to say: one says it, and ends all
    if not communicator.meet(PATIENCE):
        _say(communicator, error)
        communicator.end_all(INTERRUPTED if is_interrupt(error) else 1)
        return
    messages = communicator.gather(_sentence(error))
    if messages[communicator.rank] != messages[0]:
        _say(communicator, error)
    mark_agreed(error)


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _say(communicator: Communicator, error: BaseException) -> None:
    """Print an error with its rank and machine: a sentence for a user's mistake, else a traceback."""
    text = explain(error)
    if text is None and (isinstance(error, TrainingError | DataError | OSError) or is_interrupt(error)):
        text = _sentence(error)
    if text is None:
        text = "".join(traceback.format_exception(error)).rstrip()
    say(f"rank {communicator.rank} on {communicator.host}: {text}")
