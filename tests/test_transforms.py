"""`grad` and `value_and_grad`: arrays in, arrays out; nesting, argnums, constants; what they refuse."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, no_grad, value_and_grad

X = np.array([0.5, -1.0, 2.0])


def cubes(x: Any) -> Any:
    return np.sum(x**3)


def weighted(x: Any, y: Any, scale: float = 1.0) -> Any:
    return np.sum(x * y * y) * scale


def test_on_an_array_the_gradient_is_an_array() -> None:
    out = grad(cubes)(X)
    assert type(out) is np.ndarray
    np.testing.assert_allclose(out, 3 * X**2)


def test_on_a_float_the_gradient_is_a_0d_array() -> None:
    out = grad(lambda x: x**3)(2.0)
    assert (type(out), out.shape, float(out)) == (np.ndarray, (), 12)


def test_on_a_tensor_the_gradient_is_a_tensor_on_its_tape() -> None:
    x = Tensor(X, requires_grad=True)
    out = grad(cubes)(x)
    np.sum(out).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, 6 * X)


def test_on_a_tensor_that_requires_no_gradient_the_gradient_is_a_tensor() -> None:
    assert isinstance(grad(cubes)(Tensor(X)), Tensor)


def test_grad_leaves_the_grad_of_a_tensor_alone() -> None:
    x = Tensor(X, requires_grad=True)
    grad(cubes)(x)
    assert x.grad is None


def test_value_and_grad_returns_both() -> None:
    value, gradient = value_and_grad(cubes)(X)
    np.testing.assert_allclose(value, np.sum(X**3))
    np.testing.assert_allclose(gradient, 3 * X**2)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_grad_nests(order: int) -> None:
    f: Any = lambda x: np.exp(2 * x) + x**5
    expected = [2, 4, 8, 16][order - 1] * np.exp(0.6) + [5 * 0.3**4, 20 * 0.3**3, 60 * 0.3**2, 120 * 0.3][
        order - 1
    ]
    for _ in range(order):
        f = grad(f)
    np.testing.assert_allclose(f(0.3), expected, rtol=1e-12)


@pytest.mark.parametrize("f", [np.tanh, lambda x: x / (1 + x * x), lambda x: np.log(x) * x, lambda x: x**2.5])
def test_the_fourth_derivative_is_that_of_finite_differences_of_the_third(f: Any) -> None:
    third = grad(grad(grad(f)))
    h = 1e-4
    np.testing.assert_allclose(grad(third)(0.7), (third(0.7 + h) - third(0.7 - h)) / (2 * h), rtol=1e-6)


def test_a_hessian_row_by_row_is_symmetric() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.exp(x[:-1] * x[1:])) + np.prod(x)

    rows = np.array([grad(lambda x, i=i: grad(f)(x)[i])(X) for i in range(3)])
    np.testing.assert_allclose(rows, rows.T)


def test_grad_of_a_function_that_uses_an_outer_argument() -> None:
    # d/dx of x * d/dy (x y^2) at y = 3 is d/dx of 6 x^2
    assert grad(lambda x: x * grad(lambda y: x * y * y)(3.0))(2.0) == 24


def test_the_variables_of_nested_grads_are_not_confused() -> None:
    # Siskind & Pearlmutter (2005): d/dx (x d/dy (x + y)) = 1
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [(0, X * X), (1, 2 * X * X), (-1, 2 * X * X), ((0, 1), (X * X, 2 * X * X)), ((1,), (2 * X * X,))],
    ids=str,
)
def test_argnums_choose_the_arguments(argnums: Any, expected: Any) -> None:
    out = grad(weighted, argnums)(X, X)
    assert isinstance(out, tuple) == isinstance(argnums, tuple)
    np.testing.assert_allclose(out, expected)


def test_keyword_arguments_are_handed_on() -> None:
    np.testing.assert_allclose(grad(weighted)(X, X, scale=2.0), 2 * X * X)


def test_an_argument_that_is_not_used_has_gradient_zero() -> None:
    out = grad(lambda x, y: np.sum(x), 1)(X, np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(out, np.zeros((2, 2), np.float32), strict=True)


@pytest.mark.parametrize(
    "constant", [lambda x: 3.0, lambda x: np.array(3.0), lambda x: Tensor(3.0)], ids=range(3)
)
def test_a_constant_has_gradient_zero(constant: Any) -> None:
    np.testing.assert_array_equal(grad(constant)(X), np.zeros(3), strict=True)


def test_a_constant_has_a_gradient_of_the_gradient_of_zero() -> None:
    np.testing.assert_array_equal(grad(lambda x: np.sum(grad(lambda y: 3.0)(x)))(X), np.zeros(3))


def test_the_argument_itself_has_gradient_one() -> None:
    assert grad(lambda x: x)(2.0) == 1


def test_the_same_tensor_for_two_arguments_gets_a_gradient_for_each() -> None:
    x = Tensor(2.0)
    first, second = grad(lambda a, b: a * a * b, (0, 1))(x, x)
    assert (first.item(), second.item()) == (8, 4)


@pytest.mark.parametrize(
    "f", [lambda x, y: np.sum(x + y), lambda x, y: np.sum(np.stack([x, y]))], ids=["add", "stack"]
)
def test_the_gradients_are_arrays_of_their_own(f: Any) -> None:
    first, second = grad(f, (0, 1))(X, X)
    assert first.flags.writeable
    assert not np.shares_memory(first, second)


def test_float32_stays_float32() -> None:
    value, gradient = value_and_grad(cubes)(X.astype(np.float32))
    assert (value.dtype, gradient.dtype) == (np.float32, np.float32)


def test_grad_works_under_no_grad() -> None:
    with no_grad():
        np.testing.assert_allclose(grad(cubes)(X), 3 * X**2)


def test_a_closed_over_leaf_is_a_constant_to_a_gradient_by_an_array() -> None:
    w = Tensor(3.0, requires_grad=True)
    out = grad(lambda x: w * x * x)(2.0)
    assert (type(out), float(out), w.grad) == (np.ndarray, 12, None)


def test_a_gradient_by_a_tensor_can_be_differentiated_by_a_closed_over_leaf() -> None:
    w = Tensor(3.0, requires_grad=True)
    out = grad(lambda x: w * x * x)(Tensor(2.0))  # 2 w x
    assert w.grad is None
    out.backward()
    assert w.grad is not None
    assert w.grad.item() == 4


def test_the_name_and_doc_are_those_of_the_function() -> None:
    assert grad(cubes).__name__ == "cubes"


def test_an_exception_leaves_recording_as_it_was() -> None:
    def fail(x: Any) -> Any:
        raise KeyError("inside")

    with no_grad():
        with pytest.raises(KeyError, match="inside"):
            grad(fail)(1.0)
        assert not (Tensor(1.0, requires_grad=True) * 2).requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grad(cubes)(np.arange(3)), "dtype int64 for argument 0; it differentiates floats only"),
        (lambda: grad(weighted, 1)(X, np.array([True])), "dtype bool for argument 1"),
        (lambda: grad(lambda x: x * 2)(X), r"returned shape \(3,\)"),
        (lambda: grad(np.argmax)(X), r"dtype int64"),
        (lambda: grad(cubes, 1)(X), "argnums=1 was given, but 1 positional arguments"),
    ],
    ids=["integers", "booleans", "vector", "index", "argnums"],
)
def test_what_cannot_be_differentiated_is_refused(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()
