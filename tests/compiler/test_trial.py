"""A trial of a call: afterwards everything is as it was."""

import copy
from typing import Any

import numpy as np
import pytest

from tests.compiler.test_resume import RETURNED, fingerprint, stepper
from tinygrad_mnist import Tensor, jit, nn, optim
from tinygrad_mnist.compiler.outside import call_outside
from tinygrad_mnist.compiler.trial import trial


def compiled_step() -> tuple[Any, Any, Any]:
    """Return the step of `stepper`, which has a program, its state, and the trace."""
    step, state = stepper(RETURNED["an array"])
    f = jit(step)
    for _ in range(3):
        f(np.ones((9, 9)))
    ((replay,),) = f._replays.values()
    return step, state, replay.traced


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_afterwards_everything_is_as_it_was(error: type[BaseException] | None) -> None:
    step, state, traced = compiled_step()
    x = np.ones((9, 9))
    before = fingerprint(state())
    try:
        with trial(traced, [x]):
            step(x)
            assert fingerprint(state()) != before
            if error is not None:
                raise error
    except KeyboardInterrupt:
        pass
    assert fingerprint(state()) == before


def test_what_a_call_did_before_its_error_stays_as_in_eager() -> None:
    found = []
    for decorate in (jit, lambda f: f):
        model = nn.Linear(3, 2, rng=0)
        loss_of = nn.CrossEntropyLoss()

        def step(x: Any, y: Any, model: Any = model, loss_of: Any = loss_of) -> Any:
            model.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            return loss.data

        f = decorate(step)
        model.weight.grad = np.ones((2, 3), np.float32)  # type: ignore[assignment]
        with pytest.raises(IndexError, match="label 7") as caught:
            f(np.ones((2, 3), np.float32), np.array([0, 7]))
        found.append((str(caught.value), model.weight.grad is None))
    assert found[0] == found[1]


def test_arguments_that_are_written_to_are_put_back() -> None:
    def running(total: Any, x: Any) -> Any:
        np.copyto(total, total + x)
        return np.sum(total)

    f, total, expected = jit(running), np.zeros(3), np.zeros(3)
    for _ in range(3):
        assert f(total, np.ones(3)) == running(expected, np.ones(3))
        np.testing.assert_array_equal(total, expected)


def test_gradients_of_arguments_are_put_back() -> None:
    def slope(x: Any) -> Any:
        loss = np.sum(x**2)
        loss.backward()
        return loss.data

    f, x = jit(slope), Tensor([1.0, 2.0], requires_grad=True)
    for number in range(1, 4):
        assert f(x) == 5.0
        np.testing.assert_array_equal(x.grad, 2.0 * number * x.data)


def test_a_call_that_tells_others_is_not_tried() -> None:
    seen: list[float] = []
    model = nn.Linear(2, 2, rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def note(array: Any) -> Any:
        seen.append(float(array.sum()))
        return array

    @jit
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = np.sum(model(x) ** 2)
        loss.backward()
        optimizer.step()
        return call_outside(note, loss).data

    returned = [float(step(np.ones((1, 2), np.float32))) for _ in range(4)]
    assert seen == returned


def test_schedules_of_a_user_are_put_back_with_all_that_they_count() -> None:
    class Counting(optim.LRScheduler):
        def __init__(self, optimizer: optim.Optimizer) -> None:
            self.seen: list[int] = []
            self.held = {"count": 0}
            super().__init__(optimizer)

        def rate(self, base_lr: float, epoch: int) -> float:
            return base_lr / (1 + epoch)

        def _set_epoch(self, epoch: int) -> None:
            self.seen.append(epoch)
            self.held["count"] += 1
            self.held[f"at {epoch}"] = epoch
            super()._set_epoch(epoch)

    def states(decorate: Any) -> Any:
        model = nn.Linear(2, 2, rng=0)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schedule = Counting(optimizer)

        @decorate
        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = np.sum(model(x) ** 2)
            loss.backward()
            optimizer.step()
            schedule.step()
            return loss.data

        found = []
        for _ in range(4):
            step(np.ones((1, 2), np.float32))
            found.append(copy.deepcopy((schedule.seen, schedule.held, schedule.last_epoch)))
        return found

    assert states(jit) == states(lambda f: f)
