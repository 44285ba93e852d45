"""Laying out by Graphviz: the `dot` program, or the libraries in pygraphviz's wheel.

Both run as another process: one that hangs is ended, and one that crashes takes nothing with it. As the time
grows with the square of what there is to lay out, and worse, that is estimated before, and folded if need be.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from shutil import which
from typing import Any, Final

from tinygrad_mnist.graph.data import Graph
from tinygrad_mnist.graph.drawing import Drawing
from tinygrad_mnist.graph.views import draw

HEAVIEST: Final = 40_000
"""Largest `load` that is laid out. Measured: 0.2 to 2 s below 40,000, 2 to 15 s and more from 60,000 on."""

BOX: Final = 8
"""The part of the load that a box adds: 1,750 boxes of residual blocks in a row take 1 s."""

PATIENCE: Final = 30.0
"""Seconds after which a layout that does not end is ended."""

BUDGETS: Final = (3000, 2000, 1200, 800, 500, 300, 200, 120, 80, 60, 40, 25, 15, 10, 5)
"""Budgets of boxes to try where the drawing that was asked for is too heavy."""

PYGRAPHVIZ: Final = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot"))
"""


class LayoutError(RuntimeError):
    """The error that a picture could not be made: nothing here lays it out, or what does so failed."""


class TooLarge(LayoutError):
    """The error that a picture would take too long to lay out."""


def fitting(graph: Graph, view: str, options: Mapping[str, Any]) -> Drawing:
    """Return the drawing that was asked for; where its layout would take long, the largest that does not.

    That one says so, and its notes offer no depth and no budget, as these were too much.
    """
    asked = draw(graph, view, **options)
    if load(asked) <= HEAVIEST:
        return asked
    lighter = _folded(graph, view, options, len(asked.boxes))
    before, after = len(asked.boxes), len(lighter.boxes)
    note = (
        f"{before:,} boxes would take too long to lay out; here they are folded to {after:,}; "
        "the table of the HTML page and .text() with the same options show all"
    )
    return replace(lighter, notes=(note, *lighter.notes))


def _folded(graph: Graph, view: str, options: Mapping[str, Any], most: int) -> Drawing:
    """Return a drawing of fewer boxes whose layout does not take long, as far as there is one."""
    for expand in dict.fromkeys((tuple(options.get("expand", ())), ())):
        for budget in BUDGETS:
            if budget < most:
                drawing = draw(graph, view, expand=expand, budget=budget, offers_more=False)
                if load(drawing) <= HEAVIEST:
                    return drawing
    return drawing


def load(drawing: Drawing) -> int:
    """Estimate the work of a layout: the boxes, and at each rank the lines that pass times all that is there.

    Examples
    --------
    >>> from tinygrad_mnist.graph.drawing import Arrow, Box
    >>> boxes = tuple(Box(name, "operation", name) for name in "abc")
    >>> load(Drawing("", "modules", boxes, (Arrow("a", "b"), Arrow("b", "c"))))
    24
    >>> load(Drawing("", "modules", boxes, (Arrow("a", "b"), Arrow("b", "c"), Arrow("a", "c"))))
    26
    """
    rank = _ranks(drawing)
    standing = Counter(rank.values())
    steps: Counter[int] = Counter()
    for arrow in drawing.arrows:
        above, below = sorted((rank[arrow.source], rank[arrow.target]))
        if below > above + 1:
            steps[above + 1] += 1
            steps[below] -= 1
    crossed, passing = 0, 0
    for here in range(min(steps, default=0), max(steps, default=0)):
        passing += steps[here]
        crossed += passing * (passing + standing[here])
    return BOX * len(drawing.boxes) + crossed


def _ranks(drawing: Drawing) -> dict[str, int]:
    """Estimate the rank that each box will have: one more than the highest that points to it."""
    after: dict[str, list[str]] = {box.id: [] for box in drawing.boxes}
    open_ends = dict.fromkeys(after, 0)
    for arrow in drawing.arrows:
        after[arrow.source].append(arrow.target)
        open_ends[arrow.target] += 1
    first = [box for box, count in open_ends.items() if not count]
    rank = dict.fromkeys(after, 0)
    waiting = list(first)
    while waiting:
        box = waiting.pop()
        for other in after[box]:
            rank[other] = max(rank[other], rank[box] + 1)
            open_ends[other] -= 1
            if not open_ends[other]:
                waiting.append(other)
    for box in first:  # Graphviz puts what nothing points to right before its first use
        rank[box] = min((rank[other] for other in after[box]), default=1) - 1
    return rank


def render(source: str, format: str) -> bytes:
    """Lay out a text in Graphviz's language, and return the picture as a file's content.

    Parameters
    ----------
    source : str
    format : str
        ``svg``, ``png`` or ``pdf``.

    Raises
    ------
    LayoutError
        If there is neither the `dot` program nor pygraphviz, or they fail.
    """
    command, name = _command(format)
    try:
        done = subprocess.run(
            command,
            input=source.encode(),
            capture_output=True,
            timeout=PATIENCE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TooLarge(
            f"{name} did not lay out the graph in {PATIENCE:.0f} s; fold more of it: depth=1, or budget=20"
        ) from None
    except OSError as error:
        raise LayoutError(f"{name} could not be started: {error}") from error
    if done.returncode or not done.stdout:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise LayoutError(
            f"{name} could not make {format} of the graph (exit status {done.returncode}): "
            f"{told[-1] if told else 'it said nothing'}"
        )
    return done.stdout


def _command(format: str) -> tuple[Sequence[str], str]:
    """Return the command that lays out its standard input, and what to call it in a message."""
    if program := which("dot"):
        return [program, f"-T{format}"], "the program 'dot'"
    if find_spec("pygraphviz") is not None:
        return [sys.executable, "-c", PYGRAPHVIZ, format], "pygraphviz"
    raise LayoutError(
        "drawing needs the program 'dot' (install Graphviz) or the package pygraphviz "
        "(pip install 'tinygrad_mnist[graph]'); text, mermaid, dot and json need neither"
    )
