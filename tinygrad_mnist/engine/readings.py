"""Values that were read out of Tensors as Python numbers while a transform runs, with the lines that did it.

A number has no tape, so what is computed of it has no gradient. That is meant in ``if float(x) > 0`` and in a
line that prints; in ``math.sin(x)`` it loses the gradient. Only the transform can tell: at its end it knows
whether the value reaches the result by the tape as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from tinygrad_mnist.engine.observe import users_line
from tinygrad_mnist.engine.tape import Leaf, Node, recording

Readings = dict[Node, str]
"""The node of each Tensor that was read out, and the user's line of the first time."""

_readings: ContextVar[Readings | None] = ContextVar("readings", default=None)


def note_reading(origin: Node | Leaf | None) -> None:
    """Note that a Tensor of this origin was read out, if a transform runs and the operation is recorded."""
    readings = _readings.get()
    if readings is not None and type(origin) is Node and origin not in readings and recording.get():
        readings[origin] = users_line()


@contextmanager
def noting_readings() -> Iterator[Readings]:
    """Note what is read out inside; what runs around it is told, too, as it may be its argument."""
    own: Readings = {}
    outer = _readings.get()
    token = _readings.set(own)
    try:
        yield own
    finally:
        _readings.reset(token)
        if outer is not None:
            outer.update({node: line for node, line in own.items() if node not in outer})


def lost(
    readings: Readings, arguments: Iterable[Node], results: Iterable[Node | None]
) -> Iterator[tuple[int, str]]:
    """Yield each argument that was read out and that no result depends on by the tape.

    Parameters
    ----------
    readings : dict
        What was read out.
    arguments : iterable of Node
        The nodes of the arguments.
    results : iterable of Node or None
        The nodes of the results.

    Yields
    ------
    tuple of int and str
        The position of the argument, and the line that read it out.
    """
    arguments = list(arguments)
    reached = _ancestors(results, min((node.time for node in arguments), default=0))
    for position, line in _read(readings, arguments).items():
        if arguments[position] not in reached:
            yield position, line


def hand_on(readings: Readings, arguments: Sequence[Node], origins: Sequence[Node | Leaf | None]) -> None:
    """Note what was read out of a function's arguments as read out of the Tensors that they stand for."""
    outer = _readings.get()
    if outer is not None:
        for position, line in _read(readings, arguments).items():
            if type(origin := origins[position]) is Node:
                outer.setdefault(origin, line)


def _read(readings: Readings, arguments: Sequence[Node]) -> dict[int, str]:
    """Return the positions of the arguments that were read out, with the lines that did it."""
    oldest = min((node.time for node in arguments), default=0)
    found: dict[int, str] = {}
    for node, line in readings.items():
        above = _ancestors([node], oldest)
        for position, argument in enumerate(arguments):
            if argument in above:
                found.setdefault(position, line)
    return found


def _ancestors(nodes: Iterable[Node | None], oldest: int) -> set[Node]:
    """Return some nodes and all that they were computed from, back to a time."""
    seen: set[Node] = set()
    waiting: list[Node | Leaf | None] = list(nodes)
    while waiting:
        node = waiting.pop()
        if type(node) is Node and node not in seen and node.time >= oldest:
            seen.add(node)
            waiting.extend(node.parents)
    return seen
