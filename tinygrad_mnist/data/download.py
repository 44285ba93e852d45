"""Download MNIST: its mirrors and checksums, the cache, and a download that verifies what it gets.

A file is written whole or not at all, and no mirror is waited for for long. The transfer itself is pooch's
`HTTPDownloader`, from the extra ``download``. It runs in a thread of its own that is left behind when nothing
has come for a while: looking up a host name cannot be interrupted, and a time limit of a socket starts anew
with each address and each byte.
"""

import hashlib
import importlib
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tinygrad_mnist.data.errors import DataUnavailableError
from tinygrad_mnist.data.idx import GZIP_MAGIC
from tinygrad_mnist.files import cache_directory as cache_of_the_package
from tinygrad_mnist.files import write

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Addresses that are asked for the files of MNIST, in this order; each ends in a slash."""

PATIENCE = 4.0
"""Seconds without a byte after which a mirror is given up."""
ATTEMPTS = 3
"""The number of times that a mirror is asked for a file, if it fails in a way that may pass."""
PAUSE = 0.5
"""Seconds before the second attempt; twice as many before the third."""
_CHUNK = 1 << 13


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its name, and the size and checksum that it must have.

    Parameters
    ----------
    name : str
        The name of the file on disk; a mirror has it as ``name + ".gz"``.
    size : int
        The size in bytes, uncompressed.
    sha256 : str
        The checksum of the uncompressed bytes, in hexadecimal.
    """

    name: str
    size: int
    sha256: str


