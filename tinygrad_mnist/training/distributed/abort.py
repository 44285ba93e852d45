"""One end for all processes: an exception in one of them must not leave the others waiting.

An exception that all processes have is raised in each. One that only some have ends all: whoever has it says
so, with its rank and machine, and MPI ends the others.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

from tinygrad_mnist.data import DataError
from tinygrad_mnist.exit_status import status_of
from tinygrad_mnist.training.distributed.agreement import is_agreed, mark_agreed
from tinygrad_mnist.training.distributed.communicator import PATIENCE, Communicator
from tinygrad_mnist.training.distributed.errors import RankLostError
from tinygrad_mnist.training.distributed.watch import say
from tinygrad_mnist.training.errors import TrainingError, interrupt_of, is_interrupt
from tinygrad_mnist.training.recipe.model_file import explain


@contextmanager
def ending_all(communicator: Communicator | None) -> Iterator[None]:
    """Let an exception inside end all processes with its message and a non-zero exit status.

    Where all processes have an exception within seconds, each raises its own; nothing is printed here but
    messages that differ from that of rank 0, who prints its own. All ranks enter and leave it together. One
    that fails when the others have ended already ends by itself. With None, for one process, it does nothing.

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
        left = [number for number in communicator.members if number not in error.ranks]
        if communicator.members[communicator.rank] != left[0]:
            sleep(PATIENCE)  # they all have the same to say: one says it, and ends all
    ended = communicator.meet(PATIENCE)
    if ended is None:
        _say(communicator, error)
        interrupt = interrupt_of(error)
        communicator.end_all(1 if interrupt is None else status_of(interrupt))
        return
    if ended:  # others have done their part, and exchange nothing any more: this one ends by itself, too
        is_known = communicator.is_writer
    else:
        messages = communicator.gather(_sentence(error))
        is_known = messages[communicator.rank] == messages[0]
    if not is_known:
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
    say(f"rank {communicator.members[communicator.rank]} on {communicator.host}: {text}")
