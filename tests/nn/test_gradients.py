"""Every layer and loss against central differences, by its input and by each parameter."""

import numpy as np
import pytest

from tests.nn.cases import LAYERS as FURTHER_LAYERS
from tests.nn.cases import LOSSES, LayerCase, LossCase, numbers, shares
from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.testing import gradcheck

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


@pytest.mark.parametrize("case", FURTHER_LAYERS, ids=lambda case: case.id)
def test_the_gradient_of_a_further_layer(case: LayerCase, rng, central_differences) -> None:
    check(case.build(), case.input.copy(), (), rng, central_differences)


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)
def test_the_gradient_of_a_loss(case: LossCase, rng, central_differences) -> None:
    loss = getattr(nn, case.name)(reduction="none", **case.options)
    check(loss, case.input.copy(), (case.target,), rng, central_differences)


X, P, Q = numbers(2, 3), shares(2, 3), shares(2, 3)[::-1].copy()
W = np.array([0.5, 2.0, 1.25])
BY_INPUT = [
    (nn.CrossEntropyLoss(W, ignore_index=1, label_smoothing=0.2), X, np.array([2, 1])),
    (nn.CrossEntropyLoss(W), X[:, :, None], np.array([[2], [0]])),
    (nn.NLLLoss(W, ignore_index=1), X, np.array([2, 1])),
    (nn.L1Loss(), X, P),
    (nn.SmoothL1Loss(beta=2.0), X, P),
    (nn.HuberLoss(delta=2.0), X, P),
]
BY_BOTH = [
    (nn.CrossEntropyLoss(W, label_smoothing=0.2), X, P),
    (nn.BCELoss(W), Q, P),
    (nn.BCEWithLogitsLoss(W, pos_weight=W[::-1]), X, P),
    (nn.KLDivLoss(reduction="batchmean"), X, P),
    (nn.KLDivLoss(log_target=True), X, np.log(P)),
]


@pytest.mark.parametrize(("loss", "input", "target"), BY_INPUT + BY_BOTH, ids=repr)
def test_a_loss_passes_the_check_in_both_modes_and_orders(loss: nn.Module, input, target) -> None:
    assert gradcheck(lambda x: loss(x, target), input, order=2).passed


@pytest.mark.parametrize(("loss", "input", "target"), BY_BOTH, ids=repr)
def test_a_target_of_probabilities_gets_a_gradient(loss: nn.Module, input, target) -> None:
    assert gradcheck(loss, input, target).passed


SMALL = [
    (nn.ELU(0.3), X), (nn.SiLU(), X), (nn.Softplus(2.0), X), (nn.Hardtanh(), X), (nn.RMSNorm(3), X),
    (nn.GroupNorm(2, 4), numbers(2, 4)),
    (nn.Conv2d(1, 1, 2, padding="same", padding_mode="reflect", rng=0), numbers(1, 1, 2, 2)),
    (nn.ConvTranspose2d(1, 2, 2, stride=2, rng=0), numbers(1, 1, 2, 2)),
    (nn.MaxPool2d(2, 1), numbers(1, 1, 2, 3)), (nn.BatchNorm2d(2, eps=0.1), numbers(2, 2, 1, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "input"), SMALL, ids=repr)
def test_a_layer_passes_the_check_in_both_modes_and_orders(layer: nn.Module, input) -> None:
    assert gradcheck(layer.astype(np.float64), input, order=2).passed
