"""Runs by several processes: one writes, all know; they go on as another number; an error of one is all's."""

import json
import shutil
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.ranks import run_processes
from tinygrad_mnist.training import load_checkpoint, resume_run, train
from tinygrad_mnist.training.loop.callbacks import Callback

pytest.importorskip("mpi4py", reason="several processes need mpi4py")

SETTING = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    import numpy as np
    from tinygrad_mnist.data import Dataset
    from tinygrad_mnist.training import RECIPES, train, resume_run
    from tinygrad_mnist.training.loop.callbacks import Callback
    from tinygrad_mnist.training.runs import run as run_module

    def patterns(seed=7):
        rng = np.random.default_rng(seed)
        shapes = rng.integers(0, 2, size=(4, 5, 5)) * 180

        def draw(count):
            labels = np.arange(count) % 4
            noise = rng.integers(0, 75, size=(count, 5, 5))
            return (shapes[labels] + noise).astype(np.uint8), labels.astype(np.int64)

        return Dataset("patterns", *draw(160), *draw(60), classes=4)

    recipe = RECIPES["digits"].changed(
        hidden=(8,), epochs=2, batch_size=16, evaluate_every=0.5, validation=0.2, dropout=0.2,
        batch_norm=True, augmentation="shift 1", ema=0.5, clip_norm=1.0,
    )

    class Presses(Callback):
        # Ctrl-C after a step; in one process alone, where there are several

        def __init__(self, step):
            self.step = step

        def on_step_end(self, training):
            if training.step == self.step:
                signal.raise_signal(signal.SIGINT)

    class Losses(Callback):
        def on_exit(self, training):
            self.losses, self.training = list(training.history.losses), training
    """
)
"""The data and the recipe, here and in the programs of processes."""

RANKS = SETTING + textwrap.dedent(
    """
    from mpi4py import MPI
    from tinygrad_mnist.training.distributed.communicator import as_communicator
    ranks = as_communicator(MPI.COMM_WORLD)
    last = ranks.rank == ranks.size - 1
    """
)


class Setting:
    """What `SETTING` defines, in this process."""

    def __init__(self) -> None:
        exec(compile(SETTING, "setting", "exec"), vars(self))


@pytest.fixture(scope="module")
def setting():
    return Setting()


def run_ranks(size, program, *arguments):
    """Return the lines that a program of some ranks prints, each as plain data."""
    done = run_processes(size, RANKS + textwrap.dedent(program), *arguments, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# ---- one writes, all know ----------------------------------------------------------------------------------

WHOLE = """
    run_module.write_report = lambda run: None
    outcome = train(recipe, patterns(), seed=3, out="run", communicator=ranks)
    state = outcome.checkpoint.model.state_dict()
    found = {
        "summary": outcome.summary,
        "directory": str(outcome.directory),
        "pictures": [path.name for path in outcome.pictures],
        "origin": outcome.checkpoint.origin,
        "weights": {name: value.tobytes().hex() for name, value in state.items()},
    }
    everybody = ranks.gather(found)
    if ranks.rank == 0:
        print(json.dumps(everybody))
"""


def test_the_first_process_writes_and_all_have_the_outcome(tmp_path, monkeypatch, setting):
    monkeypatch.chdir(tmp_path)
    ((first, second, third),) = run_ranks(3, WHOLE)
    written = json.loads(Path("run/summary.json").read_text())
    assert {**first["summary"], "complete": True} == written
    assert {**second["summary"], "complete": True} == written
    assert second == third
    assert second["pictures"] == []
    assert "predictions.png" in first["pictures"]
    for name in ("directory", "origin", "weights"):
        assert first[name] == second[name]
    (host,) = written["processes"]["hosts"]
    share = written["processes"]["waiting_share"]
    assert written["processes"] == {"ranks": 3, "hosts": {host: 3}, "waiting_share": share, "lost": []}
    assert 0 < share < 1
    saved = load_checkpoint("run")
    assert saved.origin == first["origin"]
    own = {name: value.tobytes().hex() for name, value in saved.model.state_dict().items()}
    assert own == first["weights"]
    assert sorted(path.name for path in Path("run").glob("*.*")) == [
        *("checkpoint.npz", "graph.html", "graph.svg", "last.npz", "metrics.jsonl", "predictions.png"),
        *("previous.npz", "summary.json", "training.png"),
    ]
