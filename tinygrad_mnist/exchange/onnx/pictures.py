"""The standardisation of pictures as the first nodes of a file, which then takes grey values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.exchange.onnx.arguments import Arguments
from tinygrad_mnist.exchange.onnx.builder import Builder
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.sizes import Shape

__all__ = ["Pictures"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Pictures:
    """The pictures that a file with standardisation takes: uint8, shape (batch, height, width).

    Parameters
    ----------
    standardizer : Standardizer
        What makes the input of the model of them.
    height, width : int
        Their size, before they are cropped.
    """

    standardizer: Standardizer
    height: int
    width: int

    @classmethod
    def of(cls, standardizer: Standardizer, arguments: Arguments) -> Pictures:
        """Return the pictures that the example of a model was made of.

        Raises
        ------
        ExportError
            If the example is none that the standardizer makes.
        """
        arrays = arguments.arrays
        shape = arrays[0].shape
        if len(arrays) != 1 or len(shape) != 4 or shape[1] != 1 or arrays[0].dtype != np.float32:
            given = ", ".join(f"{array.dtype} {array.shape}" for array in arrays)
            raise ExportError(
                f"standardizer= was given for inputs {given}; expected one input, float32 of shape (n, 1, "
                "height, width), as the standardizer makes it of pictures"
            )
        border = 2 * standardizer.crop
        return cls(standardizer, shape[2] + border, shape[3] + border)

    def like(self, arrays: list[Array]) -> list[Array]:
        """Return pictures for as many images."""
        rng = np.random.default_rng(0)
        size = (len(arrays[0]), self.height, self.width)
        return [rng.integers(0, 256, size, dtype=np.uint8)]

    def standardized(self, pictures: list[Array]) -> list[Array]:
        """Return what the model is given of pictures."""
        return [self.standardizer(pictures[0])]

    def write(self, build: Builder, name: str, shape: Shape) -> None:
        """Add the input of the file, and the nodes that make the input of the model of it."""
        crop, std = self.standardizer.crop, self.standardizer.std
        build.within("/standardize", f"{self.standardizer}")
        value = build.add_input(name, np.dtype(np.uint8), (shape[0], self.height, self.width))
        if crop:
            begins, ends = build.indices(crop, crop), build.indices(self.height - crop, self.width - crop)
            value = build.node("Slice", value, begins, ends, build.indices(1, 2))
        value = build.cast(value, np.float32)
        # One product and one sum in float32, as the standardizer computes: the values are equal, bit for bit.
        value = build.node("Mul", value, build.constant(1 / std, np.float32))
        value = build.node("Add", value, build.constant(-self.standardizer.mean / std, np.float32))
        value = build.node("Unsqueeze", value, build.indices(1))
        build.feed(value, shape)
