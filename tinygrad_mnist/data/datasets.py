"""The data sets, by name: MNIST and the bundled digits; and those of one's own, by their file or directory.

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
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.dataset import Dataset
from tinygrad_mnist.data.download import FILES, MIRRORS, cache_directory, download_files
from tinygrad_mnist.data.errors import DataError, DataUnavailableError
from tinygrad_mnist.data.formats import TAKEN, read_data_set
from tinygrad_mnist.data.idx import open_idx
from tinygrad_mnist.numbers import count_text

NAMES = ("auto", "mnist", "digits")
"""The names that `load` knows; everything else is a file or a directory."""
ENVIRONMENT_VARIABLE = "TINYGRAD_MNIST_DATA"
REMEDY = f"name a directory that has the four files of MNIST by --data DIR or ${ENVIRONMENT_VARIABLE}"


def load(
    name: str | os.PathLike[str] = "auto",
    *,
    notify: Callable[[str], None] | None = None,
    download: bool = True,
    progress: bool = True,
) -> Dataset:
    """Load a data set by its name, or one of any usual format from a file or a directory.

    The format is found out by looking at it:

    - four IDX files, as those of MNIST, Fashion-MNIST, KMNIST and EMNIST;
    - an ``.npz`` file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as Keras's ``mnist.npz``;
    - a folder of pictures for each class, perhaps below ``train`` and ``test``;
    - CSV files with a picture in each row, ``label,pixel0,...``, as Kaggle's ``train.csv``.

    Where there is no test part, a fifth (at most 10,000 pictures) is set aside as one, of each class its
    share, and always the same.

    Parameters
    ----------
    name : str or path-like, optional
        ``"mnist"``, see `load_mnist`; ``"digits"``, see `load_digits`; or ``"auto"``: MNIST if it is on this
        machine or can be downloaded, else the bundled digits. Every other name is a file or a directory
        (``"./mnist"`` if its name is that of a data set).
    notify : callable, optional
        Called with one sentence about what one might not expect: that ``"auto"`` takes the digits, why, and
        how to get MNIST (by default a `UserWarning`); or what was done to pictures of one's own.
    download, progress : bool, optional
        As in `load_mnist`.

    Returns
    -------
    Dataset
        One from a file or a directory has its name.

    Raises
    ------
    DataError
        There is no such data set, file or directory, or something in it is wrong. With ``"auto"`` this holds
        for the directory in ``$TINYGRAD_MNIST_DATA``, too.
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
    path = Path(os.path.expanduser(name))
    if not os.path.exists(path):
        raise DataError(
            f"there is no data set and no directory called '{name}'; choose among {', '.join(NAMES)} and a "
            f"directory or file with data of your own: {TAKEN}"
        )
    return read_data_set(path, notify)


def _notify_digits(notify: Callable[[str], None] | None, reason: DataUnavailableError) -> None:
    notice = (
        f"Taking the bundled digits (1,797 images of 8 x 8 pixels) instead of MNIST, because "
        f"{reason.cause}; for MNIST, try again with a network, or {REMEDY}."
    )
    if notify is None:
        warnings.warn(notice, stacklevel=3)
    else:
        notify(notice)


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
            f"{directory}: {images_name} has {count_text(len(images), 'image')} and {labels_name} "
            f"{count_text(len(labels), 'label')}; the two must belong together"
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
