"""What is read of a run directory, whatever is missing or damaged in it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import CheckpointError, Outcome, save_state
from tinygrad_mnist.training.loop.history import History
from tinygrad_mnist.training.report import trained_run
from tinygrad_mnist.training.report.trained_run import data_hashes, read_run


@pytest.fixture
def directory(
    outcome: Outcome, history: History, patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of a run whose data is at hand."""
    path = tmp_path / "run"
    shutil.copytree(outcome.directory, path)
    save_state(path / "last.npz", {"history": history.to_dict()})
    monkeypatch.setattr(trained_run, "load_data", lambda asked, notify: (patterns, asked))
    return path


def test_a_whole_run_has_everything(directory: Path, history: History, outcome: Outcome) -> None:
    run = read_run(directory)
    assert run.missing == ()
    assert run.history == history
    assert run.right is not None
    assert run.right.mean() == outcome.summary["test_accuracy"]
    assert run.name == "run"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("summary.json", "There is no summary.json"),
        ("last.npz", "There is no last.npz"),
    ],
)
def test_what_is_missing_is_said(directory: Path, name: str, sentence: str) -> None:
    (directory / name).unlink()
    (said,) = read_run(directory).missing
    assert sentence in said


def test_without_the_last_state_the_evaluations_are_those_of_the_metrics(directory: Path) -> None:
    (directory / "last.npz").unlink()
    history = read_run(directory).history
    assert len(history.records) == 4
    assert history.losses == history.rates == history.gradients == []
    (directory / "metrics.jsonl").unlink()
    assert len(read_run(directory).missing) == 2


@pytest.mark.parametrize("name", ["summary.json", "last.npz"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\x00", b"PK\x03\x04" + bytes(90)])
def test_what_is_damaged_is_said(directory: Path, name: str, content: bytes) -> None:
    (directory / name).write_bytes(content)
    run = read_run(directory)
    assert len(run.missing) == 1
    assert name in run.missing[0]


def test_a_damaged_line_of_the_metrics_ends_them(directory: Path) -> None:
    (directory / "last.npz").unlink()
    metrics = directory / "metrics.jsonl"
    metrics.write_text("\n".join([*metrics.read_text().splitlines()[:2], '{"step": 3']))
    run = read_run(directory)
    assert len(run.history.records) == 2
    assert "beyond line 2" in run.missing[-1]


def test_data_that_does_not_fit_the_model_is_said(
    directory: Path, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(patterns, class_names=("a", "b", "c", "d"))
    monkeypatch.setattr(trained_run, "load_data", lambda asked, notify: (other, asked))
    run = read_run(directory)
    assert run.dataset is None
    assert "other classes or sizes" in run.missing[0]


def test_data_that_has_changed_is_said(directory: Path, patterns: Dataset) -> None:
    summary = json.loads((directory / "summary.json").read_text())
    summary["data_sha256"] = {**data_hashes(patterns), "test": "0" * 64}
    (directory / "summary.json").write_text(json.dumps(summary))
    assert "SHA-256 differs" in read_run(directory).missing[0]


def test_data_that_is_gone_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    run = read_run(directory)
    assert (run.dataset, run.predicted, run.right, run.hashes) == (None, None, None, {})
    assert "not at hand" in run.missing[0]


def test_hashes_depend_on_pixels_labels_and_names_alone(patterns: Dataset) -> None:
    def changed(**values: object) -> dict[str, str]:
        return data_hashes(replace(patterns, **values))  # type: ignore[arg-type]

    own = data_hashes(patterns)
    assert changed(name="x", test_labels=patterns.test_labels.astype(np.uint8)) == own
    labels = patterns.test_labels.copy()
    labels[0] = (labels[0] + 1) % 4
    assert changed(test_labels=labels)["train"] == own["train"]
    assert changed(test_labels=labels)["test"] != own["test"]
    assert changed(test_images=255 - patterns.test_images)["test"] != own["test"]
    assert changed(class_names=("a", "b", "c", "d"))["train"] != own["train"]


def test_a_file_is_no_run(directory: Path) -> None:
    with pytest.raises(CheckpointError, match="no run directory"):
        read_run(directory / "checkpoint.npz")
    with pytest.raises(CheckpointError, match="does not exist"):
        read_run(directory / "nowhere")
