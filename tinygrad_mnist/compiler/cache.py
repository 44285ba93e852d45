"""Caches: machine code on disk, which the next process finds again, and what was used last in memory.

A file of the cache is trusted only if the checksum in it is right; whatever else is found counts as nothing.
Nothing here raises an error: a cache that cannot be read or written is an empty one.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

from tinygrad_mnist.files import cache_directory, write

VARIABLE: Final = "TINYGRAD_MNIST_CACHE"
"""Environment variable that names another directory for machine code; ``0`` keeps none."""

MOST: Final = 256 << 20
"""Bytes of machine code that are kept on disk. A training step has about 50,000."""

MAGIC: Final = b"tinygrad_mnist object 1\n"
"""The beginning of each file."""

SUFFIX: Final = ".obj"

Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")


# ---- on disk -------------------------------------------------------------------------------------------


def key_of(*parts: str) -> str:
    """Return the key of all that a result depends on: a hash, which may be a file's name.

    Examples
    --------
    >>> key_of("ab", "c") == key_of("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(content))  # the length keeps neighbours apart
        digest.update(content)
    return digest.hexdigest()


def directory_of_machine_code() -> Path | None:
    """Return the directory that keeps machine code; None if none is to be kept, or there is no place for it.

    Returns
    -------
    Path or None
        What `VARIABLE` names; else ``compiled`` in the directory of this user's caches of the package.
    """
    named = os.environ.get(VARIABLE, "")
    if named == "0":
        return None
    if named:
        return Path(named)
    try:
        return cache_directory() / "compiled"
    except RuntimeError:  # no home
        return None


_totals: dict[Path, int] = {}
"""The bytes in each directory that this process has written to, as far as it knows."""


class DiskCache:
    """Bytes in files of a directory, by key. Threads and processes may use one directory at the same time.

    Parameters
    ----------
    directory : Path or None
        Where the files are. It is made when the first one is written. With None, nothing is kept.
    most : int
        Bytes that all files together may have; then those that were not used for the longest time go.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = DiskCache(Path(folder))
    ...     cache.put("a", b"content")
    ...     cache.get("a"), cache.get("b")
    (b'content', None)
    """

    def __init__(self, directory: Path | None, most: int = MOST) -> None:
        self.directory = directory
        self.most = most

    def get(self, key: str) -> bytes | None:
        """Return what was put in with this key; None if there is nothing, or not what was put in."""
        if self.directory is None:
            return None
        path = self.directory / (key + SUFFIX)
        try:
            with path.open("rb") as file:
                if not _is_own(file.fileno()):
                    return None
                found = file.read()
        except OSError:
            return None
        content = found[len(MAGIC) + 32 :]
        if found != _sealed(key, content):
            return None
        with suppress(OSError):
            os.utime(path)  # the time of a file's last use
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep bytes under a key, in the place of what was kept under it, if that is possible."""
        if self.directory is None:
            return
        with suppress(OSError):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sealed = _sealed(key, content)
            write(self.directory / (key + SUFFIX), sealed)
            # The directory is looked through at the first time, and when it may be full by what was added.
            total = _totals.get(self.directory, self.most) + len(sealed)
            _totals[self.directory] = total if total <= self.most else self._make_room()

    def _make_room(self) -> int:
        """Remove the files that were not used for the longest time, if there are too many bytes.

        A quarter more than needed goes, so that this is rare. What interrupted writers left goes in its turn.

        Returns
        -------
        int
            The bytes that are left.
        """
        assert self.directory is not None
        files = []
        with os.scandir(self.directory) as entries:
            for entry in entries:
                with suppress(OSError):  # another process removed it
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_file(follow_symlinks=False) and SUFFIX in entry.name:
                        files.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        most = self.most if total <= self.most else self.most * 3 // 4
        for _, size, path in sorted(files):
            if total <= most:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= size
        return total


def _sealed(key: str, content: bytes) -> bytes:
    """Return what the file of a key and its content holds: the checksum is of both."""
    return MAGIC + hashlib.sha256(key.encode() + content).digest() + content


def _is_own(descriptor: int) -> bool:
    """Return whether a file belongs to this user: what another one wrote is not run."""
    return sys.platform == "win32" or os.fstat(descriptor).st_uid == os.getuid()


# ---- in memory -----------------------------------------------------------------------------------------

_LOCK = threading.RLock()
if sys.platform != "win32":  # a child that another thread's fork makes finds the lock free
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class LeastRecentlyUsed(Generic[Key, Kept]):
    """A dict of limited size: what was not used for the longest time goes first. Threads may share it.

    Parameters
    ----------
    size : int
        The number of values that it may hold, at least 1.

    Examples
    --------
    >>> programs = LeastRecentlyUsed(2)
    >>> programs["a"], programs["b"] = 1, 2
    >>> programs.get("a")
    1
    >>> programs["c"] = 3
    >>> list(programs)
    ['a', 'c']
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a cache must have room for at least 1 value, not {size}")
        self.size = size
        self._values: OrderedDict[Key, Kept] = OrderedDict()

    def get(self, key: Key) -> Kept | None:
        """Return the value of a key, which is thereby the last one used; None if there is none."""
        with _LOCK:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def __setitem__(self, key: Key, value: Kept) -> None:
        dropped: list[Kept] = []  # freed after the lock is: what a destructor does may take time, or the lock
        with _LOCK:
            if key in self._values:
                dropped.append(self._values.pop(key))
            self._values[key] = value
            while len(self._values) > self.size:
                dropped.append(self._values.popitem(last=False)[1])

    def __contains__(self, key: object) -> bool:
        with _LOCK:
            return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Key]:
        """Return an iterator over the keys of this moment, last used last."""
        with _LOCK:
            return iter(list(self._values))

    def values(self) -> list[Kept]:
        """Return the values, last used last."""
        with _LOCK:
            return list(self._values.values())

    def clear(self) -> None:
        """Forget all."""
        with _LOCK:
            dropped, self._values = self._values, OrderedDict()
        dropped.clear()
