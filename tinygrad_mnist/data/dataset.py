"""The class `Dataset`: grey images with labels in a training and a test part, and the classes' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.numbers import size_text

MOST_CLASSES = 2000
"""The most classes of a data set: a confusion matrix of more would not fit into memory."""
MOST_PIXELS = 1 << 24
"""The most pixels of an image, as 4096 x 4096: a checkpoint takes no larger ones."""
LONGEST_NAME = 200
"""The most characters of a class's name."""


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
        uint8, shape (n, height, width), 0 (black) to 255 (white); both parts have the same height and
        width, and `MOST_PIXELS` pixels at most.
    train_labels, test_labels : ndarray
        uint8 or int64, shape (n,), each 0 to `classes` - 1.
    classes : int
        The number of classes, 2 to `MOST_CLASSES`.
    class_names : tuple of str, optional
        The name of each class; by default ``"0"``, ``"1"`` and so on.
    form : str, optional
        The format that it was read from, in a few words.
    is_centred : bool, optional
        Whether each image is one drawn sign, scaled and placed as the digits of MNIST are. A picture that is
        to be recognised is then made so, too; else it is scaled as a whole.

    Raises
    ------
    DataError
        A part is empty, or a shape, dtype, count, label or name is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> images, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 2, 1])
    >>> blank = Dataset("blank", images[:3], labels[:3], images[3:], labels[3:], classes=3)
    >>> blank
    Dataset('blank': 3 training and 1 test images of 8 x 8 pixels, 3 classes)
    >>> blank.class_names
    ('0', '1', '2')
    """

    name: str
    train_images: NDArray[np.uint8] = field(repr=False)
    train_labels: NDArray[Any] = field(repr=False)
    test_images: NDArray[np.uint8] = field(repr=False)
    test_labels: NDArray[Any] = field(repr=False)
    classes: int
    class_names: tuple[str, ...] = ()
    form: str = ""
    is_centred: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= MOST_CLASSES:
            limit = "at least 2" if self.classes < 2 else f"at most {MOST_CLASSES:,}"
            raise DataError(f"{self.name}: a data set has {limit} classes, not {self.classes:,}")
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
        names = tuple(self.class_names) or tuple(map(str, range(self.classes)))
        check_class_names(self.name, names)
        if len(names) != self.classes:
            raise DataError(f"{self.name}: there are {self.classes} classes and {len(names)} names for them")
        object.__setattr__(self, "class_names", names)

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


def check_class_names(where: str, names: Sequence[str]) -> None:
    """Raise unless the names of classes are short texts that differ: a checkpoint holds no others."""
    for name in names:
        if not 0 < len(name.strip()) <= LONGEST_NAME:
            raise DataError(
                f"{where}: the name of a class has 1 to {LONGEST_NAME} characters, not {name[:20]!r}"
            )
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            raise DataError(f"{where}: the name of the class {name!a} is no text in UTF-8; rename it")
    twice = [name for name, count in Counter(map(str.strip, names)).items() if count > 1]
    if twice:
        raise DataError(f"{where}: two classes have the name {twice[0]!r}; rename one of them")


def _check_part(where: str, images: NDArray[Any], labels: NDArray[Any], classes: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape:
        raise DataError(
            f"{where}: images are uint8 of shape (n, height, width), none of them zero, not {images.dtype} "
            f"of shape {images.shape}"
        )
    if images[0].size > MOST_PIXELS:
        raise DataError(
            f"{where}: an image has {MOST_PIXELS:,} pixels at most, not {size_text(images.shape[1:])}; scale "
            "them"
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
