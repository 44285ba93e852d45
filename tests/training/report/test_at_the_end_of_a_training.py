"""The report that a training writes at its end: written, left out, interrupted, or impossible."""

from pathlib import Path

import pytest

from tinygrad_mnist.data import Dataset
from tinygrad_mnist.files import replacing
from tinygrad_mnist.training import Callback, Recipe, RunError, train
from tinygrad_mnist.training.report import pictures, write
from tinygrad_mnist.training.report.pictures import DRAWINGS
from tinygrad_mnist.training.report.trained_run import data_hashes
from tinygrad_mnist.training.runs import run as run_module
from tinygrad_mnist.training.runs.directory import PICTURE_NAMES


@pytest.fixture(autouse=True)
def report(no_pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one picture; others take time."""
    monkeypatch.setattr(run_module, "write_report", write.write_report)
    monkeypatch.setattr(pictures, "DRAWINGS", {"weights": DRAWINGS["weights"]})


class Heard(Callback):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def on_notice(self, training: object, sentence: str) -> None:
        self.notices.append(sentence)


def test_the_folder_of_pictures_knows_their_names() -> None:
    assert set(DRAWINGS) == set(PICTURE_NAMES)


def test_the_report_is_there_and_so_is_what_it_says(small: Recipe, patterns: Dataset) -> None:
    outcome = train(small, patterns, out="run", seed=2)
    assert outcome.report == Path("run", "report.html")
    text = outcome.report.read_text("utf-8")
    assert "--seed 2" in text
    assert (outcome.summary["data_sha256"], outcome.missing) == (data_hashes(patterns), ())
    assert outcome.summary["data_sha256"]["test"] in text


def test_a_report_can_be_left_out(small: Recipe, patterns: Dataset) -> None:
    outcome = train(small, patterns, out="run", report=False)
    assert outcome.report is None
    assert not Path("run", "report.html").exists()
    assert not Path("run", "pictures").exists()


def test_the_next_run_replaces_report_and_pictures(small: Recipe, patterns: Dataset) -> None:
    train(small, patterns, out="run")
    assert Path("run", "pictures", "weights.svg").exists()
    train(small, patterns, out="run", report=False)
    assert not Path("run", "report.html").exists()
    assert not Path("run", "pictures").exists()


def test_a_picture_that_a_killed_run_was_writing_is_removed(small: Recipe, patterns: Dataset) -> None:
    train(small, patterns, out="run")
    with replacing(Path("run", "pictures", "weights.png")) as unfinished:
        left = unfinished
    left.write_text("half")
    train(small, patterns, out="run", report=False)
    assert not Path("run", "pictures").exists()


@pytest.mark.parametrize("name", ["cat.png", "weights.jpg", "weights.png.txt"])
def test_a_folder_of_somebodys_pictures_is_not_touched(small: Recipe, patterns: Dataset, name: str) -> None:
    train(small, patterns, out="run")
    Path("run", "pictures", name).write_text("mine")
    with pytest.raises(RunError, match=r"holds other things than an earlier run .pictures"):
        train(small, patterns, out="run")
    assert Path("run", "pictures", name).read_text() == "mine"


def test_ctrl_c_while_drawing_costs_the_report_alone(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run: object, examples: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "DRAWINGS", {"weights": interrupted})
    heard = Heard()
    outcome = train(small, patterns, out="run", callbacks=[heard])
    assert outcome.interrupted
    assert outcome.report is None
    assert Path("run", "report.html") in outcome.missing
    assert "report.html" in heard.notices[-1]
    assert Path("run", "summary.json").exists()
    assert Path("run", "checkpoint.npz").exists()


def test_a_report_that_cannot_be_written_is_missing_and_said(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "write", full)
    heard = Heard()
    outcome = train(small, patterns, out="run", callbacks=[heard])
    assert outcome.missing == (Path("run", "report.html"),)
    assert heard.notices[-1].endswith("report.html cannot be written (No space left on device)")
