"""Random numbers for the rows of a batch that several processes may share; part of `nn.functional`.

They stand apart from `random_rows`, which loads numpy.random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

from numpy.typing import NDArray

from tinygrad_mnist.engine.shards import current as current_shard

Array = NDArray[Any]

watch: ContextVar[Callable[[], AbstractContextManager[None]] | None] = ContextVar("watch", default=None)
"""A context of draws that are made for the rows of all processes, while somebody looks for others."""


def for_all_rows() -> AbstractContextManager[None]:
    """Tell who looks for them that the draws inside are made for the rows of all processes."""
    watching = watch.get()
    return nullcontext() if watching is None else watching()


def random_rows(draw: Callable[[tuple[int, ...]], Array], shape: Sequence[int]) -> Array:
    """Draw random numbers for the rows of a batch, of which this process may have a part.

    Where several processes train on one batch, each of them has some of its rows, and a generator in the
    same state as those of the others. What is drawn for the own rows alone is the same in all of them.
    Here those of the whole batch are drawn, as one process does, and those of the own rows are returned.

    Parameters
    ----------
    draw : callable
        Takes a shape, and returns random numbers of that shape.
    shape : sequence of int
        The shape that is needed. The first axis is that of the rows; it may have several for each sample.

    Returns
    -------
    ndarray
        What ``draw`` returned for the rows; all of it where this process has the whole batch.

    Raises
    ------
    ValueError
        If the first axis is none of rows of this process, or ``draw`` returned another shape.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> random_rows(lambda shape: rng.normal(size=shape), (5, 2)).shape
    (5, 2)
    """
    shape, shard = tuple(shape), current_shard()
    if shard is None:
        return draw(shape)
    if not shape or shape[0] % shard.rows:
        raise ValueError(
            f"random numbers of shape {shape} were asked for, but this process has {shard.rows} of "
            f"{shard.total} rows; expected a first axis of so many, or of a multiple"
        )
    each = shape[0] // shard.rows
    whole = (each * shard.total, *shape[1:])
    with for_all_rows():
        numbers = draw(whole)
    if numbers.shape != whole:
        raise ValueError(f"draw returned numbers of shape {numbers.shape}; expected {whole}, as it was given")
    return numbers[each * shard.start :][: shape[0]]
