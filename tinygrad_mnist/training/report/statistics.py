"""Statistics of right and wrong answers: whether one model is better than another, or was only lucky.

The test is exact: it counts, and needs no normal approximation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SIGNIFICANCE: Final = 0.05
"""A p-value below this is called significant."""


def mcnemar(b: int, c: int) -> float:
    """Return the p-value of McNemar's exact test, two-sided.

    Two models answer the same questions. Of the questions that one of them alone answers right, each model
    would have about half, if neither were better. The p-value is the probability that a fair coin splits
    them at least as unevenly as they are.

    Sources: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947); T. G. Dietterich, "Approximate statistical tests for comparing
    supervised classification learning algorithms", Neural Computation 10 (1998). The exact form, by the
    binomial distribution: M. W. Fagerland, S. Lydersen and P. Laake, "The McNemar test for binary
    matched-pairs data", BMC Medical Research Methodology 13:91 (2013), equation 3.

    Parameters
    ----------
    b : int
        Questions that the first model alone answers right, at least 0.
    c : int
        Questions that the second model alone answers right, at least 0.

    Returns
    -------
    float
        0 to 1; 1 where they differ nowhere.

    Raises
    ------
    ValueError
        If a count is negative.

    Examples
    --------
    >>> print(f"{mcnemar(6, 16):.4f}")
    0.0525
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts of at least 0 were expected, not {b} and {c}")
    total = b + c
    ways, sum_of_ways = 1, 0  # to choose k of all; and those of 0 to k
    for k in range(min(b, c) + 1):
        sum_of_ways += ways
        ways = ways * (total - k) // (k + 1)
    return min(1.0, 2 * sum_of_ways / (1 << total))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of several tests, corrected for their number by Holm's method.

    A corrected value below 0.05 is significant: the probability that any of the tests finds a difference
    where there is none is then at most 5 %. Source: S. Holm, "A simple sequentially rejective multiple test
    procedure", Scandinavian Journal of Statistics 6 (1979).

    Parameters
    ----------
    p_values : sequence of float
        Each 0 to 1.

    Returns
    -------
    list of float
        In the same order.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
