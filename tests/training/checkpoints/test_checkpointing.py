import numpy as np
import pytest

from tinygrad_mnist import nn, optim
from tinygrad_mnist.training import Callback, Training, TrainingError, fit
from tinygrad_mnist.training.checkpoints import checkpointing
from tinygrad_mnist.training.checkpoints.checkpointing import Checkpointing, interval

X = np.ones((20, 2), np.float32)


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        ("500 steps", 500, None),
        ("1 step", 1, None),
        (" 2 minutes ", None, 120.0),
        ("0.5 seconds", None, 0.5),
        ("1 hour", None, 3600.0),
    ],
)
def test_steps_and_times_are_read(text: str, steps: int | None, seconds: float | None) -> None:
    assert interval(text) == (steps, seconds)


@pytest.mark.parametrize("text", ["", "500", "0 steps", "-1 seconds", "2.5 steps", "2 fortnights", "steps"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(TrainingError, match="every '500 steps', '30 seconds', '2 minutes' or the like"):
        interval(text)


def saved(every: str, *others: Callback) -> list[int]:
    """Return the steps after which a training of ten steps is saved."""
    steps: list[int] = []
    model = nn.Linear(2, 1)
    told = Checkpointing(lambda training: steps.append(training.step), every)
    optimizer = optim.SGD(model.parameters())
    fit(
        model,
        optimizer,
        (X, X[:, :1]),
        loss=nn.MSELoss(),
        epochs=1,
        batch_size=2,
        callbacks=[*others, told],
    )
    return steps


def test_a_state_is_saved_at_the_beginning_every_few_steps_and_at_the_end() -> None:
    assert saved("4 steps") == [0, 4, 8, 10]


def test_a_state_is_saved_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(Callback):
        now = 0.0

        def on_step_end(self, training: Training) -> None:
            self.now += 10

    clock = Clock()
    monkeypatch.setattr(checkpointing, "monotonic", lambda: clock.now)
    assert saved("30 seconds", clock) == [0, 3, 6, 9, 10]


def test_an_interrupt_saves_and_the_end_of_it_does_not_again() -> None:
    class Impatient(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.step == 5:
                raise KeyboardInterrupt

    assert saved("4 steps", Impatient()) == [0, 4, 5]


class Fails(Callback):
    """Raises an error after a step."""

    def on_step_end(self, training: Training) -> None:
        if training.step == 5:
            raise RuntimeError("mine")


def test_an_error_of_a_callback_costs_no_step() -> None:
    steps: list[int] = []
    told = Checkpointing(lambda training: steps.append(training.step))
    model = nn.Linear(2, 1)
    with pytest.raises(RuntimeError, match="mine"):
        fit(
            model,
            optim.SGD(model.parameters()),
            (X, X[:, :1]),
            loss=nn.MSELoss(),
            epochs=1,
            batch_size=2,
            callbacks=[Fails(), told],
        )
    assert steps == [0, 5]
