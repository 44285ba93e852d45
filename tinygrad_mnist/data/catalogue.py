"""The data sets by name, and the choice among them that `auto` makes."""

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tinygrad_mnist.data.dataset import Dataset
from tinygrad_mnist.data.digits import load_digits
from tinygrad_mnist.data.errors import DataError, DataUnavailableError
from tinygrad_mnist.data.mnist import REMEDY, load_mnist

NAMES = ("auto", "mnist", "digits")
"""What `load` takes besides a directory."""


def load(
    name: str | os.PathLike[str] = "auto",
    *,
    notify: Callable[[str], None] | None = None,
    download: bool = True,
    progress: bool = True,
) -> Dataset:
    """Load a data set by its name, or MNIST's files from a directory.

    Parameters
    ----------
    name : str or path-like, optional
        ``"mnist"``, see `load_mnist`; ``"digits"``, see `load_digits`; or ``"auto"``: MNIST where it is at
        hand or can be downloaded, else the bundled digits. Anything else is a directory with MNIST's four
        files (``"./mnist"`` for one that is called as a data set is).
    notify : callable, optional
        Is told, in one sentence, if ``"auto"`` takes the digits: why, and how to get MNIST. By default a
        `UserWarning`.
    download, progress : bool, optional
        As in `load_mnist`.

    Returns
    -------
    Dataset
        From a directory: named as the directory is.

    Raises
    ------
    DataError
        There is no such data set or directory, or something in it is wrong. This holds for the directory in
        ``$TINYGRAD_MNIST_DATA`` with ``"auto"`` too.
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
            _tell(notify, error)
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


def _tell(notify: Callable[[str], None] | None, reason: DataUnavailableError) -> None:
    notice = (
        f"Taking the bundled digits (1,797 images of 8 x 8 pixels) instead of MNIST, because "
        f"{reason.cause}; for MNIST, try again with a network, or {REMEDY}."
    )
    if notify is None:
        warnings.warn(notice, stacklevel=3)
    else:
        notify(notice)
