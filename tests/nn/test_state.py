import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


NAMES = [
    "0.weight", "0.bias", "1.weight", "1.bias",
    "1.running_mean", "1.running_var", "1.num_batches_tracked",
]  # fmt: skip


def test_a_state_dict_has_pytorchs_names_shapes_and_dtypes() -> None:
    state = model().state_dict()
    assert list(state) == NAMES
    assert [value.shape for value in state.values()] == [(2, 3), (2,), (2,), (2,), (2,), (2,), ()]
    assert [value.dtype.name for value in state.values()] == ["float32"] * 6 + ["int64"]
    assert all(type(value) is np.ndarray and value.flags.c_contiguous for value in state.values())


def test_a_state_dict_is_a_snapshot() -> None:
    net = model()
    state = net.state_dict()
    net(np.eye(3, dtype=np.float32))
    net[0].weight.data[...] = 7
    assert not np.any(state["0.weight"] == 7)
    assert state["1.num_batches_tracked"] == 0


def test_what_was_saved_can_be_loaded() -> None:
    net, other = model(), model()
    net(np.eye(3, dtype=np.float32))
    assert not np.array_equal(net[0].weight.data, other[0].weight.data)
    assert other.load_state_dict(net.state_dict()) == ([], [])
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)


def test_loading_keeps_the_array_its_dtype_and_memory_order() -> None:
    net = model()
    weight = net[0].weight.data
    state = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    net.load_state_dict({**state, "1.num_batches_tracked": 5})
    assert net[0].weight.data is weight
    assert weight.dtype == np.float32
    assert weight.flags.f_contiguous
    assert net[1].num_batches_tracked.dtype == np.int64
    assert net[1].num_batches_tracked == 5


def test_loading_copies() -> None:
    net, state = model(), model().state_dict()
    net.load_state_dict(state)
    state["0.weight"][...] = 9
    assert not np.any(net[0].weight.data == 9)


def test_loading_takes_tensors() -> None:
    net, other = model(), model()
    other.load_state_dict({**net.state_dict(), "0.weight": net[0].weight, "0.bias": Tensor(net[0].bias.data)})
    np.testing.assert_array_equal(other[0].weight.data, net[0].weight.data)


def test_loading_makes_an_older_tape_stale() -> None:
    net = nn.Linear(3, 2)
    loss = net(np.eye(3, dtype=np.float32)).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="'weight'"):
        loss.backward()


def test_a_read_only_array_is_replaced() -> None:
    net = nn.Linear(3, 2)
    net.weight.data = np.broadcast_to(np.float32(1), (2, 3))
    net.load_state_dict({"weight": np.full((2, 3), 5), "bias": np.zeros(2)})
    np.testing.assert_array_equal(net.weight.data, np.full((2, 3), 5))
    assert net.weight.dtype == np.float32


@pytest.mark.parametrize("of", [lambda p: p, lambda p: p.data], ids=["parameters", "arrays"])
def test_a_model_may_be_given_its_own_parameters_exchanged(of) -> None:
    net = nn.LayerNorm(2)
    net.load_state_dict({"weight": of(net.bias), "bias": of(net.weight)})
    np.testing.assert_array_equal(net.weight.data, [0, 0])
    np.testing.assert_array_equal(net.bias.data, [1, 1])


def test_where_a_buffer_is_read_only_nothing_is_loaded() -> None:
    net = model()
    net[1].running_var.flags.writeable = False
    before = net.state_dict()
    with pytest.raises(ValueError, match=r"1\.running_var: the buffer is a read-only array"):
        net.load_state_dict({name: value + 1 for name, value in before.items()})
    np.testing.assert_equal(net.state_dict(), before)


def test_one_error_lists_everything_that_does_not_fit_and_nothing_is_loaded() -> None:
    net = model()
    before = net.state_dict()
    state = {
        "0.weight": np.zeros((3, 2)),
        "0.bias": ["a", "b"],
        "1.running_mean": np.full(2, 5.0),
        "1.num_batches_tracked": np.float64(3.5),
        "2.weight": np.zeros(1),
    }
    with pytest.raises(ValueError, match="does not fit this Sequential") as caught:
        net.load_state_dict(state)
    assert str(caught.value).splitlines()[1:] == [
        "  - missing: 1.weight of shape (2,)",
        "  - missing: 1.bias of shape (2,)",
        "  - missing: 1.running_var of shape (2,)",
        "  - unexpected: 2.weight",
        "  - 0.weight: shape (3, 2) was given; expected (2, 3)",
        "  - 0.bias: dtype <U1 was given; expected float32",
        "  - 1.num_batches_tracked: dtype float64 was given; expected int64",
    ]
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_without_strict_the_rest_is_loaded_and_the_others_are_returned() -> None:
    net = model()
    result = net.load_state_dict({"0.bias": np.full(2, 4.0), "other": 1}, strict=False)
    assert result.missing_keys == [name for name in NAMES if name != "0.bias"]
    assert result.unexpected_keys == ["other"]
    np.testing.assert_array_equal(net[0].bias.data, [4, 4])


def test_a_wrong_shape_is_an_error_without_strict_too() -> None:
    with pytest.raises(ValueError, match=r"0\.bias: shape \(3,\) was given; expected \(2,\)"):
        model().load_state_dict({"0.bias": np.zeros(3)}, strict=False)


@pytest.mark.peers
def test_weights_move_to_pytorch_and_back(torch, rng: np.random.Generator) -> None:
    ours = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.LayerNorm(3), nn.Linear(3, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 3),
        torch.nn.BatchNorm1d(3),
        torch.nn.ReLU(),
        torch.nn.LayerNorm(3),
        torch.nn.Linear(3, 2),
    )
    x = rng.standard_normal((6, 4)).astype(np.float32)
    ours(x)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    expected = ours.eval()(x).data
    np.testing.assert_allclose(
        theirs.eval()(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-6
    )
    fresh = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.LayerNorm(3), nn.Linear(3, 2))
    fresh.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(fresh.eval()(x).data, expected)


@pytest.mark.peers
def test_a_pytorch_parameter_that_wants_a_gradient_is_refused_by_name(torch) -> None:
    layer = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match="weight: "):
        nn.Linear(3, 2).load_state_dict(dict(layer.named_parameters()))
