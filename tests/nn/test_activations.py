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
    (nn.ELU(), F.elu, lambda x: x if x > 0 else math.expm1(x)),
    (nn.ELU(0.3), lambda x: F.elu(x, 0.3), lambda x: x if x > 0 else 0.3 * math.expm1(x)),
    (nn.SiLU(), F.silu, lambda x: x / (1 + math.exp(-x))),
    (nn.Softplus(), F.softplus, lambda x: math.log1p(math.exp(x))),
    (nn.Softplus(3.0), lambda x: F.softplus(x, 3.0), lambda x: math.log1p(math.exp(3 * x)) / 3),
    (nn.Hardtanh(), F.hardtanh, lambda x: min(max(x, -1), 1)),
    (nn.Hardtanh(-0.5, 2.0), lambda x: F.hardtanh(x, -0.5, 2.0), lambda x: min(max(x, -0.5), 2)),
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


FAR = [-np.inf, -1e4, -800.0, 800.0, 1e4, np.inf]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize(
    ("function", "left"), [(F.elu, -1.0), (F.silu, 0.0), (F.softplus, 0.0)], ids=["elu", "silu", "softplus"]
)
def test_far_out_an_activation_is_constant_or_the_identity(function, left: float, dtype: type) -> None:
    far = np.array(FAR, dtype)
    x = Tensor(far, requires_grad=True)
    out = function(x)
    np.sum(out[1:-1]).backward(create_graph=True)
    first = x.grad
    x.grad = None
    np.sum(first).backward()
    tiny = np.finfo(np.float32).tiny
    np.testing.assert_allclose(out.data, [left] * 3 + FAR[3:], atol=tiny)
    np.testing.assert_allclose(first.data[1:-1], [0, 0, 1, 1], atol=tiny)
    np.testing.assert_allclose(x.grad.data, np.zeros(6), atol=tiny)
    assert (out.dtype, first.dtype) == (dtype, dtype)


@pytest.mark.parametrize("function", [F.elu, F.silu, F.softplus, F.hardtanh], ids=lambda f: f.__name__)
def test_activations_let_infinities_and_nan_through(function) -> None:
    x = np.array([-np.inf, np.inf, np.nan])
    out, slopes = jvp(function, (x,), (np.ones(3),))
    assert np.isnan(out[2])
    np.testing.assert_array_equal(slopes[:2], [0, 0 if function is F.hardtanh else 1])
    leaf = Tensor(x, requires_grad=True)
    function(leaf).backward(np.ones(3))
    np.testing.assert_array_equal(leaf.grad.data[:2], slopes[:2])


def test_elu_at_0_has_the_derivatives_from_the_left() -> None:
    x = Tensor([0.0], requires_grad=True)
    F.elu(x, 0.5).backward(create_graph=True)
    first = x.grad
    x.grad = None
    first.backward()
    assert (first.item(), x.grad.item()) == (0.5, 0.5)


def test_softplus_is_the_identity_above_its_threshold() -> None:
    x = Tensor([1.0, 2.0, 2.5], requires_grad=True)
    out = F.softplus(x, beta=2.0, threshold=4.0)
    out.backward(np.ones(3))
    assert out.data[2] == 2.5
    assert out.data[1] > 2
    np.testing.assert_allclose(x.grad.data, [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-4)), 1])


def test_hardtanh_has_gradient_0_at_its_ends() -> None:
    x = Tensor([-1.0, 0.5, 1.0], requires_grad=True)
    F.hardtanh(x).backward(np.ones(3))
    np.testing.assert_array_equal(x.grad.data, [0, 1, 0])


@pytest.mark.parametrize("function", [F.elu, F.silu, F.softplus, F.hardtanh], ids=lambda f: f.__name__)
def test_integers_and_lists_count_as_numbers(function) -> None:
    np.testing.assert_array_equal(function([-2, 3]), function(np.array([-2.0, 3.0])))
    np.testing.assert_array_equal(function(np.array([-2, 3])), function(np.array([-2.0, 3.0])))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Softplus(beta=0.0),
        lambda: F.softplus(np.ones(1), beta=0),
        lambda: nn.Hardtanh(1.0, 1.0),
        lambda: F.hardtanh(np.ones(1), 1.0, -1.0),
    ],
)
def test_an_argument_that_makes_no_activation_is_an_error(make) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def test_activations_show_their_arguments_as_pytorch_does() -> None:
    assert repr(nn.Sequential(nn.ELU(), nn.SiLU())).count("ELU(alpha=1.0)") == 1
    assert repr(nn.SiLU()) == "SiLU()"
    assert repr(nn.Softplus()) == "Softplus(beta=1.0, threshold=20.0)"
    assert repr(nn.Hardtanh()) == "Hardtanh(min_val=-1.0, max_val=1.0)"


@pytest.mark.parametrize("size", [1, 7, 1500])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_relu_at_either_zero_has_gradient_0(dtype: type, size: int) -> None:
    x = Tensor(np.array([0.0, -0.0, 2.0] * size, dtype), requires_grad=True)
    F.relu(x).backward(np.full(3 * size, np.inf, dtype))
    np.testing.assert_array_equal(x.grad.data, [0, 0, np.inf] * size)
