"""A small reverse-mode automatic differentiation framework on NumPy, and a digit recogniser trained by it.

The public names are loaded when they are first used, so that the command line starts without NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_mnist._version import __version__

if TYPE_CHECKING:
    from tinygrad_mnist import data, nn, optim
    from tinygrad_mnist.tape import no_grad
    from tinygrad_mnist.tensor import Tensor
    from tinygrad_mnist.transforms import grad, value_and_grad

_WHERE = {
    "Tensor": "tensor",
    "no_grad": "tape",
    "grad": "transforms",
    "value_and_grad": "transforms",
}
_ROOMS = ("data", "nn", "ops", "optim", "plots", "testing", "training")

__all__ = ["Tensor", "__version__", "data", "grad", "nn", "no_grad", "optim", "value_and_grad"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        importlib.import_module("tinygrad_mnist.ops")  # fills the registry that Tensor looks into
        value = getattr(importlib.import_module(f"tinygrad_mnist.{_WHERE[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"tinygrad_mnist.{name}")
    else:
        raise AttributeError(f"module 'tinygrad_mnist' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_ROOMS})
