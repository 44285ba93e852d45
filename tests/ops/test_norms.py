"""Norms, std and their directions: right whatever the size of the numbers, and never a silent 0 at a kink."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, hessian, hvp, jvp

la = np.linalg
X = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.5]])
ORDERS = (None, 1, 2, 3, 1.5, 0.5, 4, -1, -2, np.inf, -np.inf)
MATRIX_ORDERS = ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)

OF_DEGREE_1: dict[str, Callable[[Any], Any]] = {
    **{f"norm {order}": lambda x, o=order: np.sum(la.norm(x, o, axis=1)) for order in ORDERS},
    "norm of all": la.norm,
    "vector_norm": lambda x: np.sum(la.vector_norm(x, axis=0, keepdims=True)),
    "vector_norm of all": lambda x: la.vector_norm(x, ord=3),
    "Frobenius norm": lambda x: la.matrix_norm(x),
    **{f"std {axis} {ddof}": lambda x, a=axis, d=ddof: np.sum(np.std(x, axis=a, ddof=d))
       for axis, ddof in ((None, 0), (1, 1), ((0, 1), 0.5))},
    "std by rows, kept": lambda x: np.sum(np.std(x, axis=1, keepdims=True)),
    "std from a mean": lambda x: np.std(x, mean=np.mean(x)),
    "nanstd": np.nanstd,
    "nanstd by rows": lambda x: np.sum(np.nanstd(x, axis=1, ddof=1)),
}  # fmt: skip
"""Functions whose gradient is the same at x and at 1000 x."""

SIZES = [
    (np.float64, 1e-310), (np.float64, 1e-170), (np.float64, 1e160), (np.float64, 1e300),
    (np.float32, 1e-40), (np.float32, 1e-23), (np.float32, 1e30), (np.float32, 1e37),
    (np.float16, 1e-4), (np.float16, 1e4),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(("dtype", "size"), SIZES, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("name", OF_DEGREE_1)
def test_a_gradient_does_not_depend_on_the_size_of_the_numbers(name: str, dtype: Any, size: float) -> None:
    f = OF_DEGREE_1[name]
    x = (X * size).astype(dtype)
    expected = grad(f)((x.astype(np.longdouble) / size).astype(np.float64))
    tolerance = {np.float64: 1e-14, np.float32: 1e-5, np.float16: 2e-3}[dtype]
    gradient = grad(f)(x)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance)
    moved = jvp(f, (x,), (np.ones_like(x),))[1]
    np.testing.assert_allclose(moved, np.sum(expected), rtol=tolerance, atol=10 * tolerance)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("size", [1e-40, 1e-23, 1.0, 1e30])
@pytest.mark.parametrize("f", [la.norm, np.std, lambda x: la.vector_norm(x, ord=3), np.var])
def test_a_value_is_numpys(f: Any, size: float) -> None:
    x = (X * size).astype(np.float32)
    np.testing.assert_allclose(f(Tensor(x)).data, f(x), rtol=1e-6)


# ---- second derivatives ----------------------------------------------------------------------------------

CONSTANT = {"zeros": np.zeros(3), "equal numbers": np.full(3, 0.1)}
KINKED = {
    **{f"norm {order}": (lambda x, o=order: la.norm(x, o), ("zeros",)) for order in ORDERS},
    "vector_norm, kept": (lambda x: np.sum(la.vector_norm(x, keepdims=True)), ("zeros",)),
    "std": (np.std, tuple(CONSTANT)),
    "std with ddof": (lambda x: np.std(x, ddof=1), tuple(CONSTANT)),
    "std from a mean": (lambda x: np.std(x, mean=0.0), ("zeros",)),
    "nanstd": (np.nanstd, ("zeros",)),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("name", "at"), [(name, at) for name, (_, ats) in KINKED.items() for at in ats])
def test_at_a_kink_the_gradient_is_0_and_the_second_derivative_is_no_silent_0(
    name: str, at: str, order: int
) -> None:
    f, x = KINKED[name][0], CONSTANT[at]

    def power(x: Any) -> Any:
        return f(x) ** order / order

    np.testing.assert_array_equal(grad(power)(x), 0)
    assert np.isnan(np.diag(hessian(power)(x))).all()
    assert np.isnan(hvp(power, (x,), (np.array([1.0, 2.0, 3.0]),))).all()


@pytest.mark.parametrize("order", MATRIX_ORDERS)
def test_no_matrix_norm_has_a_second_derivative_at_0(order: Any) -> None:
    def half_square(x: Any) -> Any:
        return la.norm(x.reshape(2, 2), order) ** 2 / 2

    np.testing.assert_array_equal(grad(half_square)(np.zeros(4)), 0)
    assert np.isnan(np.diag(hessian(half_square)(np.zeros(4)))).all()


def test_the_nuclear_norm_has_no_second_derivative_at_a_matrix_of_lower_rank() -> None:
    x = np.outer([1.0, 2.0], [3.0, 1.0])
    assert np.isnan(hessian(lambda x: la.norm(x, "nuc"))(x)).all()
    assert np.isfinite(hessian(lambda x: la.norm(x, 2))(x)).all()  # its largest singular value is simple


@pytest.mark.parametrize("order", [2, 2.5, 3, 4])
def test_an_element_of_0_has_its_second_derivative_where_there_is_one(order: float) -> None:
    x, step = np.array([3.0, 0.0, -4.0]), 1e-6
    by_gradients = [
        (grad(lambda x: la.norm(x, order))(x + step * e) - grad(lambda x: la.norm(x, order))(x - step * e))
        / (2 * step)
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(hessian(lambda x: la.norm(x, order))(x), by_gradients, atol=1e-3)
    for low in (1.5, 0.5, -1):
        assert np.isnan(hessian(lambda x, low=low: la.norm(x, low))(x)[1, 1])


def test_one_row_at_its_kink_does_not_spoil_the_others() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    found = hessian(lambda x: np.sum(la.norm(x, axis=1)))(rows)
    assert np.isnan(found[0, :, 0]).all()
    np.testing.assert_allclose(found[1, :, 1], np.array([[16, -12], [-12, 9]]) / 125)
    np.testing.assert_array_equal(found[1, :, 0], 0)


def test_std_squared_has_the_hessian_of_var() -> None:
    x = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(hessian(lambda x: np.std(x) ** 2)(x), hessian(np.var)(x), atol=1e-15)


def test_infinite_elements_are_nan_and_nan_stays() -> None:
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(grad(la.norm)(np.array([np.inf, 1.0])), [np.nan, 0])
        assert np.isnan(grad(np.std)(np.array([np.inf, np.inf]))).all()
    assert np.isnan(grad(la.norm)(np.array([np.nan, 1.0]))).all()
    assert np.isnan(grad(np.std)(np.array([np.nan, 1.0]))).all()
