"""The harness measures in turn, and its figures are what they are called."""

from itertools import count

import pytest

from benchmarks import harness
from benchmarks.harness import Table, Timing, interleave, race, seconds_of


def test_a_timing_is_the_median_with_the_quartiles() -> None:
    assert Timing.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Timing(3.0, 2.0, 4.0)


def test_one_measurement_is_its_own_quartiles() -> None:
    assert Timing.of([2.0]) == Timing(2.0, 2.0, 2.0)


def test_rivals_take_turns_and_every_other_round_goes_backwards() -> None:
    turns: list[str] = []

    def rival(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    values = interleave({name: lambda name=name: rival(name) for name in "abc"}, 3)  # type: ignore[misc]
    assert "".join(turns) == "abccbaabc"
    assert values == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_seconds_are_those_of_one_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.time, "perf_counter", count(0.0, 12.0).__next__)
    calls: list[None] = []
    assert seconds_of(lambda: calls.append(None), calls=3, operations=6) == 2.0
    assert len(calls) == 3


def test_a_race_warms_up_and_then_calls_as_often_as_it_was_told() -> None:
    calls: list[None] = []
    ran = race({"only": lambda: calls.append(None)}, rounds=4, calls=5)
    assert len(calls) == 5 + 4 * 5
    assert list(ran.timings) == ["only"]
    assert 0 <= ran.share <= 1


def test_a_ratio_is_one_of_medians() -> None:
    table = Table("work", "s", "a", {"a": Timing(3.0, 1.0, 9.0), "b": Timing(2.0, 2.0, 2.0)})
    assert table.ratio("a", "b") == 1.5
    assert table.ratio("a", "absent") is None
