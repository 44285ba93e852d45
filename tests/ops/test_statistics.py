"""Sorts, medians, quantiles, averages, covariances, the nan- family: NumPy's values, warnings and errors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tinygrad_mnist import Tensor
from tinygrad_mnist.testing import gradcheck

METHODS = (
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen",
    "weibull", "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest",
)  # fmt: skip
INF, NAN = np.inf, np.nan
VALUES = st.integers(-40, 40).map(lambda n: n / 8)
rng = np.random.default_rng(1)
TIES = st.sampled_from([-1.5, -0.5, 0.0, 0.25, 1.0, 2.0])


def gradient(f: Any, values: Any, dtype: Any = np.float64) -> Any:
    x = Tensor(np.array(values, dtype), requires_grad=True)
    np.sum(f(x)).backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    return x.grad.data


@st.composite
def arrays_with_an_axis(draw: st.DrawFn, elements: st.SearchStrategy[float] = TIES) -> tuple[Any, Any]:
    """Few different values, so that there are ties, and an axis, several or None."""
    x = draw(npst.arrays(np.float64, npst.array_shapes(max_dims=3, max_side=4), elements=elements))
    axis = draw(st.one_of(st.none(), st.integers(-x.ndim, x.ndim - 1)))
    return x, axis


@given(given=arrays_with_an_axis(st.sampled_from([-1.0, 0.5, 2.0, INF, -INF, NAN])))
def test_sort_is_that_of_numpy(given: tuple[Any, Any]) -> None:
    x, axis = given
    np.testing.assert_array_equal(np.sort(Tensor(x), axis).data, np.sort(x, axis))


@given(given=arrays_with_an_axis(), data=st.data())
def test_partition_puts_the_kth_element_where_sort_does(given: tuple[Any, Any], data: st.DataObject) -> None:
    x, axis = given
    kth = data.draw(st.integers(0, (x.size if axis is None else x.shape[axis]) - 1))
    ours, sorted_ = np.partition(Tensor(x), kth, axis).data, np.sort(x, axis)
    np.testing.assert_array_equal(np.take(ours, kth, axis), np.take(sorted_, kth, axis))
    np.testing.assert_array_equal(np.sort(ours, axis), sorted_)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_sort_of_ties_keeps_their_order(dtype: Any) -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0], dtype)
    part = gradient(lambda x: np.sort(x) * weights, [2.0, 1.0, 2.0, 1.0], dtype)
    np.testing.assert_array_equal(part, [3, 1, 4, 2])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 2.0], [0, 0, 1]),
        ([3.0, 1.0, 2.0, 5.0], [0.5, 0, 0.5, 0]),
        ([1.0, 2.0, 2.0, 2.0, 3.0], [0, 0, 1, 0, 0]),
        ([2.0, 2.0], [0.5, 0.5]),
        ([7.0], [1]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_gradient_of_a_median_is_at_the_middle_elements(values: Any, expected: Any, dtype: Any) -> None:
    np.testing.assert_array_equal(gradient(np.median, values, dtype), expected)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("keepdims", [False, True])
@given(given=arrays_with_an_axis(st.sampled_from([-1.0, 0.5, 0.75, 2.0, NAN])))
def test_median_is_that_of_numpy(keepdims: bool, given: tuple[Any, Any]) -> None:
    x, axis = given
    np.testing.assert_allclose(
        np.median(Tensor(x), axis, keepdims=keepdims).data, np.median(x, axis, keepdims=keepdims), rtol=1e-15
    )


@pytest.mark.parametrize("method", METHODS)
@given(
    given=arrays_with_an_axis(), q=st.sampled_from([0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1, [0.2, 0.7], [[0.5]]])
)
def test_quantile_is_that_of_numpy_by_every_method(method: str, given: tuple[Any, Any], q: Any) -> None:
    x, axis = given
    ours = np.quantile(Tensor(x), q, axis, method=method)
    expected = np.quantile(x, q, axis, method=method)
    assert (ours.shape, ours.dtype) == (np.shape(expected), np.asarray(expected).dtype)
    np.testing.assert_allclose(ours.data, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning")
@given(
    given=arrays_with_an_axis(st.sampled_from([-1.0, 0.5, 0.75, 2.0, NAN])),
    q=st.sampled_from([0.0, 0.3, 0.5, 1.0, [0.2, 0.7]]),
    method=st.sampled_from(METHODS),
)
def test_nanquantile_is_that_of_numpy(given: tuple[Any, Any], q: Any, method: str) -> None:
    x, axis = given
    ours = np.nanquantile(Tensor(x), q, axis, method=method)
    np.testing.assert_allclose(ours.data, np.nanquantile(x, q, axis, method=method), rtol=1e-13, atol=1e-14)


def test_a_quantile_over_several_axes_is_differentiated() -> None:
    x = np.random.default_rng(3).permutation(24).reshape(2, 3, 4) / 7
    gradcheck(lambda x: np.quantile(x, [0.2, 0.65], axis=(0, 2), keepdims=True), x, order=2)


def test_a_median_of_infinities_is_infinite() -> None:
    for values in ([INF, INF], [INF, INF, 0.0], [1.0, INF]):
        assert np.median(Tensor(values)).item() == INF


def test_a_quantile_of_integers_is_that_of_numpy() -> None:
    x = np.array([3, 1, 4, 1, 5])
    for method in METHODS:
        ours, expected = np.quantile(Tensor(x), 0.3, method=method), np.quantile(x, 0.3, method=method)
        assert ours.dtype == expected.dtype
        np.testing.assert_allclose(ours.data, expected)


def test_a_quantile_with_weights_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"quantile on a Tensor takes no weights=; .*np\.interp"):
        np.quantile(Tensor([1.0, 2.0]), 0.5, method="inverted_cdf", weights=np.ones(2))


def test_a_quantile_has_no_gradient_by_its_probability() -> None:
    with pytest.raises(TypeError, match="no gradient by its probabilities"):
        np.quantile(Tensor([1.0, 2.0]), Tensor(0.5, requires_grad=True))


@pytest.mark.parametrize(
    "values", [[1.0, INF, 2.0, 3.0], [INF, INF, 1.0], [-INF, 1.0, INF], [-INF, 0.0, 1.0]]
)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("f", [np.quantile, np.nanquantile])
def test_a_quantile_beside_infinities_is_that_of_numpy(f: Any, method: str, values: Any) -> None:
    for q in (0.0, 0.25, 0.5, 0.9, [0.1, 1.0]):
        with np.errstate(invalid="ignore"):
            ours, theirs = f(Tensor(values), q, method=method), f(np.array(values), q, method=method)
        np.testing.assert_allclose(ours.data, theirs, rtol=1e-13)


@pytest.mark.parametrize("f", [np.median, np.nanmedian])
def test_a_median_of_nothing_is_no_number_and_warns(f: Any) -> None:
    x = Tensor(np.zeros((2, 0)), requires_grad=True)
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"), np.errstate(invalid="ignore"):
        out = f(x, axis=1, keepdims=True)
    np.testing.assert_array_equal(out.data, [[NAN], [NAN]])
    assert out.requires_grad


def test_a_quantile_of_nothing_says_so() -> None:
    with pytest.raises(ValueError, match="no elements along axis"):
        np.quantile(Tensor(np.zeros((2, 0))), 0.5, axis=1)


@pytest.mark.parametrize("q", [0.3, [0.1, 0.9]])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((0,), {}),
        ((0, 3), {}),
        ((0, 3), {"axis": 0}),
        ((2, 0, 3), {"axis": (1, 2)}),
        ((2, 0), {"axis": 1, "keepdims": True}),
    ],
)
def test_a_nanquantile_of_nothing_is_no_number_and_warns_as_in_numpy(
    shape: Any, options: dict[str, Any], q: Any
) -> None:
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        expected = np.nanquantile(np.zeros(shape), q, **options)
    x = Tensor(np.zeros(shape), requires_grad=True)
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        out = np.nanquantile(x, q, **options)
    np.testing.assert_array_equal(out.data, expected, strict=True)
    assert np.all(np.isnan(out.data))


def test_no_nanquantiles_at_all_are_as_many_as_numpy_says() -> None:
    nothing = np.zeros((0, 3))
    out = np.nanquantile(Tensor(nothing), 0.5, axis=1)
    np.testing.assert_array_equal(out.data, np.nanquantile(nothing, 0.5, axis=1), strict=True)


# ---- elements that are no number -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        np.max,
        np.min,
        np.median,
        lambda x, axis: np.quantile(x, 0.3, axis=axis),
        lambda x, axis: np.percentile(x, [20, 70], axis=axis)[1],
    ],
)
def test_a_result_that_is_no_number_comes_evenly_from_the_elements_that_are_none(f: Any) -> None:
    x = Tensor([[1.0, np.nan, 3.0, np.nan], [4.0, 2.0, 3.0, 0.5]], requires_grad=True)
    out = f(x, axis=1)
    assert np.isnan(out.data).tolist() == [True, False]
    out[0].backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [[0, 0.5, 0, 0.5], [0, 0, 0, 0]])


@pytest.mark.parametrize("f", [np.nanmax, np.nanmedian, lambda x, axis: np.nanquantile(x, 0.3, axis=axis)])
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_the_nan_family_has_no_gradient_where_there_is_no_number(f: Any) -> None:
    x = Tensor([[np.nan, np.nan], [4.0, 2.0]], requires_grad=True)
    out = f(x, axis=1)
    assert np.isnan(out.data).tolist() == [True, False]
    np.sum(out).backward()
    assert x.grad is not None
    assert x.grad.data[0].tolist() == [0, 0]
    assert np.sum(x.grad.data[1]) == pytest.approx(1)


# ---- averages and covariances --------------------------------------------------------------------------


def same_as_numpys(ours: Any, expected: Any) -> None:
    assert isinstance(ours, Tensor)
    assert (ours.shape, ours.dtype) == (np.shape(expected), np.asarray(expected).dtype)
    np.testing.assert_allclose(ours.data, expected, rtol=1e-12, atol=1e-12)


@given(
    x=npst.arrays(np.float64, npst.array_shapes(max_dims=3, max_side=4), elements=VALUES),
    data=st.data(),
    keepdims=st.booleans(),
)
def test_average(x: Any, data: st.DataObject, keepdims: bool) -> None:
    axis = data.draw(st.one_of(st.none(), npst.valid_tuple_axes(x.ndim, min_size=1)))
    shape = x.shape if axis is None else tuple(x.shape[i] for i in axis)
    for weights in (None, rng.uniform(0.5, 2, x.shape), rng.uniform(0.5, 2, shape)):
        same_as_numpys(
            np.average(Tensor(x), axis, weights, keepdims=keepdims),
            np.average(x, axis, weights, keepdims=keepdims),
        )


def test_weights_that_sum_to_zero_are_an_error_as_in_numpy() -> None:
    with pytest.raises(ZeroDivisionError, match="sum to zero"):
        np.average(Tensor([1.0, 2.0]), weights=[1.0, -1.0])


@pytest.mark.parametrize(("shape", "axis"), [((0,), 0), ((0, 3), 0), ((0, 3), None), ((3, 0, 2), (1, 2))])
def test_the_average_of_nothing_is_what_numpy_says(shape: Any, axis: Any) -> None:
    nothing = np.zeros(shape)
    with pytest.raises(ZeroDivisionError, match="sum to zero"):
        np.average(Tensor(nothing), axis=axis, weights=nothing)
    with pytest.warns(RuntimeWarning):
        expected = np.average(nothing, axis=axis)
    with pytest.warns(RuntimeWarning):
        np.testing.assert_array_equal(np.average(Tensor(nothing), axis=axis).data, expected)


def test_no_averages_at_all_are_an_error_as_in_numpy() -> None:
    with pytest.raises(ZeroDivisionError):
        np.average(np.zeros((0, 3)), axis=1)
    with pytest.raises(ZeroDivisionError, match=r"average: of shape \(0, 3\) along axis 1 there is nothing"):
        np.average(Tensor(np.zeros((0, 3))), axis=1)


def test_weights_of_another_shape_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"average: weights of shape \(3,\) for axis 0 of shape \(2, 3\)"):
        np.average(Tensor(np.ones((2, 3))), axis=0, weights=np.ones(3))


def test_an_average_by_its_weights() -> None:
    gradcheck(lambda w: np.average(np.array([1.0, 4.0, 2.0]), weights=w), np.array([0.5, 1.0, 2.0]), order=2)


def test_a_covariance_of_one_observation_is_as_in_numpy() -> None:
    with pytest.warns(RuntimeWarning) as ours:
        found = np.cov(Tensor([1.5]))
    assert "Degrees of freedom" in str(ours[0].message)
    assert np.isnan(found.item())


def test_correlations_lie_within_1() -> None:
    x = rng.normal(size=4)
    c = np.corrcoef(Tensor(np.stack([x, 3 * x, -x])))
    assert np.all(np.abs(c.data) <= 1)


def test_float32_observations_have_covariances_in_float64_and_gradients_in_float32() -> None:
    x = Tensor(rng.normal(size=(2, 5)).astype(np.float32), requires_grad=True)
    out = np.cov(x)
    assert out.dtype == np.cov(x.data).dtype == np.float64
    np.sum(out).backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float32


# ---- the nan- family -----------------------------------------------------------------------------------

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
