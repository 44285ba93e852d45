"""Weights are images on one symmetric scale; the units with the largest norm are drawn."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tinygrad_mnist.plots import plot_weights

RNG = np.random.default_rng(0)


def values(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.float64]:
    """The numbers that colours stand for."""
    sign = np.where(pixels[..., 0] > pixels[..., 2], 1.0, -1.0)
    return np.asarray(scale * sign * pixels[..., 3] / 255)


def test_all_units_are_on_one_symmetric_scale_in_their_order() -> None:
    weights = RNG.normal(0, 1, (3, 28 * 28))
    weights[1] *= 3
    figure = plot_weights(weights)
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    assert pixels.shape[0] == 28
    for k in range(3):
        start = round(k * (pixels.shape[1] - 28) / 2)
        tile = values(pixels[:, start : start + 28], abs(weights).max())
        np.testing.assert_allclose(tile, weights[k].reshape(28, 28), atol=abs(weights).max() / 400)
    ends = [text.get_text() for text in figure.axes[1].texts]
    assert ends[0].removeprefix("−") == ends[2] == f"{abs(weights).max():.4g}"


def test_the_units_with_the_largest_norm_are_drawn_and_that_is_said() -> None:
    weights = np.ones((6, 28 * 28)) * [[1], [5], [2], [0], [4], [3]]
    figure = plot_weights(weights, most=3)
    assert "3 of 6 units, those with the largest norm" in figure.texts[1].get_text()
    assert "weights from 3 to 5" in figure.texts[1].get_text()
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    shown = [values(pixels, 5)[0, c] for c in (0, pixels.shape[1] // 2, -1)]
    np.testing.assert_allclose(shown, [5, 4, 3], atol=0.02)


def test_the_channels_of_a_filter_stand_side_by_side() -> None:
    weights = RNG.normal(0, 1, (1, 3, 28, 28))
    pixels = np.asarray(plot_weights(weights).axes[0].images[0].get_array())
    assert pixels.shape[:2] == (28, 3 * 28 + 2)
    for c in range(3):
        tile = values(pixels[:, 29 * c : 29 * c + 28], abs(weights).max())
        np.testing.assert_allclose(tile, weights[0, c], atol=abs(weights).max() / 400)
    assert (pixels[:, [28, 57], 3] == 0).all()


def test_images_need_not_be_square_nor_weights_differ_from_0() -> None:
    figure = plot_weights(np.zeros((2, 56 * 28)), shape=(56, 28))
    assert "56 x 28 pixels each; weights from 0 to 0" in figure.texts[1].get_text()
    assert np.asarray(figure.axes[0].images[0].get_array())[..., 3].max() == 0


@pytest.mark.parametrize("width", [3.0, 5.0, 9.0])
def test_tiles_stay_on_the_page(width: float) -> None:
    for weights in (np.ones((40, 4)), np.ones((9, 64, 3, 3))):
        image = plot_weights(weights, width=width).axes[0].images[0]
        assert 0 < image.get_extent()[0] < image.get_extent()[1] < width
