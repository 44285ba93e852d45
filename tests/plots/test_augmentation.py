"""Each class has a row with its images, and beside each its versions."""

import numpy as np
import pytest

from tinygrad_mnist.plots import plot_augmentation

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("as_ink", [True, False])
def test_each_class_has_a_row_with_its_images_and_their_versions(as_ink: bool) -> None:
    images, versions = RNG.integers(0, 256, (3, 28, 28)), RNG.integers(0, 256, (3, 2, 28, 28))
    images[0, 0, 0] = 255
    figure = plot_augmentation(images, versions, [2, 0, 2], names=["zero", "one", "two"], as_ink=as_ink)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["zero", "two"]
    assert len(axes.images) == 3  # the originals, and two versions
    for part, image in zip([images, versions[:, 0], versions[:, 1]], axes.images, strict=True):
        pixels = np.asarray(image.get_array()).astype(int)
        place = {1: (0, 0), 0: (-28, 0), 2: (-28, -28)}  # of the classes 0, 2 and 2
        for k, (y, x) in place.items():
            tile = pixels[y : y + 28 or None, x : x + 28 or None, 0]
            np.testing.assert_array_equal(tile, 255 - part[k] if as_ink else part[k])
        assert (pixels[:28, -28:, 3] == 0).all()  # class 0 has one image
    assert len(axes.patches) == 3


def test_a_row_of_many_fits_the_page() -> None:
    figure = plot_augmentation(np.ones((30, 8, 8)), np.ones((30, 3, 8, 8)), np.zeros(30, int), width=4)
    assert max(image.get_extent()[1] for image in figure.axes[0].images) <= 4
