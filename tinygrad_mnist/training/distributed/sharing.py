"""The shares of several processes: the rows of each batch, and the chunks of what is evaluated."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.batching import Portion, rows_of
from tinygrad_mnist.engine.shards import Shard
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.distributed.agreement import agreed, require_equal
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.loop.sources import Source, opened, pair_of

Part = TypeVar("Part")


# ---- the rows of a batch -----------------------------------------------------------------------------------


_ADVICE: Final = "let each of them draw the same batches, by the same seed"


class Drawn:
    """The batches of the user's that were drawn since all ranks last compared them, by number in the pass."""

    def __init__(self) -> None:
        self._batches: dict[int, tuple[int, int]] = {}

    def note(self, number: int, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Keep the rows of a batch, and a checksum."""
        checksum = 0
        for array in (x, y):
            checksum = zlib.crc32(f"{array.shape} {array.dtype}".encode(), checksum)
            checksum = zlib.crc32(_bytes_of(array), checksum)
        self._batches[number] = len(x), checksum

    def clear(self) -> None:
        """Forget the batches: ranks that have lost one go on from another place."""
        self._batches.clear()

    def numbers(self) -> list[int]:
        """Return two numbers whose sums tell whether all ranks have drawn the same: a checksum, its square.

        The mean of squares is the square of the mean where all are equal, and there alone. Their sums are
        exact: a checksum has 24 bits.
        """
        if not self._batches:
            return [0, 0]
        checksum = zlib.crc32(repr(self._batches).encode()) >> 8
        return [checksum, checksum**2]

    def compare(self, sums: Sequence[int], communicator: Communicator) -> None:
        """Raise an error in all ranks, if the sums of their `numbers` say that batches differ.

        Raises
        ------
        TrainingError
            The sentence names the batch.
        """
        if sums[1] * communicator.size != sums[0] ** 2:
            facts = {
                f"batch {number + 1} of a pass": f"{count_text(rows, 'row')}, checksum {checksum:08x},"
                for number, (rows, checksum) in self._batches.items()
            }
            require_equal(communicator, facts, _ADVICE)
        self.clear()


def portions(
    source: Source, first: int, communicator: Communicator, noted: Drawn | None = None
) -> Iterator[Any]:
    """Return the rows of this rank of the batches of a pass, from number ``first`` on.

    Batches that can make the rows of a rank alone do so. Those of any other source are drawn whole. What is
    no batch is returned as it is. From a later batch than the first one, the pass has begun, as in `opened`.
    Batches that are drawn whole are ``noted``.
    """
    rank, ranks = communicator.rank, communicator.size
    if hasattr(source, "portions"):
        drawn: Iterator[Any] = source.portions(max(0, first - 1), rank, ranks)
        if first:
            next(drawn, None)
        return drawn
    return _own_rows(opened(source, first) if first else iter(source), first, communicator, noted or Drawn())


def _own_rows(batches: Iterator[Any], first: int, communicator: Communicator, noted: Drawn) -> Iterator[Any]:
    """Yield the rows of this rank of batches of the user's, of which all ranks have the same first one."""
    for number, batch in enumerate(batches, first):
        given: object = batch
        if not isinstance(given, tuple | list) or len(given) != 2:
            yield batch
            continue
        x, y = (part.data for part in pair_of((given[0], given[1])))
        noted.note(number, x, y)
        if number == first:
            facts = {"the SHA-256 of a batch": sha256_of([x, y])}
            require_equal(communicator, facts, _ADVICE)
        own = rows_of(len(x), communicator.rank, communicator.size)
        yield Portion(x[own], y[own], own.start, len(x))


def sha256_of(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the beginning of a hash of arrays, by which one sees that they differ."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.shape} {array.dtype};".encode())
        found.update(_bytes_of(array))
    return found.hexdigest()[:12]


def _bytes_of(array: NDArray[Any]) -> memoryview | bytes:
    """Return the bytes of an array, in the order of its elements."""
    return np.ascontiguousarray(array).data.cast("B") if array.size else b""


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
