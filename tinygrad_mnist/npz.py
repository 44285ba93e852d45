"""Reading of ``.npz`` files that anybody may have written: names and shapes first, numbers when asked for.

NumPy's own reader takes whatever a file says: it reserves memory for any shape, unpacks any archive, and ends
in a dozen kinds of errors where bytes are damaged. Here a file is either read as `numpy.savez` wrote it, or
refused in one sentence. `write_npz` writes such files: faster than NumPy does, as arrays are not copied, and
equal arrays give equal bytes. This module is below all others but `numbers`; a `Purpose` says what a file is
for.
"""

from __future__ import annotations

import errno
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.numbers import bytes_text

_OTHER_FILES: Final = {
    b"": "it is empty",
    b"PK\x05\x06": "it is an .npz file without any array",
    b"\x93NUM": "it is an .npy file, which holds a single array",
}
"""Files that are easily taken for an ``.npz`` file, by their first bytes."""

_SUFFIX: Final = ".npy"
_MAGIC: Final = b"\x93NUMPY\x01\x00"
_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=]?[?biufcSUOV][0-9]*)', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9, ]*)\), \} *\n"
)
"""The header of an array as NumPy writes it. A dtype with fields, or one of dates, does not match."""
_ANY_VERSION: Final = b"\x93NUMPY"
_OTHER_DTYPE: Final = re.compile(rb"\{'descr': (?:\[|'[<>|=]?(M8|m8))")
_OTHER_DTYPES: Final[dict[bytes | None, str]] = {None: "with fields", b"M8": "of dates", b"m8": "of times"}
"""The dtypes that are not read, by what the header has there."""

_ENCRYPTED: Final = 0x1
_PACKINGS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Purpose:
    """The use of a file: how its faults are worded, and how much memory it may take.

    Parameters
    ----------
    error : type of ValueError
        The class of the errors.
    kind : str
        The word for the file, with its article.
    instead : str
        The advice to who named another file.
    again : str
        The advice to who has a damaged one.
    pickled : str
        The sentence, after the path, about one with Python's own objects in it.
    always_unpacked : int
        Bytes of memory that any file may take.
    largest_ratio : int
        Bytes of memory that a larger one may take for each of its own.
    too_large : str
        The end of the sentence about a file that would take more.
    """

    error: type[ValueError]
    kind: str
    instead: str
    again: str
    pickled: str
    always_unpacked: int
    largest_ratio: int
    too_large: str

    def damaged(self, path: Path, found: str = "") -> ValueError:
        """Return the error for a damaged file."""
        return self.error(f"{path} is cut off or damaged; {self.again}{found and f' ({found})'}")


