"""State dicts in the files of ``torch.save``, read and written without PyTorch.

Such a file is a zip archive: ``data.pkl`` is a pickle that describes the tensors (see `torch_pickle`), and
``data/0``, ``data/1`` and so on are the storages that they lie in, packed in no way.
"""

from __future__ import annotations

import errno
import hashlib
import struct
import sys
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from tinygrad_mnist.exchange.weights.entries import Array, Entries, from_bfloat16, unread_dtype
from tinygrad_mnist.exchange.weights.errors import WeightsError
from tinygrad_mnist.exchange.weights.torch_pickle import (
    ALONE,
    BYTES,
    PickleError,
    Storage,
    Strided,
    read_pickle,
    write_pickle,
)
from tinygrad_mnist.numbers import bytes_text, quoted

_ZIP: Final = b"PK\x03\x04"
_BEFORE_1_6: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes of the files that PyTorch wrote before version 1.6: a number, pickled."""
_ENCRYPTED: Final = 0x1
_LONGEST_PICKLE: Final = 1 << 21
"""The most bytes of the description: room for 15,000 tensors."""
_ALWAYS_UNPACKED: Final = 1 << 26
_LARGEST_RATIO: Final = 25
_DTYPES: Final = frozenset(
    [
        *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
        *("float16", "float32", "float64"),
    ]
)
"""The dtypes that NumPy has under the same name."""
_BFLOAT16: Final = "bfloat16"
_ALIGNMENT: Final = 64
_ORDERS: Final = {b"little": "<", b"big": ">"}


# ---- reading ---------------------------------------------------------------------------------------------


def read(path: Path, names: Collection[str] | None = None) -> Entries:
    """Return the arrays of a state dict by name; tensors that are the same one are one array.

    All names stand in the file, whatever names are wanted.
    """
    with _opened(path) as archive:
        members = _members(archive, path)
        folder = _folder(members, path)
        try:
            tensors = _tensors(read_pickle(archive.read(f"{folder}/data.pkl")), path)
        except PickleError as error:
            raise WeightsError(f"{path} is not read: {error}") from error
        order = "<"
        if (name := f"{folder}/byteorder") in members:
            if members[name].file_size > 6 or (found := archive.read(name)) not in _ORDERS:
                raise _damaged(path)
            order = _ORDERS[found]
        _require_moderate(tensors, path)
        distinct: dict[int, Array] = {}
        for storage, parts in _by_storage(tensors):
            member = members.get(f"{folder}/data/{storage.key}")
            if member is None or member.file_size != storage.size * _itemsize(storage.dtype):
                key = quoted(storage.key)
                raise _damaged(path, f"storage {key} is missing, or is not as long as it says")
            _require_inside(parts, member.file_size, path)
            content = archive.read(member)
            distinct.update((id(tensor), _array(tensor, content, order)) for tensor in parts)
        return {name: distinct[id(tensor)] for name, tensor in tensors.items()}


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Give the archive; word the errors of reading it."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_BEFORE_1_6))
            if not magic.startswith(_ZIP):
                found = (
                    "it was written by a PyTorch before 1.6, or in that way; load it there, and save it again"
                    if magic == _BEFORE_1_6
                    else f"torch.save has not written it; {ALONE}"
                )
                raise WeightsError(f"{path} holds no state dict that can be read: {found}")
            with zipfile.ZipFile(file) as archive:
                yield archive
    except OSError as error:
        if error.errno != errno.EINVAL:  # which is a place before the beginning of the file
            raise
        raise _damaged(path) from error
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # zipfile raises errors of a dozen kinds for damaged bytes
        raise _damaged(path) from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the files of the archive by name, if they are stored as PyTorch stores them."""
    found = archive.infolist()
    members = {member.filename: member for member in found}
    if len(members) < len(found):
        raise _damaged(path, "two files in it have the same name")
    if any(name.endswith("/constants.pkl") for name in members):
        raise WeightsError(f"{path} is a TorchScript archive, which is a program; {ALONE}")
    if any(member.compress_type or member.flag_bits & _ENCRYPTED for member in found):
        raise WeightsError(f"{path} is packed in a way that PyTorch does not write; {ALONE}")
    if any(member.compress_size != member.file_size for member in found):  # by which zipfile takes memory
        raise _damaged(path)
    if sum(member.file_size for member in found) > path.stat().st_size:
        raise _damaged(path, "the files in it lie over each other")
    return members


def _folder(members: dict[str, zipfile.ZipInfo], path: Path) -> str:
    """Return the name of the folder in the archive that all lies in."""
    folders = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise WeightsError(f"{path} is an archive, but torch.save has not written it; {ALONE}")
    if members[f"{folders[0]}/data.pkl"].file_size > _LONGEST_PICKLE:
        raise WeightsError(f"{path} describes more than a state dict; {ALONE}")
    return folders[0]


def _tensors(state: dict[object, object], path: Path) -> dict[str, Strided]:
    """Return the tensors of a state dict by name, equal ones as one object; raise for anything else in it.

    They are told apart by how they are spelt: a file can choose numbers so that all have the same hash.
    """
    tensors, spelt = {}, dict[bytes, Strided]()
    for name, value in state.items():
        key = quoted(name)
        if isinstance(value, dict):
            raise WeightsError(f"{path} {_with_dicts(state, key)}")
        if not isinstance(name, str) or not isinstance(value, Strided):
            kind = "tensor" if isinstance(value, Strided) else type(value).__name__
            raise WeightsError(
                f"{path} has an object of type {kind} under {key}; expected tensors by name; {ALONE}"
            )
        if value.dtype not in _DTYPES and value.dtype != _BFLOAT16:
            raise unread_dtype(path, name, value.dtype)
        tensors[name] = spelt.setdefault(hashlib.sha256(repr(value).encode()).digest(), value)
    return tensors


