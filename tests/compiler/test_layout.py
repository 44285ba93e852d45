"""Layouts of views are those that NumPy gives them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.builder import Builder
from tinygrad_mnist.compiler.layout import Layout, viewed

ARRAY = np.arange(120.0).reshape(4, 5, 6)


@pytest.mark.parametrize("array", [ARRAY, ARRAY[::-1, :, ::2], ARRAY.transpose(2, 0, 1)])
@pytest.mark.parametrize(
    "view",
    [
        lambda b, x: b.transpose(x, (1, 2, 0)),
        lambda b, x: b.broadcast_to(x, (2, *x.shape)),
        lambda b, x: b.getitem(x, slice(None, None, -1), 1, slice(1, 3)),
        lambda b, x: b.getitem(x, 0, None, ..., -1),
        lambda b, x: b.getitem(x, 1, 2, 1),
        lambda b, x: b.reshape(x, (1, *x.shape, 1)),
    ],
)
def test_a_view_lies_where_numpy_s_does(array, view):
    b = Builder()
    value = view(b, b.input(array))
    instruction = b.program.instructions[-1]
    expected = np.asarray(instruction.run(array))
    layout = viewed(instruction, Layout(0, array.strides))
    assert layout is not None
    moved = expected.__array_interface__["data"][0] - array.__array_interface__["data"][0]
    if expected.base is not None:  # a number alone is copied
        assert layout.offset == moved
    assert layout.strides == expected.strides
    assert value.shape == expected.shape


def test_a_reshape_that_needs_a_copy_is_no_view():
    b = Builder()
    b.reshape(b.input(ARRAY.T), (120,))
    assert viewed(b.program.instructions[-1], Layout(0, ARRAY.T.strides)) is None
