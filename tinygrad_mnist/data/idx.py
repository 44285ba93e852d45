"""IDX files, the format of MNIST, read strictly.

An IDX file holds a magic number (two zero bytes, a type code, the number of dimensions), the dimensions as
big-endian 32-bit integers, and the elements, big-endian, the last dimension running fastest (Y. LeCun, C.
Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section "File formats"). The file may be
gzipped. Every other content is a `DataError`; nothing is guessed.
"""

import gzip
import io
import math
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.numbers import count_text

TYPE_CODES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
"""The dtype of the elements of an IDX file, in the byte order of the file, by its type code."""

GZIP_MAGIC = b"\x1f\x8b"
MAX_UNZIPPED = 1 << 28
"""The most bytes that are unzipped, if nothing else is said: five times the images of MNIST."""

_MOST_DIMENSIONS = 32
"""The most dimensions that are read: more than anybody needs, fewer than NumPy can hold."""
_MOST_OF_A_BYTE = 1032
"""The most bytes that one byte of a gzip file can stand for: Deflate writes 258 bytes in 2 bits."""
_CHUNK = 1 << 20
_AGAIN = "fetch it again"


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, gzipped or not.

    Parameters
    ----------
    path : str or path-like
        The file. Its first bytes, not its name, decide whether it is gzipped.

    Returns
    -------
    ndarray
        A new, writeable, C-contiguous array of the shape in the header; uint8, int8, int16, int32, float32 or
        float64 in native byte order.

    Raises
    ------
    DataError
        The file cannot be read, is no IDX file, is shorter or longer than its header says, has an unknown
        type code or impossible dimensions, its gzip stream is damaged, or is to become more than
        `MAX_UNZIPPED` bytes. What the header tells is told before the elements are read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "two-by-three-idx2-short")
    ...     header = bytes([0, 0, 0x0B, 2, 0, 0, 0, 2, 0, 0, 0, 3])
    ...     _ = path.write_bytes(header + bytes([0, 1, 0, 2, 0, 3, 1, 0, 1, 1, 1, 2]))
    ...     read_idx(path)
    array([[  1,   2,   3],
           [256, 257, 258]], dtype=int16)
    """
    with open_idx(path) as stored:
        return stored.read()


@dataclass(frozen=True)
class StoredArray:
    """An array in an open file, of which the header has been read, and the elements have not.

    Parameters
    ----------
    path : Path or str
        The file; or what else it is called in errors.
    dtype : dtype
        The dtype of the elements in the file.
    shape : tuple of int
        The shape that the header promises.
    stream : binary file
        It stands at the first element.
    is_fortran : bool, optional
        Whether the first dimension runs fastest in the file, and not the last.
    is_whole : bool, optional
        Whether the file ends with the last element.
    """

    path: Path | str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stream: BinaryIO | gzip.GzipFile
    is_fortran: bool = False
    is_whole: bool = True

    @property
    def claim(self) -> str:
        """The size that the header promises, as a part of a sentence."""
        return (
            f"its header promises {' x '.join(map(str, self.shape))} elements of "
            f"{count_text(self.dtype.itemsize, 'byte')}, {count_text(self.nbytes, 'byte')} in all"
        )

    @property
    def nbytes(self) -> int:
        """The number of bytes that the header promises."""
        return math.prod(self.shape) * self.dtype.itemsize

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield all elements in the order of the file, a megabyte at a time; raise unless that is all."""
        most = _CHUNK // self.dtype.itemsize * self.dtype.itemsize
        done = 0
        while done < self.nbytes:
            chunk = self.stream.read(min(most, self.nbytes - done))
            done += len(chunk)
            if len(chunk) % self.dtype.itemsize or not chunk:
                raise self.truncated(done)
            yield np.frombuffer(chunk, self.dtype)
        if self.is_whole and self.stream.read(1):
            raise self.too_long()

    def read(self) -> NDArray[Any]:
        """Return the array, in native byte order."""
        try:
            array: NDArray[Any] = np.empty(self.shape, self.dtype.newbyteorder("="))
        except (ValueError, MemoryError) as error:
            raise DataError(
                f"{self.path} has dimensions that no array can have here: {self.claim}; {_AGAIN}"
            ) from error
        elements, done = array.reshape(-1), 0
        for chunk in self.chunks():
            elements[done : done + len(chunk)] = chunk
            done += len(chunk)
        return array

    def truncated(self, found: int) -> DataError:
        """Return the error for a file that has fewer bytes than its header promises."""
        return DataError(f"{self.path} is truncated: {self.claim}, and only {found:,} follow it; {_AGAIN}")

    def too_long(self) -> DataError:
        """Return the error for a file that has more bytes than its header promises."""
        return DataError(
            f"{self.path} is longer than it should be: {self.claim}, and more follow them; {_AGAIN}"
        )


