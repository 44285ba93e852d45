"""A user's picture: every kind of file gives grey values, or one sentence, and takes little memory."""

import gzip
import io
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from tinygrad_mnist import Tensor
from tinygrad_mnist.data import DataError, images
from tinygrad_mnist.data.images import read_image
from tinygrad_mnist.data.prepare import prepare_digit
from tinygrad_mnist.data.stacks import MAX_BYTES, MAX_PIXELS

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


# ---- transparency ------------------------------------------------------------------------------------------

SEVEN = Image.new("L", (560, 560), 255)
ImageDraw.Draw(SEVEN).line((180, 120, 380, 120), fill=0, width=56)
ImageDraw.Draw(SEVEN).line((380, 120, 240, 440), fill=0, width=56)
SEVEN = SEVEN.resize((56, 56), Image.Resampling.BOX)  # black on white, with soft edges


def with_alpha(grey: Image.Image, stored: int | None = None) -> Image.Image:
    """The page made transparent, and nothing else; perhaps with another colour stored there."""
    values = np.array(grey)
    alpha = np.where(values == values[0, 0], 0, 255).astype(np.uint8)
    if stored is not None:
        values[alpha == 0] = stored
    return Image.fromarray(np.stack([values] * 3 + [alpha], axis=-1))


@pytest.mark.parametrize("grey", [SEVEN, ImageOps.invert(SEVEN)], ids=["dark on light", "light on dark"])
def test_a_page_made_transparent_comes_back(tmp_path: Path, grey: Image.Image) -> None:
    page, ink = (int(np.asarray(grey)[place]) for place in ((0, 0), (12, 28)))
    path = tmp_path / "digit.png"
    for save_as in (
        lambda: grey.save(path, transparency=page),
        lambda: grey.convert("RGB").save(path, transparency=(page, page, page)),
        lambda: grey.convert("P").save(path, transparency=page),
        lambda: grey.convert("P").save(path, "GIF", transparency=page),
        lambda: grey.convert("P").save(path, transparency=bytes(0 if k == page else 255 for k in range(256))),
        lambda: Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(path, transparency=page * 257),
        lambda: with_alpha(grey).save(path),
        lambda: with_alpha(grey).convert("LA").save(path),
        lambda: with_alpha(grey, stored=0).save(path),
        lambda: with_alpha(grey, stored=255).save(path),
        lambda: with_alpha(grey).save(path, "WEBP", lossless=True),
        lambda: with_alpha(grey).save(path, "TIFF"),
    ):
        save_as()
        read = read_image(path)
        assert (read[0, 0], read[12, 28]) == (page, ink)
        np.testing.assert_allclose(prepare_digit(read), prepare_digit(np.asarray(grey)), atol=3)


def test_paper_that_was_cut_out_goes_on_beyond_its_edge(tmp_path: Path) -> None:
    grey = np.maximum(np.asarray(SEVEN), 30) - 20
    for stored in (0, 128, 255):
        picture = np.stack([grey, np.full_like(grey, 255)], axis=-1)
        picture[:5] = picture[-5:] = (stored, 0)
        picture[:, :5] = picture[:, -5:] = (stored, 0)
        np.testing.assert_array_equal(read_image(save(Image.fromarray(picture), tmp_path / "cut.png")), grey)


# ---- levels, orientation and modes -------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(9, 17))
def test_every_depth_in_a_file_of_16_bits_is_read(tmp_path: Path, bits: int) -> None:
    values = np.rint(np.asarray(SEVEN) / 255 * (2**bits - 1)).astype(np.uint16)
    read = read_image(save(Image.fromarray(values), tmp_path / "deep.png"))
    np.testing.assert_allclose(read, np.asarray(SEVEN), atol=1)


