"""The error of a model that cannot be written as ONNX."""

__all__ = ["ExportError"]


class ExportError(ValueError):
    """A model that cannot be exported: what is in the way, where in the model, and what to do."""
