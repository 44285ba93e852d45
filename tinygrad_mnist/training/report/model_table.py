"""The layers of a model as a table: what each puts out, and how many parameters it has."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist import nn
from tinygrad_mnist.engine.observe import Recorder, recorder
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.module import evaluation_mode


class LayerRow(NamedTuple):
    """A module that holds no others: its path, what it is, what it puts out, its parameters."""

    path: str
    text: str
    shape: tuple[int, ...] | None
    """The shape of its output for one sample, without the axis of the batch; None if it did not run."""
    parameters: int


class _Shapes(Recorder):
    """A recorder that keeps the shape of what each module put out last."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.shapes: dict[int, tuple[int, ...]] = {}

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        """Keep the shape of a result, which may be that of a module."""
        self.shape = np.shape(out)

    def left(self, module: Any) -> None:
        """Note the shape of the last result in a module: one that computes nothing passes on what it got."""
        self.shapes[id(module)] = self.shape


def model_table(model: nn.Module, inputs: Tensor) -> list[LayerRow]:
    """Return the innermost modules of a model in the order in which they are registered.

    Parameters
    ----------
    model : Module
        It stays as it is.
    inputs : Tensor
        A batch that it takes; it runs once, as in evaluation.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> for row in model_table(model, Tensor(np.ones((1, 4), np.float32))):
    ...     print(row.path, row.text, row.shape, row.parameters)
    0 Linear(4, 3) (3,) 15
    1 ReLU() (3,) 0
    2 Linear(3, 2) (2,) 8
    """
    listener = _Shapes(inputs.shape)
    token = recorder.set(listener)
    try:
        with no_grad(), evaluation_mode():
            model(inputs)
    finally:
        recorder.reset(token)
    rows: list[LayerRow] = []
    counted: set[int] = set()
    for path, module in model.named_modules():
        own = {id(parameter): parameter for parameter in module.parameters(recurse=False)}
        fresh = [parameter for key, parameter in own.items() if key not in counted]
        counted |= own.keys()
        if own or not any(True for _ in module.children()):
            shape = listener.shapes.get(id(module))
            text = f"{type(module).__name__}({module.extra_repr()})"
            count = sum(parameter.size for parameter in fresh)
            rows.append(LayerRow(path, text, None if shape is None else shape[1:], count))
    return rows
