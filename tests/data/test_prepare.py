"""Every digit ends up as training digits are, wherever it stands on its picture, on whatever levels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from tinygrad_mnist.data import DataError, load_digits, read_idx
from tinygrad_mnist.data.prepare import prepare_digit

Grey = NDArray[np.uint8]

SIZES = pytest.mark.parametrize("size", [28, 8])
DIGITS = pytest.mark.parametrize("digit", range(10))


def drawn(digit: int, height: int = 200, thickness: int = 4, margin: int = 40) -> Grey:
    """A digit drawn in white on black, `margin` pixels of black around it."""
    font = ImageFont.load_default(size=height)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(str(digit), stroke_width=thickness))
    image = Image.new("L", (right - left + 2 * margin, bottom - top + 2 * margin))
    ImageDraw.Draw(image).text((margin - left, margin - top), str(digit), 255, font, stroke_width=thickness)
    return np.asarray(image)


def shifted(image: Grey, down: int, across: int, margin: int = 100) -> Grey:
    """The picture on a larger black one."""
    return np.pad(image, ((down, margin - down), (across, margin - across)))


def leaning(image: Grey, lean: float) -> Grey:
    """The picture with its rows moved sideways, by `lean` pixels from one to the next."""
    middle, reach = len(image) / 2, int(abs(lean) * len(image)) + 1
    rows = np.pad(image, ((0, 0), (reach, reach)))
    return np.stack([np.roll(row, round(lean * (middle - y))) for y, row in enumerate(rows)])


def difference(first: Grey, second: Grey) -> float:
    """The mean difference of two pictures as a part of the mean ink, up to the pixel placing may round."""
    ink = (first.mean() + second.mean()) / 2
    moved = (np.roll(first, (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1))
    return min(float(np.abs(picture.astype(float) - second).mean()) for picture in moved) / ink


@DIGITS
def test_a_digit_fills_the_box_of_mnist_around_its_centre_of_mass(digit: int) -> None:
    prepared = prepare_digit(drawn(digit)).astype(float)
    rows, columns = np.nonzero(prepared)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert prepared.max() == 255
    centre = (
        prepared.sum(1) @ (np.arange(28) + 0.5),
        prepared.sum(0) @ (np.arange(28) + 0.5),
    ) / prepared.sum()
    assert np.all((centre >= 13.9) & (centre <= 15.1))  # within a pixel beyond the middle, as MNIST's


@DIGITS
def test_a_digit_of_side_8_fills_the_height_and_keeps_to_the_middle(digit: int) -> None:
    rows, columns = np.nonzero(prepare_digit(drawn(digit), 8))
    assert (rows.min(), rows.max()) == (0, 7)
    assert columns.min() >= 1
    assert columns.max() <= 6
    assert abs(columns.min() + columns.max() - 7) <= 1


@SIZES
@given(digit=st.integers(0, 9), down=st.integers(0, 100), across=st.integers(0, 100), inverted=st.booleans())
def test_place_and_polarity_do_not_matter(
    size: int, digit: int, down: int, across: int, inverted: bool
) -> None:
    image = drawn(digit, height=100)
    moved = shifted(image, down, across)
    np.testing.assert_array_equal(
        prepare_digit(255 - moved if inverted else moved, size), prepare_digit(image, size)
    )


@DIGITS
@pytest.mark.parametrize("lean", [-0.4, 0.2])
def test_a_leaning_digit_of_side_8_is_set_upright(digit: int, lean: float) -> None:
    image = drawn(digit)
    assert difference(prepare_digit(leaning(image, lean), 8), prepare_digit(image, 8)) < 0.15


@SIZES
@DIGITS
def test_scale_hardly_matters(size: int, digit: int) -> None:
    small = prepare_digit(drawn(digit, height=60, thickness=1, margin=10), size)
    large = prepare_digit(drawn(digit, height=600, thickness=10), size)
    assert difference(small, large) < 0.25


@SIZES
@DIGITS
def test_contrast_and_level_do_not_matter(size: int, digit: int) -> None:
    image = drawn(digit)
    faint = (120 + image // 4).astype(np.uint8)
    assert difference(prepare_digit(faint, size), prepare_digit(image, size)) < 0.05


@SIZES
@DIGITS
def test_a_photograph_with_shade_and_noise_is_read_as_the_drawing(size: int, digit: int) -> None:
    image = shifted(drawn(digit), 30, 70)
    height, width = image.shape
    light = 1 - 0.3 * np.arange(height)[:, None] / height - 0.15 * np.arange(width) / width
    noise = np.random.default_rng(digit).normal(0, 3, image.shape)
    photograph = np.clip((250 - 0.8 * image) * light + noise, 0, 255).astype(np.uint8)
    assert difference(prepare_digit(photograph, size), prepare_digit(image, size)) < 0.2


@SIZES
def test_a_hairline_becomes_a_stroke(size: int) -> None:
    image = np.full((300, 300), 255, np.uint8)
    image[50:250, 150] = 0
    prepared = prepare_digit(image, size)
    assert (prepared >= 128).any(axis=0).sum() >= 2 if size == 28 else (prepared > 0).any(axis=0).sum() >= 1
    assert (prepared.max(axis=1) == 255).sum() >= 0.6 * size


def test_a_digit_that_touches_the_border_is_found() -> None:
    assert difference(prepare_digit(drawn(8, margin=0)), prepare_digit(drawn(8))) < 0.02


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (5, 3000), (2, 2), (4100, 300)])
def test_odd_shapes_are_prepared(shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    image[shape[0] * 2 // 3 :, shape[1] * 2 // 3 :][:40, :40] = 255
    prepared = prepare_digit(image)
    assert prepared.shape == (28, 28)
    assert prepared.max() == 255


def test_size_and_fill_are_free() -> None:
    rows, _ = np.nonzero(prepare_digit(drawn(1), 40, fill=0.5))
    assert np.ptp(rows) + 1 == 20


@pytest.mark.parametrize(("size", "fill"), [(0, None), (28, 0.0), (28, 1.5)])
def test_impossible_sizes_are_refused(size: int, fill: float | None) -> None:
    with pytest.raises(ValueError, match="size must be"):
        prepare_digit(drawn(1), size, fill=fill)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_is_refused(level: int) -> None:
    with pytest.raises(DataError, match="blank"):
        prepare_digit(np.full((50, 50), level, np.uint8))


def test_pure_noise_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 28))
    with pytest.raises(DataError, match="no digit stands out from the background"):
        prepare_digit(noise)


def test_a_blank_page_with_noise_is_refused() -> None:
    noise = np.random.default_rng(0).normal(200, 8, (200, 200))
    with pytest.raises(DataError, match="blank or too uneven"):
        prepare_digit(np.clip(noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("image", [np.zeros(784), np.zeros((0, 4)), np.zeros((4, 4), object)])
def test_what_is_no_picture_is_refused(image: NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match="picture"):
        prepare_digit(image)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        prepare_digit(np.array([[0.0, np.inf], [0.0, 0.0]]))


def test_the_input_is_left_alone_and_may_be_read_only() -> None:
    image = drawn(3)
    before = image.copy()
    image.flags.writeable = False
    prepare_digit(image)
    np.testing.assert_array_equal(image, before)


def test_mnist_digits_come_through_as_they_are(mnist_dir: Path) -> None:
    images = mnist_images(mnist_dir)[:2000]
    for image in images:
        prepared = prepare_digit(image)
        assert np.abs(prepared.astype(int) - image).max() <= 1
        np.testing.assert_array_equal(prepare_digit(255 - image), prepared)


def test_mnist_digits_off_their_place_are_put_back(mnist_dir: Path) -> None:
    for image in mnist_images(mnist_dir)[:200]:
        moved = np.pad(image, ((0, 10), (13, 0)))
        assert difference(prepare_digit(moved), image) < 0.25


def test_bundled_digits_come_through_as_they_are() -> None:
    images = load_digits().test_images
    changes = [np.abs(prepare_digit(image, 8).astype(int) - image).max() for image in images]
    assert np.mean(np.array(changes) <= 8) > 0.97


def mnist_images(folder: Path) -> Grey:
    return read_idx(next(folder.glob("t10k-images-idx3-ubyte*")))


@pytest.mark.parametrize(
    ("scale", "offset", "dtype"),
    [
        (1, 0, np.int64),
        (1, 0, np.float16),
        (1 / 255, 0, np.float64),
        (2 / 255, -1, np.float32),
        (1, -128, np.int16),
        (257, 0, np.uint16),
        (1e6, 0, np.float64),
        (1e-3 / 255, 0.5, np.float64),
    ],
)
def test_the_scale_of_the_levels_does_not_matter(scale: float, offset: float, dtype: DTypeLike) -> None:
    image = drawn(3)
    levels = (image * np.float64(scale) + offset).astype(dtype)
    np.testing.assert_allclose(prepare_digit(levels).astype(int), prepare_digit(image).astype(int), atol=1)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float32])
def test_zeros_and_ones_are_black_and_white(dtype: DTypeLike) -> None:
    ink = drawn(5) > 128
    np.testing.assert_array_equal(
        prepare_digit(ink.astype(dtype)), prepare_digit(np.where(ink, 255, 0).astype(np.uint8))
    )


@pytest.mark.parametrize("level", [0.0, 0.3, -0.5, 1e30])
def test_rounding_is_no_contrast(level: float) -> None:
    image: NDArray[Any] = np.full((40, 40), level)
    image[10:30, 20] += np.spacing(image[10:30, 20]) * 3
    with pytest.raises(DataError, match="blank"):
        prepare_digit(image)


@pytest.mark.parametrize("width", [6, 11, 17, 30])
def test_rounding_does_not_move_a_symmetric_digit(width: int) -> None:
    """The centre of a bar lies on a border of pixels, up to rounding errors of the sums behind it."""
    for height in range(46, 200, 9):
        paper = np.full((280, 280), 255, np.uint8)
        paper[20 : 20 + height, 100 : 100 + width] = 0
        rows = np.flatnonzero(prepare_digit(paper).any(axis=1))
        assert (rows[0], rows[-1]) == (4, 23), height
