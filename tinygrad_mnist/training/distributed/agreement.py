"""The agreement of all processes before they train: that nothing is wrong, and that they train the same.

Where one of them could not begin, the others would wait for it for ever; where one had other data, or another
version of NumPy, the result would be that of no training at all.
"""

from __future__ import annotations

import pickle
import platform
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from tinygrad_mnist._version import __version__
from tinygrad_mnist.numbers import count_text, printable
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.errors import TrainingError

Value = TypeVar("Value")

NAMED: Final = 3
"""Differences that a sentence names; it counts the others."""


def agreed(communicator: Communicator | None) -> AbstractContextManager[None]:
    """Let an error that one rank raises inside be raised in all of them.

    A rank with an error of its own raises that. The others raise that of the first rank that has one, of the
    same class where that can be sent, with the rank and its host in the sentence. An interrupt of one is an
    interrupt of all.

    Inside, ranks exchange nothing: one that raises an error would not take part.

    Parameters
    ----------
    communicator : Communicator or None
        The ranks, all of which come here; None for one process.

    Examples
    --------
    >>> with agreed(None):
    ...     print("one process agrees with itself")
    one process agrees with itself
    """
    return nullcontext() if communicator is None else _Agreement(communicator)


class _Agreement:
    """The end of something that each rank does for itself, which all of them reach, or none."""

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        found: list[_Sent | None] = self._communicator.gather(None if error is None else _sent(error))
        ranks = [rank for rank, sent in enumerate(found) if sent is not None]
        if error is not None:
            mark_agreed(error)
        elif ranks:
            received = _received(found, ranks[0])
            mark_agreed(received)
            raise received


_MARK: Final = "_is_agreed"


def mark_agreed(error: BaseException) -> None:
    """Note of an error that all ranks raise it, or one like it: nobody has to be told, or waits."""
    with suppress(AttributeError):  # of a class with slots
        setattr(error, _MARK, True)


def is_agreed(error: BaseException | None) -> bool:
    """Return whether all ranks raise this error, or the one that it was raised from."""
    while error is not None:
        if getattr(error, _MARK, False):
            return True
        error = error.__cause__
    return False


class _Sent(NamedTuple):
    """An error as it is sent: its host, its sentence, and the error itself, where it can be pickled.

    ``interrupt`` has the arguments of an interrupt, which say what signal it was; None of any other error.
    """

    host: str
    sentence: str
    interrupt: tuple[Any, ...] | None
    pickled: bytes | None


def _sent(error: BaseException) -> _Sent:
    is_known = isinstance(error, TrainingError | ImportError | ValueError)
    sentence = str(error) if is_known and str(error) else f"{type(error).__name__}: {error}"
    try:
        pickled = pickle.dumps(error) if isinstance(error, Exception) else None
    except Exception:  # an error of the user's may hold anything
        pickled = None
    interrupt = error.args if isinstance(error, KeyboardInterrupt) else None
    return _Sent(socket.gethostname(), sentence, interrupt, pickled)


def _received(found: Sequence[_Sent | None], rank: int) -> BaseException:
    """Return the error of another rank, which names it."""
    sent = found[rank]
    assert sent is not None
    if sent.interrupt is not None:
        return KeyboardInterrupt(*sent.interrupt)
    sentence = f"rank {rank} of {len(found)}, on {sent.host}: {sent.sentence}"
    if sent.pickled is not None:
        try:
            error = pickle.loads(sent.pickled)
            error.args = (sentence, *error.args[1:])
        except Exception:  # its class is not known here
            return TrainingError(sentence)
        if isinstance(error, Exception) and str(error) == sentence:  # an OSError has a text of its own
            return error
    return TrainingError(sentence)


def from_writer(communicator: Communicator | None, make: Callable[[], Value]) -> Value:
    """Return what the rank that writes files makes, in all ranks; its error is everybody's.

    Parameters
    ----------
    communicator : Communicator or None
        The ranks.
    make : callable
        Called in one rank alone. What it returns can be pickled.

    Examples
    --------
    >>> from_writer(None, lambda: "read once")
    'read once'
    """
    if communicator is None:
        return make()
    value: Any = None
    with agreed(communicator):
        if communicator.is_writer:
            value = make()
    received: Value = communicator.broadcast(value)
    return received


# ---- the same in all ranks -------------------------------------------------------------------------------


