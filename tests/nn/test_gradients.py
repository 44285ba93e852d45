"""Every layer and loss against central differences, by its input and by each parameter."""

import numpy as np
import pytest

from tests.nn.cases import LAYERS as FURTHER_LAYERS
from tests.nn.cases import LOSSES, LayerCase, LossCase, reductions
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
    for reduction in reductions(case.name):
        loss = getattr(nn, case.name)(reduction=reduction, **case.options)
        check(loss, case.input.copy(), (case.target,), rng, central_differences)


SMOOTH = [case for case in LOSSES if case.input.size <= 12]


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.id)
def test_a_loss_passes_the_check_in_both_modes_and_orders(case: LossCase) -> None:
    loss = getattr(nn, case.name)(**case.options)
    assert gradcheck(lambda x: loss(x, case.target), case.input, order=2).passed


@pytest.mark.parametrize(
    "case",
    [case for case in LOSSES if case.target.dtype.kind == "f" and case.input.size <= 12],
    ids=lambda case: case.id,
)
def test_a_target_of_probabilities_gets_a_gradient(case: LossCase) -> None:
    loss = getattr(nn, case.name)(**case.options)
    assert gradcheck(loss, case.input, case.target, order=2).passed


@pytest.mark.parametrize("case", [c for c in FURTHER_LAYERS if c.input.size <= 12], ids=lambda case: case.id)
def test_a_further_layer_passes_the_check_in_both_modes_and_orders(case: LayerCase) -> None:
    layer = case.build().astype(np.float64)
    assert gradcheck(layer, case.input, order=2).passed
