"""The data sets: MNIST and the bundled digits, loaded by name, and the class `Dataset` that both are.

MNIST is Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits; CC BY-SA 3.0. It is
four IDX files, read from a directory, or from the cache to which they are downloaded; each may be gzipped.

The bundled digits are 1,797 real handwritten digits of 8 x 8 pixels, which need no download: E. Alpaydin and
C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
doi:10.24432/C50P49, under CC BY 4.0; `digits.txt` beside this file says more. `scripts/make_digits.py` made
their file.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.download import FILES, MIRRORS, cache_directory, download_files
from tinygrad_mnist.data.errors import DataError, DataUnavailableError
from tinygrad_mnist.data.idx import open_idx

NAMES = ("auto", "mnist", "digits")
"""The names that `load` knows; everything else is a directory."""
ENVIRONMENT_VARIABLE = "TINYGRAD_MNIST_DATA"
REMEDY = f"name a directory that has the four files of MNIST by --data DIR or ${ENVIRONMENT_VARIABLE}"


def load(
    name: str | os.PathLike[str] = "auto",
    *,
    notify: Callable[[str], None] | None = None,
    download: bool = True,
    progress: bool = True,
) -> Dataset:
    """Load a data set by its name, or the files of MNIST from a directory.

    Parameters
    ----------
    name : str or path-like, optional
        ``"mnist"``, see `load_mnist`; ``"digits"``, see `load_digits`; or ``"auto"``: MNIST if it is on this
        machine or can be downloaded, else the bundled digits. Every other name is a directory with the four
        files of MNIST (``"./mnist"`` if its name is that of a data set).
    notify : callable, optional
        Called with one sentence if ``"auto"`` takes the digits: why, and how to get MNIST. By default it is a
        `UserWarning`.
    download, progress : bool, optional
        As in `load_mnist`.

    Returns
    -------
    Dataset
        One from a directory has the name of the directory.

    Raises
    ------
    DataError
        There is no such data set or directory, or something in it is wrong. With ``"auto"`` this holds for
        the directory in ``$TINYGRAD_MNIST_DATA``, too.
    DataUnavailableError
        ``"mnist"`` is neither on this machine nor could be downloaded.

    Examples
    --------
    >>> load("digits")
    Dataset('digits': 1,438 training and 359 test images of 8 x 8 pixels, 10 classes)
    """
    if name == "digits":
        return load_digits()
    if name == "mnist":
        return load_mnist(download=download, progress=progress)
    if name == "auto":
        try:
            return load_mnist(download=download, progress=progress)
        except DataUnavailableError as error:
            _notify_digits(notify, error)
            return load_digits()
    if not os.fspath(name):
        raise DataError(f"the name of the data set is empty; choose among {', '.join(NAMES)} and a directory")
    directory = Path(os.path.expanduser(name))
    if not os.path.exists(directory):
        raise DataError(
            f"there is no data set and no directory called '{name}'; choose among {', '.join(NAMES)} and a "
            "directory that has the four files of MNIST"
        )
    return replace(load_mnist(directory), name=directory.resolve().name)


def _notify_digits(notify: Callable[[str], None] | None, reason: DataUnavailableError) -> None:
    notice = (
        f"Taking the bundled digits (1,797 images of 8 x 8 pixels) instead of MNIST, because "
        f"{reason.cause}; for MNIST, try again with a network, or {REMEDY}."
    )
    if notify is None:
        warnings.warn(notice, stacklevel=3)
    else:
        notify(notice)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Grey images with one label each, in a training and a test part.

    The test part is for the final number alone; `stratified_split` takes a validation part off the training
    part.

    Parameters
    ----------
    name : str
        The name of the data set in summaries.
    train_images, test_images : ndarray
        uint8, shape (n, height, width), 0 (background) to 255 (ink); both parts have the same height and
        width.
    train_labels, test_labels : ndarray
        uint8 or int64, shape (n,), each 0 to `classes` - 1.
    classes : int
        The number of classes.

    Raises
    ------
    DataError
        A part is empty, or a shape, dtype, count or label is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> images, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 2, 1])
    >>> Dataset("blank", images[:3], labels[:3], images[3:], labels[3:], classes=3)
    Dataset('blank': 3 training and 1 test images of 8 x 8 pixels, 3 classes)
    """

    name: str
    train_images: NDArray[np.uint8] = field(repr=False)
    train_labels: NDArray[Any] = field(repr=False)
    test_images: NDArray[np.uint8] = field(repr=False)
    test_labels: NDArray[Any] = field(repr=False)
    classes: int

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DataError(f"{self.name}: a data set has at least 2 classes, not {self.classes}")
        for part, images, labels in (
            ("training", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            _check_part(f"{self.name}, {part} part", images, labels, self.classes)
        train_shape, test_shape = self.train_images.shape[1:], self.test_images.shape[1:]
        if train_shape != test_shape:
            raise DataError(
                f"{self.name}: the training images have height and width {train_shape} and the test images "
                f"{test_shape}; they must be the same"
            )

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        _, height, width = self.train_images.shape
        return height, width

    def __repr__(self) -> str:
        height, width = self.image_shape
        return (
            f"Dataset({self.name!r}: {len(self.train_images):,} training and {len(self.test_images):,} test "
            f"images of {height} x {width} pixels, {self.classes} classes)"
        )


def _check_part(where: str, images: NDArray[Any], labels: NDArray[Any], classes: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape:
        raise DataError(
            f"{where}: images are uint8 of shape (n, height, width), none of them zero, not {images.dtype} "
            f"of shape {images.shape}"
        )
    if labels.dtype not in (np.uint8, np.int64) or labels.ndim != 1:
        raise DataError(
            f"{where}: labels are uint8 or int64 of shape (n,), not {labels.dtype} of shape {labels.shape}"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{where}: there are {len(images):,} images and {len(labels):,} labels; the two must agree"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise DataError(f"{where}: labels are 0 to {classes - 1}, and {lowest} to {highest} were found")


# ---- MNIST ---------------------------------------------------------------------------------------------

_CLASSES = 10
_IMAGE_SHAPE = (28, 28)


def load_mnist(
    directory: str | os.PathLike[str] | None = None, *, download: bool = True, progress: bool = True
) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test images of 28 x 28 pixels.

    It is read from `directory`; else from the directory that ``$TINYGRAD_MNIST_DATA`` names; else from the
    user's cache, into which it is downloaded first if need be. A directory that was named is never passed
    over: a fault in it is an error.

    Parameters
    ----------
    directory : str or path-like, optional
        A directory with the four IDX files under their official names (``train-images-idx3-ubyte`` and so
        on), each with or without ``.gz``; of both, the one without is read. They may hold fewer or other
        images than the official ones, as long as they are 28 x 28 with labels 0 to 9.
    download : bool, optional
        Whether files may be downloaded into the cache. They are compared with their SHA-256 checksums. This
        needs the extra ``download``.
    progress : bool, optional
        Draw progress bars while downloading, if standard error is a terminal.

    Returns
    -------
    Dataset
        Its name is ``"mnist"``, and it has 10 classes.

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
        return _read_mnist(Path(os.path.expanduser(directory)))
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return _read_mnist(Path(os.path.expanduser(named)), origin=f" (which ${ENVIRONMENT_VARIABLE} names)")
    cache = cache_directory()
    try:
        return _read_mnist(cache)
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
    return _read_mnist(cache)


def _read_mnist(directory: Path, origin: str = "") -> Dataset:
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
    with open_idx(_path(directory, name)) as stored:
        if stored.dtype != np.uint8 or stored.shape[1:] != _IMAGE_SHAPE or stored.shape[0] == 0:
            raise DataError(
                f"{stored.path} has {stored.dtype.name} values of shape {stored.shape}, where images of "
                "MNIST are uint8 of shape (n, 28, 28); put the right file there"
            )
        return stored.read()


def _read_labels(directory: Path, name: str) -> NDArray[np.uint8]:
    with open_idx(_path(directory, name)) as stored:
        if stored.dtype != np.uint8 or len(stored.shape) != 1 or stored.shape[0] == 0:
            raise DataError(
                f"{stored.path} has {stored.dtype.name} values of shape {stored.shape}, where labels of "
                "MNIST are uint8 of shape (n,); put the right file there"
            )
        labels = stored.read()
    if labels.max() >= _CLASSES:
        position = int(np.argmax(labels))
        raise DataError(
            f"{stored.path} has the label {labels[position]} at position {position}, where labels of MNIST "
            "are 0 to 9; put the right file there"
        )
    return labels


def _path(directory: Path, name: str) -> Path:
    """Return the path of a file without ``.gz`` if there is one, else with it."""
    plain = directory / name
    return plain if os.path.isfile(plain) else directory / f"{name}.gz"


def _is_usable(directory: Path, name: str) -> bool:
    """Return whether a file is sound, so that it need not be downloaded again."""
    try:
        _read_images(directory, name) if "images" in name else _read_labels(directory, name)
    except DataError:
        return False
    return True


# ---- the bundled digits --------------------------------------------------------------------------------

FULL_INK = 16
"""The highest value in the file: a value counts the inked pixels in a block of 4 x 4."""


def load_digits() -> Dataset:
    """Load the bundled UCI digits.

    Returns
    -------
    Dataset
        1,438 training and 359 test images of 8 x 8 pixels: a split of 80 to 20 that is stratified by label
        and always the same. The values 0 to 16 of the source are scaled to 0 to 255 (and rounded): all data
        sets, and a picture that is to be recognised, have the same scale.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits
    Dataset('digits': 1,438 training and 359 test images of 8 x 8 pixels, 10 classes)
    >>> digits.train_images.dtype, int(digits.train_images.max())
    (dtype('uint8'), 255)
    """
    file = resources.files("tinygrad_mnist.data") / "digits.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        ink, labels, in_test_part = arrays["images"], arrays["labels"], arrays["in_test_part"]
    images = np.rint(ink * np.float32(255 / FULL_INK)).astype(np.uint8)
    return Dataset(
        name="digits",
        train_images=images[~in_test_part],
        train_labels=labels[~in_test_part],
        test_images=images[in_test_part],
        test_labels=labels[in_test_part],
        classes=10,
    )
