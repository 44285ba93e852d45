"""Parameters side by side in flat arrays, so that an optimiser updates them together in a few NumPy calls.

A `FlatGroup` holds the parameters of one parameter group. Those of one dtype lie in one flat array, and each
parameter's ``data`` is a view of its stretch of it, in the memory order that the parameter came in. An update
formula then runs over `Block` objects: stretches that fit into the cache, of as many parameters as go in.
What the formulae are is none of this module's business; nor is where the gradients come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import is_
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tinygrad_mnist.engine.tape import mark_written
from tinygrad_mnist.engine.tensor import Tensor

__all__ = ["Array", "Block", "FlatGroup", "FlatParameters", "Run", "describe"]

Array = npt.NDArray[np.floating[Any]]

BLOCK_BYTES = 1 << 18
"""Bytes of one parameter block: 65,536 float32. The six arrays of an Adam step then stay in a 2 MiB cache."""


class FlatGroup:
    """The parameters of one group, in one `FlatParameters` per dtype.

    Parameters
    ----------
    parameters : sequence of Tensor
        Floating-point tensors. The ``data`` of each is replaced by a view of a flat array with the same
        values.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)
        self.flats = _flatten(self.parameters)

    def adopt(self) -> list[FlatParameters]:
        """The flat arrays, after taking over whatever somebody has put in place of one of our views."""
        adopted = [flat.adopt() for flat in self.flats]
        if not all(adopted):
            states = self.states()
            self.flats = _flatten(self.parameters)
            self.restore(states)
        return self.flats

    def states(self) -> list[tuple[Any, dict[str, Array]]]:
        """Each parameter's progress and copies of its state arrays, in the order of the parameters."""
        found = {}
        for flat in self.flats:
            for index, parameter in enumerate(flat.parameters):
                found[id(parameter)] = (flat.progress[index], flat.parameter_state(index))
        return [found[id(parameter)] for parameter in self.parameters]

    def restore(self, states: Sequence[tuple[Any, dict[str, Array]]]) -> None:
        """Take over what `states` gave, or its like; what a parameter's entry does not name becomes zero."""
        wanted = {id(parameter): state for parameter, state in zip(self.parameters, states, strict=True)}
        for flat in self.flats:
            flat.state.clear()
            for index, parameter in enumerate(flat.parameters):
                progress, arrays = wanted[id(parameter)]
                flat.progress[index] = progress
                flat.set_parameter_state(index, arrays)


