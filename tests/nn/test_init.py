from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.nn import init


def empty(*shape: int, dtype: type = np.float64) -> nn.Parameter:
    return nn.Parameter(np.empty(shape, dtype, order="F"))


def test_plain_fillings() -> None:
    np.testing.assert_array_equal(init.constant_(empty(2, 3), 5).data, np.full((2, 3), 5))
    np.testing.assert_array_equal(init.zeros_(empty(2)).data, [0, 0])
    np.testing.assert_array_equal(init.ones_(empty(2)).data, [1, 1])


# weight (300, 200): fan_in 200, fan_out 300
SPREADS = [
    (lambda t: init.uniform_(t, -2, 4), 1.0, 6 / np.sqrt(12)),
    (lambda t: init.normal_(t, 1, 3), 1.0, 3.0),
    (init.xavier_uniform_, 0, np.sqrt(2 / 500)),
    (init.xavier_normal_, 0, np.sqrt(2 / 500)),
    (lambda t: init.xavier_normal_(t, gain=5 / 3), 0, 5 / 3 * np.sqrt(2 / 500)),
    (init.kaiming_uniform_, 0, np.sqrt(2 / 200)),
    (init.kaiming_normal_, 0, np.sqrt(2 / 200)),
    (lambda t: init.kaiming_normal_(t, mode="fan_out"), 0, np.sqrt(2 / 300)),
    (lambda t: init.kaiming_uniform_(t, mode="fan_avg"), 0, np.sqrt(2 / 250)),
    (lambda t: init.kaiming_uniform_(t, a=1), 0, np.sqrt(1 / 200)),
    (lambda t: init.kaiming_normal_(t, nonlinearity="tanh"), 0, 5 / 3 / np.sqrt(200)),
]


@pytest.mark.parametrize(("fill", "mean", "std"), SPREADS)
def test_values_have_the_stated_mean_and_spread(fill, mean: float, std: float) -> None:
    tensor = empty(300, 200)
    assert fill(tensor) is tensor
    np.testing.assert_allclose(tensor.data.mean(), mean, atol=4 * std / np.sqrt(tensor.size))
    np.testing.assert_allclose(tensor.data.std(), std, rtol=0.02)


def test_uniform_values_stay_within_their_bound() -> None:
    assert np.abs(init.xavier_uniform_(empty(30, 20)).data).max() <= np.sqrt(6 / 50)
    assert np.abs(init.kaiming_uniform_(empty(30, 20)).data).max() <= np.sqrt(6 / 20)


def test_the_receptive_field_of_a_convolution_counts() -> None:
    np.testing.assert_allclose(
        init.kaiming_normal_(empty(60, 8, 5, 5)).data.std(), np.sqrt(2 / 200), rtol=0.03
    )


@pytest.mark.parametrize("fill", [init.xavier_uniform_, init.kaiming_normal_, init.normal_, init.uniform_])
def test_equal_seeds_give_equal_bits_in_any_memory_order(fill) -> None:
    fortran, c = empty(4, 3), nn.Parameter(np.empty((4, 3)))
    fill(fortran, rng=5)
    np.testing.assert_array_equal(fill(c, rng=5).data, fortran.data)
    single = fill(empty(4, 3, dtype=np.float32), rng=5)
    np.testing.assert_array_equal(single.data, fortran.data.astype(np.float32))
    assert single.data.flags.f_contiguous
    assert not np.array_equal(fill(c, rng=6).data, fortran.data)


def test_a_generator_goes_on() -> None:
    rng = np.random.default_rng(0)
    first = init.normal_(empty(3), rng=rng).data.copy()
    assert not np.array_equal(init.normal_(empty(3), rng=rng).data, first)


def test_manual_seed_plants_one_tree() -> None:
    def drawn() -> list[np.ndarray]:
        model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5), nn.Linear(2, 2))
        return [*model.state_dict().values(), model[1](np.ones(50)), init.normal_(empty(3)).data]

    nn.manual_seed(7)
    first = drawn()
    second = drawn()
    nn.manual_seed(7)
    for a, b in zip(first, drawn(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not any(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_layer_does_not_depend_on_how_much_another_drew() -> None:
    nn.manual_seed(7)
    nn.Linear(3, 2)
    expected = nn.Linear(4, 4).weight.data
    nn.manual_seed(7)
    nn.Linear(30, 20)
    np.testing.assert_array_equal(nn.Linear(4, 4).weight.data, expected)


def test_a_layer_with_its_own_seed_leaves_the_tree_alone() -> None:
    nn.manual_seed(7)
    expected = nn.Linear(4, 4).weight.data
    nn.manual_seed(7)
    np.testing.assert_array_equal(nn.Linear(2, 2, rng=1).weight.data, nn.Linear(2, 2, rng=1).weight.data)
    np.testing.assert_array_equal(nn.Linear(4, 4).weight.data, expected)


def test_threads_draw_different_numbers() -> None:
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda _: float(init.generator().random()), range(200)))
    assert len(set(drawn)) == 200


def test_filling_makes_an_older_tape_stale() -> None:
    layer = nn.Linear(2, 1)
    loss = layer(np.ones((1, 2), np.float32)).sum()
    init.zeros_(layer.weight)
    with pytest.raises(RuntimeError, match="'weight'"):
        loss.backward()


@pytest.mark.parametrize(
    ("nonlinearity", "param", "gain"),
    [
        ("linear", None, 1), ("sigmoid", None, 1), ("tanh", None, 5 / 3), ("relu", None, np.sqrt(2)),
        ("leaky_relu", None, np.sqrt(2 / 1.0001)), ("leaky_relu", 1.0, 1), ("selu", None, 0.75),
    ],
)  # fmt: skip
def test_gains(nonlinearity: str, param: float | None, gain: float) -> None:
    np.testing.assert_allclose(init.calculate_gain(nonlinearity, param), gain)


def test_what_is_unknown_is_an_error() -> None:
    with pytest.raises(ValueError, match="softsign"):
        init.calculate_gain("softsign")
    with pytest.raises(ValueError, match=r"'fan_max'.*fan_in"):
        init.kaiming_normal_(empty(2, 2), mode="fan_max")
    with pytest.raises(ValueError, match=r"shape \(3,\) has no fan"):
        init.xavier_uniform_(empty(3))


@pytest.mark.peers
def test_gains_and_bounds_are_pytorchs(torch) -> None:
    for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        np.testing.assert_allclose(init.calculate_gain(name), torch.nn.init.calculate_gain(name))
    for fill in ("kaiming_uniform_", "xavier_uniform_", "kaiming_normal_", "xavier_normal_"):
        ours = getattr(init, fill)(empty(400, 300)).data
        theirs = getattr(torch.nn.init, fill)(torch.empty(400, 300)).numpy()
        np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.02)
