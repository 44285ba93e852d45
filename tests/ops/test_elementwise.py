"""Elementwise functions: gradients at kinks and edges, what is composed of several, and sigmoid to Bessel."""

import math
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.ops.elementwise import (
    erf,
    i0_derivative,
    log_sigmoid,
    sigmoid,
    sinc_derivative,
    softplus,
    xlogy,
)
from tinygrad_mnist.testing import gradcheck

INF, NAN = np.inf, np.nan
ROWS: dict[str, tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = {
    "hypot at (0, 0)": (np.hypot, (0.0, 0.0), (0, 0)),
    "hypot(0, y)": (np.hypot, (0.0, -2.0), (0, -1)),
    "hypot of large numbers": (np.hypot, (3e30, 4e30), (0.6, 0.8)),
    "logaddexp(-inf, -inf)": (np.logaddexp, (-INF, -INF), (0, 0)),
    "logaddexp2(-inf, -inf)": (np.logaddexp2, (-INF, -INF), (0, 0)),
    "logaddexp(-inf, 1)": (np.logaddexp, (-INF, 1.0), (0, 1)),
    "logaddexp(inf, 1)": (np.logaddexp, (INF, 1.0), (1, 0)),
    "logaddexp(inf, -inf)": (np.logaddexp, (INF, -INF), (1, 0)),
    "logaddexp(inf, inf)": (np.logaddexp, (INF, INF), (NAN, NAN)),
    "logaddexp far apart": (np.logaddexp, ([1e4, -1e4], [-1e4, 1e4]), ([1, 0], [0, 1])),
    "logaddexp(x, x)": (np.logaddexp, (3.0, 3.0), (0.5, 0.5)),
    "arctan2(0, 0)": (np.arctan2, (0.0, 0.0), (NAN, NAN)),
    "arctan2 of large numbers": (np.arctan2, (3e30, 4e30), (4 / 25e30, -3 / 25e30)),
    "fmax(x, x)": (np.fmax, (2.0, 2.0), (0.5, 0.5)),
    "fmin(x, x)": (np.fmin, (2.0, 2.0), (0.5, 0.5)),
    "fmax(x, nan)": (np.fmax, ([1.0, NAN], [NAN, 1.0]), ([1, 0], [0, 1])),
    "fmin(x, nan)": (np.fmin, ([1.0, NAN], [NAN, 1.0]), ([1, 0], [0, 1])),
    "fabs at 0": (np.fabs, (0.0,), (0,)),
    "copysign": (lambda x: np.copysign(x, -1.0), ([2.0, -2.0, 0.0],), ([-1, 1, 0],)),
    "cbrt at 0": (np.cbrt, (0.0,), (INF,)),
    "cbrt of a negative number": (np.cbrt, (-8.0,), (1 / 12,)),
    "log2 at 0": (np.log2, (0.0,), (INF,)),
    "log10 at 0": (np.log10, (0.0,), (INF,)),
    "arcsinh of a large number": (np.arcsinh, (1e30,), (1e-30,)),
    "arccosh at 1": (np.arccosh, (1.0,), (INF,)),
    "arctanh at 1": (np.arctanh, (1.0,), (INF,)),
    "remainder of negative numbers": (np.remainder, ([-7.5, 7.5], [2.0, -2.0]), ([1, 1], [4, 4])),
    "fmod of negative numbers": (np.fmod, ([-7.5, 7.5], [2.0, -2.0]), ([1, 1], [3, 3])),
    "remainder where the quotient rounds": (np.remainder, (1.0, 0.1), (1, -9)),
    "modf": (lambda x: np.modf(x)[0], ([-1.5, 2.25],), ([1, 1],)),
    "frexp": (lambda x: np.frexp(x)[0], ([0.75, 6.0],), ([1, 0.125],)),
    "cumprod with one zero": (np.cumprod, ([2.0, 0.0, 3.0],), ([1, 8, 0],)),
    "cumprod with two zeros": (np.cumprod, ([2.0, 0.0, 0.0, 3.0],), ([1, 2, 0, 0],)),
    "ptp of a constant": (np.ptp, ([2.0, 2.0],), ([0, 0],)),
}


@pytest.mark.parametrize("recorded", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", ROWS)
def test_the_gradient_is_the_convention(case: str, dtype: Any, recorded: bool) -> None:
    f, values, expected = ROWS[case]
    if case == "remainder where the quotient rounds" and dtype is np.float32:
        pytest.skip("in float32 the quotient rounds the other way")
    leaves = [Tensor(np.array(value, dtype), requires_grad=True) for value in values]
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.sum(f(*leaves))
        out.backward(create_graph=recorded)
    for leaf, gradient in zip(leaves, expected, strict=True):
        assert leaf.grad is not None
        assert leaf.grad.dtype == dtype
        np.testing.assert_allclose(leaf.grad.data, gradient, rtol=1e-6)


@pytest.mark.parametrize("f", [np.log2, np.log10, np.cbrt, np.arccosh, np.arctanh])
def test_the_branch_that_where_did_not_choose_does_not_poison(f: Any) -> None:
    x = Tensor(np.array([0.0, 1.0]), requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.sum(np.where(np.array([False, False]), f(x), 0)).backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, 0)


def test_float_power_of_float32_is_float64_and_its_gradient_float32() -> None:
    x = Tensor(np.array([1.5, 2.0], np.float32), requires_grad=True)
    out = np.float_power(x, 3)
    assert out.dtype == np.float64
    np.sum(out).backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad.data, [6.75, 12])


def test_the_second_result_of_divmod_is_differentiated_and_the_first_is_not() -> None:
    x = Tensor([7.5, -2.25], requires_grad=True)
    quotient, rest = np.divmod(x, 2.0)
    assert not quotient.requires_grad
    gradcheck(lambda x, y: np.divmod(x, y)[1], np.array([7.3, -2.6]), np.array([2.1, 1.7]), order=2)
    np.testing.assert_allclose(quotient.data * 2 + rest.data, x.data)


def test_modf_of_infinity_is_that_of_numpy() -> None:
    x = np.array([np.inf, -np.inf, -0.5])
    for ours, expected in zip(np.modf(Tensor(x)), np.modf(x), strict=True):
        np.testing.assert_array_equal(ours.data, expected)


def test_where_of_a_condition_alone_gives_positions() -> None:
    (positions,) = np.where(Tensor([0.0, 2.0, 3.0]) > 1)
    np.testing.assert_array_equal(positions.data, [1, 2])


def test_complex_input_is_refused_in_a_sentence() -> None:
    with pytest.raises(TypeError, match="complex numbers"):
        Tensor([1.0], requires_grad=True) * np.array([1j])


def test_what_clip_cuts_off_takes_no_infinite_gradient() -> None:
    x = Tensor([-1.0, 4.0], requires_grad=True)
    np.sum(np.sqrt(np.clip(x, 0, 9))).backward()
    np.testing.assert_array_equal(x.grad.data, [0, 0.25])


# ---- sigmoid, xlogy, erf, sinc, i0 ---------------------------------------------------------------------

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
