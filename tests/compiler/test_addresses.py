"""Addresses as NumPy tells them, and overlaps as a comparison of all elements finds them."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_mnist.compiler import addresses
from tinygrad_mnist.compiler.addresses import Overlaps, address_of, span

WHOLE = np.arange(60.0).reshape(3, 4, 5)


@pytest.mark.parametrize(
    "array",
    [
        WHOLE,
        WHOLE[1:, ::2],
        WHOLE.T,
        WHOLE[::-1, :, ::-1],
        WHOLE[0, 0, 0:0],
        np.array(3.0),
        np.zeros((0, 3), np.int8),
    ],
)
def test_an_address_is_what_numpy_tells(array: Any) -> None:
    assert address_of(array) == array.__array_interface__["data"][0]
    assert addresses._asked_for(array) == address_of(array)


def bytes_of(array: Any) -> set[int]:
    """Return the addresses of all bytes of an array."""
    start = array.__array_interface__["data"][0]
    places = [start + int(np.dot(index, array.strides)) for index in np.ndindex(array.shape)]
    return {place + offset for place in places for offset in range(array.itemsize)}


@pytest.mark.parametrize("array", [WHOLE, WHOLE[1:, ::2], WHOLE[::-1, :, ::-2], WHOLE.T[2:], np.array(3.0)])
def test_a_span_reaches_from_the_first_byte_to_the_last(array: Any) -> None:
    before, after = span(array.shape, array.strides, array.itemsize)
    found = bytes_of(array)
    assert (address_of(array) - before, address_of(array) + after) == (min(found), max(found))


def in_one_array(cuts: list[Any], memory: Any) -> list[Any]:
    return [memory[start : start + length * abs(step)][::step] for start, length, step in cuts]


CUTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 4), st.sampled_from([1, 2, 3, -1])), min_size=2, max_size=6
)


@settings(max_examples=200)
@given(CUTS, st.sets(st.integers(0, 5)), CUTS)
def test_overlaps_are_those_of_elements(first: list[Any], written: set[int], second: list[Any]) -> None:
    memory = np.zeros(60, np.int32)
    arrays = in_one_array(first, memory)
    targets = {number for number in written if number < len(arrays)}
    spans = [span(array.shape, array.strides, array.itemsize) for array in arrays]
    held: list[Any] = [None] * len(arrays)
    overlaps = Overlaps(spans, targets, held)

    def expected() -> bool:
        pairs = permutations(range(len(held)), 2)
        return any(i in targets and bytes_of(held[i]) & bytes_of(held[j]) for i, j in pairs)

    def found() -> bool:
        return overlaps.are_possible and overlaps.exist()

    for number, array in enumerate(arrays):
        held[number] = array
        overlaps.place(number, address_of(array))
    assert found() == expected()
    assert found() == expected()  # of a second look, too
    # One after the other is moved to where another list of sections begins; outside of the span of what is
    # written to, the caller need not say so.
    for number, (start, _, _) in enumerate(second[: len(arrays)]):
        if min(arrays[number].strides) > 0:
            place = memory[min(start, 40) :][:1]
            held[number] = np.lib.stride_tricks.as_strided(
                place, arrays[number].shape, arrays[number].strides
            )
        address, (before, after) = address_of(held[number]), spans[number]
        if number in targets or (address - before <= overlaps.last and address + after >= overlaps.first):
            overlaps.place(number, address)
        assert found() == expected()
