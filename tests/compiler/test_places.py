"""Arrays that a function finds outside are read, and written to, at each call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import JitError, jit, nn, no_grad
from tinygrad_mnist.compiler.places import array_places

TABLE = {"b": np.zeros(3)}


class Holder:
    def __init__(self) -> None:
        self.ema = np.zeros(2)
        self.parts = [np.ones(2)]


def test_an_array_is_found_in_each_kind_of_place() -> None:
    held, alone = Holder(), np.zeros(1)
    found = [array for array, _ in array_places(lambda x: x * held.ema * alone + TABLE["b"])]
    expected = (held.ema, held.parts[0], alone, TABLE["b"])
    assert {id(array) for array in found} == set(map(id, expected))


def test_an_array_that_is_written_to_in_place_is_written_to_in_each_call() -> None:
    counts = np.zeros(3)

    @jit
    def f(x: Any) -> Any:
        c = counts
        c += 1
        return x * c

    assert [f(np.ones(3)).tolist() for _ in range(3)] == [[1.0] * 3, [2.0] * 3, [3.0] * 3]
    assert counts.tolist() == [3.0] * 3


def test_an_array_that_is_refilled_is_read_anew_by_every_function() -> None:
    model = nn.Linear(3, 2, rng=0)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    y, index = np.array([0, 1]), np.array([0, 1])
    loss = jit(lambda: nn.functional.nll_loss(model(x), y))
    taken = jit(lambda v: v[index] + index)
    for labels in ([0, 1], [1, 1], [1, 0]):
        y[...] = labels
        index[...] = labels
        with no_grad():
            assert float(loss()) == pytest.approx(float(nn.functional.nll_loss(model(x), y)))
        np.testing.assert_array_equal(taken(np.arange(3.0)), np.arange(3.0)[labels] + labels)


def test_an_error_leaves_the_arrays_in_their_places() -> None:
    held = Holder()
    before = held.ema

    def f(x: Any) -> Any:
        ema = held.ema
        ema *= 0.5
        return x if float(np.sum(x)) > 0 else ema

    with pytest.raises(JitError):
        jit(f)(np.ones(2))
    assert held.ema is before
    assert before.tolist() == [0.0, 0.0]


def test_an_error_that_the_function_catches_is_raised_all_the_same() -> None:
    def f(x: Any) -> Any:
        try:
            scale = float(np.sum(x))
        except Exception:
            scale = 0.0
        return x * scale

    with pytest.raises(JitError, match="float"):
        jit(f)(np.ones(3))
