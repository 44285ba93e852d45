"""Symbols: what stands in the place of arrays while a function is traced.

A :class:`Symbol` has a shape and a dtype, but no values. A Tensor whose array is a symbol works as any other,
since all that it does goes through `Tensor`'s operations, which the tracer hears. NumPy's functions on the
symbol itself, as in a gradient rule, are those on its Tensor. Whatever asks for a value raises, at the user's
line.

A :class:`Number` stands for a Python number that changes from call to call, such as a learning rate.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.compiler.program import ELEMENTWISE, Value
from tinygrad_mnist.engine.observe import tracer, users_line
from tinygrad_mnist.engine.op import CONSTANTS, FUNCTIONS, UFUNCS
from tinygrad_mnist.engine.tensor import Tensor, _lift


def raise_read(what: str) -> NoReturn:
    """Raise the error of a value that is asked for while there is none."""
    error = JitError(
        f"{what} is read at {users_line()}; inside a jitted function it has no value yet, and what is "
        "decided by it would be the same in every call. Return it, and read it outside; choose by np.where; "
        "index a Tensor by it, Tensor(array)[i], and not an array"
    )
    if (tracing := tracer()) is not None and tracing.refused is None:
        tracing.refused = error
    raise error


class _Flags:
    """The flags of an array that nobody can write into."""

    c_contiguous = forc = True
    f_contiguous = writeable = owndata = False

    def __setattr__(self, name: str, value: Any) -> None:
        """Leave the flags as they are."""


class Symbol(np.lib.mixins.NDArrayOperatorsMixin):
    """An array without values.

    Parameters
    ----------
    value : Value
        What it is in the program.
    weak : bool
        Whether it is a Python number, which takes the dtype of what it meets.
    """

    is_symbol = True
    base = None
    flags = _Flags()

    __slots__ = ("value", "weak")

    def __init__(self, value: Value, weak: bool = False) -> None:
        self.value = value
        self.weak = weak

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the array."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.value.size

    @property
    def itemsize(self) -> int:
        """The bytes of one element."""
        return self.value.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return self.size * self.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of an array of this shape in C order."""
        lengths = self.shape
        return tuple(math.prod(lengths[axis + 1 :]) * self.itemsize for axis in range(self.ndim))

    @property
    def data(self) -> Symbol:
        """The symbol itself, which whoever takes it for a Tensor takes for the array."""
        return self

    def copy(self, order: str = "C") -> Symbol:
        """Return another symbol of the same values: what is written into one is not seen in the other."""
        return Symbol(self.value, self.weak)

    def view(self, *_: Any) -> Symbol:
        """Return the symbol itself."""
        return self

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<traced {self.dtype} of shape {self.shape}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(name)
        if name in ("item", "tolist", "tobytes", "ctypes", "tofile"):
            raise_read(f"the value of {self!r}")
        method = getattr(_lift(self, None), name)
        return _on_symbols(method) if callable(method) else as_symbol(method)

    def __apply_op__(self, op: Any, arguments: Any, static: Any) -> Any:
        out = _tracing().apply(op, _tensors_of(tuple(arguments)), static)
        # with a Tensor among the arguments the result is on the tape that it is on
        return out if any(isinstance(argument, Tensor) for argument in arguments) else _symbols_of(out)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if out is not None and not all(isinstance(one, Symbol) for one in out):
            raise JitError(
                f"a traced array is written into a NumPy array at {users_line()}; give the array to the "
                "jitted function as an argument, or keep it in a Tensor, and assign the result: t = t + x"
            )
        run = ufunc if method == "__call__" else getattr(ufunc, method)
        if run is ufunc and not kwargs and ufunc.__name__ in ELEMENTWISE and (op := UFUNCS.get(ufunc)):
            result = _tracing().apply(op, inputs, {})
            if any(isinstance(argument, Tensor) for argument in inputs):
                return result if out is None else out[0]._become(result._array)
            return result._array if out is None else out[0]._become(result._array)
        known = run in UFUNCS or run in FUNCTIONS
        if not known:
            return _tracing().numpy_call(run, inputs, kwargs)
        result = _on_tensors(run, inputs, kwargs)
        return result if out is None else out[0]._become(as_symbol(result))

    def _become(self, result: Symbol) -> Symbol:
        """Take over the values of a result: what NumPy does with ``out=`` and in-place operators."""
        if result.shape != self.shape:
            raise ValueError(f"an array of shape {result.shape} was written into one of shape {self.shape}")
        self.value = result.value if result.dtype == self.dtype else result.astype(self.dtype).value
        return self

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if func in CONSTANTS or func not in FUNCTIONS:
            return _tracing().numpy_call(func, args, kwargs)
        return _on_tensors(func, args, kwargs)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise_read(f"the value of {self!r}")

    __float__ = __int__ = __index__ = __bool__ = __complex__ = __iter__ = __array__

    def __getitem__(self, index: Any) -> Any:
        return as_symbol(_lift(self, None)[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        if index is Ellipsis or index == slice(None) or (index == () and not self.shape):
            wide: Any = np.broadcast_to(_tracing().symbol(value, self.dtype), self.shape)
            self._become(wide)
            return
        raise JitError(
            f"an element of {self!r} is assigned to at {users_line()}; compute the new array (np.where, "
            "np.concatenate), or assign to a Tensor under no_grad"
        )

    __hash__ = object.__hash__


def _tracing() -> Any:
    """Return the tracer; raise for a symbol that outlived its trace."""
    found = tracer()
    if found is None:
        raise JitError(
            f"a Tensor of a jitted function is used at {users_line()}, after the function has returned, "
            "where it has no value; let the function return it"
        )
    return found


def _on_tensors(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Return what a function of NumPy gives for symbols, by what it does on Tensors."""
    tracing = _tracing()
    if any(isinstance(argument, Tensor) for argument in args):  # then the result is on the tape that it is on
        return function(*_tensors_of(args), **_tensors_of(kwargs))
    if function in tracing.running:  # it is made of NumPy's function on the values
        return tracing.numpy_call(function, args, kwargs)
    tracing.running.append(function)
    try:
        return _symbols_of(function(*_tensors_of(args), **_tensors_of(kwargs)))
    finally:
        tracing.running.pop()


def _tensor_of(value: Any) -> Any:
    """Return the Tensor of a symbol, and anything else as it is."""
    if isinstance(value, Symbol):
        return _lift(value, None)
    return plain(value)


def _tensors_of(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _tensors_of(part) for key, part in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(map(_tensors_of, tree))
    return _tensor_of(tree)


def as_symbol(value: Any) -> Any:
    """Return the array of a Tensor, and anything else as it is."""
    return value._array if isinstance(value, Tensor) else value


def _symbols_of(tree: Any) -> Any:
    if isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields"):
        return type(tree)(map(_symbols_of, tree))
    if isinstance(tree, tuple):
        return type(tree)(*map(_symbols_of, tree))
    return as_symbol(tree)


def _on_symbols(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a Tensor as one that takes and returns symbols."""

    def call(*args: Any, **kwargs: Any) -> Any:
        out = function(*_tensors_of(args), **_tensors_of(kwargs))
        return out if any(isinstance(argument, Tensor) for argument in args) else _symbols_of(out)

    return call


class Number:
    """A Python number that changes from call to call, with the value that it has now.

    Arithmetic with it is traced. What is decided by it (``if decay:``, ``scale == 1``) is decided by its
    value now, and becomes a condition of the program. Where its value is read out (``float(lr)``,
    ``lr % 10``), the program holds for that value alone.

    Parameters
    ----------
    tensor : Tensor
        Of a weak symbol of shape () and dtype float64.
    now : float
        Its value while tracing; None where that is not known.
    sources : tuple of Number
        Those that it is computed from.
    slot : Slot, optional
        Where it is read from, if it is not computed.
    """

    __slots__ = ("now", "slot", "sources", "tensor")

    def __init__(
        self, tensor: Tensor, now: float | None, sources: tuple[Number, ...] = (), slot: Any = None
    ) -> None:
        self.tensor = tensor
        self.now = now
        self.slot = slot
        self.sources = sources if slot is None else (self,)

    def read(self) -> Any:
        """Return the value now, for which alone the program then holds."""
        if self.now is None:
            raise_read("a number that is computed in the call")
        for number in self.sources:
            _tracing().decided_by(number.slot, "eq", number.now, True)
        return self.now

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The type of its value, for `isinstance`."""
        return float if self.now is None else type(self.now)

    def __repr__(self) -> str:
        return f"Number({self.now!r})"

    def __bool__(self) -> bool:
        return not operator.eq(self, 0)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*map(plain, inputs), **kwargs)

    def __neg__(self) -> Any:
        return operator.mul(self, -1)

    def __pos__(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.read(), name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.read(), dtype)


def plain(value: Any) -> Any:
    """Return the Tensor of a Number, and anything else as it is."""
    return value.tensor if type(value) is Number else value


def _arithmetic(name: str, reflected: bool) -> Callable[[Number, Any], Any]:
    function = getattr(operator, name)

    def method(self: Number, other: Any) -> Any:
        if not (type(other) is Number or isinstance(other, (int, float))):
            return NotImplemented
        now = other.now if type(other) is Number else other
        first, second = (now, self.now) if reflected else (self.now, now)
        one, two = (plain(other), self.tensor) if reflected else (self.tensor, plain(other))
        is_known = first is not None and second is not None
        sources = self.sources + (other.sources if type(other) is Number else ())
        return Number(function(one, two), function(first, second) if is_known else None, sources)

    return method


def _comparison(name: str) -> Callable[[Number, Any], Any]:
    function = getattr(operator, name)

    def method(self: Number, other: Any) -> Any:
        if not (type(other) is Number or isinstance(other, (int, float))):
            return NotImplemented
        now = other.now if type(other) is Number else other
        if self.now is None or now is None:
            raise_read("a number that is computed in the call")
        answer = bool(function(self.now, now))
        if self.slot is not None:
            _tracing().decided_by(self.slot, name, now, answer)
            return answer
        holds = function(self.tensor, plain(other))
        _tracing().require(holds if answer else np.logical_not(holds))
        return answer

    return method


def _reading(name: str) -> Callable[..., Any]:
    """Return a method that does with the value what the type of the value does."""

    def method(self: Number, *arguments: Any) -> Any:
        return getattr(self.read(), name)(*(a.read() if type(a) is Number else a for a in arguments))

    return method


for _name in (
    "__abs__", "__ceil__", "__divmod__", "__float__", "__floor__", "__floordiv__", "__format__", "__hash__",
    "__index__", "__int__", "__mod__", "__rdivmod__", "__rfloordiv__", "__rmod__", "__round__", "__str__",
    "__trunc__",
):  # fmt: skip
    setattr(Number, _name, _reading(_name))
for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Number, f"__{_name}__", _arithmetic(_name, False))
    setattr(Number, f"__r{_name}__", _arithmetic(_name, True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Number, f"__{_name}__", _comparison(_name))
