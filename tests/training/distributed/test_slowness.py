"""Ranks that are slower than the others are named, once."""

from types import SimpleNamespace

import pytest

from tests.ranks import run_threads
from tinygrad_mnist.training.distributed import slowness
from tinygrad_mnist.training.distributed.slowness import StepTimes, slow_ranks


class Clock:
    """A clock that a test moves."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(slowness, "perf_counter", lambda: self.now)


@pytest.mark.parametrize(
    ("seconds", "slow"),
    [
        ([1, 1, 1], []),
        ([1, 1.49, 1], []),
        ([1, 1.5, 1], [1]),
        ([1, 1, 9, 8, 1], [2, 3]),
        ([3, 1], [0]),
        ([1, 1.2], []),
        ([1], []),
        ([0, 1], []),
    ],
)
def test_a_rank_is_slow_that_takes_one_and_a_half_times_the_median(seconds, slow):
    assert slow_ranks(seconds) == slow


def test_the_time_of_waiting_for_the_others_is_not_the_ranks_own(monkeypatch):
    clock = Clock(monkeypatch)
    told = []
    ranks = SimpleNamespace(waited=0.0, hosts=["a"], gather=lambda own: told.append(own) or [own])
    times = StepTimes(ranks)
    for _ in range(5):
        times.begin()
        clock.now += 3
        ranks.waited += 2
        times.end()
    assert times.report() == []
    assert told == [1.0]


def test_all_ranks_name_the_slow_one_with_its_host_and_only_once(monkeypatch):
    clock = Clock(monkeypatch)

    def run(ranks):
        times = StepTimes(ranks)
        found = []
        for _ in range(2):
            for _ in range(5):
                times._times.append(0.4 if ranks.rank == 1 else 0.2)
            found.append(times.report())
        return found

    sentence = (
        "rank 1 on here is slow: a step takes 400 ms there, 2.0 times the median, and the others wait for it"
    )
    assert run_threads(3, run) == [[[sentence], []]] * 3
    assert clock.now == 0


def test_a_rank_for_which_nobody_waited_long_is_not_named():
    def run(ranks):
        times = StepTimes(ranks)
        times._times += [0.004 if ranks.rank == 1 else 0.002] * 100
        return times.report()

    assert run_threads(3, run) == [[]] * 3


def test_of_few_steps_nothing_is_said():
    def run(ranks):
        times = StepTimes(ranks)
        times._times.append(float(1 + ranks.rank))
        return times.report()

    assert run_threads(2, run) == [[], []]
