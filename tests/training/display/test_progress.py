"""What is shown of a training while it runs, and how often."""

import io
import re
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.training.screen import Screen, screen_of
from tinygrad_mnist import nn, optim, training
from tinygrad_mnist.training.display import progress
from tinygrad_mnist.training.display.progress import (
    Meter,
    Progress,
    Status,
    evaluation_line,
    position,
    signs_for,
)
from tinygrad_mnist.training.loop.history import History, Record

BAR = ("━", "─")


def record(step: int = 30, accuracy: float | None = 0.97, **metrics: Any) -> Record:
    return Record(
        step=step,
        epoch=step / 10,
        seconds=1.25,
        lr=0.1,
        train_loss=0.5,
        train_accuracy=accuracy and accuracy + 0.01,
        validation_loss=0.25,
        validation_accuracy=accuracy,
        metrics=metrics,
    )


def status(**changes: Any) -> Status:
    values = {
        "step": 35, "steps": 80, "steps_per_epoch": 10, "loss": 0.0712, "record": record(),
        "speed": "52,100 images/s", "seconds_left": 64.0,
    }  # fmt: skip
    return Status(**{**values, **changes})


def texts(found: Status, width: int) -> list[str]:
    return ["".join(text for text, _ in row) for row in found.rows(width, BAR)]


# ---- what stands there -----------------------------------------------------------------------------------


def test_a_wide_row_has_everything() -> None:
    assert texts(status(), 200) == [
        f"{'━' * 18}{'─' * 22}  epoch 4/8, batch  5/10  1 min 4 s left ",
        "loss 0.0712  accuracy: training 98.00 %, validation 97.00 %  52,100 images/s",
    ]


def test_a_narrow_row_has_what_matters_most() -> None:
    assert texts(status(), 39) == [
        f"{'━' * 5}{'─' * 6}  epoch 4/8  1 min 4 s left ",
        "loss 0.0712  validation 97.00 %",
    ]


@pytest.mark.parametrize("step", [0, 1, 35, 80])
def test_no_row_is_longer_than_the_window(step: int) -> None:
    for found in (status(step=step), status(step=step, loss=None, record=None, speed="", seconds_left=None)):
        for width in range(1, 201):
            assert all(len(text) <= width for text in texts(found, width))


def test_the_bar_does_not_change_its_length_with_the_text_beside_it() -> None:
    rows = [
        texts(status(step=step, seconds_left=left), 80)[0] for step, left in ((0, None), (9, 300), (80, 0))
    ]
    assert len({row.count("━") + row.count("─") for row in rows}) == 1


def test_epochs_and_batches_are_counted_from_one() -> None:
    found = [
        re.search(r"epoch (\d+)/8, batch +(\d+)/10", texts(status(step=step), 80)[0]) for step in range(81)
    ]
    counted = [(int(each[1]), int(each[2])) for each in found if each]
    assert counted == [(1, 0)] + [(epoch, batch) for epoch in range(1, 9) for batch in range(1, 11)]


def test_full_batches_are_iterations() -> None:
    assert "iteration 35/80" in texts(status(steps_per_epoch=1), 80)[0]


def test_without_classes_the_loss_is_shown() -> None:
    assert (
        texts(status(record=record(accuracy=None)), 79)[1]
        == "loss 0.0712  validation loss 0.2500  52,100 images/s"
    )
    line = evaluation_line(SimpleNamespace(steps=80, steps_per_epoch=10), record(accuracy=None), True)
    assert line == "epoch 3.0/8  loss 0.5000  validation loss 0.2500 *    1.2 s"


def test_metrics_that_are_numbers_stand_in_the_line_and_shares_in_percent() -> None:
    shown = record(confusion=[[1, 0], [0, 1]], **{"top-5": 0.999, "margin": 0.25})
    line = evaluation_line(SimpleNamespace(steps=80, steps_per_epoch=10), shown, False)
    assert re.search(r"validation +97.00 %  top-5 99.90 %  margin 0.25 +1.2 s$", line)


