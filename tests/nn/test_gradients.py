"""Every layer and loss against central differences, by its input and by each parameter."""

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn

LAYERS = [
    (nn.Linear(3, 2), (4, 3)),
    (nn.Linear(3, 2, bias=False), (2, 2, 3)),
    (nn.BatchNorm1d(3), (4, 3)),
    (nn.BatchNorm1d(3), (2, 3, 2)),
    (nn.BatchNorm1d(3, affine=False), (4, 3)),
    (nn.BatchNorm1d(3).eval(), (4, 3)),
    (nn.BatchNorm1d(3).eval(), (2, 3, 2)),
    (nn.LayerNorm(3), (4, 3)),
    (nn.LayerNorm((2, 3), bias=False), (4, 2, 3)),
    (nn.LayerNorm((2, 3), elementwise_affine=False), (4, 2, 3)),
    (nn.Flatten(), (2, 3, 2)),
    (nn.ReLU(), (4, 3)),
    (nn.LeakyReLU(0.2), (4, 3)),
    (nn.GELU(), (4, 3)),
    (nn.GELU("tanh"), (4, 3)),
    (nn.Tanh(), (4, 3)),
    (nn.Sigmoid(), (4, 3)),
    (nn.Softmax(dim=1), (4, 3)),
    (nn.LogSoftmax(dim=0), (4, 3)),
    (nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)), (3, 2, 3)),
]
LABELS = np.array([2, 0, 1, 2])
SOFT = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
LOSSES = [
    (loss(reduction=reduction, **options), target)
    for reduction in ("mean", "sum", "none")
    for loss, options, target in (
        (nn.CrossEntropyLoss, {}, LABELS),
        (nn.CrossEntropyLoss, {"label_smoothing": 0.2}, LABELS),
        (nn.CrossEntropyLoss, {"label_smoothing": 0.2}, SOFT),
        (nn.NLLLoss, {}, LABELS),
        (nn.MSELoss, {}, SOFT),
        (nn.BCEWithLogitsLoss, {}, SOFT),
        (nn.BCEWithLogitsLoss, {"pos_weight": [1.0, 2.0, 0.5]}, SOFT),
    )
]


def check(module: nn.Module, values: np.ndarray, rest: tuple, rng, central_differences) -> None:
    module.astype(np.float64)
    module.zero_grad()
    for parameter in module.parameters():
        parameter.data[...] = rng.uniform(0.5, 1.5, parameter.shape)
    weights = rng.standard_normal(module(values, *rest).shape)

    def value() -> float:
        return float(np.sum(np.asarray(module(Tensor(values), *rest).detach().data) * weights))

    x = Tensor(values, requires_grad=True)
    np.sum(module(x, *rest) * weights).backward()
    np.testing.assert_allclose(x.grad.data, central_differences(value, values), rtol=1e-6, atol=1e-7)
    for name, parameter in module.named_parameters():
        numeric = central_differences(value, parameter.data)
        np.testing.assert_allclose(parameter.grad.data, numeric, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(("module", "shape"), LAYERS)
def test_the_gradient_of_a_layer(module: nn.Module, shape, rng, central_differences) -> None:
    check(module, rng.standard_normal(shape), (), rng, central_differences)


@pytest.mark.parametrize(("module", "target"), LOSSES)
def test_the_gradient_of_a_loss(module: nn.Module, target, rng, central_differences) -> None:
    check(module, rng.standard_normal((4, 3)), (target,), rng, central_differences)
