"""Signals during training: the first one waits for the end of the step, the second one does not."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn, optim
from tinygrad_mnist.cli.interrupts import as_interrupts
from tinygrad_mnist.training import Callback, Fit, Training, fit
from tinygrad_mnist.training.loop.interrupts import deferred

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
ALL = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
EACH = pytest.mark.parametrize("number", ALL)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handlers are Python's, also where a shell lets the tests ignore Ctrl-C, and are so again afterwards."""
    usual: dict[signal.Signals, Any] = dict.fromkeys(ALL, signal.SIG_DFL)
    usual[signal.SIGINT] = signal.default_int_handler
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    assert {number: signal.signal(number, handler) for number, handler in before.items()} == usual


def interrupted(number: int, *calls: int, callbacks: Any = ()) -> Fit:
    """Train, and raise a signal in the middle of some steps."""
    model = nn.Linear(3, 1, rng=0)
    count = 0

    def loss(outputs: Any, targets: Any) -> Any:
        nonlocal count
        count += 1
        if count in calls:
            signal.raise_signal(number)
        return nn.MSELoss()(outputs, targets)

    optimizer = optim.SGD(model.parameters(), lr=0.01)
    return fit(
        model,
        optimizer,
        (X, X[:, :1]),
        loss=loss,
        epochs=3,
        batch_size=8,
        callbacks=callbacks,
        lint=False,  # which would call the loss, too
    )


@EACH
def test_a_step_is_done_before_training_ends(number: int) -> None:
    done = interrupted(number, 5)
    assert done.interrupted
    assert len(done.history.losses) == 5


@EACH
def test_so_it_is_in_the_first_step(number: int) -> None:
    assert len(interrupted(number, 1).history.losses) == 1


def test_the_command_line_is_no_exception() -> None:
    with as_interrupts(is_program=False):
        done = interrupted(signal.SIGTERM, 5)
        assert len(done.history.losses) == 5
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)  # its own handler is back


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal of POSIX")
def test_a_closed_terminal_counts_once_though_two_signals_come() -> None:
    class Second(Callback):
        def on_interrupt(self, training: Training) -> None:
            signal.raise_signal(signal.SIGHUP)

    with as_interrupts(is_program=False):
        done = interrupted(signal.SIGHUP, 5, callbacks=[Second()])
        signal.raise_signal(signal.SIGHUP)
    assert len(done.history.losses) == 5
    with pytest.raises(KeyboardInterrupt):
        interrupted(signal.SIGHUP, 5, callbacks=[SecondIsCtrlC()])


class SecondIsCtrlC(Callback):
    """Presses Ctrl-C once training has been interrupted."""

    def on_interrupt(self, training: Training) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_one_is_taken_at_once(number: int) -> None:
    class Second(Callback):
        def on_interrupt(self, training: Training) -> None:
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        interrupted(number, 5, callbacks=[Second()])

    class Twice(Callback):
        def on_step_end(self, training: Training) -> None:
            signal.raise_signal(number)
            signal.raise_signal(number)
            raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        interrupted(number, callbacks=[Twice()])


def test_one_that_comes_at_the_very_end_is_not_lost() -> None:
    class Late(Callback):
        def on_train_end(self, training: Training) -> None:
            signal.raise_signal(signal.SIGINT)

    done = interrupted(signal.SIGINT, callbacks=[Late()])
    assert done.interrupted
    assert len(done.history.losses) == 15


def test_a_handler_of_ones_own_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        assert not interrupted(signal.SIGTERM, 3, 5).interrupted
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] * 2


def test_in_another_thread_nothing_changes() -> None:
    found: list[Any] = []

    def run() -> None:
        with deferred():
            found.append(signal.getsignal(signal.SIGINT))

    expected = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [expected]
