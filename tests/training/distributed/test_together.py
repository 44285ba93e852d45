"""Ranks agree on how a training begins, on what they know between two steps, and on how it ends."""

import numpy as np
import pytest

from tests.ranks import run_threads
from tests.training.distributed.cases import digest, in_float64, mlp, numbers
from tinygrad_mnist import nn
from tinygrad_mnist.data import Batches
from tinygrad_mnist.training import Callback, TrainingError
from tinygrad_mnist.training.errors import DivergedError


class At(Callback):
    """A callback that does something after one step, in one rank."""

    def __init__(self, step, rank, do):
        self.step, self.rank, self.do = step, rank, do

    def on_step_end(self, training):
        if training.step == self.step and training.communicator.rank == self.rank:
            self.do(training)


class Notices(Callback):
    """A callback that keeps what it is told."""

    def __init__(self):
        self.heard = []

    def on_notice(self, training, sentence):
        self.heard.append(sentence)


class Everything(Callback):
    """A callback of one rank that writes down all events."""

    on_every_rank = False

    def __init__(self):
        self.events = []

    def on_train_begin(self, training):
        self.events.append("begin")

    def on_step_end(self, training):
        self.events.append(training.step)

    def on_evaluate(self, training, record, best):
        self.events.append(best)


# ---- the beginning -----------------------------------------------------------------------------------------


def test_all_begin_with_the_weights_of_the_first():
    expected = digest(run_threads(2, mlp)[0])
    assert [digest(one) for one in run_threads(2, lambda c: mlp(c, seed=c.rank))] == [expected] * 2


def test_a_resumed_training_ends_in_the_same_bits_and_on_another_number_of_ranks_nearly(tmp_path):
    file = tmp_path / "last.npz"
    whole = run_threads(3, mlp)

    def interrupted(communicator):
        def interrupt(training):
            raise KeyboardInterrupt

        return mlp(communicator, callbacks=[At(7, 1, interrupt)], checkpoint=file)

    assert [done.interrupted for _, done in run_threads(3, interrupted)] == [True] * 3
    again = run_threads(3, lambda c: mlp(c, resume=file if c.rank == 0 else tmp_path / "not here"))
    assert [digest(one) for one in again] == [digest(whole[0])] * 3
    for ranks in (1, 2):
        other = run_threads(ranks, lambda c: mlp(c, resume=file))[0]
        assert max(np.abs(other[0][name] - whole[0][0][name]).max() for name in other[0]) < 1e-12
    alone = mlp(resume=file)
    assert max(np.abs(alone[0][name] - whole[0][0][name]).max() for name in alone[0]) < 1e-12


def test_a_state_that_cannot_be_read_is_an_error_of_all(tmp_path):
    def run(communicator):
        with pytest.raises(TrainingError, match="not here"):
            mlp(communicator, resume=tmp_path / "not here")

    run_threads(2, run)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (lambda rank: {"data": tuple(part + rank for part in numbers())}, "the SHA-256 of the data"),
        (lambda rank: {"data": numbers(103 + 30 * rank)}, "the number of batches"),
        (lambda rank: {"validation": numbers(40 + rank)}, "the SHA-256 of the validation part"),
        (lambda rank: {"epochs": 1 + rank}, "epochs is 1 on rank 0 .here., and 2 on rank 1"),
        (lambda rank: {"clip_norm": 1.0 + rank}, "clip_norm"),
        (lambda rank: {"model": in_float64(nn.Linear(6, 3, bias=rank == 0))}, "the model"),
        (lambda rank: {"jit": ["on", "off"][rank]}, "jit is on on rank 0"),
    ],
)
def test_ranks_that_would_train_something_else_are_refused(options, named):
    def run(communicator):
        with pytest.raises(TrainingError, match=f"the processes do not train the same: .*{named}"):
            mlp(communicator, **options(communicator.rank))

    run_threads(2, run)


class Drawn:
    """Batches of the user's, drawn at random."""

    def __init__(self, draw, rng=None):
        self.draw, self.rng = draw, rng

    def __len__(self):
        return 2

    def __iter__(self):
        x, y = numbers()
        for _ in range(2):
            chosen = self.draw(self)
            yield x[chosen], y[chosen]


def test_batches_of_the_users_are_drawn_by_the_generator_of_the_first():
    def run(communicator):
        rng = np.random.default_rng(None if communicator is None else communicator.rank)
        return mlp(communicator, data=Drawn(lambda own: own.rng.permutation(103)[:20], rng))

    found = run_threads(2, run)
    assert len(set(map(digest, found))) == 1


