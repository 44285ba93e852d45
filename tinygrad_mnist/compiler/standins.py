"""Stand-ins: the Tensors that stand for a user's arrays while a function is traced.

To the framework they are Tensors. To the user's code they have to look like the arrays that they stand for:
``isinstance(x, np.ndarray)`` is true, and what arrays do in their own way, such as to take a float into an
array of integers, they do too. Where an answer would have to be guessed, the call runs as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, Final, NoReturn
from weakref import ref

import numpy as np

from tinygrad_mnist.compiler.errors import RunsEagerly
from tinygrad_mnist.engine.observe import tracer, users_line
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.engine.tensor import Tensor, apply

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_ON_THE_WAY: Final = (os.path.dirname(os.path.abspath(np.__file__)) + os.sep, "<frozen abc>")
"""Where code only passes on what its caller asks."""

# np.asarray(x) asks for two names first; it reads the values, and the error for that is another one.
_OF_ARRAYS: Final = frozenset(dir(np.ndarray)) - {"__array_interface__", "__array_struct__"}
_OF_TENSORS: Final = frozenset(dir(Tensor))
_NONE: Final = object()
_get = object.__getattribute__

_VIEWS: Final = frozenset(
    {"T", "mT", "diagonal", "ravel", "real", "reshape", "squeeze", "swapaxes", "transpose", "view"}
)
"""Attributes of arrays that are views of them."""

_VIEW_FUNCTIONS: Final = frozenset(
    {
        np.array_split, np.atleast_1d, np.atleast_2d, np.atleast_3d, np.broadcast_arrays, np.broadcast_to,
        np.diagonal, np.dsplit, np.expand_dims, np.flip, np.fliplr, np.flipud, np.hsplit, np.moveaxis,
        np.ravel, np.real, np.reshape, np.rollaxis, np.rot90, np.split, np.squeeze, np.swapaxes, np.transpose,
        np.vsplit,
    }
)  # fmt: skip
"""Functions of NumPy that return views."""


def asked_by_user() -> bool:
    """Return whether the caller of a method was called by the user's code, and not by the framework."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_ON_THE_WAY):
        frame = frame.f_back
    return frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE)


def _raise_question(what: str) -> NoReturn:
    _raise(f"{what} is asked for at {users_line()}, and a traced function has Tensors in the place of arrays")


def _raise(why: str) -> NoReturn:
    error = RunsEagerly(why, is_said=True)
    if (tracing := tracer()) is not None and tracing.refused is None:
        tracing.refused = error
    raise error


class StandIn(Tensor):
    """A Tensor that stands for an array.

    Tensors have values, arrays may be views. What is written into an array is seen in its views, which are
    read out of it again; what is written into a view is set in the array. Where that is not known how, the
    call runs as it is.
    """

    __slots__ = ("_again", "_index", "_root", "_same_memory")

    _root: StandIn | None  # the array of which this one is a view
    _again: Callable[[Any], Tensor] | None  # what reads this view out of its root
    _index: Any  # of a view that is an element or a slice of its root
    _same_memory: list[Any]  # weak references to all that have this one's memory; they share the list

    def __getattribute__(self, name: str) -> Any:
        if not asked_by_user():
            return _get(self, name)
        if name == "__class__":
            return _class_of(self)
        if (name in _OF_ARRAYS) is not (name in _OF_TENSORS):
            _raise_question(f"{name!r} of an array")
        try:
            value = _get(self, name)
        except AttributeError:
            if name in _OF_ARRAYS:
                _raise_question(f"{name!r} of an array")
            raise
        of = self if name in _VIEWS else None
        if isinstance(value, MethodType) and not name.startswith("__"):
            return partial(_call, value, of)
        return _as_computed(value, (), of, lambda root: _get(root, name))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        by_user = asked_by_user()
        out = kwargs.pop("out", (None,))
        if isinstance(out[0], np.ndarray):
            kwargs["out"] = out
        result = super().__array_ufunc__(ufunc, method, *inputs, **kwargs)
        if isinstance(out[0], StandIn):
            out[0]._become(result)
            return out[0]
        return _as_computed(result, inputs) if by_user else result

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        by_user = asked_by_user()
        types = [Tensor if issubclass(kind, Tensor) else kind for kind in types]
        result = super().__array_function__(func, types, args, kwargs)
        of = next(filter(_is_standin, args), None) if func in _VIEW_FUNCTIONS else None
        return _as_computed(result, (args, kwargs), of) if by_user else result

    def __getitem__(self, index: Any) -> Any:
        return self._part(index) if asked_by_user() else super().__getitem__(index)

    def __iter__(self) -> Any:
        return iter(map(self._part, range(len(self)))) if asked_by_user() else super().__iter__()

    def _part(self, index: Any) -> Any:
        """Return what an index gives of an array: a view, a copy, or one of NumPy's scalars."""
        result = Tensor.__getitem__(self, index)
        if not _is_basic(index) or not result.ndim:
            return _as_computed(result, (index,))
        made = _as_computed(result, (), self, lambda root: Tensor.__getitem__(root, index))
        if self._root is None and isinstance(made, StandIn):
            made._index = index
        return made

    def _become(self, result: Tensor) -> Any:
        root = self if self._root is None else self._root
        others = [one for held in self._same_memory if (one := held()) is not None and one is not self]
        views = [one for one in others if one is not root]
        if (self is not root and self._index is _NONE) or any(view._again is None for view in views):
            _raise(f"an array is written to at {users_line()} by a view, or there is a view of it")
        super()._become(result)
        if self is not root:
            Tensor._become(root, apply(REGISTRY["set_at"], (root, self), {"index": self._index}))
        for view in views:
            assert view._again is not None
            view._array = view._again(root)._array
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, (Tensor, np.ndarray)):
            value = value if value.dtype == self.dtype else value.astype(self.dtype)
        else:
            held = np.empty(np.shape(value), self.dtype)
            held[...] = value
            value = held
        super().__setitem__(index, value)


