import sys
from pathlib import Path

import pytest

from tinygrad_mnist import plots
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Callback, History, Outcome, Recipe, Record, Training, train
from tinygrad_mnist.training.runs.pictures import POINTS, loss_curve


def drawn(outcome: Outcome) -> list[Path]:
    """The pictures of data and training; those of the graph need something that lays them out."""
    return [path for path in outcome.pictures if path.suffix == ".png"]


class Notices(Callback):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def on_notice(self, training: Training | None, sentence: str) -> None:
        self.notices.append(sentence)


def test_the_pictures_are_pictures(outcome: Outcome) -> None:
    assert [path.name for path in drawn(outcome)] == ["predictions.png", "training.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn(outcome))


def test_without_matplotlib_there_are_no_pictures_and_that_is_said(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    told = Notices()
    outcome = train(small, patterns, out="run", callbacks=[told])
    assert drawn(outcome) == []
    (notice,) = [notice for notice in told.notices if "no pictures were drawn" in notice]
    assert "tinygrad_mnist[plot]" in notice
    assert outcome.missing == ()
    assert list(Path("run").glob("*.png")) == []


def test_without_a_layout_there_is_no_graph_and_that_is_said(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    told = Notices()
    train(small, patterns, out="run", callbacks=[told])
    (notice,) = [notice for notice in told.notices if "no graph was drawn" in notice]
    assert "tinygrad_mnist[graph]" in notice
    assert list(Path("run").glob("graph*")) == []


def test_a_picture_that_cannot_be_written_costs_nothing_else(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "plot_training", full)
    told = Notices()
    outcome = train(small, patterns, out="run", callbacks=[told])
    assert [path.name for path in drawn(outcome)] == ["predictions.png"]
    assert outcome.missing == (Path("run/training.png"),)
    assert any("training.png cannot be written (No space left on device)" in it for it in told.notices)
    assert Path("run/summary.json").exists()


def test_full_batches_are_counted_in_iterations(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []
    monkeypatch.setattr(plots, "plot_predictions", lambda *_, **__: None)
    monkeypatch.setattr(plots, "save", lambda *_: None)
    monkeypatch.setattr(plots, "plot_training", lambda *_, time, **__: times.append(time))
    for batch_size in (16, None):
        train(small.changed(batch_size=batch_size), patterns)
    assert times == [None, "iterations"]


def test_a_model_without_mistakes_has_a_picture_too(small: Recipe, patterns: Dataset) -> None:
    outcome = train(small.changed(epochs=12), patterns, out="run")
    assert outcome.summary["test_accuracy"] == 1
    assert len(drawn(outcome)) == 2


def test_the_curve_of_the_loss_is_denser_than_the_evaluations() -> None:
    records = [Record(step, step / 100, 0.0, 0.1, 0.0, 0.5, 0.4, 0.6) for step in (500, 1000)]
    history = History(100, losses=[1.0 + k / 1000 for k in range(1000)], records=records)
    rows = loss_curve(history)
    epochs = [row["epoch"] for row in rows]
    assert POINTS <= len(rows) <= POINTS + 2
    assert epochs == sorted(set(epochs))
    assert sum("validation_loss" in row for row in rows) == 2
    assert rows[0]["train_loss"] < rows[-1]["train_loss"]
