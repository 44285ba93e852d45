"""Hooks, which see and may replace the gradient of one Tensor; and a recorder, which hears of everything."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import AnomalyError, Tensor, checkpoint, detect_anomaly, grad, graph, jvp, nn
from tinygrad_mnist.engine.observe import Recorder, also_observed_by, module, recorder


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


# ---- recorders -------------------------------------------------------------------------------------------


class Listener(Recorder):
    """A recorder that notes all it is told, and raises an error where it is asked to."""

    def __init__(self, name: str = "", heard: list[str] | None = None, fails: str = "") -> None:
        self.name, self.fails = name, fails
        self.heard: list[str] = [] if heard is None else heard

    def _note(self, what: str, where: str) -> None:
        self.heard.append(f"{self.name}{what}")
        if self.fails == where:
            raise RuntimeError(f"{self.name}fails in {where}")

    def entered(self, module: Any, given: Any = ()) -> None:
        self._note(f"into {type(module).__name__}", "entered")

    def left(self, module: Any) -> None:
        self._note(f"out of {type(module).__name__}", "left")

    def applied(self, op: Any, arrays: Any, out: Any, node: Any, static: Any) -> None:
        self._note(f"{op.name}{'' if node else '?'}", "applied")

    def walked(self, node: Any, g: Any, cotangents: Any, arrived: Any) -> None:
        self._note(f"back {node.op.name}", "walked")

    def pushed(self, node: Any, tangent: Any) -> None:
        self._note(f"along {node.op.name}", "pushed")


def something() -> None:
    """A computation with everything that a recorder can hear of."""
    x = leaf(1.0)
    np.sum(x * 2 + np.exp(Tensor(1.0))).backward()
    jvp(np.sin, (1.0,), (1.0,))
    nn.Sequential(nn.Tanh())(x)


SOMETHING = [
    "multiply", "exp?", "add", "sum", "back sum", "back add", "back multiply", "sin", "along sin",
    "into Sequential", "into Tanh", "tanh", "out of Tanh", "out of Sequential",
]  # fmt: skip


def in_checkpoints() -> None:
    x = leaf(1.0)
    inner = checkpoint(lambda x: np.sin(nn.Tanh()(x)))
    np.sum(checkpoint(lambda x: inner(x) * 2)(x)).backward(create_graph=True)


def test_a_recorder_hears_of_each_operation_and_of_the_walk() -> None:
    listener = Listener()
    with also_observed_by(listener):
        something()
    assert listener.heard == SOMETHING


@pytest.mark.parametrize("run", [something, in_checkpoints])
def test_recorders_nest_and_each_hears_what_it_would_hear_alone(run: Callable[[], None]) -> None:
    alone, outer, inner = Listener(), Listener(), Listener()
    with also_observed_by(alone):
        run()
    with also_observed_by(outer), also_observed_by(inner), also_observed_by(outer):  # that one once, too
        run()
    assert outer.heard == inner.heard == alone.heard


def test_a_recorder_hears_what_happens_while_it_is_on() -> None:
    first, second = Listener(), Listener()
    with also_observed_by(first):
        np.sin(leaf(1.0))
        with also_observed_by(second):
            np.cos(leaf(1.0))
        np.tan(leaf(1.0))
    np.exp(leaf(1.0))
    assert (first.heard, second.heard) == (["sin", "cos", "tan"], ["cos"])


def test_a_recorder_that_a_hook_opens_hears_what_the_hook_does_and_the_outer_one_does_not() -> None:
    outer, inner = Listener(), Listener()

    def hook(g: Tensor) -> None:
        with also_observed_by(inner):
            np.sin(g)
            np.sum(checkpoint(np.cos)(leaf(1.0))).backward()

    x = leaf(1.0)
    x.register_hook(hook)
    with also_observed_by(outer):
        (x * 2).backward()
    assert outer.heard == ["multiply", "back multiply"]
    assert inner.heard[:2] == ["sin?", "cos"]
    assert inner.heard.count("back cos") == 1


@pytest.mark.parametrize("first", ["detector", "recording"])
def test_a_detector_and_a_recording_work_together(first: str) -> None:
    x = leaf(0.0)
    with np.errstate(divide="ignore"), ExitStack() as managers:
        if first == "detector":
            managers.enter_context(detect_anomaly())
        tape = managers.enter_context(graph.record())
        if first == "recording":
            managers.enter_context(detect_anomaly())
        y = np.sqrt(x)
        with pytest.raises(AnomalyError, match="the gradient of 'sqrt'"):
            np.sum(y).backward()
        with pytest.raises(AnomalyError, match="the result of 'log'"):
            np.log(x)
    recorded = tape.graph()
    assert [node.id for node in recorded.operations] == ["sqrt#1", "sum#1", "log#1"]
    assert recorded.by_id["sqrt#1"].value.gradient is not None


def test_a_recording_in_a_recording_leaves_the_outer_one_whole() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with graph.record() as alone:
        np.sum(model(np.ones((1, 2), np.float32))).backward()
    with graph.record() as outer, graph.record() as inner:
        np.sum(model(np.ones((1, 2), np.float32))).backward()
    assert outer.graph() == inner.graph()
    assert [n.id for n in outer.graph().nodes] == [n.id for n in alone.graph().nodes]
    assert [n.line for n in outer.graph().nodes if n.kind == "operation"][-1]


def test_a_profile_is_heard_of_once() -> None:
    model, listener = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), Listener()
    with also_observed_by(listener):
        graph.profile(model, np.ones((1, 2), np.float32), np.array([0]), repeats=3)
    assert listener.heard.count("linear") == listener.heard.count("back linear") == 1


FAILURES = ["entered", "left", "applied", "walked", "pushed"]


@pytest.mark.parametrize("where", FAILURES)
@pytest.mark.parametrize("order", ["alone", "outer", "inner"])
def test_a_recorder_that_raises_leaves_nothing_behind(where: str, order: str) -> None:
    listener, failing = Listener(), Listener(fails=where)
    listeners = {"alone": [failing], "outer": [failing, listener], "inner": [listener, failing]}[order]

    def run() -> None:
        with ExitStack() as managers:
            for each in listeners:
                managers.enter_context(also_observed_by(each))
            something()

    with pytest.raises(RuntimeError, match=f"fails in {where}"):
        run()
    assert (recorder.get(), module.get()) == (None, None)
    entered = sum(one.startswith("into") for one in listener.heard)
    assert entered == sum(one.startswith("out of") for one in listener.heard)
    if order != "alone" and where != "entered":  # what one of them raises takes nothing from the other
        assert [one for one in failing.heard if one in listener.heard] == failing.heard
    again = Listener()
    with also_observed_by(again):
        something()
    assert again.heard == SOMETHING


def test_two_recorders_that_raise_are_both_told_of() -> None:
    first, second = Listener("a ", fails="applied"), Listener("b ", fails="applied")
    with also_observed_by(first), also_observed_by(second), pytest.raises(RuntimeError) as raised:
        np.sin(leaf(1.0))
    assert str(raised.value) == "b fails in applied"
    assert str(raised.value.__context__) == "a fails in applied"


def test_a_module_that_raises_is_left_by_all() -> None:
    class Fails(nn.Module):
        def forward(self) -> None:
            raise ZeroDivisionError

    heard: list[str] = []
    with also_observed_by(Listener("1 ", heard)), also_observed_by(Listener("2 ", heard)):
        with pytest.raises(ZeroDivisionError):
            Fails()()
        assert module.get() is None
    assert heard == ["1 into Fails", "2 into Fails", "2 out of Fails", "1 out of Fails"]


def test_each_thread_and_task_has_recorders_of_its_own() -> None:
    outer, names = Listener(), ["sin", "cos", "tan"]
    listeners = [Listener() for _ in names]

    def run(name: str, listener: Listener) -> Iterator[None]:
        with also_observed_by(listener):
            for _ in range(3):
                getattr(np, name)(leaf(1.0))
                yield

    async def task(name: str, listener: Listener) -> None:
        for _ in run(name, listener):
            await asyncio.sleep(0)  # the others run

    async def tasks() -> None:
        await asyncio.gather(*map(task, names, listeners))

    with also_observed_by(outer):
        asyncio.run(tasks())  # a task takes a copy of the context along
        threads = [
            Thread(target=lambda n=name, to=to: list(run(n, to)))
            for name, to in zip(names, listeners, strict=True)
        ]
        for thread in threads:  # a thread begins with none
            thread.start()
        for thread in threads:
            thread.join()
    assert [listener.heard for listener in listeners] == [[name] * 6 for name in names]
    assert sorted(outer.heard) == sorted(names * 3)


def test_a_recording_that_several_threads_share_loses_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    x = np.ones((1, 2), np.float32)

    def run() -> None:
        for _ in range(20):
            np.sum(model(x)).backward()

    with graph.record(model) as tape:
        threads = [Thread(target=copy_context().run, args=(run,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    recorded = tape.graph()
    assert len(recorded.operations) == 4 * 20 * 3
    assert len({cluster.id for cluster in recorded.clusters if not cluster.parent}) == 80
    assert all(len(recorded.children[c.id]) == 1 for c in recorded.clusters if c.kind in ("Linear", "Tanh"))
    assert all(node.value.gradient is not None for node in recorded.operations)


class Reader(Recorder):
    """A recorder that notes what is read, and what is evaluated without a gradient."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def read(self, tensor: Any) -> None:
        self.heard.append(tensor.shape)

    def evaluated(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        self.heard.append((function, args, kwargs, result))


def test_all_recorders_hear_what_is_read_and_what_is_evaluated_without_a_gradient() -> None:
    x = Tensor([1.0, 3.0, 2.0])
    with also_observed_by(outer := Reader()), also_observed_by(inner := Reader()):
        position = np.argmax(x, axis=0)
        float(x[1])
    assert outer.heard == inner.heard == [(np.argmax, (x,), {"axis": 0}, position), ()]


def test_what_a_rule_reads_and_what_has_no_values_is_not_told() -> None:
    x = leaf(1.0, 2.0)
    with also_observed_by(reader := Reader()):
        np.sum(np.maximum(x, 1.5)).backward()
        assert len(x) == x.shape[0] == x.data.size
    assert reader.heard == []