class FlatParameters:
    """Parameters of one dtype in one flat array, with the optimiser's state in arrays of the same layout.

    Attributes
    ----------
    values : ndarray, shape (n,)
        All parameters, one after the other.
    state : dict of str to ndarray, shape (n,)
        What the optimiser keeps (a momentum buffer, say), made of zeros when it is first asked for.
    progress : list
        What the update formula wants to know next time about each parameter, such as its number of steps;
        None before its first step. Parameters are updated together as long as their progress is equal.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)
        self.orders = [_memory_order(parameter.data) for parameter in self.parameters]
        self.values: Array = np.empty(sum(p.size for p in self.parameters), self.parameters[0].dtype)
        self.state: dict[str, Array] = {}
        self.progress: list[Any] = [None] * len(self.parameters)
        self._lay_out()
        self.adopt()

    def _lay_out(self) -> None:
        ends = np.cumsum([p.size for p in self.parameters]).tolist()
        self.bounds: list[int] = [0, *ends]
        self.views = [self._view(self.values, index) for index in range(len(self.parameters))]
        self.capacity = BLOCK_BYTES // self.values.itemsize
        self.scratch = np.empty((2, min(self.values.size, self.capacity)), self.values.dtype)
        self.shapes = [view.shape for view in self.views]
        self._joined: dict[tuple[int, int], tuple[Array, list[Array]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        made_by_layout = ("bounds", "views", "capacity", "scratch", "shapes", "_joined")
        return {name: value for name, value in vars(self).items() if name not in made_by_layout}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        # A copied or unpickled view is no view of the copied flat array: make new ones, for the next step to
        # adopt.
        vars(self).update(attributes)
        self._lay_out()

    def _view(self, flat: Array, index: int) -> Array:
        """One parameter's stretch of a flat array, in its shape and memory order."""
        stretch = flat[self.bounds[index] : self.bounds[index + 1]]
        return stretch.reshape(self.parameters[index].shape, order=self.orders[index])

    def adopt(self) -> bool:
        """Copy in whatever is not our view and put the view there; False if one has got another dtype."""
        arrays = [parameter._array for parameter in self.parameters]
        if all(map(is_, arrays, self.views)):
            return True
        foreign = [index for index, view in enumerate(self.views) if arrays[index] is not view]
        if any(self.parameters[index].dtype != self.values.dtype for index in foreign):
            return False
        # All are read before the first is written: two parameters may have exchanged their arrays.
        copies = [arrays[index].copy() for index in foreign]
        for index, array in zip(foreign, copies, strict=True):
            self.views[index][...] = array
            self.parameters[index].data = self.views[index]
        return True

    def gradients(self) -> list[Array | None]:
        """Each parameter's gradient in our dtype, or None; to be read only.

        Raises
        ------
        ValueError
            If a gradient has another shape than its parameter.
        """
        found: list[Array | None] = []
        dtype = self.values.dtype
        for parameter, shape in zip(self.parameters, self.shapes, strict=True):
            grad = parameter.grad
            gradient = None if grad is None else grad._array
            if gradient is not None:
                if gradient.shape != shape:
                    raise ValueError(
                        f"the gradient of {describe(parameter, len(found))} has shape {gradient.shape}, "
                        f"the parameter {shape}: they must be equal"
                    )
                if gradient.dtype is not dtype:
                    gradient = gradient.astype(dtype)
            found.append(gradient)
        return found

    def joined(self, first: int, last: int) -> tuple[Array, list[Array]]:
        """Memory for gradients of neighbours, side by side as in ``values``: whole, and in their shapes."""
        found = self._joined.get((first, last))
        if found is None:
            start, stop = self.bounds[first], self.bounds[last]
            whole = self.scratch[1, : stop - start]
            parts = [
                whole[self.bounds[index] - start : self.bounds[index + 1] - start].reshape(
                    self.shapes[index], order=self.orders[index]
                )
                for index in range(first, last)
            ]
            found = self._joined[first, last] = whole, parts
        return found

    def runs(self, gradients: Sequence[Array | None]) -> Iterator[Run]:
        """Neighbours with a gradient and equal progress, as many as fit into a block; usually that is all."""
        first, count, bounds = 0, len(self.parameters), self.bounds
        while first < count:
            found: list[Array] = []
            last, progress = first, self.progress[first]
            while (
                last < count
                and (gradient := gradients[last]) is not None
                and (self.progress[last] is progress or self.progress[last] == progress)
                and (last == first or bounds[last + 1] - bounds[first] <= self.capacity)
            ):
                found.append(gradient)
                last += 1
            if found:
                yield Run(self, first, last, found)
            first = max(last, first + 1)

    def state_array(self, name: str) -> Array:
        """The flat state array of this name; zeros at first."""
        array = self.state.get(name)
        if array is None:
            array = self.state[name] = np.zeros_like(self.values)
        return array

    def parameter_state(self, index: int) -> dict[str, Array]:
        """Copies of one parameter's state arrays, in its shape and memory order."""
        return {name: self._view(array, index).copy(order="K") for name, array in self.state.items()}

    def set_parameter_state(self, index: int, arrays: dict[str, Array]) -> None:
        """Copy state arrays of one parameter's shape in, and convert them to our dtype."""
        for name, array in arrays.items():
            self._view(self.state_array(name), index)[...] = array


