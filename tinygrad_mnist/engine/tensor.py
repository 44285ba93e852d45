"""Tensor: an array that remembers how it was made.

NumPy is the API. ``np.exp(t)``, ``np.mean(t, axis=0)``, ``t @ w`` on a Tensor find the operation that is
registered for them through NumPy's two dispatch protocols; :func:`apply` runs it and puts it on the tape.
No mathematics is done here. ndarray's methods, a line each, call the NumPy function of their name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tinygrad_mnist.engine.dispatch import (
    check_options,
    fit_arguments,
    raise_no_gradient,
    raise_unsupported_option,
)
from tinygrad_mnist.engine.dlpack import CPU, dlpack_capsule, raise_loses_gradient
from tinygrad_mnist.engine.dtypes import FLOAT, REAL, is_float
from tinygrad_mnist.engine.errors import (
    as_array,
    check_array_class,
    check_assignable,
    check_data,
    check_dtype,
    check_in_place,
    describe,
    error_context,
    error_with_context,
    plain_array,
)
from tinygrad_mnist.engine.observe import Handle, add_hook, recorder, run_hooks, tensor_hook, tracer
from tinygrad_mnist.engine.op import CONSTANTS, FUNCTIONS, REGISTRY, UFUNCS, Op
from tinygrad_mnist.engine.pytorch_names import PyTorchNames, keyword_advice
from tinygrad_mnist.engine.readings import note_reading
from tinygrad_mnist.engine.structure import array_replaced, structure_changed
from tinygrad_mnist.engine.tape import Leaf, Node, mark_written, recording
from tinygrad_mnist.engine.walk import walk

if TYPE_CHECKING:
    from tinygrad_mnist.graph import Graph

Array = NDArray[Any]

# Arguments of these types go to an operation as they are: made into arrays, they would no longer be weak, and
# a float32 Tensor times 2.0 would become float64.
_NUMBERS = frozenset({int, float, bool})
_NOTHING: Mapping[str, Any] = {}


def apply(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any] = _NOTHING) -> Tensor:
    """Run an operation on Tensors, arrays and numbers, and record it if a gradient will be wanted.

    Parameters
    ----------
    op : Op
        What to run.
    arguments : tuple
        Tensors, arrays, sequences and numbers; Python's numbers are weak, as in NumPy 2.
    static : mapping
        Keyword arguments of the operation.

    Returns
    -------
    Tensor
        The result (a tuple of them, from an operation that returns several); it shares no writable memory
        with anything.
    """
    watching = recorder.get()
    if watching is not None and watching.tracer is not None:
        return watching.tracer.apply(op, arguments, static)  # type: ignore[no-any-return]
    arrays: list[Any] = []
    parents: list[Node | Leaf | None] = []
    wanted = False
    for argument in arguments:
        if isinstance(argument, Tensor):
            arrays.append(argument._array)
            origin = argument.origin
            parents.append(origin)
            if origin is not None:
                wanted = True
        else:
            kind = type(argument)
            is_plain = kind in _NUMBERS or (kind is np.ndarray and argument.dtype.isbuiltin == 1)
            arrays.append(argument if is_plain else as_array(argument))
            parents.append(None)
    try:
        out = op.forward(*arrays, **static) if static else op.forward(*arrays)
    except (ValueError, IndexError, TypeError) as error:
        raise error_with_context(error, op.name, arrays) from error
    saved = None
    if op.joint is not None:
        out, saved = out
    if type(out) is tuple:
        return _several(op, tuple(arrays), out, tuple(parents) if wanted else (), static)  # type: ignore[no-any-return]
    if type(out) is not np.ndarray:
        out = np.asarray(out)
    elif out.base is not None:
        out.flags.writeable = False  # a view: a write into the result would reach the argument
    result = _new(Tensor)  # without __init__, whose checks would cost as much as a small operation
    result._array = out
    kind = out.dtype.kind
    if kind not in REAL:
        raise TypeError(
            f"{op.name}: the result has dtype {out.dtype}, from {describe(arrays)}; Tensors hold real "
            "numbers and booleans (no complex numbers, objects or strings)"
        )
    if wanted and kind == FLOAT and op.kind != "constant" and recording.get():
        result.origin = Node(op, tuple(arrays), out, saved, tuple(parents), static)
    else:
        result.origin = None
    if watching is not None:
        watching.applied(op, tuple(arrays), out, result.origin, static)
    return result


def _several(op: Op, arrays: tuple[Any, ...], out: tuple[Any, ...], parents: Any, static: Any) -> Any:
    """Return the Tensors of an operation with several results; those of integers need no gradient."""
    out = tuple(np.asarray(one) for one in out)
    whole = Node(op, arrays, out, None, parents, static) if parents and recording.get() else None
    if (watching := recorder.get()) is not None:
        watching.applied(op, arrays, out, whole, static)
    if whole is None:
        return tuple(_wrapped(one) for one in out)
    return tuple(
        _lift(one, node if is_float(one) else None) for one, node in zip(out, whole.outputs(), strict=True)
    )


Operator = Callable[["Tensor", Any], "Tensor"]
Axis = int | tuple[int, ...] | None
_NO: Any = np._NoValue


def _operator(name: str, symbol: str = "") -> tuple[Operator, Operator, Operator]:
    """Return an operator, its reflection and its in-place form, for an operation in the registry."""

    def operator(self: Tensor, other: Any) -> Tensor:
        return apply(REGISTRY[name], (self, other))

    def reflected(self: Tensor, other: Any) -> Tensor:
        return apply(REGISTRY[name], (other, self))

    def in_place(self: Tensor, other: Any) -> Tensor:
        # Nothing is written into: the Tensor becomes the result, so that older nodes keep their values.
        check_assignable(self._array, self.origin, f"{symbol}=", other)
        return self._become(apply(REGISTRY[name], (self, other)))

    return operator, reflected, in_place


class Tensor(PyTorchNames):
    """An array, and how it was made if a gradient may be wanted.

    Parameters
    ----------
    data : array_like
        The values. An ndarray is wrapped without a copy; anything else goes through ``np.asarray``, so the
        dtype is NumPy's, and a tensor of PyTorch's or an array of JAX's is not copied either. A Tensor is
        taken by its values.
    requires_grad : bool
        Whether ``backward`` shall leave a gradient in ``.grad``.
    dtype : dtype, optional
        Convert the values first.

    Raises
    ------
    TypeError
        If the values are not real numbers or booleans, or are integers and ``requires_grad`` is set.

    Examples
    --------
    >>> import numpy as np
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = np.sum(x * x)
    >>> y.backward()
    >>> x.grad
    Tensor([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "_array", "_frozen", "origin")

    _array: Array  # not _data: NumPy's masked arrays would take that for their own, and lose the gradient
    _frozen: Leaf  # while requires_grad is switched off; elsewhere not set
    origin: Node | Leaf | None

    def __init__(
        self, data: ArrayLike | Tensor, requires_grad: bool = False, dtype: DTypeLike | None = None
    ) -> None:
        if isinstance(data, Tensor):
            data = data._captured()
        if isinstance(data, (list, tuple)) and any(isinstance(item, Tensor) for item in data):
            raise TypeError("Tensor of a list of Tensors would lose their gradients; use np.stack(list)")
        array = check_dtype(as_array(data), "Tensor")
        if dtype is not None:
            array = check_dtype(array.astype(dtype, copy=False), "Tensor")
        self._array = array
        self.origin = None
        if requires_grad:
            self._switch_gradient(True)

    # ---- what it is ------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The values, as the ndarray itself; an array of the same shape and any dtype may be assigned.

        Those of a recorded result are read-only: its tape needs them as they are.
        """
        if type(self.origin) is not Node:
            if (tracing := tracer()) is not None:
                tracing.capture(self)
            return self._array
        array = self._array.view()
        array.flags.writeable = False
        return array

    @data.setter
    def data(self, value: ArrayLike) -> None:
        array = check_dtype(value._array if isinstance(value, Tensor) else as_array(value), ".data")
        before = self._array
        check_data(before, self.origin, array)
        if (tracing := tracer()) is not None:
            tracing.capture(self)
        self._array = array
        self.mark_written()
        if array.dtype != before.dtype or array.strides != before.strides:
            structure_changed()
        elif array is not before:
            array_replaced()
        if self.grad is not None and self.grad.dtype != array.dtype and is_float(array):
            self.grad = self.grad.detach().astype(array.dtype)

    def mark_written(self) -> None:
        """Note that the array behind ``data`` was written to, so that older tapes are found stale."""
        if (leaf := self._leaf) is not None:
            mark_written((leaf,))

    @property
    def _leaf(self) -> Leaf | None:
        """The leaf of a Tensor that a user made, also while ``requires_grad`` is switched off."""
        return self.origin if type(self.origin) is Leaf else getattr(self, "_frozen", None)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return _Size(self._array.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype of the values."""
        return self._array.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that the values take."""
        return self._array.nbytes

    def __len__(self) -> int:
        return len(self._array)

    def __repr__(self) -> str:
        if (tracing := tracer()) is not None:
            tracing.read(self)
        text = repr(self._array).removeprefix("array(").removesuffix(")").replace("\n     ", "\n      ")
        if type(self.origin) is Node:
            return f"Tensor({text}, op={self.origin.op.name})"
        return f"Tensor({text}{', requires_grad=True' if self.requires_grad else ''})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 and spec else format(str(self), spec)

    # ---- the gradient ----------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """True if operations on this Tensor are recorded."""
        return self.origin is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch ``requires_grad`` on or off and return this Tensor. Only for Tensors that a user made."""
        before = self.origin
        self._switch_gradient(requires_grad)
        if self.origin is not before:
            structure_changed()
        return self

    def _switch_gradient(self, requires_grad: bool) -> None:
        if type(self.origin) is Node:
            if not requires_grad:
                raise RuntimeError(
                    f"a result of '{self.origin.op.name}' cannot stop requiring a gradient; use .detach()"
                )
        elif not requires_grad:
            if isinstance(self.origin, Leaf):
                self._frozen, self.origin = self.origin, None
        elif not is_float(self._array):
            raise TypeError(
                f"a Tensor of dtype {self.dtype} cannot require a gradient; make it a float first, as in "
                ".astype(np.float32)"
            )
        elif self.origin is None:
            self.origin = self._leaf or Leaf()

    @property
    def is_leaf(self) -> bool:
        """True if a user made this Tensor, and not a recorded operation."""
        return type(self.origin) is not Node

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` left, in the shape and dtype of this Tensor; None before.

        None, too, while ``requires_grad`` is switched off; it comes back with it.
        """
        if type(self.origin) is not Leaf:
            return None
        if (tracing := tracer()) is not None:
            tracing.capture_gradient(self.origin)
        gradient: Tensor | None = self.origin.grad
        return gradient

    @grad.setter
    def grad(self, value: Tensor | Array | None) -> None:
        if (leaf := self._leaf) is None:
            if value is None:
                return
            raise RuntimeError("only a Tensor that a user made with requires_grad=True has a .grad")
        if value is not None:
            value = value if isinstance(value, Tensor) else Tensor(value)
            if value.shape != self.shape:
                raise ValueError(f".grad of shape {value.shape} was given to a Tensor of shape {self.shape}")
            value = value if value.dtype == self.dtype else value.astype(self.dtype)
        if (tracing := tracer()) is not None:
            tracing.capture_gradient(leaf, read=False)
        leaf.grad = value

    def backward(
        self,
        gradient: Tensor | ArrayLike | None = None,
        retain_graph: bool = False,
        create_graph: bool = False,
    ) -> None:
        """Add the gradient of this Tensor to ``.grad`` of every leaf that it was computed from.

        Parameters
        ----------
        gradient : array_like, optional
            The cotangent of this Tensor, in its shape; 1 for a scalar when absent.
        retain_graph : bool
            Keep the tape, so that backward can run again.
        create_graph : bool
            Record the backward pass itself, so that gradients can be differentiated; keeps the tape.

        Raises
        ------
        RuntimeError
            If nothing here requires a gradient, this is not a scalar and no cotangent is given, the tape was
            freed, or a parameter changed since it was recorded.

        Examples
        --------
        >>> x = Tensor(3.0, requires_grad=True)
        >>> (x**2).backward(create_graph=True)
        >>> x.grad.item()
        6.0
        """
        origin = self.origin
        if origin is None:
            raise RuntimeError(
                "backward of a Tensor that requires no gradient: nothing that it was computed from was made "
                "with requires_grad=True (or it was computed under no_grad)"
            )
        cotangent = self._cotangent(gradient)
        if isinstance(origin, Leaf):
            cotangent = run_hooks(origin, cotangent.copy()) if origin.hooks else cotangent.copy()
            _accumulate(origin, cotangent)
        elif create_graph:
            token = recording.set(True)  # under no_grad too: create_graph asks for it
            try:
                for leaf, part in walk([(origin, cotangent)], _lift, record=True).items():
                    _accumulate(leaf, part)
            finally:
                recording.reset(token)
        else:
            for leaf, part in walk([(origin, cotangent._array)], _lift, retain=retain_graph).items():
                _accumulate(leaf, part)

    def _cotangent(self, gradient: Tensor | ArrayLike | None) -> Tensor:
        """Return the checked cotangent that backward starts with, in this Tensor's dtype."""
        if gradient is None:
            if self._array.size != 1:
                raise RuntimeError(
                    f"backward of a Tensor of shape {self.shape}: only a scalar can do without a cotangent; "
                    "reduce it first (np.sum, np.mean) or pass a cotangent of its shape, backward(gradient)"
                )
            return _wrapped(np.ones(self._array.shape, self._array.dtype))
        if not isinstance(gradient, Tensor):
            gradient = Tensor(gradient)
        if gradient.shape != self.shape:
            raise ValueError(
                f"backward was given a cotangent of shape {gradient.shape}; expected {self.shape}"
            )
        return gradient if gradient.dtype == self.dtype else gradient.astype(self.dtype)

    def register_hook(self, hook: Callable[[Tensor], Tensor | Array | None]) -> Handle:
        """Call ``hook(gradient)`` with the gradient of this Tensor; what it returns replaces the gradient.

        Parameters
        ----------
        hook : callable
            Is given the gradient as a Tensor once it is complete in a backward pass (before ``.grad`` is
            added to), and returns another of its shape, or None to leave it as it is.

        Returns
        -------
        Handle
            Its ``remove()`` takes the hook away.

        Raises
        ------
        RuntimeError
            If this Tensor requires no gradient.

        Examples
        --------
        >>> x = Tensor(3.0, requires_grad=True)
        >>> handle = x.register_hook(lambda g: 10 * g)
        >>> (x * x).backward()
        >>> x.grad.item()
        60.0
        """
        if self.origin is None:
            raise RuntimeError("a hook on a Tensor that requires no gradient would never be called")
        handle = add_hook(self.origin, tensor_hook(hook, _lift))
        if type(self.origin) is Leaf:  # those of results come and go with each tape
            structure_changed()
        return handle

    def detach(self) -> Tensor:
        """Return these values without a gradient: a copy of a leaf's, a read-only view of a result's."""
        detached = _wrapped(self._captured().copy() if type(self.origin) is Leaf else self.data)
        if (tracing := tracer()) is not None and tracing.is_tensor(self):
            tracing.note_tensor(detached)
        return detached

    def _captured(self) -> Array:
        """Return the array; while a function is traced, its symbol."""
        if (tracing := tracer()) is not None:
            tracing.capture(self)
        return self._array

    def graph(self, model: Any = None, names: Mapping[str, Any] | None = None) -> Graph:
        """Return the computation that led here, to be drawn; see `tinygrad_mnist.graph.trace`."""
        import tinygrad_mnist  # its lazy names: `graph` stands above the engine

        return tinygrad_mnist.graph.trace(self, model, names)

    # ---- as other things -------------------------------------------------------------------------------

    def numpy(self) -> Array:
        """Return the values as an ndarray; only for a Tensor that requires no gradient.

        Raises
        ------
        RuntimeError
            If this Tensor requires a gradient, which the ndarray would lose: ``.detach().numpy()`` says so.
        """
        if self.origin is not None:
            raise RuntimeError(
                "this Tensor requires a gradient, which a NumPy array would lose; use .detach().numpy()"
            )
        return self._values()

    def _values(self) -> Array:
        """Return the array for somebody who reads its values, and not its shape alone."""
        if (watching := recorder.get()) is not None:
            watching.read(self)
        if self.origin is not None:
            note_reading(self.origin)
        return self._array

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if self.origin is not None:
            raise TypeError(
                "this Tensor requires a gradient, which a NumPy array would lose; use .detach().numpy(), or "
                "np.stack to make one Tensor of several"
            )
        return np.array(self._values(), dtype=dtype, copy=copy)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if self.origin is not None:
            raise_loses_gradient(self._array.shape, is_leaf=type(self.origin) is Leaf)
        return dlpack_capsule(self._values(), stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU

    def item(self, *index: Any) -> Any:
        """Return the only element, or the one at an index, as a Python number."""
        return self._values().item(*index)

    def tolist(self) -> Any:
        """Return the values as nested lists."""
        return self._values().tolist()

    def __float__(self) -> float:
        return float(self._values().item())

    def __int__(self) -> int:
        return int(self._values().item())

    def __index__(self) -> int:
        return self._values().__index__()

    def __bool__(self) -> bool:
        return bool(self._values())

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d Tensor")
        return (self[i] for i in range(len(self._array)))

    def __contains__(self, value: Any) -> bool:
        return bool(np.any(self._values() == (value._array if isinstance(value, Tensor) else value)))

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin._array = self._captured()
        # The copy of a leaf is a leaf of its own: its gradient is not the other's.
        twin.origin = Leaf(self.origin.name) if type(self.origin) is Leaf else self.origin
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if type(self.origin) is Node:
            raise RuntimeError(
                f"a result of '{self.origin.op.name}' cannot be deep-copied, as its tape would be too; use "
                ".detach() first"
            )
        twin = object.__new__(type(self))
        twin._array = self._captured().copy(order="K")
        twin.origin = None
        if type(self.origin) is Leaf:
            twin.origin = Leaf(self.origin.name)
            twin.origin.grad = None if self.grad is None else _wrapped(self.grad._array.copy(order="K"))
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        if type(self.origin) is Node:
            raise TypeError(f"a result of '{self.origin.op.name}' cannot be pickled; use .detach() first")
        return (type(self), (self._array, self.requires_grad))

    def astype(
        self,
        dtype: DTypeLike,
        order: str = "K",
        casting: Any = "unsafe",
        subok: bool = True,
        copy: bool = True,
    ) -> Tensor:
        """Return these values in another dtype; the gradient comes back in this one.

        ``order`` and ``subok``, which say how an array lies in memory and of what class, change nothing.
        """
        if casting != "unsafe" and not np.can_cast(self.dtype, dtype, casting):
            raise TypeError(
                f"astype: {self.dtype} does not become {np.dtype(dtype)} with casting={casting!r}"
            )
        if not copy and np.dtype(dtype) == self.dtype:
            return self[...]
        return apply(REGISTRY["astype"], (self,), {"dtype": np.dtype(dtype)})

    def copy(self, order: str = "C") -> Tensor:
        """Return these values in memory of their own; the gradient flows through."""
        result: Tensor = FUNCTIONS[np.copy](self, order)
        return result

    # ---- ndarray's methods, and PyTorch's where NumPy has only a function: each does what that does -----

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return _call(np.transpose, self)

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
        """Return ``np.sum(t)``."""
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
        """Return ``np.mean(t)``."""
        return _call(np.mean, self, axis, dtype, out, keepdims, where=where)

    def max(
        self, axis: Axis = None, out: Any = None, keepdims: bool = False, initial: Any = _NO, where: Any = _NO
    ) -> Tensor:
        """Return ``np.max(t)``."""
        return _call(np.max, self, axis, out, keepdims, initial, where)

    def min(
        self, axis: Axis = None, out: Any = None, keepdims: bool = False, initial: Any = _NO, where: Any = _NO
    ) -> Tensor:
        """Return ``np.min(t)``."""
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
        """Return ``np.var(t)``: NumPy's ``ddof=0``, not PyTorch's 1."""
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
        """Return ``np.std(t)``: NumPy's ``ddof=0``, not PyTorch's 1."""
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
        """Return ``np.prod(t)``."""
        return _call(np.prod, self, axis, dtype, out, keepdims, initial, where)

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
        """Return ``np.cumsum(t)``."""
        return _call(np.cumsum, self, axis, dtype, out)

    def logsumexp(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """Return ``log(sum(exp(t)))`` without overflow."""
        return _op("logsumexp", self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return ``np.argmax(t)``; no gradient."""
        return _call(np.argmax, self, axis, out, keepdims=keepdims)

    def argmin(self, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return ``np.argmin(t)``; no gradient."""
        return _call(np.argmin, self, axis, out, keepdims=keepdims)

    def all(self, axis: Axis = None, out: Any = None, keepdims: bool = False, *, where: Any = _NO) -> Tensor:
        """Return ``np.all(t)``; no gradient."""
        return _call(np.all, self, axis, out, keepdims, where=where)

    def any(self, axis: Axis = None, out: Any = None, keepdims: bool = False, *, where: Any = _NO) -> Tensor:
        """Return ``np.any(t)``; no gradient."""
        return _call(np.any, self, axis, out, keepdims, where=where)

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> Tensor:
        """Return ``np.clip(t)``."""
        return _call(np.clip, self, min, max, out)

    def round(self, decimals: int = 0, out: Any = None) -> Tensor:
        """Return ``np.round(t)``; no gradient."""
        return _call(np.round, self, decimals, out)

    def dot(self, other: Any, out: Any = None) -> Tensor:
        """Return ``np.dot(t, other)``."""
        return _call(np.dot, self, other, out)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Tensor:
        """Return ``np.reshape(t, shape)``; the shape as a tuple or as several numbers."""
        return _call(np.reshape, self, _one_tuple(shape), order, copy=copy)

    def transpose(self, *axes: Any) -> Tensor:
        """Return ``np.transpose(t)``; the axes as a tuple or as several numbers."""
        return _call(np.transpose, self, _one_tuple(axes) or None)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Return ``np.swapaxes(t, axis1, axis2)``."""
        return _call(np.swapaxes, self, axis1, axis2)

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Return ``np.squeeze(t)``."""
        return _call(np.squeeze, self, axis)

    def ravel(self, order: str = "C") -> Tensor:
        """Return ``np.ravel(t)``, which has one axis."""
        return _call(np.ravel, self, order)

    def flatten(self, order: str = "C") -> Tensor:
        """Return ``np.ravel(t)``, under the name that ndarray and PyTorch use."""
        if order in ("A", "K"):
            raise_unsupported_option("ndarray.flatten", "order")
        if order not in ("C", "F"):
            raise TypeError(
                f"flatten was given {order!r}; expected the order 'C' or 'F'. It joins all axes: to keep the "
                "first, write x.reshape(len(x), -1)"
            )
        return _call(np.ravel, self, order)

    def exp(self) -> Tensor:
        """Return ``np.exp(t)``."""
        return _op("exp", self)

    def log(self) -> Tensor:
        """Return ``np.log(t)``."""
        return _op("log", self)

    def sqrt(self) -> Tensor:
        """Return ``np.sqrt(t)``."""
        return _op("sqrt", self)

    def abs(self) -> Tensor:
        """Return ``np.abs(t)``."""
        return _op("absolute", self)

    def tanh(self) -> Tensor:
        """Return ``np.tanh(t)``."""
        return _op("tanh", self)

    def sigmoid(self) -> Tensor:
        """Return ``1 / (1 + exp(-t))`` without overflow."""
        return _op("sigmoid", self)

    def relu(self) -> Tensor:
        """Return ``np.maximum(t, 0)``, with gradient 0 at 0."""
        return _op("relu", self)

    def argsort(
        self, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None
    ) -> Tensor:
        """Return ``np.argsort(t)``; no gradient."""
        return _call(np.argsort, self, axis, kind, order, stable=stable)

    def argpartition(
        self, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
    ) -> Tensor:
        """Return ``np.argpartition(t, kth)``; no gradient."""
        return _call(np.argpartition, self, kth, axis, kind, order)

    def conj(self) -> Tensor:
        """Return ``np.conj(t)``, which is ``t``, as all its numbers are real."""
        return _call(np.copy, self)

    def conjugate(self) -> Tensor:
        """Return ``np.conjugate(t)``, which is ``t``, as all its numbers are real."""
        return _call(np.copy, self)

    def nonzero(self) -> Any:
        """Return ``np.nonzero(t)``; no gradient."""
        return _call(np.nonzero, self)

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> Tensor:
        """Return ``np.searchsorted(t, v)``; no gradient."""
        return _call(np.searchsorted, self, v, side, sorter)

    def cumprod(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
        """Return ``np.cumprod(t)``."""
        return _call(np.cumprod, self, axis, dtype, out)

    def take(self, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Tensor:
        """Return ``np.take(t, indices)``."""
        return _call(np.take, self, indices, axis, out, mode)

    def compress(self, condition: Any, axis: int | None = None, out: Any = None) -> Tensor:
        """Return ``np.compress(condition, t)``."""
        return _call(np.compress, condition, self, axis, out)

    def choose(self, choices: Any, out: Any = None, mode: str = "raise") -> Tensor:
        """Return ``np.choose(t, choices)``."""
        return _call(np.choose, self, choices, out, mode)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Return ``np.repeat(t, repeats)``."""
        return _call(np.repeat, self, repeats, axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """Return ``np.diagonal(t)``."""
        return _call(np.diagonal, self, offset, axis1, axis2)

    def trace(
        self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
    ) -> Tensor:
        """Return ``np.trace(t)``."""
        return _call(np.trace, self, offset, axis1, axis2, dtype, out)

    @property
    def real(self) -> Tensor:
        """The Tensor itself, as all its numbers are real; the same as ``np.real(t)``."""
        return _call(np.real, self)

    @property
    def imag(self) -> Tensor:
        """Zeros, as all numbers are real, and without a gradient; the same as ``np.imag(t)``."""
        return _call(np.imag, self)

    @property
    def itemsize(self) -> int:
        """Bytes that one element takes."""
        return self._array.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """The bytes from each element to the next along each axis, as the values lie in memory now."""
        return self._array.strides

    @property
    def device(self) -> str:
        """The device that holds the values, which is always ``"cpu"``."""
        return "cpu"

    def __round__(self, ndigits: int | None = None) -> Tensor:
        return _call(np.round, self, ndigits or 0)

    def __divmod__(self, other: Any) -> Any:
        return _call(np.divmod, self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return _call(np.divmod, other, self)

    # ---- NumPy's two protocols -------------------------------------------------------------------------

    def __apply_op__(self, op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> Tensor:
        return apply(op, arguments, static)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        op = UFUNCS.get(ufunc) if method == "__call__" else None
        if "out" in kwargs and method == "__call__" and _loses_no_gradient(inputs, kwargs["out"]):
            return ufunc(*(t._array if isinstance(t, Tensor) else t for t in inputs), **kwargs)
        if op is not None:
            if kwargs:
                check_options(name, kwargs)
            return apply(op, inputs)
        func = ufunc if method == "__call__" else getattr(ufunc, method)
        function = FUNCTIONS.get(func)
        if function is None:
            raise_no_gradient(name)
        _tell_of(func, inputs, kwargs)
        inputs, kwargs = fit_arguments(func, function, name, inputs, kwargs)
        return function(*inputs, **kwargs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        function = FUNCTIONS.get(func)
        name = f"{func.__module__}.{func.__name__}".removeprefix("numpy.")
        if function is None:
            raise_no_gradient(name)
        for kind in types:
            if kind is not Tensor and kind is not np.ndarray:
                check_array_class(kind)  # a masked array or matrix must not get into a formula
        _tell_of(func, args, kwargs)
        if func not in CONSTANTS:
            args, kwargs = fit_arguments(func, function, name, args, kwargs)
        with error_context(name, args):
            if (tracing := tracer()) is not None:
                return tracing.function(function, args, kwargs)
            return function(*args, **kwargs)

    # ---- operators -------------------------------------------------------------------------------------

    __hash__ = object.__hash__

    __add__, __radd__, __iadd__ = _operator("add", "+")
    __sub__, __rsub__, __isub__ = _operator("subtract", "-")
    __mul__, __rmul__, __imul__ = _operator("multiply", "*")
    __truediv__, __rtruediv__, __itruediv__ = _operator("divide", "/")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _operator("floor_divide", "//")
    __mod__, __rmod__, __imod__ = _operator("remainder", "%")
    _, __rpow__, __ipow__ = _operator("power", "**")
    __matmul__, __rmatmul__, __imatmul__ = _operator("matmul", "@")
    __and__, __rand__, __iand__ = _operator("bitwise_and", "&")
    __or__, __ror__, __ior__ = _operator("bitwise_or", "|")
    __xor__, __rxor__, __ixor__ = _operator("bitwise_xor", "^")
    __lshift__, __rlshift__, __ilshift__ = _operator("left_shift", "<<")
    __rshift__, __rrshift__, __irshift__ = _operator("right_shift", ">>")
    __lt__, __gt__, _ = _operator("less")
    __le__, __ge__, _ = _operator("less_equal")
    __eq__ = _operator("equal")[0]  # type: ignore[assignment]
    __ne__ = _operator("not_equal")[0]  # type: ignore[assignment]

    def __pow__(self, exponent: Any, modulus: None = None) -> Tensor:
        if modulus is not None:
            raise TypeError("pow of a Tensor takes no modulus; write t**exponent % modulus")
        return apply(REGISTRY["power"], (self, exponent))

    def __neg__(self) -> Tensor:
        return apply(REGISTRY["negative"], (self,))

    def __pos__(self) -> Tensor:
        return apply(REGISTRY["positive"], (self,))

    def __abs__(self) -> Tensor:
        return apply(REGISTRY["absolute"], (self,))

    def __invert__(self) -> Tensor:
        return apply(REGISTRY["invert"], (self,))

    def __getitem__(self, index: Any) -> Tensor:
        return apply(REGISTRY["getitem"], (self,), {"index": _plain_index(index)})

    def __setitem__(self, index: Any, value: Any) -> None:
        check_assignable(self._array, self.origin, "=", value)
        self._become(apply(REGISTRY["set_at"], (self, value), {"index": _plain_index(index)}))

    def _become(self, result: Tensor) -> Self:
        """Take over the value and the node of a result, in the shape and dtype that this Tensor has."""
        check_in_place(self._array, result._array)
        # Python's `t += v` assigns what this returns to `t`, so the object must stay the same.
        if result.dtype != self.dtype:
            result = result.astype(self.dtype)
        self._array, self.origin = result._array, result.origin
        array_replaced()
        return self


class _Size(int):
    """A number of elements, which somebody who comes from PyTorch calls as a method."""

    __slots__ = ()

    def __call__(self, *dim: Any) -> Any:
        raise TypeError(
            "size is a number here, as in NumPy; write x.shape for x.size(), and x.shape[0] for x.size(0)"
        )


def _with_keyword_advice(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method whose error for a keyword of PyTorch's, such as ``dim=``, says NumPy's."""

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except TypeError as error:
            if advice := keyword_advice(kwargs):
                raise TypeError(f"{method.__qualname__} does not take {advice}") from error
            raise

    return call


for _name in (
    "sum", "mean", "max", "min", "var", "std", "prod", "cumsum", "cumprod", "logsumexp", "argmax", "argmin",
    "all", "any", "squeeze", "flatten", "argsort", "swapaxes", "transpose", "take", "repeat", "diagonal",
    "trace",
):  # fmt: skip
    setattr(Tensor, _name, _with_keyword_advice(getattr(Tensor, _name)))

_new = object.__new__


def _wrapped(array: Any) -> Tensor:
    """Return the Tensor of an array that requires no gradient."""
    return _lift(array, None)


def _lift(array: Any, origin: Node | Leaf | None) -> Tensor:
    """Return the Tensor of an array that came from ``origin``."""
    result = _new(Tensor)
    result._array = array if type(array) is np.ndarray else plain_array(array)
    result.origin = origin
    return result


def _accumulate(leaf: Leaf, part: Any) -> None:
    """Add a part, a Tensor or an array, to the gradient of a leaf."""
    if (tracing := tracer()) is not None:
        tracing.capture_gradient(leaf)
    before = leaf.grad
    if isinstance(part, Tensor):
        leaf.grad = part if before is None else before + part
    else:
        # A new array, never `+=`: somebody may hold the gradient of before.
        leaf.grad = _wrapped(part if before is None else before._array + part)


def _plain_index(index: Any) -> Any:
    """Return an index of slices, numbers and copied arrays, which nobody can change under the tape."""
    return tuple(map(_plain_part, index)) if isinstance(index, tuple) else _plain_part(index)


def _plain_part(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part._array
    if isinstance(part, (list, tuple, range)):
        return np.array(part, dtype=None if len(part) else np.intp)
    return part.copy() if isinstance(part, np.ndarray) else part


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """Do what a NumPy function does on Tensors, without the detour through NumPy's dispatch."""
    run = FUNCTIONS[function]
    _tell_of(function, args, kwargs)
    if function in CONSTANTS:
        kwargs = {name: value for name, value in kwargs.items() if value is not _NO}
    else:
        args, kwargs = fit_arguments(function, run, function.__name__, args, kwargs)
    with error_context(function.__name__, args):
        if (tracing := tracer()) is not None:
            return tracing.function(run, args, kwargs)  # type: ignore[no-any-return]
        result: Tensor = run(*args, **kwargs)
    return result


def _tell_of(function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Tell a recorder that a NumPy function is about to run."""
    if (watching := recorder.get()) is not None:
        watching.called(function, args, kwargs)


def _loses_no_gradient(inputs: tuple[Any, ...], out: tuple[Any, ...]) -> bool:
    """Return whether arrays take in Tensors that require no gradient, as in ``w.data -= 0.1 * w.grad``."""
    return not any(isinstance(array, Tensor) for array in out) and all(
        value.origin is None for value in inputs if isinstance(value, Tensor)
    )


def _op(name: str, tensor: Any, **static: Any) -> Tensor:
    """Run an operation of the registry that NumPy has no function for, or only a ufunc."""
    result: Tensor = REGISTRY[name](tensor, **static)
    return result


def _one_tuple(numbers: tuple[Any, ...]) -> Any:
    """Return the tuple of numbers that both ``f(2, 3)`` and ``f((2, 3))`` mean."""
    return numbers[0] if len(numbers) == 1 and not isinstance(numbers[0], (int, np.integer)) else numbers
