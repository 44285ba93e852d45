from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinygrad_mnist.data import AUGMENTATIONS, Augmentation, Augmenter, DataError, find_augmentation
from tinygrad_mnist.data.augmenter import FIELDS, bilinear, elastic_fields, uniform

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (150, 28, 28), np.uint8)
"""More images than are changed at a time."""
ALL = np.arange(len(IMAGES))


def at(images: NDArray[Any], y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float32]:
    """Take places (n, h, w) from images."""
    out = np.empty(y.shape, np.float32)
    bilinear(images, y.astype(np.float32), x.astype(np.float32), out)
    return out


def slow_bilinear(image: NDArray[Any], y: float, x: float) -> float:
    """Sum all pixels, each weighted by a tent function of its distance: another way to say bilinear."""
    height, width = image.shape
    down = np.maximum(0, 1 - np.abs(np.arange(height) - y))
    across = np.maximum(0, 1 - np.abs(np.arange(width) - x))
    return float(down @ image.astype(np.float64) @ across)


def moved(images: NDArray[Any], down: int, right: int) -> NDArray[Any]:
    """Move images by whole pixels; black comes in."""
    rolled = np.roll(images, (down, right), axis=(-2, -1)).copy()
    height, width = images.shape[-2:]
    rows, columns = np.arange(height) - down, np.arange(width) - right
    rolled[..., (rows < 0) | (rows >= height), :] = 0
    rolled[..., :, (columns < 0) | (columns >= width)] = 0
    return rolled


class TestBilinear:
    rows, columns = np.meshgrid(np.arange(28.0), np.arange(28.0), indexing="ij")

    def test_each_pixel_from_its_own_place_is_the_image(self) -> None:
        np.testing.assert_array_equal(at(IMAGES[:1], self.rows[None], self.columns[None]), IMAGES[:1])

    @pytest.mark.parametrize(("down", "right"), [(0, 1), (3, 0), (-2, 5), (-27, -27), (28, 0), (0, -40)])
    def test_whole_pixels_move_the_image_and_black_comes_in(self, down: int, right: int) -> None:
        found = at(IMAGES[:1], self.rows[None] - down, self.columns[None] - right)
        expected = moved(IMAGES[:1], down, right) if max(abs(down), abs(right)) < 28 else 0 * IMAGES[:1]
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("turns", [0, 1, 2, 3])
    @pytest.mark.parametrize("side", [8, 27])
    def test_a_right_angle_turns_as_rot90_does(self, turns: int, side: int) -> None:
        images, middle = IMAGES[:1, :side, :side], (side - 1) / 2
        angle = turns * np.pi / 2
        y, x = np.meshgrid(np.arange(side) - middle, np.arange(side) - middle, indexing="ij")
        found = at(
            images,
            (np.sin(angle) * x + np.cos(angle) * y + middle)[None],
            (np.cos(angle) * x - np.sin(angle) * y + middle)[None],
        )
        np.testing.assert_allclose(found[0], np.rot90(images[0], turns), atol=0.01)

    @given(st.integers(0, 2**32), st.sampled_from([(1, 1), (1, 5), (4, 3), (28, 28)]))
    def test_it_is_the_mean_of_four_pixels_weighted_by_nearness(
        self, seed: int, shape: tuple[int, int]
    ) -> None:
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 256, (3, *shape), np.uint8)
        y, x = rng.uniform(-3, max(shape) + 3, (2, 3, 2, 4)).astype(np.float32)
        expected = [
            [slow_bilinear(image, *place) for place in zip(ys.ravel(), xs.ravel(), strict=True)]
            for image, ys, xs in zip(images, y, x, strict=True)
        ]
        np.testing.assert_allclose(at(images, y, x).reshape(3, 8), expected, rtol=1e-4, atol=2e-3)


