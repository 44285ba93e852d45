"""The layout of a value in memory: an offset and strides, and what a view makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_mnist.compiler.program import Instruction, Value


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of the elements of a value, seen from the first byte of the memory that holds them.

    Attributes
    ----------
    offset : int
        Bytes from there to the element at index 0 of each axis.
    strides : tuple of int
        Bytes from one element to the next, along each axis.
    """

    offset: int
    strides: tuple[int, ...]


def contiguous(value: Value) -> Layout:
    """Return the layout of a value that lies in C order.

    >>> contiguous(Value(0, (2, 3), np.dtype("f4")))
    Layout(offset=0, strides=(12, 4))
    """
    strides, step = [], value.dtype.itemsize
    for length in reversed(value.shape):
        strides.append(step)
        step *= length
    return Layout(0, tuple(reversed(strides)))


def lies_in_order(layout: Layout, value: Value) -> bool:
    """Return whether a value lies in C order, at whatever offset.

    >>> lies_in_order(Layout(4, (12, 99, 4)), Value(0, (2, 1, 3), np.dtype("f4")))
    True
    """
    strides = zip(value.shape, layout.strides, contiguous(value).strides, strict=True)
    return all(n == 1 or own == other for n, own, other in strides)


def viewed(view: Instruction, layout: Layout) -> Layout | None:
    """Return the layout of a view of a value, or None if its elements have to be copied for it.

    NumPy itself makes the view, of an array that nobody reads: only its address and strides matter.

    Parameters
    ----------
    view : Instruction
        One of `program.VIEWS`, with no axis of length 0.
    layout : Layout
        How its argument lies.
    """
    (source,), (result,) = view.inputs, view.outputs
    # Strides may be negative; the address of an element is never followed.
    array: Any = as_strided(np.empty(1, source.dtype), source.shape, layout.strides)
    if view.name == "transpose":
        made = array.transpose(view.static["axes"])
    elif view.name == "broadcast_to":
        made = np.broadcast_to(array, result.shape)
    elif view.name == "getitem":
        # With an Ellipsis the result of numbers alone is a view of shape (), not an element that is read.
        index = view.static["index"]
        made = array[index if any(part is Ellipsis for part in index) else (*index, ...)]
    else:
        try:
            made = np.reshape(array, result.shape, copy=False)
        except ValueError:
            return None
    moved = made.__array_interface__["data"][0] - array.__array_interface__["data"][0]
    return Layout(layout.offset + moved, made.strides)


def only_ones_differ(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Return whether two shapes are the same but for axes of length 1.

    >>> only_ones_differ((3, 1, 4), (3, 4, 1)), only_ones_differ((3, 4), (4, 3))
    (True, False)
    """
    return [n for n in first if n != 1] == [n for n in second if n != 1]


def blas_order(layout: Layout, shape: tuple[int, ...], itemsize: int) -> tuple[bool, int] | None:
    """Return how BLAS reads a matrix: whether transposed, and the elements from row to row; or None.

    >>> blas_order(Layout(0, (12, 4)), (2, 3), 4), blas_order(Layout(0, (4, 12)), (3, 2), 4)
    ((False, 3), (True, 3))
    >>> blas_order(Layout(0, (-12, 4)), (2, 3), 4) is None
    True
    """
    (rows, columns), (down, right) = shape[-2:], layout.strides[-2:]
    for transposed, length, width, far, near in (
        (False, rows, columns, down, right),
        (True, columns, rows, right, down),
    ):
        if length == 1:  # there is no second row: any distance will do
            far = width * itemsize
        if width == 1:
            near = itemsize
        if near == itemsize and far % itemsize == 0 and far >= width * itemsize:
            return transposed, far // itemsize
    return None
