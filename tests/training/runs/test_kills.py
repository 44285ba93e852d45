"""Runs that are killed at any moment: every file is whole, and the run goes on to the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from tests.training.runs.killed import recipe
from tests.training.small_data import noisy_patterns
from tinygrad_mnist.training import Outcome, load_checkpoint, resume_run, train
from tinygrad_mnist.training.runs import run as run_module

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

ROOT = Path(__file__).parents[3]


class Killer:
    """The process of the script, which ends children."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.runs.killed"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=60)

    def __call__(self, call: str, *arguments: Any, signal: int = 0, **when: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"call": call, "arguments": arguments, "signal": signal, **when}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


@pytest.fixture
def killer() -> Iterator[Killer]:
    with Killer() as killer:
        yield killer


@pytest.fixture
def whole(no_pictures: None) -> dict[int, Outcome]:
    """Runs without an interruption, by seed."""
    return {
        seed: train(recipe(), noisy_patterns(), seed=seed, out=f"whole{seed}", report=False)
        for seed in (0, 1)
    }


def require_whole_files(directory: Path) -> None:
    for path in directory.iterdir():
        if path.suffix == ".npz" and not path.name.startswith("."):
            load_checkpoint(path, training=path.name != "checkpoint.npz")
        elif path.name == "metrics.jsonl":
            assert [json.loads(line) for line in path.read_text().splitlines()]
        elif path.name == "summary.json":
            assert "test_accuracy" in json.loads(path.read_text())
        else:
            assert path.name.startswith("."), path


def seed_of(directory: Path) -> int | None:
    """The seed of the run that can go on there."""
    if not (directory / "last.npz").exists():
        return None
    return int(load_checkpoint(directory / "last.npz").origin["seed"])


def without_times(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def require_equal(directory: Path, whole: Outcome) -> None:
    """Every bit that a run leaves is that of a run without an interruption, but for times."""
    saved = [load_checkpoint(path / "last.npz", training=True) for path in (directory, whole.directory)]
    assert saved[0].training is not None
    assert saved[1].training is not None
    assert saved[0].training["history"]["losses"] == saved[1].training["history"]["losses"]
    for name in ("checkpoint.npz", "last.npz"):
        states = [load_checkpoint(path / name).model.state_dict() for path in (directory, whole.directory)]
        assert all(np.array_equal(states[0][key], states[1][key]) for key in states[1])
    assert without_times(directory / "metrics.jsonl") == without_times(whole.directory / "metrics.jsonl")
    summary = json.loads((directory / "summary.json").read_text())
    for name in ("test_accuracy", "test_loss", "best_step", "steps", "interrupted", "complete"):
        assert summary[name] == whole.summary[name]
    assert not list(directory.glob(".*"))


def kill(killer: Killer, whole: dict[int, Outcome], times: int) -> int:
    """Kill at random moments, over earlier runs too; return how many runs came to their end."""
    rng = random.Random(0)
    run, seed, ends = Path("run"), 0, 0
    kills = 0
    while kills < times:
        kind = "resume" if seed_of(run) == seed else "train"
        # a few milliseconds lie before the first file, and the longest are over before the kill
        delay = rng.choice([rng.uniform(0.0, 0.1), rng.uniform(0.0, 0.8)])
        status = killer("run_small", kind, str(run), seed, signal=signal.SIGKILL, seconds=delay)
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
        if run.exists():
            require_whole_files(run)
        if status == 0 or kills == times:
            if status:
                killer("run_small", "resume" if seed_of(run) == seed else "train", str(run), seed)
            require_equal(run, whole[seed])
            seed, ends = 1 - seed, ends + 1  # the next run takes the place of this one
    return ends


def test_a_run_that_is_killed_goes_on_to_the_same_bits(killer: Killer, whole: dict[int, Outcome]) -> None:
    kill(killer, whole, 6)


@pytest.mark.slow
def test_a_run_that_is_killed_a_hundred_times(killer: Killer, whole: dict[int, Outcome]) -> None:
    assert kill(killer, whole, 100) > 3


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_the_run_goes_on(killer: Killer, number: signal.Signals) -> None:
    train = ["train", "--recipe", "digits", "--epochs", "12", "--quiet", "--no-report", "--out"]
    assert killer("run_command", *train, "whole") == 0
    often = ["--checkpoint-every", "1 step"]  # which the metrics are written with
    assert killer("run_command", *train, "run", *often, signal=number, file="run/metrics.jsonl") == 0
    assert json.loads(Path("run/summary.json").read_text())["interrupted"]
    assert killer("run_command", "train", "--resume", "run", "--quiet", "--no-report") == 0
    summaries = [json.loads(Path(name, "summary.json").read_text()) for name in ("run", "whole")]
    for name in ("test_loss", "test_accuracy", "best_step", "steps", "interrupted", "notices"):
        assert summaries[0][name] == summaries[1][name]


@pytest.mark.parametrize("where", ["evaluate", "draw_pictures", "write_report", "write_summary"])
def test_what_a_kill_after_the_last_step_left_out_is_done(
    whole: dict[int, Outcome], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object, **options: object) -> None:
        raise Killed

    place = run_module.Recorder if where == "write_summary" else run_module
    with monkeypatch.context() as patch:
        patch.setattr(place, where, killed)
        with pytest.raises(Killed):
            train(recipe(), noisy_patterns(), seed=0, out="run")
    resume_run("run", data=noisy_patterns())
    require_equal(Path("run"), whole[0])
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    resume_run("run", data=noisy_patterns(), report=False)
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before
