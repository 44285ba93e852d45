"""Indexing of every NumPy kind: slices, None, Ellipsis, integer and boolean arrays, and repeats."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import Op, Sample, linear


def _may_repeat(index: Any) -> bool:
    """Whether an index can name one element twice: only integer arrays and sequences can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(
        isinstance(part, list) or (isinstance(part, np.ndarray) and part.dtype != bool and part.ndim > 0)
        for part in parts
    )


def _scatter(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, dtype=g.dtype)
    if _may_repeat(index):
        np.add.at(out, index, g)
    else:
        out[index] = g
    return out


getitem = linear(
    lambda x, index: x[index],
    lambda g, out, x, index: scatter_add(g, index=index, shape=x.shape),
    name="getitem",
    label="[ ]",
    samples="index",
)
scatter_add: Op = linear(
    _scatter,
    lambda g, out, x, index, shape: g[index],
    name="scatter_add",
    samples=(
        Sample(((3,),), {"index": np.array([0, 0, 2]), "shape": (4,)}),
        Sample(((2, 2),), {"index": (slice(None), [1, -1]), "shape": (2, 3)}),
        Sample(((2,),), {"index": np.array([True, False, True]), "shape": (3,)}),
        Sample(((),), {"index": (0, 1), "shape": (2, 2)}),
    ),
)
"""Zeros of ``shape`` with ``x`` added at ``index``, repeats accumulated: the transpose of indexing."""
