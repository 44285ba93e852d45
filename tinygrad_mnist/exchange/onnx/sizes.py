"""Numbers that follow from the size of the batch: ``factor * batch + offset``."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BATCH", "Length", "Shape", "Size", "is_fixed"]


class Size(NamedTuple):
    """A number that follows from the size of the batch.

    Parameters
    ----------
    factor, offset : int
        The number is ``factor * batch + offset``; the factor is not 0.

    Examples
    --------
    >>> str(Size(1)), str(Size(16)), str(Size(2, 1))
    ('batch', '16*batch', '2*batch + 1')
    """

    factor: int
    offset: int = 0

    @classmethod
    def between(cls, first: int, second: int, batches: tuple[int, int]) -> Size | None:
        """Return the size that is ``first`` in one batch and ``second`` in the other; None if there is none.

        Examples
        --------
        >>> Size.between(32, 48, (2, 3))
        Size(factor=16, offset=0)
        >>> Size.between(4, 9, (2, 4)) is None
        True
        """
        if batches[0] == batches[1]:
            return None
        factor, rest = divmod(second - first, batches[1] - batches[0])
        return None if rest else cls(factor, first - factor * batches[0])

    def at(self, batch: int) -> int:
        """Return the number for a batch."""
        return self.factor * batch + self.offset

    def __str__(self) -> str:
        text = "batch" if self.factor == 1 else f"{self.factor}*batch"
        return text + (f" {'+' if self.offset > 0 else '-'} {abs(self.offset)}" if self.offset else "")


BATCH = Size(1)

Length = int | Size
Shape = tuple[Length, ...]


def is_fixed(shape: Shape) -> bool:
    """Return whether no length of a shape follows from the batch."""
    return not any(isinstance(length, Size) for length in shape)
