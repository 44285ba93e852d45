"""logsumexp, softmax and log_softmax: derivatives add up to what they must, whatever the entries are."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, hessian, jvp, nn
from tinygrad_mnist.engine.op import REGISTRY

F = nn.functional
softmax, log_softmax, logsumexp = (REGISTRY[name] for name in ("softmax", "log_softmax", "logsumexp"))

LARGE = [
    (np.float64, 1e20), (np.float64, 1e300), (np.float64, -1e20), (np.float32, 1e5), (np.float32, 1e7),
    (np.float32, 1e8), (np.float32, -3e38), (np.float16, 1000.0), (np.float16, -6e4),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "size"), LARGE, ids=lambda value: getattr(value, "__name__", value))
def test_the_gradient_of_logsumexp_sums_to_1(dtype: Any, size: float) -> None:
    for x in (np.full(10, size, dtype), np.array([size, size, 0.0, 1.0], dtype)):
        gradient = grad(lambda x: Tensor.logsumexp(x))(Tensor(x)).data
        assert gradient.dtype == dtype
        np.testing.assert_allclose(np.sum(gradient, dtype=np.float64), 1, rtol=2 * np.finfo(dtype).eps)
        _, moved = jvp(lambda x: x.logsumexp(), (Tensor(x),), (Tensor(np.ones_like(x)),))
        np.testing.assert_allclose(moved.data, 1, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "size"), LARGE, ids=lambda value: getattr(value, "__name__", value))
def test_the_second_derivative_of_logsumexp_is_that_of_its_softmax(dtype: Any, size: float) -> None:
    found = hessian(lambda x: x.logsumexp())(Tensor(np.full(2, size, dtype))).data
    np.testing.assert_allclose(found, [[0.25, -0.25], [-0.25, 0.25]], rtol=1e-3)


@pytest.mark.parametrize(("dtype", "size"), LARGE, ids=lambda value: getattr(value, "__name__", value))
def test_softmax_and_log_softmax_do_not_move_with_all_entries(dtype: Any, size: float) -> None:
    x = np.full(10, size, dtype)
    for f in (lambda x: F.softmax(x, 0), lambda x: F.log_softmax(x, 0)):
        _, moved = jvp(f, (Tensor(x),), (Tensor(np.ones_like(x)),))
        np.testing.assert_allclose(moved.data, 0, atol=8 * np.finfo(dtype).eps)
    gradient = grad(lambda x: F.log_softmax(x, 0)[0])(Tensor(x)).data
    np.testing.assert_allclose(gradient, np.eye(10)[0] - 0.1, rtol=1e-3)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-np.inf, -np.inf], [0, 0]), ([np.inf, 1e4], [1, 0]), ([np.inf, np.inf], [np.nan, np.nan]),
        ([np.nan, 0.0], [np.nan, np.nan]), ([np.nan, np.inf], [np.nan, np.nan]), ([-np.inf, 0.0], [0, 1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logsumexp_of_what_is_not_finite(row: list[float], expected: list[float], dtype: Any) -> None:
    rows = Tensor(np.array([row, [0.0, 0.0]], dtype), requires_grad=True)
    rows.logsumexp(1).backward(np.ones(2), create_graph=True)
    assert rows.grad is not None
    np.testing.assert_array_equal(rows.grad.data, [expected, [0.5, 0.5]])


@pytest.mark.parametrize("dim", [0, -1])
def test_a_number_is_a_row_of_one(dim: int) -> None:
    for f, value, slope in (
        (lambda x: F.softmax(x, dim), 1, 0),
        (lambda x: F.log_softmax(x, dim), 0, 0),
        (lambda x: x.logsumexp(dim), 1.5, 1),
    ):
        x = Tensor(1.5, requires_grad=True)
        out = f(x)
        out.backward(create_graph=True)
        assert (out.shape, out.item()) == ((), value)
        assert x.grad is not None
        assert (x.grad.shape, x.grad.item()) == ((), slope)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
@pytest.mark.parametrize("f", [F.softmax, F.log_softmax])
def test_of_no_entries_there_is_no_probability(f: Any, shape: tuple[int, ...]) -> None:
    for dim in range(-len(shape), len(shape)):
        x = Tensor(np.zeros(shape), requires_grad=True)
        out = f(x, dim)
        out.backward(np.ones(shape))
        assert out.shape == shape
        assert x.grad is not None
        assert x.grad.shape == shape


def test_several_axes_are_one_row() -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(softmax(x, axis=(0, 1)), softmax(x.ravel(), axis=0).reshape(2, 3))
    np.testing.assert_allclose(log_softmax(x, axis=None), log_softmax(x.ravel(), axis=0).reshape(2, 3))
    assert logsumexp(x, axis=(0, 1), keepdims=True).shape == (1, 1)
