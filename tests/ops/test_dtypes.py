"""Integers, booleans, float16 and mixed dtypes: each result in NumPy's dtype, each gradient in its own."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import REGISTRY

DTYPES = [np.bool_, np.uint8, np.int8, np.uint16, np.int32, np.uint64, np.int64]
AS_EXP: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "softplus": {},
    "log_sigmoid": {},
    "erf": {},
    "softmax": {"axis": 1},
    "log_softmax": {"axis": 1},
    "logsumexp": {"axis": 1, "keepdims": False},
}
OTHERS: dict[str, dict[str, Any]] = {
    "relu": {},
    "leaky_relu": {"negative_slope": 0.25},
    "gelu": {"approximate": "none"},
}


def values(dtype: Any) -> Any:
    lowest = -3 if np.issubdtype(dtype, np.signedinteger) else 0
    return np.array([[lowest, 1, 0], [2, lowest, 1]]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", [*AS_EXP, *OTHERS])
def test_an_integer_is_the_number_that_it_is(name: str, dtype: Any) -> None:
    static = {**AS_EXP, **OTHERS}[name]
    x = values(dtype)
    out = REGISTRY[name](Tensor(x), **static)
    np.testing.assert_allclose(out.data, REGISTRY[name](x.astype(np.float64), **static), rtol=3e-3, atol=1e-3)
    if name in AS_EXP:
        assert out.dtype == np.exp(x).dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_logits_may_be_integers(soft: bool, dtype: Any) -> None:
    cross_entropy = REGISTRY["cross_entropy"]
    x, targets = values(dtype), np.array([2, 0])
    gradients = []
    for logits in (x, x.astype(np.float64)):
        given = Tensor(np.eye(3)[targets] if soft else targets, requires_grad=soft)
        out = cross_entropy(Tensor(logits), given)
        if soft:
            np.sum(out).backward()
            assert given.grad is not None
            gradients.append(given.grad.data)
        np.testing.assert_allclose(out.data, cross_entropy(x.astype(np.float64), targets), rtol=3e-3)
    if soft:
        np.testing.assert_allclose(*gradients, rtol=3e-3, atol=1e-3)


BOUNDS = [(0, None), (None, 2), (None, None), (1, 2), (0.5, None), (None, np.int16(2))]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("dtype", [*DTYPES, np.float32], ids=lambda dtype: dtype.__name__)
def test_clip_has_numpys_value_and_dtype(bounds: Any, dtype: Any) -> None:
    x = values(dtype)
    if dtype is np.bool_ and bounds == (None, None):
        pytest.skip("NumPy refuses it")
    np.testing.assert_array_equal(np.clip(Tensor(x), *bounds).data, np.clip(x, *bounds), strict=True)


# ---- through NumPy's functions -------------------------------------------------------------------------

A = np.array([[0.5, -1.2, 2.0], [1.5, 0.3, -0.7]])


def leaf(array: Any = A) -> Tensor:
    return Tensor(array.copy(), requires_grad=True)


@pytest.mark.parametrize(
    "f", [np.sum, np.max, np.cumsum, np.ravel, lambda x: x + 1, lambda x: x * x, lambda x: x[0]]
)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_integers_and_booleans_go_through_as_in_numpy(f: Any, dtype: Any) -> None:
    array = (A > 0).astype(dtype)
    np.testing.assert_array_equal(f(Tensor(array)).data, np.asarray(f(array)), strict=True)


def test_an_integer_argument_takes_no_gradient() -> None:
    t, counts = leaf(), Tensor(np.array([1, 2, 3]))
    np.sum(t * counts).backward()
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad.data, np.broadcast_to([1, 2, 3], (2, 3)))


@pytest.mark.parametrize("f", [np.add, np.multiply, np.maximum, np.divide, lambda x, y: x @ y.T, np.outer])
def test_each_gradient_has_the_dtype_of_its_own_argument(f: Any) -> None:
    x, y = Tensor(A.astype(np.float32), requires_grad=True), leaf(A + 3)
    out = f(x, y)
    out.backward(np.ones(out.shape))
    assert x.grad is not None
    assert y.grad is not None
    assert (out.dtype, x.grad.dtype, y.grad.dtype) == (np.float64, np.float32, np.float64)


def test_float16_stays_float16() -> None:
    t = Tensor(A.astype(np.float16), requires_grad=True)
    np.mean(np.tanh(t) * 2).backward()
    assert t.grad is not None
    assert t.grad.dtype == np.float16
