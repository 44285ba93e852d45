"""float16 is for storage: what counts, adds up or normalises computes in float32, and rounds its result once.

A float16 number has 11 bits and is at most 65504. A sum in it stands still after 2048 ones, and a count of
70,000 elements is inf.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import numpy as np

HALF: Final = np.dtype(np.float16)


def single(x: Any) -> Any:
    """Return an array or Tensor of float16 in float32, and any other as it is."""
    return x.astype(np.float32) if x.dtype == HALF else x


def stored(out: Any, dtype: Any) -> Any:
    """Return a result that was computed by way of `single` in the dtype that it is stored in."""
    return out.astype(HALF) if dtype == HALF else out


def in_single(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that computes in float32 where its first argument is float16."""

    @wraps(function)
    def run(x: Any, *args: Any, **options: Any) -> Any:
        if getattr(x, "dtype", None) != HALF:
            return function(x, *args, **options)
        return function(x.astype(np.float32), *args, **options).astype(HALF)

    return run


def rule_in_single(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Return a gradient rule that computes in float32 where its argument is float16; the walk rounds."""

    @wraps(rule)
    def run(g: Any, out: Any, x: Any, **static: Any) -> Any:
        if x.dtype == HALF:
            g, out, x = single(g), single(out), x.astype(np.float32)
        return rule(g, out, x, **static)

    return run
