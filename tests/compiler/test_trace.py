"""What a trace must not take for a constant, and what it must not join."""

from __future__ import annotations

import queue
import threading
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, jit, nn, no_grad, optim


def twice(f: Any, *args: Any) -> Any:
    """Return what a replay gives: the first call runs in eager."""
    f(*args)
    return f(*args)


def test_second_derivatives_with_an_argument_that_is_not_differentiated() -> None:
    def slope(a: Any, b: Any) -> Any:
        return grad(lambda a: np.sum(grad(lambda a: np.sum(a**b))(a)))(a)

    a, b = np.array([0.7, 1.3]), np.array([0.4, -1.1])
    np.testing.assert_allclose(twice(jit(slope), a, b), slope(a, b), rtol=1e-12)


@pytest.mark.parametrize("copied", [lambda w: w.detach(), lambda w: Tensor(w)])
def test_a_copy_of_a_parameter_is_read_anew(copied: Any) -> None:
    weight = Tensor(np.zeros(2), requires_grad=True)
    f = jit(lambda x: copied(weight) + x)
    assert twice(f, np.ones(2)).tolist() == [1.0, 1.0]
    weight.data = np.full(2, 5.0)
    assert f(np.ones(2)).tolist() == [6.0, 6.0]


def test_an_argument_that_is_also_found_outside() -> None:
    weight = Tensor([1.0, 2.0], requires_grad=True)
    other = Tensor([3.0, 4.0], requires_grad=True)
    f = jit(lambda t: np.sum(t * weight).backward())
    for argument, expected in (
        (other, [3.0, 4.0]),
        (other, [3.0, 4.0]),
        (weight, [2.0, 4.0]),
        (weight, [2.0, 4.0]),
    ):
        weight.grad = None
        f(argument)
        assert weight.grad is not None
        assert weight.grad.tolist() == expected


def test_an_array_that_is_made_and_returned_is_a_new_one_each_time() -> None:
    f = jit(lambda x: (x + 1, np.zeros(3)))
    twice(f, np.ones(2))[1][0] = 5
    assert f(np.ones(2))[1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (np.prod, np.full(9, 100, np.int8)),
        (np.cumprod, np.full(9, 100, np.int8)),
        (lambda x: x**2, np.array([True, False])),
        (lambda x: x ** np.float32(2), np.ones(2)),
        (lambda x: x ** np.array(2.0), np.ones(2, np.float32)),
        (lambda x: x * np.float32(0.5), np.ones(2)),
        (np.mean, np.arange(4, dtype=np.int16)),
        (lambda x: x + True, np.ones(2, np.float32)),
        (lambda x: (x > -100) & (x != 256) & np.less(300, x), np.arange(2, dtype=np.uint8)),
    ],
)
def test_dtypes_are_eagers(f: Any, x: Any) -> None:
    result, expected = twice(jit(f), x), f(x)
    assert type(result) is type(expected)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_a_masked_array_is_left_to_eager() -> None:
    assert twice(jit(np.sum), np.ma.array([1, 2], mask=[0, 1])) == 1


def test_a_replay_waits_while_another_thread_traces() -> None:
    model = nn.Linear(4, 3, rng=0)
    x = np.ones((2, 4), np.float32)
    f = jit(lambda x: model(x))
    with no_grad():
        twice(f, x)
    wrong: list[BaseException] = []
    done = threading.Event()

    def replay() -> None:
        with no_grad():
            while not done.is_set():
                try:
                    f(x)
                except BaseException as error:
                    wrong.append(error)
                    return

    thread = threading.Thread(target=replay)
    thread.start()
    try:
        with no_grad():
            for rows in range(3, 12):  # each is another program of the same model
                jit(lambda x: np.tanh(model(x)))(np.ones((rows, 4), np.float32))
    finally:
        done.set()
        thread.join()
    assert not wrong


