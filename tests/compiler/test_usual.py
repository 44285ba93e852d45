"""Calls that are like the last one, and whatever makes one other than it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.compiler.helpers import World, equal_to_eager
from tinygrad_mnist import Tensor, jit, nn, no_grad, optim
from tinygrad_mnist.compiler.inputs import NotNow
from tinygrad_mnist.compiler.usual import MISS, looks_of
from tinygrad_mnist.nn.module import evaluation_mode

pytest.importorskip("llvmlite")


def trainer(decorate: Callable[..., Any]) -> World:
    model = nn.Sequential(
        nn.Linear(3, 4, bias=False, rng=0), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2, rng=1)
    )
    optimizer = optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-3)

    @decorate
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return World(step, model, optimizer)


def batch(seed: int = 0, rows: int = 5) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 3)).astype(np.float32), rng.integers(0, 2, rows)


def after_replays() -> tuple[World, Callable[[tuple[Any, ...]], Any]]:
    """Return a trained world, and the function for its usual call."""
    world = trainer(jit)
    for seed in range(3):
        world.step(*batch(seed))
    return world, world.step._usual  # type: ignore[attr-defined]


def test_a_call_like_the_last_one_is_replayed_by_one_function() -> None:
    world, call = after_replays()
    before = world.model[0].weight.data.copy()
    assert isinstance(call(batch(4)), Tensor)
    assert not np.array_equal(before, world.model[0].weight.data)


x, y = batch(5)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "another shape": batch(0, 6),
    "another dtype": (x.astype(np.float64), y),
    "another layout": (np.asfortranarray(x), y),
    "strides": (np.repeat(x, 2, axis=0)[::2], y),
    "a Tensor": (Tensor(x), y),
    "another number of arguments": (x,),
    "a list": (x.tolist(), y),
    "a subclass": (x.view(np.memmap), y),
    "the same memory": (x, x[:4].reshape(-1)[:10].view(np.int64)),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_other_arguments_go_the_long_way(name: str) -> None:
    _, call = after_replays()
    assert call(ARGUMENTS[name]) is MISS
    assert call(batch(4)) is not MISS


def swapped(world: World) -> None:
    world.model[0].weight.data = world.model[0].weight.data + 1


CHANGES: dict[str, Callable[[World], Any]] = {
    "data": swapped,
    "a buffer": lambda world: setattr(world.model[1], "running_mean", np.ones(4, np.float32)),
    "a mode": lambda world: world.model.eval(),
    "another formula": lambda world: world.optimizer.param_groups[0].update(weight_decay=0.0),
    "a flag": lambda world: world.optimizer.param_groups[0].update(maximize=True),
    "a frozen parameter": lambda world: world.model[0].weight.requires_grad_(False),
    "a hook": lambda world: world.model[0].weight.register_hook(lambda g: None),
    "states": lambda world: world.optimizer.load_state_dict(world.optimizer.state_dict()),
    "no step yet": lambda world: world.optimizer._flat_groups[0].flats[0].progress.__setitem__(0, None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_else_is_other_than_it_was_goes_the_long_way(name: str) -> None:
    world, call = after_replays()
    CHANGES[name](world)
    assert call(batch(4)) is MISS


def test_another_rate_is_a_number_that_goes_in() -> None:
    def between(world: World, i: int) -> None:
        world.optimizer.param_groups[0]["lr"] = 0.01 / (i + 1)

    equal_to_eager(trainer, [batch(seed) for seed in range(6)], between=between)
    world, call = after_replays()
    world.optimizer.param_groups[0]["lr"] = 0.5
    assert call(batch(4)) is not MISS


def test_another_value_of_what_the_function_reads_goes_the_long_way() -> None:
    scale = [2.0]
    f = jit(lambda x: x * scale[0])
    for _ in range(3):
        assert f(np.ones(())) == 2.0
    call = f._usual or pytest.fail("such a call has a function of its own")
    assert call((np.ones(()),)) is not MISS
    scale[0] = 3.0
    assert call((np.ones(()),)) is MISS
    assert f(np.ones(())) == 3.0


def test_modes_go_the_long_way() -> None:
    _, call = after_replays()
    with no_grad():
        assert call(batch(4)) is MISS
    with np.errstate(over="raise"):
        assert call(batch(4)) is MISS
    with evaluation_mode():
        assert call(batch(4)) is MISS
    assert call(batch(4)) is not MISS


def test_a_run_that_finds_a_wrong_label_changes_nothing() -> None:
    world, call = after_replays()
    before = world.optimizer.state_dict(), world.model.state_dict()
    x, y = batch(4)
    with pytest.raises(NotNow):
        call((x, y + 7))
    np.testing.assert_equal((world.optimizer.state_dict(), world.model.state_dict()), before)


def test_views_that_do_not_meet_are_as_good_as_arrays() -> None:
    _, call = after_replays()
    x, y = batch(4, 10)
    assert call((x[:5], y[5:])) is not MISS
    both = np.zeros((2, 5, 3), np.float32)
    f = jit(lambda a, b: a + b)
    for _ in range(3):
        f(both[0], both[1])
    call = f._usual or pytest.fail("such a call has a function of its own")
    assert call((both[0], both[1])) is not MISS
    assert call((both[0], both[0])) is MISS
    assert call((both[0], both.reshape(-1)[3:18].reshape(5, 3))) is MISS


def test_what_arguments_look_like() -> None:
    assert looks_of((x, Tensor(y))) == [(np.ndarray, (5, 3), np.float32), (Tensor, (5,), np.int64)]
    assert looks_of((x, 3)) == [(np.ndarray, (5, 3), np.float32), (int, None, 3)]
    assert looks_of((x, 0.0)) is None
    assert looks_of((Tensor(x, requires_grad=True),)) is None
    assert looks_of((x, x)) is None
    assert looks_of((x.T,)) is None


@pytest.mark.parametrize("is_usual", [True, False])
def test_both_ways_are_eagers(is_usual: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_usual:
        monkeypatch.setattr("tinygrad_mnist.compiler.jit.usual_call", lambda *args: None)
    equal_to_eager(trainer, [batch(seed) for seed in range(6)])


def test_gradients_that_a_user_holds_a_view_of_stay() -> None:
    model = nn.Linear(3, 4, rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    views: list[Callable[[Any], Any]] = [
        lambda g: g,
        lambda g: g.data,
        lambda g: g.numpy().T,
        lambda g: g.numpy()[0],
        lambda g: g[0:1],
        lambda g: g.T,
        lambda g: memoryview(g.numpy()),
    ]

    @jit
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = np.sum(model(x) ** 2)
        loss.backward()
        optimizer.step()
        return loss

    for view in views:
        kept = []
        for _ in range(6):
            step(x)
            kept.append((view(model.weight.grad), np.array(view(model.weight.grad))))
        for held, copied in kept:
            np.testing.assert_array_equal(np.array(held), copied)


def test_a_gradient_that_was_made_to_require_one_is_not_used_again() -> None:
    world, _ = after_replays()
    weight = world.model[0].weight
    weight.grad.requires_grad_(True)
    for seed in range(4):
        world.step(*batch(seed))
        assert not weight.grad.requires_grad


def test_what_a_call_writes_to_has_to_be_writeable() -> None:
    @jit
    def add(a: Any, b: Any) -> Any:
        a += b
        return np.sum(a)

    for _ in range(3):
        add(np.ones(4), np.ones(4))
    given = np.frombuffer(bytes(32))
    with pytest.raises(ValueError, match="read-only"):
        add(given, np.ones(4))
    assert not given.any()
    world, _ = after_replays()
    world.model[1].running_mean.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        world.step(*batch(4))


def test_arguments_that_overlap_with_one_that_is_written_to() -> None:
    def f(a: Any, b: Any) -> Any:
        a += 1
        return a + b

    jitted = jit(f)
    one, other = np.zeros(3), np.zeros(3)
    for _ in range(4):
        np.testing.assert_array_equal(jitted(one[:], one[:]), f(other[:], other[:]))
        np.testing.assert_array_equal(jitted(one[1:], one[:-1]), f(other[1:], other[:-1]))


def test_a_buffer_that_is_an_argument_too() -> None:
    def made() -> tuple[Any, Any]:
        norm = nn.BatchNorm1d(1)

        def mean_after(x: Any, mean: Any) -> Any:
            with no_grad():
                norm(x)
            return mean * 1

        return norm, mean_after

    x = np.full((2, 1), 10.0, np.float32)
    (one, eager), (other, f) = made(), made()
    jitted = jit(f)
    for _ in range(4):
        np.testing.assert_array_equal(jitted(x, other.running_mean), eager(x, one.running_mean))


def test_results_are_off_the_tape_at_each_call() -> None:
    world = trainer(jit)
    assert [world.step(*batch(seed)).requires_grad for seed in range(3)] == [False] * 3


def test_an_option_that_is_no_number_of_c_is_eagers_error() -> None:
    world, _ = after_replays()
    world.optimizer.param_groups[0]["lr"] = 10**400
    with pytest.raises(OverflowError):
        world.step(*batch(4))