@pytest.mark.parametrize("width", [24, 40, 60])
def test_a_line_that_is_too_long_for_a_terminal_is_broken_between_its_parts(width: int) -> None:
    running = SimpleNamespace(steps=80, steps_per_epoch=10)
    whole = evaluation_line(running, record(**{"top-5": 0.999}), True)
    assert evaluation_line(running, record(**{"top-5": 0.999}), True, len(whole)) == whole
    lines = evaluation_line(running, record(**{"top-5": 0.999}), True, width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.startswith("    ") for line in lines[1:])
    words = [
        "epoch 3.0/8",
        "loss 0.5000",
        "training 98.00 %",
        "validation 97.00 %",
        "top-5 99.90 %",
        "1.2 s *",
    ]
    assert [part.strip() for line in lines for part in line.strip().split("  ")] == words
    without = evaluation_line(running, record(accuracy=None), False, 20).splitlines()
    assert without == ["epoch 3.0/8", "    loss 0.5000", "    validation loss 0.2500", "    1.2 s"]


@pytest.mark.parametrize(
    ("steps", "of_an_epoch", "shown"),
    [
        (19, 938, ["0.0011/0.0203", "0.0107/0.0203", "0.0203/0.0203"]),
        (30, 100, ["0.010/0.3", "0.150/0.3", "0.300/0.3"]),
        (150, 100, ["0.0/1.5", "0.8/1.5", "1.5/1.5"]),
        (1200, 100, [" 0.0/12", " 6.0/12", "12.0/12"]),
        (425, 100, ["0.0/4.25", "2.1/4.25", "4.2/4.25"]),
    ],
)
def test_the_place_of_a_short_training_has_as_many_digits_as_it_needs(
    steps: int, of_an_epoch: int, shown: list[str]
) -> None:
    found = [position(step, steps, of_an_epoch) for step in (1, (steps + 1) // 2, steps)]
    assert found == [f"epoch {place}" for place in shown]


def test_signs_that_cannot_be_written_are_not_used() -> None:
    assert signs_for("cp1252") == ("#", "-")
    assert signs_for("utf-8") == BAR


# ---- how often, and how fast -----------------------------------------------------------------------------


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "perf_counter", clock)
    return clock


class Running(SimpleNamespace):
    """A training of 10 samples a step, whose steps take as long as one says."""

    def __init__(self, clock: Clock, callback: Progress, begun: int = 0, steps: int = 5000) -> None:
        optimizer = optim.SGD(nn.Linear(2, 2, rng=0).parameters(), lr=0.1)
        super().__init__(
            clock=clock, callback=callback, step=begun, steps=steps, steps_per_epoch=500, samples=10 * begun,
            seconds=7.0 * begun, history=History(500, losses=[9.0] * begun), model=nn.Linear(2, 2, rng=0),
            optimizer=optimizer, schedule=None,
        )  # fmt: skip
        callback.on_train_begin(self)  # type: ignore[arg-type]

    def run(self, steps: int, seconds: float) -> None:
        for _ in range(steps):
            self.clock.now += seconds
            self.step, self.samples = self.step + 1, self.samples + 10
            self.history.losses.append(1.0)
            self.callback.on_step_end(self)  # type: ignore[arg-type]
            self.seconds += seconds

    def evaluate(self, seconds: float) -> None:
        self.clock.now += seconds
        self.callback.on_evaluate(self, record(self.step), True)  # type: ignore[arg-type]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    return Screen()


def test_there_are_at_most_ten_updates_a_second(screen: Screen, clock: Clock) -> None:
    running = Running(clock, Progress(screen))
    before = len(screen.writes)
    running.run(3000, 0.001)
    assert 3 * 4 <= len(screen.writes) - before <= 3 * 10


def test_below_the_line_of_an_evaluation_stand_its_numbers(screen: Screen, clock: Clock) -> None:
    running = Running(clock, Progress(screen))
    running.run(300, 0.1)
    running.evaluate(1.0)
    assert screen_of(screen.getvalue(), 200)[-1].startswith("loss 1.0000  accuracy: training 98.00 %, valid")


def test_the_speed_is_that_of_this_process_and_has_no_evaluations(screen: Screen, clock: Clock) -> None:
    """What was done before an interruption took 7 seconds a step, and the first step, which compiles, 5."""
    running = Running(clock, Progress(screen), begun=1000)
    assert "5,000 steps, of which 1,000 are done" in screen.getvalue()
    running.run(1, 5.0)
    for _ in range(3):
        running.run(500, 0.002)
        running.evaluate(60.0)
    running.run(1, 0.002)
    assert "5,000 samples/s" in screen_of(screen.getvalue())[-1]
    assert re.search(r"epoch 6/10, batch   2/500  5 s left", screen_of(screen.getvalue())[-2])


def test_a_speed_that_changes_is_followed_but_not_at_once() -> None:
    meter = Meter(0, 0.0)
    speeds = []
    running = SimpleNamespace(step=0, samples=0, steps=1000, seconds=0.0)
    for took in [0.1] * 100 + [0.2] * 200:
        running.step, running.samples = running.step + 1, running.samples + 10
        meter.is_due(running)  # type: ignore[arg-type]
        running.seconds += took
        speeds.append(meter.samples_per_second(running))  # type: ignore[arg-type]
    assert speeds[:2] == [None, None]
    assert speeds[3:101] == pytest.approx([100.0] * 98)
    assert 95 < speeds[103] < 100  # type: ignore[operator]
    assert speeds[-1] == pytest.approx(50, rel=0.03)


def test_in_a_file_a_long_gap_has_lines_and_evaluations_have_no_others(clock: Clock) -> None:
    stream = io.StringIO()
    running = Running(clock, Progress(stream))
    running.run(20, 1.0)
    running.evaluate(5.0)
    running.run(29, 1.0)
    running.evaluate(1.0)
    running.run(65, 1.0)
    lines = stream.getvalue().splitlines()[2:]
    assert [line.split("/")[0].split()[-1] for line in lines] == ["0.0", "0.1", "0.2", "0.2"]
    assert ["accuracy" in line for line in lines] == [True, True, False, False]
    assert lines[-1].endswith("loss 1.0000  10 samples/s  1 h 21 min left")
    assert re.search(r"[^\x20-\x7e\n]", stream.getvalue()) is None


# ---- a training ------------------------------------------------------------------------------------------

X = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]