class Run:
    """Neighbouring parameters that are updated together: several in one block, or a large one in many."""

    def __init__(self, flat: FlatParameters, first: int, last: int, gradients: list[Array]) -> None:
        self.flat = flat
        self.first = first
        self.last = last
        self.gradients = gradients
        self.progress = flat.progress[first]

    def blocks(self) -> Iterator[Block]:
        """The blocks of the run, one after the other; they share their scratch memory."""
        start, stop = self.flat.bounds[self.first], self.flat.bounds[self.last]
        size = stop - start
        if len(self.gradients) > 1:
            yield Block(self.flat, start, stop, self.gradients, self.flat.joined(self.first, self.last))
            return
        gradient = self.gradients[0].ravel(self.flat.orders[self.first])  # a view, if its order is ours
        own = self.flat.scratch[1]
        pieces = max(1, -(-size // self.flat.capacity))
        width = -(-size // pieces)
        for offset in range(0, size, width or 1):
            end = min(offset + width, size)
            part, memory = gradient[offset:end], own[: end - offset]
            yield Block(self.flat, start + offset, start + end, [part], (memory, [memory]))

    def finish(self, progress: Any) -> None:
        """Keep the new progress of the parameters, and count that their values were written."""
        self.flat.progress[self.first : self.last] = [progress] * (self.last - self.first)
        parameters = self.flat.parameters[self.first : self.last]
        mark_written(leaf for parameter in parameters if (leaf := parameter._leaf) is not None)


class Block:
    """Equal stretches of everything that an update formula needs, as 1-D arrays.

    Attributes
    ----------
    values : ndarray, shape (n,)
        The parameters, to be written in place.
    scratch : ndarray, shape (n,)
        For what the formula computes on its way; its contents mean nothing.
    """

    __slots__ = ("_flat", "_gradients", "_joined", "_start", "_stop", "scratch", "values")

    def __init__(
        self,
        flat: FlatParameters,
        start: int,
        stop: int,
        gradients: list[Array],
        joined: tuple[Array, list[Array]],
    ) -> None:
        self._flat = flat
        self._start = start
        self._stop = stop
        self.values = flat.values[start:stop]
        self._gradients = gradients
        self._joined = joined
        self.scratch: Array = flat.scratch[0, : stop - start]

    def after(self, gradient: Array) -> Array:
        """Scratch memory for a formula that has done with the gradient: where that is ours, its own."""
        return gradient if gradient is self._joined[0] else self.scratch

    def state(self, name: str) -> Array:
        """The state of this name, to be written in place; zeros before the first step."""
        return self._flat.state_array(name)[self._start : self._stop]

    def penalised_gradient(self, weight_decay: float) -> Array:
        """``gradient + weight_decay * values``: the gradient with an L2 penalty, in memory of our own."""
        if not weight_decay:
            return self.gradient
        penalised, parts = self._joined
        np.multiply(self.values, weight_decay, out=penalised)
        for part, gradient in zip(parts, self._gradients, strict=True):
            part += gradient
        return penalised

    @property
    def gradient(self) -> Array:
        """The gradient. Only to be read: it may be the array that somebody else holds."""
        if len(self._gradients) == 1:
            return self._gradients[0]
        whole, parts = self._joined
        for part, gradient in zip(parts, self._gradients, strict=True):
            part[...] = gradient
        return whole


def describe(parameter: Tensor, index: int) -> str:
    """How an error names a parameter: by its name if it has one, else by its place."""
    name = getattr(parameter, "name", None)
    return f"parameter {name!r}" if name else f"parameter {index}"


def _flatten(parameters: Sequence[Tensor]) -> list[FlatParameters]:
    by_dtype: dict[np.dtype[Any], list[Tensor]] = {}
    for parameter in parameters:
        by_dtype.setdefault(parameter.dtype, []).append(parameter)
    return [FlatParameters(members) for members in by_dtype.values()]


def _memory_order(array: npt.NDArray[Any]) -> Literal["C", "F"]:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
