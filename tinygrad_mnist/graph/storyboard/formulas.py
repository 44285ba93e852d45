"""Operations and their derivatives as a teacher writes them: ``(a × b + c) × f``, ``1 − y²``.

These are words for readers. The numbers of a storyboard come from the rules of the operations, and a test
compares each formula with the number that the rule gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tinygrad_mnist.graph.data import OPERATION, Graph
from tinygrad_mnist.graph.descriptions import argument_text, arguments_text
from tinygrad_mnist.numbers import math_text

Key = tuple[str, int]
"""A result: the id of its node, and its position among the results there."""

INFIX: Final = {"add": "+", "subtract": "−", "multiply": "×", "divide": "÷", "matmul": "@"}

LONGEST: Final = 72
"""Characters of the longest line."""

FORMULAE: Final[dict[str, tuple[str, ...]]] = {
    "identity": ("1",),
    "positive": ("1",),
    "negative": ("−1",),
    "add": ("1", "1"),
    "subtract": ("1", "−1"),
    "multiply": ("{y}", "{x}"),
    "divide": ("1 / {y}", "−{out} / {y}"),
    "reciprocal": ("−{out}²",),
    "square": ("2 · {x}",),
    "sqrt": ("1 / (2 · {out})",),
    "cbrt": ("1 / (3 · {out}²)",),
    "absolute": ("sign {x}",),
    "fabs": ("sign {x}",),
    "exp": ("{out}",),
    "expm1": ("{out} + 1",),
    "exp2": ("{out} · ln 2",),
    "log": ("1 / {x}",),
    "log1p": ("1 / (1 + {x})",),
    "log2": ("1 / ({x} · ln 2)",),
    "log10": ("1 / ({x} · ln 10)",),
    "sin": ("cos {x}",),
    "cos": ("−sin {x}",),
    "tan": ("1 + {out}²",),
    "arctan": ("1 / (1 + {x}²)",),
    "sinh": ("cosh {x}",),
    "cosh": ("sinh {x}",),
    "tanh": ("1 − {out}²",),
    "sigmoid": ("{out} · (1 − {out})",),
    "softplus": ("σ({x})",),
    "relu": ("1 where {x} > 0, else 0",),
    "maximum": ("1 where {x} > {y}, else 0", "1 where {y} > {x}, else 0"),
    "minimum": ("1 where {x} < {y}, else 0", "1 where {y} < {x}, else 0"),
    "sum": ("1 for each entry",),
    "mean": ("1 / n for each of n entries",),
    "reshape": ("1: the same entries in another shape",),
    "transpose": ("1: the same entries in another order",),
    "broadcast_to": ("1 for each copy",),
    "astype": ("1",),
    "getitem": ("1 where an entry was taken, else 0",),
    "where": ("", "1 where it was chosen, else 0", "1 where it was chosen, else 0"),
}
"""One formula an argument; ``{x}``, ``{y}`` and ``{out}`` stand for the names of arguments and result."""


def formula(name: str, position: int, arrays: Sequence[Any], names: Sequence[str], out: str) -> str:
    """Return the derivative of a result by one argument; empty where the table has none.

    Parameters
    ----------
    name : str
        The operation.
    position : int
        Of the argument.
    arrays : sequence
        The arguments.
    names : sequence of str
        The names of the arguments.
    out : str
        The name of the result.

    Examples
    --------
    >>> formula("multiply", 0, [2.0, 3.0], ["a", "b"], "e")
    'b'
    >>> formula("power", 0, [2.0, 3], ["x", "3"], "y")
    '3 · x²'
    """
    if name == "power":
        return _of_power(position, arrays, names, out)
    if name == "matmul":
        return _of_matmul(position, arrays, names)
    known = FORMULAE.get(name, ())
    if position >= len(known):
        return ""
    x, y = (*names, "", "")[:2]
    return known[position].format(x=x, y=y, out=out)


def _of_power(position: int, arrays: Sequence[Any], names: Sequence[str], out: str) -> str:
    x, y = names
    if position == 1:
        return f"{out} · ln {x}"
    exponent = arrays[1]
    if not isinstance(exponent, (int, float)):
        return f"{y} · {x}^({y} − 1)"
    return f"{y} · {powered(x, exponent - 1)}"


def _of_matmul(position: int, arrays: Sequence[Any], names: Sequence[str]) -> str:
    """Return the derivative of a product of two vectors; that of matrices has no short form."""
    vectors = all(getattr(array, "ndim", 0) == 1 for array in arrays)
    return names[1 - position] if vectors else ""


def powered(x: str, exponent: float) -> str:
    """Return a power as text.

    Examples
    --------
    >>> powered("x", 2), powered("x", 1), powered("x", -0.5)
    ('x²', 'x', 'x^−0.5')
    """
    signs = {1.0: "", 2.0: "²", 3.0: "³"}
    return x + signs.get(float(exponent), f"^{math_text(exponent)}")


def expression(name: str, arguments: Sequence[str], static: Mapping[str, Any]) -> str:
    """Return an operation on arguments that are names or numbers.

    Examples
    --------
    >>> expression("multiply", ["a", "b"], {}), expression("power", ["x", "2"], {})
    ('a × b', 'x²')
    >>> expression("sum", ["x"], {"axis": 0})
    'sum(x, axis=0)'
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


def whole_expression(
    graph: Graph,
    arguments: Mapping[str, Sequence[str | Key]],
    statics: Mapping[str, Mapping[str, Any]],
    names: Mapping[Key, str],
) -> str:
    """Return the last result of a graph in terms of arrays: ``L = (a × b + c) × f``.

    An operation whose line would be too long is written in terms of named results.

    Parameters
    ----------
    graph : Graph
    arguments : mapping of str to sequence
        The arguments of each operation: results, and numbers as texts.
    statics : mapping of str to mapping
        The keyword arguments of each operation.
    names : mapping
        The name of each array and result.
    """
    # Of each result, what stands for it in an expression, and its outermost operation.
    texts: dict[Key, tuple[str, str]] = {}
    text, keys = "", []
    for node in graph.nodes:
        keys = [(node.id, index) for index in range(len(node.values))]
        if node.kind != OPERATION:
            texts[keys[0]] = (names[keys[0]], "")
            continue
        named, full = [], []
        for position, argument in enumerate(arguments[node.id]):
            inner, outermost = (argument, "") if isinstance(argument, str) else texts[argument]
            named.append(argument if isinstance(argument, str) else names[argument])
            full.append(f"({inner})" if _needs_parentheses(outermost, node.name, position) else inner)
        text = expression(node.name, full, statics[node.id])
        if len(text) > LONGEST:
            text = expression(node.name, named, statics[node.id])
        # One of several results cannot be written as an expression, so it goes by its name.
        texts.update({key: (names[key], "") if len(keys) > 1 else (text, node.name) for key in keys})
    last = ", ".join(names[key] for key in keys)
    return f"{last} = {text}"


def _needs_parentheses(inner: str, outer: str, position: int) -> bool:
    """Return whether an operation stands in parentheses as an argument of another."""
    signs = (*INFIX, "negative", "power")
    if inner not in signs or outer not in signs:
        return False  # one of them is an array, or a function with parentheses of its own
    if inner == "power":
        return outer == "power" and position == 0
    if outer in ("add", "subtract"):
        # a + (−b), a − (b + c) and a − (b − c), but a + b − c: only the second argument needs them.
        return position == 1 and (
            inner == "negative" or (outer == "subtract" and inner in ("add", "subtract"))
        )
    return not (inner == "multiply" and outer in ("multiply", "negative"))
