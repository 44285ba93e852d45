"""`train --resume` and `verify-resume`: options, sentences and statuses."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.training import load_checkpoint
from tinygrad_mnist.training.report.reproduction import reproduction
from tinygrad_mnist.training.runs import run as run_module
from tinygrad_mnist.training.runs import verification

TRAIN = ["train", "--recipe", "digits", "--quiet", "--no-report"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> str:
    """A run that is finished."""
    assert main([*TRAIN, "--epochs", "1", "--lr", "0.02", "--out", "run"]) == 0
    capsys.readouterr()
    return "run"


def test_a_finished_run_says_so_and_more_epochs_are_trained(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", run]) == 0
    printed = capsys.readouterr()
    assert "this training is finished, after 40 steps; for more, name more epochs" in printed.err
    assert "test accuracy" in printed.out
    assert main(["train", "--resume", run, "--epochs", "1.5", "--quiet", "--no-report"]) == 0
    assert re.search(r"test accuracy .*, 1\.5 epochs in .* s, run\n$", capsys.readouterr().out)
    summary = json.loads(Path(run, "summary.json").read_text())
    assert (summary["steps"], summary["changes"]) == (60, {"epochs": 1.5, "lr": 0.02})


def test_the_commands_in_a_report_repeat_a_run_that_was_made_longer() -> None:
    assert main([*TRAIN, "--epochs", "30", "--lr", "1", "--patience", "1", "--out", "run"]) == 0
    assert main(["train", "--resume", "run", "--epochs", "40", "--quiet", "--no-report"]) == 0
    run = load_checkpoint("run")
    summary = json.loads(Path("run/summary.json").read_text())
    ((epochs, steps, ended),) = [tuple(one.values()) for one in summary["extended"]]
    assert (epochs, ended) == (30, True)
    assert steps < 1200
    command, _, further = reproduction(run.recipe, run.origin)
    for line in (command, *further):
        assert main([*shlex.split(line)[1:], "--quiet", "--no-report"]) == 0
    again = json.loads(Path("again/summary.json").read_text())
    for name in ("steps", "best_step", "test_loss", "config", "extended"):
        assert again[name] == summary[name]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--lr", "0.5"], 2, "--lr cannot be changed when a run goes on; it is 0.02: leave it out"),
        (["--batch-size", "8"], 2, "--batch-size cannot be changed when a run goes on; it is 32"),
        (["--seed", "4"], 2, "--seed cannot be changed when a run goes on; it is 0"),
        (["--epochs", "0.5"], 2, "--epochs cannot be 0.5, as 1 are done; name more"),
        (["--recipe", "mlp"], 2, "--recipe cannot be changed when a run goes on"),
        (["--out", "other"], 2, "--out cannot be changed when a run goes on"),
        (["--epochs", "2", "--jit", "on"], 1, "not compiled"),
        (["--checkpoint-every", "often"], 2, "'30 seconds', '2 minutes' or the like, not every 'often'"),
    ],
)
def test_nothing_but_the_epochs_can_be_changed(
    run: str, options: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", run, *options]) == status
    assert said in capsys.readouterr().err


def test_values_that_are_those_of_the_run_are_taken(run: str) -> None:
    assert main(["train", "--resume", run, "--lr", "0.02", "--seed", "0", "--data", "digits", "--quiet"]) == 0


def test_what_is_no_run_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "nowhere"]) == 1
    assert "there is no run directory nowhere" in capsys.readouterr().err
    Path("empty").mkdir()
    assert main(["train", "--resume", "empty"]) == 1
    assert "empty holds no run" in capsys.readouterr().err


def test_patience_ends_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--epochs", "30", "--lr", "1", "--patience", "1", "--out", "run"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["epochs"] < 30


def test_verify_resume_prints_a_line_a_point_and_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verification, "_run", lambda job: verification._do(job))
    assert main(["verify-resume", "digits", "--steps", "8", "--points", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith(": equal") for line in lines] == [False, True, True, False]
    assert lines[-1].startswith("equal to the bit after 2 interruptions: 8 losses, ")
    monkeypatch.setattr(verification, "first_difference", lambda *_: "the loss of step 3 is another")
    assert main(["verify-resume", "digits", "--steps", "8", "--points", "2"]) == 1
    assert "the loss of step 3 is another; what can cause it: " in capsys.readouterr().err


def test_verify_resume_of_no_recipe_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-resume", "digts"]) == 2
    assert "digits" in capsys.readouterr().err
