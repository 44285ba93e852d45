"""Exchanges between processes as instructions: what is not the sum itself runs in loops.

Each is written as the forward of its operation in `ops.exchange`. The shard, and so what joins the processes,
is that of the moment when the program runs: it may be another one than when it was traced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler import lowering
from tinygrad_mnist.compiler.symbols import Symbol, as_symbol
from tinygrad_mnist.engine import shards
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.ops.exchange import FAR

Tracing = Any  # `trace.Tracer`, which stands above


def _sums(tracing: Tracing, *given: Any) -> list[Tensor]:
    """Write the sums of some arrays over all processes."""
    symbols = [as_symbol(tracing.symbol(one)) for one in given]
    likes = [np.broadcast_to(np.zeros((), one.dtype), one.shape) for one in symbols]
    made = lowering.outside(tracing, "sum over processes", _Sum(likes), symbols, {}, partial(_refuse, likes))
    return [_lift(one, None) for one in made]


class _Sum:
    """The sum of arrays that look as some do, by what joins the processes when it is called."""

    def __init__(self, likes: Sequence[Any]) -> None:
        self._likes = likes
        self._exchange: shards.Exchange | None = None
        self._summed: Callable[[Sequence[Any]], Sequence[Any]]

    def __call__(self, *arrays: Any) -> Any:
        shard = shards.current()
        assert shard is not None, "the key of the call says that there is one"
        if shard.exchange is not self._exchange:
            self._summed = shards.prepared(shard.exchange, self._likes)
            self._exchange = shard.exchange
        sums = self._summed(arrays)
        return sums if len(arrays) > 1 else sums[0]


def _refuse(likes: Sequence[Any]) -> None:
    shard = shards.current()
    assert shard is not None
    shard.exchange.refuse(likes)


def _mean(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
    """Write the mean over shards."""
    shard = static.get("shard")
    (symbol,) = map(tracing.symbol, arrays)
    if shard is None:
        copy: Symbol = symbol.copy()
        return copy

    def formula(x: Any) -> Any:
        (total,) = _sums(tracing, x.astype(np.float64) * float(shard.rows))
        return (total / float(shard.total)).astype(symbol.dtype)

    return lowering.by_formula(tracing, formula, [symbol], {})


def _statistics(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
    """Write the statistics over shards; the program holds where one exchange is exact enough."""
    shard: Any = static.get("shard")
    rows, eps = static.get("rows", 1), static.get("eps", 0.0)
    (symbol,) = map(tracing.symbol, arrays)

    def alone(own: Any) -> Any:
        return np.stack([np.zeros_like(own[0]), own[1], own[0]])

    def formula(own: Any) -> Any:
        mean, var = own[0].astype(np.float64), own[1].astype(np.float64)
        sent = np.stack([mean, var + mean * mean]) * float(rows)
        count, sums = _sums(tracing, np.full(1, float(rows)), sent)
        tracing.require(np.all(count * float(shard.rows) == float(rows * shard.total)))
        joined, square = sums[0] / count, sums[1] / count
        spread = square - joined * joined
        tracing.require(np.logical_not(np.any(joined * joined > FAR * (spread + eps))))
        return np.stack([mean - joined, spread, joined]).astype(symbol.dtype)

    return lowering.by_formula(tracing, alone if shard is None else formula, [symbol], {})


EXCHANGES: Final[dict[str, Callable[..., Symbol]]] = {
    "mean_over_shards": _mean,
    "statistics_over_shards": _statistics,
}
"""Operations that exchange, and what writes them."""
