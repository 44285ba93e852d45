"""Small computations that storyboards are made of."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_mnist import Tensor

UNARY = (np.tanh, np.exp, np.sin, np.negative, lambda x: x**2, lambda x: 2 * x, lambda x: x[::-1].copy())
BINARY = (
    np.add,
    np.subtract,
    np.multiply,
    np.maximum,
    lambda x, y: x / (2 + y * y),
    lambda x, y: np.sum(x * y) + x,
)


def wanted(value: Any) -> Tensor:
    return Tensor(np.asarray(value, dtype=np.float64), requires_grad=True)


def micrograd() -> tuple[Tensor, dict[str, Tensor]]:
    """The example of Karpathy's lecture."""
    names = {name: wanted(value) for name, value in {"a": 2.0, "b": -3.0, "c": 10.0, "f": -2.0}.items()}
    names["e"] = names["a"] * names["b"]
    names["d"] = names["e"] + names["c"]
    return names["d"] * names["f"], names


def neuron() -> tuple[Tensor, dict[str, Tensor]]:
    values = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}
    names = {name: wanted(value) for name, value in values.items()}
    sums = names["w1"] * names["x1"] + names["w2"] * names["x2"] + names["b"]
    return np.tanh(sums), names


@st.composite
def computations(draw: st.DrawFn) -> tuple[Tensor, dict[str, Tensor]]:
    """A scalar of a few operations on small vectors, with tensors used once, often or never."""
    numbers = st.floats(-2, 2, width=16)
    leaves = [wanted(draw(st.lists(numbers, min_size=3, max_size=3))) for _ in range(draw(st.integers(1, 3)))]
    pool = list(leaves)
    for _ in range(draw(st.integers(0, 8))):
        x, y = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
        pool.append(
            draw(st.sampled_from(BINARY))(x, y) if draw(st.booleans()) else draw(st.sampled_from(UNARY))(x)
        )
    loss = np.sum(np.tanh(pool[-1]) * draw(st.sampled_from(pool)))
    return loss, {f"p{i}": leaf for i, leaf in enumerate(leaves)}
