"""Reading of ``.npz`` files that anybody may have written: names and shapes first, numbers when asked for.

NumPy's own reader takes whatever a file says: it reserves memory for any shape, unpacks any archive, and ends
in a dozen kinds of errors where bytes are damaged. Here a file is either read as `numpy.savez` wrote it, or
refused in one sentence.
"""

from __future__ import annotations

import errno
import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.numbers import bytes_text
from tinygrad_mnist.training.errors import CheckpointError

_DAMAGED: Final = "is cut off or damaged; take another copy of it, or train again"

_OTHER_FILES: Final = {
    b"": "it is empty",
    b"PK\x05\x06": "it is an .npz file without any array",
    b"\x93NUM": "it is an .npy file, which holds a single array",
}
"""Files that are easily taken for a checkpoint, by their first bytes."""

_SUFFIX: Final = ".npy"
_MAGIC: Final = b"\x93NUMPY\x01\x00"
_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=]?[?biufcSUOV][0-9]*)', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9, ]*)\), \} *\n"
)
"""The header of an array as NumPy writes it. A dtype with fields, or one of dates, does not match."""

_ENCRYPTED: Final = 0x1
_PACKINGS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ALWAYS_UNPACKED: Final = 1 << 26
_LARGEST_RATIO: Final = 25
"""Bytes in memory for a byte in the file. Weights in float32 cannot be packed much smaller than they are."""


class Entry(NamedTuple):
    """An array of a file, as its header describes it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    start: int  # of the numbers, in bytes


class NpzReader:
    """An open ``.npz`` file.

    Every method raises a `CheckpointError` where the file is not as `numpy.savez` writes it.

    Parameters
    ----------
    file : BinaryIO
        The file, opened.
    path : Path
        Its path, for messages.

    Attributes
    ----------
    names : tuple of str
        The names of the arrays.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        # looked at first, as zipfile would take any file that has an archive at its end
        magic = file.read(4)
        if magic != b"PK\x03\x04":
            found = _OTHER_FILES.get(magic, "it is no .npz file")
            raise CheckpointError(
                f"{path} is no checkpoint: {found}; name a directory that 'tinygrad-mnist train' has written"
            )
        self._size = file.seek(0, 2)
        self._archive = zipfile.ZipFile(file)
        self._members = {member.filename: member for member in self._archive.infolist()}
        if len(self._members) < len(self._archive.infolist()):
            raise CheckpointError(f"{path} {_DAMAGED} (two arrays have the same name)")
        self.names = tuple(name.removesuffix(_SUFFIX) for name in self._members)

    def entry(self, name: str) -> Entry:
        """Return what the header of an array says, without reading the array."""
        with self._opened(name) as (stream, size):
            start = stream.read(len(_MAGIC) + 2)
            length = int.from_bytes(start[-2:], "little")
            match = _HEADER.fullmatch(stream.read(length))
            if not start.startswith(_MAGIC) or match is None:
                raise CheckpointError(f"{self.path} {_DAMAGED} ({name!r} has no header of an array)")
            descr, order, sides = (group.decode() for group in match.groups())
            shape = tuple(int(side) for side in sides.replace(" ", "").split(",") if side)
            found = Entry(shape, np.dtype(descr), order == "True", len(start) + length)
            if found.dtype.hasobject:
                raise CheckpointError(f"{self.path} {_DAMAGED} ({name!r} is pickled, which is not read)")
            if found.start + math.prod(shape) * found.dtype.itemsize != size:
                raise CheckpointError(f"{self.path} {_DAMAGED} ({name!r} is longer or shorter than it says)")
            return found

    def require_moderate(self, names: list[str]) -> None:
        """Raise an error if arrays take far more memory than the file is long, as those of an attack do."""
        total = sum(self._member(name).file_size for name in names)
        if total > max(_ALWAYS_UNPACKED, _LARGEST_RATIO * self._size):
            raise CheckpointError(
                f"{self.path} has {bytes_text(self._size)}, but would take {bytes_text(total)} of memory; "
                "no training writes such a file"
            )

    def read(self, name: str, entry: Entry) -> NDArray[Any]:
        """Return an array that is as its header says."""
        with self._opened(name) as (stream, size):
            stream.read(entry.start)
            content = stream.read(size - entry.start)
            if len(content) != size - entry.start or stream.read(1):  # at its end the checksum is compared
                raise CheckpointError(f"{self.path} {_DAMAGED}")
            array = np.frombuffer(content, entry.dtype)
            return array.reshape(entry.shape, order="F" if entry.fortran_order else "C")

    def _member(self, name: str) -> zipfile.ZipInfo:
        return self._members.get(name + _SUFFIX) or self._members[name]

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """Give the bytes of an array, and their number; word the errors of reading them."""
        member = self._member(name)
        if member.flag_bits & _ENCRYPTED:
            raise CheckpointError(f"{self.path} is encrypted; decrypt it first")
        if member.compress_type not in _PACKINGS:
            raise CheckpointError(f"{self.path} is packed in a way that NumPy does not write; write it anew")
        with _worded(self.path), self._archive.open(member) as stream:
            yield stream, member.file_size


@contextmanager
def open_npz(path: Path) -> Iterator[NpzReader]:
    """Open a file for reading.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    CheckpointError
        If it cannot be read, is no ``.npz`` file, or is damaged.
    """
    with ExitStack() as stack:
        with _worded(path):
            reader = NpzReader(stack.enter_context(path.open("rb")), path)
        yield reader


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    """Raise a `CheckpointError` for whatever goes wrong inside."""
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place before the beginning of the file
            raise CheckpointError(f"{path} {_DAMAGED}") from error
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise CheckpointError(f"{path} needs more memory than there is") from error
    except Exception as error:  # zipfile and zlib raise errors of a dozen kinds for damaged bytes
        raise CheckpointError(f"{path} {_DAMAGED}") from error
