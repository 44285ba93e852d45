"""The network as the service runs it: probabilities of a batch, and the gradient of a score by the picture.

Both are compiled where that can be done. A program is made for each size of a batch, so a batch is filled up
to one of few sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.training.loop.compilation import compiled, hindrance
from tinygrad_mnist.transforms import grad

Images = NDArray[np.float32]

BATCHES: Final = (1, 8, 32)
"""The sizes of batches that are compiled; what is larger is cut into parts of the last one.

Measured with the recipe ``cnn`` on one core, milliseconds as it is and compiled: 1 picture 0.31 and 0.02, 8
pictures 0.54 and 0.09, 32 pictures 1.13 and 0.29, 64 pictures 1.97 and 0.57 (in two parts). With
``cnn-best``: 0.56 and 0.06, 1.17 and 0.25, 2.67 and 0.94, 4.88 and 1.87. So 2 pictures in a batch of 8 are
still four times as fast as they are alone, uncompiled. A program takes 0.1 seconds to make.
"""


class Network:
    """A model that answers and is not trained, from any number of threads.

    Parameters
    ----------
    model : Module
        From standardised images (n, 1, h, w) to logits. It must belong to nobody else, be in evaluation mode,
        and have no parameters that require a gradient.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._probabilities = _Function(self._softmax)
        self._slope = _Function(self._slope_of_score)

    def probabilities(self, inputs: Images) -> Images:
        """Return the probability of each class, shape (n, classes), for standardised images (n, 1, h, w)."""
        parts = []
        for start in range(0, len(inputs), BATCHES[-1]):
            part = inputs[start : start + BATCHES[-1]]
            filled = part
            if self._probabilities.is_compiled:
                filled = np.zeros(
                    (next(size for size in BATCHES if size >= len(part)), *part.shape[1:]), np.float32
                )
                filled[: len(part)] = part
            parts.append(self._probabilities(filled)[: len(part)])
        return np.concatenate(parts)

    def slope(self, inputs: Images, index: int, classes: int) -> Images:
        """Return the gradient of the logit of one of the classes by a standardised image (1, 1, h, w)."""
        chosen = np.zeros((1, classes), np.float32)
        chosen[0, index] = 1
        return self._slope(inputs, chosen)

    def _softmax(self, inputs: Images) -> Tensor:
        return F.softmax(self._model(Tensor(inputs)), dim=1)

    def _slope_of_score(self, inputs: Images, chosen: Images) -> Any:
        return grad(lambda x: np.sum(self._model(x) * chosen))(inputs)


class _Function:
    """A function of arrays, compiled if that can be done; what is infinite on the way is no warning."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._plain = function
        self.is_compiled = hindrance() is None
        self._run = compiled(function, threads=1) if self.is_compiled else function

    def __call__(self, *inputs: Images) -> Images:
        with np.errstate(all="ignore"):
            try:
                found = self._run(*inputs)
            except JitError:  # a model of somebody's own may do what cannot be compiled
                self._run, self.is_compiled = self._plain, False
                found = self._run(*inputs)
        values: Images = np.asarray(found)
        return values
