"""``train --processes``: what is refused before MPI is started, and a training from beginning to end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.cli.processes import little_work
from tinygrad_mnist.training import find_recipe
from tinygrad_mnist.training.distributed import launcher

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: Any, **named: Any) -> None:
        raise AssertionError("something was started")

    for name in ("Popen", "run"):
        monkeypatch.setattr(launcher.subprocess, name, started)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--processes", "0"], "argument --processes: 0 is not 1 or more (see tinygrad-mnist train --help)"),
        (["--processes", "two"], "argument --processes: 'two' is no whole number"),
        (["--processes", "2", "--recipe", "nonsense"], "there is no recipe 'nonsense'"),
        (["--processes", "2", "--lr", "-1"], "--lr must be"),
        (["--processes", "2", "--resume", "a", "--out", "b"], "--out cannot be changed when a run goes on"),
    ],
)
def test_misuse_is_said_before_anything_is_started(
    words: list[str], sentence: str, no_start: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"tinygrad-mnist: {sentence}")
    assert errors.count("\n") == 1


def test_without_the_extra_it_is_named(
    monkeypatch: pytest.MonkeyPatch, no_start: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launcher, "find_spec", lambda name: None)
    assert main(["train", "--processes", "2"]) == 1
    assert 'pip install "tinygrad_mnist[mpi]"' in capsys.readouterr().err


def test_processes_of_processes_are_refused(
    monkeypatch: pytest.MonkeyPatch, no_start: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["train", "--processes", "2"]) == 2
    assert capsys.readouterr().err == (
        "tinygrad-mnist: --processes starts processes, but mpiexec has started this one as one of 4 already; "
        "leave it out\n"
    )


def test_a_perceptron_is_said_not_to_profit_and_a_convolutional_network_is_not() -> None:
    dataset = SimpleNamespace(image_shape=(28, 28), classes=10, train_images=range(60_000))

    def said(name: str) -> str | None:
        return little_work(SimpleNamespace(recipe=find_recipe(name), dataset=dataset), 2)  # type: ignore[arg-type]

    assert said("cnn") is None
    assert said("cnn-best") is None
    mlp = said("mlp")
    assert mlp is not None
    assert mlp.startswith("2 processes hardly make this faster, if at all: one takes about ")
    assert "to exchange 235,914 gradients in each of 1,336 steps" in mlp


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tinygrad_mnist", "train", "--processes", "2", "--jit", "off"]
    return subprocess.Popen(
        [*command, "--data", "digits", "--recipe", "cnn", "--no-report", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_MNIST_EXCHANGE_SECONDS": "60"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    with start(tmp_path, "--out", "run", "--epochs", "0.2") as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.splitlines()[0].startswith("tinygrad-mnist: On the bundled digits the recipe 'cnn-digits'")
    lines = output.splitlines()
    assert [line for line in lines if line.startswith("data digits")] == lines[:1]  # it is said once
    assert sum(line.startswith("test accuracy") for line in lines) == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["processes"]["ranks"] == 2
    assert summary["complete"]


def test_a_recipe_that_does_not_fit_the_data_looks_as_by_one_process(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    with start(tmp_path, "--recipe", "cnn-fast", "--epochs", "3") as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert [line[:33] for line in errors.splitlines()] == ["tinygrad-mnist: layers do not fit"]


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_and_the_run_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    with start(tmp_path, "--out", "run", "--epochs", "5000") as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("steps are not compiled"):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert "interrupted: the best state so far is kept" in errors
    assert process.returncode in (0, 130, 143), errors
    assert (tmp_path / "run" / "last.npz").is_file()
