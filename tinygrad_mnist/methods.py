"""ndarray's methods for Tensor, and PyTorch's where NumPy has only a function: one line each.

No mathematics is done here. Each method is what the NumPy function of its name does on Tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_mnist.op import CONSTANTS, FUNCTIONS, REGISTRY
from tinygrad_mnist.refusals import blaming, fitted, refuse_option

if TYPE_CHECKING:
    from tinygrad_mnist.graph import Graph
    from tinygrad_mnist.tensor import Tensor

Axis = int | tuple[int, ...] | None
_NO: Any = np._NoValue


class Methods:
    """What a Tensor can be asked by a method."""

    __slots__ = ()

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return _call(np.transpose, self)

    def graph(self, model: Any = None, names: Mapping[str, Any] | None = None) -> Graph:
        """The computation that led here, to be drawn; see `tinygrad_mnist.graph.trace`."""
        from tinygrad_mnist.graph import trace

        return trace(self, model, names)

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return _call(np.matrix_transpose, self)

    def sum(
        self,
        axis: Axis = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = _NO,
        where: Any = _NO,
    ) -> Tensor:
        """``np.sum``."""
        return _call(np.sum, self, axis, dtype, out, keepdims, initial, where)

    def mean(
        self,
        axis: Axis = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        *,
        where: Any = _NO,
    ) -> Tensor:
        """``np.mean``."""
        return _call(np.mean, self, axis, dtype, out, keepdims, where=where)

    def max(
        self, axis: Axis = None, out: Any = None, keepdims: bool = False, initial: Any = _NO, where: Any = _NO
    ) -> Tensor:
        """``np.max``."""
        return _call(np.max, self, axis, out, keepdims, initial, where)

    def min(
        self, axis: Axis = None, out: Any = None, keepdims: bool = False, initial: Any = _NO, where: Any = _NO
    ) -> Tensor:
        """``np.min``."""
        return _call(np.min, self, axis, out, keepdims, initial, where)

    def var(
        self,
        axis: Axis = None,
        dtype: Any = None,
        out: Any = None,
        ddof: int = 0,
        keepdims: bool = False,
        *,
        where: Any = _NO,
        mean: Any = _NO,
        correction: Any = _NO,
    ) -> Tensor:
        """``np.var``: NumPy's ``ddof=0``, not PyTorch's 1."""
        return _call(
            np.var, self, axis, dtype, out, ddof, keepdims, where=where, mean=mean, correction=correction
        )

    def std(
        self,
        axis: Axis = None,
        dtype: Any = None,
        out: Any = None,
        ddof: int = 0,
        keepdims: bool = False,
        *,
        where: Any = _NO,
        mean: Any = _NO,
        correction: Any = _NO,
    ) -> Tensor:
        """``np.std``: NumPy's ``ddof=0``, not PyTorch's 1."""
        return _call(
            np.std, self, axis, dtype, out, ddof, keepdims, where=where, mean=mean, correction=correction
        )

    def prod(
        self,
        axis: Axis = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = _NO,
        where: Any = _NO,
    ) -> Tensor:
        """``np.prod``."""
        return _call(np.prod, self, axis, dtype, out, keepdims, initial, where)

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
        """``np.cumsum``."""
        return _call(np.cumsum, self, axis, dtype, out)

    def logsumexp(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """``log(sum(exp(t)))``, without overflow."""
        return _op("logsumexp", self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor:
        """``np.argmax``; no gradient."""
        return _call(np.argmax, self, axis, out, keepdims=keepdims)

    def argmin(self, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor:
        """``np.argmin``; no gradient."""
        return _call(np.argmin, self, axis, out, keepdims=keepdims)

    def all(self, axis: Axis = None, out: Any = None, keepdims: bool = False, *, where: Any = _NO) -> Tensor:
        """``np.all``; no gradient."""
        return _call(np.all, self, axis, out, keepdims, where=where)

    def any(self, axis: Axis = None, out: Any = None, keepdims: bool = False, *, where: Any = _NO) -> Tensor:
        """``np.any``; no gradient."""
        return _call(np.any, self, axis, out, keepdims, where=where)

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> Tensor:
        """``np.clip``."""
        return _call(np.clip, self, min, max, out)

    def round(self, decimals: int = 0, out: Any = None) -> Tensor:
        """``np.round``; no gradient."""
        return _call(np.round, self, decimals, out)

    def dot(self, other: Any, out: Any = None) -> Tensor:
        """``np.dot``."""
        return _call(np.dot, self, other, out)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Tensor:
        """``np.reshape``; the shape as a tuple or as several numbers."""
        return _call(np.reshape, self, _one_tuple(shape), order, copy=copy)

    def transpose(self, *axes: Any) -> Tensor:
        """``np.transpose``; the axes as a tuple or as several numbers."""
        return _call(np.transpose, self, _one_tuple(axes) or None)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """``np.swapaxes``."""
        return _call(np.swapaxes, self, axis1, axis2)

    def squeeze(self, axis: Axis = None) -> Tensor:
        """``np.squeeze``."""
        return _call(np.squeeze, self, axis)

    def ravel(self, order: str = "C") -> Tensor:
        """``np.ravel``: one axis."""
        return _call(np.ravel, self, order)

    def flatten(self, order: str = "C") -> Tensor:
        """``np.ravel``: one axis, as ndarray and PyTorch call it."""
        if order not in ("C", "F"):
            refuse_option("ndarray.flatten", "order")
        return _call(np.ravel, self, order)

    def exp(self) -> Tensor:
        """``np.exp``."""
        return _op("exp", self)

    def log(self) -> Tensor:
        """``np.log``."""
        return _op("log", self)

    def sqrt(self) -> Tensor:
        """``np.sqrt``."""
        return _op("sqrt", self)

    def abs(self) -> Tensor:
        """``np.abs``."""
        return _op("absolute", self)

    def tanh(self) -> Tensor:
        """``np.tanh``."""
        return _op("tanh", self)

    def sigmoid(self) -> Tensor:
        """``1 / (1 + exp(-t))``, without overflow."""
        return _op("sigmoid", self)

    def relu(self) -> Tensor:
        """``np.maximum(t, 0)``, with gradient 0 at 0."""
        return _op("relu", self)

    def argsort(
        self, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None
    ) -> Tensor:
        """``np.argsort``; no gradient."""
        return _call(np.argsort, self, axis, kind, order, stable=stable)

    def argpartition(
        self, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
    ) -> Tensor:
        """``np.argpartition``; no gradient."""
        return _call(np.argpartition, self, kth, axis, kind, order)

    def conj(self) -> Tensor:
        """``np.conj``: of real numbers, themselves."""
        return _call(np.copy, self)

    def conjugate(self) -> Tensor:
        """``np.conjugate``: of real numbers, themselves."""
        return _call(np.copy, self)

    def nonzero(self) -> Any:
        """``np.nonzero``; no gradient."""
        return _call(np.nonzero, self)

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> Tensor:
        """``np.searchsorted``; no gradient."""
        return _call(np.searchsorted, self, v, side, sorter)

    def cumprod(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
        """``np.cumprod``."""
        return _call(np.cumprod, self, axis, dtype, out)

    def take(self, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Tensor:
        """``np.take``."""
        return _call(np.take, self, indices, axis, out, mode)

    def compress(self, condition: Any, axis: int | None = None, out: Any = None) -> Tensor:
        """``np.compress``."""
        return _call(np.compress, condition, self, axis, out)

    def choose(self, choices: Any, out: Any = None, mode: str = "raise") -> Tensor:
        """``np.choose``."""
        return _call(np.choose, self, choices, out, mode)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """``np.repeat``."""
        return _call(np.repeat, self, repeats, axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """``np.diagonal``."""
        return _call(np.diagonal, self, offset, axis1, axis2)

    def trace(
        self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
    ) -> Tensor:
        """``np.trace``."""
        return _call(np.trace, self, offset, axis1, axis2, dtype, out)

    @property
    def real(self) -> Tensor:
        """``np.real``: of real numbers, themselves."""
        return _call(np.real, self)

    @property
    def imag(self) -> Tensor:
        """``np.imag``: of real numbers, zeros; no gradient."""
        return _call(np.imag, self)

    @property
    def itemsize(self) -> int:
        """Bytes that one element takes."""
        return int(self.dtype.itemsize)  # type: ignore[attr-defined]

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from each element to the next along each axis, as the values lie in memory now."""
        return tuple(self.data.strides)  # type: ignore[attr-defined]

    @property
    def device(self) -> str:
        """Where the values are."""
        return "cpu"

    def __round__(self, ndigits: int | None = None) -> Tensor:
        return _call(np.round, self, ndigits or 0)

    def __divmod__(self, other: Any) -> Any:
        return _call(np.divmod, self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return _call(np.divmod, other, self)


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """What a NumPy function does on Tensors, without the detour through NumPy's dispatch."""
    run = FUNCTIONS[function]
    if function in CONSTANTS:
        kwargs = {name: value for name, value in kwargs.items() if value is not _NO}
    else:
        args, kwargs = fitted(function, run, function.__name__, args, kwargs)
    with blaming(function.__name__, args):
        result: Tensor = run(*args, **kwargs)
    return result


def _op(name: str, tensor: Any, **static: Any) -> Tensor:
    """An operation from the registry that NumPy has no function for, or only a ufunc."""
    result: Tensor = REGISTRY[name](tensor, **static)
    return result


def _one_tuple(numbers: tuple[Any, ...]) -> Any:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same."""
    return numbers[0] if len(numbers) == 1 and not isinstance(numbers[0], (int, np.integer)) else numbers
