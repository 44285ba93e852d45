"""The placement of a prepared picture leads each of its points back to the picture that was given.

The oracles know nothing of how a picture is prepared: blobs whose places are known because they were put
there, and the given picture looked at through the placement.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tinygrad_mnist.data import load_digits, pillow_images
from tinygrad_mnist.data.images import find_picture
from tinygrad_mnist.data.placement import Placement, affine, after, resized
from tinygrad_mnist.data.prepare import Prepared, place_digit, scale_whole

Grey = NDArray[np.uint8]
Point = tuple[float, float]


def moved(placement: Placement, point: Point) -> Point:
    """The point of the given picture that a point of the prepared one lies on."""
    x, y = placement @ (*point, 1.0)
    return float(x), float(y)


def blobs(height: int, width: int, centres: list[Point], radius: float) -> Grey:
    """Dark discs on white paper, drawn from their equation."""
    y, x = np.mgrid[:height, :width] + 0.5
    paper = np.full((height, width), 255, np.uint8)
    for across, down in centres:
        paper[np.hypot(x - across, y - down) <= radius] = 0
    return paper


def centre(ink: Grey) -> Point:
    """The centre of mass, in pixels from the left and from the top."""
    weights = ink.astype(float)
    down, across = (np.arange(side) + 0.5 for side in ink.shape)
    return float(weights.sum(0) @ across / weights.sum()), float(weights.sum(1) @ down / weights.sum())


def seen_through(
    placement: Placement, ink: NDArray[np.float64], size: int, fine: int = 6
) -> NDArray[np.float64]:
    """The given picture, averaged over the parallelogram that each pixel of the prepared one stands for."""
    steps = (np.arange(size * fine) + 0.5) / fine
    x, y = np.meshgrid(steps, steps)
    across, down = np.einsum("ij,jyx->iyx", placement, np.stack([x, y, np.ones_like(x)]))
    height, width = ink.shape
    column, row = np.floor(across).astype(int), np.floor(down).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    seen = np.where(inside, ink[row.clip(0, height - 1), column.clip(0, width - 1)], 0)
    return seen.reshape(size, fine, size, fine).mean(axis=(1, 3))


def agreement(prepared: Grey, seen: NDArray[np.float64], down: int, across: int) -> float:
    """How well two pictures agree when one is moved: their correlation."""
    moved = np.roll(np.pad(seen, 1), (down, across), (0, 1))
    return float(np.corrcoef(np.pad(prepared, 1).ravel(), moved.ravel())[0, 1])


def assert_is_seen(found: Prepared, ink: NDArray[np.float64]) -> None:
    """The prepared picture is the given one through its placement: any other place agrees less."""
    seen = seen_through(found.placement, ink, len(found.image))
    there = agreement(found.image, seen, 0, 0)
    assert there > 0.5  # thin strokes are thickened
    places = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if (down, across) != (0, 0)]
    assert there > max(agreement(found.image, seen, *place) for place in places)


# ---- blobs at known places -------------------------------------------------------------------------------


@settings(max_examples=12)
@given(
    left=st.integers(30, 200),
    top=st.integers(30, 200),
    across=st.integers(-60, 60),
    down=st.integers(60, 160),
    radius=st.integers(12, 25),
)
def test_two_blobs_are_found_where_they_were_drawn(
    left: int, top: int, across: int, down: int, radius: int
) -> None:
    """One above the other: each is found in its half of the prepared picture, and led back."""
    first, second = (left + 60.0, float(top)), (left + 60.0 + across, float(top + down))
    picture = blobs(420, 400, [first, second], radius)
    found = place_digit(picture, 56)  # finer than MNIST's, as the place is to be told to a pixel
    middle = round(centre(found.image)[1])
    upper, lower = found.image.copy(), found.image.copy()
    upper[middle:], lower[:middle] = 0, 0
    for part, true in ((upper, first), (lower, second)):
        assert np.hypot(*np.subtract(moved(found.placement, centre(part)), true)) < 1


@given(left=st.integers(20, 150), top=st.integers(20, 150), lean=st.integers(-50, 50), inverted=st.booleans())
def test_the_ends_of_a_leaning_bar_are_found_on_8_x_8_pixels(
    left: int, top: int, lean: int, inverted: bool
) -> None:
    """It is set upright and drawn out, so its ends tell scale and slant; a pixel is some 16 of the bar's."""
    image = Image.new("L", (300, 330), 255)
    ends = (left + 60, top), (left + 60 + lean, top + 128)
    ImageDraw.Draw(image).line(ends, fill=0, width=24)
    picture = np.asarray(image)
    found = place_digit(255 - picture if inverted else picture, 8)
    rows = found.image.sum(axis=1)
    assert (rows > 0).all()
    for row in (1, 6):
        x = found.image[row] @ (np.arange(8) + 0.5) / rows[row]
        across, down = moved(found.placement, (x, row + 0.5))
        share = (down - top) / 128
        assert across == pytest.approx(left + 60 + share * lean, abs=8)
        assert share == pytest.approx((row + 0.5) / 8, abs=0.1)


