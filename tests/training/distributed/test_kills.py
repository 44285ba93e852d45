"""Processes that are killed at random moments: nothing hangs, and nothing is lost."""

import json
import random
import subprocess

import numpy as np
import pytest

from tests.ranks import run_processes
from tinygrad_mnist.training.checkpoints.checkpoint import load_state
from tinygrad_mnist.training.runs.verification import first_difference

FAULT_TOLERANT = ("--with-ft", "ulfm")
LONGEST = 20.0
"""Seconds from a kill to the end of all, or to the next step of those that are left."""

TRAINING = """
import json, os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from mpi4py import MPI
from tinygrad_mnist import nn, optim
from tinygrad_mnist.training import Callback, fit
from tinygrad_mnist.training.checkpoints.checkpoint import save_state

world = MPI.COMM_WORLD
me, folder, victims = world.rank, Path(sys.argv[1]), json.loads(sys.argv[2])
rng = np.random.default_rng(0)
x, y = rng.normal(size=(160, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 160)


class Killed(Callback):
    # at a step, after so many seconds: in the middle of anything
    longest, last = 0.0, time.monotonic()

    def on_train_begin(self, training):
        self.last = time.monotonic()

    def on_step_end(self, training):
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now
        for rank, step, seconds in victims:
            if me == rank and training.step == step:
                threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()

    def on_train_end(self, training):
        if training.is_writer:
            save_state(folder / "end.npz", training.state_dict())


layers = (nn.Conv2d(1, 3, 3, rng=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3, rng=2))
model = nn.Sequential(*layers, nn.Linear(48, 3, rng=3))
last, killed = folder / "last.npz", Killed()
result = fit(
    model, optim.Adam(model.parameters(), lr=0.01), (x, y), loss=nn.CrossEntropyLoss(), epochs=20,
    batch_size=16, validation=(x[:32], y[:32]), lint=False, jit="off", callbacks=[killed],
    checkpoint=last, checkpoint_every="1 steps", resume=last if last.exists() else None, communicator=world,
)
print(json.dumps([me, len(result.history.losses), len(result.history.records), result.communicator.lost,
                  round(killed.longest, 3)]), flush=True)
"""
STEPS = 200


def run(
    folder, ranks: int, victims: list[tuple[int, int, float]], options: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    return run_processes(
        ranks,
        TRAINING,
        str(folder),
        json.dumps(victims),
        options=options,
        timeout=240,
        OPENBLAS_NUM_THREADS="1",
    )


def random_victims(rng: random.Random, ranks: int, kills: int) -> list[tuple[int, int, float]]:
    """Return who is killed, from which step on, after how many seconds: in the middle of one, or two."""
    steps = sorted(rng.sample(range(1, STEPS - 20), kills))
    return [
        (rank, step, rng.choice((0.0, rng.uniform(0, 0.02))))
        for rank, step in zip(rng.sample(range(ranks), kills), steps, strict=True)
    ]


def check_those_that_are_left(folder, ranks: int, kills: int, seed: int) -> None:
    victims = random_victims(random.Random(seed), ranks, kills)
    ended = run(folder, ranks, victims, FAULT_TOLERANT)
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line) for line in ended.stdout.splitlines()]
    killed = {rank for rank, *_ in victims}
    assert {rank for rank, *_ in said} == set(range(ranks)) - killed
    for _, losses, records, lost, longest in said:
        assert (losses, records) == (STEPS, 20)
        assert {int(one.split()[1]) for one in lost} == killed
        assert longest < LONGEST
    end = load_state(folder / "end.npz")
    assert np.isfinite(end["history"]["losses"]).all()
    assert first_difference(load_state(folder / "last.npz"), end) is None


def test_those_that_are_left_go_on_after_three_kills_at_random_moments(tmp_path):
    check_those_that_are_left(tmp_path, ranks=4, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_those_that_are_left_go_on_after_four_kills_at_random_moments(tmp_path, seed):
    check_those_that_are_left(tmp_path, ranks=5, kills=4, seed=seed)


@pytest.mark.slow
def test_a_training_that_is_killed_again_and_again_ends_in_the_bits_of_one_that_never_was(tmp_path):
    rng, killed = random.Random(0), tmp_path / "killed"
    killed.mkdir()
    reached = 0
    for _ in range(7):
        step = reached + rng.randrange(1, 25)
        ended = run(killed, 2, [(rng.randrange(2), step, rng.uniform(0, 0.02))])
        assert ended.returncode != 0
        reached = load_state(killed / "last.npz")["position"]["step"]
        assert reached >= step - 1
    assert run(killed, 2, []).returncode == 0
    assert run(tmp_path, 2, []).returncode == 0
    assert first_difference(load_state(tmp_path / "end.npz"), load_state(killed / "end.npz")) is None
