"""Losses and layers against numbers recorded from PyTorch: values, gradients and second derivatives.

`scripts/make_loss_reference.py` records them; `test_peers` compares with PyTorch itself.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nn.cases import LAYERS, LOSSES, LayerCase, LossCase, direction, parameter_values
from tinygrad_mnist import Tensor, jvp, nn

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text(encoding="utf-8"))


def compare(f: Callable[[Any], Any], values: np.ndarray, expected: dict[str, Any]) -> None:
    """Compare the value, the gradient in both modes, and the second derivative along a direction."""
    along = direction(values.shape)
    x = Tensor(values, requires_grad=True)
    value = f(x)
    value.backward(create_graph=True)
    gradient = x.grad
    np.testing.assert_allclose(value.data, expected["value"], rtol=1e-12)
    np.testing.assert_allclose(gradient.data.ravel(), expected["gradient"], rtol=1e-10, atol=1e-13)
    pushed = jvp(f, (values,), (along,))[1]
    np.testing.assert_allclose(float(pushed), np.sum(gradient.data * along), rtol=1e-10, atol=1e-13)
    x.grad = None
    slope = np.sum(gradient * along)
    if slope.requires_grad:
        slope.backward()
    curvature = 0.0 if x.grad is None else float(np.sum(x.grad.data * along))
    np.testing.assert_allclose(curvature, expected["curvature"], rtol=1e-9, atol=1e-12)


def test_every_case_is_recorded() -> None:
    assert list(REFERENCE) == [case.id for case in (*LOSSES, *LAYERS)]


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)
def test_a_loss_has_pytorchs_numbers(case: LossCase) -> None:
    loss = getattr(nn, case.name)(**case.options)
    compare(lambda x: loss(x, case.target), case.input, REFERENCE[case.id])


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
def test_a_layer_has_pytorchs_numbers(case: LayerCase) -> None:
    layer = case.build().astype(np.float64)
    for parameter in layer.parameters():
        parameter.data[...] = parameter_values(parameter.shape)
    weights = direction(layer(case.input).shape)
    compare(lambda x: np.sum(layer(x) * weights), case.input, REFERENCE[case.id])
    layer.zero_grad()
    if gradients := REFERENCE[case.id].get("parameters", {}):
        np.sum(layer(case.input) * weights).backward()
    assert gradients.keys() == dict(layer.named_parameters()).keys()
    for name, parameter in layer.named_parameters():
        np.testing.assert_allclose(
            parameter.grad.data.ravel(), gradients[name], rtol=1e-10, atol=1e-13, err_msg=name
        )
