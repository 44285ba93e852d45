"""A user's picture: every kind of file gives grey values, and every digit ends up as training digits are."""

import gzip
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tinygrad_mnist.data import DataError, load_digits, read_idx
from tinygrad_mnist.data.images import MAX_PIXELS, read_image
from tinygrad_mnist.data.prepare import prepare_digit

Grey = NDArray[np.uint8]
GREY = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)


def save(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_a_grey_picture_reads_the_same_in_every_mode(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(GREY).convert(mode)
    pixels = read_image(save(image, tmp_path / "digit.png"))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, GREY)


@pytest.mark.parametrize("name", ["digit.bmp", "digit.tiff", "digit.gif", "digit.pgm"])
def test_other_formats_are_read(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read_image(save(Image.fromarray(GREY), tmp_path / name)), GREY)


def test_a_one_bit_picture_is_black_and_white(tmp_path: Path) -> None:
    path = save(Image.fromarray(GREY > 120), tmp_path / "digit.png")
    np.testing.assert_array_equal(read_image(path), np.where(GREY > 120, 255, 0))


def test_colours_count_by_their_luminance(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (2, 2), (0, 255, 0)), tmp_path / "green.png")
    np.testing.assert_array_equal(read_image(path), 150)  # 0.587 of 255: ITU-R 601


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_ink_on_nothing_is_laid_over_its_contrary(tmp_path: Path, ink: int, paper: int) -> None:
    alpha = np.zeros((4, 4), np.uint8)
    alpha[1:3, 1:3] = 255
    picture = np.stack([np.full((4, 4), ink, np.uint8), alpha], axis=-1)
    pixels = read_image(save(Image.fromarray(picture), tmp_path / "digit.png"))
    np.testing.assert_array_equal(pixels, np.where(alpha, ink, paper))


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_nothing_around_paper_becomes_paper(tmp_path: Path, ink: int, paper: int) -> None:
    picture = np.full((10, 10, 2), (paper, 255), np.uint8)
    picture[4:6, 4:6, 0] = ink
    picture[0, :, 1] = 0
    pixels = read_image(save(Image.fromarray(picture), tmp_path / "digit.png"))
    np.testing.assert_array_equal(pixels, picture[..., 0])


