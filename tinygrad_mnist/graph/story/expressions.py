"""Computations as a line of mathematics: ``(a × b + c) × f``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tinygrad_mnist.graph.data import OPERATION, Graph
from tinygrad_mnist.graph.numbers import argument_text, arguments_text
from tinygrad_mnist.graph.story.derivatives import powered

INFIX: Final = {"add": "+", "subtract": "−", "multiply": "×", "divide": "÷", "matmul": "@"}
LOOSE: Final = ("+", "−")
LONGEST: Final = 72
"""Characters of the longest line."""

Key = tuple[str, int]


def called(name: str, arguments: Sequence[str], static: Mapping[str, Any]) -> str:
    """An operation on arguments that are names or numbers.

    Examples
    --------
    >>> called("multiply", ["a", "b"], {}), called("sum", ["x"], {"axis": 0}), called("power", ["x", "2"], {})
    ('a × b', 'sum(x, axis=0)', 'x²')
    """
    if name in INFIX and len(arguments) == 2:
        return f"{arguments[0]} {INFIX[name]} {arguments[1]}"
    if name == "negative":
        return f"−{arguments[0]}"
    if name == "power" and arguments[1].lstrip("-").replace(".", "", 1).isdigit():
        return powered(arguments[0], float(arguments[1]))
    if name == "power":
        return f"{arguments[0]}^{arguments[1]}"
    if name == "getitem" and "index" in static:
        return f"{arguments[0]}[{argument_text(static['index'])}]"
    options = arguments_text((), (), static)
    return f"{name}({', '.join([*arguments, options] if options else arguments)})"


def nested(
    graph: Graph,
    sides: Mapping[str, Sequence[str | Key]],
    statics: Mapping[str, Mapping[str, Any]],
    names: Mapping[Key, str],
) -> str:
    """The last operation of a graph in terms of arrays alone, or of named results where that is too long.

    Parameters
    ----------
    graph : Graph
    sides : mapping of str to sequence
        The arguments of each operation: results, and numbers as texts.
    statics : mapping of str to mapping
        The keyword arguments of each operation.
    names : mapping
        What each array and result is called.
    """
    whole: dict[Key, tuple[str, str]] = {}  # the text, and the operation that is its outermost
    text = ""
    for node in graph.nodes:
        keys = [(node.id, index) for index in range(len(node.values))]
        if node.kind != OPERATION or len(keys) > 1:
            whole.update({key: (names[key], "") for key in keys})
            continue
        plain, full = [], []
        for position, side in enumerate(sides[node.id]):
            inner, outermost = (side, "") if isinstance(side, str) else whole[side]
            plain.append(side if isinstance(side, str) else names[side])
            full.append(f"({inner})" if _enclosed(outermost, node.name, position) else inner)
        static = statics[node.id]
        text = called(node.name, full, static)
        if len(text) > LONGEST:
            text = called(node.name, plain, static)
        whole[keys[0]] = (text, node.name)
    key = (graph.operations[-1].id, 0)
    return f"{names[key]} = {text}"


def _enclosed(inner: str, outer: str, position: int) -> bool:
    """Whether an argument needs parentheses."""
    if inner not in (*INFIX, "negative", "power") or outer not in (*INFIX, "negative", "power"):
        return False
    if inner == "power":
        return outer == "power" and position == 0
    if outer in ("add", "subtract"):
        return position == 1 and (inner == "negative" or (outer == "subtract" and INFIX.get(inner) in LOOSE))
    return not (inner == "multiply" and outer in ("multiply", "negative"))
