"""Graphs of any shape: registered operations, modules called once and again, in folds, loops and crosses."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, graph, nn
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.engine.tensor import apply
from tinygrad_mnist.testing.strategies import op_inputs

WIDTH = 3
MIXES = (np.add, np.multiply, np.maximum, np.subtract)
SAMPLED = sorted(name for name, op in REGISTRY.items() if op.samples)
PLAIN = (np.tanh, np.sin, np.negative, np.abs)


class Residual(nn.Module):
    """A module in a module, and operations of its own: ``x + tanh(linear(x))``."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(WIDTH, WIDTH, dtype=np.float64, rng=rng), nn.Tanh())

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)


class Zoo(nn.Module):
    """Modules to be called in any order, two of them with the same weight."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.linear = nn.Linear(WIDTH, WIDTH, dtype=np.float64, rng=rng)
        self.tied = nn.Linear(WIDTH, WIDTH, dtype=np.float64, rng=rng)
        self.tied.weight = self.linear.weight
        self.residual = Residual(rng)
        self.deep = nn.Sequential(*(Residual(rng) for _ in range(5)))

    def forward(self, x: Any, names: list[str]) -> Any:
        for name in names:
            x = getattr(self, name)(x)
        return x


@st.composite
def recordings(draw: st.DrawFn) -> graph.Graph:
    """Graphs of a random computation, with a backward pass or without."""
    zoo = Zoo()
    pool: list[Any] = [Tensor(np.linspace(-1, 1, WIDTH), requires_grad=draw(st.booleans())) for _ in range(3)]
    pool.append(np.ones(WIDTH))
    some = st.integers(0, 10**6)
    with np.errstate(all="ignore"), graph.record(zoo) as tape:
        for kind in draw(st.lists(st.sampled_from(["mix", "plain", "call", "operation"]), max_size=8)):
            x, y = (pool[draw(some) % len(pool)] for _ in range(2))
            times = draw(st.sampled_from([1, 1, 2, 5, 12]))
            if kind == "mix":
                mix = draw(st.sampled_from(MIXES))
                for _ in range(times):
                    x = mix(x, y)
            elif kind == "plain":
                plain = draw(st.sampled_from(PLAIN))
                for _ in range(times):
                    x = plain(x)
            elif kind == "call":
                name = draw(st.sampled_from(["linear", "tied", "residual", "deep"]))
                x = zoo(x.reshape(1, WIDTH), [name] * times).reshape(WIDTH)
            else:
                x = draw(results(x))
            pool.append(x)
        total = sum((np.sum(x) for x in pool), start=Tensor(0.0))
        if total.requires_grad and draw(st.booleans()):
            total.backward()
    return tape.graph()


@st.composite
def results(draw: st.DrawFn, x: Any) -> Any:
    """What a registered operation gives for inputs of its own, summed and times ``x``."""
    op = REGISTRY[draw(st.sampled_from(SAMPLED))]
    arguments, static = draw(op_inputs(op))
    requires_grad = draw(st.booleans())
    tensors = [
        Tensor(argument, requires_grad=requires_grad)
        if isinstance(argument, np.ndarray) and argument.dtype.kind == "f"
        else argument
        for argument in arguments
    ]
    out = apply(op, tuple(tensors), static)
    return np.sum(out[-1] if isinstance(out, tuple) else out) * x