def test_a_transparent_palette_colour_is_transparent(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode=None).convert("P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.save(tmp_path / "digit.png", transparency=1)
    np.testing.assert_array_equal(read_image(tmp_path / "digit.png"), [[0, 255], [255, 0]])


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees clockwise
    Image.fromarray(GREY).save(tmp_path / "digit.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "digit.png"), np.rot90(GREY, -1))


@pytest.mark.parametrize(
    "values",
    [GREY, GREY.astype(np.int64), GREY.astype(np.uint16) * 257, GREY.astype(np.float32), GREY / 255],
    ids=["uint8", "int64", "uint16", "float 0..255", "float 0..1"],
)
def test_numbers_of_every_usual_range_are_read(tmp_path: Path, values: NDArray[Any]) -> None:
    np.save(tmp_path / "digit.npy", values)
    np.testing.assert_array_equal(read_image(tmp_path / "digit.npy"), GREY)


def test_booleans_are_black_and_white(tmp_path: Path) -> None:
    np.save(tmp_path / "digit.npy", GREY > 120)
    np.testing.assert_array_equal(read_image(tmp_path / "digit.npy"), np.where(GREY > 120, 255, 0))


def test_a_stack_gives_the_picture_of_the_index(tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", np.stack([GREY, GREY[::-1]]))
    np.testing.assert_array_equal(read_image(tmp_path / "digits.npy", 1), GREY[::-1])


def test_a_picture_that_is_nearly_black_is_scaled_as_the_others_of_its_stack(tmp_path: Path) -> None:
    black = np.zeros(GREY.shape)
    black[1, 1] = 1
    np.save(tmp_path / "digits.npy", np.stack([GREY.astype(np.float64), black]))
    np.testing.assert_array_equal(read_image(tmp_path / "digits.npy", 1), black)


@pytest.mark.parametrize("zipped", [False, True])
def test_an_idx_file_gives_the_picture_of_the_index(
    tmp_path: Path, encode_idx: Callable[[NDArray[Any]], bytes], zipped: bool
) -> None:
    content = encode_idx(np.stack([GREY, GREY[::-1]]))
    path = tmp_path / "digits-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if zipped else content)
    np.testing.assert_array_equal(read_image(path, 1), GREY[::-1])


def png_bytes(tmp_path: Path) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    return save(Image.fromarray(noise), tmp_path / "whole.png").read_bytes()


def npy_bytes(tmp_path: Path) -> bytes:
    np.save(tmp_path / "whole.npy", GREY)
    return (tmp_path / "whole.npy").read_bytes()


FAULTS: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda folder: b"",
    "a text": lambda folder: b"Dear reader,\nthis is no picture.\n",
    "half a PNG": lambda folder: png_bytes(folder)[:1500],
    "a PNG's signature": lambda folder: png_bytes(folder)[:8],
    "a PNG with its header overwritten": lambda folder: png_bytes(folder)[:20] + b"\xff" * 400,
    "half an NPY": lambda folder: npy_bytes(folder)[:-3],
    "an NPY's magic": lambda folder: npy_bytes(folder)[:6],
    "an NPY with another header": lambda folder: npy_bytes(folder).replace(b"{'", b"x("),
    "an NPY that promises the moon": lambda folder: npy_bytes(folder).replace(
        b"(2, 3), }    ", b"(2, 3333333)}"
    ),
    "half an IDX": lambda folder: b"\0\0\x08\x03\0\0\0\x02\0\0\0\x02",
    "half a gzip": lambda folder: b"\x1f\x8b\x08\0\0\0",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_gets_a_sentence_with_its_name(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "faulty.png"
    path.write_bytes(FAULTS[fault](tmp_path))
    with pytest.raises(DataError, match=r"faulty\.png") as caught:
        read_image(path, 0)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png does not exist"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("values", "index", "reason"),
    [
        (np.zeros((3, 4, 4)), None, "3 pictures; choose one by an index from 0 to 2"),
        (np.zeros((3, 4, 4)), 3, "none of index 3"),
        (np.zeros((3, 4, 4)), -1, "none of index -1"),
        (np.zeros((4, 4)), 0, "takes no index"),
        (np.zeros(784), None, r"shape \(784,\)"),
        (np.zeros((4, 4, 3, 1)), None, "shape"),
        (np.zeros((28, 28, 3)), None, r"colour picture .* shape \(28, 28, 3\)"),
        (np.zeros((28, 28, 4)), 2, r"colour picture .* shape \(28, 28, 4\)"),
        (np.zeros((0, 4, 4)), 0, "shape"),
        (np.full((4, 4), -1.0), None, "from -1 to -1"),
        (np.full((4, 4), 70000), None, "from 70000 to 70000"),
        (np.full((4, 4), np.nan), None, "from nan"),
        (np.full((4, 4), 1j), None, "complex"),
        (np.full((4, 4), "7"), None, "type <U1"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(
    tmp_path: Path, values: NDArray[Any], index: int | None, reason: str
) -> None:
    np.save(tmp_path / "digit.npy", values)
    with pytest.raises(DataError, match=rf"digit\.npy.*{reason}"):
        read_image(tmp_path / "digit.npy", index)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "digit.npy", np.array([[print]], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"digit\.npy"):
        read_image(tmp_path / "digit.npy")


def test_a_png_takes_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes no index"):
        read_image(save(Image.fromarray(GREY), tmp_path / "digit.png"), 0)


@pytest.mark.parametrize("pixels", [MAX_PIXELS + 8000, 100_000_000, 400_000_000])
def test_a_decompression_bomb_is_refused_unopened(tmp_path: Path, pixels: int) -> None:
    path = save(Image.new("1", (8000, 1)), tmp_path / "bomb.png")
    content = bytearray(path.read_bytes())
    content[20:24] = (pixels // 8000).to_bytes(4, "big")  # the height in the header, and its checksum
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bomb\.png has more than 64,000,000 pixels"):
        read_image(path)


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Image.fromarray(GREY), tmp_path / "digit.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_mnist\[images\]"'):
        read_image(path)


# ---- a digit as the training digits are ----------------------------------------------------------------

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