def fit(*callbacks: training.Callback, lr: float = 0.1, **settings: Any) -> None:
    model = nn.Linear(1, 1, rng=0)
    training.fit(
        model, optim.SGD(model.parameters(), lr=lr), (X, 2 * X), loss=nn.MSELoss(), validation=(X, 2 * X),
        batch_size=16, callbacks=callbacks, lint=False, **{"epochs": 3, **settings},
    )  # fmt: skip


def test_a_terminal_has_the_lines_of_a_file_in_the_end(screen: Screen) -> None:
    def untimed(lines: list[str]) -> list[str]:
        return [re.sub("( [0-9.]+ s)?$", "", line) for line in lines]

    stream = io.StringIO()
    fit(Progress(stream))
    fit(Progress(screen))
    shown = screen_of(screen.getvalue(), 200)
    assert untimed(shown) == untimed(stream.getvalue().splitlines())
    assert sum(line.startswith("epoch") for line in shown) == 3


def test_one_callback_shows_several_trainings_where_the_output_goes_then() -> None:
    shown = []
    callback = Progress()
    for _ in range(2):
        with redirect_stdout(io.StringIO()) as stream:
            fit(callback)
        shown.append(len(stream.getvalue().splitlines()))
    assert shown == [6, 6]


class Failing(training.Callback):
    """A callback that raises something in the sixth step."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_step_end(self, running: training.Training) -> None:
        if running.step == 6:
            raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=lambda error: type(error).__name__)
def test_nothing_is_left_over_when_a_training_fails(screen: Screen, error: BaseException) -> None:
    with redirect_stdout(screen):
        with pytest.raises(type(error)):
            fit(Progress(), Failing(error))
        assert sys.stdout is screen
    assert screen_of(screen.getvalue())[-1].startswith("epoch 1.0/3")
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h")


def test_an_interrupt_is_said_and_leaves_nothing_over(screen: Screen) -> None:
    with redirect_stdout(screen):
        fit(Progress(), Failing(KeyboardInterrupt()))
        assert sys.stdout is screen
    shown = screen_of(screen.getvalue())
    assert sum(line.startswith("interrupted: ") for line in shown) == 1
    assert shown[-1].startswith(("interrupted: ", "epoch"))
