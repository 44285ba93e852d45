"""Parameter: a Tensor that is trained and knows its name in the model."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tinygrad_mnist.engine.tape import Leaf
from tinygrad_mnist.engine.tensor import Tensor

Array = NDArray[Any]


class Parameter(Tensor):
    """A Tensor that a module trains: assigned to an attribute of a module, it is registered there.

    Parameters
    ----------
    data : array_like
        The values, floating-point. An ndarray is wrapped without a copy and keeps its memory order.
    requires_grad : bool
        Whether ``backward`` stores a gradient in ``.grad``.
    dtype : dtype, optional
        The dtype that the values are converted to first.

    Raises
    ------
    TypeError
        If the values are not floating-point numbers and ``requires_grad`` is set.

    Examples
    --------
    >>> from tinygrad_mnist import nn
    >>> layer = nn.Linear(3, 2)
    >>> layer.weight.name, layer.weight.shape
    ('weight', (2, 3))
    >>> model = nn.Sequential(layer)
    >>> layer.weight.name
    '0.weight'
    """

    __slots__ = ("_name",)

    _name: str | None

    def __init__(
        self, data: ArrayLike | Tensor, requires_grad: bool = True, dtype: DTypeLike | None = None
    ) -> None:
        self._name = None
        super().__init__(data, requires_grad, dtype)

    @property
    def name(self) -> str | None:
        """The path in the model, such as ``0.weight``, once registered; errors of the tape show it."""
        return self._name

    @name.setter
    def name(self, value: str | None) -> None:
        self._name = value
        if type(self.origin) is Leaf:
            self.origin.name = value

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let this Parameter get a gradient, or with False freeze it; return it."""
        super().requires_grad_(requires_grad)
        self.name = self._name  # the new leaf of the tape does not know it yet
        return self

    def __copy__(self) -> Self:
        twin = super().__copy__()
        twin._name = self._name
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = super().__deepcopy__(memo)
        twin._name = self._name
        owner, layout = _owner_and_layout(self._array)
        twin._array = _view(deepcopy(owner, memo), layout)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        owner, layout = _owner_and_layout(self._array)
        return _unpickled, (type(self), owner, self.requires_grad, self._name, layout)

    def __repr__(self) -> str:
        name = f", name={self._name!r}" if self._name else ""
        frozen = "" if self.requires_grad else ", requires_grad=False"
        values = (
            super().__repr__().removeprefix("Tensor").removesuffix(")").removesuffix(", requires_grad=True")
        )
        return f"Parameter{values}{name}{frozen})"


Layout = tuple[tuple[int, ...], tuple[int, ...], int]
"""The shape, the strides and the first byte of a view in the memory of another array."""


def _unpickled(
    kind: type[Parameter], owner: Array, requires_grad: bool, name: str | None, layout: Layout | None = None
) -> Parameter:
    parameter = kind(_view(owner, layout), requires_grad)
    parameter.name = name
    return parameter


def _owner_and_layout(array: Array) -> tuple[Array, Layout | None]:
    """Return the array that a view shows all elements of, and how; of any other array, itself and None.

    Parameters that are tied by ``decoder.weight.data = encoder.weight.data.T`` have one owner. Copied or
    pickled by it, which a copier does once, they stay tied.
    """
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if owner is array or owner.size != array.size or owner.dtype != array.dtype or not owner.flags.forc:
        return array, None
    first = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return owner, (array.shape, array.strides, first)


def _view(owner: Array, layout: Layout | None) -> Array:
    """Return the view that has a layout in the memory of an array; without one, the array itself."""
    if layout is None:
        return owner
    shape, strides, first = layout
    return np.ndarray(shape, owner.dtype, owner.ravel(order="K"), first, strides)


def converted(array: Array, dtype: np.dtype[Any], done: dict[int, tuple[Array, Array]]) -> Array:
    """Return an array in another dtype; what shared memory with it shares memory with the result.

    Parameters
    ----------
    array : ndarray
        The array.
    dtype : dtype
        The dtype.
    done : dict
        The owners that were converted before, and their conversions, by the identity of the owner.
    """
    owner, layout = _owner_and_layout(array)
    if id(owner) not in done:
        done[id(owner)] = owner, owner.astype(dtype)
    if layout is not None:
        shape, strides, first = layout
        old, new = owner.itemsize, dtype.itemsize
        layout = shape, tuple(stride // old * new for stride in strides), first // old * new
    return _view(done[id(owner)][1], layout)


def write_values(target: Tensor | Array, values: Any) -> None:
    """Write values into a parameter or buffer; the array, its dtype and its memory order stay."""
    if not isinstance(target, Tensor):
        target[...] = values
    elif target.data.flags.writeable:
        target.data[...] = values
        target.mark_written()  # a tape that was recorded with the old values is stale
    else:  # the user's own array, read-only, which must not change: put a new one in its place
        fresh = np.empty_like(target.data)
        fresh[...] = values
        target.data = fresh
