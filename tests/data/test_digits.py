from importlib import resources

import numpy as np
import pytest

from tinygrad_mnist.data import load_digits

DIGITS = load_digits()


def test_there_are_1797_digits_of_which_a_fifth_is_the_test_part() -> None:
    assert DIGITS.train_images.shape == (1438, 8, 8)
    assert DIGITS.test_images.shape == (359, 8, 8)
    assert DIGITS.classes == 10


def test_the_test_part_has_a_fifth_of_each_class() -> None:
    train, test = np.bincount(DIGITS.train_labels), np.bincount(DIGITS.test_labels)
    assert np.all(np.abs(test - 0.2 * (train + test)) < 1)


def test_the_grey_values_go_from_0_to_255_in_17_steps() -> None:
    values = np.unique(DIGITS.train_images)
    assert values.tolist() == [round(ink * 255 / 16) for ink in range(17)]


def test_it_is_the_same_each_time_and_nobody_s_changes_are_seen() -> None:
    changed = load_digits()
    changed.train_images[:] = 0
    np.testing.assert_array_equal(load_digits().train_images, DIGITS.train_images)


def test_they_are_scikit_learn_s() -> None:
    source = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits()
    with (resources.files("tinygrad_mnist.data") / "digits.npz").open("rb") as stream:
        stored = dict(np.load(stream, allow_pickle=False))
    np.testing.assert_array_equal(stored["images"], source.images)
    np.testing.assert_array_equal(stored["labels"], source.target)


def test_the_file_is_small() -> None:
    assert len((resources.files("tinygrad_mnist.data") / "digits.npz").read_bytes()) < 50_000


def test_licence_and_citation_lie_beside_it() -> None:
    text = (resources.files("tinygrad_mnist.data") / "digits.txt").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "10.24432/C50P49" in text