FILES = (
    RemoteFile(
        "train-images-idx3-ubyte",
        size=16 + 60_000 * 28 * 28,
        sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    RemoteFile(
        "train-labels-idx1-ubyte",
        size=8 + 60_000,
        sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    RemoteFile(
        "t10k-images-idx3-ubyte",
        size=16 + 10_000 * 28 * 28,
        sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    RemoteFile(
        "t10k-labels-idx1-ubyte",
        size=8 + 10_000,
        sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
"""The four files of MNIST."""


@dataclass
class _Mirror:
    """A mirror, its last fault, and whether it is asked again."""

    address: str
    fault: str = ""
    given_up: bool = False

    def __str__(self) -> str:
        return f"{urlsplit(self.address).netloc}: {self.fault}"


class _TransferError(Exception):
    """An error of one attempt; `passing` tells whether another attempt may succeed."""

    def __init__(self, fault: str, *, passing: bool) -> None:
        super().__init__(fault)
        self.passing = passing


def download_files(
    files: Iterable[RemoteFile], directory: Path, mirrors: Sequence[str], *, progress: bool = True
) -> None:
    """Download files into a directory, uncompressed.

    Each mirror is asked in turn, up to `ATTEMPTS` times. One that has not sent a byte for `PATIENCE` seconds,
    cannot be reached or does not have the file is not asked again in this call. A file appears in the
    directory whole and with the right checksum, or not at all.

    Parameters
    ----------
    files : iterable of RemoteFile
        The files.
    directory : Path
        The directory to put them into; it is made if need be.
    mirrors : sequence of str
        Addresses that end in a slash.
    progress : bool, optional
        Draw a progress bar for each file, if standard error is a terminal and tqdm is installed.

    Raises
    ------
    DataUnavailableError
        pooch is not installed, no mirror had the file, or the directory cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> file = RemoteFile("numbers", size=3, sha256=hashlib.sha256(bytes([1, 2, 3])).hexdigest())
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     download_files([file], Path(directory), ["nowhere/"])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    tinygrad_mnist.data.errors.DataUnavailableError: numbers could not be downloaded (...)
    """
    asked = [_Mirror(address) for address in mirrors]
    for file in sorted(files, key=lambda file: file.size):  # a mirror that fails does so at the smallest file
        _write(directory / file.name, _fetch_from_any(file, asked, progress))


def _fetch_from_any(file: RemoteFile, mirrors: Sequence[_Mirror], progress: bool) -> bytes:
    for attempt in range(ATTEMPTS):
        if attempt and not all(mirror.given_up for mirror in mirrors):
            time.sleep(PAUSE * attempt)
        for mirror in mirrors:
            if mirror.given_up:
                continue
            try:
                return _verified(file, _fetch(f"{mirror.address}{file.name}.gz", file, progress))
            except _TransferError as error:
                mirror.fault, mirror.given_up = str(error), not error.passing
    faults = "; ".join(map(str, mirrors))
    raise DataUnavailableError(
        f"{file.name} could not be downloaded ({faults}); check the network and try again",
        cause="it could not be downloaded",
    )


@dataclass
class _Receipt:
    """The bytes that have come so far.

    For pooch it is both the file to write to and the progress bar to move. pooch leaves the connection open
    when it fails, so the response is kept here, to close it in any case.
    """

    most: int
    response: Any = None
    total: int = 0
    content: bytearray = field(default_factory=bytearray)
    fault: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False

    def open(self, response: Any, **_: Any) -> None:
        self.response = response

    def write(self, chunk: bytes) -> None:
        if self.abandoned:
            raise ConnectionAbortedError("nobody waits for this any longer")
        if len(self.content) + len(chunk) > self.most:
            raise OverflowError(f"it sends more than {self.most:,} bytes")
        self.content += chunk

    def flush(self) -> None: ...
    def update(self, _: int) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


def _fetch(address: str, file: RemoteFile, progress: bool) -> bytes:
    """Return the bytes at an address, as they are sent."""
    receipt = _Receipt(most=file.size + (1 << 20))
    downloader = _downloader(receipt)

    def transfer() -> None:
        try:
            downloader(address, receipt, None)
        except Exception as error:
            receipt.fault = error
        finally:
            if receipt.response is not None:
                receipt.response.close()
            receipt.done.set()

    bar = _progress_bar(file.name) if progress else None
    threading.Thread(target=transfer, name=f"download {file.name}", daemon=True).start()
    try:
        _wait(receipt, bar)
    finally:
        receipt.abandoned = True
        if bar is not None:
            bar.close()
    if receipt.fault is not None:
        raise _explained(receipt.fault, receipt)
    return bytes(receipt.content)


def _wait(receipt: _Receipt, bar: Any) -> None:
    """Wait until the transfer has ended; raise if nothing has come for `PATIENCE` seconds."""
    received, since = 0, time.monotonic()
    while not receipt.done.wait(0.05):  # short, because Ctrl-C cannot end a wait on Windows
        now = time.monotonic()
        if len(receipt.content) > received:
            received, since = len(receipt.content), now
        elif now - since > PATIENCE:
            raise _TransferError(f"no answer for {PATIENCE:g} seconds", passing=False)
        if bar is not None:
            bar.total = receipt.total or None
            bar.update(received - bar.n)
    if bar is not None and receipt.fault is None:
        bar.leave = True  # a bar of a mirror that failed is wiped off
        bar.total = len(receipt.content)
        bar.update(len(receipt.content) - bar.n)


def _explained(fault: Exception, receipt: _Receipt) -> _TransferError:
    """Return the error that says in a few words what went wrong, and whether it may pass."""
    status = getattr(getattr(fault, "response", None), "status_code", None)
    if status is not None:
        return _TransferError(f"HTTP status {status}", passing=status >= 500)
    if isinstance(fault, OverflowError):
        return _TransferError(str(fault), passing=False)
    if receipt.response is not None:
        return _TransferError("the connection broke", passing=True)
    return _TransferError("it cannot be reached", passing=False)


def _verified(file: RemoteFile, content: bytes) -> bytes:
    """Return the content uncompressed, once its checksum is right; some servers send it uncompressed."""
    if content.startswith(GZIP_MAGIC):
        try:
            content = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(content, file.size + 1)
        except zlib.error as error:
            raise _TransferError(f"what it sent is a damaged gzip file ({error})", passing=True) from error
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise _TransferError(
            f"what it sent has the SHA-256 checksum {found[:8]}... instead of {file.sha256[:8]}...",
            passing=True,
        )
    return content


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
    except OSError as error:
        raise DataUnavailableError(
            f"{path} cannot be written ({error.strerror or error}); make its directory writeable, with room "
            f"for {len(content):,} bytes",
            cause=f"it could not be written to {path.parent}",
        ) from error


def _downloader(receipt: _Receipt) -> Any:
    try:
        pooch = importlib.import_module("pooch")
    except ImportError as error:
        raise DataUnavailableError(
            "downloading needs the package pooch, which is not installed; "
            'pip install "tinygrad_mnist[download]" brings it',
            cause='downloading it needs pooch (pip install "tinygrad_mnist[download]")',
        ) from error
    return pooch.HTTPDownloader(
        progressbar=receipt, chunk_size=_CHUNK, timeout=PATIENCE + 1, hooks={"response": receipt.open}
    )


def _progress_bar(name: str) -> Any:
    try:
        tqdm = importlib.import_module("tqdm")
    except ImportError:
        return None
    return tqdm.tqdm(desc=name, unit="B", unit_scale=True, leave=False, disable=None)


# ---- the cache -----------------------------------------------------------------------------------------


def cache_directory() -> Path:
    """Return the directory that keeps downloaded files on this system.

    Returns
    -------
    Path
        ``tinygrad_mnist`` in ``~/Library/Caches`` on macOS, in ``%LOCALAPPDATA%`` on Windows, and in
        ``$XDG_CACHE_HOME``, else ``~/.cache``, elsewhere. It need not exist.

    Raises
    ------
    DataUnavailableError
        The user has no home directory.

    Examples
    --------
    >>> cache_directory().name
    'tinygrad_mnist'
    """
    try:
        return cache_of_the_package()
    except RuntimeError as error:
        raise DataUnavailableError(
            "this user has no home directory to keep MNIST in; give it one in $HOME"
        ) from error
