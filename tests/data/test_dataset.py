from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.data import DataError, Dataset

IMAGES = np.zeros((5, 8, 6), np.uint8)
LABELS = np.array([0, 1, 2, 1, 0])
SOUND = Dataset("blank", IMAGES, LABELS, IMAGES[:2], LABELS[:2], classes=3)


def test_the_image_shape_is_height_and_width() -> None:
    assert SOUND.image_shape == (8, 6)


def test_repr_counts_and_shows_no_pixels() -> None:
    assert repr(SOUND) == "Dataset('blank': 5 training and 2 test images of 8 x 6 pixels, 3 classes)"


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SOUND.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": IMAGES[:4]}, "blank, training part: there are 4 images and 5 labels"),
        ({"test_labels": LABELS[:1]}, "blank, test part: there are 2 images and 1 labels"),
        ({"train_images": IMAGES.astype(np.float32)}, "not float32"),
        ({"train_images": IMAGES.reshape(5, 48)}, r"not uint8 of shape \(5, 48\)"),
        ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, r"shape \(0, 8, 6\)"),
        ({"test_images": np.zeros((2, 6, 8), np.uint8)}, r"\(8, 6\) and the test images \(6, 8\)"),
        ({"train_labels": LABELS.astype(np.float64)}, "not float64"),
        ({"train_labels": LABELS[:, None]}, r"shape \(5, 1\)"),
        ({"train_labels": LABELS + 1}, "labels are 0 to 2, and 1 to 3 were found"),
        ({"train_labels": LABELS - 1}, "labels are 0 to 2, and -1 to 1 were found"),
        ({"classes": 1}, "at least 2 classes, not 1"),
    ],
)
def test_what_does_not_fit_together_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(SOUND, **change)
