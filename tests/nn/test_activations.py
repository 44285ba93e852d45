import math

import numpy as np
import pytest

from tinygrad_mnist import Tensor, jvp, nn

F = nn.functional

CASES = [
    (nn.ReLU(), F.relu, lambda x: max(x, 0)),
    (nn.LeakyReLU(), F.leaky_relu, lambda x: x if x > 0 else 0.01 * x),
    (nn.LeakyReLU(0.3), lambda x: F.leaky_relu(x, 0.3), lambda x: x if x > 0 else 0.3 * x),
    (nn.GELU(), F.gelu, lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
    (
        nn.GELU("tanh"),
        lambda x: F.gelu(x, "tanh"),
        lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    (nn.Tanh(), F.tanh, math.tanh),
    (nn.Sigmoid(), F.sigmoid, lambda x: 1 / (1 + math.exp(-x))),
]


@pytest.mark.parametrize(("module", "function", "formula"), CASES)
def test_an_activation_is_its_formula(module: nn.Module, function, formula, rng) -> None:
    x = rng.standard_normal((3, 4)) * 2
    expected = np.vectorize(formula)(x)
    np.testing.assert_allclose(module(Tensor(x)).data, expected, rtol=1e-12)
    np.testing.assert_allclose(function(x), expected, rtol=1e-12)


@pytest.mark.parametrize("module", [case[0] for case in CASES], ids=repr)
def test_float32_stays_float32_and_any_shape_is_kept(module: nn.Module) -> None:
    for shape in [(), (3,), (2, 0), (2, 3, 4)]:
        out = module(Tensor(np.ones(shape, np.float32), requires_grad=True))
        assert (out.shape, out.dtype) == (shape, np.float32)


@pytest.mark.parametrize("x", [-3.0, -4.5, -6.0, -8.0])
def test_gelu_by_tanh_keeps_its_digits_far_down_in_float32(x: float) -> None:
    exact, narrow = (Tensor(np.array(x, dtype), requires_grad=True) for dtype in (np.float64, np.float32))
    for t in (exact, narrow):
        F.gelu(t, "tanh").backward(create_graph=True)
    value, gradient = (one.item() for one in (F.gelu(exact, "tanh"), exact.grad))
    assert value == pytest.approx(0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    assert F.gelu(narrow, "tanh").item() == pytest.approx(value, rel=1e-5)
    assert narrow.grad.item() == pytest.approx(gradient, rel=1e-5)
    pushed = jvp(lambda t: F.gelu(t, "tanh"), (narrow.data,), (np.ones((), np.float32),))[1]
    assert pushed == pytest.approx(gradient, rel=1e-5)


@pytest.mark.parametrize("dim", [0, 1, -1, 2])
def test_softmax_is_a_distribution_along_dim(dim: int, rng) -> None:
    x = rng.standard_normal((2, 3, 4)) * 100
    out = nn.Softmax(dim)(Tensor(x)).data
    np.testing.assert_allclose(out.sum(axis=dim), 1)
    np.testing.assert_allclose(np.exp(nn.LogSoftmax(dim)(Tensor(x)).data), out, atol=1e-15)


def test_log_softmax_is_exact_far_out() -> None:
    out = nn.LogSoftmax(dim=1)(Tensor(np.array([[1e4, 0.0]], np.float32))).data
    np.testing.assert_array_equal(out, [[0, -1e4]])


def test_an_axis_that_does_not_exist_is_an_axis_error() -> None:
    with pytest.raises(np.exceptions.AxisError):
        nn.Softmax(dim=2)(Tensor(np.ones((2, 2))))


def test_an_unknown_approximation_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected 'none' or 'tanh'"):
        nn.GELU("cubic")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_what_relu_cuts_off_takes_no_infinite_gradient(dtype: type) -> None:
    x = Tensor(np.array([-1, -2, 4], dtype), requires_grad=True)
    np.sum(np.sqrt(F.relu(x))).backward()
    np.testing.assert_array_equal(x.grad.data, np.array([0, 0, 0.25], dtype))
    assert x.grad.dtype == dtype


def test_relu_lets_nan_through_both_ways() -> None:
    x = Tensor([np.nan, 1.0], requires_grad=True)
    F.relu(x).backward([np.nan, 2.0])
    np.testing.assert_array_equal(x.grad.data, [np.nan, 2.0])


@pytest.mark.parametrize("shape", [(3,), (1023,), (40, 30), (1 << 18,), (2, (1 << 17) + 1)], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_relu_of_any_size_is_the_maximum(shape: tuple[int, ...], dtype: type, order: str) -> None:
    x = np.array(np.random.default_rng(0).standard_normal(shape), dtype, order=order)
    for out in (F.relu(x), F.relu(x)):  # nothing is left over from one call to the next
        np.testing.assert_array_equal(out, np.where(x > 0, x, 0))


@pytest.mark.parametrize("size", [1, 7, 1500])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_relu_at_either_zero_has_gradient_0(dtype: type, size: int) -> None:
    x = Tensor(np.array([0.0, -0.0, 2.0] * size, dtype), requires_grad=True)
    F.relu(x).backward(np.full(3 * size, np.inf, dtype))
    np.testing.assert_array_equal(x.grad.data, [0, 0, np.inf] * size)
