"""What shares memory before an optimiser is made still does afterwards, and is updated as in PyTorch."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

from tests.optim.problem import OPTIMIZERS
from tinygrad_mnist import Tensor, nn, optim
from tinygrad_mnist.optim.shared_memory import partners

F = nn.functional
X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)

every_kind = pytest.mark.parametrize("kind", OPTIMIZERS)


def make(kind: str, parameters: Any) -> optim.Optimizer:
    name, defaults = OPTIMIZERS[kind]
    made: optim.Optimizer = getattr(optim, name)(parameters, **defaults)
    return made


def autoencoder() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 2, bias=False, rng=0), nn.Linear(2, 4, bias=False, rng=1))


def tie(model: nn.Sequential) -> None:
    model[1].weight.data = model[0].weight.data.T


def is_tied(model: nn.Sequential) -> bool:
    return np.array_equal(model[1].weight.data, model[0].weight.data.T)


def train(model: nn.Module, *optimizers: optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        model.zero_grad()
        F.mse_loss(model(X), X).backward()
        for optimizer in optimizers:
            optimizer.step()


@every_kind
@pytest.mark.parametrize("when", ["before", "after"])
def test_weights_tied_by_their_arrays_stay_tied(kind: str, when: str) -> None:
    model = autoencoder()
    if when == "before":
        tie(model)
    optimizer = make(kind, model.parameters())
    if when == "after":
        train(model, optimizer)
        tie(model)
    start = model[0].weight.data.copy()
    train(model, optimizer)
    assert is_tied(model)
    assert not np.array_equal(model[0].weight.data, start)


def test_an_update_by_sgd_is_the_sum_of_both() -> None:
    """The oracle: one Parameter, used in both places, whose gradient is the sum."""
    model, other = autoencoder(), autoencoder()
    tie(model)
    train(model, optim.SGD(model.parameters(), lr=0.1))

    weight = other[0].weight
    optimizer = optim.SGD([weight], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(F.linear(F.linear(X, weight), weight.T), X).backward()
        optimizer.step()
    np.testing.assert_allclose(model[0].weight.data, weight.data, rtol=1e-6)


@pytest.mark.peers
@every_kind
def test_pytorch_updates_tied_weights_alike(kind: str) -> None:
    torch = pytest.importorskip("torch")
    model = autoencoder()
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 2, bias=False), torch.nn.Linear(2, 4, bias=False))
    with torch.no_grad():
        theirs[0].weight.copy_(torch.from_numpy(np.array(model[0].weight.data)))
    theirs[1].weight.data = theirs[0].weight.data.T
    tie(model)
    name, defaults = OPTIMIZERS[kind]
    train(model, make(kind, model.parameters()), steps=5)
    optimizer = getattr(torch.optim, name)(theirs.parameters(), **defaults)
    for _ in range(5):
        optimizer.zero_grad()
        ((theirs(torch.from_numpy(X)) - torch.from_numpy(X)) ** 2).mean().backward()
        optimizer.step()
    np.testing.assert_allclose(model[0].weight.data, theirs[0].weight.detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "groups", [lambda ps: [{"params": [p]} for p in ps], list], ids=["two groups", "one"]
)
def test_two_parameters_of_one_array_are_one(groups: Any) -> None:
    model = nn.ParameterList([])
    array = np.zeros(3)
    model.extend([nn.Parameter(array), nn.Parameter(array)])
    optimizer = optim.SGD(groups(model.parameters()), lr=1.0)
    model[0].grad = Tensor(np.ones(3))
    optimizer.step()
    np.testing.assert_array_equal(model[1].data, [-1, -1, -1])
    model[1].grad = Tensor(np.ones(3))
    optimizer.step()
    np.testing.assert_array_equal(model[0].data, [-3, -3, -3])


def test_tensors_outside_of_modules_are_found_too() -> None:
    array = np.zeros(5)
    first, second = (Tensor(array[part], requires_grad=True) for part in (slice(3), slice(2, 5)))
    alone = Tensor(np.zeros(1), requires_grad=True)
    optimizer = optim.SGD([first, alone, second], lr=1.0)
    for tensor in (first, alone, second):
        tensor.grad = Tensor(np.ones(tensor.shape))
    optimizer.step()
    np.testing.assert_array_equal(array, [-1, -1, -2, -1, -1])  # overlapping slices
    np.testing.assert_array_equal(alone.data, [-1])


def test_an_array_that_only_the_user_holds_is_not_written_to() -> None:
    mine = np.ones(3)
    parameter = nn.Parameter(mine)
    optimizer = optim.SGD([parameter], lr=1.0)
    parameter.grad = Tensor(np.ones(3))
    optimizer.step()
    np.testing.assert_array_equal(mine, np.ones(3))


class Watcher(nn.Module):
    """A module of a buffer alone."""

    def __init__(self, seen: Any) -> None:
        super().__init__()
        self.register_buffer("seen", seen, persistent=False)

    def forward(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    "view", [lambda a: a, lambda a: a.T, lambda a: a[:1]], ids=["all", "transposed", "part"]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_buffer_that_views_a_parameter_follows_it(view: Any, when: str) -> None:
    layer = nn.Linear(4, 4, rng=0)
    model = nn.Sequential(layer)
    if when == "before":
        model.append(Watcher(view(layer.weight.data)))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer)
    if when == "after":
        model.append(Watcher(view(layer.weight.data)))
    train(model, optimizer)
    train(model, optim.SGD(model.parameters(), lr=0.1))
    np.testing.assert_array_equal(model[1].seen, view(layer.weight.data))


def test_a_parameter_that_views_a_buffer_moves_it() -> None:
    model = Watcher(np.zeros((3, 2)))
    model.row = nn.Parameter(model.seen[1])
    optimizer = optim.Adam(model.parameters(), lr=1.0)
    model.row.grad = Tensor(np.ones(2))
    optimizer.step()
    np.testing.assert_allclose(model.seen, [[0, 0], [-1, -1], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("trained", [0, 1], ids=["encoder", "decoder"])
def test_a_weight_that_the_optimizer_does_not_have_follows(trained: int) -> None:
    model = autoencoder()
    tie(model)
    train(model, optim.SGD(model[trained].parameters(), lr=0.1))
    assert is_tied(model)


def test_two_optimizers_keep_them_together() -> None:
    model = autoencoder()
    tie(model)
    train(model, optim.SGD(model[0].parameters(), lr=0.1), optim.Adam(model[1].parameters(), lr=0.1))
    assert is_tied(model)


def test_a_group_that_is_added_later_is_kept_together_too() -> None:
    model = autoencoder()
    tie(model)
    optimizer = optim.SGD(model[0].parameters(), lr=0.1)
    train(model, optimizer)
    optimizer.add_param_group({"params": model[1].parameters()})
    train(model, optimizer)
    assert is_tied(model)


def test_weights_that_are_given_memory_of_their_own_are_independent_again() -> None:
    model = autoencoder()
    tie(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer)
    model[1].weight.data = model[1].weight.data.copy()
    first = model[0].weight.data.copy()
    model[0].weight.grad = None
    model[1].weight.grad = Tensor(np.ones((4, 2), np.float32))
    optimizer.step()
    np.testing.assert_array_equal(model[0].weight.data, first)
    assert not is_tied(model)


def test_what_stays_in_the_memory_that_a_parameter_leaves_is_not_overwritten() -> None:
    model = nn.Sequential(nn.Linear(2, 2, rng=0))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model.append(Watcher(model[0].weight.data))
    kept = model[1].seen.copy()
    model[0].weight.data = np.ones((2, 2), np.float32)
    model[0].weight.grad = Tensor(np.ones((2, 2), np.float32))
    optimizer.step()
    np.testing.assert_array_equal(model[1].seen, kept)
    np.testing.assert_allclose(model[0].weight.data, np.full((2, 2), 0.9))


def test_the_state_goes_on_when_weights_are_tied() -> None:
    """Momentum: with lr 1 and momentum 0.5 the steps of a constant gradient 1 are 1, 1.5, 1.75."""
    first, second = nn.Parameter(np.zeros(1)), nn.Parameter(np.zeros(1))
    optimizer = optim.SGD([first, second], lr=1.0, momentum=0.5)
    for values in (-1.0, -2.5, -4.25):
        first.grad = Tensor(np.ones(1))
        optimizer.step()
        np.testing.assert_allclose(first.data, [values])
        second.data = first.data


def test_a_step_makes_tapes_of_what_shares_the_memory_stale() -> None:
    model = autoencoder()
    tie(model)
    optimizer = optim.SGD(model[0].parameters(), lr=0.1)
    loss = np.sum(model[1].weight ** 2)
    train(model, optimizer, steps=1)
    with pytest.raises(RuntimeError, match=r"1\.weight"):
        loss.backward()


def test_what_cannot_be_updated_in_place_is_refused_by_name_and_nothing_has_moved() -> None:
    model = Watcher(np.zeros((3, 4)))
    model.left, model.right = nn.Parameter(model.seen[:, :2]), nn.Parameter(np.zeros(2))
    with pytest.raises(
        ValueError,
        match=r"parameter 'left' shares memory with buffer 'seen', and its elements do not lie side by side.*"
        r"decoder\.weight = encoder\.weight.*parameter\.data = parameter\.data\.copy\(\)",
    ):
        optim.SGD(model.parameters(), lr=1.0)
    assert np.shares_memory(model.left.data, model.seen)
    model.left.data = model.left.data.copy()
    optim.SGD(model.parameters(), lr=1.0)


def test_what_is_tied_later_and_cannot_be_updated_is_refused_by_the_step() -> None:
    model = autoencoder()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    shared = np.zeros((4, 4), np.float32)
    model.append(Watcher(shared))
    model[1].weight.data = shared[:, ::2]
    model[0].weight.grad = Tensor(np.ones((2, 4), np.float32))
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"parameter '1\.weight' shares memory with buffer '2\.seen'"):
        optimizer.step()
    np.testing.assert_equal(model.state_dict(), before)


def test_a_read_only_array_that_is_shared_is_refused() -> None:
    row = np.broadcast_to(np.float32(1), (2, 2))
    model = nn.ParameterList([nn.Parameter(row), nn.Parameter(row)])
    with pytest.raises(ValueError, match="parameter '0' shares memory with parameter '1'"):
        optim.SGD(model.parameters(), lr=0.1)


def test_columns_of_one_array_share_nothing() -> None:
    whole = np.zeros((3, 4))
    first, second = nn.Parameter(whole[:, :2]), nn.Parameter(whole[:, 2:])
    assert partners([first, second]) == {}
    optim.SGD([first, second], lr=0.1)
    assert partners([first, nn.Parameter(np.zeros((0, 3)))]) == {}


def test_usually_all_is_in_one_flat_array() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    model[2].weight = nn.Parameter(np.ones((1, 2), np.float32))
    for _ in range(2):
        optimizer = optim.Adam(model.parameters())
        assert len(optimizer._flat_groups[0].flats) == 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("trained", [True, False])
def test_a_copy_is_tied_too_and_goes_on_by_itself(duplicate: Any, trained: bool) -> None:
    model = autoencoder()
    tie(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    if trained:
        train(model, optimizer)
    before = model.state_dict()
    twin, other = duplicate(duplicate((model, optimizer)))
    train(twin, other)
    assert is_tied(twin)
    np.testing.assert_equal(model.state_dict(), before)
    train(model, optimizer)
    np.testing.assert_allclose(twin[0].weight.data, model[0].weight.data, rtol=1e-6)


def test_a_conversion_to_another_dtype_keeps_them_together() -> None:
    model = autoencoder()
    tie(model)
    model.append(Watcher(model[0].weight.data[::-1]))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer)
    values = model[0].weight.data.copy()
    model.astype(np.float64)
    np.testing.assert_array_equal(model[0].weight.data, values)
    assert model[1].weight.dtype == model[2].seen.dtype == np.float64
    train(model, optimizer)
    assert is_tied(model)
    np.testing.assert_array_equal(model[2].seen, model[0].weight.data[::-1])


def test_a_module_dies_with_its_last_reference() -> None:
    layer = nn.Linear(2, 2)
    dead = weakref.ref(layer)
    gc.disable()
    try:
        del layer
        assert dead() is None
    finally:
        gc.enable()


# ---- one Parameter in two places -------------------------------------------------------------------------


def shared_parameter() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_parameter_in_two_places_is_kept_by_copies_and_optimizers(duplicate: Any) -> None:
    model = duplicate(shared_parameter())
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    F.mse_loss(model(X[:, :2]), X[:, :2]).backward()
    optimizer.step()
    assert model[0].weight is model[1].weight
    state = model.state_dict()
    np.testing.assert_array_equal(state["0.weight"], state["1.weight"])
    other = shared_parameter()
    other.load_state_dict(state)
    np.testing.assert_equal(other.state_dict(), state)


def test_two_values_for_a_parameter_in_two_places_are_refused() -> None:
    model = shared_parameter()
    state = {**model.state_dict(), "1.weight": np.zeros((2, 2))}
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"1\.weight: it is 0\.weight in this model, but has another value"):
        model.load_state_dict(state)
    np.testing.assert_equal(model.state_dict(), before)
