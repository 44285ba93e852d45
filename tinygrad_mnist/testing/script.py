"""A failing call as a script that can be pasted and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import REGISTRY, Op

HEADING = "import numpy as np\nimport tinygrad_mnist.ops\nfrom tinygrad_mnist.engine.op import REGISTRY\n"


def script_of(op: Op, arguments: Sequence[Any], static: Mapping[str, Any], check: str) -> str:
    """Python that makes one call of an operation and puts it through one property.

    Parameters
    ----------
    op : Op
        The operation. One that is not registered is imported from where it stands, if that is at the top of
        the module of one of its functions; otherwise it has to be put where the script says so.
    arguments, static
        The call.
    check : str
        The name of the property, among `tinygrad_mnist.testing.properties.PROPERTIES`.

    Examples
    --------
    >>> from tinygrad_mnist.engine.op import REGISTRY
    >>> print(script_of(REGISTRY["tanh"], (np.array([0.5]),), {}, "first_order").splitlines()[-1])
    PROPERTIES['first_order'](op, arguments, static)
    """
    return (
        f"{HEADING}from tinygrad_mnist.testing.properties import PROPERTIES\n\n"
        f"{_found(op)}\n"
        f"arguments = {literal(tuple(arguments))}\n"
        f"static = {literal(dict(static))}\n"
        f"PROPERTIES[{check!r}](op, arguments, static)"
    )


def _found(op: Op) -> str:
    """A line that gets the operation."""
    if REGISTRY.get(op.name) is op:
        return f"op = REGISTRY[{op.name!r}]"
    rules = op.rules if isinstance(op.rules, tuple) else ()
    for function in (op.forward, op.joint, *rules):
        around = getattr(function, "__globals__", {})
        names = [name for name, value in around.items() if value is op]
        if names and "__file__" in around:
            return f"import runpy\n\nop = runpy.run_path({str(around['__file__'])!r})[{names[0]!r}]"
    return f"op = ...  # your operation {op.name!r}"


def literal(value: Any) -> str:
    """Python that makes this value again.

    Examples
    --------
    >>> literal((np.zeros((1, 2)), slice(None), {"axis": np.intp(1)}))
    "(np.array([[0.0, 0.0]], dtype='float64'), slice(None, None, None), {'axis': 1})"
    """
    if isinstance(value, np.ndarray):
        made = f"np.array({value.tolist()!r}, dtype={value.dtype.name!r})".replace("nan", "np.nan")
        made = made.replace("inf", "np.inf")
        return made if value.size else f"np.zeros({value.shape}, dtype={value.dtype.name!r})"
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.dtype):
        return repr(value.name)
    if isinstance(value, type) and issubclass(value, np.generic):
        return repr(np.dtype(value).name)
    if isinstance(value, tuple):
        return (
            "("
            + "".join(f"{literal(part)}, " for part in value).rstrip(" " if len(value) == 1 else ", ")
            + ")"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {literal(part)}" for key, part in value.items()) + "}"
    return repr(value)
