"""The grey values of a picture in a file: of any format that Pillow reads, NPY or IDX.

How large a picture is stands in its header, so one that would take too much memory is refused before it is
read. The rest is done in strips, as the numbers behind a pixel may take ten times the room of the pixel.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.idx import GZIP_MAGIC, TYPE_CODES, open_idx
from tinygrad_mnist.data.stacks import MAX_BYTES, MAX_PIXELS, check_index, grey_levels, open_npy, read_picture
from tinygrad_mnist.data.transparency import page

if TYPE_CHECKING:
    from PIL import Image

Grey = NDArray[np.uint8]

_NPY_MAGIC = b"\x93NUMPY"
_STRIP = 1 << 20
"""Pixels that are converted at a time."""
_ENOUGH = 2048
"""Pixels a side that are enough for a digit: a larger JPEG is decoded at a half, a quarter or an eighth."""

_filters = Lock()
"""Held while the filters of warnings are changed and put back, as they are those of the whole process."""


def read_image(path: str | os.PathLike[str], index: int | None = None) -> Grey:
    """Read one picture from a file as grey values.

    Parameters
    ----------
    path : path-like
        A picture in any format, size and mode that Pillow reads (transparent parts get the background that
        lets the ink be seen, and of an animation the first frame is read); an NPY file with one picture
        (h, w) or a stack (n, h, w), of booleans, integers or floats, see
        `tinygrad_mnist.data.levels.black_and_white`; or an IDX file with the same, gzipped or not.
    index : int, optional
        The number of a picture in a stack, counted from 0. A stack needs it, a single picture does not take
        it.

    Returns
    -------
    ndarray, shape (h, w), uint8
        0 is black, 255 white. The array is the caller's own. A large JPEG is scaled down.

    Raises
    ------
    DataError
        The file is missing, empty, damaged, too large or no picture, or the index does not fit.
    ImportError
        The file needs Pillow, which is not installed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "digit.npy")
    ...     np.save(path, np.array([[0.0, 0.5], [1.0, 0.0]]))
    ...     read_image(path)
    array([[  0, 128],
           [255,   0]], dtype=uint8)
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a directory, where the file of one picture was expected")
    try:
        with path.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            if not magic:
                raise DataError(f"{path} is empty, where a picture was expected")
            if magic == _NPY_MAGIC:
                return read_picture(open_npy(path, file), index)
            if not _is_idx(magic):
                return _read_with_pillow(file, path, index)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    with open_idx(path) as stored:
        return read_picture(stored, index)


@dataclass(frozen=True, eq=False)
class Outline:
    """The size of a picture, and whether it may be in colour; and its grey values, if it is a small one.

    Parameters
    ----------
    shape : tuple of int
        Height and width, set upright.
    is_coloured : bool
        Whether its pixels have other values than grey ones; they may be grey all the same.
    grey : ndarray or None
        What `read_image` returns, if the picture is small.
    """

    shape: tuple[int, int]
    is_coloured: bool
    grey: Grey | None


def read_outline(path: str | os.PathLike[str], small: int = 0) -> Outline:
    """Read the size of a picture that Pillow reads, and its pixels too, if there are at most `small` of them.

    Raises
    ------
    DataError
        The file is missing, empty, damaged, too large or no picture.
    ImportError
        Pillow is not installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, _opened(file, path) as image:
            _check_size(image, path)
            width, height = image.size
            is_grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
            if width * height <= small:
                grey = _upright_values(image, path)
                return Outline((grey.shape[0], grey.shape[1]), not is_grey, grey)
            turned = _orientation(image) in (5, 6, 7, 8)
            return Outline((width, height) if turned else (height, width), not is_grey, None)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _is_idx(magic: bytes) -> bool:
    """Return whether a file begins as IDX files do (two zeros, a type code, a number of axes), or as gzip."""
    plain = len(magic) >= 4 and magic[:2] == b"\0\0" and magic[2] in TYPE_CODES and magic[3] > 0
    return plain or magic.startswith(GZIP_MAGIC)


# ---- pictures that Pillow reads ----------------------------------------------------------------------------


def _read_with_pillow(file: BinaryIO, path: Path, index: int | None) -> Grey:
    with _opened(file, path) as image:
        check_index(path, None, index)
        _check_size(image, path)
        return _upright_values(image, path)


@contextmanager
def _opened(file: BinaryIO, path: Path) -> Iterator[Image.Image]:
    """Give a picture of which the header has been read; word the errors of reading the rest."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f'Pillow is needed to read {path}: install it with pip install "tinygrad_mnist[images]".'
        ) from error
    with _filters, warnings.catch_warnings(), _explained(path):
        warnings.simplefilter("ignore")  # remarks of decoders; real faults are raised
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            yield image


