"""Run PyTorch's losses and layers in float64 and keep what they give, for the tests to compare with.

Needs PyTorch. From the repository's root::

    python scripts/make_loss_reference.py

writes tests/nn/reference.json. The losses, layers and inputs are in tests/nn/cases.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.nn import cases  # noqa: E402

TARGET = ROOT / "tests" / "nn" / "reference.json"


def as_torch(value: Any) -> Any:
    """Return an array as PyTorch's tensor, and anything else as it is."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def derivatives(f: Callable[[Any], Any], values: cases.Array) -> dict[str, Any]:
    """Return the value, the gradient, and the second derivative along a direction."""
    x = torch.tensor(values, requires_grad=True)
    value = f(x)
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    direction = torch.from_numpy(cases.direction(values.shape))
    curvature = 0.0
    if gradient.requires_grad:
        (change,) = torch.autograd.grad((gradient * direction).sum(), x, allow_unused=True)
        curvature = 0.0 if change is None else (change * direction).sum().item()
    return {"value": value.item(), "gradient": gradient.detach().ravel().tolist(), "curvature": curvature}


def of_loss(case: cases.LossCase) -> dict[str, Any]:
    """Return what the mean of a loss gives."""
    options = {key: as_torch(value) for key, value in case.options.items()}
    loss = getattr(torch.nn, case.name)(**options)
    return derivatives(lambda x: loss(x, torch.from_numpy(case.target)), case.input)


def of_layer(case: cases.LayerCase) -> dict[str, Any]:
    """Return what a weighted sum of a layer's output gives, and its gradients by the parameters."""
    layer = case.build(torch.nn).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.from_numpy(cases.parameter_values(tuple(parameter.shape))))
    shape = tuple(layer(torch.from_numpy(case.input)).shape)
    weights = torch.from_numpy(cases.direction(shape))
    recorded = derivatives(lambda x: (layer(x) * weights).sum(), case.input)
    parameters = dict(layer.named_parameters())
    if not parameters:
        return recorded
    value = (layer(torch.from_numpy(case.input)) * weights).sum()
    gradients = torch.autograd.grad(value, list(parameters.values()))
    by_name = {name: part.ravel().tolist() for name, part in zip(parameters, gradients, strict=True)}
    return {**recorded, "parameters": by_name}


def main() -> None:
    """Write the file."""
    recorded = {case.id: of_loss(case) for case in cases.LOSSES}
    recorded |= {case.id: of_layer(case) for case in cases.LAYERS}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in recorded.items())
    TARGET.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
