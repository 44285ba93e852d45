"""The version of the structure stays while a model trains, and moves when something is rearranged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn, optim
from tinygrad_mnist.engine.structure import structure_changed, structure_version


def network() -> Any:
    return nn.Sequential(nn.Linear(3, 2, rng=0), nn.BatchNorm1d(2), nn.Dropout(0.5, rng=0))


def is_moved_by(change: Callable[[], Any]) -> bool:
    before = structure_version()
    change()
    return structure_version() != before


def test_it_never_comes_back() -> None:
    versions = [structure_version()]
    for _ in range(10):
        structure_changed()
        versions.append(structure_version())
    assert versions == sorted(set(versions))


REARRANGED: dict[str, Callable[[Any], Any]] = {
    "a mode": lambda net: net.eval(),
    "an attribute": lambda net: setattr(net[2], "p", 0.1),
    "no attribute": lambda net: delattr(net[2], "p"),
    "a layer": lambda net: net.append(nn.ReLU()),
    "no layers": lambda net: net.__delitem__(slice(0, 3)),
    "a parameter": lambda net: net.register_parameter("extra", nn.Parameter(np.ones(2))),
    "a buffer": lambda net: net.register_buffer("extra", np.ones(2)),
    "no buffer": lambda net: setattr(net[1], "running_mean", None),
    "a buffer in another dtype": lambda net: setattr(net[1], "running_mean", np.ones(2, np.float16)),
    "frozen": lambda net: net.requires_grad_(False),
    "another dtype": lambda net: net.astype(np.float64),
    "another layout": lambda net: setattr(net[0].weight, "data", net[0].weight.data.copy("C")),
    "a hook": lambda net: net[0].weight.register_hook(lambda g: None),
    "a group": lambda net: optim.SGD(net.parameters(), lr=0.1),
}


@pytest.mark.parametrize("name", REARRANGED)
def test_a_rearrangement_moves_it(name: str) -> None:
    net = network()
    assert is_moved_by(lambda: REARRANGED[name](net))


def test_a_training_step_leaves_it() -> None:
    net = network()
    optimizer = optim.Adam(net.parameters())
    x = np.ones((4, 3), np.float32)

    def step() -> None:
        net.train().requires_grad_(True)
        optimizer.zero_grad()
        loss = net(Tensor(x, requires_grad=True)).sum()
        loss.register_hook(lambda g: g)
        loss.backward()
        optimizer.step()
        net.load_state_dict(net.state_dict())
        net[0].weight.data = 2 * net[0].weight.data
        net[1].running_mean = np.zeros(2, np.float32)
        net[2].p = 0.5

    net[2].p = 0.5
    step()
    p = net[2].p

    def again() -> None:
        step()
        net[2].p = p

    assert not is_moved_by(again)