class Computed(StandIn):
    """A Tensor that stands for what NumPy computes from arrays: an array, or one of NumPy's scalars."""

    __slots__ = ()


def _class_of(tensor: StandIn) -> type:
    """Return the class that the user's code is told."""
    if type(tensor) is Computed and not tensor.ndim:
        _raise_question("the type of a result without axes")
    return np.ndarray


def _call(method: Callable[..., Any], of: StandIn | None, *args: Any, **kwargs: Any) -> Any:
    return _as_computed(
        method(*args, **kwargs),
        (args, kwargs),
        of,
        lambda root: method.__func__(root, *args, **kwargs),  # type: ignore[attr-defined]
    )


def _as_computed(result: Any, arguments: Any, of: StandIn | None = None, again: Any = None) -> Any:
    """Return a result of arrays alone as such; a Tensor among the arguments makes it one.

    Parameters
    ----------
    result, arguments : object
        What an operation returned, and was given.
    of : StandIn, optional
        The array of which the result is a view.
    again : callable, optional
        What makes the view of the array.
    """
    if isinstance(result, (list, tuple)) and not hasattr(result, "_fields"):
        return type(result)(_as_computed(one, arguments, of) for one in result)
    if type(result) is not Tensor or result.origin is not None or _has_tensor(arguments):
        return result
    return standing(result, Computed, of, again)


def _is_standin(value: Any) -> bool:
    return isinstance(value, StandIn)


def _is_basic(index: Any) -> bool:
    """Return whether an index gives a view: one of numbers, slices, None and ``...``."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or isinstance(part, (slice, int, np.integer)) for part in parts)


def _has_tensor(tree: Any) -> bool:
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        return isinstance(tree, Tensor) and not isinstance(tree, StandIn)
    return any(map(_has_tensor, tree))


def standing(
    tensor: Tensor, kind: type[StandIn] = StandIn, of: StandIn | None = None, again: Any = None
) -> StandIn:
    """Return a stand-in that has the value of a Tensor, and is a view ``again(of)`` if another is given."""
    made = object.__new__(kind)
    made._array, made.origin = tensor._array, tensor.origin
    made._root, made._again, made._index = None, None, _NONE
    made._same_memory = [] if of is None else of._same_memory
    made._same_memory.append(ref(made))
    if of is not None:
        made._root = of if of._root is None else of._root
        if of._root is None:
            made._again = again
        elif of._again is not None and again is not None:
            first = of._again
            made._again = lambda root: again(first(root))
    return made


def _operator(name: str) -> Callable[..., Any]:
    of_tensor = getattr(Tensor, name)

    def method(self: StandIn, *arguments: Any) -> Any:
        by_user = asked_by_user()
        result = of_tensor(self, *arguments)
        return _as_computed(result, arguments) if by_user else result

    return method


_OPERATORS: Final = frozenset(
    name
    for name in vars(np.ndarray).keys() & vars(Tensor).keys()
    if name.endswith("__") and callable(getattr(Tensor, name))
) - {
    "__init__", "__new__", "__array__", "__array_ufunc__", "__array_function__", "__setitem__", "__hash__",
    "__len__", "__repr__", "__str__", "__format__", "__bool__", "__float__", "__int__", "__index__",
    "__contains__", "__iter__", "__getitem__", "__copy__", "__deepcopy__", "__reduce__",
}  # fmt: skip

for _name in _OPERATORS:
    setattr(StandIn, _name, _operator(_name))
