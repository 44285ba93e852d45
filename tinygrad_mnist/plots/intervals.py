"""The interval of a share: how far chance alone may move it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


def wilson_interval(successes: ArrayLike, totals: ArrayLike, z: float = 1.959964) -> tuple[Values, Values]:
    """Return the interval of Wilson for a share, which suits small counts and shares near 0 and 1.

    Parameters
    ----------
    successes, totals : array_like
        Counts; 0 <= successes <= totals. Without any, the interval is 0 to 1.
    z : float, optional
        The quantile of the normal distribution; by default that of 95 %.

    Returns
    -------
    low, high : ndarray, float64

    Raises
    ------
    ValueError
        A count is below 0, not finite, or larger than its total.

    References
    ----------
    Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference.

    Examples
    --------
    >>> low, high = wilson_interval([98, 0], [100, 0])
    >>> low.round(4).tolist(), high.round(4).tolist()
    ([0.93, 0.0], [0.9945, 1.0])
    """
    x, n = np.asarray(successes, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    if bad := [(a, b) for a, b in np.broadcast(x, n) if not 0 <= a <= b < np.inf]:
        raise ValueError(f"{bad[0][0]:g} of {bad[0][1]:g} is no share; expected 0 <= successes <= totals")
    share = x / np.maximum(n, 1)
    middle = (x + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(n * share * (1 - share) + z**2 / 4)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
