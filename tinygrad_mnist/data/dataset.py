"""What every data set of this room is: images and labels, in a training and a test part."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Grey images with a label each, in a training and a test part.

    The test part is for the final number alone; split a validation part off the training part with
    `stratified_split`.

    Parameters
    ----------
    name : str
        What the data set is called in summaries.
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
