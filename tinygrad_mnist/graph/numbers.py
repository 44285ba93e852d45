"""The texts of numbers in pictures and tables: shapes, counts, bytes, seconds, statistics, arguments.

Everything that `graph` writes takes its numbers from here, so that the same number looks the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.graph.data import Statistics, Value

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


def shape_text(shape: Sequence[int]) -> str:
    """Return the text of a shape.

    Examples
    --------
    >>> shape_text((128, 64)), shape_text((10,)), shape_text(())
    ('128×64', '10', 'scalar')
    """
    return "×".join(map(str, shape)) or "scalar"


def value_text(value: Value) -> str:
    """Return the shape and dtype of a value: ``128×64 float32``."""
    return f"{shape_text(value.shape)} {value.dtype}"


def bytes_text(count: int) -> str:
    """Return the text of a number of bytes.

    Examples
    --------
    >>> bytes_text(40), bytes_text(200_704), bytes_text(3_400_000)
    ('40 B', '196 KiB', '3.24 MiB')
    """
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.3g} {unit}"


def number_text(x: float | None) -> str:
    """Return a number with three significant digits; a dash for None.

    Examples
    --------
    >>> number_text(0.00012345), number_text(2.0), number_text(None)
    ('0.000123', '2', '-')
    """
    return "-" if x is None else f"{x:.3g}"


def math_text(x: float) -> str:
    """Return a number with four digits, in the signs of mathematics.

    Examples
    --------
    >>> math_text(-2.0), math_text(1 / 3), math_text(-0.0), math_text(-float("inf"))
    ('−2', '0.3333', '0', '−∞')
    """
    if math.isnan(x):
        return "NaN"
    return f"{x + 0.0:.4g}".replace("-", "−").replace("e+0", "e").replace("inf", "∞")


def seconds_text(seconds: float | None) -> str:
    """Return a time in the unit that suits it; a dash for None.

    Examples
    --------
    >>> seconds_text(0.0000123), seconds_text(0.0045), seconds_text(None)
    ('12.3 µs', '4.5 ms', '-')
    """
    if seconds is None:
        return "-"
    for scale, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * scale < 1000:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def count_text(count: int, noun: str) -> str:
    """Return a number of things, in the singular or plural.

    Examples
    --------
    >>> count_text(1, "module"), count_text(52_650, "parameter")
    ('1 module', '52,650 parameters')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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
