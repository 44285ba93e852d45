"""Anomaly detection: find the operation where the first NaN or infinity came up.

It also finds arrays that were changed between forward and backward without the tape knowing. It is a
recorder: it attaches to the tape from outside, and costs nothing while it is off.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np

from tinygrad_mnist.engine.decorators import FunctionDecorator
from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.observe import Recorder, also_observed_by, module, users_line
from tinygrad_mnist.engine.tape import Leaf, Node


class AnomalyError(FloatingPointError):
    """A value that is not finite came up, or an array was changed between forward and backward."""


class detect_anomaly(FunctionDecorator):
    """Raise at the first value that is not finite, forward or backward, with all that is known about it.

    The error names the operation, the shape, the index of the first bad entry and how many there are, the
    parameters that took part, the path of the module, and the line of the user's that called. And arrays are
    remembered by checksums: one that somebody wrote to between forward and backward is found out.

    Infinities that are meant are no anomaly: those of a mask, as in ``np.where(mask, scores, -np.inf)`` or
    ``scores + mask``, and what they make infinite in the same place. A mask is an infinite number, or an
    array without a gradient that is finite nowhere but at 0, or holds no other infinity than ``-inf``.

    Everything inside is several times slower. Other recorders that are on are told what they always are. It
    serves as a decorator too, of a function of any kind.

    Raises
    ------
    AnomalyError
        A ``FloatingPointError``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor
    >>> x = Tensor(np.array([4.0, 0.0]), requires_grad=True)
    >>> with detect_anomaly():
    ...     np.sum(np.sqrt(x)).backward()
    Traceback (most recent call last):
    ...
    tinygrad_mnist.engine.anomaly.AnomalyError: the gradient of 'sqrt' by argument 0 (requires a
    gradient) is not finite: inf at index (1,), 1 of 2 entries of shape (2,) and dtype float64
      applied to: float64 (2,), requires a gradient
      at: ...
    """

    def __init__(self) -> None:
        self._detector = _Detector()
        self._open: list[AbstractContextManager[None]] = []  # the last one is of the innermost `with`

    def __enter__(self) -> None:
        observed = also_observed_by(self._detector)
        observed.__enter__()
        self._open.append(observed)

    def __exit__(self, *exception: Any) -> None:
        self._open.pop().__exit__(*exception)


@dataclass
class _Call:
    """The place where an operation was applied, and checksums of its arrays at that time."""

    line: str
    place: str
    sums: tuple[int, ...]


class _Detector(Recorder):
    def __init__(self) -> None:
        # Weak, so that a node that is freed takes its entry along: a long training under this does not grow.
        self.calls: WeakKeyDictionary[Node, _Call] = WeakKeyDictionary()
        # Results with infinities that came from a mask, by id; a reference tells whether it is still the one.
        self.masked: dict[int, ReferenceType[Any]] = {}

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        line, place = users_line(), _module_path()
        parents = (None,) * len(arrays) if node is None else node.parents
        for position, (array, parent) in enumerate(zip(arrays, parents, strict=True)):
            if isinstance(array, np.ndarray) and not (_is_finite(array) or self._is_meant(array, parent)):
                what = f"argument {position} of '{op.name}' is not finite already"
                raise AnomalyError(_report(what, array, op, arrays, node, line, place))
        for one in out if type(out) is tuple else (out,):
            if _is_finite(one):
                continue
            if not _only_as_given(op, arrays, static, one):
                raise AnomalyError(
                    _report(f"the result of '{op.name}' is not finite", one, op, arrays, node, line, place)
                )
            self._note_masked(one)
        if node is not None:
            self.calls[node] = _Call(line, place, _checksums(node))

    def _is_meant(self, array: Any, parent: Any) -> bool:
        """Return whether the infinities of an argument came from a mask, or are one."""
        known = self.masked.get(id(array))
        return (known is not None and known() is array) or (parent is None and _is_mask(array))

    def _note_masked(self, array: Any) -> None:
        key = id(array)
        self.masked[key] = ref(array, lambda _: self.masked.pop(key, None))

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        call = self.calls.get(node)
        line, place = (users_line(), "") if call is None else (call.line, call.place)
        details = (node.op, node.arrays, node, line, place)
        if call is not None and call.sums != (now := _checksums(node)):
            changed = next(i for i, (a, b) in enumerate(zip(call.sums, now, strict=True)) if a != b)
            what = f"argument {changed}" if changed < len(node.arrays) else "the result"
            raise AnomalyError(
                f"{what} of '{node.op.name}' was changed after it was recorded, by a write into its ndarray "
                "that the tape cannot see, so this gradient would be wrong; give the Tensor a copy of the "
                "array\n" + _context(*details)
            )
        for one in g if type(g) is tuple else (g,):
            if not _is_finite(_values(one)):
                what = f"the cotangent given to the result of '{node.op.name}' is not finite"
                raise AnomalyError(_report(what, _values(one), *details))
        for position, parent in enumerate(node.parents):
            part = cotangents.get(parent) if parent in cotangents else arrived.get(parent)
            if part is None or _is_finite(_values(part)):
                continue
            name = f" ({_named(parent)})" if type(parent) is Leaf else ""
            what = f"the gradient of '{node.op.name}' by argument {position}{name} is not finite"
            raise AnomalyError(_report(what, _values(part), *details))

    def pushed(self, node: Any, tangent: Any) -> None:
        for one in tangent if type(tangent) is tuple else (tangent,):
            if not _is_finite(_values(one)):
                call = self.calls.get(node)
                line, place = (users_line(), "") if call is None else (call.line, call.place)
                what = f"the tangent of '{node.op.name}' is not finite"
                raise AnomalyError(_report(what, _values(one), node.op, node.arrays, node, line, place))


# ---- words -----------------------------------------------------------------------------------------------


def _report(what: str, array: Any, op: Any, arrays: Sequence[Any], node: Any, line: str, place: str) -> str:
    """Return the message: what is not finite, where in the array, and the operation around it."""
    bad = ~np.isfinite(array)
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    count = int(np.count_nonzero(bad))
    return (
        f"{what}: {array[first]} at index {first}, {count:,} of {array.size:,} entries of shape "
        f"{array.shape} and dtype {array.dtype}\n" + _context(op, arrays, node, line, place)
    )


def _context(op: Any, arrays: Sequence[Any], node: Any, line: str, place: str) -> str:
    parents = (None,) * len(arrays) if node is None or not node.parents else node.parents
    arguments = ", ".join(_argument(array, parent) for array, parent in zip(arrays, parents, strict=True))
    lines = [f"  applied to: {arguments}", f"  in module: {place}" if place else "", f"  at: {line}"]
    return "\n".join(filter(None, lines))


def _argument(array: Any, parent: Any) -> str:
    if not isinstance(array, np.ndarray):
        return repr(array)
    return f"{array.dtype} {array.shape}" + (f", {_named(parent)}" if type(parent) is Leaf else "")


def _named(leaf: Leaf) -> str:
    return f"parameter '{leaf.name}'" if leaf.name else "requires a gradient"


def _module_path() -> str:
    """Return the path and class of the module that runs, ``0.attention (Linear)``; or an empty string."""
    this = module.get()
    if this is None:
        return ""
    kind = type(this).__name__
    path = getattr(this, "_path", "").removesuffix(".")
    return f"{path} ({kind})" if path else kind


# ---- arrays ----------------------------------------------------------------------------------------------


def _values(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else value.data


def _is_finite(array: Any) -> bool:
    is_array = isinstance(array, (np.ndarray, np.generic))
    return not (is_array and is_float(array)) or bool(np.all(np.isfinite(array)))


def _is_mask(array: Any) -> bool:
    """Return whether a constant that is not finite is a mask: 0 and infinity, or no infinity but ``-inf``."""
    if np.any(np.isnan(array)):
        return False
    infinite = np.isinf(array)
    return not np.any(np.where(infinite, 0, array)) or bool(np.all(array[infinite] < 0))


def _only_as_given(op: Any, arrays: Sequence[Any], static: Mapping[str, Any], out: Any) -> bool:
    """Return whether a result has only infinities that the arguments, which were meant to, had there.

    What rearranges, sums or compares entries may have those that it was given anywhere. A product of arrays
    may not: no mask goes through one.
    """
    if np.any(np.isnan(out)):
        return False
    infinite = [np.isinf(array) for array in arrays if isinstance(array, (np.ndarray, float))]
    anywhere = any(map(np.any, infinite)) or any(map(_holds_infinity, static.values()))
    rearranges = op.kind in ("linear", "general")
    if rearranges and not op.broadcasts:
        return anywhere
    try:
        given = np.broadcast_to(np.logical_or.reduce(np.broadcast_arrays(*infinite)), out.shape)
    except ValueError:  # it goes not element by element
        return rearranges and anywhere
    return not np.any(np.isinf(out) & ~given)


def _holds_infinity(value: Any) -> bool:
    """Return whether an option is infinite, as ``constant_values=-np.inf`` is."""
    if isinstance(value, (tuple, list)):
        return any(map(_holds_infinity, value))
    return isinstance(value, (float, np.floating, np.ndarray)) and bool(np.any(np.isinf(value)))


def _checksums(node: Any) -> tuple[int, ...]:
    """Return one checksum for each argument of a node, then one for each result."""
    outs = node.out if type(node.out) is tuple else (node.out,)
    return tuple(_checksum(array) for array in (*node.arrays, *outs))


def _checksum(array: Any) -> int:
    if not isinstance(array, np.ndarray):
        return 0
    return zlib.crc32(array.tobytes())
