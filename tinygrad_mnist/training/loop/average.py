"""The exponential moving average of the weights of a model, often better than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn


class WeightAverage:
    """The exponential moving average of the parameters of a model, in one flat array.

    It is of the widest dtype among the parameters, float32 at least.

    After step t the average moves towards the parameters by ``1 - d``, where d is the decay, but at most
    ``(1 + t) / (10 + t)``: so it forgets the first weights soon. Buffers, as the statistics of batch norm,
    are averages already, and are used as they are.

    Parameters
    ----------
    model : Module
        The model that is trained.
    decay : float
        At least 0 and less than 1; the average is about that of the last ``1 / (1 - decay)`` steps.

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.data[...] = 1.0
    >>> average = WeightAverage(model, decay=0.5)
    >>> average.update()  # the first step: the average is of the new weights, nearly
    >>> with average.in_use():
    ...     float(model.weight.data[0, 0])
    1.0
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.parameters = list(model.parameters())
        self.decay = decay
        self.steps = 0
        ends = np.cumsum([parameter.size for parameter in self.parameters])
        dtype = np.result_type(np.float32, *{parameter.dtype for parameter in self.parameters})
        self.values: NDArray[Any] = np.empty(int(ends[-1]) if len(ends) else 0, dtype)
        self.views = [
            part.reshape(parameter.shape)
            for part, parameter in zip(np.split(self.values, ends[:-1]), self.parameters, strict=True)
        ]
        for view, parameter in zip(self.views, self.parameters, strict=True):
            view[...] = parameter.data

    def update(self) -> None:
        """Move the average towards the parameters as they are now."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        kind = self.values.dtype.type
        self.values *= kind(decay)
        for view, parameter in zip(self.views, self.parameters, strict=True):
            view += kind(1 - decay) * parameter.data

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the model have the average as its parameters inside, and its own again afterwards."""
        own = [parameter.data.copy() for parameter in self.parameters]
        try:
            self._write(self.views)
            yield
        finally:
            self._write(own)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of steps, as plain data; the array is a copy."""
        return {"steps": self.steps, "values": self.values.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises
        ------
        ValueError
            If it is the average of another model.
        """
        values = np.asarray(state["values"])
        if values.shape != self.values.shape or values.dtype != self.values.dtype:
            raise ValueError(
                f"the state is that of {values.size:,} averaged numbers of {values.dtype}; this model has "
                f"{self.values.size:,} of {self.values.dtype}"
            )
        self.values[...] = values
        self.steps = int(state["steps"])

    def _write(self, arrays: list[NDArray[Any]]) -> None:
        for parameter, array in zip(self.parameters, arrays, strict=True):
            parameter.data[...] = array
