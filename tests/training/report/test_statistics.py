"""Tests of right and wrong answers, against published numbers and mpmath's binomial distribution."""

import mpmath
import pytest

from tinygrad_mnist.training.report.statistics import holm, mcnemar


@pytest.mark.parametrize(
    ("b", "c", "expected"),
    [
        (6, 16, 0.0525),  # the example of Wikipedia's article on the test: 0.053
        (1, 7, 0.0703),  # Bentur et al. (2009), in Fagerland, Lydersen and Laake (2013)
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 6, 2 / 64),
    ],
)
def test_mcnemar_gives_published_numbers(b: int, c: int, expected: float) -> None:
    assert mcnemar(b, c) == pytest.approx(expected, abs=5e-5)
    assert mcnemar(c, b) == mcnemar(b, c)


@pytest.mark.parametrize(("b", "c"), [(3, 10), (40, 61), (121, 59), (900, 1100), (0, 2000), (17, 17)])
def test_mcnemar_is_twice_the_tail_of_the_binomial(b: int, c: int) -> None:
    k, n = min(b, c), b + c
    with mpmath.workdps(50):
        tail = mpmath.betainc(n - k, k + 1, 0, 0.5, regularized=True)  # P(X <= k)
        assert mcnemar(b, c) == pytest.approx(float(min(1, 2 * tail)), rel=1e-14, abs=0)


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        mcnemar(-1, 3)


def test_holm_corrects_by_rank_and_stays_in_order() -> None:
    assert holm([0.005, 0.011, 0.02, 0.04, 0.13]) == pytest.approx([0.025, 0.044, 0.06, 0.08, 0.13])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
