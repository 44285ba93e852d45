"""What switches the tape on and off, what makes it stale, and what a failure on it says and leaves behind."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, no_grad
from tinygrad_mnist.engine.op import REGISTRY, Op
from tinygrad_mnist.engine.tape import Leaf


def leaf(values: Any, name: str | None = None) -> Tensor:
    x = Tensor(np.array(values, np.float64), requires_grad=True)
    assert isinstance(x.origin, Leaf)
    x.origin.name = name
    return x


def is_recording() -> bool:
    return (leaf(1.0) * 2).requires_grad


# ---- no_grad ---------------------------------------------------------------------------------------------


def test_no_grad_switches_recording_off_and_on_again() -> None:
    with no_grad():
        assert not is_recording()
    assert is_recording()


def test_no_grad_nests() -> None:
    with no_grad():
        with no_grad():
            pass
        assert not is_recording()


def test_no_grad_is_a_decorator() -> None:
    decorated = no_grad()(is_recording)
    assert [decorated(), decorated(), is_recording()] == [False, False, True]


def test_a_decorated_function_may_call_itself() -> None:
    @no_grad()
    def count(n: int) -> int:
        assert not is_recording()
        return 0 if n == 0 else 1 + count(n - 1)

    assert count(3) == 3
    assert is_recording()


def test_no_grad_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), no_grad():
        1 / 0  # noqa: B018
    assert is_recording()


def test_a_failing_decorated_function_leaves_recording_on() -> None:
    @no_grad()
    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert is_recording()


def test_no_grad_holds_in_its_own_thread_only() -> None:
    inside, seen = threading.Event(), []
    done = threading.Event()

    def other() -> None:
        inside.wait(10)
        seen.append(is_recording())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.set()
        done.wait(10)
    thread.join()
    assert seen == [True]


def test_threads_walk_their_own_tapes() -> None:
    gradients: dict[int, float] = {}

    def work(k: int) -> None:
        x = leaf(float(k))
        for _ in range(50):
            x.grad = None
            y = x
            for _ in range(20):
                y = y * 1.0 + 0.0
            (y * y).backward()
        assert x.grad is not None
        gradients[k] = x.grad.item()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gradients == {k: 2.0 * k for k in range(4)}


def test_a_leaf_made_under_no_grad_may_still_require_a_gradient() -> None:
    with no_grad():
        x = leaf(1.0)
    (x * 2).backward()
    assert x.grad is not None


# ---- stale tapes -----------------------------------------------------------------------------------------


def test_new_data_between_forward_and_backward_is_found_out_by_name() -> None:
    weight = leaf([1.0, 2.0], "encoder.weight")
    loss = np.sum(weight * weight)
    weight.data = np.zeros(2)
    with pytest.raises(
        RuntimeError, match=r"parameter 'encoder.weight' of shape \(2,\) was changed.*'multiply'"
    ):
        loss.backward()


def test_a_write_in_place_that_is_marked_is_found_out() -> None:
    weight = leaf([1.0, 2.0], "weight")
    loss = np.sum(weight * weight)
    weight.data[...] = 0
    weight.mark_written()
    with pytest.raises(RuntimeError, match="parameter 'weight'"):
        loss.backward()


def test_a_nameless_leaf_is_called_a_tensor() -> None:
    x = leaf(1.0)
    y = x * x
    x.data = np.array(5.0)
    with pytest.raises(RuntimeError, match=r"a Tensor of shape \(\) was changed"):
        y.backward()


def test_a_write_to_another_parameter_does_no_harm() -> None:
    x, other = leaf(3.0), leaf(1.0)
    y = x * x
    other.data = np.array(2.0)
    y.backward()
    assert x.grad is not None


def test_a_tape_recorded_after_the_write_is_fresh() -> None:
    x = leaf(3.0)
    x.data = np.array(4.0)
    (x * x).backward()
    assert x.grad is not None
    assert x.grad.item() == 8


def test_a_write_after_backward_does_no_harm() -> None:
    x = leaf(3.0)
    for _ in range(2):
        (x * x).backward()
        x.data = x.data - 1
    assert x.grad is not None
    assert x.grad.item() == 6 + 4


# ---- failures --------------------------------------------------------------------------------------------

TANH = REGISTRY["tanh"]


def failing(g: Any, out: Any, x: Any) -> Any:
    raise ArithmeticError("no such thing")


def test_an_exception_in_a_rule_names_the_operation_and_its_arguments() -> None:
    y = replace(TANH, name="my_tanh", rules=(failing,))(leaf(np.ones((2, 3))))
    with pytest.raises(ArithmeticError, match="no such thing") as caught:
        y.backward(np.ones((2, 3)))
    assert caught.value.__notes__ == ["in the gradient of 'my_tanh' of float64 (2, 3)"]


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_rule_of_the_wrong_shape_names_the_operation(create_graph: bool) -> None:
    op = Op(
        "wide", lambda x: x * 2, "general", rules=(lambda g, out, x: np.stack([g, g]),), samples="reduction"
    )
    with pytest.raises(
        ValueError, match=r"rule of 'wide' returned shape \(2, 3\) for an argument of shape \(3,\)"
    ):
        op(leaf(np.ones(3))).backward(np.ones(3), create_graph=create_graph)


def test_a_rule_that_does_not_broadcast_back_names_the_operation() -> None:
    op = replace(TANH, name="odd", rules=(lambda g, out, x: g[:-1],))
    with pytest.raises(ValueError, match="shape") as caught:
        op(leaf(np.ones(3))).backward(np.ones(3))
    assert "'odd'" in "".join(caught.value.__notes__)


def test_an_exception_leaves_no_gradient_and_recording_as_it_was() -> None:
    x = leaf(1.0)
    y = replace(TANH, rules=(failing,))(x * 2) + x
    with pytest.raises(ArithmeticError):
        y.backward(create_graph=True)
    assert x.grad is None
    assert is_recording()


def test_an_exception_in_a_recorded_walk_under_no_grad_leaves_recording_off() -> None:
    y = replace(TANH, rules=(failing,))(leaf(1.0))
    with no_grad():
        with pytest.raises(ArithmeticError):
            y.backward(create_graph=True)
        assert not is_recording()


# ---- the guard at singular points ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (np.log, 0.0), (np.sqrt, 0.0), (np.reciprocal, 0.0), (lambda t: t**0.5, 0.0), (lambda t: 1 / t, 0.0),
        (np.log1p, -1.0), (np.arcsin, 1.0), (np.arccos, -1.0),
    ],
    ids=["log", "sqrt", "reciprocal", "power", "divide", "log1p", "arcsin", "arccos"],
)  # fmt: skip
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_branch_that_where_did_not_choose_cannot_poison_the_other(
    f: Any, x: float, create_graph: bool
) -> None:
    t = leaf([x, 0.5])
    with np.errstate(all="ignore"):
        np.sum(np.where(t.data == x, 0, f(t))).backward(create_graph=create_graph)
    assert t.grad is not None
    assert t.grad.data[0] == 0
    assert t.grad.data[1] != 0


def test_an_infinite_derivative_with_a_cotangent_stays_infinite() -> None:
    t = leaf([0.0])
    np.sqrt(t).backward()
    assert t.grad is not None
    assert t.grad.item() == np.inf


def test_a_finite_derivative_with_cotangent_zero_keeps_its_second_derivative() -> None:
    t = leaf(1.0)
    (np.log(t) ** 2).backward(create_graph=True)
    gradient = t.grad
    assert gradient is not None
    t.grad = None
    gradient.backward()
    assert t.grad is not None
    assert t.grad.item() == 2
