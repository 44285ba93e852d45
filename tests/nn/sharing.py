"""Layers and losses on the shards of a batch, and on the whole batch: what they give, side by side."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.ranks import run_threads
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.shards import Shard, current, sharded

Array = np.ndarray


def shard_of(communicator: Any, total: int) -> Shard:
    """The rows of a rank, as training lays them out."""
    rank, size = communicator.rank, communicator.size
    start = total * rank // size
    return Shard(start, total * (rank + 1) // size - start, total, communicator)


def on_shards(size: int, total: int, function: Callable[[Any], Any]) -> list[Any]:
    """What a function of its rows' slice returns in each rank."""

    def run(communicator: Any) -> Any:
        shard = shard_of(communicator, total)
        with sharded(shard), np.errstate(all="ignore"):
            return function(slice(shard.start, shard.start + shard.rows))

    return run_threads(size, run)


def weight_of(rows: slice, total: int) -> float:
    """The share of a shard in the loss of the whole batch."""
    return (rows.stop - rows.start) / total


def gradients(model: Any, factor: float = 1.0) -> dict[str, Array]:
    return {
        name: np.asarray(parameter.grad.data, np.float64) * factor
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def buffers(model: Any) -> dict[str, Array]:
    return {name: np.array(buffer) for name, buffer in model.named_buffers()}


def step(model: Any, x: Array, loss: Callable[[Any], Any], factor: float = 1.0) -> dict[str, Any]:
    """One forward and backward pass: the output, the loss, and all gradients, times a factor."""
    leaf = Tensor(x, requires_grad=x.dtype.kind == "f")
    out = model(leaf)
    value = loss(out)
    value.backward()
    own = {} if leaf.grad is None else {"input": leaf.grad.data * factor}
    return {
        "output": out.data,
        "loss": value.item() * factor,
        "rows": own,
        "gradients": gradients(model, factor),
        "buffers": buffers(model),
    }


def whole_step(build: Callable[[], Any], x: Array, loss: Callable[[Any, slice], Any]) -> dict[str, Any]:
    """The step on the whole batch, by one process."""
    assert current() is None
    with np.errstate(all="ignore"):
        return step(build(), x, lambda out: loss(out, slice(0, len(x))))


def shared_step(
    build: Callable[[], Any], x: Array, loss: Callable[[Any, slice], Any], size: int
) -> dict[str, Any]:
    """The same on shards, put together as training does."""

    def run(rows: slice) -> dict[str, Any]:
        return step(build(), x[rows], lambda out: loss(out, rows), weight_of(rows, len(x)))

    ranks = on_shards(size, len(x), run)
    for other in ranks[1:]:  # the statistics are the same in all ranks, to the bit
        for name, buffer in ranks[0]["buffers"].items():
            np.testing.assert_array_equal(other["buffers"][name], buffer)
    return {
        "output": np.concatenate([rank["output"] for rank in ranks]),
        "loss": sum(rank["loss"] for rank in ranks),
        "rows": {name: np.concatenate([rank["rows"][name] for rank in ranks]) for name in ranks[0]["rows"]},
        "gradients": {name: sum(rank["gradients"][name] for rank in ranks) for name in ranks[0]["gradients"]},
        "buffers": ranks[0]["buffers"],
    }


def assert_same_step(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """Assert that two steps are equal, relative to the largest number of each array."""
    for kind, values in expected.items():
        if not isinstance(values, dict):
            assert_near(found[kind], values, tolerance, kind)
            continue
        assert found[kind].keys() == values.keys(), kind
        for name, value in values.items():
            assert_near(found[kind][name], value, tolerance, f"{kind} of {name}")


def assert_near(found: Any, expected: Any, tolerance: float, what: str = "") -> None:
    found, expected = (np.asarray(getattr(one, "data", one)) for one in (found, expected))
    largest = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest + 1e-15, err_msg=what)


def mean_of_rows(cotangent: Array) -> Callable[[Any, slice], Any]:
    """A loss that is a mean over rows, with another slope at each element."""

    def loss(out: Any, rows: slice) -> Any:
        n = rows.stop - rows.start
        each = cotangent[rows].astype(out.dtype)
        return (out.reshape(n, -1) * each.reshape(n, -1)).sum() / n

    return loss
