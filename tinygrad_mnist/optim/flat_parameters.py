"""Parameters side by side in flat arrays, so that an optimiser updates them together in a few NumPy calls.

A small network has many small parameters, and a NumPy call costs more than the arithmetic on one of them. So
the parameters of a group that have one dtype lie in one flat array (`FlatParameters`), and the ``data`` of
each is a view of its section of that array, in the memory order that it had. An update formula runs on a
`Block`: a section that fits into the cache, of as many parameters as possible. Nothing here knows a formula
or computes a gradient.

A parameter that shares its memory, with another one that it is tied to or with a buffer, would come apart
from it. It stays where it is, alone, and is updated there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import is_
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tinygrad_mnist.engine.structure import array_replaced
from tinygrad_mnist.engine.tape import mark_written
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.optim.shared_memory import describe_parameter, partners

__all__ = ["Array", "Block", "FlatGroup", "FlatParameters", "Run", "describe_parameter"]

Array = npt.NDArray[np.floating[Any]]

BLOCK_BYTES = 1 << 18
"""The bytes of one block: 65,536 float32. The six arrays of an Adam step then stay in a cache of 2 MiB."""


class FlatGroup:
    """The parameters of one group, in one `FlatParameters` for each dtype.

    Parameters
    ----------
    parameters : sequence of Tensor
        Floating-point Tensors. The ``data`` of each is replaced by a view of a flat array with the same
        values, unless it shares its memory.

    Raises
    ------
    ValueError
        If one shares its memory, and cannot be updated there.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)
        self.flats = _flatten(self.parameters)

    def adopt(self) -> list[FlatParameters]:
        """Return the flat arrays, with the values of arrays that were assigned to ``data`` copied in."""
        adopted = [flat.adopt() for flat in self.flats]
        if not all(adopted):  # a parameter belongs elsewhere: it has another dtype, or shares its memory now
            states = self.states()
            self.flats = _flatten(self.parameters)
            self.restore(states)
        return self.flats

    def states(self) -> list[tuple[Any, dict[str, Array]]]:
        """Return the progress and copies of the state arrays of each parameter, in their order."""
        found = {}
        for flat in self.flats:
            for index, parameter in enumerate(flat.parameters):
                found[id(parameter)] = (flat.progress[index], flat.parameter_state(index))
        return [found[id(parameter)] for parameter in self.parameters]

    def restore(self, states: Sequence[tuple[Any, dict[str, Array]]]) -> None:
        """Set what `states` returned, or its like; state arrays that an entry does not name become 0."""
        wanted = {id(parameter): state for parameter, state in zip(self.parameters, states, strict=True)}
        for flat in self.flats:
            flat.state.clear()
            for index, parameter in enumerate(flat.parameters):
                progress, arrays = wanted[id(parameter)]
                flat.progress[index] = progress
                flat.set_parameter_state(index, arrays)
        array_replaced()


