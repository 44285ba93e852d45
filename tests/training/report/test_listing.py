"""Run directories as rows: their states, and what is broken."""

import json
import os
from pathlib import Path

import pytest

from tinygrad_mnist.files import Lock
from tinygrad_mnist.training import Outcome, RunError
from tinygrad_mnist.training.report.listing import list_runs


@pytest.fixture
def runs(outcome: Outcome, tmp_path: Path) -> Path:
    """A directory with a copy of a finished run in it, under the name ``done``."""
    done = tmp_path / "runs" / "done"
    done.mkdir(parents=True)
    for name in ("summary.json", "metrics.jsonl", "checkpoint.npz"):
        (done / name).write_bytes((outcome.directory / name).read_bytes())
    return done.parent


def another(runs: Path, name: str, **changes: object) -> Path:
    """Write another run, with a summary that differs."""
    directory = runs / name
    directory.mkdir()
    summary = json.loads((runs / "done" / "summary.json").read_text()) | changes
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory


def test_a_finished_run_has_all_in_its_row(runs: Path, outcome: Outcome) -> None:
    (row,) = list_runs(runs)
    summary = outcome.summary
    assert (row.name, row.state, row.recipe, row.data) == ("done", "finished", "digits", "patterns")
    assert (row.test_accuracy, row.epochs, row.seed) == (summary["test_accuracy"], 4.0, 3)
    assert row.changes["hidden"] == [8]
    assert row.to_dict()["seconds"] == summary["train_seconds"]
    assert row.processes == 1


def test_the_processes_that_trained_together_are_counted(runs: Path) -> None:
    several = {"ranks": 3, "hosts": {"a": 2, "b": 1}, "waiting_share": 0.07, "lost": []}
    assert list_runs(another(runs, "several", processes=several))[0].processes == 3
    assert list_runs(another(runs, "odd", processes={"ranks": "many"}))[0].processes == 1


def test_a_model_of_a_file_is_a_name_and_no_list_of_layers(runs: Path) -> None:
    model = {"path": "models/soft.py", "function": "softy", "sha256": "0" * 64}
    changes = {"model": "file", "layers": [], "norm": "none", "epochs": 3.0, "model_file": model}
    row = {row.name: row for row in list_runs(another(runs, "mine", changes=changes))}["mine"]
    assert (row.model, row.training_changes) == ("soft.py:softy", {"epochs": 3.0})
    assert row.changes == changes
    assert list_runs(runs / "done")[0].model is None


def test_a_run_itself_can_be_listed(runs: Path) -> None:
    assert [row.name for row in list_runs(runs / "done")] == ["done"]


def test_an_interrupted_run_says_so(runs: Path) -> None:
    another(runs, "stopped", interrupted=True)
    assert {row.name: row.state for row in list_runs(runs)} == {"done": "finished", "stopped": "interrupted"}


def test_a_run_without_a_summary_is_incomplete_and_known_by_its_checkpoint(runs: Path) -> None:
    (runs / "done" / "summary.json").unlink()
    (row,) = list_runs(runs)
    assert (row.state, row.recipe, row.test_accuracy, row.epochs) == ("incomplete", "digits", None, 4.0)
    assert row.validation_accuracy is not None


def test_a_run_whose_lock_is_held_is_running(runs: Path) -> None:
    lock = Lock(runs / "done" / ".training.lock")
    assert list_runs(runs)[0].state == "running"
    lock.release()
    assert list_runs(runs)[0].state == "finished"


def test_the_lock_of_a_killed_run_is_not_held(runs: Path) -> None:
    (runs / "done" / ".training.lock").write_text("process 1\n")
    assert list_runs(runs)[0].state == "finished"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"recipe": 3}', "\x00", "[" * 100_000])
def test_a_broken_run_is_a_row_with_the_fault(runs: Path, text: str) -> None:
    (another(runs, "bad") / "summary.json").write_text(text)
    rows = {row.name: row for row in list_runs(runs)}
    assert rows["bad"].state == "broken"
    assert rows["bad"].note
    assert rows["done"].state == "finished"


def test_a_broken_checkpoint_without_a_summary_is_a_row(runs: Path) -> None:
    directory = runs / "bad"
    directory.mkdir()
    (directory / "checkpoint.npz").write_bytes(b"PK\x03\x04" + bytes(100))
    assert {row.state for row in list_runs(runs)} == {"finished", "broken"}


def test_senseless_values_of_a_summary_are_left_out(runs: Path) -> None:
    directory = another(runs, "odd", test_accuracy="high", changes=3, seed=True, epochs=None, data=["x"])
    rows = {row.path: row for row in list_runs(runs)}
    row = rows[str(directory)]
    assert (row.test_accuracy, row.changes, row.epochs, row.data) == (None, {}, None, None)


def test_what_is_no_run_is_left_out(runs: Path) -> None:
    (runs / "notes").mkdir()
    (runs / "notes" / "a.txt").write_text("x")
    (runs / "b.txt").write_text("x")
    assert [row.name for row in list_runs(runs)] == ["done"]


def test_runs_are_sorted(runs: Path) -> None:
    for number, (name, accuracy) in enumerate([("a", 0.5), ("b", 0.99), ("c", 0.1)]):
        path = another(runs, name, test_accuracy=accuracy) / "summary.json"
        os.utime(path, (1000 - number, 1000 - number))
    os.remove(runs / "done" / "summary.json")
    assert [row.name for row in list_runs(runs)][:3] == ["c", "b", "a"]
    assert [row.name for row in list_runs(runs, "accuracy")] == ["done", "c", "a", "b"]
    assert [row.name for row in list_runs(runs, "name")] == ["a", "b", "c", "done"]
    with pytest.raises(ValueError, match="no order"):
        list_runs(runs, "size")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere cannot be read"):
        list_runs(tmp_path / "nowhere")


def test_listing_changes_nothing(runs: Path) -> None:
    def contents() -> dict[str, tuple[bytes, int]]:
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in runs.rglob("*.*")}

    before = contents()
    list_runs(runs)
    assert contents() == before
