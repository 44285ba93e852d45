"""The warning that a model of float32 computes in float64, because of what it was given.

NumPy computes in float64 as soon as one operand is of float64, or an integer beside a float32. Nothing is
wrong then, but a training step takes twice as long, and a plain ``np.ones((4, 3))`` is enough.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["FLOAT64", "warn_of_float64"]

FLOAT64 = np.dtype(np.float64)


def warn_of_float64(module: Any, inputs: Any, output: Any) -> bool:
    """Warn if an input made a module without float64 parameters return float64.

    Parameters
    ----------
    module : Module
        What was called.
    inputs, output : object
        What it was given and what it returned: arrays and Tensors, also in nested dicts, lists and tuples.

    Returns
    -------
    bool
        Whether the matter is settled, so that the next call need not ask again: it was warned of, or float64
        is what the module is made of.
    """
    own = {array.dtype for array in (*module.parameters(), *module.buffers()) if array.dtype.kind == "f"}
    if not own or FLOAT64 in own:
        return True
    if FLOAT64 not in _dtypes(output):
        return False
    single = max(own, key=lambda dtype: dtype.itemsize)
    given = next((dtype for dtype in _dtypes(inputs) if _promotes(dtype, single)), None)
    if given is None:
        return False
    warnings.warn(
        f"this {type(module).__name__} computes in float64, which takes twice as long: its parameters are "
        f"{single}, but it was given {given}. Give it {single}, as in x.astype(np.{single}), or convert the "
        "model, model.astype(np.float64). This is said once",
        UserWarning,
        stacklevel=3,
    )
    return True


def _promotes(given: np.dtype[Any], own: np.dtype[Any]) -> bool:
    return given.kind in "fiu" and np.result_type(given, own) == FLOAT64


def _dtypes(value: Any) -> Iterator[np.dtype[Any]]:
    """Yield the dtypes of arrays in nested dicts, lists and tuples; float64 for lists of numbers."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(getattr(value, "dtype", None), np.dtype):
        yield value.dtype
    elif isinstance(value, (list, tuple)):
        found = [dtype for part in value for dtype in _dtypes(part)]
        yield from found or ([FLOAT64] if _has_numbers(value) else [])


def _has_numbers(values: Any) -> bool:
    first = next(iter(values), None)
    return _has_numbers(first) if isinstance(first, (list, tuple)) else type(first) in (int, float)
