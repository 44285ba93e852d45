"""The layers' operations and the cross-entropy where shapes are empty, inputs are large, or logits are."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import REGISTRY

linear, batch_norm, layer_norm, cross_entropy = (
    REGISTRY[name] for name in ("linear", "batch_norm", "layer_norm", "cross_entropy")
)


def gradients(f: Any, *values: Any, cotangent: Any = None) -> list[Any]:
    leaves = [Tensor(value, requires_grad=True) for value in values]
    out = f(*leaves)
    out.backward(np.ones(out.shape) if cotangent is None else cotangent)
    return [None if leaf.grad is None else leaf.grad.data for leaf in leaves]


# ---- shapes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (4, 2), (), (3,), (1, 2)], ids=str)
def test_a_bias_that_only_broadcasts_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"linear: bias of shape \(.*\) does not fit weight of shape \(2, 3\)"
    ):
        linear(Tensor(np.ones((4, 3))), Tensor(np.ones((2, 3))), Tensor(np.ones(shape)))


@pytest.mark.parametrize(
    ("x", "n"), [((4, 0), 2), ((0,), 2), ((2, 4, 0), 2), ((4, 3), 0), ((0, 3), 2), ((2, 0, 3), 2)], ids=str
)
def test_linear_of_nothing_has_gradients(x: tuple[int, ...], n: int) -> None:
    rows = int(np.prod(x[:-1]))
    of_x, of_weight, of_bias = gradients(linear, np.ones(x), np.ones((n, x[-1])), np.ones(n))
    np.testing.assert_array_equal(of_x, np.full(x, n))
    np.testing.assert_array_equal(of_weight, np.full((n, x[-1]), rows))
    np.testing.assert_array_equal(of_bias, np.full(n, rows))


@pytest.mark.parametrize("shape", [(4, 0), (0,), (0, 3), (2, 0, 3)], ids=str)
def test_layer_norm_of_nothing_has_gradients(shape: tuple[int, ...]) -> None:
    found = gradients(lambda *leaves: layer_norm(*leaves, eps=1e-5), np.ones(shape), *np.ones((2, shape[-1])))
    for gradient, expected in zip(found, (shape, shape[-1:], shape[-1:]), strict=True):
        np.testing.assert_array_equal(gradient, np.zeros(expected))


# ---- above 64,000 and above 256,000 elements, sums of products are taken another way ---------------------


@pytest.mark.parametrize("n", [7_000, 26_000])
@pytest.mark.parametrize("name", ["batch_norm", "layer_norm"])
def test_a_large_input_has_the_values_and_gradients_of_the_formula(name: str, n: int) -> None:
    op = REGISTRY[name]
    assert op.formula is not None
    rng = np.random.default_rng(0)
    c = 10
    inputs = (rng.normal(2.0, 3.0, (n, c)), rng.uniform(0.5, 2, c), rng.normal(size=c))
    cotangent = rng.normal(size=(n, c))
    out, expected = op(*inputs, eps=1e-5), op.formula(*inputs, eps=1e-5)
    np.testing.assert_allclose(out, expected, rtol=1e-10, atol=1e-12)
    found, wanted = (
        gradients(lambda *leaves, f=f: f(*leaves, eps=1e-5), *inputs, cotangent=cotangent)
        for f in (op, op.formula)
    )
    for gradient, value in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, value, rtol=1e-9, atol=1e-11)


# ---- logits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_logits_of_10_000_is_finite_and_right(
    dtype: Any, soft: bool, smoothing: float
) -> None:
    logits = np.array([[1e4, 0, -1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, -2e4]], dtype)
    labels = np.array([1, 0, 0])
    targets = np.eye(3, dtype=dtype)[labels] if soft else labels
    x = Tensor(logits, requires_grad=True)
    out = cross_entropy(x, targets, label_smoothing=smoothing)
    log_softmax = np.array([[0, -1e4, -2e4], [-np.log(3)] * 3, [-np.log(2), -np.log(2), -1e4 - np.log(2)]])
    smoothed = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3
    np.testing.assert_allclose(out.data, -np.sum(smoothed * log_softmax, axis=1), rtol=1e-6)
    assert out.dtype == dtype
    np.sum(out).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, np.exp(log_softmax) - smoothed, atol=1e-6)
