"""IDX files, the format of MNIST, read strictly.

An IDX file holds a magic number (two zero bytes, a type code, the number of dimensions), the dimensions as
big-endian 32-bit integers, and the elements, big-endian, the last dimension running fastest (Y. LeCun, C.
Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section "File formats"). The file may be
gzipped. Every other content is a `DataError`; nothing is guessed.
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError

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
_MOST_DIMENSIONS = 32
"""The most dimensions that are read: more than anybody needs, fewer than NumPy can hold."""
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
        type code or impossible dimensions, or its gzip stream is damaged.

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
    path = Path(path)
    if os.path.isdir(path):
        raise DataError(f"{path} is a directory, where an IDX file was expected; name a file")
    try:
        with path.open("rb") as file:
            zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            if not zipped:
                return _read_stream(path, file)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_stream(path, stream)
    except EOFError as error:
        raise DataError(
            f"{path} is a truncated gzip file: it ends before its stream does; {_AGAIN}"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}); {_AGAIN}") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); name an existing, readable IDX file"
        ) from error


def _read_stream(path: Path, stream: BinaryIO | gzip.GzipFile) -> NDArray[Any]:
    dtype, shape = _read_header(path, stream)
    elements = math.prod(shape) * dtype.itemsize
    dimensions = " x ".join(map(str, shape))
    claim = f"its header promises {dimensions} elements of {dtype.itemsize} bytes, {elements:,} bytes in all"
    content = bytearray()  # grows with what the file holds: a header that lies must not take memory
    while len(content) < elements:
        chunk = stream.read(min(_CHUNK, elements - len(content)))
        if not chunk:
            raise DataError(f"{path} is truncated: {claim}, and only {len(content):,} follow it; {_AGAIN}")
        content += chunk
    if stream.read(1):
        raise DataError(f"{path} is longer than it should be: {claim}, and more follow them; {_AGAIN}")
    try:
        array = np.frombuffer(content, dtype).reshape(shape)
    except ValueError as error:
        raise DataError(f"{path} has dimensions that no array can have: {claim}; {_AGAIN}") from error
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(path: Path, stream: BinaryIO | gzip.GzipFile) -> tuple[np.dtype[Any], tuple[int, ...]]:
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
