"""Local derivatives as a teacher writes them: formulae by the names of operations.

They are words for readers; what is computed comes from the operations' own rules. A test holds each against
the number that its rule gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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
    """The derivative of a result by one argument; empty where the table has none.

    Parameters
    ----------
    name : str
        The operation.
    position : int
        Which argument.
    arrays : sequence
        The arguments.
    names : sequence of str
        What they are called.
    out : str
        What the result is called.

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
    """Of two vectors; of matrices the derivative has no short form."""
    vectors = all(getattr(array, "ndim", 0) == 1 for array in arrays)
    return names[1 - position] if vectors else ""


def powered(x: str, exponent: float) -> str:
    """A power.

    Examples
    --------
    >>> powered("x", 2), powered("x", 1), powered("x", -0.5)
    ('x²', 'x', 'x^−0.5')
    """
    signs = {1.0: "", 2.0: "²", 3.0: "³"}
    return x + signs.get(float(exponent), f"^{exponent:g}".replace("-", "−"))
