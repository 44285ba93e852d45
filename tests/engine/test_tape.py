"""The tape: deep chains, memory, walking again, where gradients arrive, no_grad, stale tapes, failures."""

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, nn, no_grad, vjp
from tinygrad_mnist.engine.op import REGISTRY, Op
from tinygrad_mnist.engine.tape import Node
from tinygrad_mnist.engine.tensor import _lift
from tinygrad_mnist.engine.walk import walk

DEEP = 100_000


def leaf(values: Any, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def array_of_grad(t: Tensor) -> Any:
    assert t.grad is not None
    return t.grad.data


def is_recording() -> bool:
    return (leaf(1.0) * 2).requires_grad


# ---- depth -----------------------------------------------------------------------------------------------


def test_a_chain_of_100_000_operations_goes_forward_and_back() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(DEEP):
        y = y + 1e-5
    y.backward()
    assert array_of_grad(x) == 1


def test_a_chain_of_100_000_operations_that_nobody_walks_is_forgotten() -> None:
    y = leaf(1.0)
    for _ in range(DEEP):
        y = y + 1e-5
    node = weakref.ref(y.origin)
    del y
    assert node() is None


def test_a_chain_of_10_000_operations_goes_back_twice() -> None:
    x = leaf(0.5)
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    (y * y).backward(create_graph=True)
    first = x.grad
    assert first is not None
    x.grad = None
    first.backward()
    np.testing.assert_allclose(array_of_grad(x), 2 * 1.0001**20_000)


def test_a_graph_with_2_to_the_100_paths_is_walked_once_a_node() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(100):
        y = y + y
    y.backward()
    assert array_of_grad(x) == 2.0**100


# ---- memory ----------------------------------------------------------------------------------------------


def network(x: Tensor, depth: int = 20) -> Tensor:
    for _ in range(depth):
        x = np.tanh(x @ np.eye(100) + 1.0)
    return np.mean(x)


def nodes_of(t: Tensor) -> list[weakref.ref[Node]]:
    found, todo = [], [t.origin]
    while todo:
        node = todo.pop()
        if type(node) is Node:
            found.append(weakref.ref(node))
            todo.extend(node.parents)
    return found


@pytest.mark.usefixtures("without_collector")
def test_the_tape_is_gone_after_del_loss() -> None:
    loss = network(leaf(np.ones((100, 100))))
    nodes = nodes_of(loss)
    del loss
    assert len(nodes) > 60
    assert [node for node in nodes if node() is not None] == []


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("options", [{}, {"retain_graph": True}, {"create_graph": True}], ids=str)
def test_the_tape_is_gone_after_backward_and_del(options: dict[str, bool]) -> None:
    x = leaf(np.ones((100, 100)))
    loss = network(x)
    loss.backward(**options)
    nodes = nodes_of(loss)
    x.grad = None
    del loss
    assert [node for node in nodes if node() is not None] == []


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("options", [{}, {"create_graph": True}], ids=str)
def test_the_memory_is_given_back_after_del(options: dict[str, bool]) -> None:
    x = leaf(np.ones((100, 100)))
    network(x).backward(**options)  # so that what is made once is made
    x.grad = None
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        loss = network(x)
        held = tracemalloc.get_traced_memory()[0] - before
        loss.backward(**options)
        del loss
        x.grad = None
        after = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held > 40 * x.nbytes
    assert after < 0.5 * x.nbytes  # less than one array


@pytest.mark.usefixtures("without_collector")
def test_backward_frees_the_arrays_while_the_loss_is_still_held() -> None:
    x = leaf(np.ones(5))
    hidden = x * 2.0
    array = weakref.ref(hidden.data)
    loss = np.sum(hidden * hidden)
    del hidden
    loss.backward()
    assert array() is None


@pytest.mark.usefixtures("without_collector")
def test_nothing_is_kept_under_no_grad() -> None:
    with no_grad():
        y = leaf(1.0) * 2.0
    assert y.origin is None


# ---- walking again ---------------------------------------------------------------------------------------


def test_a_second_backward_says_that_the_tape_was_freed() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match=r"'multiply'.*earlier backward has freed.*retain_graph=True"):
        y.backward()


def test_a_backward_through_a_shared_part_that_was_freed_says_so() -> None:
    x = leaf(2.0)
    shared = np.exp(x)
    one, other = shared * 2, shared * 3
    one.backward()
    with pytest.raises(RuntimeError, match="freed"):
        other.backward()


def test_a_backward_of_another_of_several_results_that_were_freed_says_so() -> None:
    q, r = np.linalg.qr(leaf(np.eye(2) + 1.0))
    np.sum(q).backward()
    with pytest.raises(RuntimeError, match=r"'qr'.*freed"):
        np.sum(r).backward()


def test_a_failed_second_backward_leaves_the_gradient() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError):
        y.backward()
    assert array_of_grad(x) == 4


