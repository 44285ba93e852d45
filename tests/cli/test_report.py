"""The command that writes a report anew, and compares runs."""

import shutil
from pathlib import Path

import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.training.report import pictures
from tinygrad_mnist.training.runs import run as run_module


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing all of them takes most of the time."""
    few = {name: pictures.DRAWINGS[name] for name in ("learning_rate", "weights")}
    monkeypatch.setattr(pictures, "DRAWINGS", few)


@pytest.fixture
def runs(run_directory: Path) -> list[str]:
    """Two copies of a run, in ``runs``."""
    for name in ("one", "two"):
        shutil.copytree(run_directory, Path("runs", name))
    return ["runs/one", "runs/two"]


def test_a_report_is_written_into_the_run_and_named(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", runs[0]]) == 0
    assert capsys.readouterr().out == f"report {Path('runs/one/report.html')}\n"
    assert "of 359 digits that it has not seen" in Path("runs/one/report.html").read_text("utf-8")
    assert Path("runs/one/pictures/weights.png").exists()


def test_several_runs_are_compared_in_a_page_of_their_own(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *runs]) == 0
    assert capsys.readouterr().out == "comparison comparison.html\n"
    assert "Comparison of 2 runs" in Path("comparison.html").read_text("utf-8")
    assert main(["report", *runs, "--out", "comparison.html"]) == 0  # its own page is replaced


def test_no_other_file_is_replaced(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("comparison.html").write_text("mine")
    assert main(["report", *runs]) == 1
    assert Path("comparison.html").read_text() == "mine"
    assert "no comparison of runs" in capsys.readouterr().err
    before = Path("runs/one/checkpoint.npz").read_bytes()
    assert main(["report", *runs, "--out", "runs/one/checkpoint.npz"]) == 1
    assert Path("runs/one/checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["runs/one", "runs/one"], "named twice"),
        (["runs/one", "--out", "x.html"], "--out is for the page that compares"),
    ],
)
def test_misuse_is_one_sentence(
    runs: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["report", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nowhere"], ["runs/one", "nowhere"], ["runs/one/summary.json"]])
def test_what_is_no_run_is_one_sentence(
    runs: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["report", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


def test_a_page_that_cannot_be_written_is_one_sentence(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *runs, "--out", "nowhere/x.html"]) == 1
    assert "nowhere/x.html cannot be written" in capsys.readouterr().err


def test_training_names_the_report_near_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "write_report", lambda run: (run.path / "report.html").write_text("x"))
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
    arguments = ["train", "--recipe", "digits", "--epochs", "1", "--out", "run"]
    assert main(arguments) == 0
    assert f"report {Path('run/report.html')}" in capsys.readouterr().out.splitlines()[-2:]
    assert main([*arguments, "--no-report"]) == 0
    assert "report" not in capsys.readouterr().out
    assert not Path("run/report.html").exists()
