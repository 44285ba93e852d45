"""Shards: what all processes do again, or none; rows and exchanges are told apart by thread."""

import threading
from typing import Any

import numpy as np
import pytest

from tests.nn.sharing import assert_near, on_shards, weight_of
from tests.ranks import run_threads
from tinygrad_mnist import Tensor, jvp
from tinygrad_mnist.engine.observe import Recorder, also_observed_by
from tinygrad_mnist.engine.shards import Shard, agreed, current, made, sharded
from tinygrad_mnist.engine.surroundings import entered, surroundings
from tinygrad_mnist.ops.normalization import batch_norm, synchronized_batch_norm

WHOLE = slice(0, 5)
X = np.array([[1.0, 2.0], [3.0, 0.5], [2.0, 4.0], [0.25, 1.0], [0.0, 3.0]])  # log is infinite in the last row
V = np.array([[1.0, -1.0], [0.5, 2.0], [1.5, 1.0], [2.0, -0.5], [-1.0, 0.75]])


class Noting(Recorder):
    """A recorder that notes the cotangents of which it is told."""

    def __init__(self) -> None:
        self.walked_nodes: list[Any] = []

    def walked(self, node: Any, *others: Any) -> None:
        self.walked_nodes.append(node)


def norm(x: Any, rows: slice) -> Any:
    """Batch norm on a shard, or on the whole batch."""
    ones, zeros = np.ones(2), np.zeros(2)
    if current() is None:
        return batch_norm(x, ones, zeros, eps=0.1)
    return synchronized_batch_norm(x, ones, zeros, eps=0.1, shard=current())


def guarded(x: Any, rows: slice) -> Any:
    """A function with an infinite slope that is not chosen, on both sides of a batch norm."""
    z = norm(np.where(x > 0, np.log(x), 0.0), rows)
    return np.where(z > 0, np.sqrt(np.where(z > 0, z, z)), 0.0)


def gradient(rows: slice) -> Any:
    x = Tensor(X[rows], requires_grad=True)
    (np.sum(guarded(x, rows) * V[rows]) / (rows.stop - rows.start)).backward()
    return x.grad.data * weight_of(rows, 5)  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_all_processes_walk_with_care_where_one_has_nan(size: int) -> None:
    with np.errstate(all="ignore"):
        whole = gradient(WHOLE)
    assert np.all(np.isfinite(whole))
    assert_near(np.concatenate(on_shards(size, 5, gradient)), whole, 1e-13)


@pytest.mark.parametrize("watched", [0, 1, 2])
def test_all_processes_walk_twice_where_one_is_watched(watched: int) -> None:
    def run(rows: slice) -> Any:
        recorder = Noting()
        if rows.start != 5 * watched // 3:
            return gradient(rows), 0
        with also_observed_by(recorder):
            return gradient(rows), len(recorder.walked_nodes)

    with np.errstate(all="ignore"):
        whole = gradient(WHOLE)
    ranks = on_shards(3, 5, run)
    assert_near(np.concatenate([found for found, _ in ranks]), whole, 1e-13)
    assert [told > 0 for _, told in ranks] == [rank == watched for rank in range(3)]


@pytest.mark.parametrize("size", [2, 3])
def test_all_processes_push_tangents_with_care_where_one_has_nan(size: int) -> None:
    def push(rows: slice) -> Any:
        return jvp(lambda x: guarded(x, rows), [X[rows]], [V[rows]])[1]

    with np.errstate(all="ignore"):
        whole = push(WHOLE)
    assert np.all(np.isfinite(whole))
    assert_near(np.concatenate(on_shards(size, 5, push)), whole, 1e-12)


def test_what_makes_no_exchange_is_not_agreed_on() -> None:
    def run(rows: slice) -> Any:
        if rows.start:
            return None
        x = Tensor(X, requires_grad=True)  # in one process alone, and twice, as NaN arrives
        np.sum(np.where(x > 0, np.log(x), 0.0)).backward()
        return x.grad.data  # type: ignore[union-attr]

    np.testing.assert_array_equal(on_shards(2, 5, run)[0], np.where(X > 0, 1 / np.where(X > 0, X, 1), 0))


def test_flags_are_those_of_any_process_once_there_were_exchanges() -> None:
    def run(communicator: Any) -> Any:
        shard, before = Shard(communicator.rank, 1, 2, communicator), made.count
        alone = agreed(before, communicator.rank == 1, False)
        shard.sum([np.ones(1)])
        return alone, agreed(before, communicator.rank == 1, False), shard.any(communicator.rank == 0)

    assert run_threads(2, run) == [
        ((False, False), (True, False), True),
        ((True, False), (True, False), True),
    ]


def test_exchanges_are_counted_for_each_thread() -> None:
    before, counts = made.count, []
    thread = threading.Thread(target=lambda: counts.append(made.count))
    made.count += 1
    try:
        thread.start()
        thread.join()
    finally:
        made.count = before
    assert counts == [0]


def test_a_shard_belongs_to_the_surroundings_of_what_runs_again() -> None:
    shard = Shard(0, 1, 2, None)  # type: ignore[arg-type]
    with sharded(shard):
        assert current() is shard
        noted = surroundings.get()
        with sharded(None):
            assert current() is None
    assert current() is None
    with entered(noted):
        assert current() is shard
    assert surroundings.get() == ()


@pytest.mark.parametrize(("rows", "total", "own", "of_all"), [(2, 6, 2, 6), (2, 7, 8, 28), (3, 3, 6, 6)])
def test_rows_of_all_are_as_many_times_more(rows: int, total: int, own: int, of_all: int) -> None:
    assert Shard(0, rows, total, None).rows_of_all(own) == of_all  # type: ignore[arg-type]
