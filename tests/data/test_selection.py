from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, hard_images, load_digits, ridge_margins

DIGITS = load_digits()
IMAGES, LABELS = DIGITS.train_images, DIGITS.train_labels
MARGINS = np.random.default_rng(1).normal(size=4000)
rank = MARGINS.argsort().argsort() / len(MARGINS)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestRidgeMargins:
    @pytest.mark.parametrize("shape", [(8, 8), (7, 5)])
    def test_they_are_those_of_the_formula(self, shape: tuple[int, int]) -> None:
        """In float64 and at once, by least squares with rows added for the penalty."""
        images = IMAGES[:, : shape[0], : shape[1]]
        height, width = (side // 2 for side in shape)
        blocks = images[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2).mean(axis=(2, 4)) / 255
        x = np.hstack([blocks.reshape(len(images), -1), np.ones((len(images), 1))])
        penalty = np.sqrt(0.01 * len(x)) * np.eye(x.shape[1])
        targets = np.vstack([np.eye(10)[LABELS], np.zeros((x.shape[1], 10))])
        weights = np.linalg.lstsq(np.vstack([x, penalty]), targets)[0]
        scores = x @ weights
        others = np.where(np.eye(10)[LABELS] == 1, -np.inf, scores).max(axis=1)
        expected = scores[np.arange(len(x)), LABELS] - others
        np.testing.assert_allclose(ridge_margins(images, LABELS), expected, atol=1e-4)

    def test_many_images_are_no_other_than_few(self) -> None:
        """Each image twice doubles the sums and the penalty: the weights stay."""
        twice = ridge_margins(np.concatenate([IMAGES, IMAGES]), np.concatenate([LABELS, LABELS]))
        np.testing.assert_allclose(twice[: len(IMAGES)], ridge_margins(IMAGES, LABELS), atol=1e-4)

    def test_a_wrong_label_makes_an_image_hard(self) -> None:
        labels = LABELS.copy()
        labels[:20] = (labels[:20] + 5) % 10
        assert np.all(ridge_margins(IMAGES, labels)[:20] < 0)

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (IMAGES.astype(np.float32), LABELS, "not float32"),
            (IMAGES[:, :1], LABELS, "each side 2 or more"),
            (IMAGES[:0], LABELS[:0], r"of shape \(0, 8, 8\)"),
            (IMAGES, LABELS[1:], "1,438 images and 1,437 labels"),
            (IMAGES, LABELS / 1, "labels are integers"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, images: NDArray[Any], labels: NDArray[Any], message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            ridge_margins(images, labels)


class TestHardImages:
    @given(st.integers(1, 50), st.floats(0.01, 1), st.floats(0, 2000), st.floats(0, 1), st.integers(0, 99))
    def test_each_is_chosen_once_at_most(self, n: int, share: float, k: float, h: float, seed: int) -> None:
        chosen = hard_images(MARGINS[:n], share, k, h, rng(seed))
        assert len(chosen) == max(1, round(share * n))
        assert len(set(chosen.tolist())) == len(chosen)
        assert 0 <= chosen.min() <= chosen.max() < n

    def test_the_first_come_from_all_alike_and_the_others_are_hard(self) -> None:
        chosen = hard_images(MARGINS, 0.25, 4, 0.3, rng())
        alike, hard = np.split(rank[chosen], [300])
        assert abs(alike.mean() - 0.5) < 0.06
        assert hard.mean() < 0.33

    def test_the_others_are_in_random_order(self) -> None:
        hard = rank[hard_images(MARGINS, 0.5, 4, 0, rng())]
        assert abs(np.corrcoef(hard, np.arange(len(hard)))[0, 1]) < 0.06

    def test_the_weights_are_the_exponential_of_the_rank(self) -> None:
        """So few are drawn that it does not count what is taken out: r has the density of exp(-k r)."""
        drawn = np.concatenate([rank[hard_images(MARGINS, 0.01, 3, 0, rng(seed))] for seed in range(200)])
        found = np.histogram(drawn, bins=5, range=(0, 1))[0] / len(drawn)
        edges = np.exp(-3 * np.linspace(0, 1, 6))
        np.testing.assert_allclose(found, -np.diff(edges) / (1 - edges[-1]), atol=0.02)

    def test_without_a_weight_all_are_drawn_alike(self) -> None:
        assert abs(rank[hard_images(MARGINS, 0.3, 0, 0, rng())].mean() - 0.5) < 0.05

    def test_a_great_weight_takes_the_hardest(self) -> None:
        chosen = hard_images(MARGINS, 0.1, 1e6, 0, rng())
        assert rank[chosen].max() < 0.1

    def test_the_generator_chooses(self) -> None:
        first, again, other = (hard_images(MARGINS, 0.1, 2, 0.1, rng(seed)).tolist() for seed in (0, 0, 1))
        assert first == again
        assert first != other

    @pytest.mark.parametrize(
        ("share", "k", "h"),
        [(0, 1, 0), (1.5, 1, 0), (0.5, -1, 0), (0.5, np.inf, 0), (0.5, 1, 2), (np.nan, 1, 0), (0.5, 1, -0.1)],
    )
    def test_a_number_out_of_range_is_refused(self, share: float, k: float, h: float) -> None:
        with pytest.raises(DataError, match=r"share is in \(0, 1\], k at least 0"):
            hard_images(MARGINS, share, k, h, rng())

    @pytest.mark.parametrize("margins", [np.zeros((2, 2)), np.zeros(0)])
    def test_what_are_no_margins_is_refused(self, margins: NDArray[Any]) -> None:
        with pytest.raises(DataError, match=r"shape \(n,\)"):
            hard_images(margins, 0.5, 1, 0, rng())
