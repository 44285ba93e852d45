"""ONNX files of models: `save` writes a model, or any function of arrays, for other tools to run.

`converts` declares how an operation of your own is written.
"""

from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.save import Exported, Port, save
from tinygrad_mnist.exchange.onnx.table import converts

__all__ = ["save", "converts", "Exported", "ExportError", "Port"]
