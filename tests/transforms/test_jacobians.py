"""``jacobian`` and ``hessian``: shapes, both modes, trees, nesting, errors."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from tinygrad_mnist.engine.observe import Recorder, observed_by

A = np.array([[1.0, 2.0], [-0.5, 3.0], [0.3, -1.0]])
X = np.array([0.4, -1.1])


def wide(x: Any) -> Any:
    """From 2 numbers to 3: forward mode."""
    return np.sin(A @ x)


def tall(x: Any) -> Any:
    """From 6 numbers to 2: reverse mode."""
    return np.exp(np.sum(x, axis=0))


class Passes(Recorder):
    """Notes which mode computes a derivative."""

    def __init__(self) -> None:
        self.modes: set[str] = set()

    def pushed(self, node: Any, tangent: Any) -> None:
        self.modes.add("forward")

    def walked(self, node: Any, g: Any, cotangents: Any, arrived: Any) -> None:
        self.modes.add("reverse")


@pytest.mark.parametrize(("f", "x"), [(wide, X), (tall, A)], ids=["wide", "tall"])
def test_both_modes_give_the_numeric_jacobian(f: Any, x: Any) -> None:
    numeric = np.zeros((*f(x).shape, *x.shape))
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-6
        numeric[(..., *index)] = (f(x + step) - f(x - step)) / 2e-6
    np.testing.assert_allclose(jacobian(f)(x), numeric, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("f", "x", "mode"), [(wide, X, "forward"), (tall, A, "reverse")])
def test_the_cheaper_mode_is_chosen(f: Any, x: Any, mode: str) -> None:
    passes = Passes()
    with observed_by(passes):
        jacobian(f)(x)
    assert passes.modes == {mode}


def test_the_function_runs_once() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(x)
        return wide(x)

    jacobian(f)(X)
    assert len(calls) == 1


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0), (2, 1, 3)])
def test_shapes_are_those_of_the_result_and_then_of_the_argument(shape: tuple[int, ...]) -> None:
    assert jacobian(lambda x: np.stack([x, x]))(np.ones(shape)).shape == (2, *shape, *shape)
    assert hessian(lambda x: np.sum(x**2))(np.ones(shape)).shape == (*shape, *shape)


@pytest.mark.parametrize("f", [wide, tall], ids=["forward", "reverse"])
def test_a_jacobian_has_the_dtype_of_the_argument_and_memory_of_its_own(f: Any) -> None:
    x = np.ones(2 if f is wide else (3, 2), np.float32)
    result = jacobian(lambda x: f(x) * np.ones(1))(x)
    assert result.dtype == np.float32
    result[...] = 0


def test_trees_of_results_by_trees_of_arguments() -> None:
    def f(p: Any, x: Any) -> Any:
        return {"y": p["w"] @ x, "s": np.sum(p["b"] * 3.0)}

    params = {"w": A, "b": X}
    blocks = jacobian(f, argnums=(0, 1))(params, X)
    by_params, by_x = blocks["y"]
    np.testing.assert_allclose(by_x, A)
    np.testing.assert_allclose(by_params["w"], np.einsum("ij,k->ijk", np.eye(3), X))
    assert by_params["b"].shape == (3, 2)
    assert not by_params["b"].any()
    np.testing.assert_allclose(blocks["s"][0]["b"], [3.0, 3.0])


def test_aux_is_returned_besides() -> None:
    derivative, aux = jacobian(lambda x: (wide(x), "aux"), has_aux=True)(X)
    assert (derivative.shape, aux) == ((3, 2), "aux")
    second, aux = hessian(lambda x: (np.sum(x**3), np.sin(x)), has_aux=True)(X)
    np.testing.assert_allclose(second, np.diag(6 * X))
    np.testing.assert_allclose(aux, np.sin(X))


def test_a_constant_has_a_jacobian_of_zeros() -> None:
    assert jacobian(lambda x: np.ones(3))(X).tolist() == [[0.0, 0.0]] * 3
    assert hessian(lambda x: 2.0)(X).tolist() == [[0.0, 0.0]] * 2


def test_the_hessian_is_symmetric_and_agrees_with_its_products() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.exp(A @ x)) * np.prod(x)

    second = hessian(f)(X)
    np.testing.assert_allclose(second, second.T, rtol=1e-12)
    np.testing.assert_allclose(second @ A[0], hvp(f, (X,), (A[0],)), rtol=1e-12)


def test_a_hessian_of_several_arguments_has_all_blocks() -> None:
    blocks = hessian(lambda x, y: np.sum(x * x * y), argnums=(0, 1))(X, X + 1)
    np.testing.assert_allclose(blocks[0][0], np.diag(2 * (X + 1)))
    np.testing.assert_allclose(blocks[0][1], np.diag(2 * X))
    np.testing.assert_allclose(blocks[1][0], np.diag(2 * X))
    assert not blocks[1][1].any()


def test_matrices_nest() -> None:
    third = jacobian(hessian(lambda x: np.sum(x**4)))(X)
    expected = np.zeros((2, 2, 2))
    expected[[0, 1], [0, 1], [0, 1]] = 24 * X
    np.testing.assert_allclose(third, expected)
    np.testing.assert_allclose(grad(lambda x: np.sum(jacobian(wide)(x)))(X),
                               -np.sin(A @ X) @ (A * A.sum(axis=1, keepdims=True)))  # fmt: skip
    np.testing.assert_allclose(grad(lambda x: np.sum(jacobian(tall)(x)))(A), 3 * np.tile(tall(A), (3, 1)))


def test_on_tensors_they_are_on_the_tape() -> None:
    x = Tensor(X, requires_grad=True)
    second = hessian(lambda x: np.sum(x**3))(x)
    np.sum(second).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, [6.0, 6.0])


def test_the_jacobian_of_newtons_method_converges() -> None:
    def f(x: Any) -> Any:
        return np.stack([x[0] ** 2 + x[1] ** 2 - 4.0, x[0] * x[1] - 1.0])

    x = np.array([2.0, 0.3])
    for _ in range(6):
        x = x - np.linalg.solve(jacobian(f)(x), f(x))
    np.testing.assert_allclose(f(x), 0.0, atol=1e-12)


def test_what_would_not_fit_into_memory_is_an_error_with_its_size() -> None:
    x = np.zeros(200_000)
    with pytest.raises(MemoryError, match=r"320,000,000,000 bytes .* shape \(200000, 200000\)"):
        jacobian(np.sin)(x)
    with pytest.raises(MemoryError, match="use jvp, vjp or hvp"):
        hessian(lambda x: np.sum(x**2))(x)
    with pytest.raises(MemoryError, match="max_bytes=47"):
        jacobian(wide, max_bytes=47)(X)
    assert jacobian(wide, max_bytes=48)(X).nbytes == 48


@pytest.mark.parametrize(("f", "x"), [(wide, X), (tall, A)], ids=["wide", "tall"])
def test_rows_are_what_the_pullback_gives_and_columns_what_jvp_gives(f: Any, x: Any) -> None:
    whole = jacobian(f)(x)
    out, pullback = vjp(f, x)
    for i, unit in enumerate(np.eye(out.size)):
        np.testing.assert_allclose(whole[i], pullback(unit)[0])
    for index in np.ndindex(x.shape):
        unit = np.zeros_like(x)
        unit[index] = 1
        np.testing.assert_allclose(whole[(..., *index)], jvp(f, (x,), (unit,))[1])


@pytest.mark.parametrize(
    ("transform", "call"),
    [
        ("grad", lambda f, x: grad(f)(x)),
        ("value_and_grad", lambda f, x: value_and_grad(f)(x)),
        ("hessian", lambda f, x: hessian(f)(x)),
        ("hvp", lambda f, x: hvp(f, (x,), (x,))),
    ],
)
def test_a_function_of_several_results_is_an_error_in_the_name_of_the_transform(
    transform: str, call: Any
) -> None:
    with pytest.raises(
        TypeError, match=rf"^{transform} differentiates a function that returns one .* \(2,\)"
    ):
        call(lambda x: x * 2, np.ones(2))


def test_a_hessian_by_integers_is_an_error_in_its_own_name() -> None:
    with pytest.raises(TypeError, match=r"^hessian was given dtype int64 for argument 0"):
        hessian(np.sum)(np.ones(2, np.int64))
