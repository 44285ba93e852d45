"""What a trace must not take for a constant, and what it must not join."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, jit, nn, no_grad


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
