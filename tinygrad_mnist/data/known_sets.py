"""Data sets that come in the files of MNIST, and the names of their classes.

Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, 2017) and KMNIST (T. Clanuwat and others, 2018) have MNIST's
file names and sizes, so they are told by their pictures: by the mean and the standard deviation of the
training pixels, as usually given for them, and by 6,000 training pictures of each class, where MNIST has
5,421 to 6,742. EMNIST (G. Cohen, S. Afshar, J. Tapson, A. van Schaik, 2017) has its name in those of its
files.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.standardization import Standardizer


@dataclass(frozen=True)
class KnownSet:
    """A data set that is told by its pictures, or by the name of its folder or file.

    Parameters
    ----------
    title : str
        Its name.
    words : tuple of str
        What the name of a folder or file with it contains.
    mean, std : float
        Of the training pixels, as shares of white.
    class_names : tuple of str
        In the order of the labels.
    """

    title: str
    words: tuple[str, ...]
    mean: float
    std: float
    class_names: tuple[str, ...]

    @property
    def names(self) -> dict[int, str]:
        """The name of each label."""
        return dict(enumerate(self.class_names))


KNOWN_SETS = (
    KnownSet(
        "Fashion-MNIST",
        ("fashion",),
        0.2860,
        0.3530,
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    KnownSet(
        "KMNIST",
        ("kmnist", "kuzushiji"),
        0.1918,
        0.3483,
        # hiragana in Latin letters, which every terminal and every font for pictures has
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
)
"""The sets of ten classes and 28 x 28 pixels that are not digits."""

_TOLERANCE = 0.001
_IMAGES_OF_A_CLASS = 6000


def known_by_pictures(images: NDArray[np.uint8], labels: NDArray[Any]) -> KnownSet | None:
    """Return the set of `KNOWN_SETS` that has these training pictures; None if it is none of them.

    Examples
    --------
    >>> known_by_pictures(np.zeros((2, 28, 28), np.uint8), np.array([0, 1])) is None
    True
    """
    if images.shape[1:] != (28, 28) or not _looks_numbered(labels):
        return None
    if np.bincount(labels, minlength=10).tolist() != [_IMAGES_OF_A_CLASS] * 10:
        return None  # so the pixels of MNIST are not looked at
    try:
        found = Standardizer.fit(images)
    except DataError:  # all pixels are equal
        return None
    for known in KNOWN_SETS:
        if max(abs(found.mean / 255 - known.mean), abs(found.std / 255 - known.std)) < _TOLERANCE:
            return known
    return None


def known_by_name(path: Path, labels: NDArray[Any]) -> KnownSet | None:
    """Return the set of `KNOWN_SETS` after which a folder or file, or the folder of it, is called.

    Examples
    --------
    >>> known_by_name(Path("data/FashionMNIST/raw"), np.arange(10)).title
    'Fashion-MNIST'
    """
    if not _looks_numbered(labels):
        return None
    for part in (path.name, path.parent.name):
        for known in KNOWN_SETS:
            if any(word in part.casefold() for word in known.words):
                return known
    return None


def _looks_numbered(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind == "i" and labels.size > 0 and labels.min() >= 0 and labels.max() <= 9


# ---- EMNIST --------------------------------------------------------------------------------------------

_MERGED = "abdefghnqrt"
"""The small letters of EMNIST that do not look like their capitals."""

EMNIST_NAMES: dict[str, Mapping[int, str]] = {
    "digits": dict(enumerate(string.digits)),
    "mnist": dict(enumerate(string.digits)),
    "letters": {k + 1: letter + letter.lower() for k, letter in enumerate(string.ascii_uppercase)},
    "balanced": dict(enumerate(string.digits + string.ascii_uppercase + _MERGED)),
    "bymerge": dict(enumerate(string.digits + string.ascii_uppercase + _MERGED)),
    "byclass": dict(enumerate(string.digits + string.ascii_uppercase + string.ascii_lowercase)),
}
"""The names of the classes of each split of EMNIST, by label."""


def emnist_split(name: str) -> str | None:
    """Return the split of EMNIST that a file belongs to by its name; None if it is none of EMNIST's.

    Examples
    --------
    >>> emnist_split("emnist-letters-train-images-idx3-ubyte.gz"), emnist_split("train.csv")
    ('letters', None)
    """
    match = re.match(r"emnist-([a-z]+)(-|\b)", name.casefold())
    return match[1] if match else None


def emnist_names(directory: Path, split: str) -> Mapping[int, str] | None:
    """Return the names of the classes of a split, from its mapping file, or else as they are known.

    Raises
    ------
    DataError
        The mapping file is not as EMNIST's: a label and one or two character codes in each line.
    """
    path = directory / f"emnist-{split}-mapping.txt"
    if not path.is_file():
        return EMNIST_NAMES.get(split)
    names = {}
    try:
        with path.open("rb") as file:
            lines = file.read(1 << 16).decode("ascii").splitlines()
        for line in lines:
            if line.strip():
                label, *codes = map(int, line.split())
                names[label] = "".join(map(chr, codes))
        if len(names) < 2 or not all(name.isprintable() and name.strip() for name in names.values()):
            raise ValueError("no list of characters")
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path} is no mapping of EMNIST: each line has a label and the code of its character, as in "
            "'10 65'; take another copy of it"
        ) from error
    return names
