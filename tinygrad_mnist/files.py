"""Files that are written whole or not at all, and locks between processes.

A file is written under another name first, and renamed when it is complete. This module is below all others.
What cannot be written is an `OSError` here; `write_error` words it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike[str]


@contextmanager
def replacing(path: PathLike, previous: PathLike | None = None) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` at the end, unless an error came between.

    Threads and processes may write the same file at the same time: each writes a file of its own, readers see
    one of them whole, and the last one stays.

    A link stays, and the file that it points to is replaced. A device or a pipe is written to, not replaced.

    Parameters
    ----------
    path : path-like
        The file to write.
    previous : path-like, optional
        Another path in the same directory, where the file that was there before is kept.

    Yields
    ------
    Path
        A new file's path in the same directory, with the same suffix.

    Raises
    ------
    OSError
        If there is no directory to put it in, ``path`` is a directory itself, or it cannot be written. Its
        ``filename`` is the path that was given; what was there before stays.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "a.txt")) as unfinished:
    ...         count = unfinished.write_text("whole")
    ...     Path(folder, "a.txt").read_text()
    'whole'
    """
    target = target_of(path)
    if target.exists() and not target.is_file():
        yield target
        return
    unfinished, kept = _beside(target), _beside(target)
    try:
        yield unfinished
        # Renaming a file whose contents are not on the disk yet could leave an empty file after a power cut.
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        if previous is not None and target.exists():
            os.link(target, kept)
        os.replace(unfinished, target)
        if previous is not None and kept.exists():
            os.replace(kept, previous)
    except OSError as error:
        if error.strerror is not None and error.filename in (None, str(unfinished)):
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        for path in (unfinished, kept):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    """Return a path in the same directory that nobody else writes to.

    The suffix stays last, as NumPy and matplotlib choose the format by it. Writers of the same file are kept
    apart by a number that the system draws: threads share that of their process, and containers may have
    equal ones.
    """
    stem, suffix = target.stem.removeprefix("."), target.suffix
    if len(stem) + len(suffix) > 50:  # a name may have 255 bytes in all, and a character 4
        stem, suffix = stem[:25], suffix[:25]
    return target.with_name(f".{stem}.{os.urandom(8).hex()}.part{suffix}")


def target_of(path: PathLike) -> Path:
    """Return the file that a path leads to, through links; raise an OSError where no file can be."""
    target = Path(os.path.realpath(path))
    if target.is_dir() or os.fspath(path).endswith(os.sep):
        raise IsADirectoryError(errno.EISDIR, "that is a directory; name a file", os.fspath(path))
    if not target.parent.is_dir():
        missing = os.path.dirname(os.fspath(path)) or os.curdir
        raise FileNotFoundError(
            errno.ENOENT, f"there is no directory {missing!r}; make it first", os.fspath(path)
        )
    return target


def cache_directory() -> Path:
    """Return the directory that keeps what can be made or fetched again for this user on this system.

    Returns
    -------
    Path
        ``tinygrad_mnist`` in ``~/Library/Caches`` on macOS, in ``%LOCALAPPDATA%`` on Windows, and in
        ``$XDG_CACHE_HOME``, else ``~/.cache``, elsewhere. It need not exist.

    Raises
    ------
    RuntimeError
        The user has no home directory.

    Examples
    --------
    >>> cache_directory().name
    'tinygrad_mnist'
    """
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = _absolute("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = _absolute("XDG_CACHE_HOME") or Path.home() / ".cache"
    return base / "tinygrad_mnist"


def _absolute(variable: str) -> Path | None:
    """Return the directory in an environment variable; None if it is relative, which XDG's rules forbid."""
    path = Path(os.environ.get(variable, ""))
    return path if path.is_absolute() else None


def require_writable(path: PathLike) -> None:
    """Raise an OSError if a file cannot be written at this path, before any work is done for it."""
    from tempfile import TemporaryFile  # here, as the command line starts without it

    target = target_of(path)
    if not target.exists() or target.is_file():
        TemporaryFile(dir=target.parent).close()  # permissions alone do not tell: the disk may be read-only


def write_error(path: PathLike, error: OSError) -> str:
    """Return the sentence that says that a file cannot be written, and why.

    Examples
    --------
    >>> write_error("a.txt", OSError(28, "No space left on device"))
    'a.txt cannot be written (No space left on device)'
    """
    return f"{os.fspath(path)} cannot be written ({error.strerror or error})"


def write(path: PathLike, content: str | bytes) -> Path:
    r"""Write a file, whole or not at all; return its path.

    Text is UTF-8. Names of files may hold half a character, which is no text: it is spelt ``\udcff``, which
    JSON reads back.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
    return Path(path)


def write_json(path: PathLike, value: Mapping[str, Any]) -> Path:
    """Write a value as indented JSON; a number that is not finite becomes null."""
    text = json.dumps(_without_nan(value), indent=2, allow_nan=False, ensure_ascii=False)
    return write(path, text + "\n")


def write_json_lines(path: PathLike, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a line of JSON for each row; a number that is not finite becomes null."""
    lines = [json.dumps(_without_nan(row), allow_nan=False, ensure_ascii=False) + "\n" for row in rows]
    return write(path, "".join(lines))


def _without_nan(value: Any) -> Any:
    """Return plain data with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# ---- locks ------------------------------------------------------------------------------------------------


class LockedError(Exception):
    """A lock that another holds; its text says who, as far as that is known."""


class Lock:
    """A lock that one process, and one owner in it, can hold. The system lets it go when the process dies.

    So a process that was killed leaves no lock behind, at most the small file, which the next one takes over.

    Parameters
    ----------
    path : path-like
        The file that stands for the lock, in a directory that is there. It is removed with the lock.

    Raises
    ------
    LockedError
        If another holds it.
    OSError
        If the file cannot be made. A file system without locks is none: then there is nothing to hold.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = Lock(Path(folder, "lock"))
    ...     try:
    ...         Lock(Path(folder, "lock"))
    ...     except LockedError:
    ...         print("taken")
    ...     lock.release()
    taken
    """

    _descriptor: int | None = None

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._process = os.getpid()
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not _lock(descriptor):
                    raise LockedError(_owner(descriptor))
                if self._is_at_path(descriptor):
                    self._sign(descriptor)
                    self._descriptor = descriptor
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def _is_at_path(self, descriptor: int) -> bool:
        """Return whether the file is still there: its last holder may have removed it after it was opened."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _sign(self, descriptor: int) -> None:
        """Write down who holds the lock."""
        from platform import node  # here, as the command line starts without it

        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {node() or 'this machine'}\n".encode())

    def release(self) -> None:
        """Let the lock go, and remove its file; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if os.name == "nt":  # which removes no open file
            os.close(descriptor)
            self._remove()
        else:  # removed while it is held: what is removed is nobody else's
            if os.getpid() == self._process:  # and not a copy of it that a fork made
                self._remove()
            os.close(descriptor)

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()

    def __del__(self) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        """Lock a byte beyond the text of the file, which others may read; return whether it was free."""
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        """Lock the file; return whether it was free."""
        try:
            # not lockf, which is the process's: two threads would both get it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise
        return True


def _owner(descriptor: int) -> str:
    """Return what the holder of a lock wrote into its file."""
    with suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
    return "another process"
