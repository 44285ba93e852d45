"""Arrays that a function finds outside are read, and written to, at each call."""

from __future__ import annotations

import functools
import types
from collections import deque, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import JitError, Tensor, grad, jit, nn, no_grad, optim
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


# ---- every kind of place ---------------------------------------------------------------------------------

Pair = namedtuple("Pair", ["array", "scale"])
SETTINGS = types.ModuleType("settings_of_a_user")


class Slotted:
    __slots__ = ("array",)


class OfClass:
    array: Any = None


class Table(nn.Module):
    def __init__(self, array: Any) -> None:
        super().__init__()
        self.tables = (array,)

    def forward(self, x: Any) -> Any:
        return x * (self.tables[0].T * 2)


def of_class(array: Any) -> Any:
    OfClass.array = array
    return lambda x: x * (OfClass.array.T * 2)


def of_slots(array: Any) -> Any:
    held = Slotted()
    held.array = array
    return lambda x: x * (held.array.T * 2)


def of_python_module(array: Any) -> Any:
    SETTINGS.array = array  # type: ignore[attr-defined]
    return lambda x: x * (SETTINGS.array.T * 2)  # type: ignore[attr-defined]


def of_buffer(array: Any) -> Any:
    layer = nn.Module()
    layer.register_buffer("array", array)
    return lambda x: x * (layer.array.T * 2)


def of_default(array: Any) -> Any:
    def f(x: Any, own: Any = array) -> Any:
        return x * (own.T * 2)

    return f


def deep(array: Any) -> Any:
    for _ in range(8):
        array = [array]
    return array


PLACES: dict[str, Callable[[Any], Any]] = {
    "a tuple": lambda a: lambda x, held=(a,): x * (held[0].T * 2),
    "a tuple in a tuple": lambda a: (lambda held: lambda x: x * (held[1][0].T * 2))((1, (a,))),
    "a named tuple": lambda a: (lambda held: lambda x: x * (held.array.T * held.scale))(Pair(a, 2.0)),
    "a list of many": lambda a: (lambda held: lambda x: x * (held[90].T * 2))([*map(np.copy, [a] * 90), a]),
    "deep lists": lambda a: (lambda held: lambda x: x * (held[0][0][0][0][0][0][0][0].T * 2))(deep(a)),
    "a deque": lambda a: (lambda held: lambda x: x * (held[0].T * 2))(deque([a])),
    "a slot": of_slots,
    "a class": of_class,
    "a Python module": of_python_module,
    "a default": of_default,
    "a partial function": lambda a: functools.partial(lambda own, x: x * (own.T * 2), a),
    "a user's module": lambda a: Table(a),
    "a user's module in a layer": lambda a: nn.Sequential(Table(a)),
    "a buffer": of_buffer,
    "a jitted function": lambda a: (lambda inner: lambda x: inner(x) + 1)(jit(lambda x: x * (a.T * 2))),
    "a gradient": lambda a: grad(lambda x: np.sum(x * (a.T * 2))),
    "a view": lambda a: (lambda view: lambda x: x * (view * 2))(a[::-1].T),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_computed_from_an_array_in_a_place_is_computed_in_each_call(place: str) -> None:
    array = np.arange(9.0).reshape(3, 3)
    plain = PLACES[place](array)
    compiled = jit(plain)
    x = np.ones((3, 3))
    with no_grad():
        for _ in range(3):
            np.testing.assert_array_equal(np.asarray(compiled(x)), np.asarray(plain(x)))
            array += 1
    assert len(compiled.compilations) == 1
    np.testing.assert_array_equal(array, np.arange(9.0).reshape(3, 3) + 3)


def test_an_array_in_an_object_that_is_given_is_read_anew() -> None:
    batch = Holder()
    f = jit(lambda x, batch: x * (batch.ema + 1))
    for expected in (1.0, 2.0, 3.0):
        assert f(np.ones(2), batch).tolist() == [expected] * 2
        batch.ema += 1


def test_a_call_with_an_array_in_whose_place_nothing_can_stand_runs_as_it_is() -> None:
    masked = np.ma.array([1.0, 2.0])
    f = jit(lambda x: x * float(masked.sum()))
    with pytest.warns(UserWarning, match="nothing can stand in the place of the array masked"):
        assert f(np.ones(())) == 3.0
    masked[0] = 5.0
    assert f(np.ones(())) == 7.0


@pytest.mark.parametrize("view", [lambda w: w.T, lambda w: w[::-1], lambda w: w[:, ::-1], lambda w: w[:1]])
def test_a_view_of_a_parameter_is_what_the_optimiser_has_left(view: Any) -> None:
    def made(decorate: Any) -> list[float]:
        model = nn.Linear(3, 2, rng=0)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        part = view(model.weight.data)
        numbers = np.arange(part.size, dtype=np.float32).reshape(part.shape)

        @decorate
        def step(x: Any) -> Any:
            optimizer.zero_grad()
            np.mean(model(x)).backward()
            optimizer.step()
            return np.sum(part * numbers)

        return [float(step(np.ones((2, 3), np.float32))) for _ in range(4)]

    assert made(jit) == pytest.approx(made(lambda f: f), rel=1e-5)


def test_an_argument_that_runs_backwards_in_memory_is_written_to() -> None:
    @jit
    def f(x: Any) -> Any:
        x += 1
        return np.sum(x)

    array = np.arange(3.0)
    assert [f(array[::-1]) for _ in range(3)] == [6.0, 9.0, 12.0]
    assert array.tolist() == [3.0, 4.0, 5.0]


def test_a_tensor_of_an_array_shares_its_memory() -> None:
    array = np.zeros(2)
    tensor = Tensor(array)

    @jit
    def f(x: Any) -> Any:
        own = array
        own += 1
        return x * tensor

    assert [f(np.ones(2)).tolist() for _ in range(3)] == [[1.0] * 2, [2.0] * 2, [3.0] * 2]


def test_a_generic_type_in_reach_is_passed_by() -> None:
    """`list[int]` has the attributes of `list`, in a mapping that cannot be written to."""
    kinds = {"shape": tuple[int, ...]}

    @jit
    def double(x: Any) -> Any:
        return 2 * x if kinds else x

    for _ in range(2):
        np.testing.assert_array_equal(double(np.ones(3)), [2, 2, 2])
    assert len(double.compilations) == 1
