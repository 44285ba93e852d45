"""The shares of several processes: the rows of each batch, and the chunks of what is evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.batching import Portion, rows_of
from tinygrad_mnist.engine.shards import Shard
from tinygrad_mnist.training.distributed.agreement import agreed, require_equal
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.loop.sources import Source, opened, pair_of

Part = TypeVar("Part")


# ---- the rows of a batch -----------------------------------------------------------------------------------


def portions(source: Source, first: int, communicator: Communicator) -> Iterator[Any]:
    """Return the rows of this rank of the batches of a pass, from number ``first`` on.

    Batches that can make the rows of a rank alone do so. Those of any other source are drawn whole. What is
    no batch is returned as it is. From a later batch than the first one, the pass has begun, as in `opened`.
    """
    rank, ranks = communicator.rank, communicator.size
    if hasattr(source, "portions"):
        drawn: Iterator[Any] = source.portions(max(0, first - 1), rank, ranks)
        if first:
            next(drawn, None)
        return drawn
    return _own_rows(opened(source, first) if first else iter(source), communicator)


def _own_rows(batches: Iterator[Any], communicator: Communicator) -> Iterator[Any]:
    """Yield the rows of this rank of batches of the user's, of which all ranks have the same first one."""
    is_first = True
    for batch in batches:
        given: object = batch
        if not isinstance(given, tuple | list) or len(given) != 2:
            yield batch
            continue
        x, y = (part.data for part in pair_of((given[0], given[1])))
        if is_first:
            is_first = False
            facts = {"the SHA-256 of a batch": sha256_of([x, y])}
            require_equal(communicator, facts, "let each of them draw the same batches, by the same seed")
        own = rows_of(len(x), communicator.rank, communicator.size)
        yield Portion(x[own], y[own], own.start, len(x))


def sha256_of(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the beginning of a hash of arrays, by which one sees that they differ."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.shape} {array.dtype};".encode())
        found.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return found.hexdigest()[:12]


def shard_of(portion: Portion, communicator: Communicator) -> Shard | None:
    """Return the shard that the rows of this rank are; None where each rank has the whole batch."""
    if portion.total < communicator.size:
        return None
    return Shard(portion.start, len(portion[0]), portion.total, communicator)


def share_of(portion: Portion, samples: int, communicator: Communicator) -> float:
    """Return the weight of the mean loss of this rank's rows among some samples.

    Of a batch that each rank has whole, the first rank's counts alone.
    """
    if portion.total < communicator.size and not communicator.is_writer:
        return 0.0
    return len(portion[0]) / samples


# ---- the chunks of what is evaluated -----------------------------------------------------------------------


def chunks_of(count: int, communicator: Communicator | None) -> range:
    """Return which of some chunks are those of this rank: they follow each other."""
    if communicator is None:
        return range(count)
    rank, ranks = communicator.rank, communicator.size
    return range(count * rank // ranks, count * (rank + 1) // ranks)


def joined(make: Callable[[], list[Part]], communicator: Communicator | None) -> list[Part]:
    """Return what each rank makes of its chunks, of all ranks in their order, in each of them.

    An error in one rank is raised in all.
    """
    if communicator is None:
        return make()
    with agreed(communicator):
        own = make()
    return [part for parts in communicator.gather(own) for part in parts]
