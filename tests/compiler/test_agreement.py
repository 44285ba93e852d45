"""Programs with exchanges: where one process cannot go on, all run the call as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.ranks import run_threads
from tinygrad_mnist import jit, nn, optim
from tinygrad_mnist.compiler.outside import call_outside
from tinygrad_mnist.engine import shards
from tinygrad_mnist.engine.shards import Shard, sharded

ROWS = 8


class Counted:
    """An exchange that notes what is asked of it; it may be another object at each step."""

    def __init__(self, communicator: Any, calls: list[str]) -> None:
        self._communicator, self._calls = communicator, calls

    def sum(self, arrays: Any) -> Any:
        self._calls.append(f"sum of {len(arrays)}")
        return self._communicator.sum(arrays)

    def refuse(self, arrays: Any) -> None:
        self._calls.append(f"refusal of {len(arrays)}")
        self._communicator.refuse(arrays)

    def any(self, flag: bool) -> bool:
        self._calls.append("any")
        return bool(self._communicator.any(flag))


class Sum:
    """The sum over all ranks, by what joins them now."""

    def __call__(self, *arrays: Any) -> Any:
        shard = shards.current()
        assert shard is not None
        sums = shard.exchange.sum(arrays)
        return sums if len(sums) > 1 else sums[0]

    def refuse(self, *arrays: Any) -> None:
        shard = shards.current()
        assert shard is not None
        shard.exchange.refuse(arrays)


summed = Sum()


def shard_of(communicator: Any, calls: list[str], total: int = ROWS) -> Shard:
    """Return the rows of a rank."""
    start, end = (total * (communicator.rank + i) // communicator.size for i in (0, 1))
    return Shard(start, end - start, total, Counted(communicator, calls))


Batches = list[tuple[Any, Any]]


def trained(batches: Batches, decorate: Callable[[Any], Any] = jit, size: int = 2) -> list[Any]:
    """Return for each rank the loss, the weights and the exchanges of each step, and what was compiled."""

    def run(communicator: Any) -> Any:
        model = nn.Sequential(nn.Linear(4, 6, rng=0), nn.Tanh(), nn.Dropout(0.5, rng=1), nn.Linear(6, 3, rng=2))
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        loss_of = nn.CrossEntropyLoss()

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            share = len(x) / ROWS
            parameters = list(model.parameters())
            given = loss.detach(), *(p.grad for p in parameters)
            total, *sums = call_outside(summed, *(one * share for one in given))
            for parameter, gradient in zip(parameters, sums, strict=True):
                parameter.grad = gradient
            optimizer.step()
            return total

        seen: list[Any] = []
        for x, y in batches:
            calls: list[str] = []
            shard = shard_of(communicator, calls)
            rows = slice(shard.start, shard.start + shard.rows)
            with sharded(shard):
                loss = step(x[rows], y[rows]).item()
            seen.append((loss, [p.data.copy() for p in model.parameters()], calls))
        return seen, len(getattr(step, "compilations", ()))

    return run_threads(size, run)


def batches_of(count: int = 5) -> Batches:
    rng = np.random.default_rng(3)
    return [(rng.standard_normal((ROWS, 4), np.float32), rng.integers(0, 3, ROWS)) for _ in range(count)]


def assert_equal(one: Any, other: Any) -> None:
    for (loss, weights, _), (its_loss, its_weights, _) in zip(one, other, strict=True):
        assert loss == its_loss
        for array, its_array in zip(weights, its_weights, strict=True):
            np.testing.assert_array_equal(array, its_array)


def test_a_compiled_step_exchanges_once_and_computes_what_eager_does() -> None:
    (first, count), (second, _) = trained(batches_of())
    assert count == 1
    assert_equal(first, second)
    # the first step of an optimiser, which has no state yet, runs as it is
    assert [calls for _, _, calls in first] == [["refusal of 5", "sum of 5"], *[["sum of 5"]] * 4]
    (plain, _), _ = trained(batches_of(), lambda f: f)
    for (loss, weights, _), (its_loss, its_weights, _) in zip(first, plain, strict=True):
        np.testing.assert_allclose(loss, its_loss, rtol=1e-5)
        for array, its_array in zip(weights, its_weights, strict=True):
            np.testing.assert_allclose(array, its_array, rtol=1e-4, atol=1e-6)


def test_a_nan_in_the_rows_of_one_rank_lets_all_run_the_step_as_it_is() -> None:
    batches = batches_of(6)
    batches[3][0][-1, 0] = np.nan  # of the last rank
    ranks = [seen for seen, _ in trained(batches, size=3)]
    for other in ranks[1:]:
        assert_equal(ranks[0][:3], other[:3])
    asked = [[calls for _, _, calls in seen][3] for seen in ranks]
    assert asked == [["sum of 5", "sum of 5"], ["sum of 5", "sum of 5"], ["refusal of 5", "sum of 5"]]


def test_the_error_of_one_rank_is_that_of_eager() -> None:
    batches = batches_of(4)
    batches[2][1][-1] = 7
    with pytest.raises(IndexError, match="label 7"):
        trained(batches)


def test_an_argument_that_shares_memory_with_what_is_written_is_refused_before_the_first_exchange() -> None:
    def run(communicator: Any) -> Any:
        held = np.zeros(4)

        @jit
        def step(x: Any) -> Any:
            np.copyto(held, call_outside(summed, held + x))
            return call_outside(summed, np.sum(x))

        found = []
        for number in range(4):
            calls: list[str] = []
            shared = number == 2 and communicator.rank == 1
            with sharded(shard_of(communicator, calls)):
                step(held[:] if shared else held + 1)
            found.append((held.copy(), calls))
        return found

    first, second = run_threads(2, run)
    for (held, _), (its, _) in zip(first, second, strict=True):
        np.testing.assert_array_equal(held, its)
    whole = ["sum of 1", "sum of 1"]
    assert first[2][1] == ["sum of 1", *whole]  # it is refused by the other
    assert second[2][1] == ["refusal of 1", *whole]
    assert first[3][1] == second[3][1] == whole
