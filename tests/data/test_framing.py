import numpy as np
import pytest

from tinygrad_mnist.data import DataError, cropped, shifted

IMAGES = np.random.default_rng(0).integers(1, 256, (3, 6, 7), np.uint8)


def test_the_middle_is_left() -> None:
    np.testing.assert_array_equal(cropped(IMAGES, 2), IMAGES[:, 2:-2, 2:-2])
    np.testing.assert_array_equal(cropped(IMAGES[0], 1), IMAGES[0, 1:-1, 1:-1])
    assert cropped(IMAGES, 0).shape == IMAGES.shape


@pytest.mark.parametrize("pixels", [-1, 3, 10])
def test_a_crop_that_leaves_nothing_is_refused(pixels: int) -> None:
    with pytest.raises(DataError, match=f"of 6 x 7 pixels, 0 to 2 can be cut off each side, not {pixels}"):
        cropped(IMAGES, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("background", [0, 250])
def test_five_copies_move_by_a_pixel_and_the_background_comes_in(dtype: type, background: int) -> None:
    images = IMAGES.astype(dtype)
    copies = shifted(images, background) if background else shifted(images)
    assert copies.dtype == dtype
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=background)
    for copy, (down, right) in zip(copies, [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)], strict=True):
        np.testing.assert_array_equal(copy, padded[:, 1 - down : 7 - down, 1 - right : 8 - right])
