from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, Standardizer, batches, one_hot, stratified_split

label_arrays = hnp.arrays(np.int64, st.integers(2, 200), elements=st.integers(0, 6))


class TestOneHot:
    @given(label_arrays, st.sampled_from([np.float32, np.float64, np.uint8]))
    def test_a_row_has_one_one_and_it_is_at_the_label(self, labels: NDArray[np.int64], dtype: type) -> None:
        rows = one_hot(labels, 7, dtype)
        assert rows.dtype == dtype
        assert rows.shape == (len(labels), 7)
        np.testing.assert_array_equal(rows.sum(axis=1), 1)
        np.testing.assert_array_equal(rows.argmax(axis=1), labels)

    def test_float32_is_the_default(self) -> None:
        assert one_hot(np.array([0], np.uint8), 2).dtype == np.float32

    @pytest.mark.parametrize("bad", [10, -1])
    def test_a_bad_label_is_named_with_its_place(self, bad: int) -> None:
        with pytest.raises(DataError, match=f"label {bad} at position 2 "):
            one_hot(np.array([0, 9, bad, 3]), 10)

    @pytest.mark.parametrize("labels", [np.array([0.0, 1.0]), np.zeros((2, 2), int), np.array([True])])
    def test_what_is_no_row_of_integers_is_refused(self, labels: NDArray[Any]) -> None:
        with pytest.raises(DataError, match="labels are integers"):
            one_hot(labels, 10)


class TestBatches:
    images = np.arange(10 * 4, dtype=np.uint8).reshape(10, 2, 2)
    labels = np.arange(10)

    @given(st.integers(0, 10), st.integers(1, 12), st.booleans(), st.booleans())
    def test_each_sample_comes_once_with_its_label(
        self, samples: int, batch_size: int, shuffled: bool, drop_last: bool
    ) -> None:
        images, labels = self.images[:samples], self.labels[:samples]
        rng = np.random.default_rng(0) if shuffled else None
        drawn = list(batches(images, labels, batch_size, rng=rng, drop_last=drop_last))
        sizes = [len(x) for x, _ in drawn]
        full, rest = divmod(samples, batch_size)
        assert sizes == [batch_size] * full + ([rest] if rest and not drop_last else [])
        seen = [int(label) for _, y in drawn for label in y]
        assert len(set(seen)) == len(seen)
        for x, y in drawn:
            np.testing.assert_array_equal(x, images[y])

    def test_without_a_generator_the_order_is_kept(self) -> None:
        seen = np.concatenate([y for _, y in batches(self.images, self.labels, 3)])
        np.testing.assert_array_equal(seen, self.labels)

    def test_equal_seeds_give_equal_orders(self) -> None:
        first, second = (
            [y.tolist() for _, y in batches(self.images, self.labels, 3, rng=np.random.default_rng(5))]
            for _ in range(2)
        )
        assert first == second

    def test_one_generator_gives_another_order_each_time(self) -> None:
        rng = np.random.default_rng(5)
        first, second = (
            [y.tolist() for _, y in batches(self.images, self.labels, 3, rng=rng)] for _ in range(2)
        )
        assert first != second

    def test_images_stay_uint8_without_a_standardizer(self) -> None:
        x, _ = next(batches(self.images, self.labels, 3, rng=np.random.default_rng(0)))
        assert x.dtype == np.uint8

    def test_a_standardizer_is_applied_to_each_batch(self) -> None:
        standardizer = Standardizer.fit(self.images)
        for x, y in batches(
            self.images, self.labels, 4, rng=np.random.default_rng(0), standardize=standardizer
        ):
            np.testing.assert_array_equal(x, standardizer(self.images[y]))

    def test_rows_of_one_hot_are_labels_too(self) -> None:
        rows = one_hot(self.labels, 10)
        drawn = [y for _, y in batches(self.images, rows, 4, rng=np.random.default_rng(0))]
        np.testing.assert_array_equal(np.concatenate(drawn).sum(axis=0), 1)

    @pytest.mark.parametrize("batch_size", [0, -3])
    def test_a_batch_size_below_one_is_refused_at_the_call(self, batch_size: int) -> None:
        with pytest.raises(DataError, match=f"not {batch_size}"):
            batches(self.images, self.labels, batch_size)

    def test_mismatched_counts_are_refused_at_the_call(self) -> None:
        with pytest.raises(DataError, match="10 inputs and 9 targets"):
            batches(self.images, self.labels[:9], 2)


class TestStratifiedSplit:
    @given(label_arrays, st.floats(0.01, 0.99), st.integers(0, 5))
    def test_each_class_is_within_one_sample_of_its_share(
        self, labels: NDArray[np.int64], fraction: float, seed: int
    ) -> None:
        assume(0 < round(fraction * len(labels)) < len(labels))
        train, held_out = stratified_split(labels, fraction, np.random.default_rng(seed))
        assert len(held_out) == round(fraction * len(labels))
        np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(len(labels)))
        counts = np.bincount(labels, minlength=7)
        assert np.all(np.abs(np.bincount(labels[held_out], minlength=7) - fraction * counts) < 1 + 1e-9)

    @given(label_arrays, st.floats(0.01, 0.99))
    def test_the_largest_remainders_are_rounded_up(self, labels: NDArray[np.int64], fraction: float) -> None:
        assume(0 < round(fraction * len(labels)) < len(labels))
        _, held_out = stratified_split(labels, fraction, np.random.default_rng(0))
        counts = np.bincount(labels, minlength=7)
        remainders, whole = np.modf(fraction * counts)
        rounded_up = np.bincount(labels[held_out], minlength=7) > whole
        assert remainders[rounded_up].min(initial=1) >= remainders[~rounded_up & (counts > 0)].max(initial=0)

    def test_the_indices_ascend(self) -> None:
        train, held_out = stratified_split(np.arange(100) % 3, 0.3, np.random.default_rng(0))
        assert np.all(np.diff(train) > 0)
        assert np.all(np.diff(held_out) > 0)

    def test_the_generator_chooses(self) -> None:
        labels = np.arange(100) % 3
        first, again, other = (
            stratified_split(labels, 0.3, np.random.default_rng(seed))[1].tolist() for seed in (0, 0, 1)
        )
        assert first == again
        assert first != other

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
    def test_a_fraction_that_is_none_is_refused(self, fraction: float) -> None:
        with pytest.raises(DataError, match="between 0 and 1"):
            stratified_split(np.arange(10), fraction, np.random.default_rng(0))

    def test_a_part_that_would_be_empty_is_refused(self) -> None:
        with pytest.raises(DataError, match="one part empty"):
            stratified_split(np.arange(10), 0.01, np.random.default_rng(0))

    def test_labels_that_are_no_integers_are_refused(self) -> None:
        with pytest.raises(DataError, match="labels are integers"):
            stratified_split(np.linspace(0, 1, 10), 0.5, np.random.default_rng(0))
