"""The steps of a training after which something is done: evenly spaced, the last among them."""

from __future__ import annotations


def steps_of(epochs: float, steps_per_epoch: int) -> int:
    """Return the number of steps in some epochs, at least 1."""
    return max(1, round(epochs * steps_per_epoch))


class Spread:
    """Some of a number of steps, evenly spaced; the last is one. None is stored: there may be billions.

    Parameters
    ----------
    steps : int
        All steps, at least 1.
    count : int
        How many of them.

    Examples
    --------
    >>> spread = Spread(10, 4)
    >>> [step for step in range(12) if step in spread], len(spread)
    ([2, 5, 8, 10], 4)
    """

    def __init__(self, steps: int, count: int) -> None:
        self.steps, self.count = steps, min(count, steps)

    def __contains__(self, step: int) -> bool:
        number = round(step * self.count / self.steps)  # of the one that is nearest
        return 1 <= number <= self.count and step == round(self.steps * number / self.count)

    def __len__(self) -> int:
        return self.count
