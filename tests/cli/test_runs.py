"""The command that lists runs."""

import json
import shutil
from pathlib import Path

import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.training.report.listing import ORDERS


def test_runs_are_a_table(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").mkdir()
    shutil.copytree(run_directory, "runs/first", symlinks=True)
    Path("runs/bad").mkdir()
    Path("runs/bad/summary.json").write_text("{")
    assert main(["runs"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["run", "recipe", "data", "test", "epochs", "time", "when", "state"]
    (first,) = (row for row in rows if row.startswith("first"))
    assert "digits (epochs 10)" in first
    assert first.endswith("finished")
    (bad,) = (row for row in rows if row.startswith("bad"))
    assert bad.endswith("broken: summary.json is no JSON")


def test_an_incomplete_run_says_how_it_goes_on(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run_directory, "runs/first")
    Path("runs/first/summary.json").unlink()
    assert main(["runs"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].endswith("incomplete")
    assert err == f"tinygrad-mnist: first goes on with: tinygrad-mnist train --resume {Path('runs/first')}\n"


def test_runs_as_json(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(run_directory), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    summary = json.loads((run_directory / "summary.json").read_text())
    assert row["test_accuracy"] == summary["test_accuracy"]
    assert row["changes"] == {"epochs": 10}


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_can_be_asked_for(run_directory: Path, order: str) -> None:
    assert main(["runs", str(run_directory.parent), "--sort", order]) == 0


def test_a_directory_without_runs_says_what_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert main(["runs", "empty"]) == 0
    assert "tinygrad-mnist train" in capsys.readouterr().out


def test_a_directory_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 1
    assert capsys.readouterr().err == "tinygrad-mnist: runs cannot be read (No such file or directory)\n"