def test_little_contrast_of_16_bits_is_stretched(tmp_path: Path) -> None:
    values = (30_000 + 4 * np.asarray(SEVEN).astype(np.uint16)).astype(np.uint16)
    read = read_image(save(Image.fromarray(values), tmp_path / "faint.png"))
    np.testing.assert_array_equal(read, np.asarray(SEVEN))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float16, np.float32])
def test_arrays_of_zeros_and_ones_are_black_and_white(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "mask.npy", (GREY > 120).astype(dtype))
    np.testing.assert_array_equal(read_image(tmp_path / "mask.npy"), np.where(GREY > 120, 255, 0))


def test_a_picture_of_zeros_and_ones_is_black_and_white(tmp_path: Path) -> None:
    path = save(Image.fromarray((GREY > 120).astype(np.uint8)), tmp_path / "mask.png")
    np.testing.assert_array_equal(read_image(path), np.where(GREY > 120, 255, 0))


@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 mean nothing
@pytest.mark.parametrize("name", ["digit.png", "digit.tiff", "digit.webp"])
def test_every_orientation_is_that_of_pillow(tmp_path: Path, orientation: int, name: str) -> None:
    image = Image.fromarray(GREY.repeat(8, 0).repeat(8, 1))
    image.getexif()[0x0112] = orientation
    image.save(tmp_path / name, exif=image.getexif(), lossless=True)
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_image(tmp_path / name), expected)


MODES = ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F", "LA"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_a_tiff_is_read(tmp_path: Path, mode: str) -> None:
    image = SEVEN if mode in ("LAB", "I;16") else SEVEN.convert(mode)
    if mode == "LAB":
        image = Image.merge("LAB", (SEVEN, Image.new("L", SEVEN.size, 128), Image.new("L", SEVEN.size, 128)))
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(SEVEN).astype(np.uint16) * 257)
    read = read_image(save(image, tmp_path / "digit.tiff"))
    assert int(read[0, 0]) - int(read[12, 28]) > 200


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    SEVEN.save(path, save_all=True, append_images=[Image.new("L", SEVEN.size, 9)] * 3)
    np.testing.assert_array_equal(read_image(path), np.asarray(SEVEN))


# ---- memory ------------------------------------------------------------------------------------------------


def png_of_size(folder: Path, mode: str, width: int, height: int) -> Path:
    """A PNG whose header promises that size; there is less in it."""
    path = save(Image.new(mode, (16, 16)), folder / "bomb.png")
    content = bytearray(path.read_bytes())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_a_picture_that_takes_too_much_memory_is_refused_unread(tmp_path: Path, mode: str) -> None:
    side = 8000 if mode != "P" else 12_000
    with pytest.raises(DataError, match=r"bomb\.png has .* scale it down") as caught:
        read_image(png_of_size(tmp_path, mode, side, side))
    assert "\n" not in str(caught.value)


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(tmp_path: Path) -> None:
    large = SEVEN.resize((4200, 4200), Image.Resampling.NEAREST)
    read = read_image(save(large, tmp_path / "photo.jpg"))
    assert read.shape == (2100, 2100)
    assert np.abs(read.astype(float) - np.asarray(large)[::2, ::2]).mean() < 1
    large.save(tmp_path / "progressive.jpg", progressive=True)
    content = bytearray((tmp_path / "progressive.jpg").read_bytes())
    place = content.index(b"\xff\xc2") + 5  # its height and width
    content[place : place + 4] = 2 * (8000).to_bytes(2, "big")
    (tmp_path / "progressive.jpg").write_bytes(content)
    with pytest.raises(DataError, match=f"at most {MAX_BYTES:,}"):  # it would be decoded as a whole
        read_image(tmp_path / "progressive.jpg")


