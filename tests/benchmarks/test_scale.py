"""The model of a step on several ranks: costs that can be counted, and what follows from them."""

import json
import subprocess
import sys
from math import log2
from pathlib import Path

import pytest

from benchmarks.scale_model import (
    Line,
    Network,
    Work,
    allreduce,
    doubling,
    line_through,
    network_between,
    network_of,
    ring,
    tree,
)

ROOT = Path(__file__).parents[2]
LATENCY, BYTE, ADDING = Network(1.0, 0.0), Network(0.0, 1.0), Network(0.0, 0.0, 1.0)
WORK = Work(Line(1e-3, 1e-4), Line(2e-3, 1.1e-4), {100: 6, 400_000: 1})
ETHERNET = network_of(10, 30e-6, 1e-10)


@pytest.mark.parametrize("ranks", [2, 8, 64, 1024])
def test_messages_bytes_and_sums_are_those_that_the_algorithms_make(ranks: int) -> None:
    rounds = log2(ranks)
    moved = 1000 * (ranks - 1) / ranks
    assert [how(1000, ranks, LATENCY) for how in (doubling, tree, ring)] == [
        rounds, 2 * rounds, 2 * (ranks - 1),
    ]  # fmt: skip
    assert [how(1000, ranks, BYTE) for how in (doubling, tree, ring)] == pytest.approx(
        [1000 * rounds, 2 * moved, 2 * moved]
    )
    assert [how(1000, ranks, ADDING) for how in (doubling, tree, ring)] == pytest.approx(
        [1000 * rounds, moved, moved]
    )


def test_ranks_that_are_no_power_of_two_take_a_round_more() -> None:
    assert doubling(0, 5, LATENCY) == 3


def test_small_arrays_go_by_doubling_and_large_ones_by_parts() -> None:
    assert allreduce(8, 64, ETHERNET) == doubling(8, 64, ETHERNET)
    assert allreduce(1e8, 64, ETHERNET) == tree(1e8, 64, ETHERNET) < doubling(1e8, 64, ETHERNET)
    assert allreduce(1e8, 1, ETHERNET) == 0


def test_a_network_has_so_many_bits_a_second() -> None:
    assert network_of(100, 0.0, 0.0).byte * 1e11 == pytest.approx(8)


def test_one_process_exchanges_nothing_and_the_rank_with_most_rows_is_waited_for() -> None:
    assert WORK.step(64, 1, ETHERNET) == WORK.alone.at(64)
    assert WORK.step(65, 2, ETHERNET) == WORK.rank.at(33) + WORK.exchange(2, ETHERNET)
    assert WORK.exchange(2, LATENCY) == 7


@pytest.mark.parametrize("ranks", [2, 8, 64, 1000])
@pytest.mark.parametrize("efficiency", [0.3, 0.5, 0.8])
def test_the_batch_of_an_efficiency_is_the_smallest_that_has_it(ranks: int, efficiency: float) -> None:
    rows = WORK.rows_at(efficiency, ranks, ETHERNET)
    assert WORK.speedup(rows, ranks, ETHERNET) >= efficiency * ranks
    if rows > ranks:
        assert WORK.speedup(rows - ranks, ranks, ETHERNET) < efficiency * ranks


def test_an_efficiency_that_no_batch_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch of 8 ranks has an efficiency of 95%"):
        WORK.rows_at(0.95, 8, ETHERNET)


def test_a_line_goes_through_what_lies_on_one() -> None:
    found = line_through({rows: 2e-3 + 3e-5 * rows for rows in (8, 32, 64)})
    assert (found.fixed, found.row) == pytest.approx((2e-3, 3e-5))


def test_the_network_is_what_two_ranks_take_longer_than_one() -> None:
    one = {16: 5e-6, 400_016: 45e-6}
    two = {size: taken + 3e-6 + 2e-10 * size for size, taken in one.items()}
    found = network_between(two, one)
    assert found.latency == pytest.approx(3e-6, rel=1e-2)
    assert found.byte == pytest.approx(2e-10, rel=1e-2)


def test_the_worker_says_how_long_steps_took() -> None:
    command = [sys.executable, "-m", "benchmarks.scale_worker", "steps", "cnn-digits", "3", "16"]
    pytest.importorskip("llvmlite", reason="steps are compiled")
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout.splitlines()[-1])
    assert answer["median"] > 0
    assert answer["exchanges"] == {}
    assert answer["waited"] == 0
