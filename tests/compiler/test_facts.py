"""Facts are equal when a program may rest on either, and say in words what became of them."""

from __future__ import annotations

import gc
import itertools
import math
from typing import Any
from weakref import ref

import numpy as np
import pytest

from tinygrad_mnist.compiler.facts import Difference, Same, differences, fact_of, layout_of

APART: list[Any] = [
    *(0, 0.0, -0.0, False, 1, 1.0, True, 0.5, math.nan, math.inf, "", "1", b"1", None, 1j, ...),
    *(np.float32(1), np.float64(1), np.int64(1), np.dtype(np.float32), np.dtype(">f4"), range(3)),
]


def test_different_plain_values_are_different_facts() -> None:
    equal = [pair for pair in itertools.combinations(APART, 2) if fact_of(pair[0]) == fact_of(pair[1])]
    assert equal == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: float("nan"),
        lambda: float("0.1"),
        lambda: float("-0"),
        lambda: int("1000"),
        lambda: np.float32(1),
    ],
)
def test_equal_plain_values_are_one_fact(make: Any) -> None:
    assert fact_of(make()) == fact_of(make())
    assert hash(fact_of(make())) == hash(fact_of(make()))


def test_an_object_is_itself_alone() -> None:
    one, other = np.ones(2), np.ones(2)
    assert fact_of(one) == fact_of(one)
    assert fact_of(one) != fact_of(other)


def test_a_fact_keeps_nothing_alive_and_is_not_taken_for_that_of_a_later_object() -> None:
    array = np.ones(2)
    fact, alive = Same(array), ref(array)
    del array
    gc.collect()
    assert alive() is None
    assert all(Same(np.ones(2)) != fact for _ in range(100))  # one of them may get the same identity


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((2, 3)), "C"),
        (np.ones((2, 3)).T, "F"),
        (np.ones((4, 6))[::2, ::3], "strides (12, 3)"),
        (np.ones(3)[::-1], "strides (-1,)"),
        (np.broadcast_to(np.ones(3), (2, 3)), "strides (0, 1)"),
        (np.frombuffer(b"\0" * 17, np.uint8)[1:].view(np.float64), "C, not aligned"),
        (np.ones((4, 6))[2:3], "C"),
        (np.zeros(3, [("a", "f4"), ("b", "f8")])["b"], "strides (1.5,), not aligned"),
    ],
)
def test_layouts(array: Any, words: str) -> None:
    assert layout_of(array) == words


def test_differences_are_said_in_words() -> None:
    one, other = np.ones(2), np.ones(2)
    was = {"a": fact_of(1), "b": fact_of(one), "c": fact_of("x"), "d": fact_of(one), "same": None}
    now = {"a": fact_of(1.0), "b": fact_of(other), "d": None, "e": fact_of(0.5), "same": None}
    assert [str(each) for each in differences(was, now)] == [
        "a was 1, is 1.0",
        "b is another array",
        "d was an array, is None",
        "e is new: 0.5",
        "c is gone",
    ]
    assert str(Difference("n", fact_of(1), fact_of(True))) == "n was 1, is True"
    assert str(Difference("n", fact_of(np.float32(1)), fact_of(1.0))) == "n was 1.0 (float32), is 1.0 (float)"
