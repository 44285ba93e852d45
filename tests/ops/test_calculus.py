"""Differences, slopes, integrals, interpolation and grids: NumPy's values, and errors."""

from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tinygrad_mnist import Tensor

VALUES = st.integers(-40, 40).map(lambda n: n / 8)
rng = np.random.default_rng(1)


def arrays(min_side: int = 1) -> st.SearchStrategy[Any]:
    shapes = npst.array_shapes(max_dims=3, min_side=min_side, max_side=min_side + 3)
    return npst.arrays(np.float64, shapes, elements=VALUES)


def close(ours: Any, expected: Any, rtol: float = 1e-12) -> None:
    assert isinstance(ours, Tensor)
    assert (ours.shape, ours.dtype) == (np.shape(expected), np.asarray(expected).dtype)
    np.testing.assert_allclose(ours.data, expected, rtol=rtol, atol=1e-12)


@given(x=arrays(), n=st.integers(0, 3), data=st.data())
def test_diff(x: Any, n: int, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    more = data.draw(
        st.sampled_from([{}, {"prepend": 1.5}, {"append": 0.0}, {"prepend": 2.0, "append": -1.0}])
    )
    close(np.diff(Tensor(x), n, axis, **more), np.diff(x, n, axis, **more))


@given(x=arrays(min_side=3), order=st.sampled_from([1, 2]), data=st.data())
def test_gradient_along_one_axis(x: Any, order: int, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    steps = data.draw(npst.arrays(np.float64, n, elements=st.integers(1, 8).map(lambda k: k / 4)))
    for spacing in ((), (0.5,), (np.cumsum(steps),)):
        close(
            np.gradient(Tensor(x), *spacing, axis=axis, edge_order=order),
            np.gradient(x, *spacing, axis=axis, edge_order=order),
        )


def test_gradient_along_all_axes_with_a_spacing_each() -> None:
    x, along = rng.normal(size=(3, 4)), np.array([0.0, 0.5, 0.8, 2.0])
    for ours, expected in zip(np.gradient(Tensor(x), 0.5, along), np.gradient(x, 0.5, along), strict=True):
        close(ours, expected)


def test_gradient_of_integers_is_that_of_numpy() -> None:
    close(np.gradient(Tensor(np.array([1, 4, 9, 16]))), np.gradient(np.array([1, 4, 9, 16])))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0.5, 0.5, 0.5), {}, "3 spacings were given for 2 axes"),
        ((np.arange(5.0),), {"axis": 0}, "coordinates of shape"),
        ((), {"edge_order": 3}, "edge_order=3"),
        ((), {"axis": 0, "edge_order": 2}, "too short"),
    ],
)
def test_a_gradient_that_makes_no_sense_says_why(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        np.gradient(Tensor(np.ones((2, 3))), *arguments, **options)


@given(y=arrays(), dx=VALUES, data=st.data())
def test_trapezoid(y: Any, dx: float, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-y.ndim, y.ndim - 1))
    close(np.trapezoid(Tensor(y), dx=dx, axis=axis), np.trapezoid(y, dx=dx, axis=axis))
    x = np.cumsum(np.ones(y.shape[axis]))
    close(np.trapezoid(Tensor(y), x, axis=axis), np.trapezoid(y, x, axis=axis))


@given(
    x=arrays(),
    steps=npst.arrays(np.float64, st.integers(1, 5), elements=st.integers(1, 8).map(lambda k: k / 4)),
    options=st.sampled_from([{}, {"left": -7.0}, {"right": 9.0, "left": 0.0}, {"period": 2.0}]),
)
def test_interp(x: Any, steps: Any, options: dict[str, Any]) -> None:
    xp = np.cumsum(steps) - 2
    if "period" in options and len(np.unique(xp % 2.0)) < len(xp):
        return
    fp = np.sin(3 * xp)
    close(np.interp(Tensor(x), xp, fp, **options), np.interp(x, xp, fp, **options))


def test_interp_of_no_number_is_no_number() -> None:
    assert np.isnan(np.interp(Tensor(np.nan), [0.0, 1.0], [2.0, 3.0]).item())


def test_interp_at_a_point_has_the_slope_after_it_and_the_last_before() -> None:
    x = Tensor([0.0, 1.0, 2.0], requires_grad=True)
    np.sum(np.interp(x, [0.0, 1.0, 2.0], [0.0, 1.0, 4.0])).backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [1, 3, 3])


