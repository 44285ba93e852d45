"""Strict arithmetic: NaN, infinities, subnormal numbers, sums, equal bits, and the losses of training."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compiler.helpers import F, World, assert_close, identity, quick
from tinygrad_mnist import jit, nn, optim
from tinygrad_mnist.data import load_digits, load_mnist

ROOT = Path(__file__).parents[2]
BAD = (np.nan, np.inf, -np.inf)

# ---- cases 31 to 33: NaN and infinities ------------------------------------------------------------------


def functions(x: Any) -> dict[str, Any]:
    """Return results of every kind of loop: elementwise, along an axis, comparisons, choices."""
    y = x * 0.5 + 1
    return {
        "isnan": np.isnan(x), "isinf": np.isinf(x), "isfinite": np.isfinite(x), "itself": x == x,
        "not": x != x,
        "sum": x.sum(), "mean of squares": (x * x).mean() if x.size else x.sum(),
        "exp": np.exp(x), "expm1": np.expm1(x), "tanh": np.tanh(x), "log1p": np.log1p(np.abs(x)),
        "log": np.log(x), "sqrt": np.sqrt(x), "sigmoid": F.sigmoid(x), "relu": F.relu(x), "gelu": F.gelu(x),
        "elu": F.elu(x), "silu": F.silu(x), "softplus": F.softplus(x), "sin": np.sin(x), "reciprocal": 1 / x,
        "maximum": np.maximum(x, y), "minimum": np.minimum(y, x),
        "fmax": np.fmax(x, y), "fmin": np.fmin(y, x),
        "clip": np.clip(x, -1, 1), "where": np.where(np.isnan(x), 0, x), "sign": np.sign(x), "abs": np.abs(x),
        "power": np.abs(x) ** 1.5, "square": x**2, "copysign": np.copysign(y, x), "difference": x - x,
        "zero": x * 0, "less": x < y, "greater": x >= y, "floor": np.floor(x), "rint": np.rint(x),
        **(of_some(x) if x.size else {}),
    }  # fmt: skip


def of_some(x: Any) -> dict[str, Any]:
    """Return results that there are of at least one number."""
    return {"max": x.max(), "min": x.min(), "softmax": F.softmax(x, dim=0), "argmax": np.argmax(x)}


def check_everywhere(length: int, dtype: Any) -> None:
    rng = np.random.default_rng(length)
    compiled = jit(functions)
    plain = rng.standard_normal(length).astype(dtype)
    with np.errstate(all="ignore"):
        compiled(plain)
        variants = [plain]
        for position in range(length):
            for bad in BAD:
                x = plain.copy()
                x[position] = bad
                variants.append(x)
        if length:
            variants += [np.full(length, bad, dtype) for bad in BAD]
        for x in variants:
            assert_close(functions(x), compiled(x), f"{x}", 3e-6 if dtype == np.float32 else 1e-13)
    assert len(compiled.compilations) == 1


@pytest.mark.parametrize(
    ("length", "dtype"),
    quick(
        [(n, dtype) for n in [*range(18), 31, 32, 33, 67] for dtype in ("float32", "float64")],
        (0, "float32"), (3, "float64"), (8, "float32"), (33, "float64"), (67, "float32"),
    ),
)  # fmt: skip
def test_cases_31_and_32_nan_and_infinity_anywhere_in_vectors_of_every_length(
    length: int, dtype: str
) -> None:
    check_everywhere(length, np.dtype(dtype).type)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_case_33_the_largest_of_nan_is_numpys(dtype: Any) -> None:
    def largest(x: Any, y: Any) -> Any:
        both = np.maximum(x, y), np.minimum(x, y), np.fmax(x, y), np.fmin(x, y), np.maximum(y, x)
        return both, x.max(), x.min(), x.max(axis=0), x.max(axis=1), x.min(axis=1)

    compiled = jit(largest)
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for i in range(24):
            x, y = (rng.standard_normal((3, 7)).astype(dtype) for _ in range(2))
            for array in (x, y):
                array.flat[rng.integers(0, 21, 1 + i % 4)] = BAD[i % 3]
            for expected, found in zip(_flat(largest(x, y)), _flat(compiled(x, y)), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_case_33_zeros_of_both_signs_keep_their_signs() -> None:
    def f(x: Any) -> Any:
        return (
            -x,
            x * 1,
            x + 0.0,
            np.abs(x),
            np.sqrt(x),
            1 / x,
            np.copysign(1.0, x),
            x - 0.0,
            np.tanh(x),
            np.sin(x),
        )

    compiled, x = jit(f), np.array([0.0, -0.0, 1.0, -1.0] * 5)
    with np.errstate(all="ignore"):
        for _ in range(2):
            for expected, found in zip(f(x), compiled(x), strict=True):
                np.testing.assert_array_equal(np.signbit(np.asarray(found)), np.signbit(expected))
                np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-15)


def _flat(tree: Any) -> list[Any]:
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in _flat(part)]
    return [np.asarray(tree)]


# ---- case 34: subnormal numbers --------------------------------------------------------------------------


def test_case_34_subnormal_numbers_survive_in_compiled_code_and_in_the_process() -> None:
    script = """