class Entry(NamedTuple):
    """An array of a file, as its header describes it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    start: int  # of the numbers, in bytes


class NpzReader:
    """An open ``.npz`` file.

    Every method raises the error of the purpose where the file is not as `numpy.savez` writes it.

    Parameters
    ----------
    file : BinaryIO
        The file, opened.
    path : Path
        Its path, for messages.
    purpose : Purpose
        What it is read for.

    Attributes
    ----------
    names : tuple of str
        The names of the arrays.
    size : int
        The length of the file in bytes.
    """

    def __init__(self, file: BinaryIO, path: Path, purpose: Purpose) -> None:
        self.path, self.purpose = path, purpose
        # looked at first, as zipfile would take any file that has an archive at its end
        magic = file.read(4)
        if magic != b"PK\x03\x04":
            found = _OTHER_FILES.get(magic, "it is no .npz file")
            raise purpose.error(f"{path} is no {purpose.kind}: {found}; {purpose.instead}")
        self.size = file.seek(0, 2)
        self._archive = zipfile.ZipFile(file)
        self._members = {member.filename: member for member in self._archive.infolist()}
        if len(self._members) < len(self._archive.infolist()):
            raise purpose.damaged(path, "two arrays have the same name")
        seen: dict[str, None] = {}
        for name in self._members:
            name = name.removesuffix(_SUFFIX)
            if name in seen:  # as "a" and "a.npy"
                raise purpose.error(f"{path} has two arrays of the name {name[:60]!r}; give one another name")
            seen[name] = None
        self.names = tuple(seen)

    def entry(self, name: str) -> Entry:
        """Return what the header of an array says, without reading the array."""
        with self._opened(name) as (stream, size):
            start = stream.read(len(_MAGIC) + 2)
            length = int.from_bytes(start[-2:], "little")
            header = stream.read(length)
            match = _HEADER.fullmatch(header)
            if not start.startswith(_MAGIC) or match is None:
                raise self._no_plain_array(name, start, header)
            descr, order, sides = (group.decode() for group in match.groups())
            shape = tuple(int(side) for side in sides.replace(" ", "").split(",") if side)
            found = Entry(shape, np.dtype(descr), order == "True", len(start) + length)
            if found.dtype.hasobject:
                raise self.purpose.error(
                    f"{self.path} {self.purpose.pickled} ({name!r} is pickled, which is not read)"
                )
            if found.start + math.prod(shape) * found.dtype.itemsize != size:
                raise self.purpose.damaged(self.path, f"{name!r} is longer or shorter than it says")
            return found

    def _no_plain_array(self, name: str, start: bytes, header: bytes) -> ValueError:
        """Return the error for what has no header of an array of numbers, by what it seems to be."""
        shown = repr(name[:60])
        if not start.startswith(_ANY_VERSION):
            if self._member(name).filename.endswith(_SUFFIX):
                return self.purpose.damaged(self.path, f"{shown} has no header of an array")
            return self.purpose.error(f"{self.path} has {shown}, which is no array; take it out of the file")
        found = _OTHER_DTYPE.match(header)
        if not start.startswith(_MAGIC):
            kind = f"with a header of version {start[6]}.{start[7]}"
        elif found is None:
            return self.purpose.damaged(self.path, f"{shown} has no header of an array")
        else:
            kind = _OTHER_DTYPES[found[1]]
        return self.purpose.error(
            f"{self.path} has {shown}, an array {kind}, which is not read; write it as plain numbers"
        )

    def require_moderate(self, names: list[str]) -> None:
        """Raise an error if arrays take far more memory than the file is long, as those of an attack do."""
        total = sum(self._member(name).file_size for name in names)
        if total > max(self.purpose.always_unpacked, self.purpose.largest_ratio * self.size):
            raise self.purpose.error(
                f"{self.path} has {bytes_text(self.size)}, but would take {bytes_text(total)} of memory; "
                f"{self.purpose.too_large}"
            )

    def read(self, name: str, entry: Entry) -> NDArray[Any]:
        """Return an array that is as its header says."""
        with self._opened(name) as (stream, size):
            stream.read(entry.start)
            content = stream.read(size - entry.start)
            if len(content) != size - entry.start or stream.read(1):  # at its end the checksum is compared
                raise self.purpose.damaged(self.path)
            return np.ndarray(
                entry.shape, entry.dtype, bytearray(content), order="F" if entry.fortran_order else "C"
            )

    def _member(self, name: str) -> zipfile.ZipInfo:
        return self._members.get(name + _SUFFIX) or self._members[name]

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """Give the bytes of an array, and their number; word the errors of reading them."""
        member = self._member(name)
        if member.flag_bits & _ENCRYPTED:
            raise self.purpose.error(f"{self.path} is encrypted; decrypt it first")
        if member.compress_type not in _PACKINGS:
            raise self.purpose.error(
                f"{self.path} is packed in a way that NumPy does not write; write it anew"
            )
        with _worded(self.path, self.purpose), self._archive.open(member) as stream:
            yield stream, member.file_size


def write_npz(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as `numpy.savez` does, one after the other, as they are in memory.

    Parameters
    ----------
    file : BinaryIO
        A file that is open for writing.
    arrays : mapping
        The arrays by name, of dtypes without objects and fields.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> write_npz(file, {"a": np.arange(3)})
    >>> count = file.seek(0)
    >>> np.load(file)["a"]
    array([0, 1, 2])
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            # an archive that is made of a name alone would say when
            member = zipfile.ZipInfo(name + _SUFFIX)
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
                is_transposed = array.flags.f_contiguous and not array.flags.c_contiguous
                flat = (array.T if is_transposed else array).reshape(-1)
                stream.write(flat.view(np.uint8).data)


@contextmanager
def open_npz(path: Path, purpose: Purpose) -> Iterator[NpzReader]:
    """Open a file for reading.

    Parameters
    ----------
    path : Path
        The file.
    purpose : Purpose
        What it is read for.

    Raises
    ------
    ValueError
        That of the purpose, if it cannot be read, is no ``.npz`` file, or is damaged.
    """
    with ExitStack() as stack:
        with _worded(path, purpose):
            reader = NpzReader(stack.enter_context(path.open("rb")), path, purpose)
        yield reader


@contextmanager
def _worded(path: Path, purpose: Purpose) -> Iterator[None]:
    """Raise the error of the purpose for whatever goes wrong inside."""
    try:
        yield
    except purpose.error:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place before the beginning of the file
            raise purpose.damaged(path) from error
        raise purpose.error(f"{path} cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise purpose.error(f"{path} needs more memory than there is") from error
    except Exception as error:  # zipfile and zlib raise errors of a dozen kinds for damaged bytes
        raise purpose.damaged(path) from error
