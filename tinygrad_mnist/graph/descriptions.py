"""The words in boxes and tables of a graph: arguments of calls, values, statistics.

How a number is written stands in `tinygrad_mnist.numbers`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.graph.data import Statistics, Value
from tinygrad_mnist.numbers import number_text, shape_text

LONGEST: Final = 40
"""Most characters of an argument that are shown."""


def arguments_text(arrays: Sequence[Any], edges: Collection[int], static: Mapping[str, Any]) -> str:
    """Return the arguments of a call that are not edges of the graph; ``·`` stands for those that are.

    Examples
    --------
    >>> arguments_text([np.ones(3), 2], {0}, {})
    '·, 2'
    >>> arguments_text([np.ones(3)], {0}, {"axis": 0, "keepdims": True})
    'axis=0, keepdims=True'
    """
    values = ["·" if i in edges else argument_text(array) for i, array in enumerate(arrays)]
    named = [
        f"{name}={argument_text(value)}"
        for name, value in static.items()
        if value is not None and value is not False and not callable(value)
    ]
    return ", ".join((values if set(values) - {"·"} else []) + named)


def argument_text(value: Any) -> str:
    """Return the text of one argument, shortened; an array is told by its shape."""
    if isinstance(value, np.ndarray) and value.ndim:
        text = f"array {shape_text(value.shape)}"
    elif isinstance(value, (np.ndarray, np.generic, float)):
        text = f"{np.asarray(value)[()]:.4g}" if is_float(np.asarray(value)) else str(value)
    elif isinstance(value, slice):
        ends = ["" if end is None else str(end) for end in (value.start, value.stop, value.step)]
        text = ":".join(ends[: 3 if ends[2] else 2])
    elif isinstance(value, tuple):
        inside = ", ".join(map(argument_text, value))
        text = f"({inside},)" if len(value) == 1 else f"({inside})"
    elif value is Ellipsis:
        text = "..."
    elif callable(value):
        text = getattr(value, "__name__", type(value).__name__)
    else:
        text = repr(value)
        if " at 0x" in text:  # differs from run to run
            text = type(value).__name__
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def value_text(value: Value) -> str:
    """Return the shape and dtype of a value: ``128×64 float32``."""
    return f"{shape_text(value.shape)} {value.dtype}"


def statistics_text(statistics: Statistics | None) -> str:
    """Return the statistics of an array in a line; empty if nothing is known.

    Examples
    --------
    >>> statistics_text(Statistics.of(np.array([1.0, 2.0, np.nan])))
    'min 1, mean 1.5, std 0.5, max 2, norm 2.24, 1 NaN'
    """
    if statistics is None:
        return ""
    names = ("min", "mean", "std", "max", "norm")
    known = [(name, getattr(statistics, name)) for name in names]
    parts = [f"{name} {number_text(x)}" for name, x in known if x is not None]
    return ", ".join(parts + ([nonfinite_text(statistics)] if not statistics.finite else []))


def nonfinite_text(statistics: Statistics) -> str:
    """Return the numbers of entries that are not finite: ``32 NaN, 5 inf``."""
    counts = ((statistics.nan, "NaN"), (statistics.inf, "inf"))
    return ", ".join(f"{count:,} {name}" for count, name in counts if count)
