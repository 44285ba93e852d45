"""Reductions, scans and selections along an axis of a number or of nothing, and of NaN, in every mode."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, jvp

REDUCTIONS = (
    np.sum, np.mean, np.max, np.min, np.prod, np.var, np.std, np.ptp, np.average, np.median,
    np.nansum, np.nanmean, np.nanmax, np.nanmin, np.nanprod, np.nanvar, np.nanstd, np.nanmedian,
)  # fmt: skip
SCANS = (np.cumsum, np.cumprod, np.nancumsum, np.nancumprod, np.cumulative_sum, np.cumulative_prod)
NORMS = (np.linalg.norm, np.linalg.vector_norm)


def along(function: Any, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda x, axis: function(x, *args, axis=axis, **options)


CALLS: dict[str, Callable[..., Any]] = {
    **{f"{f.__qualname__}": along(f) for f in (*REDUCTIONS, *SCANS, *NORMS)},
    **{f"{f.__qualname__}, kept": along(f, keepdims=True) for f in REDUCTIONS},
    **{f"{f.__name__}.reduce": along(f.reduce) for f in (np.add, np.multiply, np.maximum, np.minimum)},
    "var, ddof": along(np.var, ddof=0.5),
    "std, mean": along(np.std, mean=0.5),
    "max, initial": along(np.max, initial=1.0),
    "norm 3": along(np.linalg.norm, 3),
    "quantile": along(np.quantile, 0.5),
    "nanpercentile": along(np.nanpercentile, 50),
    "take": along(np.take, 0),
    "take of several": along(np.take, [0, 0]),
    "squeeze": along(np.squeeze),
    "compress": lambda x, axis: np.compress([True], x, axis=axis),
    "transpose": lambda x, axis: np.transpose(x, axis),
    "repeat": along(np.repeat, 2),
    "flip": along(np.flip),
    "roll": along(np.roll, 1),
    "sort": along(np.sort),
    "diff": along(np.diff),
    "expand_dims": along(np.expand_dims),
    "trapezoid": along(np.trapezoid),
    "delete": along(np.delete, 0),
    "append": along(np.append, 1.0),
}
SHAPES = ((), (0,), (1,), (0, 3), (3, 0), (2, 0, 3))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_numbers_and_empty_arrays_are_reduced_as_in_numpy(name: str, shape: tuple[int, ...]) -> None:
    f = CALLS[name]
    for axis in (None, 0, -1, 1, -2, (), (0,), (0, 1)):
        x = np.full(shape, 1.5)
        try:
            expected = f(x, axis)
        except (ValueError, TypeError, IndexError, ZeroDivisionError):
            continue  # what NumPy refuses is not the question here
        for create_graph in (False, True):
            leaf = Tensor(x, requires_grad=True)
            out = f(leaf, axis)
            np.testing.assert_allclose(out.data, expected)
            assert out.shape == np.shape(expected), axis
            out.backward(np.ones(out.shape), create_graph=create_graph)
            assert leaf.grad is not None
            assert leaf.grad.shape == shape, axis
        _, moved = jvp(lambda x, axis=axis: f(x, axis), (x,), (np.ones(shape),))
        assert moved.shape == out.shape


@pytest.mark.parametrize("axis", [1, -2, (0, 1)])
@pytest.mark.parametrize(
    "f", [np.sum, np.max, np.std, np.cumsum, np.take, np.squeeze], ids=lambda f: f.__name__
)
def test_a_number_has_no_other_axis(f: Any, axis: Any) -> None:
    with pytest.raises((np.exceptions.AxisError, TypeError)):
        f(Tensor(1.5), **({"indices": 0} if f is np.take else {}), axis=axis)


def test_transpose_takes_one_axis_as_a_number() -> None:
    np.testing.assert_array_equal(grad(lambda x: np.transpose(x, 0)[1])(np.arange(3.0)), [0, 1, 0])
    with pytest.raises(ValueError, match="axes"):
        np.transpose(Tensor(np.ones((2, 2))), 0)


def test_an_empty_array_is_resized_to_zeros() -> None:
    np.testing.assert_array_equal(np.resize(Tensor(np.empty((0, 3))), (2, 2)).data, np.zeros((2, 2)))


# ---- NaN -------------------------------------------------------------------------------------------------

NAN = np.nan
ROWS = np.array([[1.0, NAN, 3.0], [2.0, -1.0, 0.5], [NAN, NAN, NAN]])
OF_NAN: dict[str, tuple[Callable[[Any], Any], list[list[float]]]] = {
    "max": (lambda x: np.max(x, axis=1), [[0, 1, 0], [1, 0, 0], [1 / 3] * 3]),
    "min": (lambda x: np.min(x, axis=1), [[0, 1, 0], [0, 1, 0], [1 / 3] * 3]),
    "ptp": (lambda x: np.ptp(x, axis=1), [[0, 0, 0], [1, -1, 0], [0, 0, 0]]),
    "median": (lambda x: np.median(x, axis=1), [[0, 1, 0], [0, 0, 1], [1 / 3] * 3]),
    "var": (lambda x: np.var(x, axis=1), [[NAN] * 3, [1, -1, 0], [NAN] * 3]),
    "std": (lambda x: np.std(x, axis=1), [[NAN] * 3, [6**-0.5, -(6**-0.5), 0], [NAN] * 3]),
    "prod": (lambda x: np.prod(x, axis=1), [[NAN, 3, NAN], [-0.5, 1, -2], [NAN] * 3]),
    "nansum": (lambda x: np.nansum(x, axis=1), [[1, 0, 1], [1, 1, 1], [0, 0, 0]]),
    "nanmean": (lambda x: np.nanmean(x, axis=1), [[0.5, 0, 0.5], [1 / 3] * 3, [0, 0, 0]]),
    "nanmax": (lambda x: np.nanmax(x, axis=1), [[0, 0, 1], [1, 0, 0], [0, 0, 0]]),
    "nanmin": (lambda x: np.nanmin(x, axis=1), [[1, 0, 0], [0, 1, 0], [0, 0, 0]]),
    "nanprod": (lambda x: np.nanprod(x, axis=1), [[3, 0, 1], [-0.5, 1, -2], [0, 0, 0]]),
    "nanvar": (lambda x: np.nanvar(x, axis=1), [[-1, 0, 1], [1, -1, 0], [0, 0, 0]]),
    "nanstd": (lambda x: np.nanstd(x, axis=1), [[-0.5, 0, 0.5], [6**-0.5, -(6**-0.5), 0], [0, 0, 0]]),
    "nanmedian": (lambda x: np.nanmedian(x, axis=1), [[0.5, 0, 0.5], [0, 0, 1], [0, 0, 0]]),
    "norm": (
        lambda x: np.linalg.norm(x, axis=1),
        [[NAN] * 3, [2 / 5.25**0.5, -1 / 5.25**0.5, 0.5 / 5.25**0.5], [NAN] * 3],
    ),
}


@pytest.mark.parametrize("mode", ["plain", "recorded", "forward"])
@pytest.mark.parametrize("name", OF_NAN)
def test_nan_is_skipped_or_shows_in_the_gradient_of_its_row(name: str, mode: str) -> None:
    f, expected = OF_NAN[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        if mode == "forward":  # each row by itself: 0 times NaN is NaN, in a sum over all rows too
            found = np.array([
                [jvp(lambda r: f(r[None])[0], (row,), (e,))[1] for e in np.eye(3)] for row in ROWS
            ])  # fmt: skip
            carried = ~np.isnan(found) | np.isnan(np.array(expected)).any(axis=1, keepdims=True)
            assert carried.all()
            np.testing.assert_allclose(found[1], expected[1], atol=1e-15)
            return
        leaf = Tensor(ROWS, requires_grad=True)
        f(leaf).backward(np.ones(3), create_graph=mode == "recorded")
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad.data, expected, atol=1e-15)
