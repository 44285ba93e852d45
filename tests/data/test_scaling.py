"""The background of pictures, found by their borders."""

import numpy as np
import pytest

from tinygrad_mnist.data import background_of, load_digits


def pictures(border: int, count: int = 40) -> np.ndarray:
    """Return pictures with a border of one grey value, around another."""
    images = np.full((count, 8, 8), 128, np.uint8)
    images[:, [0, -1]] = images[:, :, [0, -1]] = border
    return images


@pytest.mark.parametrize(("border", "background"), [(0, 0), (60, 0), (128, 0), (192, 192), (255, 255)])
def test_it_is_black_except_where_the_borders_are_light(border: int, background: int) -> None:
    assert background_of(pictures(border)) == background


def test_a_picture_that_is_another_is_outvoted() -> None:
    images = pictures(240)
    images[0] = pictures(0)[0]
    assert background_of(images) == 240
    images[:10] = pictures(0)[:10]
    assert background_of(images) == 0


def test_the_digits_are_light_on_dark() -> None:
    images = load_digits().train_images
    assert background_of(images) == 0
    assert background_of(255 - images) == 255
