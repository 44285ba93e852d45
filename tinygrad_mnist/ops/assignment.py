"""Assignment as an operation: a copy in which the elements that an index names are others."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import Op, Sample, linear
from tinygrad_mnist.ops.indexing import _may_repeat


def _set_at(x: Any, value: Any, index: Any) -> Any:
    if not np.can_cast(np.result_type(value), x.dtype, "same_kind"):
        raise TypeError(
            f"an element of dtype {x.dtype} was assigned {np.result_type(value)}, which it cannot hold; "
            "convert one with .astype"
        )
    out = x.copy()
    out[index] = value
    return out


def _by_value(g: Any, out: Any, x: Any, value: Any, index: Any) -> Any:
    """The elements that were assigned; of an element that is named twice, only the last value arrived."""
    part = g[index]
    if _may_repeat(index):
        order = np.arange(part.size).reshape(part.shape)
        last = np.zeros(x.shape, order.dtype)
        last[index] = order
        part = part * (last[index] == order)
    return np.reshape(part, (1,) * (value.ndim - part.ndim) + part.shape)  # NumPy drops leading ones


set_at: Op = linear(
    _set_at,
    lambda g, out, x, value, index: set_at(g, 0, index=index),
    _by_value,
    name="set_at",
    label="[ ] =",
    broadcasts=True,
    samples=(
        Sample(((3,), ()), {"index": 1}),
        Sample(((2, 3), (3,)), {"index": (slice(None), slice(None, None, -1))}),
        Sample(((4,), (2,)), {"index": np.array([3, 0])}),
        Sample(((3,), (4,)), {"index": np.array([0, 2, 0, 0])}),
        Sample(((2, 3), (1, 2)), {"index": (slice(None), [0, -1])}),
        Sample(((2, 2), (3,)), {"index": np.array([[True, False], [True, True]])}),
        Sample(((2, 3), ()), {"index": (None, Ellipsis, 0)}),
    ),
)
"""``x`` with ``value`` at ``index``."""
