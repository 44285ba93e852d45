from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn, optim
from tinygrad_mnist.training import Callback, Fit, RunError, Training, fit, load_state
from tinygrad_mnist.training.checkpoints import checkpoint

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


class Listener(Callback):
    """Keeps the notices of files; does something after a step."""

    def __init__(self, step: int = 0, action: Any = None) -> None:
        self.notices: list[str] = []
        self.step, self.action = step, action

    def on_step_end(self, training: Training) -> None:
        if training.step == self.step:
            self.action()

    def on_notice(self, training: Training | None, sentence: str) -> None:
        if ".npz" in sentence:
            self.notices.append(sentence)


def trained(path: Path, *callbacks: Callback, **options: Any) -> Fit:
    """Train for eight steps."""
    model = nn.Linear(3, 1, rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    settings = {"epochs": 1, "batch_size": 5, "checkpoint": path, "checkpoint_every": "1 step", "lint": False}
    data = (X, X[:, :1])
    return fit(model, optimizer, data, loss=nn.MSELoss(), callbacks=callbacks, **{**settings, **options})


def step_of(path: Path) -> int:
    return int(load_state(path)["position"]["step"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.npz"


def failing() -> None:
    raise ZeroDivisionError


def test_what_another_training_has_written_stays_until_a_step_is_done(path: Path) -> None:
    trained(path)

    def loss(outputs: Any, targets: Any) -> Any:
        raise ZeroDivisionError

    model = nn.Linear(3, 1)
    with pytest.raises(ZeroDivisionError):
        fit(model, optim.SGD(model.parameters()), (X, X), loss=loss, epochs=1, checkpoint=path)
    assert step_of(path) == 8
    assert [file.name for file in path.parent.iterdir()] == ["last.npz"]


def test_then_it_is_kept_beside_and_that_is_told_once(path: Path) -> None:
    trained(path)
    before = path.read_bytes()
    steps: list[int] = []
    listener = Listener(3, lambda: steps.append(step_of(path)))
    trained(path, listener, checkpoint_every="1 hour")
    assert steps == [1]
    assert path.with_name("last.previous.npz").read_bytes() == before
    assert listener.notices == [f"{path} was there before: it is kept as last.previous.npz"]


def test_an_error_of_a_callback_costs_no_step_and_leaves_no_lock(path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        trained(path, Listener(3, failing), checkpoint_every="1 hour")
    assert step_of(path) == 3
    assert [file.name for file in path.parent.iterdir()] == ["last.npz"]


def test_the_file_that_training_goes_on_from_is_replaced(path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        trained(path, Listener(3, failing))
    trained(path, resume=path)
    assert step_of(path) == 8
    assert [file.name for file in path.parent.iterdir()] == ["last.npz"]


def test_two_trainings_do_not_write_the_same_file_at_once(path: Path) -> None:
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(RunError, match=r"another training is writing .*last\.npz.*; wait") as error:
            trained(path)
        refused.append(str(error.value))

    trained(path, Listener(3, second))
    assert len(refused) == 1
    trained(path, resume=path, epochs=2)
    assert step_of(path) == 16


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A disk that can be made full."""
    state = {"full": False}
    real = checkpoint._write

    def write(path: Any, *arguments: Any) -> None:
        if state["full"]:
            raise RunError(f"{path} cannot be written (No space left on device)")
        real(path, *arguments)

    monkeypatch.setattr(checkpoint, "_write", write)
    return state


def test_a_disk_that_gets_full_ends_no_training(path: Path, disk: dict[str, bool]) -> None:
    listener = Listener(3, lambda: disk.update(full=True))
    done = trained(path, listener, Listener(6, lambda: disk.update(full=False)))
    assert len(done.history.losses) == 8
    assert listener.notices == [
        f"{path} cannot be written (No space left on device); training goes on, and it is tried again",
        f"{path} is written again",
    ]
    assert step_of(path) == 8


def test_that_is_a_warning_where_no_callback_listens(path: Path, disk: dict[str, bool]) -> None:
    class Filling(Callback):
        def on_step_end(self, training: Training) -> None:
            disk["full"] = training.step == 3

    with pytest.warns(RuntimeWarning) as warnings:
        trained(path, Filling())
    assert [str(one.message).partition("npz ")[2][:10] for one in warnings] == ["cannot be ", "is written"]


def test_a_disk_that_takes_nothing_is_found_out_before_training(path: Path, disk: dict[str, bool]) -> None:
    disk["full"] = True
    with pytest.raises(RunError, match="No space left"):
        trained(path, Listener(1, pytest.fail))
    assert not list(path.parent.iterdir())


def test_a_directory_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(RunError, match="there is no directory"):
        trained(path.parent / "none" / "last.npz")
