"""The first layer of a network, and what its units see of a picture."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.engine.observe import Recorder, also_observed_by
from tinygrad_mnist.engine.tensor import Tensor

Images = NDArray[np.float32]
Unit = tuple[int, float, Images]

MOST_UNITS: Final = 24
"""The units that are shown at most."""


class FirstLayer:
    """The first module of a model that runs and has parameters of its own.

    Parameters
    ----------
    model : Module
        From standardised images (n, 1, h, w) to logits, in evaluation mode, without parameters that require a
        gradient.
    shape : tuple of int
        Height and width of the images.

    Attributes
    ----------
    name, kind : str
        The name of the module in the model, and of its class.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int]) -> None:
        self._model = model
        probe = np.random.default_rng(0).normal(size=(1, 1, *shape)).astype(np.float32)
        self._layer, given = _run(model, probe)
        names = (name for name, module in model.named_modules() if module is self._layer)
        self.name, self.kind = next(names, ""), type(self._layer).__name__
        # Usually it is given the picture itself, perhaps as a row, so nothing has to run before it.
        self._shape = given.shape if np.array_equal(given.ravel(), probe.ravel()) else None

    def units(self, inputs: Images) -> list[Unit] | None:
        """Return what the units see of a standardised image (1, 1, h, w).

        Returns
        -------
        list of (int, float, ndarray) or None
            Number, value and map of at most `MOST_UNITS` units. Of a convolution each channel, in their
            order: its largest output, and its output. Of a linear layer on the picture the units of largest
            output: the output, and what each pixel adds to it. None for any other layer.
        """
        with np.errstate(all="ignore"):  # who asks looks whether the result is finite
            if isinstance(self._layer, nn.Conv2d):
                given = _run(self._model, inputs)[1] if self._shape is None else inputs.reshape(self._shape)
                return _channels(self._layer, given)
            if isinstance(self._layer, nn.Linear) and self._shape == (1, inputs.size):
                return _most_active(self._layer, inputs)
        return None


def _channels(layer: nn.Conv2d, given: Images) -> list[Unit]:
    outputs = layer(Tensor(given)).numpy()[0, :MOST_UNITS]
    return [(unit, float(output.max()), output) for unit, output in enumerate(outputs)]


def _most_active(layer: nn.Linear, inputs: Images) -> list[Unit]:
    outputs = layer(Tensor(inputs.reshape(1, -1))).numpy()[0]
    weight, picture = layer.weight.numpy(), inputs[0, 0]
    return [
        (int(unit), float(outputs[unit]), weight[unit].reshape(picture.shape) * picture)
        for unit in np.argsort(-outputs, kind="stable")[:MOST_UNITS]
    ]


class _Watch(Recorder):
    """A recorder that notes the first module to run with parameters of its own, and what it is given."""

    layer: nn.Module | None = None
    given: Images = np.empty(0, np.float32)

    def entered(self, module: Any, given: Any = ()) -> None:
        """Note the module, if none was noted before."""
        if self.layer is None and next(module.parameters(recurse=False), None) is not None:
            positional, named = given
            first = next(iter((*positional, *named.values())), ())
            self.layer = module
            self.given = np.asarray(first)


def _run(model: nn.Module, inputs: Images) -> tuple[nn.Module | None, Images]:
    """Return the first layer of a model, and what it is given for an image."""
    watch = _Watch()
    with np.errstate(all="ignore"), also_observed_by(watch):
        model(Tensor(inputs))
    return watch.layer, watch.given
