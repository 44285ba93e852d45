"""ONNX files of models: `save` writes a model, or any function of arrays, for other tools to run."""

from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.save import Exported, Port, save

__all__ = ["save", "Exported", "ExportError", "Port"]
