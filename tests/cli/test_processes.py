"""``train --processes``: what is refused before MPI is started, and a training from beginning to end."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.ranks import one_at_a_time
from tinygrad_mnist.cli import main, shared_options
from tinygrad_mnist.cli.processes import crowded, little_work
from tinygrad_mnist.data import load_digits
from tinygrad_mnist.training import find_recipe, load_checkpoint
from tinygrad_mnist.training.checkpoints.checkpoint import load_state
from tinygrad_mnist.training.distributed import launcher, open_mpi, speedup_estimate
from tinygrad_mnist.training.loop.by_recipe import planned
from tinygrad_mnist.training.runs.run import new_model
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import split

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: Any, **named: Any) -> None:
        raise AssertionError("something was started")

    for name in ("Popen", "run"):
        monkeypatch.setattr(open_mpi.subprocess, name, started)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--processes", "0"], "argument --processes: 0 is not 1 or more (see tinygrad-mnist train --help)"),
        (["--processes", "two"], "argument --processes: 'two' is no whole number"),
        (["--processes", "2", "--recipe", "nonsense"], "there is no recipe 'nonsense'"),
        (["--processes", "2", "--lr", "-1"], "--lr must be"),
        (["--processes", "2", "--resume", "a", "--out", "b"], "--out cannot be changed when a run goes on"),
        (
            ["--processes", "2000"],
            "--processes 2000 is more than 8 for each core of this machine, which has 2; ",
        ),
        (
            ["--processes", "5", "--batch-size", "4"],
            "5 processes are more than the 4 images of a batch, so that some would have none; start 4",
        ),
    ],
)
def test_misuse_is_said_before_anything_is_started(
    words: list[str],
    sentence: str,
    no_start: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(open_mpi, "usable_cores", lambda: 2)
    assert main(["train", *words]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"tinygrad-mnist: {sentence}")
    assert errors.count("\n") == 1


def test_without_the_extra_it_is_named(
    monkeypatch: pytest.MonkeyPatch, no_start: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(open_mpi, "find_spec", lambda name: None)
    assert main(["train", "--processes", "2"]) == 1
    assert 'pip install "tinygrad_mnist[mpi]"' in capsys.readouterr().err


def test_a_directory_that_cannot_be_written_is_said_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_start: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(open_mpi, "find_launch", lambda *given: None)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").touch()
    (tmp_path / "file").touch()
    for words, sentence in (
        (["--out", str(tmp_path / "mine")], "mine holds other things than an earlier run (diary.txt)"),
        (["--out", str(tmp_path / "file" / "run")], "file/run cannot be written to (Not a directory)"),
        (["--resume", str(tmp_path / "none")], f"there is no run directory {tmp_path / 'none'}"),
    ):
        assert main(["train", "--processes", "2", *words]) == 1
        output, errors = capsys.readouterr()
        assert output == ""
        assert sentence in errors
        assert errors.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["diary.txt", "file", "mine"]


def test_a_good_directory_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(open_mpi, "find_launch", lambda *given: None)
    monkeypatch.setattr(open_mpi, "usable_cores", lambda: 2)
    there: list[bool] = []
    monkeypatch.setattr(launcher, "launch", lambda *given: there.append((tmp_path / "a").exists()) or 0)
    assert main(["train", "--processes", "2", "--out", str(tmp_path / "a" / "b")]) == 0
    assert there == [False]


def test_more_threads_than_cores_are_told_once_with_what_to_give(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(open_mpi, "find_launch", lambda *given: None)
    monkeypatch.setattr(open_mpi, "usable_cores", lambda: 2)
    monkeypatch.setattr(launcher, "launch", lambda *given: 0)
    assert main(["train", "--processes", "2", "--threads", "4"]) == 0
    assert capsys.readouterr().err == (
        "tinygrad-mnist: 2 processes of 4 threads each wait for each other on 2 cores, which takes longer "
        "than fewer do; give --threads 1\n"
    )
    assert crowded(2, 4, 8) is None
    assert str(crowded(8, 2, 4)).endswith("give --processes 4 and --threads 1")
    assert str(crowded(2, 1, 1)).endswith(
        "2 processes wait for each other on 1 core, which takes longer than fewer do; give no --processes"
    )
    # in a process of the launcher BLAS says no second thing
    monkeypatch.setattr(shared_options, "launcher_link", lambda: object())
    monkeypatch.setattr("tinygrad_mnist.training.loop.threads._cores", lambda: 0)
    shared_options.use_threads(argparse.Namespace(threads=1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("by_mpiexec", [False, True])
def test_verify_resume_says_what_it_proves(
    by_mpiexec: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if by_mpiexec:
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
        monkeypatch.setenv("TERM", "dumb")
    assert main(["verify-resume", "digits", *([] if by_mpiexec else ["--processes", "2"])]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("tinygrad-mnist: verify-resume trains by one process, and proves that")
    assert "train --resume RUN --processes N" in errors


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


def said_of(name: str, images: int, size: int, **changes: Any) -> str | None:
    dataset = SimpleNamespace(image_shape=(size, size), classes=10, train_images=range(images))
    recipe = find_recipe(name).changed(**changes)
    return little_work(SimpleNamespace(recipe=recipe, dataset=dataset), 2)  # type: ignore[arg-type]


def test_a_perceptron_is_said_not_to_profit_and_a_convolutional_network_is_not() -> None:
    assert said_of("cnn", 60_000, 28) is None
    assert said_of("cnn-best", 60_000, 28) is None
    mlp = said_of("mlp", 60_000, 28)
    assert mlp is not None
    assert mlp.startswith("2 processes hardly make this network faster: of a step of ")
    assert re.search(r"exchanging 235,914 gradients takes 0\.\d\d ms$", mlp)
    short = said_of("cnn", 60_000, 28, epochs=0.1)
    assert short is not None
    assert short.startswith(
        "2 processes are no faster than one here: starting MPI takes 1.5 s, and one process"
    )


def test_the_estimate_counts_steps_as_the_training_does(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Any] = []
    monkeypatch.setattr(speedup_estimate, "advice", lambda found, parameters: counted.append(found))
    recipe = find_recipe("digits")
    dataset = load_digits()
    parts = split(dataset, recipe.validation, np.random.default_rng(0), recipe.crop)
    for epochs in (1.4, 2, 5):
        changed = recipe.changed(epochs=epochs)
        little_work(SimpleNamespace(recipe=changed, dataset=dataset), 2)  # type: ignore[arg-type]
        rngs = generators(0)
        assert counted[-1].steps == planned(changed, new_model(changed, parts, rngs), parts, rngs=rngs).steps


@contextmanager
def start(folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a training by two processes; a test that fails leaves none of them."""
    with subprocess.Popen(
        [sys.executable, "-m", "tinygrad_mnist", "train", "--processes", "2", *words, "--no-report"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_MNIST_EXCHANGE_SECONDS": "60"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


RUN = ("--data", "digits", "--recipe", "cnn", "--jit", "off", "--out", "run")


@pytest.fixture
def alone() -> Iterator[None]:
    """Let no other test have processes of MPI meanwhile."""
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    with one_at_a_time():
        yield


def test_two_processes_train_as_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with start(tmp_path, *RUN, "--epochs", "0.1") as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.splitlines()[0].startswith("tinygrad-mnist: On the bundled digits the recipe 'cnn-digits'")
    lines = output.splitlines()
    assert [line for line in lines if line.startswith("data digits")] == lines[:1]  # it is said once
    assert sum(line.startswith("test accuracy") for line in lines) == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["processes"]["ranks"] == 2
    assert summary["complete"]
    shared = load_checkpoint(tmp_path / "run").model.state_dict()
    monkeypatch.chdir(tmp_path)
    assert main(["train", *RUN, "--epochs", "0.1", "--no-report"]) == 0
    capsys.readouterr()
    for name, values in load_checkpoint(tmp_path / "run").model.state_dict().items():
        # Adam divides by the size of a gradient, also of one that is rounding alone: a few differ
        np.testing.assert_allclose(shared[name], values, rtol=1e-3, atol=2e-4)


def test_a_recipe_that_does_not_fit_the_data_looks_as_by_one_process(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="several processes need mpi4py")
    words = ("--jit", "off", "--data", "digits", "--recipe", "cnn-fast", "--epochs", "3")
    with start(tmp_path, *words) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert [line[:33] for line in errors.splitlines()] == ["tinygrad-mnist: layers do not fit"]


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_and_the_run_goes_on(tmp_path: Path, alone: None) -> None:
    with start(tmp_path, *RUN, "--epochs", "300", "--checkpoint-every", "1 step") as process:
        while not (tmp_path / "run" / "previous.npz").exists():  # a step is done: something is learned
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert "interrupted: the best state so far is kept" in errors
    assert process.returncode == 0, errors  # as of one process, which has learned something
    reached = load_state(tmp_path / "run" / "last.npz")["position"]["step"]
    before = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert before["steps"] == reached
    a_pass = before["steps"] / before["epochs"]
    with start(tmp_path, "--resume", "run", "--epochs", str((reached + 3) / a_pass)) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    after = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (after["steps"], after["interrupted"], after["complete"]) == (reached + 3, False, True)
