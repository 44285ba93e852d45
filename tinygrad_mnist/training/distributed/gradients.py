"""The sum of the gradients of all ranks, with the loss, in one exchange a step.

The loss of a rank is the mean over its rows. Its gradients are weighted by its share of all rows after the
backward pass, not before: what is exchanged on the way, as by batch norm, is weighted by the rows already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.compiler.outside import call_outside
from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.shards import Exchange
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.training.errors import TrainingError

Array = NDArray[Any]


class GradientSum:
    """The gradients of some parameters, and how they are summed over all ranks.

    A parameter that has a gradient in some ranks alone gets their sum in all of them. In a compiled step that
    is an error, as a program has gradients for the same parameters at each call.

    Parameters
    ----------
    parameters : iterable of (str, Tensor)
        The parameters and their names, in the same order in all ranks.
    exchange : Exchange
        Sums over all ranks.
    ranks : int
        How many there are.
    """

    def __init__(self, parameters: Iterable[tuple[str, Tensor]], exchange: Exchange, ranks: int) -> None:
        unique = {id(parameter): (name, parameter) for name, parameter in parameters}
        self.names = [name for name, _ in unique.values()]
        self.parameters = [parameter for _, parameter in unique.values()]
        self.exchange, self.ranks = exchange, ranks

    def add(self, loss: Tensor, share: float) -> None:
        """Compute the gradients of a loss, and add them to those that are there, weighted by a share."""
        before = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        for parameter, held in zip(self.parameters, before, strict=True):
            if parameter.grad is None:
                parameter.grad = held
            else:
                weighted = parameter.grad.detach() * share
                parameter.grad = weighted if held is None else held.detach() + weighted

    def sum(self, loss: Tensor) -> Tensor:
        """Return the sum of the losses of all ranks, and let the parameters have the sums of gradients."""
        gradients = [parameter.grad for parameter in self.parameters]
        has = [gradient is not None for gradient in gradients]
        given = [loss.detach(), *(gradient for gradient in gradients if gradient is not None)]
        exchange = _Exchange(self, has)
        found = call_outside(exchange, *given)
        total, *sums = found if len(given) > 1 else (found,)
        filled: Iterator[Tensor] = iter(sums)
        for parameter, is_here in zip(self.parameters, has, strict=True):
            if is_here:
                parameter.grad = next(filled)
        if tracer() is None:
            for parameter, gradient in exchange.others:
                parameter.grad = Tensor(gradient)
        result: Tensor = total
        return result


class _Exchange:
    """The exchange of one step, as a function of arrays: the loss, and the gradients that are here."""

    __name__ = "sum_of_gradients"

    def __init__(self, owner: GradientSum, has: Sequence[bool]) -> None:
        self.owner, self.has = owner, has
        self.flags = np.array(has, np.float32)
        self.is_compiled = tracer() is not None
        self.others: list[tuple[Tensor, Array]] = []  # parameters without a gradient here, and their sums

    def __call__(self, *arrays: Array) -> Any:
        """Return the sums of all arrays."""
        total, flags, *sums = self.owner.exchange.sum(self._filled(arrays))
        has, parameters = self.has, self.owner.parameters
        if self.is_compiled:
            self._require_same(flags)
        self.others = [
            (parameter, one)
            for parameter, one, flag, is_here in zip(parameters, sums, flags, has, strict=True)
            if flag and not is_here
        ]
        own = [one for one, is_here in zip(sums, has, strict=True) if is_here]
        return (total, *own) if own else total

    def refuse(self, *arrays: Array) -> None:
        """Take part without values."""
        self.owner.exchange.refuse(self._filled(arrays))

    def _filled(self, arrays: Sequence[Array]) -> list[Array]:
        """Return what is exchanged, as many numbers in each rank: zeros for a gradient that is missing."""
        loss, *gradients = arrays
        here = iter(gradients)
        return [
            loss,
            self.flags,
            *(
                next(here) if is_here else np.zeros(parameter.shape, parameter.dtype)
                for parameter, is_here in zip(self.owner.parameters, self.has, strict=True)
            ),
        ]

    def _require_same(self, flags: Array) -> None:
        for name, flag in zip(self.owner.names, flags, strict=True):
            if flag not in (0, self.owner.ranks):
                raise TrainingError(
                    f"{name} has a gradient in one process and none in another, so the steps cannot be "
                    "compiled: give jit='off'"
                )
