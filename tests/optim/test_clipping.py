"""Clipping: the norm that it saw, what it leaves, and what it must not touch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.optim import clip_grad_norm_, clip_grad_value_


def with_gradients(*gradients: Any) -> list[Tensor]:
    parameters = []
    for gradient in gradients:
        array = np.asarray(gradient)
        parameter = Tensor(np.zeros_like(array), requires_grad=True)
        parameter.grad = Tensor(array)
        parameters.append(parameter)
    return parameters


def gradient_of(parameter: Tensor) -> Any:
    assert parameter.grad is not None
    return parameter.grad.data


@given(
    entries=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20),
    cut=st.integers(0, 20),
    max_norm=st.floats(1e-3, 1e3),
    order=st.sampled_from([0.5, 1.0, 2.0, 3.0, math.inf]),
)
def test_the_norm_is_seen_and_limited(entries: list[float], cut: int, max_norm: float, order: float) -> None:
    parameters = with_gradients(np.array(entries[:cut]), np.array(entries[cut:]))
    size = np.abs(entries)
    expected = size.max() if order == math.inf else (size**order).sum() ** (1 / order)
    assert clip_grad_norm_(parameters, max_norm, order) == pytest.approx(expected, rel=1e-9, abs=1e-100)
    after = np.concatenate([gradient_of(parameter) for parameter in parameters])
    np.testing.assert_allclose(after, np.array(entries) * min(1.0, max_norm / (expected + 1e-6)), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e-161, 1e-30, 1.0, 1e30, 1e200])
def test_the_norm_neither_overflows_nor_underflows(scale: float) -> None:
    parameters = with_gradients(np.array([3.0, 4.0]) * scale)
    assert clip_grad_norm_(parameters, math.inf) == pytest.approx(5 * scale, rel=1e-14, abs=0)


def test_the_norm_of_many_float32_is_summed_in_float64() -> None:
    entries = np.full(1_000_000, 0.1, np.float32)
    exact = 1000.0 * float(np.float32(0.1))
    assert clip_grad_norm_(with_gradients(entries), math.inf) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("clip", [lambda p: clip_grad_norm_(p, 0.1), lambda p: clip_grad_value_(p, 0.1)])
def test_dtype_and_memory_order_stay(clip: Callable[[Any], Any], order: Any) -> None:
    (parameter,) = with_gradients(np.ones((3, 4), np.float32, order=order))
    clip([parameter])
    assert gradient_of(parameter).dtype == np.float32
    assert gradient_of(parameter).flags.f_contiguous == (order == "F")


@pytest.mark.parametrize("clip", [lambda p: clip_grad_norm_(p, 0.1), lambda p: clip_grad_value_(p, 0.1)])
def test_a_kept_gradient_stays_what_it_was(clip: Callable[[Any], Any]) -> None:
    parameters = with_gradients([2.0, -3.0], 4.0)
    kept = [gradient_of(parameter) for parameter in parameters]
    clip(parameters)
    assert [gradient.tolist() for gradient in kept] == [[2.0, -3.0], 4.0]
    assert all(np.all(np.abs(gradient_of(parameter)) <= 0.1) for parameter in parameters)


@pytest.mark.parametrize("clip", [lambda p: clip_grad_norm_(p, 1.0), lambda p: clip_grad_value_(p, 1.0)])
def test_parameters_without_a_gradient_do_not_count(clip: Callable[[Any], Any]) -> None:
    bare = Tensor(np.ones(3), requires_grad=True)
    clip(parameter for parameter in [bare])
    assert bare.grad is None


def test_without_any_gradient_the_norm_is_0() -> None:
    assert clip_grad_norm_([], 1.0) == 0.0


def test_a_single_parameter_may_be_given() -> None:
    (parameter,) = with_gradients([3.0, 4.0])
    assert clip_grad_norm_(parameter, 1.0) == 5.0


def test_a_parameter_given_twice_counts_once() -> None:
    (parameter,) = with_gradients([3.0, 4.0])
    assert clip_grad_norm_([parameter, parameter], 1.0) == 5.0


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_norm_that_is_not_finite_raises_if_wanted(bad: float) -> None:
    parameters = with_gradients([1.0, bad])
    with pytest.raises(RuntimeError, match="cannot be clipped"):
        clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(gradient_of(parameters[0]), [1.0, bad])


def test_an_infinite_norm_makes_finite_entries_0_otherwise() -> None:
    (parameter,) = with_gradients([1.0, math.inf])
    assert clip_grad_norm_([parameter], 1.0) == math.inf
    np.testing.assert_array_equal(gradient_of(parameter), [0.0, math.nan])


@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_a_nan_is_seen(order: float) -> None:
    (parameter,) = with_gradients([1.0, math.nan])
    assert math.isnan(clip_grad_norm_([parameter], 1.0, order))
    assert np.isnan(gradient_of(parameter)).all()


def test_values_are_limited_and_nan_stays() -> None:
    (parameter,) = with_gradients([-3.0, 0.5, math.nan, math.inf])
    clip_grad_value_([parameter], 1.0)
    np.testing.assert_array_equal(gradient_of(parameter), [-1.0, 0.5, math.nan, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clip_grad_norm_([], -1.0), "max_norm must be finite and at least 0"),
        (lambda: clip_grad_norm_([], math.nan), "max_norm must be"),
        (lambda: clip_grad_norm_([], 1.0, 0.0), "norm_type must be above 0, not 0.0"),
        (lambda: clip_grad_norm_([np.ones(3)], 1.0), "parameter 0 is a ndarray, not a Tensor"),  # type: ignore[list-item]
        (
            lambda: clip_grad_norm_(nn.Linear(2, 1), 1.0),
            r"a Linear; give its parameters: model\.parameters\(\)",
        ),  # type: ignore[arg-type]
        (lambda: clip_grad_value_(nn.Sequential(), 1.0), "parameters is a Sequential"),  # type: ignore[arg-type]
        (lambda: clip_grad_norm_(3, 1.0), "parameters is 3; expected a Tensor, or an iterable"),  # type: ignore[arg-type]
        (lambda: clip_grad_value_([], -1.0), "clip_value must be"),
        (lambda: clip_grad_value_([], "much"), "clip_value must be a number, not 'much'"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
