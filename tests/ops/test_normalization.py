"""Batch norm and layer norm of constant, small and shifted numbers: the fused operations and the formulae."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, hessian, nn
from tinygrad_mnist.engine.op import REGISTRY

F = nn.functional
DTYPES = (np.float16, np.float32, np.float64)
OPERATIONS: dict[str, tuple[Callable[..., Any], int]] = {
    f"{name}, {kind}": (getattr(REGISTRY[name], "__call__" if kind == "fused" else "formula"), axis)
    for name, axis in (("batch_norm", 0), ("layer_norm", 1))
    for kind in ("fused", "formula")
}


def oracle(x: Any, g: Any, eps: float, axis: int) -> tuple[Any, Any]:
    """The normalised numbers and the gradient, in float64, of numbers around their exact mean."""
    x, g = (np.asarray(a, np.float64) for a in (x, g))
    centred = x - np.mean(x, axis=axis, keepdims=True)
    centred -= np.mean(centred, axis=axis, keepdims=True)
    centred[np.broadcast_to(np.ptp(x, axis=axis, keepdims=True) == 0, x.shape)] = 0
    scale = 1 / np.sqrt(np.mean(centred**2, axis=axis, keepdims=True) + eps)
    z = centred * scale
    slope = np.mean(g * z, axis=axis, keepdims=True)
    return z, scale * (g - np.mean(g, axis=axis, keepdims=True) - z * slope)


def run(operation: Callable[..., Any], x: Any, g: Any, eps: float) -> tuple[Any, Any]:
    channels = x.shape[1]
    leaf = Tensor(x, requires_grad=True)
    out = operation(leaf, np.ones(channels, x.dtype), np.zeros(channels, x.dtype), eps=eps)
    out.backward(g)
    assert leaf.grad is not None
    assert out.dtype == leaf.grad.dtype == x.dtype
    return out.data, leaf.grad.data


NUMBERS = np.random.default_rng(3).normal(size=(7, 6))
COTANGENT = np.random.default_rng(4).normal(size=(7, 6))
INPUTS = {
    "ordinary": NUMBERS,
    "far from 0": NUMBERS + 1000,
    "very far from 0": NUMBERS + 30_000,
    "small": NUMBERS * 1e-7,
    "half of them constant": np.where(np.arange(6) < 3, NUMBERS, 777.7),
    "half of the rows constant": np.where(np.arange(7)[:, None] < 3, NUMBERS, 777.7),
}


@pytest.mark.parametrize("eps", [1e-5, 1e-20])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_values_and_gradients_are_right_to_the_last_digits(
    operation: str, name: str, dtype: Any, eps: float
) -> None:
    function, axis = OPERATIONS[operation]
    x, g = INPUTS[name].astype(dtype), COTANGENT.astype(dtype)
    z, slope = oracle(x, g, eps, axis)
    value, gradient = run(function, x, g, eps)
    tolerance = {np.float16: 1e-3, np.float32: 1e-6, np.float64: 2e-15}[dtype]
    np.testing.assert_allclose(value, z, atol=tolerance * np.max(np.abs(z)))
    slope = slope.astype(dtype)  # float16 holds numbers up to 65504
    finite = np.isfinite(slope)
    np.testing.assert_allclose(
        gradient[finite], slope[finite], atol=tolerance * np.max(np.abs(slope[finite]), initial=0)
    )
    np.testing.assert_array_equal(gradient[~finite], slope[~finite])


CONSTANTS = [
    (33333.3, 7),
    (1234567.8, 7),
    (33333.3, 1000),
    (16777.217, 100),
    (0.1, 3),
    (1e15 / 3, 10),
    (1e30, 7),
]


@pytest.mark.parametrize("eps", [1e-5, 1e-20])
@pytest.mark.parametrize(("value", "n"), CONSTANTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.filterwarnings("ignore:overflow encountered in dot:RuntimeWarning")
def test_equal_numbers_become_0(operation: str, dtype: Any, value: float, n: int, eps: float) -> None:
    if dtype is np.float32 and value > 1e19:
        pytest.skip("the square of a rounding error overflows")
    function, axis = OPERATIONS[operation]
    shape = (n, 2) if axis == 0 else (2, n)
    g = np.arange(2.0 * n).reshape(shape).astype(dtype)
    out, gradient = run(function, np.full(shape, value, dtype), g, eps)
    # far enough from 0 for its rounding to show: exactly 0; below, a few digits of rounding
    limit = 0 if value > 1e3 else 2e-5 if dtype is np.float32 else 1e-14
    assert np.max(np.abs(out)) <= limit
    right = (g - np.mean(g, axis=axis, keepdims=True)) / np.sqrt(eps)
    np.testing.assert_allclose(gradient, right, rtol=1e-5, atol=1e-5 * np.max(np.abs(right)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("far", [0, 5, 1000])
@pytest.mark.parametrize("shape", [(18_432, 16), (18_431, 15), (300, 1001)])
def test_large_columns_are_normalised_in_place_and_right(
    shape: tuple[int, int], far: float, order: Any
) -> None:
    rng = np.random.default_rng(0)
    x = np.asarray(rng.standard_normal(shape) + far, np.float32, order=order)
    g = rng.standard_normal(shape, dtype=np.float32)
    before = x.copy()
    value, gradient = run(REGISTRY["batch_norm"], x, g, 1e-5)
    np.testing.assert_array_equal(x, before)
    expected, slope = oracle(x, g, 1e-5, 0)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=2e-5)


def test_the_running_statistics_get_the_mean_that_was_corrected() -> None:
    x = (NUMBERS + 1e6).astype(np.float32)
    mean, var = np.zeros(6, np.float32), np.zeros(6, np.float32)
    F.batch_norm(x, mean, var, training=True, momentum=1.0)
    np.testing.assert_allclose(mean, np.mean(x.astype(np.float64), axis=0), rtol=1e-7)
    np.testing.assert_allclose(var, np.var(x.astype(np.float64), axis=0, ddof=1), rtol=1e-6)


def test_a_hidden_layer_far_from_0_has_the_bits_of_its_modules() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(6, 4, rng=rng), nn.BatchNorm1d(4), nn.ReLU())
    model[0].bias.data[...] = 1e6
    x = rng.normal(size=(50, 6)).astype(np.float32)
    apart = x
    for module in model:
        apart = module(apart)
    np.testing.assert_array_equal(model(x).data, apart.data)


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm"])
def test_second_derivatives_of_equal_numbers_are_finite(name: str) -> None:
    def loss(x: Any) -> Any:
        return np.sum(REGISTRY[name](x, np.ones(3), np.zeros(3), eps=1e-5) ** 2)

    found = hessian(loss)(np.full((3, 3), 777.7)).reshape(9, 9)
    others = np.eye(3) - 1 / 3  # twice the square of the derivative, 1 / sqrt(eps) less the mean
    right = np.kron(others, np.eye(3)) if name == "batch_norm" else np.kron(np.eye(3), others)
    np.testing.assert_allclose(found, 2e5 * right, rtol=1e-9, atol=1e-6)
