"""The sum of the gradients of all ranks, with the loss, in one exchange a step.

The loss of a rank is the mean over its rows. Its gradients are weighted by its share of all rows after the
backward pass, not before: what is exchanged on the way, as by batch norm, is weighted by the rows already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.compiler.outside import call_outside
from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.shards import Exchange, prepared
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
        # In the buffer each gradient lies as the parameter does in memory, so that it is copied straight on;
        # `begin` lets all ranks have the orders of the first.
        self.orders = [order_in_memory(parameter) for parameter in self.parameters]

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

    def divide(self) -> None:
        """Divide gradients that an optimiser did not remove among all ranks, as they have the same."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.detach() / self.ranks

    def sum(self, loss: Tensor, share: float = 1.0) -> Tensor:
        """Return the sum of the losses of all ranks, and let the parameters have the sums of gradients.

        Losses and gradients are weighted by a share.
        """
        gradients = [
            None if parameter.grad is None else np.transpose(parameter.grad.detach(), order)
            for parameter, order in zip(self.parameters, self.orders, strict=True)
        ]
        has = [gradient is not None for gradient in gradients]
        given = [one * share for one in (loss.detach(), *gradients) if one is not None]
        exchange = _Exchange(self, has)
        found = call_outside(exchange, *given)
        total, *sums = found if len(given) > 1 else (found,)
        filled: Iterator[Tensor] = iter(sums)
        for parameter, order, is_here in zip(self.parameters, self.orders, has, strict=True):
            if is_here:
                parameter.grad = np.transpose(next(filled), np.argsort(order))
        if tracer() is None:
            for parameter, order, gradient in exchange.others:
                parameter.grad = Tensor(np.transpose(gradient, np.argsort(order)))
        result: Tensor = total
        return result


class _Exchange:
    """The exchange of one step, as a function of arrays: the loss, and the gradients that are here."""

    __name__ = "sum_of_gradients"

    def __init__(self, owner: GradientSum, has: Sequence[bool]) -> None:
        self.owner, self.has = owner, has
        self.flags = np.array(has, np.float32)
        self.is_compiled = tracer() is not None
        self._exchange: Exchange | None = None  # for which the sum was prepared
        self._summed: Callable[[Sequence[Array]], Sequence[Array]]
        self._same = 0, b""  # a number of ranks, and the sums of flags if all have the same gradients
        self._found: tuple[Sequence[Array], tuple[Array, ...]] = (), ()  # the last sums, and those here
        # parameters without a gradient here, the order of their axes, and their sums
        self.others: list[tuple[Tensor, Any, Array]] = []

    def __call__(self, *arrays: Array) -> Any:
        """Return the sums of all arrays; in a compiled step they hold until the next exchange."""
        if self.is_compiled:
            return self._in_program(arrays)
        total, flags, *sums = self.owner.exchange.sum(self._filled(arrays))
        has, owner = self.has, self.owner
        self.others = [
            (parameter, order, one)
            for parameter, order, one, flag, is_here in zip(
                owner.parameters, owner.orders, sums, flags, has, strict=True
            )
            if flag and not is_here
        ]
        own = [one for one, is_here in zip(sums, has, strict=True) if is_here]
        return (total, *own) if own else total

    def _in_program(self, arrays: Sequence[Array]) -> Any:
        """Return the sums of arrays whose shapes are the same at each call."""
        exchange = self.owner.exchange
        given = self._filled(arrays)
        if exchange is not self._exchange:
            self._summed, self._exchange = prepared(exchange, given), exchange
        sums = self._summed(given)
        self._require_same(sums[1])
        known, found = self._found
        if sums is not known:
            here = zip(sums[2:], self.has, strict=True)
            found = (sums[0], *(one for one, is_here in here if is_here))
            self._found = sums, found
        return found if len(found) > 1 else found[0]

    def refuse(self, *arrays: Array) -> None:
        """Take part without values."""
        self.owner.exchange.refuse(self._filled(arrays))

    def _filled(self, arrays: Sequence[Array]) -> list[Array]:
        """Return what is exchanged, as many numbers in each rank: zeros for a gradient that is missing."""
        loss, *gradients = arrays
        if len(gradients) == len(self.has):
            return [loss, self.flags, *gradients]
        here = iter(gradients)
        return [
            loss,
            self.flags,
            *(
                next(here)
                if is_here
                else np.zeros([parameter.shape[axis] for axis in order], parameter.dtype)
                for parameter, order, is_here in zip(
                    self.owner.parameters, self.owner.orders, self.has, strict=True
                )
            ),
        ]

    def _require_same(self, flags: Array) -> None:
        ranks = self.owner.ranks
        if ranks != self._same[0]:
            self._same = ranks, (self.flags * np.float32(ranks)).tobytes()
        if flags.tobytes() != self._same[1]:
            self._raise_other(flags.tolist())

    def _raise_other(self, flags: Sequence[float]) -> None:
        for name, flag in zip(self.owner.names, flags, strict=True):
            if flag not in (0, self.owner.ranks):
                raise TrainingError(
                    f"{name} has a gradient in one process and none in another, so the steps cannot be "
                    "compiled: give jit='off'"
                )


def order_in_memory(parameter: Tensor) -> tuple[int, ...]:
    """Return the axes of a parameter in the order in which they lie in memory."""
    strides = parameter.data.strides
    return tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))
