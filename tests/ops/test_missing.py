"""The nan- family: NumPy's values and warnings, and no gradient to what is no number."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tinygrad_mnist import Tensor

NAN = np.nan
REDUCTIONS = [np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanvar, np.nanstd]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("function", REDUCTIONS, ids=lambda f: f.__name__)
@given(
    x=npst.arrays(
        np.float64,
        npst.array_shapes(max_dims=3, max_side=3),
        elements=st.sampled_from([-1.5, 0.0, 0.5, 2.0, NAN]),
    ),
    data=st.data(),
    keepdims=st.booleans(),
)
def test_a_nan_reduction_is_that_of_numpy(function: Any, x: Any, data: st.DataObject, keepdims: bool) -> None:
    axis = data.draw(st.one_of(st.none(), npst.valid_tuple_axes(x.ndim, min_size=1)))
    ours = function(Tensor(x), axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(ours.data, function(x, axis=axis, keepdims=keepdims), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("function", REDUCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_no_number_gets_a_gradient_of_0(function: Any, dtype: Any) -> None:
    x = Tensor(np.array([1.0, NAN, 3.0, 0.5], dtype), requires_grad=True)
    function(x).backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert x.grad.data[1] == 0
    assert np.all(np.isfinite(x.grad.data))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (np.nanmax, "All-NaN slice"), (np.nanmin, "All-NaN slice"), (np.nanmean, "Mean of empty slice"),
        (np.nanvar, "Degrees of freedom"), (np.nanstd, "Degrees of freedom"),
    ],
)  # fmt: skip
def test_a_slice_without_numbers_warns_as_in_numpy(function: Any, message: str) -> None:
    x = np.array([[NAN, NAN], [1.0, 2.0]])
    with pytest.warns(RuntimeWarning, match=message):
        ours = function(Tensor(x), axis=1)
    with pytest.warns(RuntimeWarning, match=message):
        np.testing.assert_allclose(ours.data, function(x, axis=1))


@pytest.mark.parametrize("function", REDUCTIONS, ids=lambda f: f.__name__)
def test_integers_are_reduced_as_numpy_does(function: Any) -> None:
    x = np.array([[3, 1], [4, 1]])
    ours, expected = function(Tensor(x), axis=0), function(x, axis=0)
    assert ours.dtype == expected.dtype
    np.testing.assert_allclose(ours.data, expected)


def test_nanstd_of_a_constant_has_gradient_0() -> None:
    x = Tensor([2.0, NAN, 2.0], requires_grad=True)
    np.nanstd(x).backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, 0)


def test_nanmax_splits_the_gradient_among_ties() -> None:
    x = Tensor([2.0, NAN, 2.0, 1.0], requires_grad=True)
    np.nanmax(x).backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [0.5, 0, 0.5, 0])


def test_nan_to_num_has_gradient_1_at_numbers_and_0_elsewhere() -> None:
    values = np.array([1.5, NAN, np.inf, -np.inf])
    for options in ({}, {"nan": 3.0}, {"posinf": 7.0, "neginf": -8.0}):
        x = Tensor(values, requires_grad=True)
        out = np.nan_to_num(x, **options)
        np.testing.assert_array_equal(out.data, np.nan_to_num(values, **options))
        np.sum(out).backward()
        assert x.grad is not None
        np.testing.assert_array_equal(x.grad.data, [1, 0, 0, 0])


def test_nan_to_num_in_place_is_refused() -> None:
    with pytest.raises(TypeError, match="copy=False"):
        np.nan_to_num(Tensor([1.0]), copy=False)
