"""Loops over channels in vectors: what they compute is what NumPy computes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.builder import Builder
from tests.compiler.test_llvm import numbers
from tinygrad_mnist.compiler import channels, machine
from tinygrad_mnist.compiler.executable import Executable, build
from tinygrad_mnist.compiler.fuse import Kernel
from tinygrad_mnist.compiler.loops import nest
from tinygrad_mnist.compiler.program import interpret

pytestmark = pytest.mark.skipif(not machine.available(), reason="needs llvmlite")

TWO = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "equal",
    "not_equal",
    "less",
    "less_equal",
]
ONE = ["negative", "absolute", "sqrt", "isnan"]


def nests(executable: Executable):
    return [
        nest(executable.plan, executable.memory, piece)
        for piece in executable.plan.pieces
        if isinstance(piece, Kernel)
    ]


def in_vectors(executable: Executable) -> bool:
    return all(channels.lanes_of(made, 512) for made in nests(executable))


def table(dtype, rows, columns, seed=0):
    return np.stack([numbers(dtype, columns, seed + i) for i in range(rows)])


def same(program, arrays):
    executable = build(program)
    assert in_vectors(executable)
    expected, _ = interpret(program, arrays)
    result, _ = executable(arrays)
    for got, wanted in zip(result, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("columns", [4, 16, 20])
def test_operations_of_pixels_and_channels_are_numpys(columns, dtype):
    b = Builder()
    arrays = [table(dtype, 6, columns), numbers(dtype, columns, 5)]
    x, y = map(b.input, arrays)
    b.program.outputs += [getattr(b, name)(x, y) for name in TWO]
    b.program.outputs += [getattr(b, name)(b.add(x, y)) for name in ONE]
    same(b.program, arrays)


def test_small_integers_and_truth_values_are_vectors_too():
    b = Builder()
    arrays = [table("f4", 6, 16), numbers("f4", 16, 5)]
    x, y = map(b.input, arrays)
    small = b.where(b.less(x, y), np.uint8(4), np.uint8(1))
    b.program.outputs += [
        small,
        b.logical_not(b.less(y, x)),
        b.astype(b.bitwise_and(small, np.uint8(4)), np.float32),
    ]
    same(b.program, arrays)


@pytest.mark.parametrize("shape", [(40, 16), (33, 5, 32), (3001, 24)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_sums_over_all_pixels_are_right_to_rounding(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype) + 3
    axes = tuple(range(len(shape) - 1))
    b = Builder()
    value = b.input(x)
    b.program.outputs += [b.sum(value, axis=axes), b.sum(b.multiply(value, value), axis=axes)]
    executable = build(b.program)
    assert in_vectors(executable)
    (total, squares), _ = executable([x])
    wide = x.astype(np.longdouble)
    eps = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(total, wide.sum(axes).astype(dtype), rtol=eps)
    np.testing.assert_allclose(squares, (wide**2).sum(axes).astype(dtype), rtol=eps)


def test_the_error_of_a_sum_does_not_grow_with_the_number_of_pixels():
    x = np.full((2**18, 16), 0.1, np.float32)  # one after the other, the sum is off by a thousandth
    b = Builder()
    b.program.outputs.append(b.sum(b.input(x), axis=0))
    (total,), _ = build(b.program)([x])
    np.testing.assert_allclose(total, 2.0**18 * np.float32(0.1), rtol=4e-6)


def test_sums_of_the_pixels_of_each_image_are_right():
    x = np.random.default_rng(0).standard_normal((5, 7, 3, 16))
    b = Builder()
    value = b.input(x)
    b.program.outputs.append(b.sum(b.maximum(value, 0.0), axis=(1, 2)))
    (total,), _ = build(b.program)([x])
    np.testing.assert_allclose(total, np.maximum(x, 0).sum((1, 2)), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_threads_that_share_sums_compute_the_bits_of_one(dtype):
    x = np.random.default_rng(0).standard_normal((61, 48, 48, 20)).astype(dtype)

    def computed(threads):
        b = Builder()
        value = b.input(x)
        for _ in range(3):
            total = b.sum(value, axis=(0, 1, 2))
            value = b.subtract(value, b.multiply(total, np.array(1e-5, dtype)))
            b.program.outputs += [total, value]
        executable = build(b.program, threads=threads)
        assert executable.threads == threads
        return executable([x])[0]

    for one, other in zip(computed(1), computed(2), strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(one).all()
