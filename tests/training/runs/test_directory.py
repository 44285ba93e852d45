import os
import re
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.files import replacing
from tinygrad_mnist.training import RunError
from tinygrad_mnist.training.runs.directory import FILES, LOCK, RunDirectory


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
    for name in ("checkpoint", "last", "previous"):
        np.savez(directory / f"{name}.npz", checkpoint=np.array("{}"))
    for name in ("predictions.png", "training.png", "graph.svg", "graph.html", "report.html"):
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


@pytest.mark.parametrize(
    "name", [".checkpoint.123.part.npz", ".metrics.123.part.jsonl", ".probe.9.part", LOCK]
)
def test_what_a_run_that_was_killed_left_is_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("half")
    with RunDirectory(tmp_path, "default") as made:
        made.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["checkpoint.npz", "metrics.jsonl", "training.png"])
def test_the_name_of_a_file_that_is_being_written_is_known(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as unfinished, replacing(unfinished) as inner:
        for path in (unfinished, inner):
            path.write_text("half")
        with RunDirectory(tmp_path, "default") as made:
            made.clear()
        assert list(tmp_path.iterdir()) == []
        for path in (inner, unfinished):
            path.write_text("whole")


def test_somebodys_hidden_file_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".notes.tmp").write_text("mine")
    with pytest.raises(RunError, match=r"\.notes\.tmp"):
        RunDirectory(tmp_path, "default")


def test_an_earlier_run_is_kept_until_there_is_something_new(tmp_path: Path) -> None:
    write_run(tmp_path)
    with RunDirectory(tmp_path, "default") as made:
        assert made.replaces
        assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([LOCK, *FILES])
        made.clear("checkpoint.npz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.npz"]


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


@pytest.mark.parametrize("content", [b"PK\x05\x06" + b"\xff" * 18, b"[" * 100_000], ids=["zip", "nested"])
@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "checkpoint.npz"])
def test_damaged_files_of_a_run_are_somebody_elses(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match="holds other things than an earlier run"):
        RunDirectory(tmp_path, "default")


def test_a_checkpoint_that_zipfile_cannot_read_is_somebody_elses(tmp_path: Path) -> None:
    write_run(tmp_path)
    content = bytearray((tmp_path / "checkpoint.npz").read_bytes())
    content[content.rindex(b"PK\x01\x02") + 6] = 255  # the version of zip that is needed to read it
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(NotImplementedError):
        zipfile.ZipFile(tmp_path / "checkpoint.npz")
    with pytest.raises(RunError, match=r"checkpoint\.npz"):
        RunDirectory(tmp_path, "default")


# ---- one run at a time ------------------------------------------------------------------------------------

HOLD = """
import sys
from tinygrad_mnist.training.runs.directory import RunDirectory
held = RunDirectory(sys.argv[1], "default")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_run_in_the_directory_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path)
    with RunDirectory(tmp_path, "default"):
        with pytest.raises(RunError, match=f"another run is writing into .*process {os.getpid()} on"):
            RunDirectory(tmp_path, "default")
        assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([LOCK, *FILES])
    RunDirectory(tmp_path, "default").release()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(FILES)


def test_of_many_threads_one_gets_the_directory(tmp_path: Path) -> None:
    def ask(_: int) -> RunDirectory | None:
        try:
            return RunDirectory(tmp_path / "run", "default")
        except RunError:
            return None

    with ThreadPoolExecutor(8) as threads:
        made = [one for one in threads.map(ask, range(32)) if one is not None]
    assert len(made) == 1
    made[0].release()
    assert not (tmp_path / "run").exists()


def test_the_lock_of_a_process_dies_with_it(tmp_path: Path) -> None:
    """By kill -9, which runs nothing of ours at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"process {other.pid} on"):
            RunDirectory(tmp_path, "default")
        other.kill()
    assert (tmp_path / LOCK).exists()
    RunDirectory(tmp_path, "default").release()
    assert not (tmp_path / LOCK).exists()


def test_new_directories_of_one_second_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: RunDirectory(None, "default"), range(24)))
    assert len({one.path for one in made}) == 24


def test_what_another_process_writes_is_left_as_it_is_until_it_is_taken_over(tmp_path: Path) -> None:
    owner = RunDirectory(tmp_path / "run", "default")
    for name in FILES[:3]:
        owner.file(name).touch()
    with RunDirectory.of_another(owner.path, owner.replaces) as other:
        assert not other.is_ours
        other.withdraw()
        other.release()
        assert {path.name for path in owner.path.iterdir()} == {LOCK, *FILES[:3]}
        owner.release()
        other.make_again()
        assert other.is_ours
        with pytest.raises(RunError, match="another run is writing"):
            RunDirectory.of_run(owner.path)
    assert not owner.file(LOCK).exists()
