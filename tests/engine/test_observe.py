"""Hooks, which see and may replace the gradient of one Tensor; and a recorder, which hears of everything."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, jvp
from tinygrad_mnist.engine.observe import Recorder, observed_by


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def gradient(x: Tensor) -> Any:
    assert x.grad is not None
    return x.grad.tolist()


def test_a_hook_sees_the_whole_gradient_once() -> None:
    x, seen = leaf(1.0, 2.0), []
    y = x * 3.0
    x.register_hook(lambda g: seen.append(("x", g.tolist())))
    total = np.sum(y * y + y)
    y.register_hook(lambda g: seen.append(("y", g.tolist())))  # after it was used
    total.backward()
    assert seen == [("y", [7.0, 13.0]), ("x", [21.0, 39.0])]
    assert gradient(x) == [21.0, 39.0]


def test_what_a_hook_returns_replaces_the_gradient() -> None:
    x = leaf(1.0)
    y = x * 3.0
    y.register_hook(lambda g: g * 10.0)
    y.register_hook(lambda g: (g + 1.0).numpy())  # an array will do; in the order of registration
    y.backward()
    assert gradient(x) == [33.0]


def test_a_hook_of_a_leaf_acts_before_gradients_are_added() -> None:
    x = leaf(1.0)
    x.register_hook(lambda g: -g)
    (x * 2.0).backward()
    (x * 2.0).backward()
    assert gradient(x) == [-4.0]
    x.backward()
    assert gradient(x) == [-5.0]


@pytest.mark.parametrize("hook", [3, None, np.ones(1)], ids=["number", "none", "array"])
def test_what_is_not_callable_is_refused_as_a_hook(hook: Any) -> None:
    x = leaf(1.0)
    for tensor in (x, x * 2.0):
        with pytest.raises(TypeError, match="expected a function that takes the gradient"):
            tensor.register_hook(hook)
    x.backward()
    assert gradient(x) == [1.0]


def test_a_hook_can_be_removed() -> None:
    x = leaf(1.0)
    handle = x.register_hook(lambda g: g * 0.0)
    other = x.register_hook(lambda g: g * 2.0)
    handle.remove()
    handle.remove()
    x.backward()
    other.remove()
    x.backward()
    assert gradient(x) == [3.0]


def test_a_hook_may_remove_itself() -> None:
    x = leaf(1.0)

    def once(g: Tensor) -> None:
        seen.append(g.item())
        handle.remove()

    seen: list[float] = []
    handle = x.register_hook(once)
    x.backward()
    x.backward()
    assert seen == [1.0]


def test_a_hook_is_differentiated_with_the_backward_pass() -> None:
    x = leaf(2.0)
    y = x * x
    y.register_hook(lambda g: g * x)  # x * 2x, so the derivative is 4x
    y.backward(create_graph=True)
    first = x.grad
    assert first is not None
    assert first.tolist() == [8.0]
    x.grad = None
    first.backward()
    assert gradient(x) == [8.0]


def test_an_array_that_a_hook_returns_stays_its_own() -> None:
    x, kept = leaf(1.0, 2.0), np.array([5.0, 6.0])
    x.register_hook(lambda g: kept)
    np.sum(x * 3.0).backward()
    assert gradient(x) == [5.0, 6.0]
    assert x.grad is not None
    assert not np.shares_memory(x.grad.data, kept)


def test_a_hook_acts_inside_transforms() -> None:
    def f(x: Any) -> Any:
        y = x * 2.0
        y.register_hook(lambda g: g * 5.0)
        x.register_hook(lambda g: g + 1.0)
        return y

    assert grad(f)(1.0) == 11.0


def test_what_a_hook_is_given_cannot_be_written_to() -> None:
    x, y = leaf(1.0), leaf(1.0)

    def spoils(g: Tensor) -> None:
        with pytest.raises(TypeError, match="cannot be assigned to"):
            g += 100.0
        with pytest.raises(ValueError, match="read-only"):
            g.data[...] = 5.0

    total = x + y
    total.register_hook(spoils)
    total.backward()
    assert (gradient(x), gradient(y)) == ([1.0], [1.0])


def test_a_wrong_shape_and_a_tensor_without_gradient_are_refused() -> None:
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: g[:1])
    with pytest.raises(ValueError, match=r"a hook returned shape \(1,\) for a gradient of shape \(2,\)"):
        np.sum(x).backward()
    with pytest.raises(RuntimeError, match="would never be called"):
        x.detach().register_hook(print)


def test_the_dtype_of_the_gradient_stays() -> None:
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    x.register_hook(lambda g: np.array([1.0, 2.0]))
    np.sum(x).backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float32


def cyclic(x: Tensor) -> Any:
    """A node whose hook holds it: the cycle that a caller makes ends with the backward pass."""
    y = x * 2.0
    y.register_hook(lambda g: g * y.data)
    y.backward()
    return weakref.ref(y.origin)


def test_hooks_and_handles_keep_no_tape_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        y = x * 2.0
        handle = y.register_hook(lambda g: g)
        dead = weakref.ref(y.origin)
        del y
        assert dead() is None  # without the garbage collector
        handle.remove()
        assert cyclic(x)() is None  # closures over themselves need no collector either
    finally:
        gc.enable()


def test_a_recorder_hears_of_each_operation_and_of_the_walk() -> None:
    class Listener(Recorder):
        def applied(self, op: Any, arrays: Any, out: Any, node: Any, static: Any) -> None:
            heard.append(f"{op.name}{'' if node else '?'}")

        def walked(self, node: Any, g: Any, cotangents: Any, arrived: Any) -> None:
            heard.append(f"back {node.op.name}")

        def pushed(self, node: Any, tangent: Any) -> None:
            heard.append(f"along {node.op.name}")

    heard: list[str] = []
    with observed_by(Listener()):
        x = leaf(1.0)
        np.sum(x * 2 + np.exp(Tensor(1.0))).backward()
        jvp(np.sin, (1.0,), (1.0,))
    assert heard == [
        "multiply",
        "exp?",
        "add",
        "sum",
        "back sum",
        "back add",
        "back multiply",
        "sin",
        "along sin",
    ]
