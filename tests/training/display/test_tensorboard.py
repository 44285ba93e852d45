"""Event files: what TensorBoard would show of them, read back record by record."""

import struct
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn, optim, training
from tinygrad_mnist.cli import main
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Recipe, TensorBoard, train

pytest.importorskip("tensorboardX", reason="event files are written by tensorboardX")

X = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def events(folder: Path) -> list[Any]:
    """Return the events of all files of a folder, in the order of the files' names."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])  # then a check sum, the record, another check sum
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the curves as TensorBoard shows them: a session that starts makes it forget later steps."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for event in events(folder):
        if event.HasField("session_log"):
            for points in curves.values():
                points[:] = [point for point in points if point[0] < event.step]
        for value in event.summary.value:
            if value.HasField("simple_value"):
                curves[value.tag].append((event.step, value.simple_value))
    return dict(curves)


def single(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return points as event files have them, in single precision."""
    return [(step, float(np.float32(value))) for step, value in points]


class Ending(training.Callback):
    """A callback that ends a training after a step: by default as Ctrl-C does."""

    def __init__(self, step: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.step, self.error = step, error

    def on_step_end(self, running: training.Training) -> None:
        if running.step == self.step:
            raise self.error


def fit(*callbacks: training.Callback, **settings: Any) -> training.Fit:
    model = nn.Linear(2, 2, rng=0)
    return training.fit(
        model, optim.SGD(model.parameters(), lr=0.1), (X, Y), loss=nn.CrossEntropyLoss(), validation=(X, Y),
        batch_size=16, epochs=3, callbacks=callbacks, lint=False, **settings,
    )  # fmt: skip


def test_the_curves_are_those_of_the_history(tmp_path: Path) -> None:
    history = fit(TensorBoard(tmp_path)).history
    curves = shown(tmp_path)
    steps = range(1, 13)
    assert curves["loss/training"] == single([*zip(steps, history.losses, strict=True)])
    assert curves["learning_rate"] == single([*zip(steps, history.rates, strict=True)])
    for tag, name in (("loss/validation", "validation_loss"), ("accuracy/validation", "validation_accuracy")):
        assert curves[tag] == single([(each.step, getattr(each, name)) for each in history.records])
    for name in ("weight", "bias"):
        norms = [(each.step, each.norms[name]) for each in history.gradients]
        assert curves[f"gradient_norm/{name}"] == single(norms)


def test_histograms_and_the_text_are_written(tmp_path: Path) -> None:
    fit(TensorBoard(tmp_path, text="lr = 0.1\n# a comment"))
    values = [(event.step, value) for event in events(tmp_path) for value in event.summary.value]
    drawn = [(step, value.tag) for step, value in values if value.HasField("histo")]
    assert drawn == [(step, f"parameter/{name}") for step in (4, 8, 12) for name in ("weight", "bias")]
    (text,) = [value.tensor.string_val[0] for _, value in values if value.tag.startswith("recipe")]
    assert text == b"    lr = 0.1\n    # a comment"


def test_many_steps_are_means_over_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_mnist.training.display.tensorboard.POINTS", 4)
    losses = fit(TensorBoard(tmp_path, histograms=False)).history.losses
    means = [(step, sum(losses[step - 3 : step]) / 3) for step in (3, 6, 9, 12)]
    assert shown(tmp_path)["loss/training"] == single(means)


@pytest.mark.parametrize("points", [1000, 4])
def test_a_training_that_goes_on_has_the_points_of_one_that_was_not_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: int
) -> None:
    """It goes on from the checkpoint of step 5, though steps up to 7 were written."""
    monkeypatch.setattr("tinygrad_mnist.training.display.tensorboard.POINTS", points)
    fit(TensorBoard(tmp_path / "whole"))
    state = tmp_path / "state.npz"
    fit(TensorBoard(tmp_path / "parts"), Ending(5), checkpoint=state)
    saved = state.read_bytes()
    fit(TensorBoard(tmp_path / "parts"), Ending(7), resume=state, checkpoint=state)
    state.write_bytes(saved)
    fit(TensorBoard(tmp_path / "parts"), resume=state)
    assert len(list((tmp_path / "parts").iterdir())) == 3
    assert shown(tmp_path / "parts") == shown(tmp_path / "whole")


def test_an_evaluation_that_is_done_again_is_shown_once(tmp_path: Path) -> None:
    """The checkpoint of step 4 is written before the evaluation, and that of step 8 never."""
    fit(TensorBoard(tmp_path / "whole"))
    state = tmp_path / "state.npz"
    with pytest.raises(OSError):  # noqa: PT011  (any error ends the process before it saves once more)
        fit(TensorBoard(tmp_path / "parts"), Ending(6, OSError), checkpoint=state, checkpoint_every="4 steps")
    fit(TensorBoard(tmp_path / "parts"), resume=state)
    assert shown(tmp_path / "parts") == shown(tmp_path / "whole")


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_mnist\[tensorboard\]"'):
        TensorBoard(tmp_path)


def test_the_command_says_so_before_it_loads_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert main(["train", "--data", "digits", "--tensorboard", "--out", "run"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "tinygrad_mnist[tensorboard]" in err
    assert not Path("run").exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_run_has_one_folder_of_its_own_files(small: Recipe, patterns: Dataset) -> None:
    folder = Path("run/tensorboard")
    for _ in range(2):
        train(small, patterns, out="run", tensorboard=True)
        assert len(list(folder.iterdir())) == 1
    assert shown(folder)["loss/training"]
    train(small, patterns, out="run")
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_learned_nothing_leaves_the_earlier_one(small: Recipe, patterns: Dataset) -> None:
    with pytest.raises(training.DivergedError):
        train(small.changed(optimizer="sgd", lr=1e30), patterns, out="new", tensorboard=True)
    assert not Path("new").exists()
    train(small, patterns, out="run", tensorboard=True)
    before = sorted(Path("run").rglob("*"))
    with pytest.raises(training.DivergedError):
        train(small.changed(optimizer="sgd", lr=1e30), patterns, out="run", tensorboard=True)
    assert sorted(Path("run").rglob("*")) == before


def test_somebodys_folder_of_that_name_is_not_taken_for_a_run(small: Recipe, patterns: Dataset) -> None:
    for file in ("tensorboard/events.out.tfevents.1.mine", "run/tensorboard/notes.txt"):
        path = Path("somewhere", file)
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        with pytest.raises(training.RunError, match="holds other things"):
            train(small, patterns, out=path.parents[1], tensorboard=True)
