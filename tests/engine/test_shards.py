"""Shards: what all processes do again, or none; rows and exchanges are told apart by thread."""

import threading
from typing import Any

import numpy as np
import pytest

from tests.nn.sharing import assert_near, on_shards, weight_of
from tests.ranks import run_threads
from tinygrad_mnist import Tensor, grad, jvp
from tinygrad_mnist.engine.observe import Recorder, also_observed_by
from tinygrad_mnist.engine.shards import Shard, agreed, current, made, sharded
from tinygrad_mnist.engine.surroundings import entered, surroundings
from tinygrad_mnist.engine.tensor import _lift
from tinygrad_mnist.engine.walk import walk
from tinygrad_mnist.ops.exchange import statistics_over_shards
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


def before(x: Any, rows: slice) -> Any:
    """A function that gets NaN in the process that has the last row, after the exchange of the walk."""
    return norm(np.where(x > 0, np.log(x), 0.0), rows) ** 2


def behind(x: Any, rows: slice) -> Any:
    """A function that gets NaN there before that exchange, which spreads it."""
    return np.where(x > 0, np.log(x) * norm(x, rows), 0.0)


def beside(x: Any, rows: slice) -> Any:
    """A function that gets NaN there, and in the tangent, too, while the exchange knows nothing of it."""
    return norm(x, rows) ** 2 + np.sqrt(np.where(x > 0, x, 0.0))


GUARDED = (before, behind, beside)


def gradient(rows: slice, function: Any = before, hooked: bool = False) -> Any:
    """The gradient by some rows, and what hooks have seen, as parts of the whole batch's."""
    seen: list[Any] = []
    x = Tensor(X[rows], requires_grad=True)
    y = 1.0 * x
    out = function(y, rows)
    for hooked_tensor in (y, out) if hooked else ():
        hooked_tensor.register_hook(lambda g: seen.append(g.data.copy()))
    (np.sum(out * V[rows]) / (rows.stop - rows.start)).backward()
    return [part * weight_of(rows, 5) for part in (x.grad.data, *seen)]  # type: ignore[union-attr]


def whole(run: Any, *arguments: Any) -> Any:
    """What one process has, without its warnings."""
    with np.errstate(all="ignore"):
        return run(WHOLE, *arguments)


@pytest.mark.parametrize("hooked", [False, True], ids=["plain", "hooked"])
@pytest.mark.parametrize("function", GUARDED)
@pytest.mark.parametrize("size", [2, 5])
def test_all_processes_walk_with_care_where_one_has_nan(size: int, function: Any, hooked: bool) -> None:
    expected = whole(gradient, function, hooked)
    assert np.all(np.isfinite(expected))
    assert len(expected) == (3 if hooked else 1)
    ranks = on_shards(size, 5, lambda rows: gradient(rows, function, hooked))
    for position, part in enumerate(expected):
        assert_near(np.concatenate([rank[position] for rank in ranks]), part, 1e-13)


def test_a_hook_stops_the_first_pass_of_all_processes_or_of_none() -> None:
    def run(rows: slice) -> Any:
        seen: list[Any] = []
        x = Tensor(X[rows], requires_grad=True)
        z = norm(x, rows)
        z.register_hook(lambda g: seen.append(g.data.copy()))  # NaN is there before the exchange
        (
            np.sum(np.where(x.data > 0, np.log(x.data) * z, 0.0) * V[rows]) / (rows.stop - rows.start)
        ).backward()
        return [part * weight_of(rows, 5) for part in (x.grad.data, *seen)]  # type: ignore[union-attr]

    expected = whole(run)
    ranks = on_shards(2, 5, run)
    for position, part in enumerate(expected):
        assert_near(np.concatenate([rank[position] for rank in ranks]), part, 1e-13)
    assert np.all(np.isfinite(expected))


@pytest.mark.parametrize("watched", [0, 1, 2])
def test_all_processes_walk_twice_where_one_is_watched(watched: int) -> None:
    def plain(x: Any, rows: slice) -> Any:
        return norm(x, rows) ** 2

    def run(rows: slice) -> Any:
        recorder = Noting()
        if rows.start != 5 * watched // 3:
            return gradient(rows, plain)[0], 0
        with also_observed_by(recorder):
            return gradient(rows, plain)[0], len(recorder.walked_nodes)

    ranks = on_shards(3, 5, run)
    assert_near(np.concatenate([found for found, _ in ranks]), whole(gradient, plain)[0], 1e-13)
    assert [told > 0 for _, told in ranks] == [rank == watched for rank in range(3)]


@pytest.mark.parametrize("function", GUARDED)
@pytest.mark.parametrize("size", [2, 3])
def test_all_processes_push_tangents_with_care_where_one_has_nan(size: int, function: Any) -> None:
    def push(rows: slice) -> Any:
        return jvp(lambda x: function(x, rows), [X[rows]], [V[rows]])[1]

    expected = whole(push)
    assert np.all(np.isfinite(expected))
    assert_near(np.concatenate(on_shards(size, 5, push)), expected, 1e-12)


def test_a_careful_walk_exchanges_whatever_reaches_a_process() -> None:
    """One process is reached everywhere, another in one element: both probe, and the gradients are right."""
    rows_of, weights = (slice(0, 2), slice(2, 5)), (0.4, 0.6)
    own = [np.stack([X[rows].mean(0), X[rows].var(0)]) for rows in rows_of]
    seeds = [np.ones((3, 2)), np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])]

    def run(rows: slice) -> Any:
        rank = rows_of.index(rows)
        x = Tensor(own[rank], requires_grad=True)
        out = statistics_over_shards(1.0 * x, shard=current(), rows=rows.stop - rows.start)
        (found,) = walk([(out.origin, Tensor(seeds[rank]))], _lift, targets=[x.origin], record=True).values()
        return found.data * weights[rank]

    def total(each: Any) -> Any:
        """All that is differentiated, by the statistics of each shard."""
        mean = sum(w * each[rank][0] for rank, w in enumerate(weights))
        var = sum(w * (each[rank][1] + (each[rank][0] - mean) ** 2) for rank, w in enumerate(weights))
        parts = [np.stack([each[rank][0] - mean, var, mean]) * seeds[rank] for rank in (0, 1)]
        return sum(w * np.sum(part) for w, part in zip(weights, parts, strict=True))

    assert_near(np.stack(on_shards(2, 5, run)), grad(total)(Tensor(np.stack(own))), 1e-13)


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