def _upright_values(image: Image.Image, path: Path) -> Grey:
    """Return the grey values of a picture, turned as the camera was held."""
    grey = _grey_values(image, path)
    turn = _TURNED.get(_orientation(image))
    return grey if turn is None else np.ascontiguousarray(turn(grey))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what is wrong with a picture as a `DataError` that names it."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not a picture in a format that can be read; expected a PNG, JPEG, NPY or IDX file"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(_too_large(path)) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error ... on damaged bytes
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path} is damaged or cut off ({lines[0].rstrip('. ')})") from error


def _too_large(path: Path) -> str:
    return f"{path} has more than {MAX_PIXELS:,} pixels; scale it down, a few hundred a side are plenty"


def _check_size(image: Image.Image, path: Path) -> None:
    """Raise if a picture, of which the header has been read, would take too much memory."""
    tags = getattr(image, "tag_v2", {})  # a TIFF is decoded by tiles, which may be larger than it is
    if max(image.width * image.height, tags.get(322, 0) * tags.get(323, 0)) > MAX_PIXELS:
        raise DataError(_too_large(path))
    size, pixel = f"{image.width} x {image.height}", _bytes_of_pixel(image)
    if image.format == "JPEG" and not image.info.get("progressive"):
        image.draft("L", (_ENOUGH, _ENOUGH))  # changes nothing where there are not twice as many
        pixel = 2  # the decoder holds some rows only
    needed = image.width * image.height * pixel
    if needed > MAX_BYTES:
        raise DataError(
            f"{path} has {size} pixels, which take {needed:,} bytes to read, and at most {MAX_BYTES:,} are "
            "taken; scale it down, a few hundred pixels a side are plenty"
        )


def _bytes_of_pixel(image: Image.Image) -> int:
    """Return the memory that Pillow takes for a pixel; a decoder of whole pictures takes it several times."""
    if image.mode.startswith("I;16"):
        pixel = 2
    else:
        pixel = 1 if image.mode in ("1", "L", "P") else 4
    return pixel * {"WEBP": 3, "AVIF": 3, "JPEG2000": 2, "JPEG": 3}.get(image.format or "", 1)


def _grey_values(image: Image.Image, path: Path) -> Grey:
    """Return the grey values (h, w) of a picture, its transparent parts filled so that the ink stands out."""
    image.load()
    if image.width * image.height > MAX_PIXELS:  # an icon is as large as the picture inside it
        raise DataError(_too_large(path))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _wide_values(image, path)
    grey = np.empty((image.height, image.width), np.uint8)
    if not image.has_transparency_data:
        for rows, strip in _strips(image):
            grey[rows] = np.asarray(strip if strip.mode == "L" else strip.convert("RGB").convert("L"))
        return grey_levels(path, grey, int(grey.min()), int(grey.max()))
    alpha = np.empty_like(grey)
    for rows, strip in _strips(image):
        rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        grey[rows] = np.asarray(rgba.convert("RGB").convert("L"))
        alpha[rows] = np.asarray(rgba.getchannel("A"))
    fill = page(grey, alpha)
    for rows, _ in _strips(image):
        share = alpha[rows] / 255
        grey[rows] = np.rint(share * grey[rows] + (1 - share) * fill)
    return grey


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield a picture in strips of whole rows, each with the rows that it has."""
    height = max(1, _STRIP // image.width)
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _wide_values(image: Image.Image, path: Path) -> Grey:
    """Return the grey values of a picture of 16 or 32 bits."""
    strips = ((rows, np.asarray(strip)) for rows, strip in _strips(image))
    rows, strip = next(strips)
    values = np.empty((image.height, image.width), strip.dtype)
    values[rows] = strip
    for rows, strip in strips:
        values[rows] = strip
    return grey_levels(path, values, float(values.min()), float(values.max()))


def _orientation(image: Image.Image) -> int:
    """Return how the camera was held, as EXIF counts: 1 is upright, and what is taken for unknown."""
    with suppress(Exception):  # what a damaged EXIF raises is no reason to lose the picture
        return int(image.getexif().get(0x0112, 1))
    return 1


_TURNED: dict[int, Callable[[Grey], Grey]] = {
    2: lambda grey: grey[:, ::-1],
    3: lambda grey: grey[::-1, ::-1],
    4: lambda grey: grey[::-1],
    5: lambda grey: grey.T,
    6: lambda grey: grey.T[:, ::-1],
    7: lambda grey: grey.T[::-1, ::-1],
    8: lambda grey: grey.T[::-1],
}
"""A picture set upright, by the orientation that its EXIF data tell (JEITA CP-3451, section 4.6.4)."""
