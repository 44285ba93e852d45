"""The random numbers of some rows, where those of the other rows belong to other processes.

Every process leaves its generator as if it had drawn the numbers of all rows. What it does not need it skips,
which takes no time: so a mask costs a process as much as its rows do.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.nn.batch_draws import for_all_rows

_SKIPPING: Final = (np.random.PCG64, np.random.PCG64DXSM)
"""Bit generators that can skip numbers of 64 bits; each of them is two of 32 bits."""


class RowsOfDraws(np.random.Generator):
    """A generator of the numbers of some rows, in the place of one that draws those of all rows.

    Parameters
    ----------
    source : Generator
        The one that draws for all; it is advanced.
    before, after : int
        How many rows are left out before these, and behind them.
    """

    def __init__(self, source: np.random.Generator, before: int, after: int) -> None:
        super().__init__(source.bit_generator)
        self._before, self._after = before, after

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> NDArray[Any]:  # type: ignore[override]
        """Return the float32 numbers of the rows, shape ``size``."""
        each = int(np.prod(size[1:], dtype=np.int64))
        with for_all_rows():
            self._skip(self._before * each)
            numbers: NDArray[Any] = super().random(size, np.float32)
            self._skip(self._after * each)
        return numbers

    def _skip(self, count: int) -> None:
        """Advance as if so many float32 numbers were drawn, of 32 bits each, to the same state in every bit.

        A number of 64 bits is drawn for two of them, and its second half waits for the next one. So the last
        one or two are drawn, and before them one for which a half is waiting.
        """
        if count > 2 and isinstance(self.bit_generator, _SKIPPING):
            waiting = int(self.bit_generator.state["has_uint32"])
            pairs = (count - waiting - 1) // 2
            super().random(waiting, np.float32)
            self.bit_generator.advance(pairs)
            count -= waiting + 2 * pairs
        super().random(count, np.float32)