@contextmanager
def open_idx(path: str | os.PathLike[str], *, most_unzipped: int = MAX_UNZIPPED) -> Iterator[StoredArray]:
    """Open an IDX file, gzipped or not, read its header, and compare what it promises with the file's size.

    Parameters
    ----------
    path : str or path-like
        The file.
    most_unzipped : int, optional
        The most bytes that a gzip file may become.

    Yields
    ------
    StoredArray
        The array in it, to be read inside the context.

    Raises
    ------
    DataError
        As `read_idx`; what is wrong with the elements is raised inside the context, when they are read.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise DataError(f"{path} is a directory, where an IDX file was expected; name a file")
    try:
        with path.open("rb") as file, stored_idx(path, file, most_unzipped=most_unzipped) as stored:
            yield stored
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); name an existing, readable IDX file"
        ) from error


@contextmanager
def stored_idx(
    path: Path | str, file: BinaryIO, *, most_unzipped: int = MAX_UNZIPPED
) -> Iterator[StoredArray]:
    """Read the header of an open IDX file at its beginning; for the rest see `open_idx`.

    Parameters
    ----------
    path : Path or str
        The name of the file in errors.
    file : binary file
        It can be sought in, and is not closed.
    most_unzipped : int, optional
        The most bytes that a gzip file may become.
    """
    zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    try:
        if not zipped:
            stored = StoredArray(path, *_read_header(path, file), file)
            _check_size(stored, size_of(file))
            yield stored
            return
        with gzip.GzipFile(fileobj=file) as stream:
            stored = StoredArray(path, *_read_header(path, stream), stream)
            _check_unzipped_size(stored, size_of(file), most_unzipped)
            yield stored
    except EOFError as error:
        raise DataError(
            f"{path} is a truncated gzip file: it ends before its stream does; {_AGAIN}"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}); {_AGAIN}") from error


def size_of(file: BinaryIO) -> int | None:
    """Return the number of bytes of a file; None for what has no size, as a pipe."""
    if isinstance(file, io.BytesIO):
        return file.getbuffer().nbytes
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _check_size(stored: StoredArray, size: int | None) -> None:
    """Raise if a file has other bytes behind its header than that promises."""
    if size is None:
        return
    found = size - stored.stream.tell()
    if found < stored.nbytes:
        raise stored.truncated(found)
    if found > stored.nbytes:
        raise stored.too_long()


def _check_unzipped_size(stored: StoredArray, size: int | None, most: int) -> None:
    """Raise if a gzip file of this size cannot hold what is promised, or it is more than is unzipped."""
    if size is not None and stored.nbytes > size * _MOST_OF_A_BYTE:
        raise DataError(
            f"{stored.path} is truncated: {stored.claim}, more than {size:,} bytes of gzip can hold; {_AGAIN}"
        )
    if stored.nbytes > most:
        raise DataError(
            f"{stored.path} is a gzip file that is too large: {stored.claim}, and at most {most:,} "
            "are unzipped; if you trust it, unzip it by gunzip and name the file that comes of it"
        )


def _read_header(path: Path | str, stream: BinaryIO | gzip.GzipFile) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4:
        raise DataError(
            f"{path} is truncated: an IDX file begins with 4 bytes, and it has {len(magic)}; {_AGAIN}"
        )
    if magic[:2] != b"\0\0":
        raise DataError(
            f"{path} is not an IDX file: it begins with the bytes {magic.hex(' ')}, where an IDX file "
            "begins with 00 00; name an IDX file"
        )
    code, dimensions = magic[2], magic[3]
    if code not in TYPE_CODES:
        known = ", ".join(f"0x{known:02x}" for known in TYPE_CODES)
        raise DataError(f"{path} has the unknown IDX type code 0x{code:02x}; known are {known}")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise DataError(
            f"{path} claims to have {dimensions} dimensions, where 1 to {_MOST_DIMENSIONS} are possible"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{path} is truncated within its header of {4 + 4 * dimensions} bytes; {_AGAIN}")
    return TYPE_CODES[code], tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
