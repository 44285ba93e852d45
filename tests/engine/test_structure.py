"""The versions of the structure and the arrays stay while a model trains, and move with what is replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn, optim
from tinygrad_mnist.engine.structure import arrays_version, structure_changed, structure_version


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


REPLACED: dict[str, Callable[[Any, Any], Any]] = {
    "data": lambda net, adam: setattr(net[0].weight, "data", net[0].weight.data.copy("K")),
    "a buffer": lambda net, adam: setattr(net[1], "running_mean", np.ones(2, np.float32)),
    "a Tensor in place": lambda net, adam: Tensor(np.ones(2)).__iadd__(1),
    "an element of a Tensor": lambda net, adam: Tensor(np.ones(2)).__setitem__(0, 5.0),
    "a state": lambda net, adam: adam.load_state_dict(adam.state_dict()),
}


@pytest.mark.parametrize("name", REPLACED)
def test_another_array_moves_the_version_of_the_arrays_alone(name: str) -> None:
    net = network()
    adam = optim.Adam(net.parameters())
    before = arrays_version()
    is_moved = is_moved_by(lambda: REPLACED[name](net, adam))
    assert arrays_version() != before
    assert not is_moved


@pytest.mark.parametrize("name", REARRANGED)
def test_a_rearrangement_moves_the_version_of_the_arrays(name: str) -> None:
    net = network()
    before = arrays_version()
    REARRANGED[name](net)
    assert arrays_version() != before


def test_the_first_step_moves_the_version_of_the_arrays_and_later_ones_do_not() -> None:
    net = nn.Linear(3, 2, rng=0)
    adam = optim.Adam(net.parameters())

    def step() -> None:
        adam.zero_grad()
        net(np.ones((4, 3), np.float32)).sum().backward()
        adam.step()

    before = arrays_version()
    step()  # the states are made
    after = arrays_version()
    step()
    assert before != after == arrays_version()