def test_a_retained_tape_is_walked_again() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert array_of_grad(x) == 8


def test_create_graph_keeps_the_tape() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward(create_graph=True)
    y.backward()
    assert array_of_grad(x) == 8


def test_a_gradient_with_create_graph_is_on_the_tape() -> None:
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    gradient = x.grad
    assert gradient is not None
    x.grad = None
    gradient.backward()
    assert array_of_grad(x) == 12


def test_a_gradient_without_create_graph_requires_no_gradient() -> None:
    x = leaf(2.0)
    (x**3).backward()
    assert x.grad is not None
    assert not x.grad.requires_grad


def test_create_graph_works_under_no_grad() -> None:
    x = leaf(2.0)
    y = x**3
    with no_grad():
        y.backward(create_graph=True)
    assert x.grad is not None
    assert x.grad.requires_grad


# ---- the cotangent ---------------------------------------------------------------------------------------


def test_backward_of_a_non_scalar_needs_a_cotangent() -> None:
    with pytest.raises(RuntimeError, match=r"shape \(3,\).*only a scalar"):
        (leaf(np.ones(3)) * 2).backward()


def test_a_cotangent_weighs_the_elements() -> None:
    x = leaf(np.ones(3))
    (x * 2).backward(np.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(array_of_grad(x), [2, 20, 200])


@pytest.mark.parametrize(
    "cotangent", [[1.0, 2.0, 3.0], Tensor([1.0, 2.0, 3.0]), np.array([1, 2, 3])], ids=str
)
def test_a_cotangent_may_be_a_list_a_tensor_or_of_integers(cotangent: Any) -> None:
    x = leaf(np.ones(3))
    (x * 2).backward(cotangent)
    np.testing.assert_array_equal(array_of_grad(x), [2, 4, 6])


def test_a_cotangent_of_another_dtype_is_brought_into_that_of_the_tensor() -> None:
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    (x * 2).backward(np.array([1.0, 2.0]))
    assert x.grad is not None
    assert x.grad.dtype == np.float32


def test_a_cotangent_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cotangent of shape \(2,\); expected \(3,\)"):
        (leaf(np.ones(3)) * 2).backward(np.ones(2))


def test_backward_of_what_requires_no_gradient_says_so() -> None:
    with pytest.raises(RuntimeError, match="requires no gradient"):
        Tensor(1.0).backward()


def test_one_element_of_any_shape_is_a_scalar() -> None:
    x = leaf([[3.0]])
    (x * x).backward()
    assert array_of_grad(x).shape == (1, 1)


def test_backward_of_a_leaf_is_its_cotangent() -> None:
    x = leaf(3.0)
    x.backward()
    assert array_of_grad(x) == 1


# ---- what arrives where ----------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_accumulate(create_graph: bool) -> None:
    x = leaf(3.0)
    (x * x).backward(create_graph=create_graph)
    (x * 5).backward(create_graph=create_graph)
    assert array_of_grad(x) == 11


def test_a_gradient_that_was_kept_stays_what_it_was() -> None:
    x = leaf(np.ones(2))
    np.sum(x * 2).backward()
    kept = x.grad
    assert kept is not None
    np.sum(x * 5).backward()
    np.testing.assert_array_equal(kept.data, [2, 2])


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: x * x, 6),
        (lambda x: x + x, 2),
        (lambda x: x - x, 0),
        (lambda x: x / x, 0),
        (lambda x: x**x, None),
    ],
    ids=["multiply", "add", "subtract", "divide", "power"],
)
def test_a_tensor_that_is_used_twice_gets_both_parts(f: Any, expected: float | None) -> None:
    x = leaf(3.0)
    f(x).backward()
    np.testing.assert_allclose(array_of_grad(x), 27 * (np.log(3) + 1) if expected is None else expected)


def test_each_of_several_results_gets_all_of_its_cotangents() -> None:
    """Of the result that is used, both times; of the one that is not, zeros."""
    operation = Op(
        "twice_and_thrice",
        lambda x: (2 * x, 3 * x),
        "linear",
        rules=(lambda g, out, x: 2 * g[0] + 3 * g[1],),
        samples="matrix",
    )
    for index, factor in ((0, 2.0), (1, 3.0)):
        x = leaf([1.0, -2.0])
        part = operation(x)[index]
        (part + part * 10).backward(np.ones(2))
        np.testing.assert_array_equal(array_of_grad(x), 11 * factor)


def test_a_result_that_its_own_gradient_depends_on_gets_both_cotangents() -> None:
    operation = Op(
        "square_and_cube",
        lambda x: (x**2, x**3),
        "general",
        rules=(lambda g, out, x: g[0] * 2 * x + g[1] * 3 * out[0],),
        samples="matrix",
    )
    x = leaf([1.0, -2.0])
    square, cube = operation(x)
    cube.backward(np.ones(2), create_graph=True)
    gradient, x.grad = x.grad, None
    (gradient + square).backward(np.ones(2))  # 3 x**2 by the result in the rule, and x**2
    np.testing.assert_array_equal(array_of_grad(x), 8 * x.data)


