"""Labels as numbers: their order, which is that of people, and the classes that two parts share."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist.data import DataError
from tinygrad_mnist.data.labels import as_labels, from_texts, natural, number_labels


@given(st.lists(st.text("aB0129-²é ", max_size=6)), st.randoms())
def test_any_texts_have_one_order(texts: list[str], random: Random) -> None:
    ordered = sorted(texts, key=natural)
    random.shuffle(texts)
    assert sorted(texts, key=natural) == ordered


@given(st.lists(st.integers(0, 10**30), unique=True))
def test_numbers_have_the_order_of_their_values(numbers: list[int]) -> None:
    assert [int(text) for text in sorted(map(str, numbers), key=natural)] == sorted(numbers)


def test_a_longer_name_comes_after_its_beginning() -> None:
    assert sorted(["a1b", "a", "a1", "a01", "A1c"], key=natural) == ["a", "a01", "a1", "a1b", "A1c"]


@given(
    train=st.lists(st.integers(0, 6), min_size=1),
    test=st.lists(st.integers(0, 6), min_size=1),
    as_texts=st.booleans(),
)
def test_a_number_stands_for_its_label(train: list[int], test: list[int], as_texts: bool) -> None:
    dtype: type = np.str_ if as_texts else np.int64
    if len({*train, *test}) < 2:
        with pytest.raises(DataError, match="all pictures have the label"):
            number_labels("data", np.array(train, dtype), np.array(test, dtype))
        return
    found = number_labels("data", np.array(train, dtype), np.array(test, dtype))
    assert found.test is not None
    assert [int(found.class_names[number]) for number in found.train] == train
    assert [int(found.class_names[number]) for number in found.test] == test
    assert list(found.class_names) == sorted(found.class_names)


def test_numbers_in_one_part_and_texts_in_the_other_are_texts() -> None:
    found = number_labels("data", np.array([1, 2]), np.array(["1", "x"]))
    assert found.class_names == ("1", "2", "x")


def test_texts_of_whole_numbers_are_numbers() -> None:
    assert from_texts("data", [b" 10 ", b"9", b"9.0"]).tolist() == [10, 9, 9]
    assert from_texts("data", ["10", "x"]).tolist() == ["10", "x"]
    assert as_labels("data", np.array([b"10", b"9"])).tolist() == [10, 9]


def test_names_that_differ_by_blanks_are_refused() -> None:
    with pytest.raises(DataError, match="two classes have the name 'a'"):
        number_labels("data", np.array(["a", "a ", "b"]), None)
