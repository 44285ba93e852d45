"""The grey values of one picture, from wherever it is: a file, an open file, an array, an image of Pillow.

A file is a picture of any format that Pillow reads, or an array in NPY or IDX. An open file is read into
memory first, once, and is a file then. Limits of pixels and bytes hold for all of them.
"""

from __future__ import annotations

import io
import operator
import os
import reprlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.data.array_images import EXPECTED, values_of_array
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.idx import GZIP_MAGIC, TYPE_CODES, stored_idx
from tinygrad_mnist.data.pillow_images import read_with_pillow, values_of_image
from tinygrad_mnist.data.stacks import MAX_BYTES, open_npy, read_picture

if TYPE_CHECKING:
    from PIL import Image

Grey = NDArray[np.uint8]

_NPY_MAGIC = b"\x93NUMPY"
_CHUNK = 1 << 20
_LONGEST_PATH = 1024
STANDARD_INPUT = "standard input"
"""What standard input is called in errors."""


class ReadableFile(Protocol):
    """A binary file object: all that is asked of it is ``read``."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes, and none at the end."""


PictureLike: TypeAlias = "str | os.PathLike[str] | ReadableFile | Image.Image | ArrayLike"
"""What `read_image` takes."""


@dataclass(frozen=True, eq=False)
class Picture:
    """The grey values of a picture, and what is to be said of it.

    Parameters
    ----------
    name : str
        What it is called in errors: its path, or what was given.
    grey : ndarray
        uint8, shape (h, w).
    size : tuple of int
        Height and width of what was given, set upright: a large JPEG is scaled down while it is read.
    """

    name: str
    grey: Grey
    size: tuple[int, int]


def read_image(source: PictureLike, index: int | None = None) -> Grey:
    """Read one picture as grey values.

    Equal pictures give equal values, whether they come as a path, as an open file, as its bytes in
    ``io.BytesIO``, or as an image of Pillow.

    Parameters
    ----------
    source : path-like, binary file, PIL.Image.Image or array_like
        A picture as

        - the path of a file: of any format, size and mode that Pillow reads (transparent parts get the
          background that lets the ink be seen, and of an animation the first frame is read); an NPY file with
          one picture (h, w) or a stack (n, h, w), of booleans, integers or floats, see
          `tinygrad_mnist.data.levels.black_and_white`; or an IDX file with the same, gzipped or not;
        - an open binary file with the same content. It is read from where it stands to its end, it need not
          be one that can be sought in, and it is not closed;
        - an image of Pillow, of any mode;
        - an array (h, w) or (n, h, w), in colour (h, w, 3), or with transparent parts (h, w, 4): of NumPy,
          nested lists, a Tensor of this package or of PyTorch.
    index : int, optional
        The number of a picture in a stack, counted from 0. A stack needs it, a single picture does not take
        it.

    Returns
    -------
    ndarray, shape (h, w), uint8
        0 is black, 255 white. The array is the caller's own. A large JPEG in a file is scaled down.

    Raises
    ------
    DataError
        It is missing, empty, damaged, too large or no picture, or the index does not fit.
    TypeError
        It is of another type, or the index is no whole number.
    ImportError
        The file needs Pillow, which is not installed.

    Examples
    --------
    >>> read_image(np.array([[0.0, 0.5], [1.0, 0.0]]))
    array([[  0, 128],
           [255,   0]], dtype=uint8)
    >>> file = io.BytesIO()
    >>> np.save(file, np.array([[0.0, 0.5], [1.0, 0.0]]))
    >>> position = file.seek(0)
    >>> read_image(file)
    array([[  0, 128],
           [255,   0]], dtype=uint8)
    """
    return find_picture(source, index).grey


