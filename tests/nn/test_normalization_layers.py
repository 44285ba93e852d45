"""RMSNorm, GroupNorm, and BatchNorm1d without a bias."""

import numpy as np
import pytest

from tinygrad_mnist import Tensor, jvp, nn

F = nn.functional


@pytest.mark.parametrize(
    ("shape", "normalized"), [((4, 3), 3), ((2, 3, 5), (3, 5)), ((2, 3, 5), [5]), ((3,), 3)]
)
@pytest.mark.parametrize("eps", [None, 0.1])
@pytest.mark.filterwarnings("ignore:.*computes in float64")
def test_rms_norm_is_its_formula(shape, normalized, eps, rng) -> None:
    x = rng.standard_normal(shape)
    axes = tuple(range(-(1 if isinstance(normalized, int) else len(normalized)), 0))
    added = np.finfo(np.float64).eps if eps is None else eps
    expected = x / np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + added)
    np.testing.assert_allclose(F.rms_norm(x, normalized, eps=eps), expected, rtol=1e-13)
    np.testing.assert_allclose(nn.RMSNorm(normalized, eps)(x).data, expected, rtol=1e-13)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30, 3e37])
def test_rms_norm_of_small_and_large_numbers_is_that_of_their_ratios(scale: float) -> None:
    ratios = np.array([[1.0, 2.0, -4.0]])
    values = (ratios * scale).astype(np.float32)
    exact, pushed = jvp(lambda x: F.rms_norm(x, 3, eps=0.0), (ratios,), (np.array([[0.0, 1.0, 0.0]]),))
    x = Tensor(values, requires_grad=True)
    out = F.rms_norm(x, 3, eps=0.0)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.data, exact, rtol=1e-6)
    out.backward(np.array([[0, scale, 0]], np.float32))  # the gradient is inversely proportional to the scale
    np.testing.assert_allclose(x.grad.data[0, 1], pushed[0, 1], rtol=1e-5)


def test_rms_norm_of_zeros_has_a_slope_of_one_over_the_root_of_eps() -> None:
    x = Tensor(np.zeros((1, 3)), requires_grad=True)
    out = F.rms_norm(x, 3, eps=1e-4)
    out.backward(np.array([[1.0, 2.0, 0.0]]))
    assert not out.data.any()
    np.testing.assert_allclose(x.grad.data, [[100, 200, 0]])


def test_float16_is_squared_in_float32() -> None:
    x = np.array([[300, 300, 200]], np.float16)
    out = F.rms_norm(Tensor(x), 3)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out.data, F.rms_norm(x.astype(np.float64), 3), rtol=1e-3)


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 5), (3, 6, 2, 4)])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_norm_is_its_formula(shape: tuple[int, ...], groups: int, rng) -> None:
    x = rng.standard_normal(shape)
    by_group = x.reshape(shape[0], groups, -1)
    mean, var = by_group.mean(axis=2, keepdims=True), by_group.var(axis=2, keepdims=True)
    normalised = ((by_group - mean) / np.sqrt(var + 0.1)).reshape(shape)
    weight, bias = rng.standard_normal((2, 6))
    channels = (6, *(1,) * (len(shape) - 2))
    expected = normalised * weight.reshape(channels) + bias.reshape(channels)
    np.testing.assert_allclose(F.group_norm(x, groups, weight, bias, 0.1), expected, rtol=1e-10, atol=1e-12)


def test_empty_batches_are_normalised_to_empty_batches() -> None:
    assert nn.RMSNorm(3)(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert nn.GroupNorm(2, 4)(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_parameters_are_ones_and_zeros_and_can_be_reset() -> None:
    for layer in (
        nn.RMSNorm(3),
        nn.GroupNorm(1, 3),
        nn.GroupNorm(1, 3, bias=False),
        nn.BatchNorm1d(3, bias=False),
    ):
        state = {name: value.copy() for name, value in layer.state_dict().items()}
        for parameter in layer.parameters():
            parameter.data[...] = 7
        layer.reset_parameters()
        for name, value in layer.state_dict().items():
            np.testing.assert_array_equal(value, state[name])


def test_a_batch_norm_without_bias_has_a_weight_alone() -> None:
    layer = nn.BatchNorm1d(3, bias=False)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert layer.bias is None
    assert repr(layer).startswith("BatchNorm1d(3, bias=False)")
    assert repr(nn.BatchNorm1d(3, affine=False)) == "BatchNorm1d(3, affine=False)"


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_norm_without_bias_is_one_whose_bias_is_0(training: bool, rng) -> None:
    x = rng.standard_normal((5, 4)).astype(np.float32)
    outs = []
    for bias in (True, False):
        nn.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, bias=bias), nn.ReLU())
        for _ in range(2):
            model(x)
        outs.append(model.train(training)(x).data)
    np.testing.assert_allclose(outs[0], outs[1], rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.RMSNorm(0),
        lambda: nn.RMSNorm(()),
        lambda: nn.RMSNorm(4)(np.zeros((2, 3))),
        lambda: nn.RMSNorm(3, eps=-1.0)(np.zeros((2, 3))),
        lambda: F.rms_norm(np.zeros((2, 3)), 3, np.ones(2)),
        lambda: nn.GroupNorm(2, 3),
        lambda: nn.GroupNorm(0, 3),
        lambda: nn.GroupNorm(2, 4)(np.zeros((2, 3))),
        lambda: nn.GroupNorm(2, 4)(np.zeros(4)),
        lambda: F.group_norm(np.zeros((2, 4)), 3),
        lambda: F.group_norm(np.zeros((2, 4)), 2, np.ones(3)),
    ],
)
def test_what_does_not_fit_is_described(make) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def test_layers_show_the_options_that_are_not_the_defaults() -> None:
    assert repr(nn.RMSNorm(3, elementwise_affine=False)) == "RMSNorm((3,), elementwise_affine=False)"
    assert repr(nn.GroupNorm(1, 2, affine=False)) == "GroupNorm(1, 2, affine=False)"
    assert repr(nn.GroupNorm(1, 2, 0.1, bias=False)).startswith("GroupNorm(1, 2, eps=0.1, bias=False)")
