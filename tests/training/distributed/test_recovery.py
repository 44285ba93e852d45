"""A training goes on where one of its processes is lost, to the bits of one that was resumed without it."""

import json

import numpy as np
import pytest

from tests.ranks import run_processes
from tinygrad_mnist import nn
from tinygrad_mnist.training.checkpoints.random_state import Generators

TRAINING = """
import json, os, signal, sys
from contextlib import suppress
import numpy as np
from mpi4py import MPI
from tinygrad_mnist import nn, optim
from tinygrad_mnist.training import Callback, fit
from tinygrad_mnist.training.checkpoints.checkpoint import save_state
from tinygrad_mnist.training.distributed import communicator as module
from tinygrad_mnist.training.distributed.communicator import as_communicator
from tinygrad_mnist.training.distributed.errors import RankLostError

world = MPI.COMM_WORLD
me, folder = world.rank, sys.argv[1]
communicator = as_communicator(world)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(72, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 72)
held = rng.normal(size=(30, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 30)


class Heard(Callback):
    def __init__(self, victim=-1, event="", step=0, exchange=0, keep=None):
        self.dies = me == victim
        self.event, self.step, self.exchange, self.keep = event, step, exchange, keep
        self.training, self.steps, self.evaluations, self.passes, self.notices = None, [], [], [], []
        self.decisions = 0

    def _reach(self, event, training):
        if self.dies and event == self.event and training.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_begin(self, training):
        self.training = training
        self._reach("begin", training)

    def on_compile(self, training, decision):
        self.decisions += 1

    def on_epoch_begin(self, training):
        self.passes.append(training.step)

    def on_step_end(self, training):
        self.steps.append(training.step)
        if training.step == self.keep:
            save_state(f"{folder}/{me}.npz", training.state_dict())
        self._reach("step", training)

    def on_evaluate(self, training, record, best):
        self.evaluations.append(training.step)
        self._reach("evaluation", training)

    def on_train_end(self, training):
        self._reach("end", training)

    def on_notice(self, training, sentence):
        if "lost" in sentence:
            self.notices.append(sentence)


class Writes(Callback):
    on_every_rank = False

    def __init__(self):
        self.begins, self.steps = [], []

    def on_train_begin(self, training):
        self.begins.append(training.step)

    def on_step_end(self, training):
        self.steps.append(training.step)


class Dying(module.Communicator):
    heard, made = None, 0

    def _exchange(self, kind, size, *arguments):
        heard = Dying.heard
        if heard is not None and heard.event == "apart" and heard.training is not None:
            return self._apart(heard, kind, size, *arguments)
        if heard is not None and heard.dies and heard.event == "exchange" and heard.training is not None:
            if heard.training.step == heard.step:
                Dying.made += 1
                if Dying.made == heard.exchange:
                    os.kill(os.getpid(), signal.SIGKILL)
        return super()._exchange(kind, size, *arguments)

    def _apart(self, heard, kind, size, *arguments):
        found = super()._exchange(kind, size, *arguments)
        if heard.training.step == heard.step and size > 144:  # the sum of gradients
            with suppress(MPI.Exception):
                self.mpi.Barrier()  # all have it
            if heard.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.is_writer:  # as if it had not got the sum that the others have
                raise RankLostError([3], ["there"])
        return found


communicator.__class__ = Dying


def train(heard, jit, writes=None, resume=None):
    Dying.heard = heard
    layers = (nn.Conv2d(1, 3, 3, rng=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3, rng=2))
    model = nn.Sequential(*layers, nn.Linear(48, 3, rng=3))
    result = fit(
        model, optim.Adam(model.parameters(), lr=0.01), (x, y), loss=nn.CrossEntropyLoss(), epochs=2,
        batch_size=12, validation=held, evaluate_every=0.5, ema=0.9, clip_norm=1.0, lint=False, jit=jit,
        callbacks=[heard, *([writes] if writes else [])], resume=resume, communicator=communicator,
    )
    Dying.heard = None
    weights = b"".join(np.ascontiguousarray(one).tobytes() for one in model.state_dict().values())
    return weights, result.history.losses, [record.to_dict() for record in result.history.records]


def same(one, other):
    for record in (*one[2], *other[2]):
        record.pop("seconds")
    return one == other


for victim, event, step, exchange, done, jit in json.loads(sys.argv[2]):
    train(Heard(keep=done), jit)
    before, was_writer, ranks = communicator.rank, communicator.is_writer, communicator.size
    heard, writes = Heard(victim, event, step, exchange), Writes()
    found = train(heard, jit, writes)
    resumed = train(Heard(), jit, resume=f"{folder}/{me}.npz" if done else None)
    print(json.dumps({
        "me": me, "same": same(found, resumed), "steps": heard.steps, "evaluations": heard.evaluations,
        "decisions": heard.decisions,
        "passes": heard.passes, "notices": heard.notices, "ranks": [ranks, communicator.size],
        "lost": communicator.lost, "begins": writes.begins, "written": writes.steps,
        "writer": [was_writer, communicator.is_writer],
    }), flush=True)
"""