class TestAugmenter:
    def test_an_augmentation_without_ranges_returns_the_images_exactly(self) -> None:
        changed = Augmenter(Augmentation(), (28, 28), 0)(IMAGES, ALL, 3)
        assert changed.dtype == np.float32
        np.testing.assert_array_equal(changed, IMAGES)

    @pytest.mark.parametrize("name", AUGMENTATIONS)
    def test_an_image_depends_on_its_number_and_the_epoch_alone(self, name: str) -> None:
        augment = Augmenter(AUGMENTATIONS[name], (28, 28), 5)
        whole = augment(IMAGES, ALL, 2)
        order = np.random.default_rng(1).permutation(len(IMAGES))
        again = Augmenter(AUGMENTATIONS[name], (28, 28), 5)
        np.testing.assert_array_equal(again(IMAGES[order], order, 2), whole[order])
        for start in range(0, len(IMAGES), 37):
            part = slice(start, start + 37)
            np.testing.assert_array_equal(augment(IMAGES[part], ALL[part], 2), whole[part])

    @pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
    def test_another_epoch_seed_or_number_changes_it_in_another_way(self, name: str) -> None:
        same = IMAGES[:1].repeat(20, axis=0)
        numbers = np.arange(20)
        augment = Augmenter(AUGMENTATIONS[name], (28, 28), 5)
        first = augment(same, numbers, 0)
        others = [
            augment(same, numbers, 1),
            Augmenter(AUGMENTATIONS[name], (28, 28), 6)(same, numbers, 0),
            augment(same, numbers + 20, 0),
            np.roll(first, 1, axis=0),
        ]
        for other in others:
            assert np.all(np.any(first != other, axis=(1, 2)))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
    def test_any_real_dtype_will_do_and_the_result_is_float32(self, dtype: type) -> None:
        augment = Augmenter(AUGMENTATIONS["elastic"], (28, 28), 0)
        changed = augment(IMAGES.astype(dtype), ALL, 0)
        assert changed.dtype == np.float32
        np.testing.assert_array_equal(changed, augment(IMAGES, ALL, 0))

    def test_booleans_are_zero_and_one(self) -> None:
        augment = Augmenter(AUGMENTATIONS["affine"], (28, 28), 0)
        np.testing.assert_array_equal(
            augment(IMAGES > 99, ALL, 0), augment((IMAGES > 99).astype(int), ALL, 0)
        )

    @given(st.integers(0, 2**63), st.integers(0, 1000), st.sampled_from([(28, 28), (8, 8), (1, 1), (5, 3)]))
    def test_pixels_stay_in_the_range_of_the_image(
        self, seed: int, epoch: int, shape: tuple[int, int]
    ) -> None:
        images = np.full((4, *shape), 200, np.uint8)
        ranges = Augmentation(rotation=180, scale=0.9, shear=1, shift=3, erasing=0.5, erasing_size=1)
        changed = Augmenter(ranges, shape, seed)(images, [0, 9, 10**9, 2**40], epoch)
        assert changed.shape == images.shape
        assert 0 <= changed.min() <= changed.max() <= 200

    def test_the_images_stay_as_they_are(self) -> None:
        images = IMAGES.copy()
        Augmenter(find_augmentation("affine erasing 0.5"), (28, 28), 0)(images, ALL, 0)
        np.testing.assert_array_equal(images, IMAGES)

    def test_no_images_give_no_images(self) -> None:
        assert Augmenter(AUGMENTATIONS["elastic"], (8, 8), 0)(IMAGES[:0, :8, :8], [], 0).shape == (0, 8, 8)

    def test_images_that_are_turned_around_are_no_others(self) -> None:
        """Memory may lie in any order."""
        augment = Augmenter(AUGMENTATIONS["elastic"], (28, 28), 0)
        turned = IMAGES.transpose(0, 2, 1)
        np.testing.assert_array_equal(augment(turned, ALL, 0), augment(turned.copy(), ALL, 0))

    @pytest.mark.parametrize(
        ("images", "indices", "epoch", "message"),
        [
            (
                IMAGES[:, :20],
                ALL,
                0,
                r"real images of shape \(n, 28, 28\), not uint8 of shape \(150, 20, 28\)",
            ),
            (IMAGES[0], ALL, 0, "real images"),
            (IMAGES.astype(complex), ALL, 0, "not complex128"),
            (
                IMAGES,
                ALL[:3],
                0,
                r"150 images need as many whole numbers as indices, not int64 of shape \(3,\)",
            ),
            (IMAGES, ALL * 1.0, 0, "not float64"),
            (IMAGES, ALL - 1, 0, "at least 0"),
            (IMAGES, ALL, -1, "at least 0"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, images: NDArray[Any], indices: NDArray[Any], epoch: int, message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            Augmenter(AUGMENTATIONS["affine"], (28, 28), 0)(images, indices, epoch)

    @pytest.mark.parametrize("background", [255, 240])
    def test_dark_on_light_is_the_negative_of_light_on_dark(self, background: int) -> None:
        """All of it is linear, so it is so exactly if the background comes in at the border and is erased."""
        ranges, images = find_augmentation("elastic shift 4 erasing 0.5"), np.minimum(IMAGES, background)
        on_dark = Augmenter(ranges, (28, 28), 3)(images, ALL, 1)
        on_light = Augmenter(ranges, (28, 28), 3, background)(background - images, ALL, 1)
        np.testing.assert_allclose(on_light, background - on_dark, atol=1e-3)

    def test_a_background_of_black_changes_nothing(self) -> None:
        ranges = find_augmentation("elastic shift 4 erasing 0.5")
        changed, same = (Augmenter(ranges, (28, 28), 3, *given)(IMAGES, ALL, 1) for given in ((), (0,)))
        assert changed.tobytes() == same.tobytes()

    def test_a_background_that_is_no_number_is_refused(self) -> None:
        with pytest.raises(DataError, match="finite number, not nan"):
            Augmenter(Augmentation(), (8, 8), 0, float("nan"))

    def test_a_negative_seed_and_a_side_of_no_pixels_are_refused(self) -> None:
        with pytest.raises(DataError, match="at least 0, not -1"):
            Augmenter(Augmentation(), (8, 8), -1)
        with pytest.raises(DataError, match=r"1 pixel or more, not \(8, 0\)"):
            Augmenter(Augmentation(), (8, 0), 0)


class TestRanges:
    """What is drawn is found again in images whose pixels say where they came from."""

    side = 101
    # The middle of the image is 0, so black that comes in would not be told from it: only the middle is read.
    down, across = np.meshgrid(np.arange(101.0) - 50, np.arange(101.0) - 50, indexing="ij")

    def drawn(
        self, ranges: Augmentation, images: int = 200
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return, of each image: the source of the centre, and those of one pixel down and one to the right.

        Each source is (row, column), from the centre; the latter two from that of the centre.
        """
        augment, numbers = Augmenter(ranges, (self.side, self.side), 3), np.arange(images)
        rows, columns = (
            augment(np.broadcast_to(ramp, (images, 101, 101)), numbers, 0)
            for ramp in (self.down, self.across)
        )
        source = np.stack([rows, columns], axis=-1).astype(np.float64)
        centre = source[:, 50, 50]
        return centre, (source[:, 60, 50] - centre) / 10, (source[:, 50, 60] - centre) / 10

    def test_a_shift_goes_up_to_its_range_both_ways(self) -> None:
        centre, down, right = self.drawn(Augmentation(shift=2))
        np.testing.assert_allclose(down, [[1, 0]] * 200, atol=1e-4)
        np.testing.assert_allclose(right, [[0, 1]] * 200, atol=1e-4)
        assert np.all(np.abs(centre) <= 2 + 1e-4)
        assert np.all(centre.min(axis=0) < -1.8)
        assert np.all(centre.max(axis=0) > 1.8)
        assert abs(np.corrcoef(centre.T)[0, 1]) < 0.25

    def test_a_rotation_goes_up_to_its_degrees_both_ways(self) -> None:
        centre, down, right = self.drawn(Augmentation(rotation=30))
        np.testing.assert_allclose(centre, 0, atol=1e-4)
        np.testing.assert_allclose(np.hypot(*right.T), 1, atol=1e-4)
        np.testing.assert_allclose(np.sum(down * right, axis=1), 0, atol=1e-4)
        degrees = np.rad2deg(np.arctan2(right[:, 0], right[:, 1]))
        assert -30 <= degrees.min() < -28
        assert 28 < degrees.max() <= 30

    def test_height_and_width_are_scaled_each_by_its_own_factor(self) -> None:
        _, down, right = self.drawn(Augmentation(scale=0.2))
        np.testing.assert_allclose(down[:, 1], 0, atol=1e-4)
        np.testing.assert_allclose(right[:, 0], 0, atol=1e-4)
        for factor in (down[:, 0], right[:, 1]):
            assert 0.8 - 1e-4 <= factor.min() < 0.82
            assert 1.18 < factor.max() <= 1.2 + 1e-4
        assert abs(np.corrcoef(down[:, 0], right[:, 1])[0, 1]) < 0.25

    def test_a_shear_slants_the_columns(self) -> None:
        _, down, right = self.drawn(Augmentation(shear=0.3))
        np.testing.assert_allclose(right, [[0, 1]] * 200, atol=1e-4)
        np.testing.assert_allclose(down[:, 0], 1, atol=1e-4)
        assert -0.3 - 1e-4 <= down[:, 1].min() < -0.28
        assert 0.28 < down[:, 1].max() <= 0.3 + 1e-4

    def test_all_of_them_multiply(self) -> None:
        """R(angle) @ shear @ diag(scale): a matrix whose determinant is the product of the scales."""
        _, down, right = self.drawn(Augmentation(rotation=30, scale=0.2, shear=0.3))
        angle = np.arctan2(right[:, 0], right[:, 1])
        scale_x = np.hypot(*right.T)
        turned = np.cos(angle) * down[:, 0] - np.sin(angle) * down[:, 1]  # back by the angle: scale_y
        slope = (np.cos(angle) * down[:, 1] + np.sin(angle) * down[:, 0]) / turned
        for found, most in ((angle, np.deg2rad(30)), (scale_x - 1, 0.2), (turned - 1, 0.2), (slope, 0.3)):
            assert 0.9 * most < np.abs(found).max() < most + 1e-3

    def test_an_elastic_field_bends_the_image_and_another_the_next(self) -> None:
        images = np.broadcast_to(self.across, (50, 101, 101))
        augment = Augmenter(Augmentation(elastic=15), (101, 101), 0)
        bent = augment(images, np.arange(50), 0)[:, 20:-20, 20:-20] - self.across[20:-20, 20:-20]
        assert 0.5 < bent.std() < 0.7  # 15 * 0.163 / 4 = 0.61 pixels
        assert np.corrcoef(bent[:, 30, 30], bent[:, 31, 30])[0, 1] > 0.9
        assert abs(np.corrcoef(bent[:, 30, 10], bent[:, 30, 50])[0, 1]) < 0.4

    def test_erasing_blackens_one_rectangle_in_its_share_of_the_images(self) -> None:
        images = np.full((2000, 10, 20), 7, np.uint8)
        changed = Augmenter(Augmentation(erasing=0.3, erasing_size=0.5), (10, 20), 0)(
            images, np.arange(2000), 0
        )
        black = changed == 0
        np.testing.assert_array_equal(changed[~black], 7)
        erased = np.flatnonzero(black.any(axis=(1, 2)))
        assert 0.27 < len(erased) / 2000 < 0.33
        rows, columns = black.any(axis=2)[erased], black.any(axis=1)[erased]
        np.testing.assert_array_equal(black[erased], rows[:, :, None] & columns[:, None, :])
        for sides, longest in ((rows, 5), (columns, 10)):
            assert set(sides.sum(axis=1)) == set(range(1, longest + 1))
            assert np.all(np.abs(np.diff(sides.astype(int), axis=1)).sum(axis=1) <= 2)  # in one stretch
            assert np.all(sides.any(axis=0))  # which may lie anywhere

    def test_erasing_a_single_pixel_is_the_least(self) -> None:
        images = np.full((20, 3, 3), 7, np.uint8)
        augment = Augmenter(Augmentation(erasing=1, erasing_size=0.01), (3, 3), 0)
        np.testing.assert_array_equal((augment(images, np.arange(20), 0) == 0).sum(axis=(1, 2)), 1)


class TestElasticFields:
    fields = elastic_fields(400, (28, 20), 4.0, np.random.default_rng(0))

    def test_they_have_the_mean_and_the_strength_of_smoothed_noise(self) -> None:
        """Noise in [-1, 1] deviates by 1 / sqrt(3); a Gaussian leaves 1 / (2 sqrt(pi) sigma) of it."""
        expected = 1 / (np.sqrt(3) * 2 * np.sqrt(np.pi) * 4.0)
        assert self.fields.shape == (2, 400, 28, 20)
        assert self.fields.dtype == np.float32
        assert abs(self.fields.mean()) < 0.05 * expected
        assert abs(self.fields.std() / expected - 1) < 0.05

    def test_they_are_as_strong_at_the_border_as_in_the_middle(self) -> None:
        strength = self.fields.std(axis=(0, 1))
        assert abs(strength[:2].mean() / strength[13:15].mean() - 1) < 0.1
        assert abs(strength[:, :2].mean() / strength[:, 9:11].mean() - 1) < 0.1

    @pytest.mark.parametrize("distance", [1, 4, 8])
    def test_they_are_as_smooth_as_the_gaussian(self, distance: int) -> None:
        """The correlation of noise smoothed by a Gaussian is a Gaussian of sqrt(2) times its deviation."""
        expected = np.exp(-(distance**2) / (4 * 4.0**2))
        one, other = self.fields[..., distance:, :], self.fields[..., :-distance, :]
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1] - expected) < 0.05

    def test_the_two_directions_are_independent(self) -> None:
        assert abs(np.corrcoef(self.fields[0].ravel(), self.fields[1].ravel())[0, 1]) < 0.1

    def test_the_convolution_is_that_of_the_noise(self) -> None:
        sigma, reach = 0.8, 3
        (smooth,) = elastic_fields(1, (5, 6), sigma, np.random.default_rng(7))[0]
        noise = 2 * np.random.default_rng(7).random((2, 5 + 2 * reach, 6 + 2 * reach), np.float32)[0] - 1
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        kernel = np.outer(weights, weights) / weights.sum() ** 2
        expected = [[np.sum(kernel * noise[i : i + 7, j : j + 7]) for j in range(6)] for i in range(5)]
        np.testing.assert_allclose(smooth, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4100, 4100), (2, 2, 2_000_000)])
def test_images_of_any_size_are_looked_up_at_the_right_place(shape: tuple[int, int, int]) -> None:
    """Beyond 2**24 pixels, where float32 no longer counts one by one."""
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rows, columns = [0, shape[1] - 1], np.array([0, 1, shape[2] // 2, shape[2] - 2, shape[2] - 1])
    y = np.broadcast_to(np.array(rows, np.float32)[:, None], (len(image), 2, 5)).copy()
    x = np.broadcast_to(columns.astype(np.float32), y.shape).copy()
    out = np.empty(y.shape, np.float32)
    bilinear(image, y, x, out)
    np.testing.assert_array_equal(out, image[:, rows][:, :, columns])


class TestUniform:
    def test_the_numbers_are_those_of_splitmix64(self) -> None:
        """The first two for the state 1234567, as S. Vigna's program prints them, and a stream in order."""
        state = int(np.random.SeedSequence(3, spawn_key=(4,)).generate_state(1, np.uint64)[0])
        mask = 2**64 - 1

        def mixed(z: int) -> int:
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            return z ^ (z >> 31)

        gamma = 0x9E3779B97F4A7C15
        assert mixed((1234567 + gamma) & mask) == 6457827717110365317
        assert mixed((1234567 + 2 * gamma) & mask) == 3203168211198807973
        stream = [(mixed((state + (k + 1) * gamma) & mask) >> 11) / 2**53 for k in range(12)]
        np.testing.assert_array_equal(uniform(3, 4, np.arange(4), 3).T.ravel(), stream)

    def test_they_are_uniform_and_independent(self) -> None:
        drawn = np.concatenate([uniform(0, epoch, np.arange(2000), 12) for epoch in range(3)])
        assert 0 <= drawn.min() <= drawn.max() < 1
        counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
        assert np.all(np.abs(counts / 3600 - 1) < 0.1)
        others = np.corrcoef(drawn) - np.eye(36)
        assert np.abs(others).max() < 0.1

    def test_each_image_may_draw_any_field(self) -> None:
        chosen = (uniform(0, 0, np.arange(20_000), 1)[0] * FIELDS).astype(int)
        assert chosen.min() == 0
        assert chosen.max() == FIELDS - 1
