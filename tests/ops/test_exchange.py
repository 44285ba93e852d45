"""Means and statistics over shards, and batch norm by them: values, derivatives, exchanges, bits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nn.sharing import assert_near, on_shards, weight_of
from tinygrad_mnist import Tensor, grad, jvp
from tinygrad_mnist.engine.shards import current, made
from tinygrad_mnist.ops.exchange import mean_over_shards, statistics_over_shards
from tinygrad_mnist.ops.normalization import batch_norm, synchronized_batch_norm

WAYS = {"fused": synchronized_batch_norm, "formula": synchronized_batch_norm.formula}
EPS = 1e-5


def numbers(rows: int, columns: int, far: float = 0.0, seed: int = 0) -> Any:
    """Numbers of columns with other means and deviations, and of rows that drift from shard to shard."""
    rng = np.random.default_rng(seed)
    drift = np.arange(rows)[:, None] / rows
    return (rng.normal(size=(rows, columns)) + drift) * (1 + np.arange(columns)) + far


def own(x: Any) -> Any:
    return np.stack([np.mean(x, axis=0), np.var(x, axis=0)])


# ---- the mean --------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(size=st.integers(1, 5), extra=st.integers(0, 9), seed=st.integers(0, 99))
def test_the_mean_over_shards_is_weighted_by_rows(size: int, extra: int, seed: int) -> None:
    x = numbers(size + extra, 3, seed=seed)
    found = on_shards(size, len(x), lambda rows: mean_over_shards(np.mean(x[rows], axis=0), shard=current()))
    assert_near(found[0], np.mean(x, axis=0), 1e-14)
    for other in found:
        np.testing.assert_array_equal(other, found[0])


def test_the_mean_over_shards_is_its_own_transpose_where_cotangents_are_weighted() -> None:
    x, g = numbers(3, 4), numbers(3, 4, seed=1)  # one of each rank, of 2, 2 and 3 rows

    def run(rows: slice) -> Any:
        rank = rows.start // 2
        leaf = Tensor(x[rank], requires_grad=True)
        out = mean_over_shards(leaf, shard=current())
        (out * g[rank]).sum().backward()
        return weight_of(rows, 7) * np.sum(out.data * g[rank]), weight_of(rows, 7) * leaf.grad.data @ x[rank]  # type: ignore[union-attr]

    ranks = on_shards(3, 7, run)
    np.testing.assert_allclose(sum(one for one, _ in ranks), sum(other for _, other in ranks), rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_means_are_taken_in_float64(dtype: Any) -> None:
    x = np.array([1.0, 2049.0, 60_000.0], dtype)  # whose sums float16 cannot hold
    for found in on_shards(3, 7, lambda rows: mean_over_shards(x, shard=current())):
        np.testing.assert_array_equal(found, x, strict=True)


# ---- statistics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("far", "exchanges"), [(0.0, 1), (5.0, 1), (50.0, 1), (1e4, 2), (1e8, 2)])
def test_statistics_are_those_of_all_rows_and_a_second_exchange_is_made_where_they_cancel(
    far: float, exchanges: int
) -> None:
    x = numbers(11, 3, far)

    def run(rows: slice) -> Any:
        before = made.count
        found = statistics_over_shards(own(x[rows]), shard=current(), rows=rows.stop - rows.start)
        assert made.count - before == exchanges
        return found, np.mean(x[rows], axis=0)

    ranks = on_shards(3, 11, run)
    exact = x.astype(np.longdouble)
    var = np.var(exact, axis=0)
    rounding = 4 * np.finfo(float).eps * far
    lengths = [11 * (rank + 1) // 3 - 11 * rank // 3 for rank in range(3)]
    joined = np.average([m.astype(np.longdouble) for _, m in ranks], axis=0, weights=lengths)
    for (shift, found, mean), its_mean in ranks:
        np.testing.assert_allclose(found, var, rtol=1e-11 + rounding)
        np.testing.assert_allclose(mean, np.mean(exact, axis=0), rtol=1e-15)
        np.testing.assert_allclose(shift, its_mean - joined, rtol=1e-12, atol=1e-13 if far < 1e3 else 2e-11)
        np.testing.assert_array_equal([found, mean], [ranks[0][0][1], ranks[0][0][2]])


def test_equal_numbers_have_no_variance() -> None:
    x = np.full((7, 2), 33333.3)
    for shift, var, mean in on_shards(
        3, 7, lambda rows: statistics_over_shards(own(x[rows]), shard=current(), rows=rows.stop - rows.start)
    ):
        np.testing.assert_allclose(mean, 33333.3, rtol=1e-15)
        assert np.max(np.abs(shift)) <= 1e-11
        assert np.all((var >= 0) & (var <= 1e-22))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_what_is_not_finite_makes_one_exchange_and_no_warning(bad: float) -> None:
    x = numbers(7, 2)
    x[6, 0] = bad

    def run(rows: slice) -> Any:
        before = made.count
        with np.errstate(all="ignore"):
            mean_and_var = own(x[rows])
        with np.errstate(all="raise"):
            found = statistics_over_shards(mean_and_var, shard=current(), rows=rows.stop - rows.start)
        return found, made.count - before

    ranks = on_shards(2, 7, run)
    assert ranks[0][1] == ranks[1][1]
    for found, _ in ranks:
        assert not np.isfinite(found[1, 0])
        np.testing.assert_allclose(found[1, 1], np.var(x[:, 1]), rtol=1e-12)


# ---- batch norm ------------------------------------------------------------------------------------------


def normalised(operation: Any, x: Any, g: Any, rows: slice, **shared: Any) -> Any:
    """The output of some rows, the gradients by them and by weight and bias, and the statistics."""
    statistics: list[Any] = []
    columns = x.shape[1]
    leaf = Tensor(x[rows], requires_grad=True)
    weight = Tensor((1 + np.arange(columns) / columns).astype(x.dtype), requires_grad=True)
    bias = Tensor(np.arange(columns).astype(x.dtype), requires_grad=True)
    observe = {} if operation is WAYS["formula"] else {"observe": lambda *both: statistics.extend(both)}
    out = operation(leaf, weight, bias, eps=EPS, **observe, **shared)
    n = rows.stop - rows.start
    ((out * g[rows]).sum() / n).backward()
    share = weight_of(rows, len(x))
    parts = [leaf.grad.data * share, weight.grad.data * share, bias.grad.data * share]  # type: ignore[union-attr]
    assert out.dtype == x.dtype
    return out.data, *parts, statistics


def compared(operation: Any, x: Any, g: Any, size: int, tolerance: float) -> None:
    """Assert that shards have what the whole batch has in float64."""
    ranks = on_shards(size, len(x), lambda rows: normalised(operation, x, g, rows, shard=current()))
    expected = normalised(batch_norm, x.astype(np.float64), g.astype(np.float64), slice(0, len(x)))
    for position, join in ((0, np.concatenate), (1, np.concatenate), (2, sum), (3, sum)):
        found = join([rank[position] for rank in ranks])  # type: ignore[operator]
        assert_near(found, expected[position], tolerance, str(position))
    for rank in ranks if operation is WAYS["fused"] else ():
        for mine, same, whole in zip(rank[4], ranks[0][4], expected[4], strict=True):
            np.testing.assert_array_equal(mine, same)
            np.testing.assert_allclose(mine, whole, rtol=100 * tolerance)


CASES = [
    (np.float64, 0.0, 1e-13), (np.float64, 30.0, 1e-12), (np.float64, 3e4, 1e-10),
    (np.float32, 0.0, 1e-6), (np.float32, 30.0, 1e-6), (np.float32, 3e4, 1e-6),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "far", "tolerance"), CASES)
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=6)
@given(size=st.integers(1, 5), extra=st.integers(6, 12), columns=st.integers(1, 4), seed=st.integers(0, 99))
def test_batch_norm_on_shards_is_that_of_the_whole_batch(
    way: str, dtype: Any, far: float, tolerance: float, size: int, extra: int, columns: int, seed: int
) -> None:
    x = numbers(size + extra, columns, far, seed).astype(dtype)
    g = numbers(size + extra, columns, 0.0, seed + 100).astype(dtype)
    compared(WAYS[way], x, g, size, tolerance)


@pytest.mark.parametrize("far", [0, 5, 1000])
def test_large_columns_are_normalised_in_place_and_right(far: float) -> None:
    x = numbers(40_001, 16, far).astype(np.float32)
    g = numbers(40_001, 16, seed=1).astype(np.float32)
    before = x.copy()
    compared(synchronized_batch_norm, x, g, 2, 2e-5)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("needs_input", [True, False])
def test_there_is_one_exchange_a_pass(needs_input: bool) -> None:
    x = numbers(6, 3)

    def run(rows: slice) -> Any:
        leaf, weight = Tensor(x[rows], requires_grad=needs_input), Tensor(np.ones(3), requires_grad=True)
        before = made.count
        out = synchronized_batch_norm(leaf, weight, np.zeros(3), eps=EPS, shard=current())
        forward = made.count - before
        out.sum().backward()
        return forward, made.count - before - forward

    assert on_shards(2, 6, run) == [(1, 1 if needs_input else 0)] * 2


@pytest.mark.parametrize("way", WAYS)
def test_second_derivatives_are_those_of_the_whole_batch(way: str) -> None:
    x, g, v = numbers(7, 2), numbers(7, 2, seed=1), numbers(7, 2, seed=2)
    weight, bias = np.array([1.5, 0.5]), np.zeros(2)

    def penalty(operation: Any, rows: slice, **shared: Any) -> Any:
        """The gradient of a squared gradient, by the rows."""
        share = weight_of(rows, 7)

        def loss(t: Any) -> Any:
            return np.sum(operation(t, weight, bias, eps=EPS, **shared) ** 2 * g[rows]) / (7 * share)

        return share * grad(lambda t: np.sum(share * grad(loss)(t) * v[rows]) / (7 * share))(Tensor(x[rows]))

    whole = penalty(batch_norm, slice(0, 7))
    ranks = on_shards(3, 7, lambda rows: penalty(WAYS[way], rows, shard=current()))
    assert_near(np.concatenate([np.asarray(rank) for rank in ranks]), whole, 1e-11)


def test_tangents_are_those_of_the_whole_batch() -> None:
    x, v = numbers(7, 2), numbers(7, 2, seed=2)

    def push(operation: Any, rows: slice, **shared: Any) -> Any:
        return jvp(lambda t: operation(t, np.ones(2), np.zeros(2), eps=EPS, **shared), [x[rows]], [v[rows]])[
            1
        ]

    ranks = on_shards(3, 7, lambda rows: push(synchronized_batch_norm, rows, shard=current()))
    assert_near(np.concatenate(ranks), push(batch_norm, slice(0, 7)), 1e-12)