def _with_dicts(state: dict[object, object], key: str) -> str:
    """Return the rest of the sentence about a dict with dicts in it, the first under a key."""
    if {"state", "param_groups"} <= state.keys():
        return f"is the state of an optimiser, which is not read, and has no weights; {ALONE}"
    different = {id(value): (name, value) for name, value in state.items() if isinstance(value, dict)}
    for name, value in different.values():  # each once: all may be a single one that takes long
        if value and all(type(one) is str and type(of) is Strided for one, of in value.items()):
            return (
                f"has a state dict under {quoted(name)}, beside other things; save it alone: "
                f"torch.save(torch.load(path, weights_only=True)[{quoted(name)}], path)"
            )
    return f"has a dict under {key}, where a state dict has arrays; {ALONE}"


def _require_moderate(tensors: dict[str, Strided], path: Path) -> None:
    """Raise if arrays would take far more memory than the file is long; expanded tensors repeat values."""
    total, size = 0, path.stat().st_size
    for tensor in _different(tensors):
        count = 1
        for side in tensor.shape:  # one by one, as a product of many would take long
            count *= side
            if count > 1 << 60:
                raise _damaged(path, "a tensor in it has a shape that none can have")
        total += count * max(2, _itemsize(tensor.dtype))
    if total > max(_ALWAYS_UNPACKED, _LARGEST_RATIO * size):
        raise WeightsError(
            f"{path} has {bytes_text(size)}, but would take {bytes_text(total)} of memory; no state dict does"
        )


def _require_inside(tensors: list[Strided], size: int, path: Path) -> None:
    """Raise if tensors reach beyond the end of their storage, whose size is in bytes."""
    for tensor in tensors:
        last = tensor.offset + sum(
            (side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        if 0 not in tensor.shape and (last + 1) * _itemsize(tensor.dtype) > size:
            raise _damaged(path, "a tensor in it reaches beyond the end of its storage")


def _different(tensors: dict[str, Strided]) -> list[Strided]:
    """Return each tensor once."""
    return list({id(tensor): tensor for tensor in tensors.values()}.values())


def _by_storage(tensors: dict[str, Strided]) -> list[tuple[Storage, list[Strided]]]:
    """Return the different tensors of each storage, so that one storage at a time is in memory."""
    found: dict[str, list[Strided]] = {}
    for tensor in _different(tensors):
        found.setdefault(tensor.storage.key, []).append(tensor)
    return [(parts[0].storage, parts) for parts in found.values()]


def _array(tensor: Strided, content: bytes, order: str) -> Array:
    """Return a tensor as an array of its own."""
    is_bfloat16 = tensor.dtype == _BFLOAT16
    dtype = np.dtype("u2" if is_bfloat16 else tensor.dtype)
    if 0 in tensor.shape:
        return np.empty(tensor.shape, np.float32 if is_bfloat16 else dtype)
    stored = np.dtype(f"{order}{dtype.str[1:]}")
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    seen: Array = np.ndarray(tensor.shape, stored, content, tensor.offset * dtype.itemsize, strides)
    if is_bfloat16:
        return from_bfloat16(seen.tobytes(), order).reshape(tensor.shape)
    return np.array(seen, dtype, order="C")


def _itemsize(dtype: str) -> int:
    """Return the bytes of an element of one of PyTorch's dtypes that are read, or of a storage of bytes."""
    return 1 if dtype == BYTES else 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize


def _damaged(path: Path, found: str = "") -> WeightsError:
    return WeightsError(f"{path} is cut off or damaged; take another copy of it{found and f' ({found})'}")


# ---- writing ---------------------------------------------------------------------------------------------


class _Member(NamedTuple):
    """A file in the archive."""

    name: str
    content: bytes | memoryview


def write(path: Path, entries: Entries) -> None:
    """Write arrays as a state dict that ``torch.load(path, weights_only=True)`` takes."""
    keys: dict[int, str] = {}
    for array in entries.values():  # tied ones have one storage
        keys.setdefault(id(array), str(len(keys)))
    described = write_pickle({name: (array, keys[id(array)]) for name, array in entries.items()})
    arrays = {keys[id(array)]: array for array in entries.values()}
    members = [
        _Member("data.pkl", described),
        _Member("byteorder", sys.byteorder.encode()),
        *(_Member(f"data/{key}", array.reshape(-1).view(np.uint8).data) for key, array in arrays.items()),
        _Member("version", b"3\n"),
    ]
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        for member in members:
            _write_member(archive, file, member)


def _write_member(archive: zipfile.ZipFile, file: BinaryIO, member: _Member) -> None:
    """Write a file of the archive so that its content begins at a multiple of 64, where PyTorch maps it."""
    info = zipfile.ZipInfo(f"archive/{member.name}")  # made of a name alone, it would say when it was written
    info.file_size = size = len(member.content)
    is_large = size * 1.05 > zipfile.ZIP64_LIMIT  # by which zipfile decides on 20 bytes more
    padding = -(file.tell() + 30 + len(info.filename) + 4 + 20 * is_large) % _ALIGNMENT
    info.extra = struct.pack("<HH", 0x4246, padding) + bytes(padding)  # "FB", as PyTorch writes
    with archive.open(info, "w") as stream:
        stream.write(member.content)
