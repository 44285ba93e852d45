"""The cost of one operation apart from its arithmetic: `x * y` on tensors of one element.

A thousand multiplications in a chain, by the same tensor, both of which want their gradient: recorded, and
recorded and walked back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.harness import DisagreementError, Table, Target, race
from tinygrad_mnist import Tensor

LENGTH = 1_000
ONE = np.ones(1, np.float32)
OURS = "tinygrad_mnist"


def recorder(x: Any, y: Any, length: int = LENGTH) -> Callable[[], Any]:
    """Return a function that multiplies ``x`` by ``y`` so often; the tape goes with the result."""

    def record() -> Any:
        z = x
        for _ in range(length):
            z = z * y
        return z

    return record


def walker(x: Any, y: Any, length: int = LENGTH) -> Callable[[], None]:
    """Return a function that does the same and walks back, after dropping the old gradients."""
    record = recorder(x, y, length)

    def record_and_walk() -> None:
        x.grad = y.grad = None
        record().backward()

    return record_and_walk


def ours() -> tuple[Any, Any]:
    """Return our two tensors."""
    return Tensor(ONE, requires_grad=True), Tensor(ONE, requires_grad=True)


def pytorchs() -> tuple[Any, Any]:
    """Return PyTorch's two tensors."""
    import torch

    torch.set_num_threads(1)
    return torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)


def check(pair: tuple[Any, Any], length: int = LENGTH) -> None:
    """Check the gradients of a chain of ones: 1, and its length."""
    x, y = pair
    walker(x, y, length)()
    if (found := (float(x.grad[0]), float(y.grad[0]))) != (1.0, length):
        raise DisagreementError(
            f"the gradients of 1 times 1 {length:,} times are 1 and {length}, not {found}"
        )


def run(rounds: int = 40) -> list[Table]:
    """Race recording, and recording with walking back."""
    pairs = {OURS: ours()}

    def enter_pytorch() -> None:
        pairs["PyTorch"] = pytorchs()

    peers.take_part("PyTorch", enter_pytorch)
    for pair in pairs.values():
        check(pair)
    records = {name: recorder(*pair) for name, pair in pairs.items()}
    records["NumPy, nothing recorded"] = recorder(ONE, ONE)
    walks = {name: walker(*pair) for name, pair in pairs.items()}
    return [
        table("recording x * y on one element, per operation", records, rounds),
        table("recording x * y on one element and walking back, per operation", walks, rounds, 0.70),
    ]


def table(title: str, rivals: dict[str, Any], rounds: int, at_most: float | None = None) -> Table:
    """Race chains; the times are those of one operation."""
    ran = race(rivals, rounds, calls=2, operations=LENGTH)
    targets = () if at_most is None else (Target(OURS, "PyTorch", at_most),)
    return Table(title, "µs", OURS, ran.timings, targets, share=ran.share)
