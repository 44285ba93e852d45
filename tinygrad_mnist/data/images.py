"""A user's picture, read as grey values from anything that Pillow knows, from NPY and from IDX.

What is on the picture is of no concern here: `prepare_digit` (in `prepare.py`) finds the digit on it.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.idx import read_idx
from tinygrad_mnist.data.prepare import prepare_digit

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["prepare_digit", "read_image"]

Grey = NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""Larger pictures are refused: no camera phone needs more for a digit, and a decompression bomb does."""

_NPY_MAGIC = b"\x93NUMPY"
_GZIP_MAGIC = b"\x1f\x8b"
_IDX_TYPE_CODES = frozenset(b"\x08\x09\x0b\x0c\x0d\x0e")


def read_image(path: str | os.PathLike[str], index: int | None = None) -> Grey:
    """Read one picture from a file as grey values.

    Parameters
    ----------
    path : path-like
        A picture in any format, size and mode that Pillow reads (transparency is laid over the background
        that lets the ink be seen); an NPY file with one picture (h, w) or a stack (n, h, w), of integers in
        0..255 or of 16 bits, or floats in 0..1 or 0..255; or an IDX file with the same, gzipped or not.
    index : int, optional
        Which picture of a stack, counted from 0. A stack needs it, a single picture does not take it.

    Returns
    -------
    ndarray, shape (h, w), uint8
        0 is black, 255 white. The array is the caller's own.

    Raises
    ------
    DataError
        Where the file is missing, empty, damaged, too large or no picture, or the index does not fit: one
        sentence that names the file.
    ImportError
        Where the file needs Pillow and it is not installed.

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
            if not _is_idx(magic):
                pixels = _read_npy(file, path) if magic == _NPY_MAGIC else _read_with_pillow(file, path)
                return _one_of(pixels, index, path)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    return _one_of(read_idx(path), index, path)


def _is_idx(magic: bytes) -> bool:
    """Whether a file begins as IDX files do (two zeros, a type code, a number of axes), or gzipped ones."""
    plain = len(magic) >= 4 and magic[:2] == b"\0\0" and magic[2] in _IDX_TYPE_CODES and magic[3] > 0
    return plain or magic.startswith(_GZIP_MAGIC)


def _read_npy(file: BinaryIO, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except Exception as error:  # a damaged header raises whatever its parser meets, MemoryError included
        raise DataError(f"{path} is no sound NPY file of numbers ({_first_line(error)})") from error


def _read_with_pillow(file: BinaryIO, path: Path) -> NDArray[Any]:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            f'Pillow is needed to read {path}: install it with pip install "tinygrad_mnist[images]".'
        ) from error
    too_large = f"{path} has more than {MAX_PIXELS:,} pixels; scale it down, a few hundred a side are plenty"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a decoder's remarks; what it cannot do it raises
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(too_large)
                return _grey_values(ImageOps.exif_transpose(image))
        except DataError:
            raise
        except UnidentifiedImageError as error:
            raise DataError(f"{path} is not a picture of any format that can be read here") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(too_large) from error
        except Exception as error:  # decoders raise OSError, SyntaxError, struct.error ... on damaged bytes
            raise DataError(f"{path} is damaged or cut off ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    """Foreign text for a sentence of ours: its first line, without a full stop; or the name of the error."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def _grey_values(image: Image.Image) -> NDArray[Any]:
    """Grey values of a picture, with transparent parts filled so that the ink stands out, as (h, w)."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB").convert("L") if image.mode != "L" else image)
    rgba = image.convert("RGBA")
    grey = np.asarray(rgba.convert("RGB").convert("L"), np.float64)
    alpha = np.asarray(rgba.getchannel("A"), np.float64) / 255
    # What can be seen is ink alone (fill with its contrary), or brings its own paper (fill with that).
    seen = max(float(alpha.sum()), 1e-12)
    dark = float(alpha[grey < 128].sum()) / seen
    ink_alone = dark < 0.02 or dark > 0.98
    fill = 255.0 if ink_alone == (dark > 0.5) else 0.0
    return np.rint(alpha * grey + (1 - alpha) * fill).astype(np.uint8)


def _one_of(pixels: NDArray[Any], index: int | None, path: Path) -> Grey:
    """One picture out of what a file holds, as bytes."""
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise DataError(
            f"{path} holds an array of shape {pixels.shape}, where a picture (h, w) or a stack of pictures "
            "(n, h, w) was expected"
        )
    if pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4) and pixels.shape[1] > 4:
        raise DataError(
            f"{path} holds a colour picture (h, w, channels), to judge by its shape {pixels.shape}, where "
            "grey values were expected, (h, w), or (n, h, w) for a stack; save it as those, or as a PNG"
        )
    if pixels.ndim == 2 and index is not None:
        raise DataError(f"{path} holds a single picture, which takes no index, but index {index} was given")
    if pixels.ndim == 3 and index is None:
        raise DataError(
            f"{path} holds {len(pixels)} pictures; choose one by an index from 0 to {len(pixels) - 1}"
        )
    if index is not None and not 0 <= index < len(pixels):
        raise DataError(f"{path} holds {len(pixels)} pictures, counted from 0; it has none of index {index}")
    if pixels.shape[-2] * pixels.shape[-1] > MAX_PIXELS:
        raise DataError(f"{path} has pictures of more than {MAX_PIXELS:,} pixels each; scale them down")
    scale = _scale_to_bytes(pixels, path)  # judged on the whole stack: one picture of it may be nearly black
    picture = pixels if index is None else pixels[index]
    return np.array(np.rint(picture.astype(np.float64) * scale), dtype=np.uint8)


def _scale_to_bytes(pixels: NDArray[Any], path: Path) -> float:
    """The factor from these pixels to 0..255, judged by their type and range."""
    if pixels.dtype == np.uint8:
        return 1.0
    if pixels.dtype.kind not in "buif":
        raise DataError(f"{path} holds values of type {pixels.dtype}, where grey values were expected")
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype.kind == "b" or (pixels.dtype.kind == "f" and low >= 0 and high <= 1):
        return 255.0
    if low >= 0 and high <= 255:
        return 1.0
    if pixels.dtype.kind in "ui" and low >= 0 and high <= 65535:
        return 1 / 257
    raise DataError(f"{path} holds values from {low:g} to {high:g}, where 0 to 255 (or 0 to 1) was expected")