def require_equal(communicator: Communicator | None, facts: Mapping[str, Any], advice: str = "") -> None:
    """Raise an error in all ranks if they do not have the same facts.

    Parameters
    ----------
    communicator : Communicator or None
        The ranks.
    facts : mapping
        What each of them has, by name: plain data.
    advice : str
        What is to be done where they differ, as the end of a sentence.

    Raises
    ------
    TrainingError
        If one differs; the sentence names what differs, with the ranks and their hosts.

    Examples
    --------
    >>> require_equal(None, {"seed": 3})
    """
    if communicator is None:
        return
    if faults := differences(communicator, facts):
        error = TrainingError(
            f"the processes do not train the same: {named(faults)}{advice and f'; {advice}'}"
        )
        mark_agreed(error)
        raise error


def differences(communicator: Communicator, facts: Mapping[str, Any]) -> list[str]:
    """Return in words, the same in all ranks, which of their facts differ, with the values of all."""
    found = communicator.gather((communicator.host, dict(facts)))
    hosts, each = [host for host, _ in found], [own for _, own in found]
    names = dict.fromkeys(name for own in each for name in own)
    return [
        f"{name} is {_values([own.get(name) for own in each], hosts)}"
        for name in names
        if any(own.get(name) != each[0].get(name) for own in each)
    ]


def named(faults: Sequence[str]) -> str:
    """Return the first differences, and how many others there are."""
    more = f"; and {count_text(len(faults) - NAMED, 'other difference')}" if len(faults) > NAMED else ""
    return f"{'; '.join(faults[:NAMED])}{more}"


def _values(values: Sequence[Any], hosts: Sequence[str]) -> str:
    """Return different values with the ranks that have them."""
    groups: list[tuple[Any, list[int]]] = []
    for rank, value in enumerate(values):
        known = next((ranks for other, ranks in groups if other == value), None)
        if known is None:
            groups.append((value, [rank]))
        else:
            known.append(rank)
    texts = [f"{_text(value)} on {ranks_text(ranks, hosts)}" for value, ranks in groups]
    more = f", and {len(texts) - NAMED} other values" if len(texts) > NAMED else ""
    return f"{', and '.join(texts[:NAMED])}{more}"


def _text(value: Any) -> str:
    return "missing" if value is None else f"{printable(str(value)):.60}"


def ranks_text(ranks: Sequence[int], hosts: Sequence[str]) -> str:
    """Return some ranks, in ascending order, with the hosts that they are on.

    Parameters
    ----------
    ranks : sequence of int
        Their numbers.
    hosts : sequence of str
        The host of each rank of all.

    Examples
    --------
    >>> ranks_text([0], ["a", "b", "b", "b", "a"]), ranks_text([1, 2, 3], ["a", "b", "b", "b", "a"])
    ('rank 0 (a)', 'ranks 1 to 3 (b)')
    >>> ranks_text([0, 2], ["a", "b", "b"])
    'ranks 0, 2 (a, b)'
    """
    names = list(dict.fromkeys(hosts[rank] for rank in ranks))
    on = f"({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
    if len(ranks) == 1:
        return f"rank {ranks[0]} {on}"
    if len(ranks) > 2 and ranks[-1] - ranks[0] == len(ranks) - 1:
        return f"ranks {ranks[0]} to {ranks[-1]} {on}"
    shown = ", ".join(map(str, ranks[:10]))
    return f"ranks {shown}{', ...' if len(ranks) > 10 else ''} {on}"


def require_equal_versions(communicator: Communicator | None) -> None:
    """Raise an error in all ranks if one of them computes with another version than the others.

    Raises
    ------
    TrainingError
        If Python, this package, NumPy, llvmlite or MPI is another one there.
    """
    if communicator is not None:
        require_equal(communicator, versions_that_count(), "install the same versions everywhere")


def versions_that_count() -> dict[str, str | None]:
    """Return the versions of what computes and exchanges; None for what is not installed.

    Examples
    --------
    >>> sorted(versions_that_count())
    ['MPI', 'NumPy', 'Python', 'llvmlite', 'mpi4py', 'tinygrad_mnist']
    """
    mpi = sys.modules.get("mpi4py.MPI")  # nothing loads it for this: it takes a second
    library = None if mpi is None else str(mpi.Get_library_version()).split(",")[0].strip("\0 \n")
    return {
        "Python": platform.python_version(),
        "tinygrad_mnist": __version__,
        "NumPy": np.__version__,
        "llvmlite": _version_of("llvmlite"),
        "mpi4py": _version_of("mpi4py"),
        "MPI": library,
    }


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
