"""Functions with a float result take integers and booleans, in the dtype in which NumPy's exp computes."""

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