def test_batches_of_the_users_that_differ_are_refused():
    def run(communicator):
        rng = np.random.default_rng(communicator.rank)  # nobody knows of it
        with pytest.raises(TrainingError, match=r"the SHA-256 of a batch .* by the same seed"):
            mlp(communicator, data=Drawn(lambda own: rng.permutation(103)[:20]))

    run_threads(2, run)


def test_a_wrong_argument_in_one_rank_is_an_error_of_all():
    def run(communicator):
        with pytest.raises(TrainingError, match="epochs must be a finite number above 0"):
            mlp(communicator, epochs=1 - communicator.rank)

    run_threads(2, run)


# ---- callbacks ---------------------------------------------------------------------------------------------


def test_callbacks_that_write_are_told_in_the_first_rank_alone():
    def run(communicator):
        one = Everything()
        mlp(communicator, callbacks=[one], validation=numbers(40), epochs=1)
        return one.events

    first, *others = run_threads(3, run)
    assert first == ["begin", 1, 2, 3, 4, 5, True]
    assert others == [[], []]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_in_one_rank_stops_all_after_the_same_step(rank):
    stop = At(7, rank, lambda training: training.stop())
    found = run_threads(2, lambda c: mlp(c, callbacks=[stop], validation=numbers(40)))
    assert [(done.stopped, len(done.history.losses)) for _, done in found] == [(True, 7)] * 2
    assert len(set(map(digest, found))) == 1


@pytest.mark.parametrize("rank", [0, 2])
def test_an_interrupt_in_one_rank_ends_all_after_the_same_step(rank):
    def interrupt(training):
        raise KeyboardInterrupt

    found = run_threads(3, lambda c: mlp(c, callbacks=[At(7, rank, interrupt)], validation=numbers(40)))
    assert [(done.interrupted, len(done.history.losses)) for _, done in found] == [(True, 7)] * 3
    assert len(set(map(digest, found))) == 1


def test_a_callback_that_fails_in_one_rank_ends_all_with_its_error():
    def fail(training):
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        run_threads(2, lambda c: mlp(c, callbacks=[At(3, 1, fail)]))


def test_lints_change_nothing():
    def run(communicator, **options):
        return digest(mlp(communicator, epochs=1, **options))

    assert run_threads(2, lambda c: run(c, lint=True)) == run_threads(2, run)


def test_lints_look_at_whole_batches_and_are_said_once_by_the_first_rank():
    def heard(communicator):
        notices = Notices()
        x, y = numbers()
        mlp(communicator, callbacks=[notices], lint=True, data=(1e4 * x, y), epochs=1)
        return [one for one in notices.heard if "standardise" in one]

    expected = heard(None)
    assert len(expected) == 1
    assert run_threads(2, heard) == [expected, []]  # it says the mean and the spread of the batch


# ---- what differs on the way -------------------------------------------------------------------------------


def test_weights_that_differ_are_told_and_taken_from_the_first():
    def change(training):
        training.model[0].weight.data[0, 0] += 1.0

    def run(communicator):
        heard = Notices()
        change_it = At(7, communicator.size - 1, change)
        result = mlp(communicator, callbacks=[change_it, heard], validation=numbers(40), evaluate_every=0.4)
        return result, heard.heard

    (first, heard), (other, _) = run_threads(2, run)
    assert digest(first) == digest(other)
    told = [one for one in heard if "differed from those of rank 0" in one]
    assert len(told) == 1
    assert told[0].startswith("the weights of rank 1 (here) differed")


def test_a_loss_that_is_not_finite_is_an_error_of_all_with_the_sample_of_one():
    x, y = numbers()
    x[57, 2] = np.nan

    def run(communicator):
        with pytest.raises(DivergedError) as caught:
            mlp(communicator, data=Batches(x, y, 103), lint=True, callbacks=[Notices()])
        return str(caught.value)

    messages = run_threads(3, run)
    assert len(set(messages)) == 1
    assert "sample 57" in messages[0]


def test_metrics_that_differ_in_each_rank_choose_the_same_best_state():
    rng = np.random.default_rng(0)
    options = {"validation": numbers(40), "metrics": {"accuracy": lambda outputs, targets: rng.random()}}
    found = run_threads(2, lambda c: mlp(c, **options))
    assert len(set(map(digest, found))) == 1
