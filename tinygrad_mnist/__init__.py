"""A small reverse-mode automatic differentiation framework on NumPy, and a digit recogniser trained by it.

The public names are loaded when they are first used, so that the command line starts without NumPy.
"""

from __future__ import annotations

import importlib

from tinygrad_mnist._version import __version__

TYPE_CHECKING = False  # as in typing, which takes as long to import as all of this
if TYPE_CHECKING:
    from typing import Any

    from tinygrad_mnist import data, exchange, graph, nn, onnx, op, optim
    from tinygrad_mnist.compiler.errors import JitError
    from tinygrad_mnist.compiler.jit import jit
    from tinygrad_mnist.engine.anomaly import AnomalyError, detect_anomaly
    from tinygrad_mnist.engine.ravel import ravel_pytree
    from tinygrad_mnist.engine.tape import no_grad
    from tinygrad_mnist.engine.tensor import Tensor
    from tinygrad_mnist.nn.stateless import functional_call
    from tinygrad_mnist.transforms import (
        checkpoint,
        grad,
        hessian,
        hvp,
        jacobian,
        jvp,
        value_and_grad,
        vjp,
    )

_WHERE = {
    "AnomalyError": "engine.anomaly",
    "JitError": "compiler.errors",
    "Tensor": "engine.tensor",
    "detect_anomaly": "engine.anomaly",
    "no_grad": "engine.tape",
    "functional_call": "nn.stateless",
    "jit": "compiler.jit",
    "ravel_pytree": "engine.ravel",
    "checkpoint": "transforms",
    "grad": "transforms",
    "hessian": "transforms",
    "hvp": "transforms",
    "jacobian": "transforms",
    "jvp": "transforms",
    "value_and_grad": "transforms",
    "vjp": "transforms",
}
_MODULES = (
    *("compiler", "data", "engine", "exchange", "graph", "nn", "onnx", "op", "ops", "optim", "plots"),
    *("testing", "training"),
)

# fmt: off
__all__ = [
    "AnomalyError", "JitError", "Tensor", "__version__", "detect_anomaly", "no_grad",
    "data", "exchange", "graph", "nn", "onnx", "op", "optim",
    "checkpoint", "grad", "hessian", "hvp", "jacobian", "jit", "jvp", "value_and_grad", "vjp",
    "functional_call", "ravel_pytree",
]
# fmt: on


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        importlib.import_module("tinygrad_mnist.ops")  # fills the registry that Tensor looks into
        value = getattr(importlib.import_module(f"tinygrad_mnist.{_WHERE[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"tinygrad_mnist.{name}")
    else:
        from tinygrad_mnist.engine.pytorch_names import missing_name

        if not name.startswith("_"):  # a name of PyTorch's may be one of these
            for module in ("tinygrad_mnist.nn", "tinygrad_mnist.optim", "tinygrad_mnist.data"):
                importlib.import_module(module)
        raise missing_name(__name__, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
