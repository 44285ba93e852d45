"""Calls of what is outside, between the loops of a program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import jit, nn, optim
from tinygrad_mnist.compiler.outside import call_outside


def trained(decorate: Any) -> tuple[list[Any], list[float]]:
    """Return the weights and the sums that were seen, of a network whose gradients are exchanged."""
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Tanh(), nn.Linear(3, 2, rng=1))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    seen: list[float] = []

    def exchange(*gradients: Any) -> Any:
        seen.append(float(sum(np.sum(g) for g in gradients)))
        return [g / 2 for g in gradients]

    @decorate
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = np.mean(model(x) ** 2)
        loss.backward()
        parameters = list(model.parameters())
        for parameter, gradient in zip(
            parameters, call_outside(exchange, *(p.grad for p in parameters)), strict=True
        ):
            parameter.grad = gradient
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    for _ in range(5):
        step(rng.standard_normal((6, 4), dtype=np.float32))
    return [p.data.copy() for p in model.parameters()], seen


def test_gradients_are_exchanged_in_each_call_as_in_eager() -> None:
    weights, seen = trained(lambda f: f)
    compiled, seen_compiled = trained(jit)
    np.testing.assert_allclose(seen_compiled, seen, rtol=1e-4)
    for one, other in zip(weights, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_calls_keep_their_order_and_are_not_left_out() -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        def note(array: Any) -> Any:
            order.append(name)
            return array

        return note

    first, second = named("first"), named("second")

    @jit
    def f(x: Any) -> Any:
        call_outside(first, x)  # of which nothing is used
        y = call_outside(second, x)
        call_outside(first, x)
        return y

    f(np.ones(2))
    order.clear()
    f(np.ones(2))
    assert order == ["first", "second", "first"]


def test_a_result_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returned .*\(1,\).*expected .*\(2,\)"):
        call_outside(lambda array: array[:1], np.ones(2))
