"""Converters of indexing: elements that are read, replaced or added at an index.

An index is brought into one form first: an item for each axis, where a mask is the positions that it names.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import Expression, expressions, where
from tinygrad_mnist.exchange.onnx.shape import FIRST, LAST, rank, shape_of, sliced
from tinygrad_mnist.exchange.onnx.sizes import Length, Shape, Size
from tinygrad_mnist.exchange.onnx.table import converts

Array = NDArray[Any]
WHOLE = slice(None)

# ---- an index, item by item ------------------------------------------------------------------------------


def _items(build: Builder, index: Any, ndim: int) -> tuple[list[int], list[Any]]:
    """Return the new axes of an index, and an item for each axis that there is then.

    An item is a slice, a whole number, or positions (`Value`). A mask stands for the positions of its ones,
    along as many axes as it has; one of no axes stands for a new axis, of which all or nothing is taken.
    """
    items: list[tuple[bool, Any]] = []  # whether its axis is new, and the item
    rest = None
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, Value) and part.dtype == np.bool_:
            raise build.refuse(
                "how many elements a mask selects follows from the values; choose with np.where, which keeps "
                "the shape"
            )
        part = np.asarray(part) if isinstance(part, (list, bool, np.bool_)) else part
        if part is Ellipsis:
            rest = len(items)
        elif part is None:
            items.append((True, WHOLE))
        elif isinstance(part, np.ndarray) and part.dtype == np.bool_:
            found = part.nonzero() if part.ndim else (np.zeros(int(part), np.int64),)
            items += [(not part.ndim, build.constant(positions, np.int64)) for positions in found]
        elif isinstance(part, np.ndarray):
            items.append((False, build.constant(part, np.int64) if part.ndim else int(part)))
        else:
            items.append((False, build.cast(part, np.int64) if isinstance(part, Value) else part))
    missing = ndim - sum(not is_new for is_new, _ in items)
    rest = len(items) if rest is None else rest
    items[rest:rest] = [(False, WHOLE)] * missing
    return [i for i, (is_new, _) in enumerate(items) if is_new], [item for _, item in items]


def _is_whole(item: Any) -> bool:
    return isinstance(item, slice) and (item.start, item.stop, item.step) in ((None,) * 3, (None, None, 1))


def _ends(item: slice, length: Length) -> tuple[Any, Any, int]:
    """Return start, stop and step of a slice, as ONNX has them."""
    step = 1 if item.step is None else int(item.step)
    if not isinstance(length, Size) and not isinstance(item.start, Size) and not isinstance(item.stop, Size):
        start, stop, step = item.indices(length)
        return start, FIRST if stop < 0 else stop, step
    start = (0 if step > 0 else LAST) if item.start is None else item.start
    stop = (LAST if step > 0 else FIRST) if item.stop is None else item.stop
    return start, stop, step


def _broadcast(shapes: list[Shape]) -> Shape:
    """Return the shape that some shapes broadcast to."""
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(next((n for n in column if n != 1), 1) for column in zip(*padded, strict=True))


# ---- read ------------------------------------------------------------------------------------------------


@converts("getitem")
def getitem(build: Builder, x: Value, index: Any) -> Value:
    """Return the elements at an index: slices first, then whole numbers or positions."""
    new, items = _items(build, index, rank(x))
    shape = list(shape_of(x))
    for axis in new:
        shape.insert(axis, 1)
    if new:
        x = build.node("Unsqueeze", x, build.indices(*new))
    slices = [axis for axis, item in enumerate(items) if isinstance(item, slice) and not _is_whole(item)]
    if slices:
        ends = [_ends(items[axis], shape[axis]) for axis in slices]
        x = sliced(build, x, slices, *zip(*ends, strict=True))
    if any(isinstance(item, Value) for item in items):
        return _at_positions(build, x, items)
    for axis in reversed(range(len(items))):
        if not isinstance(items[axis], slice):
            x = build.node("Gather", x, build.constant(items[axis], np.int64), axis=axis)
    return x


def _at_positions(build: Builder, x: Value, items: list[Any]) -> Value:
    """Return the elements at positions along some axes, among which are those of whole numbers.

    NumPy puts the axes of the positions where the first of theirs was if they are side by side, and in front
    otherwise.
    """
    axes = [axis for axis, item in enumerate(items) if not isinstance(item, slice)]
    positions = [
        items[axis] if isinstance(items[axis], Value) else build.constant(items[axis], np.int64)
        for axis in axes
    ]
    if len(axes) == 1:
        return build.node("Gather", x, positions[0], axis=axes[0])
    shape = _broadcast([shape_of(each) for each in positions])
    others = [axis for axis in range(len(items)) if axis not in axes]
    if axes != list(range(len(axes))):
        x = build.node("Transpose", x, perm=(*axes, *others))
    x = build.node("GatherND", x, _stacked(build, positions, shape))
    if axes == list(range(axes[0], axes[-1] + 1)) and axes[0] and shape:
        count, before = len(shape), axes[0]
        order = (*range(count, count + before), *range(count), *range(count + before, count + len(others)))
        x = build.node("Transpose", x, perm=order)
    return x


def _stacked(build: Builder, positions: list[Value], shape: Shape) -> Value:
    """Return positions along several axes as vectors in the last axis."""
    constants = [each.array for each in positions if each.array is not None]
    if len(constants) == len(positions):
        return build.constant(np.stack(np.broadcast_arrays(*constants), axis=-1), np.int64)
    columns = [
        build.node("Unsqueeze", build.expand(each, shape), build.indices(len(shape))) for each in positions
    ]
    return build.node("Concat", *columns, axis=len(shape))


# ---- write -----------------------------------------------------------------------------------------------

# Where an element goes is known when the file is written, so nothing is scattered: each element of the result
# reads the value that it gets. Only of an array with an open batch every row has to be written alike.


def _places_in_rows(build: Builder, shape: Shape, index: Any) -> tuple[bool, tuple[int, ...], Array]:
    """Return the places of the elements at an index, in a flat row.

    Returns
    -------
    bool, tuple of int, ndarray
        Whether the first axis is an open batch, the shape of a row, and the place of each element in it; if
        no batch is open, the whole array is the row.
    """
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, Value) for part in parts):
        raise build.refuse("the places at which elements are written follow from the values")
    is_open = bool(shape) and isinstance(shape[0], Size)
    row = tuple(n for n in shape[is_open:] if not isinstance(n, Size))
    if len(row) != len(shape) - is_open:
        raise build.refuse("an inner axis of the array that is written into follows from the batch size")
    size = math.prod(row)
    if not is_open:
        return False, row, np.arange(size).reshape(row)[index]
    rows = np.arange(2 * size).reshape(2, *row)
    takes_all = bool(parts) and (parts[0] is Ellipsis or _is_whole(parts[0]))
    places = rows[index] if takes_all else rows[:0]
    if len(places) != 2 or not np.array_equal(places[1], places[0] + size):
        raise build.refuse("elements are written in some rows of a batch of open size, and not in all alike")
    return True, row, places[0]


@converts("set_at")
def set_at(build: Builder, x: Value, value: Value, index: Any) -> Value:
    """Return the elements of x, and in some places those of the value; of several the last one stays."""
    shape = shape_of(x)
    is_open, row, places = _places_in_rows(build, shape, index)
    kept, new = expressions(build, x, value)
    if not places.size:
        return kept.value
    source = np.full(math.prod(row), -1)
    source[places.ravel()] = np.arange(places.size)
    source = source.reshape(row)
    target = (*shape[:is_open], *places.shape)
    own = shape_of(value)
    if len(own) > len(target):  # NumPy drops leading ones
        own = own[len(own) - len(target) :]
        new = Expression(build, build.reshape(new.value, own))
    if all(n == 1 for n in own):
        picked = Expression(build, build.reshape(new.value, ()))
    else:
        flat = build.reshape(build.expand(new.value, target), (*shape[:is_open], places.size))
        picked = Expression(build, build.node("Gather", flat, _positions(build, source), axis=int(is_open)))
    is_written = Expression(build, build.constant(source >= 0))
    return where(is_written, picked, kept).value


def _positions(build: Builder, source: Array) -> Value:
    return build.constant(np.maximum(source, 0), np.int64)


@converts("scatter_add")
def scatter_add(build: Builder, g: Value, index: Any, shape: Shape) -> Value:
    """Return zeros to which values are added at an index, each as often as it is named."""
    shape = build.results[0].shape
    is_open, row, places = _places_in_rows(build, shape, index)
    (values,) = expressions(build, g)
    rows, size = shape[:is_open], math.prod(row)
    zeros = build.expand(build.constant(np.zeros((1,) * (is_open + 1)), values.dtype), (*rows, size))
    along = build.expand(
        build.constant(places.reshape((1,) * is_open + (-1,)), np.int64), (*rows, places.size)
    )
    added = build.reshape(values.value, (*rows, places.size))
    out = build.node("ScatterElements", zeros, along, added, axis=int(is_open), reduction="add")
    return build.reshape(out, shape)