MEASURE = """
import resource, sys
from PIL import Image
from tinygrad_mnist import Tensor
from tinygrad_mnist.data import DataError, images
from tinygrad_mnist.data.images import read_image
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 150_000_000,) * 2)
for path in sys.argv[1:]:
    try:
        print(read_image(path, 1 if "idx" in path else None).shape)
    except DataError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on memory, and /proc, are Linux's")
def test_what_is_read_stays_within_a_limit_of_memory(tmp_path: Path) -> None:
    names = ("grey.png", "clear.png", "sparse.npy", "sparse-idx3-ubyte", "idx3.gz")
    files = [tmp_path / name for name in names]
    Image.new("L", (4000, 2000), 200).save(files[0], compress_level=1)
    Image.new("RGBA", (3000, 3000), (1, 2, 3, 4)).save(files[1], compress_level=1)
    np.lib.format.open_memmap(files[2], "w+", np.float64, (2500, 2500)).flush()
    header = bytes([0, 0, 8, 3]) + b"".join(side.to_bytes(4, "big") for side in (390, 1000, 1000))
    with files[3].open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 390_000_000)
    files[4].write_bytes(gzip.compress(header + bytes(1 << 20), 1) * 400)  # it could hold what it promises
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, files)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    expected = ["(2000, 4000)", "(3000, 3000)", "(2500, 2500)", "(1000, 1000)", "too large"]
    for words, line in zip(expected, ran.stdout.splitlines(), strict=True):
        assert words in line


# ---- damaged files -----------------------------------------------------------------------------------------


def seeds() -> dict[str, bytes]:
    """Small files of every kind that is read."""
    files = {}

    def add(name: str, image: Image.Image, kind: str, **options: Any) -> None:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        files[name] = stream.getvalue()

    small = SEVEN.resize((24, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA"):
        add(f"{mode}.png", small.convert(mode), "PNG")
    add("key.png", small, "PNG", transparency=255)
    add("turned.png", small, "PNG", exif=exif)
    add("deep.png", Image.fromarray(np.asarray(small).astype(np.uint16) * 4), "PNG")
    add("one.gif", small, "GIF", transparency=255)
    add("moving.gif", small, "GIF", save_all=True, append_images=[Image.new("L", (24, 24))] * 2)
    add("one.jpg", small.convert("RGB"), "JPEG", exif=exif)
    add("progressive.jpg", small, "JPEG", progressive=True)
    add("one.bmp", small, "BMP")
    add("one.webp", small.convert("RGBA"), "WEBP")
    add("float.tiff", small.convert("F"), "TIFF")
    add("lzw.tiff", small.convert("RGB"), "TIFF", compression="tiff_lzw")
    add("one.pgm", small, "PPM")
    add("one.ico", small.convert("RGBA"), "ICO")
    for dtype in (bool, np.uint8, np.float32, ">u2"):
        stream = io.BytesIO()
        np.save(stream, (np.asarray(small) > 99).astype(dtype))
        files[f"{dtype}.npy"] = stream.getvalue()
    stream = io.BytesIO()
    np.save(stream, np.asfortranarray(np.stack([np.asarray(small)] * 3)))
    files["stack.npy"] = stream.getvalue()
    return files


SEEDS = seeds()


@st.composite
def damaged(draw: st.DrawFn, files: dict[str, bytes]) -> bytes:
    """One of the files, cut off, or with bytes that were changed, put in or taken out, most in its header."""
    content = bytearray(files[draw(st.sampled_from(sorted(files)))])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, min(len(content), 80)) | st.integers(0, len(content)))
        new = draw(
            st.binary(min_size=1, max_size=4)
            | st.sampled_from([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\xff", b"\0\0\x20\0"])
        )
        how = draw(st.sampled_from(["change", "change", "change", "cut", "insert", "remove"]))
        if how == "cut":
            del content[place:]
        else:
            content[place : place + (0 if how == "insert" else len(new))] = b"" if how == "remove" else new
    return bytes(content)


@settings(max_examples=10 * settings().max_examples, suppress_health_check=list(HealthCheck))
@given(content=damaged(SEEDS), index=st.none() | st.integers(0, 3))
def test_a_damaged_file_gives_a_picture_or_a_sentence(
    content: bytes, index: int | None, fuzzed: Path
) -> None:
    fuzzed.write_bytes(content)
    sentence = ""
    try:
        picture = read_image(fuzzed, index)
    except DataError as error:
        sentence = str(error)
    if sentence:
        assert str(fuzzed) in sentence
        assert "\n" not in sentence
    else:
        assert picture.dtype == np.uint8
        assert picture.ndim == 2
        assert 0 < picture.size <= MAX_PIXELS


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "picture"


@pytest.mark.parametrize("name", SEEDS)
def test_the_files_that_are_damaged_are_sound(fuzzed: Path, name: str) -> None:
    fuzzed.write_bytes(SEEDS[name])
    assert read_image(fuzzed, 1 if name == "stack.npy" else None).shape == (24, 24)


# ---- what is no path ---------------------------------------------------------------------------------------

FORMATS = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "tiff": MODES,
    "gif": ("L", "P"),
    "bmp": ("1", "L", "P", "RGB"),
    "webp": ("RGB", "RGBA"),
    "jpg": ("L", "RGB", "CMYK"),
}
"""The modes that Pillow writes, by the format."""
KINDS = [(name, mode) for name, modes in FORMATS.items() for mode in modes]


def in_mode(mode: str, values: NDArray[Any], alpha: NDArray[Any]) -> Image.Image:
    """A picture of any mode with these values; where it has an alpha channel, with this one."""
    grey = Image.fromarray(values)
    if mode == "LAB":
        return Image.merge("LAB", (grey, grey, grey))
    if mode == "I;16":
        return Image.fromarray(values.astype(np.uint16) * 257)
    image = grey.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(alpha))
    return image


class Pipe(io.RawIOBase):
    """A file that gives a few bytes at a time, and cannot be sought in."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        part, self._rest = self._rest[: min(size, 700)], self._rest[min(size, 700) :]
        return part


