"""The data sets by name, and the choice among them that ``auto`` makes.

The names are known without NumPy, for the help of the command line. Hence the functions import what loads.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_mnist.data.errors import DataError, DataUnavailableError

if TYPE_CHECKING:
    from tinygrad_mnist.data.dataset import Dataset

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A row of `SOURCES`.

    Parameters
    ----------
    load : callable
        Returns the data set; is given the options of `tinygrad_mnist.data.load`: ``notify=``, ``download=``
        and ``progress=``.
    title : str
        What a sentence calls it.
    """

    load: Callable[..., Dataset]
    title: str


def _mnist(notify: Notify | None, download: bool, progress: bool) -> Dataset:
    from tinygrad_mnist.data.mnist import load_mnist

    return load_mnist(download=download, progress=progress)


def _digits(notify: Notify | None, download: bool, progress: bool) -> Dataset:
    from tinygrad_mnist.data.digits import load_digits

    return load_digits()


def _auto(notify: Notify | None, download: bool, progress: bool) -> Dataset:
    from tinygrad_mnist.data.mnist import REMEDY

    try:
        return _mnist(notify, download, progress)
    except DataUnavailableError as error:
        notice = (
            f"Taking the bundled digits (1,797 images of 8 x 8 pixels) instead of MNIST, because "
            f"{error.cause}; for MNIST, try again with a network, or {REMEDY}."
        )
    if notify is None:
        warnings.warn(notice, stacklevel=3)  # the line that called `load`
    else:
        notify(notice)
    return _digits(notify, download, progress)


SOURCES: dict[str, Source] = {
    "auto": Source(_auto, "MNIST or the bundled digits"),
    "mnist": Source(_mnist, "MNIST"),
    "digits": Source(_digits, "the bundled digits"),
}
"""What `load` takes besides a directory."""


def load(
    name: str | os.PathLike[str] = "auto",
    *,
    notify: Notify | None = None,
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
    if isinstance(name, str) and name in SOURCES:
        return SOURCES[name].load(notify=notify, download=download, progress=progress)
    names = f"{', '.join(SOURCES)} and a directory"
    if not os.fspath(name):
        raise DataError(f"the name of the data set is empty; choose among {names}")
    directory = Path(os.path.expanduser(name))
    if not os.path.exists(directory):
        raise DataError(
            f"there is no data set and no directory called '{name}'; choose among {names} that has the four "
            "files of MNIST"
        )
    from tinygrad_mnist.data.mnist import load_mnist

    return replace(load_mnist(directory), name=directory.resolve().name)
