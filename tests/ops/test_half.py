"""float16 is for storage: counts, sums and normalisations of it are computed in float32."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, jvp, nn

F = nn.functional
N = 70_000  # more than the largest number, 65504
ONES = np.ones(N, np.float16)
STEPS = np.tile(np.array([0, 1], np.float16), N // 2)
COLUMNS = STEPS.reshape(-1, 2)  # a sum over rows in float16 stands still at 2048
HOLES = np.where(np.arange(N) % 7 == 0, np.float16(np.nan), STEPS)
SMALL = (np.linspace(0.5, 1.5, 12) * 3e-4).astype(np.float16).reshape(4, 3)

CASES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "sum": (np.sum, STEPS),
    "sum of columns": (lambda x: np.sum(x, axis=0), COLUMNS[:8000]),
    "mean": (np.mean, STEPS),
    "mean of columns": (lambda x: np.mean(x, axis=0), COLUMNS),
    "average": (np.average, STEPS),
    "weighted average": (lambda x: np.average(x, weights=ONES), STEPS),
    "var": (np.var, STEPS),
    "var of small numbers": (np.var, SMALL * 30),
    "var from a mean": (lambda x: np.var(x, mean=np.float16(0.5)), STEPS),
    "std": (lambda x: np.std(x, axis=1, ddof=1), SMALL),
    "std from a mean": (lambda x: np.std(x, mean=np.float16(0)), SMALL),
    "max, ties": (np.max, ONES),
    "min, ties": (np.min, COLUMNS),
    "ptp": (np.ptp, STEPS),
    "nansum": (np.nansum, HOLES),
    "nanmean": (np.nanmean, HOLES),
    "nanvar": (np.nanvar, HOLES),
    "nanstd": (np.nanstd, HOLES),
    "nanmax": (np.nanmax, HOLES),
    "prod": (np.prod, np.linspace(0.9, 1.1, 300).astype(np.float16)),
    "cumsum": (lambda x: np.cumsum(x)[::500], ONES[:4000]),
    "cumsum of columns": (lambda x: np.cumsum(x, axis=0)[-1], COLUMNS[:8000]),
    "cumprod": (lambda x: np.cumprod(x)[-1], np.linspace(0.9, 1.1, 300).astype(np.float16)),
    "norm": (np.linalg.norm, STEPS),
    "norm of small numbers": (lambda x: np.linalg.norm(x, axis=1), SMALL),
    "norm 3": (lambda x: np.linalg.norm(x, 3), SMALL.ravel()),
    "norm 1": (lambda x: np.linalg.norm(x, 1), STEPS[:8000]),
    "trapezoid": (lambda x: np.trapezoid(x, dx=0.001), STEPS),
    "logsumexp": (lambda x: x.logsumexp(), ONES),
    "softmax": (lambda x: F.softmax(x, 0)[:2], STEPS),
    "log_softmax": (lambda x: F.log_softmax(x, 0), np.concatenate([[np.float16(3)], 0 * ONES])),
    "layer_norm": (lambda x: F.layer_norm(x, 4), np.array([[1449.5, 1449, 1451, 1449]], np.float16)),
    "layer_norm of long rows": (lambda x: F.layer_norm(x, 35_000)[:, :2], STEPS.reshape(2, -1)),
    "batch_norm": (lambda x: F.batch_norm(x, training=True), np.float16(1) + COLUMNS * np.float16(1e-2)),
    "batch_norm, eps": (lambda x: F.batch_norm(x, training=True, eps=1e-8), SMALL),
    "batch_norm in evaluation": (
        lambda x: F.batch_norm(x, np.zeros(3, np.float16), np.zeros(3, np.float16), eps=1e-6), SMALL,
    ),
    "einsum": (lambda x: np.einsum("ij->j", x), COLUMNS[:8000]),
    "einsum of two": (lambda x: np.einsum("ij,ik->jk", x, COLUMNS[:8000]), COLUMNS[:8000]),
    "repeated indices": (lambda x: x[np.zeros(5000, int)], ONES[:1]),
    "take": (lambda x: np.take(x, np.zeros(5000, int)), ONES[:1]),
    "linspace": (lambda x: np.linspace(x, 1, 3001)[[1, 2500, 3000]], np.zeros((), np.float16)),
}  # fmt: skip


def value_and_gradient(f: Callable[[Any], Any], x: Any, create_graph: bool) -> tuple[Any, Any]:
    leaf = Tensor(x, requires_grad=True)
    out = f(leaf)
    cotangent = (1 + np.cos(np.arange(out.size)) / 2).astype(np.float16).reshape(out.shape)
    out.backward(cotangent, create_graph=create_graph)
    assert leaf.grad is not None
    assert out.dtype == leaf.grad.dtype == x.dtype
    return out.data, leaf.grad.data


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("create_graph", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("name", CASES)
def test_it_is_what_float64_says_rounded_once(name: str, create_graph: bool) -> None:
    f, x = CASES[name]
    value, gradient = value_and_gradient(f, x, create_graph)
    right, slope = value_and_gradient(f, x.astype(np.float64), False)
    np.testing.assert_allclose(value, right.astype(np.float16), rtol=1.5e-3, atol=6e-8)
    rounding = 2e-5 * max(1, np.max(np.abs(slope)))
    np.testing.assert_allclose(gradient, slope.astype(np.float16), rtol=4e-3, atol=rounding)


@pytest.mark.parametrize("name", ["sum of columns", "mean", "max, ties", "nanmean", "logsumexp", "norm"])
def test_tangents_too(name: str) -> None:
    f, x = CASES[name]
    _, moved = jvp(lambda x: f(x), (Tensor(x),), (Tensor(np.ones_like(x)),))
    _, right = jvp(lambda x: f(x), (Tensor(x.astype(float)),), (Tensor(np.ones(x.shape)),))
    np.testing.assert_allclose(moved.data, right.data, rtol=2e-3)


def test_counts_do_not_overflow() -> None:
    for f in (np.max, np.mean, np.nanmean):
        np.testing.assert_allclose(grad(f)(ONES), 1 / N, rtol=3e-3)


def test_a_hidden_layer_of_float16_is_computed_as_by_its_modules() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(6, 4, rng=rng), nn.BatchNorm1d(4), nn.ReLU())
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float16)
    x = rng.normal(size=(5, 6)).astype(np.float16)
    apart = x
    for module in model:
        apart = module(apart)
    assert model(x).dtype == np.float16
    np.testing.assert_array_equal(model(x).data, apart.data)