@pytest.mark.parametrize(("name", "mode"), KINDS)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 999), orientation=st.integers(0, 8), position=st.integers(0, 30))
def test_equal_pictures_are_equal_however_they_are_given(
    tmp_path: Path, name: str, mode: str, seed: int, orientation: int, position: int
) -> None:
    rng = np.random.default_rng(seed)
    values, alpha = rng.integers(0, 256, (2, *rng.integers(3, 20, 2))).astype(np.uint8)
    image = in_mode(mode, values, alpha)
    path = tmp_path / f"digit.{name}"
    options: dict[str, Any] = {"lossless": True, "exact": True} if name == "webp" else {}
    if name not in ("gif", "bmp"):
        image.getexif()[0x0112] = orientation
        options["exif"] = image.getexif()
    image.save(path, **options)
    expected = read_image(path)
    content = path.read_bytes()
    behind = io.BytesIO(b"x" * position + content)
    behind.seek(position)
    # Pillow 13 errs on a TIFF on its side that it opens by its path, and not on one from an open file
    with path.open("rb") as file, Image.open(io.BytesIO(content)) as opened:
        for source in (file, io.BytesIO(content), behind, Pipe(content), opened):
            np.testing.assert_array_equal(read_image(source), expected)
            assert not getattr(source, "closed", False)
        opened.load()
        np.testing.assert_array_equal(read_image(opened), expected)
    if name != "jpg":
        np.testing.assert_array_equal(read_image(image), expected)


def test_an_image_of_pillow_stays_as_it_is() -> None:
    image = in_mode("LA", GREY.repeat(9, 0), 255 - GREY.repeat(9, 0))
    before = image.copy()
    read_image(image)
    assert image == before


