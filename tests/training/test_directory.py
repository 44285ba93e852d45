import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.training import RunError
from tinygrad_mnist.training.directory import FILES, RunDirectory


def test_the_default_is_named_after_recipe_and_time() -> None:
    made = RunDirectory(None, "default")
    assert re.fullmatch(r"runs.default-\d{8}-\d{6}", str(made.path))
    assert made.path.is_dir()


def test_two_runs_in_one_second_have_two_directories() -> None:
    paths = {RunDirectory(None, "default").path for _ in range(3)}
    assert len(paths) == 3


def test_parents_are_made() -> None:
    assert RunDirectory("a/b/c", "default").path.is_dir()


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    assert not RunDirectory(tmp_path, "default").replaces


def test_the_home_directory_may_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert RunDirectory(os.path.join("~", "run"), "default").path == tmp_path / "run"


def write_run(directory: Path) -> None:
    """What a run leaves, in short."""
    (directory / "summary.json").write_text('{"recipe": "a", "config": {}, "test_accuracy": 0.5}')
    (directory / "metrics.jsonl").write_text('{"step": 1, "train_loss": 0.5}\n')
    np.savez(directory / "checkpoint.npz", checkpoint=np.array("{}"))
    for name in ("predictions.png", "training.png", "graph.svg", "graph.html"):
        (directory / name).write_bytes(b"\x89PNG")


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "checkpoint.npz", "training.png"])
def test_a_file_that_is_only_called_as_ours_is_not_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"revenue": 1}')
    with pytest.raises(RunError, match=f"holds other things than an earlier run .{name}"):
        RunDirectory(tmp_path, "default")


def test_somebodys_summary_beside_a_run_is_not_touched(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "summary.json").write_bytes(b"\xff no text")
    with pytest.raises(RunError, match=r"summary\.json"):
        RunDirectory(tmp_path, "default")


@pytest.mark.parametrize("name", [".checkpoint.123.part.npz", ".metrics.123.part.jsonl", ".probe.9.part"])
def test_what_a_run_that_was_killed_left_is_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("half")
    RunDirectory(tmp_path, "default").clear()
    assert list(tmp_path.iterdir()) == []


def test_somebodys_hidden_file_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".notes.tmp").write_text("mine")
    with pytest.raises(RunError, match=r"\.notes\.tmp"):
        RunDirectory(tmp_path, "default")


def test_an_earlier_run_is_kept_until_there_is_something_new(tmp_path: Path) -> None:
    write_run(tmp_path)
    made = RunDirectory(tmp_path, "default")
    assert made.replaces
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(FILES)
    made.clear()
    assert list(tmp_path.iterdir()) == []


def test_other_things_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("old")
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        RunDirectory(tmp_path, "default")
    assert (tmp_path / "summary.json").read_text() == "old"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        RunDirectory(tmp_path / "file", "default")


def test_below_a_file_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        RunDirectory(tmp_path / "file" / "run", "default")


@pytest.mark.skipif(sys.platform == "win32" or getattr(os, "geteuid", int)() == 0, reason="needs permissions")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        RunDirectory(tmp_path / "run", "default")
    tmp_path.chmod(0o700)


def test_what_was_made_for_nothing_is_removed() -> None:
    made = RunDirectory("a/b", "default")
    made.release()
    assert not Path("a").exists()


def test_what_has_something_in_it_stays() -> None:
    made = RunDirectory("a/b", "default")
    made.file("summary.json").write_text("{}")
    made.release()
    assert Path("a/b/summary.json").exists()


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    RunDirectory(tmp_path, "default").release()
    assert tmp_path.is_dir()
