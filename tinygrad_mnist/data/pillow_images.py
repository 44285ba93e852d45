"""The grey values of pictures of any format, size and mode that Pillow reads, and of its images in memory.

How large a picture is stands in its header, so one that would take too much memory is refused before it is
read. The rest is done in strips, as the numbers behind a pixel may take ten times the room of the pixel.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.stacks import MAX_BYTES, MAX_PIXELS, check_index, grey_levels
from tinygrad_mnist.data.transparency import on_page
from tinygrad_mnist.extras import missing_package

if TYPE_CHECKING:
    from PIL import Image

Grey = NDArray[np.uint8]
Size = tuple[int, int]

_STRIP = 1 << 20
"""Pixels that are converted at a time."""
_ENOUGH = 2048
"""Pixels a side that are enough for a digit: a larger JPEG is decoded at a half, a quarter or an eighth."""

_lock = Lock()
_silent = ExitStack()
_inside = 0
"""How many are inside of `silenced`, and what puts the filters of warnings back, under a lock."""


def read_with_pillow(file: BinaryIO, name: str, index: int | None) -> tuple[Grey, Size]:
    """Read a picture from an open file at its beginning.

    Parameters
    ----------
    file : binary file
        It can be sought in.
    name : str
        Its name in errors.
    index : int or None
        Must be None, as there is one picture only.

    Returns
    -------
    grey : ndarray, shape (h, w), uint8
        A large JPEG is scaled down.
    size : tuple of int
        Height and width of the picture in the file.
    """
    with _opened(file, name) as image:
        check_index(name, None, index)
        _check_size(image, name)
        width, height = image.size
        _draft(image)
        full_by_drafted = width / image.width, height / image.height
        return _upright(image, name, full_by_drafted)


def values_of_image(image: Image.Image, name: str, index: int | None) -> tuple[Grey, Size]:
    """Return what `read_with_pillow` reads from a file, of an image of Pillow in memory.

    The image is not changed, except that it is loaded if it was not. Of an animation it is the frame that the
    image is at.
    """
    with silenced(), _explained(name):
        check_index(name, None, index)
        _check_size(image, name)
        return _upright(image, name)


def _upright(image: Image.Image, name: str, scale: tuple[float, float] = (1.0, 1.0)) -> tuple[Grey, Size]:
    """Return the grey values of a picture as the camera was held, and height and width before it was scaled.

    `scale` is how much wider and higher it was.
    """
    grey = _upright_values(image, name)
    if scale == (1.0, 1.0):
        return grey, (grey.shape[0], grey.shape[1])
    across, down = scale[::-1] if _is_turned(image) else scale
    return grey, (round(grey.shape[0] * down), round(grey.shape[1] * across))


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
        with path.open("rb") as file, _opened(file, str(path)) as image:
            _check_size(image, str(path))
            _draft(image)
            width, height = image.size
            is_grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
            if width * height <= small:
                grey = _upright_values(image, str(path))
                return Outline((grey.shape[0], grey.shape[1]), not is_grey, grey)
            return Outline((width, height) if _is_turned(image) else (height, width), not is_grey, None)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


@contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """Give a picture of which the header has been read; word the errors of reading the rest."""
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_package(f"to read {name}", "images", "Pillow") from error
    with silenced(), _explained(name), Image.open(file) as image:
        yield image


@contextmanager
def silenced() -> Iterator[None]:
    """Give no remarks of decoders inside; real faults are raised. Several threads may be inside.

    The filters of warnings are those of the whole process. Who comes in first changes them, and who leaves
    last puts them back.
    """
    global _inside
    from PIL import Image

    with _lock:
        _inside += 1
        if _inside == 1:
            _silent.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _silent.close()


def _upright_values(image: Image.Image, name: str) -> Grey:
    """Return the grey values of a picture, turned as the camera was held."""
    grey = _grey_values(image, name)
    turn = _TURNED.get(_orientation(image))
    return grey if turn is None else np.ascontiguousarray(turn(grey))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Raise what is wrong with a picture as a `DataError` that names it."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} is not a picture in a format that can be read; expected a PNG, JPEG, NPY or IDX file"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(_too_large(name)) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error ... on damaged bytes
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{name} is damaged or cut off ({lines[0].rstrip('. ')})") from error


def _too_large(name: str) -> str:
    return f"{name} has more than {MAX_PIXELS:,} pixels; scale it down, a few hundred a side are plenty"


def _check_size(image: Image.Image, name: str) -> None:
    """Raise if a picture, of which the header has been read, would take too much memory."""
    tags = getattr(image, "tag_v2", {})  # a TIFF is decoded by tiles, which may be larger than it is
    if max(image.width * image.height, tags.get(322, 0) * tags.get(323, 0)) > MAX_PIXELS:
        raise DataError(_too_large(name))
    size, pixel = f"{image.width} x {image.height}", _bytes_of_pixel(image)
    if _can_be_drafted(image):
        pixel = 2  # the decoder holds some rows only
    needed = image.width * image.height * pixel
    if needed > MAX_BYTES:
        raise DataError(
            f"{name} has {size} pixels, which take {needed:,} bytes to read, and at most {MAX_BYTES:,} are "
            "taken; scale it down, a few hundred pixels a side are plenty"
        )


def _can_be_drafted(image: Image.Image) -> bool:
    """Return whether a picture is one of which the decoder can leave out pixels."""
    return image.format == "JPEG" and not image.info.get("progressive")


def _draft(image: Image.Image) -> None:
    """Let the decoder scale a large picture down, which takes less time and memory."""
    if _can_be_drafted(image):
        image.draft("L", (_ENOUGH, _ENOUGH))  # changes nothing where there are not twice as many


def _bytes_of_pixel(image: Image.Image) -> int:
    """Return the memory that Pillow takes for a pixel; a decoder of whole pictures takes it several times."""
    if image.mode.startswith("I;16"):
        pixel = 2
    else:
        pixel = 1 if image.mode in ("1", "L", "P") else 4
    return pixel * {"WEBP": 3, "AVIF": 3, "JPEG2000": 2, "JPEG": 3}.get(image.format or "", 1)


def _grey_values(image: Image.Image, name: str) -> Grey:
    """Return the grey values (h, w) of a picture, its transparent parts filled so that the ink stands out."""
    image.load()
    if image.width * image.height > MAX_PIXELS:  # an icon is as large as the picture inside it
        raise DataError(_too_large(name))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _wide_values(image, name)
    grey = np.empty((image.height, image.width), np.uint8)
    if not image.has_transparency_data:
        for rows, strip in _strips(image):
            grey[rows] = np.asarray(strip if strip.mode == "L" else strip.convert("RGB").convert("L"))
        return grey_levels(name, grey, int(grey.min()), int(grey.max()))
    alpha = np.empty_like(grey)
    for rows, strip in _strips(image):
        rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        grey[rows] = np.asarray(rgba.convert("RGB").convert("L"))
        alpha[rows] = np.asarray(rgba.getchannel("A"))
    return on_page(grey, alpha)


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield a picture in strips of whole rows, each with the rows that it has."""
    height = max(1, _STRIP // image.width)
    if image.height <= height:  # most are small, and need no copy
        yield slice(image.height), image
        return
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _wide_values(image: Image.Image, name: str) -> Grey:
    """Return the grey values of a picture of 16 or 32 bits."""
    strips = ((rows, np.asarray(strip)) for rows, strip in _strips(image))
    rows, strip = next(strips)
    values = np.empty((image.height, image.width), strip.dtype)
    values[rows] = strip
    for rows, strip in strips:
        values[rows] = strip
    return grey_levels(name, values, float(values.min()), float(values.max()))


def _is_turned(image: Image.Image) -> bool:
    """Return whether the camera was held on its side."""
    return _orientation(image) in (5, 6, 7, 8)


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
