"""Long sequences of calls and changes between them, drawn at random: after each, all is as in eager.

Cases that stand alone are in the other files. Here one change meets what another one left behind.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.compiler.helpers import assert_close, identity, quick, state_of
from tinygrad_mnist import Tensor, jit, nn, no_grad, optim

pytest.importorskip("llvmlite")

F = nn.functional
OPTIMIZERS: list[Callable[[Any], Any]] = [
    lambda parameters: optim.Adam(parameters, lr=0.01),
    lambda parameters: optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
    lambda parameters: optim.SGD(parameters, lr=0.01, momentum=0.9),
    lambda parameters: optim.SGD(parameters, lr=0.05),
    lambda parameters: optim.RMSprop(parameters, lr=0.01),
]


class Trained:
    """A model, with functions that train and use it; all changes that a test draws are its methods."""

    def __init__(self, decorate: Callable[..., Any], number: int) -> None:
        first, last = nn.Linear(3, 4, bias=False, rng=0), nn.Linear(4, 2, rng=1)
        self.model = model = nn.Sequential(first, nn.BatchNorm1d(4), nn.ReLU(), last).astype(np.float64)
        self.optimizer = optimizer = OPTIMIZERS[number % len(OPTIMIZERS)](model.parameters())
        self.kept: list[tuple[Any, Any]] = []

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        @decorate
        def accumulate(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        @decorate
        def predict(x: Any) -> Any:
            return model(x)

        self.functions = step, accumulate, predict

    def call(self, draw: random.Random) -> Any:
        """Call one of the functions, with arrays, views of larger ones, or Tensors."""
        step, accumulate, predict = self.functions
        rng, rows = np.random.default_rng(draw.randrange(10**6)), draw.choice([5, 5, 5, 6])
        x, y = rng.standard_normal((20, 3))[:rows], rng.integers(0, 2, rows)
        if (kind := draw.randrange(6)) == 0:
            with no_grad():
                return predict(Tensor(x))
        return (accumulate if kind == 1 else step)(x if kind == 2 else x.copy(), y)

    def change(self, draw: random.Random) -> None:
        """Change something that a program reads, or rests on."""
        model, optimizer = self.model, self.optimizer
        rng = np.random.default_rng(draw.randrange(10**6))
        first, norm, _, last = model
        match draw.randrange(13):
            case 0:
                first.weight.data = first.weight.data * 1.1
            case 1:
                norm.running_mean = rng.standard_normal(4)
            case 2:
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            case 3:
                model.load_state_dict({name: np.array(value) for name, value in model.state_dict().items()})
            case 4:
                optimizer.param_groups[0]["lr"] *= 0.7
            case 5:
                model.train(not model.training)
            case 6:
                last.weight.requires_grad_(not last.weight.requires_grad)
            case 7 if last.bias.grad is not None:
                self.kept.append((last.bias.grad, last.bias.grad.numpy().copy()))
            case 8:
                for parameter in model.parameters():
                    parameter.grad = None
            case 9:
                last.weight.data[...] *= 0.9
            case 10:
                first.weight.data = np.asfortranarray(first.weight.data)
            case 11:
                first.weight.data = np.ascontiguousarray(first.weight.data)
            case 12:
                optimizer.param_groups[0]["weight_decay"] = draw.choice([0.0, 0.1])

    def state(self) -> Any:
        return state_of(self.model), state_of(self.optimizer)


@pytest.mark.parametrize("seed", quick(list(range(12)), 11))
def test_a_sequence_of_calls_and_changes(seed: int) -> None:
    eager, jitted = Trained(identity, seed), Trained(jit, seed)
    draw = random.Random(seed)
    for number in range(40):
        state = draw.getstate()
        results = []
        for world in (eager, jitted):
            draw.setstate(state)
            if draw.random() < 0.5:
                world.change(draw)
            results.append(world.call(draw))
        assert_close(results[0], results[1], f"result of {number}", 1e-6)
        assert_close(eager.state(), jitted.state(), f"after {number}", 1e-6)
    for gradient, copied in jitted.kept:  # later calls have left them alone
        np.testing.assert_array_equal(gradient.numpy(), copied)