@pytest.mark.parametrize("zipped", [False, True])
def test_arrays_in_open_files_are_read(encode_idx: Callable[[NDArray[Any]], bytes], zipped: bool) -> None:
    stack = np.stack([GREY, GREY[::-1]])
    content = encode_idx(stack)
    np.testing.assert_array_equal(
        read_image(Pipe(gzip.compress(content) if zipped else content), 1), GREY[::-1]
    )
    file = io.BytesIO()
    np.save(file, np.asfortranarray(stack / 255))
    file.seek(0)
    np.testing.assert_array_equal(read_image(file, 0), GREY)


class Another:
    """An array of somebody else's, as a tensor of PyTorch is one."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return GREY


@pytest.mark.parametrize(
    "source",
    [
        GREY,
        np.asfortranarray(GREY),
        GREY[..., np.newaxis],
        GREY.astype(">u2") * 257,
        GREY / 255,
        (GREY / 255).astype(np.float16),
        GREY.tolist(),
        (GREY / 255).tolist(),
        Another(),
        Tensor(GREY / 255),
        Tensor(GREY / 255, requires_grad=True),
    ],
    ids=lambda source: type(source).__name__,
)
def test_arrays_of_every_usual_kind_are_taken(source: Any) -> None:
    np.testing.assert_allclose(read_image(source), GREY, atol=1)


@pytest.mark.peers
def test_a_tensor_of_pytorch_is_taken() -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(read_image(torch.tensor(GREY)), GREY)
    np.testing.assert_array_equal(read_image(torch.tensor(GREY / 255, requires_grad=True)), GREY)


COLOURS = np.random.default_rng(3).integers(0, 256, (9, 7, 4)).astype(np.uint8)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    ("convert", "slack"),
    [
        (lambda colours: colours, 0),
        (lambda colours: colours.astype(np.int64), 0),
        (lambda colours: colours.astype(np.uint16) * 257, 0),
        (lambda colours: colours / 255, 0),
        (lambda colours: (colours / 255).astype(np.float32), 0),
    ],
    ids=["uint8", "int64", "uint16", "float64", "float32"],
)
def test_an_array_in_colour_is_the_picture_that_pillow_makes_of_it(
    channels: int, convert: Callable[[NDArray[Any]], NDArray[Any]], slack: int
) -> None:
    colours = COLOURS[..., :channels]
    expected = read_image(Image.fromarray(colours))
    np.testing.assert_allclose(read_image(convert(colours)), expected, atol=slack)


def test_booleans_in_colour_are_white_and_black() -> None:
    corners = np.zeros((6, 6, 3), bool)
    corners[:3] = True
    np.testing.assert_array_equal(read_image(corners), np.where(corners[..., 0], 255, 0))


def test_little_contrast_of_floats_is_stretched_in_colour_as_in_grey() -> None:
    faint = 0.5 + np.asarray(SEVEN) / 255 * 0.02
    np.testing.assert_allclose(read_image(np.stack([faint] * 3, axis=-1)), read_image(faint), atol=1)


def test_a_stack_in_an_array_takes_an_index_and_stays_on_one_scale() -> None:
    dark = np.zeros(GREY.shape)
    dark[1, 1] = 1
    np.testing.assert_array_equal(read_image(np.stack([GREY.astype(float), dark]), 1), dark)
    with pytest.raises(DataError, match="the array holds 2 pictures; choose one"):
        read_image(np.zeros((2, 6, 6)))


@pytest.mark.parametrize("index", [1.0, "1", True, np.True_, [1], np.array([1, 2])])
def test_an_index_is_a_whole_number(index: Any, tmp_path: Path) -> None:
    stack = np.stack([GREY, GREY])
    np.save(tmp_path / "stack.npy", stack)
    for source in (stack, tmp_path / "stack.npy", Image.fromarray(GREY), GREY):
        with pytest.raises(TypeError, match=r"index .* was given; expected a whole number"):
            read_image(source, index)


@pytest.mark.parametrize("index", [np.int64(1), np.uint8(1), np.array(1)])
def test_an_index_may_be_numpys(index: Any) -> None:
    np.testing.assert_array_equal(read_image(np.stack([GREY // 2, GREY]), index), GREY)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
def test_a_dtype_that_numpy_does_not_have_is_named(dtype: str) -> None:
    picture = GREY.astype(getattr(pytest.importorskip("ml_dtypes"), dtype))
    with pytest.raises(TypeError, match=rf"the array is of dtype {dtype}, .* x\.astype\(np\.float32\)"):
        read_image(picture)


@pytest.mark.peers
def test_bfloat16_of_pytorchs_is_told_in_its_words() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"the array is of dtype bfloat16, .* x\.float\(\)"):
        read_image(torch.tensor(GREY).bfloat16().requires_grad_())


def test_the_values_are_the_callers_own() -> None:
    given_ = GREY.copy()
    for source in (given_, np.stack([given_, given_])):
        read = read_image(source, None if source.ndim == 2 else 0)
        read[...] = 7
    np.testing.assert_array_equal(given_, GREY)


def named(content: bytes, name: Any) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name  # type: ignore[attr-defined]
    return file


def closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: io.BytesIO(), "the file object is empty"),
        (lambda: io.BytesIO(b"just text, and no picture"), "the file object is not a picture"),
        (lambda: named(b"", "seven.png"), r"seven\.png is empty"),
        (lambda: named(b"", 3), "the file object is empty"),
        (lambda: named(b"", "<stdin>"), "standard input is empty"),
        (lambda: named(b"\x93NUMPY\x01\0\xff\xff", "a.npy"), r"a\.npy cannot be read as an NPY file"),
        (lambda: named(b"\x1f\x8b\x08\0\0\0", "a.gz"), r"a\.gz is a truncated gzip"),
        (closed, "the file object cannot be read .*closed"),
        (lambda: np.full((4, 4), np.nan), "the array holds values from nan"),
        (lambda: np.full((4, 9, 3), -1.0), "the array holds values from -1"),
        (lambda: np.zeros(784), r"the array has the shape \(784,\)"),
        (lambda: np.zeros((0, 3)), r"the array has the shape \(0, 3\)"),
        (lambda: np.zeros((2, 9, 9, 3)), r"the array has the shape \(2, 9, 9, 3\)"),
        (lambda: np.full((4, 4), "7"), "the array holds values of type <U1"),
        (lambda: [[1, 2], [3]], "the list is no picture: its rows are not equally long"),
        (lambda: [["7", "8"]], "the list holds values of type <U1"),
        (
            lambda: np.broadcast_to(np.uint8(0), (8001, 8001)),
            "the array has pictures of more than 64,000,000",
        ),
        (lambda: np.broadcast_to(0.0, (5000, 5000)), "the array has pictures of 200,000,000 bytes"),
        (lambda: Image.new("1", (8001, 8001)), "the image of Pillow has more than 64,000,000 pixels"),
        (lambda: "0123456789", "0123456789 does not exist"),
        (lambda: "0 1 2 " * 2000, "0 1 2 .* cannot be read"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read_image(make())
    assert len(str(caught.value)) < 300


class Broken:
    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        raise RuntimeError("it is on another device")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"\x89PNG", "given as bytes; .*io.BytesIO"),
        (bytearray(b"x"), "given as bytearray"),
        (None, "given as NoneType; expected a path, an array"),
        (7, "given as int"),
        ({"image": 1}, "given as dict"),
        (io.StringIO("text"), "gives str where bytes were expected; .*'rb'"),
        (Broken(), "cannot be made an array .it is on another device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_another_type_is_refused_with_what_to_give(source: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        read_image(source)


def test_of_an_open_file_no_more_is_read_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        given = 0

        def read(self, size: int) -> bytes:
            self.given += size
            return bytes(size)

    monkeypatch.setattr(images, "MAX_BYTES", 3 << 20)
    with pytest.raises(DataError, match="more than 3,145,728 bytes"):
        read_image(Endless())
    assert Endless.given <= 5 << 20