def test_a_result_that_is_returned_twice_leaves_the_cotangents_as_they_are() -> None:
    def f(x: Any) -> Any:
        y = x * 3.0
        return y, y

    _, pullback = vjp(f, np.ones(2))
    g, other = np.ones(2), np.full(2, 10.0)
    np.testing.assert_array_equal(pullback((g, other))[0], [33, 33])
    np.testing.assert_array_equal(np.stack([g, other]), [[1, 1], [10, 10]])


def test_a_walk_stops_at_its_targets_whatever_their_age() -> None:
    x = leaf(1.0)
    old = x * 2.0
    between = old * 3.0
    young = between * 5.0
    out = young + between
    arrived = walk([(out.origin, np.array(1.0))], _lift, targets=[old.origin, young.origin], retain=True)
    assert {node: float(g) for node, g in arrived.items()} == {old.origin: 3.0, young.origin: 1.0}


def test_a_walk_does_not_go_to_what_is_older_than_its_targets() -> None:
    """So the tape of what a function captured is neither walked nor freed by a transform."""
    calls = []

    def rule(g: Any, out: Any, x: Any) -> Any:
        calls.append(g)
        return 2 * g

    operation = Op("double", lambda x: 2 * x, "linear", rules=(rule,), samples="matrix")
    x = leaf(2.0)
    outside = operation(x)
    assert grad(lambda z: z * outside)(3.0).item() == 4.0
    assert calls == []
    outside.backward()
    assert array_of_grad(x) == 2.0


@pytest.mark.parametrize(
    "f", [lambda x, y: x + y, lambda x, y: np.concatenate([x, y])[:2] + y], ids=["add", "join"]
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_the_gradients_of_two_leaves_share_no_memory(f: Any, create_graph: bool) -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    f(x, y).backward(np.ones(2), create_graph=create_graph)
    assert not np.shares_memory(array_of_grad(x), array_of_grad(y))


@pytest.mark.parametrize(
    "f", [lambda x: x + 0, lambda x: +x, lambda x: x.reshape(2), lambda x: x], ids=range(4)
)
def test_a_gradient_does_not_share_the_callers_cotangent(f: Any) -> None:
    x, cotangent = leaf([1.0, 2.0]), np.ones(2)
    f(x).backward(cotangent)
    assert not np.shares_memory(array_of_grad(x), cotangent)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_has_shape_and_dtype_of_its_leaf(create_graph: bool) -> None:
    x, y = leaf(np.ones((3, 1)), np.float32), leaf(np.ones(4), np.float64)
    np.sum(x * y).backward(create_graph=create_graph)
    assert (array_of_grad(x).shape, array_of_grad(x).dtype) == ((3, 1), np.float32)
    assert (array_of_grad(y).shape, array_of_grad(y).dtype) == ((4,), np.float64)


def test_what_does_not_depend_on_a_leaf_leaves_its_gradient_none() -> None:
    x, y = leaf(1.0), leaf(1.0)
    (x * 2).backward()
    assert y.grad is None


def test_a_result_in_between_keeps_no_gradient() -> None:
    x = leaf(1.0)
    y = x * 2
    (y * 3).backward()
    assert y.grad is None


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


def test_a_parameter_changed_between_forward_and_backward_is_named_with_the_operation() -> None:
    layer = nn.Sequential(nn.Linear(3, 2))
    out = np.sum(layer(np.ones((1, 3), np.float32)) ** 2)
    layer[0].weight.data = layer[0].weight.data * 2
    with pytest.raises(RuntimeError, match=r"parameter '0.weight' of shape \(2, 3\) was changed .* 'linear'"):
        out.backward()


def test_a_write_in_place_that_is_marked_is_found_out() -> None:
    weight = nn.Parameter(np.array([1.0, 2.0]))
    weight.name = "weight"
    loss = np.sum(weight * weight)
    weight.data[...] = 0
    weight.mark_written()
    with pytest.raises(RuntimeError, match=r"parameter 'weight' .* in its memory, as mark_written\(\) says"):
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


def test_a_float16_gradient_of_what_was_broadcast_is_summed_in_float32() -> None:
    """In float16 a sum of ones stands still at 2048."""
    bias = Tensor(np.zeros(2, np.float16), requires_grad=True)
    out = np.zeros((8000, 2), np.float16) + bias
    out.backward(np.ones((8000, 2), np.float16))
    np.testing.assert_array_equal(array_of_grad(bias), np.full(2, 8000, np.float16))
    assert array_of_grad(bias).dtype == np.float16