def test_an_update_is_traced_once_for_parameters_that_are_updated_alike() -> None:
    class Counting(optim.Adam):
        runs = 0

        def _update(self, block: Any, options: Any, progress: Any) -> Any:
            self.runs += 1
            return super()._update(block, options, progress)

    def trained(wrap: Any) -> tuple[int, list[Any]]:
        shapes = [(3, 4), (4,), (), (1,), (2, 1, 3)]
        rng = np.random.default_rng(0)
        weights = [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]
        optimizer = Counting(weights, lr=0.1, weight_decay=0.1)

        @wrap
        def step(x: Any) -> None:
            optimizer.zero_grad()
            np.sum(np.stack([np.sum(np.sin(weight * x)) for weight in weights])).backward()
            optimizer.step()

        for number in range(4):
            step(np.array(number + 0.5))
        return optimizer.runs, [weight.data.copy() for weight in weights]

    runs, weights = trained(jit)
    _, expected = trained(lambda f: f)
    # The first call runs it in eager. Each trace runs it for what the first step notes, and for a parameter.
    assert runs == 1 + 2 * 2
    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-12)


def test_an_array_that_a_package_function_is_given_is_read_anew() -> None:
    # A first trace takes it for one that the function makes, as the package's code asks for it.
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = {"scale": np.ones(3)}

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(x) * self.held["scale"]

    model = Scaled()
    f = jit(lambda x: model(x))
    with no_grad():
        assert twice(f, np.ones(3)).tolist() == [1.0, 1.0, 1.0]
        model.held["scale"][...] = 2.0
        assert f(np.ones(3)).tolist() == [2.0, 2.0, 2.0]
        model.held["scale"] = np.full(3, 3.0)
        assert f(np.ones(3)).tolist() == [3.0, 3.0, 3.0]


def test_what_is_made_anew_in_each_call_is_a_constant_also_where_the_first_trace_did_not_know() -> None:
    def f(x: Any) -> Any:
        mask = np.arange(6000.0).reshape(2, 3000) % 2
        return np.sum(x * mask) + np.sum(Tensor(mask) * x)

    x = np.ones((2, 3000))
    assert twice(jit(f), x) == f(x) == 6000.0


@pytest.mark.parametrize("dtype", [bool, np.float32])
@pytest.mark.parametrize(
    "write",
    [
        lambda a, mask: np.putmask(a, mask, a[::-1]),
        lambda a, mask: np.place(a, mask, [0, 1]),
        lambda a, mask: np.put(a, [2], mask[1]),
    ],
)
def test_what_numpy_writes_into_an_argument_is_written(write: Any, dtype: Any) -> None:
    def f(a: Any, mask: Any) -> Any:
        write(a, mask)
        return np.copy(a)

    mask = np.array([True, False, True])
    jitted = jit(f)
    for values in ([1, 0, 1], [1, 1, 0]):
        expected, found = np.array(values, dtype), np.array(values, dtype)
        np.testing.assert_array_equal(jitted(found, mask), f(expected, mask))
        np.testing.assert_array_equal(found, expected)


def test_another_thread_runs_the_model_in_eager_while_it_is_traced() -> None:
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.BatchNorm1d(3), nn.LayerNorm(3), nn.Linear(3, 2, rng=1))
    model.eval()
    x = np.ones((2, 4), np.float32)
    with no_grad():
        expected = model(x).data
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run_in_eager() -> None:
        with no_grad():
            found.put(model(x).data)
            found.put(model[0].bias.data[:1] + np.asarray(model[1].running_mean)[:1])

    def traced(x: Any) -> Any:  # the other thread runs while symbols stand in all parameters and buffers
        out = model(x)
        thread = threading.Thread(target=run_in_eager)
        thread.start()
        thread.join()
        return out

    with no_grad():
        jit(traced)(x)
    assert found.qsize() == 4  # from two traces
    for _ in range(2):
        np.testing.assert_array_equal(found.get_nowait(), expected)
        assert type(found.get_nowait()) is np.ndarray
