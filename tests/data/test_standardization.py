"""Standardisation: exact statistics, and the textbook formula in float32."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, Standardizer

image_arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7))


@given(image_arrays)
def test_fit_agrees_with_numpy(images: NDArray[np.uint8]) -> None:
    assume(images.min() < images.max())
    standardizer = Standardizer.fit(images)
    assert standardizer.mean == pytest.approx(images.mean(dtype=np.float64), rel=1e-12)
    assert standardizer.std == pytest.approx(images.std(dtype=np.float64), rel=1e-12)


def test_fit_is_exact_over_many_blocks_of_the_brightest_pixels() -> None:
    images = np.full((300, 28, 28), 255, np.uint8)
    images[0, 0, 0] = 254
    pixels = images.size
    standardizer = Standardizer.fit(images)
    assert standardizer.mean == (255 * pixels - 1) / pixels
    assert standardizer.std == pytest.approx(np.sqrt(pixels - 1) / pixels, rel=1e-14, abs=0)


@given(image_arrays)
def test_a_call_is_the_textbook_formula_in_float32(images: NDArray[np.uint8]) -> None:
    assume(images.min() < images.max())
    standardizer = Standardizer.fit(images)
    standardized = standardizer(images)
    expected = (images[:, np.newaxis].astype(float) - standardizer.mean) / standardizer.std
    assert standardized.dtype == np.float32
    scale = 255 / standardizer.std  # the rounding of x * a before b is added
    np.testing.assert_allclose(standardized, expected, rtol=1e-6, atol=1e-6 * scale)


def test_a_call_changes_no_input() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    images.flags.writeable = False
    Standardizer.fit(images)(images)
    np.testing.assert_array_equal(images.ravel(), np.arange(12))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_other_dtypes_on_the_same_scale_become_the_same(dtype: type) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    standardizer = Standardizer.fit(images)
    np.testing.assert_array_equal(standardizer(images.astype(dtype)), standardizer(images))


def test_no_images_become_none() -> None:
    assert Standardizer(0.0, 1.0)(np.zeros((0, 8, 8), np.uint8)).shape == (0, 1, 8, 8)


def test_rows_of_pixels_stay_rows() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    standardizer = Standardizer.fit(images)
    rows = standardizer(images.reshape(2, 12))
    np.testing.assert_array_equal(rows, standardizer(images).reshape(2, 12))


def test_the_border_is_cut_off_and_the_rest_is_as_without() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 6)).astype(np.uint8)
    whole, cut = Standardizer.fit(images), Standardizer.fit(images, crop=2)
    assert (cut.mean, cut.std) == (whole.mean, whole.std)
    np.testing.assert_array_equal(cut(images), whole(images)[:, :, 2:-2, 2:-2])
    assert cut(images).flags.c_contiguous


@pytest.mark.parametrize("shape", [(2, 4, 9), (2, 81)])
def test_images_of_which_a_crop_leaves_nothing_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="each side above 4"):
        Standardizer(0.0, 1.0, crop=2)(np.zeros(shape, np.uint8))


def test_a_negative_crop_is_refused() -> None:
    with pytest.raises(DataError, match="cuts off 0 pixels or more, not -1"):
        Standardizer(0.0, 1.0, crop=-1)


def test_a_single_image_without_its_axis_of_samples_is_refused() -> None:
    with pytest.raises(DataError, match=r"not \(784,\)"):
        Standardizer(0.0, 1.0)(np.zeros(784, np.uint8))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_its_state_brings_it_back(mean: float, std: float) -> None:
    standardizer = Standardizer(mean, std)
    assert all(type(value) is float for value in standardizer.state().values())
    assert Standardizer.from_state(standardizer.state()) == standardizer


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"mean": 0.0},
        {"mean": 0.0, "std": 1.0, "min": 0.0},
        {"mean": 0.0, "std": None},
        {"mean": "x", "std": 1.0},
    ],
)
def test_a_wrong_state_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="mean and std"):
        Standardizer.from_state(state)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_spread_is_refused(std: float) -> None:
    with pytest.raises(DataError, match="positive std"):
        Standardizer(0.0, std)


def test_constant_images_are_refused() -> None:
    with pytest.raises(DataError, match="all pixels of the images are 7"):
        Standardizer.fit(np.full((3, 2, 2), 7, np.uint8))


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        Standardizer.fit(np.zeros((0, 8, 8), np.uint8))


def test_float_images_are_refused_by_fit() -> None:
    with pytest.raises(DataError, match="not on float64"):
        Standardizer.fit(np.zeros((3, 8, 8)))  # type: ignore[arg-type]
