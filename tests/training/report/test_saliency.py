"""The gradient of the predicted class's output by each pixel, against finite differences."""

import numpy as np

from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.nn.module import evaluation_mode
from tinygrad_mnist.training.report.saliency import saliency


def test_it_is_the_slope_of_the_predicted_output() -> None:
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(9, 5, rng=0),
        nn.BatchNorm1d(5),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Linear(5, 3, rng=1),
    ).astype(np.float64)
    x = np.random.default_rng(0).standard_normal((4, 1, 3, 3))

    def outputs(images: np.ndarray) -> np.ndarray:
        with evaluation_mode():
            return model(Tensor(images)).detach().numpy()

    found = saliency(model, x)
    predicted = outputs(x).argmax(axis=1)
    step = 1e-6
    for pixel in range(9):
        moved = np.zeros((1, 1, 3, 3))
        moved.flat[pixel] = step
        slope = (outputs(x + moved) - outputs(x - moved))[np.arange(4), predicted] / (2 * step)
        assert np.allclose(found.reshape(4, 9)[:, pixel], slope, atol=1e-8)


def test_the_model_gets_no_gradient_and_keeps_its_mode() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, rng=0)).train()
    saliency(model, np.ones((1, 1, 2, 2), np.float32))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert model.training