ENDS = [-np.inf, 0.0, 1.5, np.inf]


@pytest.mark.parametrize("xp", [xp for n in range(1, 5) for xp in combinations_with_replacement(ENDS, n)])
def test_interp_to_infinity_has_numpys_values_and_finite_gradients(xp: Any) -> None:
    x = np.array([*ENDS, -1.0, 0.5, 2.0, np.nan])
    for fp in ([1.0, 2.5, 2.0, 4.0], [1.0, 1.0, 1.0, 1.0]):
        leaves = [Tensor(values, requires_grad=True) for values in (x, np.array(xp), np.array(fp[: len(xp)]))]
        out = np.interp(*leaves)
        close(out, np.interp(x, xp, fp[: len(xp)]))
        np.sum(out[np.isfinite(out.data)]).backward()
        for tensor in leaves:
            assert tensor.grad is None or np.all(np.isfinite(tensor.grad.data))


def test_interp_beside_a_point_infinitely_far_away_is_level() -> None:
    x, fp = Tensor([-5.0, 7.0], requires_grad=True), Tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    np.sum(np.interp(x, [-np.inf, 0.0, 1.0, np.inf], fp) * [1.0, 10.0]).backward()
    assert x.grad is not None
    assert fp.grad is not None
    np.testing.assert_array_equal(x.grad.data, [0, 0])
    np.testing.assert_array_equal(fp.grad.data, [0, 1, 10, 0])


@given(fp=npst.arrays(np.float64, 3, elements=st.sampled_from([-np.inf, 1.0, 2.0, np.inf])))
def test_interp_of_infinite_values_has_numpys_values_and_no_gradient(fp: Any) -> None:
    x, xp = np.array([-np.inf, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0]), [0.0, 1.0, 2.0]
    np.testing.assert_array_equal(np.interp(Tensor(x), xp, fp).data, np.interp(x, xp, fp))
    if np.any(np.isinf(fp)):
        with pytest.raises(ValueError, match="an infinite value of fp was interpolated, which has no grad"):
            np.interp(Tensor(x, requires_grad=True), xp, fp)


def test_interp_wants_as_many_values_as_points() -> None:
    with pytest.raises(ValueError, match=r"interp: expected points of one axis; got xp \(2,\) and fp \(3,\)"):
        np.interp(Tensor(0.5), [0.0, 1.0], [1.0, 2.0, 3.0])


@given(
    p=npst.arrays(
        np.float64,
        npst.array_shapes(max_dims=2, max_side=5),
        elements=st.integers(-70, 70).map(lambda n: n / 4.3),
    )
)
def test_unwrap(p: Any) -> None:
    for options in ({}, {"period": 4.0}, {"axis": 0}, {"discont": 4.0}):
        close(np.unwrap(Tensor(p), **options), np.unwrap(p, **options))


@pytest.mark.parametrize("p", [[np.inf], [-np.inf, 0.0, 7.0], [1.0, np.inf, 2.0]])
def test_infinities_are_unwrapped_as_numpy_does(p: Any) -> None:
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.unwrap(Tensor(p)).data, np.unwrap(np.array(p)))


def test_the_slope_across_an_infinity_is_that_of_numpy() -> None:
    np.testing.assert_array_equal(
        np.gradient(Tensor([1.0, np.inf, 2.0, 3.0])).data, [np.inf, 0.5, -np.inf, 1.0]
    )


@given(
    num=st.integers(0, 5),
    endpoint=st.booleans(),
    start=npst.arrays(np.float64, (2,), elements=VALUES),
    stop=VALUES,
    axis=st.sampled_from([0, -1]),
)
def test_linspace_and_logspace(num: int, endpoint: bool, start: Any, stop: float, axis: int) -> None:
    for function in (np.linspace, np.logspace):
        close(
            function(Tensor(start), stop, num, endpoint, axis=axis),
            function(start, stop, num, endpoint, axis=axis),
        )


@given(num=st.integers(0, 5), endpoint=st.booleans())
def test_geomspace(num: int, endpoint: bool) -> None:
    start, stop = np.array([1.5, -3.0]), np.array([6.0, -0.5])
    close(np.geomspace(Tensor(start), stop, num, endpoint), np.geomspace(start, stop, num, endpoint))


def test_a_geometric_sequence_has_no_zero() -> None:
    with pytest.raises(ValueError, match="cannot include zero"):
        np.geomspace(Tensor(0.0), 1.0)
