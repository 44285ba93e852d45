"""Facts: what a compiled program rests on, as values that can be compared, kept and put into words.

A fact has a name, such as ``model.2.training`` or ``argument x: shape``, and a value. That of a number or a
string is its type and itself; that of any other object is that it is this object and no other. A fact keeps
no array, module or function alive.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from weakref import ref

import numpy as np

Facts = Mapping[str, Hashable]
"""Facts by name, in the order in which they were found."""


class Words(str):
    """A fact that is a few words, which are shown as they are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Same:
    """The fact that something is this object: equal only to that of the same object, while it lives.

    It is known by a weak reference: an identity alone could be that of another object later, in the same
    place. The few objects that admit none are kept.
    """

    __slots__ = ("_hash", "_object", "kind")

    def __init__(self, value: object) -> None:
        self.kind = _kind(value)
        self._hash = hash((type(self), id(value)))
        try:
            self._object: Any = ref(value)
        except TypeError:
            self._object = lambda: value

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Same) and (mine := self._object()) is not None and mine is other._object()

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{'an' if self.kind[:1] in 'aeiouAEIOU' else 'a'} {self.kind}"


def _kind(value: object) -> str:
    """Return what an object is called in an error."""
    if isinstance(value, np.ndarray):
        return "array"
    if isinstance(value, type):
        return "class"
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc)):
        return "function"
    return type(value).__name__


_BY_VALUE: Final = (
    int,
    str,
    bytes,
    complex,
    enum.Enum,
    np.dtype,
    np.generic,
    range,
    type(...),
    type(NotImplemented),
)


@dataclass(frozen=True, slots=True)
class Plain:
    """The fact that something is a plain value. 1, 1.0 and True are three; NaN is one, 0.0 and -0.0 are two.

    Attributes
    ----------
    type : type
        Its type.
    value : object
        The value; of a float that is 0 or NaN, its text.
    """

    type: type
    value: Hashable

    def __repr__(self) -> str:
        is_short = issubclass(self.type, (float, np.inexact, np.dtype))  # 0.5, not np.float32(0.5)
        return str(self.value) if is_short else repr(self.value)


def is_plain(value: object) -> bool:
    """Return whether the fact about an object is its value."""
    return value is None or isinstance(value, (float, *_BY_VALUE))


def fact_of(value: object) -> Hashable:
    """Return the fact about an object: a plain value's type and value, or that it is this object.

    Examples
    --------
    >>> fact_of(0.5) == fact_of(0.5), fact_of(1) == fact_of(True), fact_of([]) == fact_of([])
    (True, False, False)
    """
    if value is None:
        return None
    if isinstance(value, (float, complex, np.inexact)):
        # NaN is not equal to itself, and 0.0 is equal to -0.0, whose reciprocal is another.
        return Plain(type(value), value if value == value and value != 0 else repr(value))
    if isinstance(value, _BY_VALUE):
        return Plain(type(value), value)
    return Same(value)


def layout_of(array: np.ndarray[Any, Any]) -> Hashable:
    """Return how an array lies in memory: ``C``, ``F``, or its strides in elements; and if it is not aligned.

    Examples
    --------
    >>> import numpy as np
    >>> layout_of(np.ones((2, 3))), layout_of(np.ones((2, 3)).T), layout_of(np.ones((4, 4))[::2, ::2])
    (C, F, strides (8, 2))
    """
    flags = array.flags
    if flags.c_contiguous:
        words = "C"
    elif flags.f_contiguous:
        words = "F"
    else:
        size = array.itemsize
        steps = tuple(s // size if s % size == 0 else s / size for s in array.strides)
        words = f"strides {steps}"
    return Words(words if flags.aligned else f"{words}, not aligned")


# ---- differences -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that is no longer what it was; as a text, it says so in words.

    Attributes
    ----------
    name : str
        What it is about, such as ``model.2.training``.
    was, now : hashable
        The two values; `ABSENT` where there is none.
    """

    name: str
    was: Hashable
    now: Hashable

    def __str__(self) -> str:
        if self.was is ABSENT:
            return f"{self.name} is new: {self.now!r}"
        if self.now is ABSENT:
            return f"{self.name} is gone"
        if isinstance(self.was, Same) and isinstance(self.now, Same) and self.was.kind == self.now.kind:
            return f"{self.name} is another {self.now.kind}"
        was, now = repr(self.was), repr(self.now)
        if was == now and isinstance(self.was, Plain) and isinstance(self.now, Plain):
            was, now = f"{was} ({self.was.type.__name__})", f"{now} ({self.now.type.__name__})"
        return f"{self.name} was {was}, is {now}"


ABSENT: Final = Words("nothing")
"""The value of a fact that there is not."""


def differences(was: Facts, now: Facts) -> list[Difference]:
    """Return what differs between two sets of facts, in the order of the new ones.

    Examples
    --------
    >>> print(*differences({"global 'SCALE'": fact_of(0.5)}, {"global 'SCALE'": fact_of(0.7)}))
    global 'SCALE' was 0.5, is 0.7
    """
    names = [*now, *(name for name in was if name not in now)]
    pairs = [(name, was.get(name, ABSENT), now.get(name, ABSENT)) for name in names]
    return [Difference(name, before, after) for name, before, after in pairs if before != after]