import threading
import numpy as np
from tinygrad_mnist import jit
@jit
def f(x):
    return x * 1.5, x + x, -x, np.abs(x), x / 2, np.maximum(x, 0), x.sum(), x @ np.ones(len(x), x.dtype)
def check():
    for n, value, dtype in ((9, 1e-323, "d"), (9, 3e-45, "f"), (40, 1e-310, "d"), (70, 1e-39, "f")):
        x = np.full(n, value, dtype)
        for _ in range(3):
            for found in f(x):
                assert np.all(np.asarray(found) != 0), (x.dtype, found)
        assert np.all(x * 1.0 != 0) and float("1e-323") * 1.0 != 0 and 1e-323 / 1 > 0
check()
thread = threading.Thread(target=check)
thread.start(); thread.join()
g = jit(lambda x, y: x @ y + 1, threads=2)
for _ in range(2):
    g(np.ones((300, 300)), np.ones((300, 300)))
check()
print("subnormal")
"""
    environment = {**os.environ, "TINYGRAD_MNIST_CACHE": "0"}
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120
    )
    assert found.stdout.strip() == "subnormal", found.stderr[-2000:]


# ---- case 35: contraction --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_case_35_products_are_rounded_before_what_is_nearly_equal_is_subtracted(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, a = rng.uniform(1e3, 1e4, (5, 19)).astype(dtype), rng.uniform(1, 2, (5, 19)).astype(dtype)

    def f(x: Any, a: Any, product: Any) -> Any:
        scaled = x * a
        shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return (
            scaled - product,
            product - x * a,
            shifted.max(axis=1),
            F.softmax(scaled, dim=1),
            scaled * a - a * scaled,
        )

    compiled = jit(f)
    for _ in range(2):
        zero, also_zero, one, share, difference = map(np.asarray, compiled(x, a, x * a))
    for array in (zero, also_zero, difference):
        assert not array.any()
    np.testing.assert_array_equal(one, np.ones(5, dtype))
    np.testing.assert_allclose(
        share, F.softmax(x * a, dim=1), rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-30
    )


def test_case_35_softmax_of_equal_and_of_large_logits() -> None:
    compiled = jit(
        lambda x: (F.softmax(x, dim=1), F.log_softmax(x, dim=1), F.cross_entropy(x, np.array([0, 1])))
    )
    logits = [
        np.full((2, 8), 1e4),
        np.array([[1e4, 0.0] + [-1e4] * 6] * 2),
        np.full((2, 8), -1e300),
        np.zeros((2, 8)),
    ]
    for x in (*logits, *logits):
        expected = F.softmax(x, dim=1), F.log_softmax(x, dim=1), F.cross_entropy(x, np.array([0, 1]))
        assert_close(expected, compiled(x), "softmax", 1e-14)


# ---- case 36: sums, and equal bits -----------------------------------------------------------------------

SUMS: dict[str, Callable[[Any], Any]] = {
    "all": lambda x: x.sum(),
    "last axis": lambda x: x.reshape(4, -1).sum(axis=1),
    "first axis": lambda x: x.reshape(-1, 4).sum(axis=0),
    "middle axis": lambda x: x.reshape(2, -1, 2).sum(axis=1),
    "mean": lambda x: x.mean() * x.size,
    "fused": lambda x: (x * 1).sum(),
}


@pytest.mark.parametrize("kind", SUMS)
def test_case_36_sums_are_no_worse_than_numpys(kind: str) -> None:
    compiled, f = jit(SUMS[kind]), SUMS[kind]
    rng = np.random.default_rng(0)
    for size in (4096, 100_000):
        errors: list[Any] = [[], []]
        for _ in range(12):
            x = (rng.uniform(0.5, 1.5, size)).astype(np.float32)
            true = np.asarray(f(x.astype(np.float64)))  # 1e-16 of the sum; a float32 has 1e-7
            for one, result in zip(errors, (f(x), compiled(x)), strict=True):
                one.append(np.abs(np.asarray(result, float) - true) / true)
        theirs, ours = (math.sqrt(np.mean(np.square(one))) for one in errors)
        assert ours <= max(1.2 * theirs, 0.6 * np.finfo(np.float32).eps), f"{ours} beside NumPy's {theirs}"


def test_case_36_a_sum_that_cancels_is_as_exact_as_numpys() -> None:
    rng = np.random.default_rng(1)
    total, compiled = [0.0, 0.0], jit(lambda x: x.sum())
    for _ in range(20):
        x = rng.standard_normal(10_000) * 10.0 ** rng.integers(-3, 4, 10_000)
        true = math.fsum(x.tolist())
        for i, result in enumerate((np.sum(x), compiled(x))):
            total[i] += (float(result) - true) ** 2
    assert total[1] <= 4 * total[0]


def trained(
    decorate: Any, widths: tuple[int, ...], *, norm: bool = False, seed: int = 0, weight_decay: float = 0.0
) -> World:
    layers: list[nn.Module] = []
    for i, (n, m) in enumerate(pairwise(widths)):
        is_last = i == len(widths) - 2
        layers.append(nn.Linear(n, m, bias=is_last or not norm, rng=seed + i))
        if not is_last:
            layers += [nn.BatchNorm1d(m), nn.ReLU()] if norm else [nn.ReLU()]
    model = nn.Sequential(*layers)
    optimizer = optim.Adam(model.parameters(), lr=1e-3, weight_decay=weight_decay)

    @decorate
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return World(step, model, optimizer)


BITS = """
import hashlib, sys
sys.path.insert(0, ".")
from tests.compiler.test_numerics import digest
print(digest(1), digest(2))
"""


def digest(threads: int) -> str:
    """Return a hash of all losses and parameters of a training."""
    rng = np.random.default_rng(0)
    world = trained(lambda f: jit(f, threads=threads), (60, 80, 40, 10), norm=True)
    found = hashlib.sha256()
    for _ in range(6):
        loss = world.step(rng.standard_normal((64, 60)).astype(np.float32), rng.integers(0, 10, 64))
        found.update(loss.data.tobytes())
    for parameter in world.model.parameters():
        found.update(parameter.data.tobytes())
    return found.hexdigest()


def test_case_36_equal_bits_from_run_to_run_and_in_a_new_process() -> None:
    first = [digest(threads) for threads in (1, 2)]
    assert [digest(threads) for threads in (1, 2)] == first
    found = subprocess.run(
        [sys.executable, "-c", BITS],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert found.stdout.split() == first, found.stderr[-2000:]


# ---- training --------------------------------------------------------------------------------------------

NETWORKS = {
    "784-64-32-16-10": ((784, 64, 32, 16, 10), 128, {"norm": True, "weight_decay": 1e-4}),
    "784-256-128-10": ((784, 256, 128, 10), 128, {}),
    "784-512-512-10": ((784, 512, 512, 10), 256, {}),
}


@pytest.mark.parametrize("name", quick(list(NETWORKS), *list(NETWORKS)[:2]))
def test_the_losses_of_50_steps_on_random_data_are_eagers(name: str) -> None:
    widths, rows, options = NETWORKS[name]
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal((rows, 784), np.float32), rng.integers(0, 10, rows)) for _ in range(5)]
    eager, jitted = trained(identity, widths, **options), trained(jit, widths, **options)
    for i in range(50):
        expected, found = eager.step(*data[i % 5]), jitted.step(*data[i % 5])
        assert abs(expected.item() - found.item()) < 1e-4, f"step {i}: {found.item()}, not {expected.item()}"
    assert jitted.programs == 1


def check_on_digits(images: Any, labels: Any, widths: tuple[int, ...]) -> None:
    pixels = (images.reshape(len(images), -1) / np.float32(images.max())).astype(np.float32)
    eager, jitted = (trained(decorate, widths, norm=True) for decorate in (identity, jit))
    for i in range(50):
        part = slice(64 * (i % 20), 64 * (i % 20) + 64)
        expected, found = (world.step(pixels[part], labels[part]).item() for world in (eager, jitted))
        assert abs(expected - found) < (1e-4 if i < 5 else 1e-2), f"step {i}: {found}, not {expected}"


def test_the_losses_on_the_bundled_digits_are_eagers() -> None:
    digits = load_digits()
    check_on_digits(digits.train_images, digits.train_labels, (digits.train_images[0].size, 64, 32, 10))


def test_the_losses_on_mnist_are_eagers(mnist_dir: Path) -> None:
    digits = load_mnist(mnist_dir)
    check_on_digits(digits.train_images[:2000], digits.train_labels[:2000], (784, 64, 32, 16, 10))
