"""Means over the shards of a batch, where several processes compute on one batch.

The loss of the whole batch is the mean of the losses of the shards, each weighted by its rows. So is every
cotangent in a process: that of its own loss, and what others add to it comes weighted by rows, too. In this
sense the mean over shards is its own transpose, and all that is written with it has its derivatives, of every
order, from that one rule. Without a shard, the batch is whole, and each is what it is for one process.

All processes run each of these, and each of its rules, equally often and in the same order.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.op import POSITIVE, Sample, general, linear
from tinygrad_mnist.engine.shards import Shard

# ---- the mean --------------------------------------------------------------------------------------------


def _mean_over_shards(x: Any, shard: Shard | None = None) -> Any:
    """Return the mean of an array over all shards, each weighted by its rows; taken in float64."""
    if shard is None:
        return np.array(x)
    return (shard.sum([x * np.float64(shard.rows)])[0] / shard.total).astype(x.dtype)


def _mean_rule(g: Any, out: Any, x: Any, shard: Shard | None = None) -> Any:
    return mean_over_shards(g, shard=shard)


mean_over_shards: Final = linear(
    _mean_over_shards,
    _mean_rule,
    name="mean_over_shards",
    label="mean over shards",
    exchanges=True,
    samples=(Sample(((3,),)), Sample(((2, 3),)), Sample(((),))),
)

# ---- mean and variance -----------------------------------------------------------------------------------

FAR: Final = 1e6
"""How many variances the square of a mean may be: their difference has lost six digits of 16 there.

A compiled program holds up to there, too, as all processes have to make the same exchanges. A lower number
would let a channel that is nearly constant, as behind a ReLU, run without its program again and again.
"""


def _statistics_over_shards(own: Any, shard: Shard | None = None, rows: int = 1, eps: float = 0.0) -> Any:
    """Return how far the means of a shard are from those of all rows, the variances of all rows, their means.

    With the means m and variances v of the shards, the mean of all rows is M(m), and their variance
    M(v + m**2) - M(m)**2, where M is the mean over shards: one exchange. Where that difference cancels, what
    comes next is M(v + (m - M(m))**2), by another exchange, which does not (Chan, Golub & LeVeque (1983),
    "Algorithms for computing the sample variance", equation 2.1). All processes decide alike, as they have
    the same sums, to the bit.

    Parameters
    ----------
    own : ndarray
        The means and the variances of the columns of the shard, shape (2, c). The result has shape (3, c).
    shard : Shard, optional
        Which rows of the batch they are.
    rows : int
        Of how many rows the means and variances are taken: equally many for each row of the batch.
    eps : float
        What is added to the variance later: smaller differences do not matter.

    Raises
    ------
    ValueError
        If there are more rows for each row of the batch in one process than in another.
    """
    if shard is None:
        return np.stack([np.zeros_like(own[0]), own[1], own[0]])
    mean, var = own.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total, joined, square = _summed(shard, rows, mean, var + mean * mean)
        if total * shard.rows != rows * shard.total:
            raise ValueError(
                f"{rows} rows were given for the {shard.rows} rows of the batch that this process has, and "
                f"{int(total)} for all {shard.total}; expected equally many for each row of the batch"
            )
        shift = mean - joined
        spread = square - joined * joined
        if np.any(joined * joined > FAR * (spread + eps)):
            _, rest, square = _summed(shard, rows, shift, var + shift * shift)
            shift, joined = shift - rest, joined + rest
            spread = square - rest * rest
    return np.stack([shift, spread, joined]).astype(own.dtype)


def _summed(shard: Shard, rows: int, mean: Any, square: Any) -> tuple[float, Any, Any]:
    """Return the rows of all shards, and the means over them, by one exchange."""
    # the same arrays as those of a compiled program, so that the processes could meet
    count, sums = shard.sum([np.full(1, float(rows)), np.stack([mean, square]) * rows])
    first, second = sums / count
    return float(count[0]), first, second


def _statistics_rule(g: Any, out: Any, own: Any, shard: Any = None, rows: Any = 1, eps: Any = 0.0) -> Any:
    # The mean of all rows does not move their variance, whose derivative by it is 0 there.
    joined = mean_over_shards(np.stack([g[2] - g[0], g[1]]), shard=shard)
    return np.stack([g[0] + joined[0] + 2 * out[0] * joined[1], joined[1]])


statistics_over_shards = general(
    _statistics_over_shards,
    _statistics_rule,
    name="statistics_over_shards",
    label="statistics over shards",
    exchanges=True,
    domain=POSITIVE,
    samples=(Sample(((2, 3),)), Sample(((2, 1),))),
)