# ---- the given picture through the placement ------------------------------------------------------------


@st.composite
def strokes(draw: st.DrawFn) -> Grey:
    """A line with some bends, of any width and place, as light ink on black."""
    height, width = draw(st.integers(60, 260)), draw(st.integers(60, 260))
    share = st.floats(0.15, 0.85)
    points = draw(st.lists(st.tuples(share, share), min_size=3, max_size=6))
    span = max(np.ptp([x for x, _ in points]) * width, np.ptp([y for _, y in points]) * height)
    image = Image.new("L", (width, height))
    pen = draw(st.integers(3, 16))
    line = [(x * width, y * height) for x, y in points]
    if span < 40:  # a dot has no place of its own to be compared
        line = [(0.2 * width, 0.2 * height), (0.8 * width, 0.5 * height), (0.3 * width, 0.9 * height)]
    ImageDraw.Draw(image).line(line, fill=255, width=pen, joint="curve")
    return np.asarray(image)


@given(ink=strokes(), inverted=st.booleans())
def test_a_stroke_is_seen_through_its_placement(ink: Grey, inverted: bool) -> None:
    picture = 255 - ink if inverted else ink
    assert_is_seen(place_digit(picture), ink.astype(float))


@given(ink=strokes())
def test_a_stroke_is_seen_through_its_placement_on_8_x_8_pixels(ink: Grey) -> None:
    assert_is_seen(place_digit(ink, 8), ink.astype(float))


@given(ink=strokes(), height=st.integers(20, 40), width=st.integers(20, 40))
def test_a_picture_scaled_as_a_whole_is_seen_through_its_placement(
    ink: Grey, height: int, width: int
) -> None:
    found = scale_whole(ink, (height, width))
    corner, far = (moved(found.placement, point) for point in ((0.0, 0.0), (float(width), float(height))))
    assert corner == (0, 0)
    assert far == pytest.approx(ink.shape[::-1])


def test_a_large_picture_that_is_averaged_down_is_seen_through_its_placement() -> None:
    image = Image.new("L", (2100, 1300))
    ImageDraw.Draw(image).line([(1500, 350), (1950, 450), (1600, 1000)], fill=255, width=60)
    ink = np.asarray(image)
    assert_is_seen(place_digit(ink), ink.astype(float))
    assert_is_seen(place_digit(ink, 8), ink.astype(float))


def test_a_picture_that_is_placed_already_stays_where_it_is() -> None:
    placed = place_digit(blobs(90, 90, [(30.0, 30.0), (50.0, 60.0)], 9)).image
    np.testing.assert_array_equal(place_digit(placed).placement, affine())
    np.testing.assert_array_equal(place_digit(load_digits().test_images[0], 8).placement, affine())


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_place_on_a_jpeg_is_that_before_it_is_scaled_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    picture = blobs(300, 500, [(150.0, 100.0), (180.0, 210.0)], 20)
    image = Image.fromarray(picture)
    image.getexif()[0x0112] = orientation
    image.save(tmp_path / "blobs.jpg", exif=image.getexif(), quality=95)
    whole = find_picture(tmp_path / "blobs.jpg")
    monkeypatch.setattr(pillow_images, "_ENOUGH", 60)
    small = find_picture(tmp_path / "blobs.jpg")
    assert small.grey.size < whole.grey.size
    assert small.size == whole.size == whole.grey.shape
    placements = [
        after(place_digit(found.grey).placement, resized(found.size, found.grey.shape))  # type: ignore[arg-type]
        for found in (small, whole)
    ]
    for corner in ((0.0, 0.0), (28.0, 28.0)):
        first, second = (moved(placement, corner) for placement in placements)
        assert first == pytest.approx(second, abs=12)  # a pixel of the prepared picture
