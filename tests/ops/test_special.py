"""Special functions: their values at the edges, and derivatives of every order against other sources."""

import math
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.ops.elementwise import (
    erf,
    i0_derivative,
    log_sigmoid,
    sigmoid,
    sinc_derivative,
    softplus,
    xlogy,
)

INF = np.inf
LOGISTIC = [sigmoid, softplus, log_sigmoid]


def gradient(f: Any, value: Any, dtype: Any = np.float64) -> Any:
    x = Tensor(np.array(value, dtype), requires_grad=True)
    np.sum(f(x)).backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    return x.grad.data


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("op", "expected"),
    [(sigmoid, [0, 0.5, 1]), (softplus, [0, math.log(2), 1e4]), (log_sigmoid, [-1e4, -math.log(2), 0])],
)
def test_the_logistic_family_neither_overflows_nor_warns(op: Any, expected: Any, dtype: Any) -> None:
    x = np.array([-1e4, 0, 1e4], dtype)
    out = op(x)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert np.all(np.isfinite(gradient(op, x, dtype)))


def test_softplus_keeps_what_is_small() -> None:
    np.testing.assert_allclose(softplus(np.array([-700.0, -40.0])), np.exp([-700.0, -40.0]), rtol=1e-15)


@pytest.mark.parametrize("op", LOGISTIC, ids=lambda op: op.name)
def test_the_logistic_family_at_infinity_is_its_limit(op: Any) -> None:
    ends = op(np.array([-INF, INF]))
    np.testing.assert_array_equal(
        ends, {"sigmoid": [0, 1], "softplus": [0, INF], "log_sigmoid": [-INF, 0]}[op.name]
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_xlogy_of_0_is_0_and_its_gradients_are_limits(dtype: Any) -> None:
    x = Tensor(np.zeros(3, dtype), requires_grad=True)
    y = Tensor(np.array([0.0, 2.0, INF], dtype), requires_grad=True)
    out = xlogy(x, y)
    np.testing.assert_array_equal(out.data, [0, 0, 0])
    np.sum(out).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, [-INF, math.log(2), INF], rtol=1e-6)


def test_xlogy_of_no_number_is_no_number() -> None:
    assert np.isnan(xlogy(np.array(0.0), np.array(np.nan)))


def test_erf_is_that_of_the_standard_library() -> None:
    x = np.linspace(-7, 7, 1001)
    np.testing.assert_allclose(erf(x), [math.erf(value) for value in x], rtol=1e-14, atol=1e-300)


def test_erf_of_no_number_is_no_number_and_its_neighbours_are_right() -> None:
    np.testing.assert_array_equal(erf(np.array([np.nan, 0.0, INF, -INF])), [np.nan, 0, 1, -1])
    assert np.isnan(gradient(erf, np.nan))


def sinc_series(x: float, order: int) -> float:
    """The order-th derivative of sin(pi x) / (pi x) as the integral of cos(pi x t) over t, by Gauss."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t = (nodes + 1) / 2
    return float(np.sum(weights / 2 * (math.pi * t) ** order * np.cos(math.pi * x * t + order * math.pi / 2)))


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
def test_derivatives_of_sinc_are_right_near_0_and_away(order: int) -> None:
    x = np.array([0.0, 1e-9, 1e-4, 0.3, 0.99, 1.0, 1.01, 2.5, 7.0, -0.4, -3.3])
    expected = [sinc_series(value, order) for value in x]
    found = sinc_derivative(x, order=order)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12 * math.pi**order)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sinc_at_0_has_gradient_0_and_second_derivative(dtype: Any) -> None:
    assert gradient(np.sinc, 0.0, dtype) == 0
    x = Tensor(np.array(0.0, dtype), requires_grad=True)
    np.sinc(x).backward(create_graph=True)
    first, x.grad = x.grad, None
    assert first is not None
    first.backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, -(math.pi**2) / 3, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_i0_satisfy_the_equation_of_bessel(order: int) -> None:
    """x y'' + y' = x y, differentiated order - 1 times (Abramowitz & Stegun 1964, 9.6.1)."""
    x = np.array([0.0, 1e-6, 0.5, 3.0, 30.0, 300.0, 690.0, -2.0])
    y = [i0_derivative(x, order=k) for k in range(order + 2)]
    left, right = x * y[order + 1] + order * y[order], x * y[order - 1]
    if order > 1:
        right = right + (order - 1) * y[order - 2]
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_i0_is_that_of_numpy() -> None:
    x = np.array([-3.0, 0.0, 0.5, 20.0])
    np.testing.assert_array_equal(np.i0(Tensor(x)).data, np.i0(x))


def test_special_functions_are_registered_and_so_checked() -> None:
    assert {"sigmoid", "softplus", "log_sigmoid", "xlogy", "erf", "sinc", "i0"} <= REGISTRY.keys()