def losses(tmp_path, ranks, *cases):
    """Return for each case what those that are left say; it is who dies where, and the steps done then."""
    ended = run_processes(
        ranks,
        TRAINING,
        str(tmp_path),
        json.dumps(cases),
        options=("--with-ft", "ulfm"),
        timeout=240,
        OPENBLAS_NUM_THREADS="1",
    )
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line) for line in ended.stdout.splitlines()]
    by_rank = {one: [word for word in said if word["me"] == one] for one in range(ranks)}
    return [
        [words[number] for words in by_rank.values() if number < len(words)] for number in range(len(cases))
    ]


def check(words, left, *notices):
    """Check that all of those that are left have done all steps, once, to the bits of a resumed training."""
    assert len(words) == left
    for word in words:
        assert word["same"]
        assert word["steps"] == list(range(1, 13))
        assert word["evaluations"] == [3, 6, 9, 12]
        assert word["passes"] == [0, 6]
        assert word["decisions"] == 1
        assert word["ranks"] == [left + 1, left]
        assert len(word["notices"]) == 1
        assert word["notices"][0] in notices
        assert word["written"] == ([*range(word["begins"][0] + 1, 13)] if word["writer"][1] else [])


def test_those_that_are_left_go_on_to_the_bits_of_a_training_that_was_resumed_without_the_lost_ones(tmp_path):
    apart, of_writer, in_evaluation = losses(
        tmp_path,
        4,
        # when some have made a step that the others have not: these are told of it
        (3, "apart", 2, 0, 3, "off"),
        # in the middle of a step, when batch norm has its statistics, and dropout has drawn: who writes
        (0, "exchange", 7, 3, 7, "off"),
        (2, "evaluation", 6, 0, 6, "off"),
    )
    host = apart[0]["lost"][0].removeprefix("rank 3 on ")
    lost = f"rank 3 on {host} was lost after"
    check(apart, 3, *(f"{lost} {done} steps; 3 processes go on after 3 steps" for done in (2, 3)))
    check(of_writer, 2, f"rank 0 on {host} was lost after 7 steps; 2 processes go on after 7 steps")
    assert [word["begins"] for word in of_writer] == [[7], []]  # another one writes from there on
    assert [word["writer"] for word in of_writer] == [[False, True], [False, False]]
    check(in_evaluation, 1, f"rank 2 on {host} was lost after 6 steps; 1 process goes on after 6 steps")


@pytest.mark.slow
def test_a_compiled_step_goes_on_as_well(tmp_path):
    pytest.importorskip("llvmlite")
    first, last = losses(tmp_path, 3, (1, "exchange", 4, 2, 4, "on"), (0, "exchange", 8, 4, 8, "on"))
    host = first[0]["lost"][0].removeprefix("rank 1 on ")
    check(first, 2, f"rank 1 on {host} was lost after 4 steps; 2 processes go on after 4 steps")
    check(last, 1, f"rank 0 on {host} was lost after 8 steps; 1 process goes on after 8 steps")


@pytest.mark.slow
def test_a_process_may_be_lost_before_the_first_step_and_after_the_last(tmp_path):
    begin, end = losses(tmp_path, 3, (2, "begin", 0, 0, 0, "off"), (1, "end", 12, 0, 12, "off"))
    host = begin[0]["lost"][0].removeprefix("rank 2 on ")
    check(begin, 2, f"rank 2 on {host} was lost after 0 steps; 2 processes go on after 0 steps")
    assert [word["steps"] for word in end] == [list(range(1, 13))]
    assert end[0]["lost"] == [f"rank {rank} on {host}" for rank in (2, 1)]


# ---- random numbers ----------------------------------------------------------------------------------------


def test_generators_that_were_noted_are_put_back():
    layer, owner = nn.Dropout(0.5, rng=0), type("Owner", (), {})()
    owner.rng = np.random.default_rng(3)
    generators = Generators(layer, {"data": owner})

    def drawn():
        ones = np.ones(16, np.float32)
        numbers = owner.rng.random(), np.random.random()  # noqa: NPY002 - that of the process, too
        return layer(ones).tobytes(), *numbers

    for _ in range(2):  # also when the global generator has moved on since it was noted first
        generators.note()
        first = drawn()
        assert drawn() != first
        generators.put_back()
        assert drawn() == first
