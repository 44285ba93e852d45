"""Files that are written whole or not at all, and locks between processes.

A file is written under another name first, and renamed when it is complete. This module is below all others.
What cannot be written is an `OSError` here; `write_error` words it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import Any, Final

PathLike = str | os.PathLike[str]


@contextmanager
def replacing(path: PathLike, previous: PathLike | None = None) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` at the end, unless an error came between.

    Threads and processes may write the same file at the same time: each writes a file of its own, readers see
    one of them whole, and the last one stays. The new file is on the disk before it takes the place, and so
    is its name at the end. What killed writers of the same file have left is removed.

    A link stays, and the file that it points to is replaced. A device or a pipe is written to, not replaced.
    The new file may be read and written by whom the old one allowed, and at no moment by others; where there
    was none, it has the mode of any new file.

    Parameters
    ----------
    path : path-like
        The file to write.
    previous : path-like, optional
        Another path in the same directory: there the file that was at ``path`` is kept, as a hard link, or as
        a copy where the file system has no links. At each moment both paths have a whole file, if they had.

    Yields
    ------
    Path
        The path of a new, empty file in the same directory, with the same suffix.

    Raises
    ------
    OSError
        If there is no directory to put it in, ``path`` is a directory itself, or it cannot be written. Its
        ``filename`` is the path that was given; what was there before stays.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for text in ("first", "second"):
    ...         with replacing(Path(folder, "a.txt"), Path(folder, "b.txt")) as unfinished:
    ...             count = unfinished.write_text(text)
    ...     Path(folder, "a.txt").read_text(), Path(folder, "b.txt").read_text()
    ('second', 'first')
    """
    target = target_of(path)
    if target.exists() and not target.is_file():
        yield target
        return
    unfinished, kept = _beside(target), _beside(target)
    claim: int | None = None
    try:
        try:
            _sweep(target)
            mode = _mode_of(target)
            unfinished, claim = _claim(target, mode)
            yield unfinished
            # Renamed before its contents are on the disk, it could be empty after a power cut.
            _sync(unfinished)
            if mode is not None and _mode_of(unfinished) != mode:
                unfinished.chmod(mode)
            if previous is not None and target.exists():
                _link(target, kept)
            os.replace(unfinished, target)
            if previous is not None:
                with suppress(FileNotFoundError):  # there was none before
                    os.replace(kept, previous)
            _sync_directory(target.parent)
        except OSError as error:
            if not target.parent.is_dir():
                gone = f"its directory {str(target.parent)!r} is no longer there"
                raise FileNotFoundError(errno.ENOENT, gone, os.fspath(path)) from error
            if error.strerror is not None and error.filename in (None, *map(str, (unfinished, kept, target))):
                raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
            raise
        finally:
            if claim is not None:
                os.close(claim)
            _remove(unfinished, kept)
    except KeyboardInterrupt:  # it may have come while they were removed
        _remove(unfinished, kept)
        raise


def _remove(*paths: Path) -> None:
    """Remove files, where they are there; no error if that fails."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    """Return a path in the same directory that nobody else writes to.

    Writers of the same file are kept apart by a number that the system draws: threads share that of their
    process, and containers may have equal ones.
    """
    start, end = _around(target)
    return target.with_name(f"{start}{os.urandom(8).hex()}{end}")


def _around(target: Path) -> tuple[str, str]:
    """Return what the names of unfinished files have before and after their number.

    The suffix stays last, as NumPy and matplotlib choose the format by it.
    """
    stem, suffix = target.stem.removeprefix("."), target.suffix
    if len(stem) + len(suffix) > 50:  # a name may have 255 bytes in all, and a character 4
        stem, suffix = stem[:25], suffix[:25]
    return f".{stem}.", f".part{suffix}"


def _sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    """Wait until the names in a directory are on the disk, where the system can do that."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:  # one may be allowed to write, and not to list
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        from shutil import copyfile, copymode

        target.touch(0o600)  # what is secret is at no moment there for others
        copyfile(source, target)
        _sync(target)
        copymode(source, target)


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


def json_line(value: Mapping[str, Any]) -> str:
    r"""Return a value as JSON in one line of ASCII signs; a number that is not finite becomes null.

    Examples
    --------
    >>> print(json_line({"name": "é", "loss": float("nan")}))
    {"name": "\u00e9", "loss": null}
    """
    return json.dumps(_without_nan(value), allow_nan=False)


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
                if _lock(descriptor) is False:
                    raise LockedError(_owner(descriptor))
                if self._is_at_path(descriptor):
                    self._descriptor = descriptor
                    with suppress(OSError):  # a full disk takes no name; the lock is held all the same
                        self._sign(descriptor)
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
                with suppress(OSError):
                    if self._is_at_path(descriptor):  # nor another's, where somebody has removed this one
                        self._remove()
            os.close(descriptor)

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()

    def __del__(self) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool | None:
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

    def _lock(descriptor: int) -> bool | None:
        """Lock the file; return whether it was free, and None where there are no locks."""
        try:
            # not lockf, which is the process's: two threads would both get it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            return None
        return True


def is_locked(path: PathLike) -> bool:
    """Return whether a process holds the lock at this path; nothing is made or changed there."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:  # nobody has made it, or it is not ours to write: then nobody's like us has locked it
        return False
    try:
        return _lock(descriptor) is False
    finally:
        os.close(descriptor)


def _mode_of(path: Path) -> int | None:
    """Return who may read, write and run a file; None if there is none, or the system has no such modes."""
    if os.name == "nt" or not path.exists():
        return None
    return stat.S_IMODE(path.stat().st_mode) & 0o777


def _claim(target: Path, mode: int | None) -> tuple[Path, int | None]:
    """Make an empty file beside another, locked while it is written, so that nobody takes it for a leftover.

    With the mode of the file whose place it takes, nobody else may read it; its writer always may write.

    Returns
    -------
    path : Path
        Its path.
    descriptor : int or None
        To be closed at the end; None on Windows, where an open file cannot be renamed.
    """
    while True:
        path = _beside(target)
        try:
            descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode | 0o600
            )
        except OSError as error:
            error.filename = None  # who asked knows the file by another name
            raise
        if os.name == "nt":
            os.close(descriptor)
            return path, None
        if _lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return path, descriptor
        # Another has taken it for one that was left, and removes it now: so the next one has another name.
        os.close(descriptor)


def _sweep(target: Path) -> None:
    """Remove the unfinished files of writers of a file that were killed; no error if that fails."""
    start, end = _around(target)
    with suppress(OSError):
        for name in os.listdir(target.parent):
            if (
                name.startswith(start)
                and name.endswith(end)
                and _NUMBERS.fullmatch(name[len(start) : -len(end)])
            ):
                with suppress(OSError):
                    _remove_if_left(target.parent / name)


_NUMBERS: Final = re.compile(r"[0-9a-f]{16}(\.part\.[0-9a-f]{16})*")
"""The numbers in the name of an unfinished file: several where one is written in place of another."""
_DAY: Final = 86_400


def _remove_if_left(path: Path) -> None:
    """Remove an unfinished file that nobody writes: its lock is free, as that of a killed process is.

    Where there are no locks, or the writer holds none while it writes, the file has to be a day old.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        is_free = None if os.name == "nt" else _lock(descriptor)
        if is_free or (is_free is None and time() - path.stat().st_mtime > _DAY):
            path.unlink()  # while it is locked: its writer may be about to lock it
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> str:
    """Return what the holder of a lock wrote into its file."""
    with suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
    return "another process"
