"""Processes that are killed at random moments: nothing hangs, and nothing is lost."""

import json
import random
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.ranks import run_processes
from tinygrad_mnist.training.checkpoints.checkpoint import load_state
from tinygrad_mnist.training.runs.verification import first_difference

pytestmark = pytest.mark.slow

FAULT_TOLERANT = ("--with-ft", "ulfm")
LONGEST = 20.0
"""Seconds from a kill to the next step of those that are left, and to the end of all; as a rule 2."""

TRAINING = """
import json, os, random, signal, sys, threading, time
from pathlib import Path
import numpy as np
from mpi4py import MPI
from tinygrad_mnist import nn, optim
from tinygrad_mnist.training import Callback, fit
from tinygrad_mnist.training.checkpoints.checkpoint import save_state

world = MPI.COMM_WORLD
me, victims = world.rank, json.loads(sys.argv[1])
rng = np.random.default_rng(0)
x, y = rng.normal(size=(80, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 80)


class Killed(Callback):
    # at a step, after so many seconds: in the middle of anything
    longest, last = 0.0, time.monotonic()

    def __init__(self, folder):
        self.folder = folder

    def on_train_begin(self, training):
        self.last = time.monotonic()

    def on_step_end(self, training):
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now
        for rank, step, seconds in victims:
            if me == rank and training.step == step:
                threading.Timer(seconds, self.kill).start()

    def kill(self):
        (self.folder / "killed").write_text(str(time.monotonic()))
        os.kill(os.getpid(), signal.SIGKILL)

    def on_train_end(self, training):
        if training.is_writer:
            save_state(self.folder / "end.npz", training.state_dict())


for folder in map(Path, sys.argv[2:]):
    random.seed(0)  # what belongs to the process is saved, too
    np.random.seed(0)
    layers = (nn.Conv2d(1, 3, 3, rng=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3, rng=2))
    model = nn.Sequential(*layers, nn.Linear(48, 3, rng=3))
    last, killed = folder / "last.npz", Killed(folder)
    result = fit(
        model, optim.Adam(model.parameters(), lr=0.01), (x, y), loss=nn.CrossEntropyLoss(), epochs=4,
        batch_size=16, validation=(x[:32], y[:32]), lint=False, jit="off", callbacks=[killed],
        communicator=world, checkpoint=last, checkpoint_every="1 steps",
        resume=last if last.exists() else None,
    )
    print(json.dumps([me, len(result.history.losses), len(result.history.records), result.communicator.lost,
                      killed.longest, killed.last]), flush=True)
"""
STEPS = 20


def run(
    ranks: int, victims: list[tuple[int, int, float]], *folders: Path, options: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """Return the end of one training after the other: who is killed when, and where each writes."""
    return run_processes(
        ranks,
        TRAINING,
        json.dumps(victims),
        *map(str, folders),
        options=options,
        timeout=120,
        OPENBLAS_NUM_THREADS="1",
    )


def check_time(what: str, seconds: float) -> None:
    print(f"{what}: {seconds:.2f} s")
    assert seconds < LONGEST


def random_victims(rng: random.Random, ranks: int, kills: int) -> list[tuple[int, int, float]]:
    """Return who is killed, from which step on, after how many seconds: in the middle of one, or two."""
    steps = sorted(rng.sample(range(1, STEPS - 3), kills))
    return [
        (rank, step, rng.choice((0.0, rng.uniform(0, 0.02))))
        for rank, step in zip(rng.sample(range(ranks), kills), steps, strict=True)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_those_that_are_left_go_on_after_four_kills_at_random_moments(tmp_path, seed):
    victims = random_victims(random.Random(seed), ranks=5, kills=4)
    ended = run(5, victims, tmp_path, options=FAULT_TOLERANT)
    end = time.monotonic()
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line) for line in ended.stdout.splitlines()]
    killed = {rank for rank, *_ in victims}
    assert {rank for rank, *_ in said} == set(range(5)) - killed
    for _, losses, records, lost, longest, last in said:
        assert (losses, records) == (STEPS, 4)
        assert {int(one.split()[1]) for one in lost} == killed
        check_time("longest from one step to the next", longest)
        check_time("from the last step to the end of mpiexec", end - last)
    state = load_state(tmp_path / "end.npz")
    assert np.isfinite(state["history"]["losses"]).all()
    assert first_difference(load_state(tmp_path / "last.npz"), state) is None


def test_a_training_that_is_killed_again_and_again_ends_in_the_bits_of_one_that_never_was(tmp_path):
    rng, killed, never = random.Random(0), tmp_path / "killed", tmp_path / "never"
    killed.mkdir()
    never.mkdir()
    reached = 0
    for _ in range(6):
        step = reached + rng.randrange(1, 4)
        ended = run(2, [(rng.randrange(2), step, rng.uniform(0, 0.02))], killed)
        assert ended.returncode != 0
        check_time(
            "from the kill to the end of mpiexec", time.monotonic() - float((killed / "killed").read_text())
        )
        reached = load_state(killed / "last.npz")["position"]["step"]
        assert reached >= step - 1
    assert run(2, [], killed, never).returncode == 0
    assert first_difference(load_state(never / "end.npz"), load_state(killed / "end.npz")) is None
