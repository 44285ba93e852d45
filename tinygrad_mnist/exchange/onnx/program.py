"""The calls of a model for batches of any size, from two recordings with different batches.

A number that differs between the two follows from the batch size, and becomes a `Size`. An array that differs
was computed past the recorder, and cannot be in a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.recording import Call, Ref
from tinygrad_mnist.exchange.onnx.sizes import BATCH, Shape, Size
from tinygrad_mnist.nn import Module

__all__ = [
    "Counted", "Expanded", "Step", "compare", "compare_outputs", "needed", "require_same_sizes",
    "shape_between",
]  # fmt: skip


@dataclass(frozen=True)
class Expanded:
    """A constant that repeats along the batch: ``array`` has length 1 there."""

    array: NDArray[Any]
    shape: Shape


@dataclass(frozen=True)
class Counted:
    """Positions that go on by a step from each example of the batch to the next: ``start + i * step``.

    An index of a part of each row, in an array or in its flat elements, is of this kind.

    Parameters
    ----------
    start, step : ndarray
        Their length along the batch is 1.
    shape : tuple
        With `BATCH` as one of its lengths.
    """

    start: NDArray[Any]
    step: NDArray[Any]
    shape: Shape


@dataclass(frozen=True)
class Step:
    """A `Call` for batches of any size: `Size`, `Expanded` and `Counted` stand for what follows from it."""

    name: str
    arguments: tuple[Any, ...]
    static: Any
    shapes: tuple[Shape, ...]
    dtypes: tuple[np.dtype[Any], ...]
    several: bool
    path: str
    doc: str
    place: str
    module: Module | None


def compare(first: Sequence[Call], second: Sequence[Call], batches: tuple[int, int]) -> list[Step]:
    """Return the steps that two recordings have in common.

    Raises
    ------
    ExportError
        If they differ in more than numbers that follow from the batch size.
    """
    steps = []
    for one, two in zip(first, second, strict=False):
        if one.name != two.name or one.path != two.path:
            raise ExportError(
                f"the model computes another operation for other inputs: '{one.name}' at {one.line}, and "
                f"'{two.name}' at {two.line}; a file of ONNX cannot hold a branch on data: use np.where"
            )
        steps.append(_Comparison(str(one), batches).step(one, two))
    if len(first) != len(second):
        longer = max(first, second, key=len)[min(len(first), len(second))]
        raise ExportError(
            f"the model computes more operations for other inputs, from '{longer.name}' at {longer.line} on; "
            "a file of ONNX cannot hold a branch or a loop on data"
        )
    return steps


def compare_outputs(first: Sequence[Any], second: Sequence[Any], batches: tuple[int, int]) -> list[Any]:
    """Return the sources of the outputs that two recordings have in common.

    Raises
    ------
    ExportError
        If they are not the same.
    """
    if len(first) != len(second):
        raise ExportError(
            f"the model returns {len(first)} arrays for one batch and {len(second)} for another; expected as "
            "many for each"
        )
    comparison = _Comparison("an output of the model", batches)
    return [comparison.same(one, two) for one, two in zip(first, second, strict=True)]


def require_same_sizes(steps: Sequence[Step], others: Sequence[Step], batch: int) -> None:
    """Raise an ExportError if two comparisons of the same calls have found different sizes.

    Parameters
    ----------
    steps, others : sequence of Step
        What was found with small batches, and with a larger one.
    batch : int
        The size of the larger one, for the message.
    """
    for one, two in zip(steps, others, strict=True):
        parts = ((one.arguments, one.static, one.shapes), (two.arguments, two.static, two.shapes))
        if (small := _sizes_in(parts[0])) != (large := _sizes_in(parts[1])):
            raise ExportError(
                f"{one.place} follows from the size of the batch in one way for small batches "
                f"({_texts(small)}), and in another up to one of {batch} ({_texts(large)}); let it follow as "
                "a * batch + b for all, or export with dynamic=False"
            )


def _sizes_in(value: Any) -> list[Size]:
    """Return all sizes in a tree, in their order."""
    if isinstance(value, Size):
        return [value]
    if isinstance(value, (Expanded, Counted)):
        return _sizes_in(value.shape)
    if type(value) is slice:
        return _sizes_in((value.start, value.stop, value.step))
    if isinstance(value, dict):
        return _sizes_in(tuple(value.values()))
    if isinstance(value, (list, tuple)):
        return [size for each in value for size in _sizes_in(each)]
    return []


def _texts(sizes: list[Size]) -> str:
    return ", ".join(map(str, sizes)) or "not at all"


def needed(steps: Sequence[Step], outputs: Sequence[Any]) -> list[bool]:
    """Return for each step whether an output depends on it."""
    found = [False] * len(steps)
    waiting: list[Any] = [outputs]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Ref):
            if value.call >= 0 and not found[value.call]:
                found[value.call] = True
                waiting += [steps[value.call].arguments, steps[value.call].static]
        elif type(value) is slice:
            waiting.append((value.start, value.stop, value.step))
        elif isinstance(value, (list, tuple)) and not isinstance(value, Size):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
    return found


def shape_between(first: Sequence[int], second: Sequence[int], batches: tuple[int, int]) -> Shape | None:
    """Return the shape that an array has in batches of any size; None if it does not follow from it."""
    if len(first) != len(second):
        return None
    sizes = [
        one if one == two else Size.between(one, two, batches) for one, two in zip(first, second, strict=True)
    ]
    return None if None in sizes else tuple(size for size in sizes if size is not None)


class _Comparison:
    """The comparison of a call with itself in another batch."""

    def __init__(self, place: str, batches: tuple[int, int]) -> None:
        self.place, self.batches = place, batches

    def step(self, call: Call, other: Call) -> Step:
        """Return the step that two calls have in common."""
        shapes = [
            shape_between(one.shape, two.shape, self.batches)
            for one, two in zip(call.results, other.results, strict=True)
        ]
        if None in shapes:
            raise ExportError(
                f"the shape of {self.place} is {call.results[0].shape} in a batch of {self.batches[0]} and "
                f"{other.results[0].shape} in one of {self.batches[1]}: that follows from the values, not "
                "from the size of the batch; a file of ONNX cannot hold it here"
            )
        return Step(
            call.name,
            self.same(call.arguments, other.arguments),
            self.same(call.static, other.static),
            tuple(shape for shape in shapes if shape is not None),
            tuple(result.dtype for result in call.results),
            call.several,
            call.path,
            call.doc,
            self.place,
            call.module,
        )

    def same(self, one: Any, two: Any) -> Any:
        """Return what stands for two values of an argument, one in each batch."""
        if type(one) is not type(two):
            raise self.differs(one, two)
        if isinstance(one, np.ndarray):
            return self.same_array(one, two)
        if type(one) is slice:
            return slice(
                *(self.same(getattr(one, end), getattr(two, end)) for end in ("start", "stop", "step"))
            )
        if isinstance(one, (list, tuple)):
            if len(one) != len(two):
                raise self.differs(one, two)
            return type(one)([self.same(a, b) for a, b in zip(one, two, strict=True)])
        if isinstance(one, dict):
            if one.keys() != two.keys():
                raise self.differs(one, two)
            return {key: self.same(each, two[key]) for key, each in one.items()}
        if isinstance(one, Ref) and one != two:
            raise ExportError(
                f"{self.place} takes another result for other inputs; a file of ONNX cannot hold a branch on "
                "data: use np.where"
            )
        if one is two or one == two or repr(one) == repr(two) or callable(one):  # repr: of NaN
            return one
        if isinstance(one, (int, np.integer)) and not isinstance(one, bool):
            size = Size.between(int(one), int(two), self.batches)
            if size is not None:
                return size
        raise self.differs(one, two)

    def same_array(self, one: NDArray[Any], two: NDArray[Any]) -> Any:
        if one.shape == two.shape and one.dtype == two.dtype and one.tobytes() == two.tobytes():
            return one
        if not one.ndim and one.dtype.kind in "iu" and one.dtype == two.dtype and not two.ndim:
            return self.same(int(one), int(two))
        shape = shape_between(one.shape, two.shape, self.batches)
        if shape is None or one.dtype != two.dtype or shape == one.shape:
            raise self.differs(one, two)
        if (constant := _along_the_batch(one, two, shape)) is None:
            raise self.differs(one, two)
        return constant

    def differs(self, one: Any, two: Any) -> ExportError:
        def text(value: Any) -> str:
            if isinstance(value, np.ndarray) and value.ndim:
                return f"an array of shape {value.shape}"
            return repr(value)

        return ExportError(
            f"{self.place} is given {text(one)} in a batch of {self.batches[0]} and {text(two)} in one of "
            f"{self.batches[1]}: a constant that changes from call to call, as it was computed past the tape "
            "(by NumPy on .data) or drawn at random (dropout with training=True); compute it by operations "
            "on Tensors, or export with dynamic=False if it follows from the size of the batch"
        )


def _along_the_batch(one: NDArray[Any], two: NDArray[Any], shape: Shape) -> Expanded | Counted | None:
    """Return the rule by which a constant follows from the size of the batch: it repeats, or it counts."""
    core = one[tuple(slice(0, 1) if isinstance(n, Size) else slice(None) for n in shape)]
    nan_is_equal = one.dtype.kind == "f"
    if all(np.array_equal(np.broadcast_to(core, each.shape), each, nan_is_equal) for each in (one, two)):
        return Expanded(core, shape)
    if sum(isinstance(n, Size) for n in shape) == 1 and BATCH in shape and one.dtype.kind in "iuf":
        axis = shape.index(BATCH)
        before, behind = (slice(None),) * axis, (1,) * (len(shape) - axis - 1)
        step = np.diff(one[(*before, slice(0, 2))], axis=axis)
        if all(
            np.array_equal(
                core + step * np.arange(each.shape[axis], dtype=one.dtype).reshape(-1, *behind), each
            )
            for each in (one, two)
        ):
            return Counted(core, step, shape)
    return None