def find_picture(source: PictureLike, index: int | None = None) -> Picture:
    """Read one picture as `read_image` does; return its name and its size, too."""
    index = _whole(index)
    if isinstance(source, str | os.PathLike):
        return _at_path(Path(source), index)
    if isinstance(source, bytes | bytearray):
        raise TypeError(
            f"a picture was given as {type(source).__name__}; expected {EXPECTED}, which io.BytesIO makes of "
            "bytes"
        )
    if _is_image(source):
        name = "the image of Pillow"
        return Picture(name, *values_of_image(cast("Image.Image", source), name, index))
    if callable(getattr(source, "read", None)):
        name = _name_of(source)
        return _in_file(_read_whole(source, name), name, index)
    name = "the list" if isinstance(source, list | tuple) else "the array"
    grey = values_of_array(source, name, index)
    return Picture(name, grey, (grey.shape[0], grey.shape[1]))


def _whole(index: Any) -> int | None:
    """Return the number of a picture, which may be any whole number, as one of Python's."""
    if index is None:
        return None
    try:
        if isinstance(index, bool | np.bool_):
            raise TypeError
        return operator.index(index)
    except TypeError:
        raise TypeError(
            f"index {reprlib.repr(index)} was given; expected a whole number, that of a picture among several"
        ) from None


def _at_path(path: Path, index: int | None) -> Picture:
    if os.path.isdir(path):
        raise DataError(f"{path} is a directory, where the file of one picture was expected")
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait for a writer
        raise DataError(f"{path} is no regular file, where a picture was expected; write it to a file first")
    try:
        with path.open("rb") as file:
            return _in_file(file, str(path), index)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except OSError as error:
        raise DataError(f"{_short(path)} cannot be read ({error.strerror or error})") from error


def _short(path: Path) -> str:
    """Return a path, or of one that is too long to be any its beginning."""
    text = str(path)
    return text if len(text) <= _LONGEST_PATH else f"{text[:60]}..."


def _in_file(file: BinaryIO, name: str, index: int | None) -> Picture:
    """Read a picture from an open file at its beginning, which can be sought in."""
    magic = file.read(6)
    file.seek(0)
    if not magic:
        raise DataError(f"{name} is empty, where a picture was expected")
    if magic == _NPY_MAGIC:
        grey = read_picture(open_npy(name, file), index)
    elif _is_idx(magic):
        with stored_idx(name, file) as stored:
            grey = read_picture(stored, index)
    else:
        return Picture(name, *read_with_pillow(file, name, index))
    return Picture(name, grey, (grey.shape[0], grey.shape[1]))


def _is_idx(magic: bytes) -> bool:
    """Return whether a file begins as IDX files do (two zeros, a type code, a number of axes), or as gzip."""
    plain = len(magic) >= 4 and magic[:2] == b"\0\0" and magic[2] in TYPE_CODES and magic[3] > 0
    return plain or magic.startswith(GZIP_MAGIC)


# ---- what is no path ---------------------------------------------------------------------------------------


def _is_image(source: Any) -> bool:
    """Return whether this is an image of Pillow; where Pillow was not imported, nothing is."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(source, pillow.Image)


def _name_of(file: Any) -> str:
    """Return what an open file is called in errors."""
    name = getattr(file, "name", None)
    if name == "<stdin>":
        return STANDARD_INPUT
    return name if isinstance(name, str) and name else "the file object"


def _read_whole(file: Any, name: str) -> io.BytesIO:
    """Read an open file from where it stands to its end into memory, as much as may be taken.

    Decoders seek in a file from its beginning, so what lies before a picture would be in their way.
    """
    content = io.BytesIO()
    while True:
        try:
            chunk = file.read(_CHUNK)
        except (OSError, ValueError) as error:  # ValueError: it is closed, or not text in this encoding
            raise DataError(f"{name} cannot be read ({getattr(error, 'strerror', None) or error})") from error
        if not isinstance(chunk, bytes):
            raise TypeError(
                f"{name} gives {type(chunk).__name__} where bytes were expected; open it with the mode 'rb'"
            )
        if not chunk:
            content.seek(0)
            return content
        content.write(chunk)
        if content.tell() > MAX_BYTES:
            raise DataError(
                f"{name} has more than {MAX_BYTES:,} bytes, the most that are read of an open file; name its "
                "path"
            )
