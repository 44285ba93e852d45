"""Reading a user's picture: every kind of file gives grey values, every fault a sentence with its name."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tinygrad_mnist.data import DataError
from tinygrad_mnist.data.images import MAX_PIXELS, read_image

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


@pytest.mark.parametrize("zipped", [False, True])
def test_an_idx_file_gives_the_picture_of_the_index(
    tmp_path: Path, encode_idx: Callable[[NDArray[Any]], bytes], zipped: bool
) -> None:
    import gzip

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
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bomb\.png has more than 64,000,000 pixels"):
        read_image(path)


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Image.fromarray(GREY), tmp_path / "digit.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_mnist\[images\]"'):
        read_image(path)
