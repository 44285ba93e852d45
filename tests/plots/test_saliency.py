"""Each image stands beside its gradient; all gradients are on one symmetric scale."""

import numpy as np

from tinygrad_mnist.plots import plot_saliency


def test_a_gradient_is_laid_over_its_image_in_orange_and_blue() -> None:
    images, gradients = np.zeros((2, 28, 28)), np.zeros((2, 28, 28))
    images[0, 5, 5] = 255
    gradients[0, :, :14], gradients[1, :, 14:] = 2.0, -1.0
    figure = plot_saliency(images, gradients[:, None])
    plain, laid = (np.asarray(image.get_array()).astype(int) for image in figure.axes[0].images)
    assert plain[5, 5, :3].tolist() == [0, 0, 0]
    assert laid[0, 0, 0] > laid[0, 0, 2]  # orange
    assert laid[0, -1, 2] > laid[0, -1, 0]  # blue, and paler
    assert laid[0, -1, 0] > laid[0, 0, 2]
    assert laid[0, 20, :3].tolist() == [255, 255, 255]
    assert [text.get_text() for text in figure.axes[1].texts][:3] == ["−2", "0", "2"]


def test_a_few_pixels_do_not_hide_the_others() -> None:
    gradients = np.ones((4, 28, 28))
    gradients[0, 0, 0] = 1e6
    figure = plot_saliency(np.zeros((4, 28, 28)), gradients)
    assert figure.axes[1].texts[2].get_text() == "1"


def test_without_any_gradient_there_is_a_scale_too() -> None:
    assert plot_saliency(np.zeros((1, 4, 4)), np.zeros((1, 4, 4))).axes[1].texts[2].get_text() == "1"
