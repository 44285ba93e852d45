"""MNIST, from a directory, the user's cache, or a mirror.

Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits; CC BY-SA 3.0. Four IDX files,
looked for with and without ``.gz``, and kept in the cache without.
"""

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.dataset import Dataset
from tinygrad_mnist.data.download import RemoteFile, download_files
from tinygrad_mnist.data.errors import DataError, DataUnavailableError
from tinygrad_mnist.data.idx import read_idx

ENVIRONMENT_VARIABLE = "TINYGRAD_MNIST_DATA"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
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
REMEDY = f"name a directory that has the four files of MNIST by --data DIR or ${ENVIRONMENT_VARIABLE}"
_CLASSES = 10
_IMAGE_SHAPE = (28, 28)


def load_mnist(
    directory: str | os.PathLike[str] | None = None, *, download: bool = True, progress: bool = True
) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test images of 28 x 28 pixels.

    It is taken from `directory`; else from the directory that ``$TINYGRAD_MNIST_DATA`` names; else from the
    user's cache, where it is downloaded to first if need be. A directory that was named is never passed over:
    what is wrong with it is an error.

    Parameters
    ----------
    directory : str or path-like, optional
        Has the four IDX files under their official names (``train-images-idx3-ubyte`` and so on), each as it
        is or with ``.gz``; where both are there, the former is read. They may hold fewer or other images than
        the official ones, as long as they are 28 x 28 with labels 0 to 9.
    download : bool, optional
        Whether the cache may be filled from a mirror. What comes is held against its SHA-256 checksum. Needs
        the extra ``download``.
    progress : bool, optional
        Draw progress bars while downloading, if standard error is a terminal.

    Returns
    -------
    Dataset
        Named ``"mnist"``, with 10 classes.

    Raises
    ------
    DataError
        A directory that was named does not exist or lacks files (they are named), or a file is not what it
        should be.
    DataUnavailableError
        No directory was named, and MNIST is neither in the cache nor could be downloaded.

    Examples
    --------
    >>> load_mnist("no/such/directory")
    Traceback (most recent call last):
    tinygrad_mnist.data.errors.DataError: ... does not exist...
    """
    if directory is not None:
        return _read(Path(os.path.expanduser(directory)))
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return _read(Path(os.path.expanduser(named)), origin=f" (which ${ENVIRONMENT_VARIABLE} names)")
    cache = cache_directory()
    try:
        return _read(cache)
    except DataError as error:
        if not download:
            raise DataUnavailableError(
                f"MNIST is not in the cache, and was not to be downloaded: {error}",
                cause="it is not on this machine",
            ) from error
    missing = [file for file in FILES if not _is_usable(cache, file.name)]
    try:
        download_files(missing, cache, MIRRORS, progress=progress)
    except DataUnavailableError as error:
        raise DataUnavailableError(f"{error}, or {REMEDY}", error.cause) from error
    return _read(cache)


def cache_directory() -> Path:
    """Where downloaded files are kept on this system.

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
        if sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        elif sys.platform == "win32":
            base = _absolute("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        else:
            base = _absolute("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise DataUnavailableError(
            "this user has no home directory to keep MNIST in; give it one in $HOME"
        ) from error
    return base / "tinygrad_mnist"


def _absolute(variable: str) -> Path | None:
    """The directory in a variable of the environment; not a relative one: XDG's specification forbids it."""
    path = Path(os.environ.get(variable, ""))
    return path if path.is_absolute() else None


def _read(directory: Path, origin: str = "") -> Dataset:
    if not os.path.isdir(directory):
        found = "is not a directory" if os.path.exists(directory) else "does not exist"
        raise DataError(
            f"{directory}{origin} {found}, where a directory with the four files of MNIST was expected; name "
            "one that has them"
        )
    missing = [file.name for file in FILES if not os.path.isfile(_path(directory, file.name))]
    if missing:
        raise DataError(
            f"{directory}{origin} lacks {', '.join(missing)} of the four files of MNIST; put there what is "
            "missing, as it is or with .gz, or name another directory"
        )
    train_images, train_labels = _read_part(directory, "train")
    test_images, test_labels = _read_part(directory, "t10k")
    return Dataset("mnist", train_images, train_labels, test_images, test_labels, _CLASSES)


def _read_part(directory: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images_name, labels_name = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    images, labels = _read_images(directory, images_name), _read_labels(directory, labels_name)
    if len(images) != len(labels):
        raise DataError(
            f"{directory}: {images_name} has {len(images):,} images and {labels_name} {len(labels):,} "
            "labels; the two must belong together"
        )
    return images, labels


def _read_images(directory: Path, name: str) -> NDArray[np.uint8]:
    path = _path(directory, name)
    images = read_idx(path)
    if images.dtype != np.uint8 or images.shape[1:] != _IMAGE_SHAPE or len(images) == 0:
        raise DataError(
            f"{path} has {images.dtype} values of shape {images.shape}, where images of MNIST are uint8 of "
            "shape (n, 28, 28); put the right file there"
        )
    return images


def _read_labels(directory: Path, name: str) -> NDArray[np.uint8]:
    path = _path(directory, name)
    labels = read_idx(path)
    if labels.dtype != np.uint8 or labels.ndim != 1 or len(labels) == 0:
        raise DataError(
            f"{path} has {labels.dtype} values of shape {labels.shape}, where labels of MNIST are uint8 of "
            "shape (n,); put the right file there"
        )
    if labels.max() >= _CLASSES:
        position = int(np.argmax(labels))
        raise DataError(
            f"{path} has the label {labels[position]} at position {position}, where labels of MNIST are 0 to "
            "9; put the right file there"
        )
    return labels


def _path(directory: Path, name: str) -> Path:
    """Where a file is, with or without ``.gz``, if it is there."""
    plain = directory / name
    return plain if os.path.isfile(plain) else directory / f"{name}.gz"


def _is_usable(directory: Path, name: str) -> bool:
    """Whether a file need not be downloaded again."""
    try:
        _read_images(directory, name) if "images" in name else _read_labels(directory, name)
    except DataError:
        return False
    return True
