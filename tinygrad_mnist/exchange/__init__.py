"""Exchange with other tools: files of weights, PyTorch's tensors, networks as ONNX.

`save_weights` and `load_weights` write and read state dicts in the formats that others read and write;
`Module.save` and `Module.load` call them. Nothing here needs PyTorch but `to_torch`.

Examples
--------
>>> from tinygrad_mnist import exchange
>>> list(exchange.FORMATS)
['.safetensors', '.npz', '.pt', '.pth']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_mnist.exchange.weights.errors import WeightsError

if TYPE_CHECKING:
    from tinygrad_mnist.exchange.weights.files import FORMATS, load_weights, save_weights
    from tinygrad_mnist.exchange.weights.to_torch import to_torch

__all__ = ["FORMATS", "WeightsError", "load_weights", "save_weights", "to_torch"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tinygrad_mnist.exchange.weights import files, to_torch

        for module in (files, to_torch):
            if name in vars(module):
                globals()[name] = vars(module)[name]
                return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