class FlatParameters:
    """Parameters of one dtype in one flat array, and the optimiser's state in arrays of the same layout.

    Parameters
    ----------
    parameters : sequence of Tensor
        Tensors of one dtype, which are moved.
    beside : sequence of Tensor, optional
        What lies in the memory of the one parameter there is, which then is not moved.

    Attributes
    ----------
    values : ndarray, shape (n,)
        All parameters, one after the other.
    dtype : dtype
        The dtype of the arithmetic and of the state: that of the parameters, but float32 for float16.
    state : dict of str to ndarray, shape (n,)
        The arrays that the optimiser keeps, such as a momentum buffer. Each is made when it is first asked
        for, of zeros.
    progress : list
        The value that the update formula returned for each parameter in its last step, such as its number of
        steps; None before the first. Parameters are updated together as long as their progress is equal.
    """

    def __init__(self, parameters: Sequence[Tensor], beside: Sequence[Tensor] | None = None) -> None:
        self.parameters = tuple(parameters)
        self.beside = beside
        self.orders = [_memory_order(parameter.data) for parameter in self.parameters]
        if beside is None:
            self.values: Array = np.empty(sum(p.size for p in self.parameters), self.parameters[0].dtype)
        else:
            self.values = self.parameters[0].data.reshape(-1, order=self.orders[0])  # a view
        self.state: dict[str, Array] = {}
        self.progress: list[Any] = [None] * len(self.parameters)
        self._lay_out()
        if beside is None:
            self._take_over(range(len(self.parameters)))

    def _lay_out(self) -> None:
        ends = np.cumsum([p.size for p in self.parameters]).tolist()
        self.bounds: list[int] = [0, *ends]
        self.views = [self._view(self.values, index) for index in range(len(self.parameters))]
        if self.beside is not None:
            self.views = [self.parameters[0].data]  # the array itself, not another view of its memory
        # float16 is for storage: a square of 1e-4, or an eps of 1e-8, is 0 in it. float32 computes.
        self.dtype: np.dtype[Any] = np.result_type(self.values.dtype, np.float32)
        self.is_storage = self.dtype != self.values.dtype
        self.capacity = BLOCK_BYTES // self.dtype.itemsize
        self.scratch = np.empty((2, min(self.values.size, self.capacity)), self.dtype)
        self.shapes = [view.shape for view in self.views]
        self._joined: dict[tuple[int, int], tuple[Array, list[Array]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        made_by_layout = {
            *["bounds", "views", "dtype", "is_storage", "capacity", "scratch", "shapes", "_joined"]
        }
        state = {name: value for name, value in vars(self).items() if name not in made_by_layout}
        return {**state, "beside": None}  # a copy is moved, or found to share its memory, in the next step

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        # A view that is copied or pickled becomes an array of its own. So the views are made anew, and the
        # next step copies the values of the parameters into them.
        vars(self).update(attributes)
        self._lay_out()

    def _view(self, flat: Array, index: int) -> Array:
        """Return the section of a flat array that belongs to one parameter, in its shape and memory order."""
        section = flat[self.bounds[index] : self.bounds[index + 1]]
        return section.reshape(self.parameters[index].shape, order=self.orders[index])

    def adopt(self) -> bool:
        """Copy arrays that were assigned to ``data`` into our views; return False if one belongs elsewhere.

        It does if it has another dtype, or shares memory with another parameter or a buffer. Usually nothing
        was assigned, and one comparison of identities tells so.
        """
        arrays = [parameter._array for parameter in self.parameters]
        if all(map(is_, arrays, self.views)):
            return True
        foreign = [index for index, view in enumerate(self.views) if arrays[index] is not view]
        if any(self.parameters[index].dtype != self.values.dtype for index in foreign):
            return False
        # What shares a view of ours with a parameter that has left it must not be overwritten either.
        left = [Tensor(self.views[index]) for index in foreign]
        if self.beside is not None or partners([*self.parameters, *left]):
            return False
        self._take_over(foreign)
        return True

    def _take_over(self, indices: Iterable[int]) -> None:
        """Copy the arrays of some parameters into our views, and put these in their place."""
        # All are copied before the first is written: two parameters may have exchanged their arrays.
        copies = [(index, self.parameters[index].data.copy()) for index in indices]
        for index, array in copies:
            self.views[index][...] = array
            self.parameters[index].data = self.views[index]

    def gradients(self) -> list[Array | None]:
        """Return the gradient of each parameter in `dtype`, or None; they must not be written to.

        Raises
        ------
        ValueError
            If a gradient has another shape than its parameter.
        """
        found: list[Array | None] = []
        dtype = self.dtype
        for parameter, shape in zip(self.parameters, self.shapes, strict=True):
            grad = parameter.grad
            gradient = None if grad is None else grad._array
            if gradient is not None:
                if gradient.shape != shape:
                    raise ValueError(
                        f"the gradient of {describe_parameter(parameter, len(found))} has shape "
                        f"{gradient.shape}, the parameter {shape}: they must be equal"
                    )
                if gradient.dtype is not dtype:
                    gradient = gradient.astype(dtype)
            found.append(gradient)
        return found

    def joined(self, first: int, last: int) -> tuple[Array, list[Array]]:
        """Return memory for the gradients of parameters side by side: whole, and as views in their shapes.

        It is the second scratch array. The views are kept, because making them takes longer than filling
        them.
        """
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
        """Yield runs of parameters that are updated together: neighbours with gradients and equal progress.

        A run has as many parameters as fit into one block, at least one. Usually it has all.
        """
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
        """Return the flat state array of a name; the first time, zeros."""
        array = self.state.get(name)
        if array is None:
            array = self.state[name] = np.zeros(self.values.size, self.dtype)
            array_replaced()
        return array

    def parameter_state(self, index: int) -> dict[str, Array]:
        """Return copies of the state arrays of one parameter, in its shape and memory order."""
        return {name: self._view(array, index).copy(order="K") for name, array in self.state.items()}

    def set_parameter_state(self, index: int, arrays: dict[str, Array]) -> None:
        """Set the state arrays of one parameter from arrays of its shape, of any dtype."""
        for name, array in arrays.items():
            self._view(self.state_array(name), index)[...] = array


class Run:
    """Neighbouring parameters that are updated together: several in one block, or a large one in several."""

    def __init__(self, flat: FlatParameters, first: int, last: int, gradients: list[Array]) -> None:
        self.flat = flat
        self.first = first
        self.last = last
        self.gradients = gradients
        self.progress = flat.progress[first]

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks of the run. They share scratch memory: each is to be used before the next."""
        start, stop = self.flat.bounds[self.first], self.flat.bounds[self.last]
        size = stop - start
        if len(self.gradients) > 1:
            yield Block(self.flat, start, stop, self.gradients, self.flat.joined(self.first, self.last))
            return
        gradient = self.gradients[0].ravel(self.flat.orders[self.first])  # a view, if its order is ours
        own = self.flat.scratch[1]
        # Blocks of nearly equal size rather than full ones and a small rest; -(-a // b) is a / b rounded up.
        pieces = max(1, -(-size // self.flat.capacity))
        width = -(-size // pieces)
        for offset in range(0, size, width or 1):
            end = min(offset + width, size)
            part, memory = gradient[offset:end], own[: end - offset]
            yield Block(self.flat, start + offset, start + end, [part], (memory, [memory]))

    def finish(self, progress: Any) -> None:
        """Store the new progress of the parameters, and mark their values as written, for older tapes."""
        self.flat.progress[self.first : self.last] = [progress] * (self.last - self.first)
        parameters: Sequence[Tensor] = self.flat.parameters[self.first : self.last]
        if self.flat.beside:
            parameters = [*parameters, *self.flat.beside]
        mark_written([leaf for parameter in parameters if (leaf := parameter._leaf) is not None])


class Block:
    """One section of parameters, gradients and state, as 1-D arrays: all that an update formula needs.

    Attributes
    ----------
    values : ndarray, shape (n,)
        The parameters, to be written in place; of float16 ones a copy in float32, which `store` writes back.
    scratch : ndarray, shape (n,)
        Memory for intermediate results; its contents mean nothing.
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
        if flat.is_storage:
            self.values = self.values.astype(flat.dtype)
        self._gradients = gradients
        self._joined = joined
        self.scratch: Array = flat.scratch[0, : stop - start]

    def scratch_after(self, gradient: Array) -> Array:
        """Return scratch memory for a formula that no longer needs the gradient: its array, if it is ours."""
        return gradient if gradient is self._joined[0] else self.scratch

    def store(self) -> None:
        """Write the values back, if they are a copy in another dtype than the parameters have."""
        if self._flat.is_storage:
            self._flat.values[self._start : self._stop] = self.values

    def state(self, name: str) -> Array:
        """Return the state array of a name, to be written in place; before the first step, zeros."""
        return self._flat.state_array(name)[self._start : self._stop]

    def penalised_gradient(self, weight_decay: float, scale: float = 1.0) -> Array:
        """Return ``scale * (gradient + weight_decay * values)``: the gradient with an L2 penalty, scaled.

        It is in memory of our own, which may be written to; except without a penalty and a scale, when it is
        `gradient`.
        """
        if weight_decay:
            penalised, parts = self._joined
            np.multiply(self.values, weight_decay, out=penalised)
            for part, gradient in zip(parts, self._gradients, strict=True):
                part += gradient
            return penalised if scale == 1 else np.multiply(penalised, scale, out=penalised)
        if scale == 1:
            return self.gradient
        whole, parts = self._joined
        factor = np.array(scale, whole.dtype)  # half as long as with a float, where the parts are small
        for part, gradient in zip(parts, self._gradients, strict=True):
            np.multiply(gradient, factor, part)
        return whole

    @property
    def gradient(self) -> Array:
        """The gradient, which must not be written to: it may be an array that is held elsewhere."""
        if len(self._gradients) == 1:
            return self._gradients[0]
        whole, parts = self._joined
        for part, gradient in zip(parts, self._gradients, strict=True):
            part[...] = gradient
        return whole


def _flatten(parameters: Sequence[Tensor]) -> list[FlatParameters]:
    """Return parameters in flat arrays: one for each dtype, and for each that shares its memory its own."""
    sharing = partners(parameters)
    for index, found in sharing.items():
        _check_updatable(parameters, index, found[0][0])
    by_dtype: dict[np.dtype[Any], list[Tensor]] = {}
    for index, parameter in enumerate(parameters):
        if index not in sharing:
            by_dtype.setdefault(parameter.dtype, []).append(parameter)
    alone = [
        FlatParameters([parameters[index]], [other for _, other in found if isinstance(other, Tensor)])
        for index, found in sharing.items()
    ]
    return [*map(FlatParameters, by_dtype.values()), *alone]


def _check_updatable(parameters: Sequence[Tensor], index: int, other: str) -> None:
    """Raise if a parameter that shares memory with another cannot be updated where it is."""
    flags = parameters[index].data.flags
    if flags.forc and flags.writeable:
        return
    why = "its elements do not lie side by side" if flags.writeable else "it is read-only there"
    raise ValueError(
        f"{describe_parameter(parameters[index], index)} shares memory with {other}, and {why}, so that it "
        "cannot be updated together with it. To have one weight in two places, use one Parameter "
        "(decoder.weight = encoder.weight), or compute with a part of it or its transpose in forward(); to "
        "have two, give it memory of its own (parameter.data = parameter.data.copy())"
    )


def _memory_order(array: npt.NDArray[Any]) -> Literal["C", "F"]:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
